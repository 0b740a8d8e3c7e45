#include "engine/base/reset_hints.h"

namespace varve {
namespace {

/// Walks the buckets of one side in ascending order of index.
class BucketCursor {
 public:
  BucketCursor(const Histogram& h, bool positive)
      : spans_(positive ? h.positive_spans : h.negative_spans),
        counts_(positive ? h.positive_counts : h.negative_counts),
        deltas_(positive ? h.positive_deltas : h.negative_deltas),
        is_float_(h.is_float) {}

  /// Moves on to the next bucket; false at the end.
  bool Next() {
    while (left_ == 0) {
      if (span_ == spans_.size()) return false;
      index_ += spans_[span_].offset;
      left_ = spans_[span_++].length;
    }
    const size_t size = is_float_ ? counts_.size() : deltas_.size();
    if (at_ == size) return false;
    if (is_float_) {
      count_ = counts_[at_];
    } else {
      sum_ += deltas_[at_];
      count_ = static_cast<double>(sum_);
    }
    ++at_;
    --left_;
    bucket_ = index_++;
    return true;
  }
  int64_t bucket() const { return bucket_; }
  double count() const { return count_; }

 private:
  const std::vector<BucketSpan>& spans_;
  const std::vector<double>& counts_;
  const std::vector<int64_t>& deltas_;
  const bool is_float_;
  size_t span_ = 0;
  uint32_t left_ = 0;
  size_t at_ = 0;
  int64_t index_ = 0;
  int64_t bucket_ = 0;
  int64_t sum_ = 0;
  double count_ = 0;
};

/// Tells whether a bucket of `before` has fallen or gone in `h`.
bool AnyBucketFell(const Histogram& before, const Histogram& h, bool positive) {
  BucketCursor old(before, positive);
  BucketCursor now(h, positive);
  bool has_now = now.Next();
  while (old.Next()) {
    while (has_now && now.bucket() < old.bucket()) has_now = now.Next();
    const double count = has_now && now.bucket() == old.bucket() ? now.count() : 0;
    if (count < old.count()) return true;
  }
  return false;
}

/// Tells whether `h` goes on where `before` ended: same layout, no count fell.
bool Continues(const Histogram& before, const Histogram& h) {
  if (h.reset_hint == CounterResetHint::kReset || before.reset_hint == CounterResetHint::kGauge ||
      before.is_float != h.is_float || before.is_stale()) {
    return false;
  }
  if (h.is_stale()) return true;
  const auto count = [](const Histogram& x) {
    return x.is_float ? x.float_count : static_cast<double>(x.count);
  };
  const auto zeros = [](const Histogram& x) {
    return x.is_float ? x.float_zero_count : static_cast<double>(x.zero_count);
  };
  return before.schema == h.schema && before.zero_threshold == h.zero_threshold &&
         before.custom_values == h.custom_values && !(count(h) < count(before)) &&
         !(zeros(h) < zeros(before)) && !AnyBucketFell(before, h, true) &&
         !AnyBucketFell(before, h, false);
}

}  // namespace

void DeriveResetHints(std::vector<Histogram>* histograms) {
  // From the back, so that each is compared with a neighbour whose own hint is still as given.
  for (size_t i = histograms->size(); i-- > 0;) {
    Histogram& h = (*histograms)[i];
    if (h.reset_hint == CounterResetHint::kGauge) continue;
    h.reset_hint = i > 0 && Continues((*histograms)[i - 1], h) ? CounterResetHint::kNotReset
                                                               : CounterResetHint::kUnknown;
  }
}

}  // namespace varve
