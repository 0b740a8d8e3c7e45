#include "query/functions/float_histogram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/functions/kahan.h"

namespace varve::query {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

/// A bucket with the compensation of its count.
struct WorkBucket {
  int32_t index;
  double count;
  double c;
};
using WorkBuckets = std::vector<WorkBucket>;

template <typename Visit>
void ForEachBucket(const std::vector<BucketSpan>& spans, const std::vector<double>& counts,
                   Visit&& visit) {
  int64_t index = 0;
  size_t at = 0;
  for (const BucketSpan& span : spans) {
    index += span.offset;
    for (uint32_t i = 0; i < span.length && at < counts.size(); ++i) {
      visit(static_cast<int32_t>(index), counts[at], at);
      ++index;
      ++at;
    }
  }
}

WorkBuckets Unpack(const std::vector<BucketSpan>& spans, const std::vector<double>& counts,
                   const std::vector<double>* compensation = nullptr) {
  WorkBuckets out;
  out.reserve(counts.size());
  ForEachBucket(spans, counts, [&](int32_t index, double count, size_t at) {
    out.push_back({index, count, compensation ? (*compensation)[at] : 0.0});
  });
  return out;
}

void Pack(const WorkBuckets& buckets, std::vector<BucketSpan>* spans, std::vector<double>* counts,
          std::vector<double>* compensation = nullptr) {
  spans->clear();
  counts->clear();
  if (compensation) compensation->clear();
  int32_t next = 0;
  for (const WorkBucket& bucket : buckets) {
    if (spans->empty() || bucket.index != next) {
      spans->push_back({bucket.index - next, 0});
    }
    ++spans->back().length;
    next = bucket.index + 1;
    counts->push_back(bucket.count);
    if (compensation) compensation->push_back(bucket.c);
  }
}

/// Joins two index-ordered lists; where both have a bucket, b is added to a.
WorkBuckets Merge(const WorkBuckets& a, const WorkBuckets& b, bool subtract, bool kahan) {
  WorkBuckets out;
  out.reserve(a.size() + b.size());
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() || j < b.size()) {
    if (j == b.size() || (i < a.size() && a[i].index < b[j].index)) {
      out.push_back(a[i++]);
    } else if (i == a.size() || b[j].index < a[i].index) {
      out.push_back({b[j].index, subtract ? -b[j].count : b[j].count, 0});
      ++j;
    } else {
      WorkBucket bucket = a[i++];
      const double value = subtract ? -b[j].count : b[j].count;
      ++j;
      if (kahan) {
        KahanAdd(value, bucket.count, bucket.c);
      } else {
        bucket.count += value;
      }
      out.push_back(bucket);
    }
  }
  return out;
}

/// Maps buckets to new indexes (ascending stays ascending) and adds up those that meet.
template <typename Map>
WorkBuckets Regroup(const WorkBuckets& buckets, bool kahan, Map&& map) {
  WorkBuckets out;
  out.reserve(buckets.size());
  for (const WorkBucket& bucket : buckets) {
    const int32_t index = map(bucket.index);
    if (!out.empty() && out.back().index == index) {
      if (kahan) {
        KahanAdd(bucket.count, out.back().count, out.back().c);
        KahanAdd(bucket.c, out.back().count, out.back().c);
      } else {
        out.back().count += bucket.count;
      }
    } else {
      out.push_back({index, bucket.count, bucket.c});
    }
  }
  return out;
}

WorkBuckets Coarsen(const WorkBuckets& buckets, int32_t from, int32_t to, bool kahan) {
  const int32_t shift = from - to;
  if (shift == 0) return buckets;
  return Regroup(buckets, kahan, [shift](int32_t index) {
    return static_cast<int32_t>(((static_cast<int64_t>(index) - 1) >> shift) + 1);
  });
}

/// Maps buckets over `bounds` to buckets over `target`, a subset of them.
WorkBuckets ToBounds(const WorkBuckets& buckets, const std::vector<double>& bounds,
                     const std::vector<double>& target, bool kahan) {
  return Regroup(buckets, kahan, [&](int32_t index) {
    const double upper =
        index >= 0 && static_cast<size_t>(index) < bounds.size() ? bounds[index] : kInf;
    return static_cast<int32_t>(std::lower_bound(target.begin(), target.end(), upper) -
                                target.begin());
  });
}

bool SameBounds(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

std::vector<double> Intersect(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> out;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out));
  return out;
}

/// The upper bounds of the 2^schema buckets between 0.5 and 1, each correctly rounded.
const std::vector<double>& Fractions(int32_t schema) {
  static const auto* const kTables = [] {
    auto* tables = new std::array<std::vector<double>, kExponentialSchemaMax + 1>();
    for (int32_t s = 0; s <= kExponentialSchemaMax; ++s) {
      const int32_t n = 1 << s;
      for (int32_t i = 0; i < n; ++i) {
        (*tables)[s].push_back(static_cast<double>(0.5L * exp2l(static_cast<long double>(i) / n)));
      }
    }
    return tables;
  }();
  return (*kTables)[schema];
}

/// Combines hints; returns whether they contradict each other.
bool CombineHints(FloatHistogram& h, const FloatHistogram& other) {
  using enum CounterResetHint;
  if (other.reset_hint == h.reset_hint || h.reset_hint == kGauge) return false;
  if (other.reset_hint == kGauge) {
    h.reset_hint = kGauge;
    return false;
  }
  const bool collision = h.reset_hint != kUnknown && other.reset_hint != kUnknown;
  h.reset_hint = kUnknown;
  return collision;
}

/// Gives the count of the zero bucket if it were as wide as `threshold`, and moves `threshold` up
/// to the end of the populated bucket that it falls into.
double WidenedZeroCount(const FloatHistogram& h, double& threshold) {
  if (threshold == h.zero_threshold) return h.zero_count;
  const std::vector<BucketCount> positive = PositiveBuckets(h);
  const std::vector<BucketCount> negative = NegativeBuckets(h);
  for (;;) {
    double count = h.zero_count;
    for (const BucketCount& bucket : positive) {
      const HistogramBucket b = PositiveBucket(h, bucket);
      if (b.lower >= threshold) break;
      count += b.count;
      if (b.upper > threshold) {
        if (b.count != 0) threshold = b.upper;
        break;
      }
    }
    bool again = false;
    for (const BucketCount& bucket : negative) {
      const HistogramBucket b = NegativeBucket(h, bucket);
      if (b.upper <= -threshold) break;
      count += b.count;
      if (b.lower < -threshold) {
        if (b.count != 0) {
          threshold = -b.lower;
          again = true;
        }
        break;
      }
    }
    if (!again) return count;
  }
}

/// Two histograms on their way to being combined, side by side.
struct Sides {
  WorkBuckets positive;
  WorkBuckets negative;
};

void DropZeroed(WorkBuckets& buckets, int32_t schema, double threshold) {
  // The threshold never lies inside a populated bucket by now, so whole buckets go.
  std::erase_if(buckets, [&](const WorkBucket& bucket) {
    return ExponentialBound(bucket.index - 1, schema) < threshold;
  });
}

/// Widens the zero buckets of both until they are as wide as each other. Returns the zero count
/// of `other` at that width.
double ReconcileZero(FloatHistogram& h, const FloatHistogram& other) {
  double other_count = other.zero_count;
  double other_threshold = other.zero_threshold;
  double threshold = h.zero_threshold;
  double count = h.zero_count;
  while (other_threshold != threshold) {
    if (threshold > other_threshold) {
      other_threshold = threshold;
      other_count = WidenedZeroCount(other, other_threshold);
    }
    if (other_threshold > threshold) {
      threshold = other_threshold;
      count = WidenedZeroCount(h, threshold);
    }
  }
  h.zero_threshold = threshold;
  h.zero_count = count;
  return other_count;
}

bool SameLayout(const FloatHistogram& a, const FloatHistogram& b) {
  return a.schema == b.schema && a.zero_threshold == b.zero_threshold &&
         a.positive_spans == b.positive_spans && a.negative_spans == b.negative_spans &&
         a.positive_counts.size() == b.positive_counts.size() &&
         a.negative_counts.size() == b.negative_counts.size() &&
         SameBounds(a.custom_values, b.custom_values);
}

/// Adds or subtracts; with `c` (of the layout of h) every addition is compensated.
CombineNotes Combine(FloatHistogram& h, const FloatHistogram& other, bool subtract,
                     FloatHistogram* c) {
  CombineNotes notes;
  if (h.uses_custom_buckets() != other.uses_custom_buckets()) {
    notes.incompatible = true;
    return notes;
  }
  notes.counter_reset_collision = CombineHints(h, other);
  const auto add = [&](double value, double& to, double* compensation) {
    if (subtract) value = -value;
    if (compensation) {
      KahanAdd(value, to, *compensation);
    } else {
      to += value;
    }
  };
  if (SameLayout(h, other)) {
    add(other.zero_count, h.zero_count, c ? &c->zero_count : nullptr);
    add(other.count, h.count, c ? &c->count : nullptr);
    add(other.sum, h.sum, c ? &c->sum : nullptr);
    for (size_t i = 0; i < h.positive_counts.size(); ++i) {
      add(other.positive_counts[i], h.positive_counts[i], c ? &c->positive_counts[i] : nullptr);
    }
    for (size_t i = 0; i < h.negative_counts.size(); ++i) {
      add(other.negative_counts[i], h.negative_counts[i], c ? &c->negative_counts[i] : nullptr);
    }
    return notes;
  }

  const bool kahan = c != nullptr;
  WorkBuckets positive =
      Unpack(h.positive_spans, h.positive_counts, c ? &c->positive_counts : nullptr);
  WorkBuckets negative =
      Unpack(h.negative_spans, h.negative_counts, c ? &c->negative_counts : nullptr);
  WorkBuckets other_positive = Unpack(other.positive_spans, other.positive_counts);
  WorkBuckets other_negative = Unpack(other.negative_spans, other.negative_counts);

  if (h.uses_custom_buckets()) {
    if (!SameBounds(h.custom_values, other.custom_values)) {
      notes.bounds_reconciled = true;
      std::vector<double> bounds = Intersect(h.custom_values, other.custom_values);
      positive = ToBounds(positive, h.custom_values, bounds, kahan);
      other_positive = ToBounds(other_positive, other.custom_values, bounds, kahan);
      h.custom_values = std::move(bounds);
      if (c) c->custom_values = h.custom_values;
    }
  } else {
    double other_zero = other.zero_count;
    if (h.zero_threshold != other.zero_threshold) {
      const double before = h.zero_threshold;
      if (c) {
        // What the compensated buckets lose to the zero bucket goes with it.
        FloatHistogram whole_c = *c;
        whole_c.zero_threshold = before;
        other_zero = ReconcileZero(h, other);
        double threshold = h.zero_threshold;
        double zero_c = c->zero_count;
        for (const WorkBucket& b : positive) {
          if (ExponentialBound(b.index - 1, h.schema) < threshold) zero_c += b.c;
        }
        for (const WorkBucket& b : negative) {
          if (ExponentialBound(b.index - 1, h.schema) < threshold) zero_c += b.c;
        }
        if (h.zero_threshold != before) c->zero_count = zero_c;
        c->zero_threshold = h.zero_threshold;
      } else {
        other_zero = ReconcileZero(h, other);
      }
      if (h.zero_threshold != before) {
        DropZeroed(positive, h.schema, h.zero_threshold);
        DropZeroed(negative, h.schema, h.zero_threshold);
      }
      if (h.zero_threshold != other.zero_threshold) {
        DropZeroed(other_positive, other.schema, h.zero_threshold);
        DropZeroed(other_negative, other.schema, h.zero_threshold);
      }
    }
    add(other_zero, h.zero_count, c ? &c->zero_count : nullptr);
    const int32_t schema = std::min(h.schema, other.schema);
    positive = Coarsen(positive, h.schema, schema, kahan);
    negative = Coarsen(negative, h.schema, schema, kahan);
    other_positive = Coarsen(other_positive, other.schema, schema, kahan);
    other_negative = Coarsen(other_negative, other.schema, schema, kahan);
    h.schema = schema;
    if (c) c->schema = schema;
  }
  add(other.count, h.count, c ? &c->count : nullptr);
  add(other.sum, h.sum, c ? &c->sum : nullptr);
  positive = Merge(positive, other_positive, subtract, kahan);
  negative = Merge(negative, other_negative, subtract, kahan);
  Pack(positive, &h.positive_spans, &h.positive_counts, c ? &c->positive_counts : nullptr);
  Pack(negative, &h.negative_spans, &h.negative_counts, c ? &c->negative_counts : nullptr);
  if (c) {
    c->positive_spans = h.positive_spans;
    c->negative_spans = h.negative_spans;
  }
  return notes;
}

void CompactSide(std::vector<BucketSpan>& spans, std::vector<double>& counts,
                 int max_empty_buckets) {
  WorkBuckets kept;
  const WorkBuckets all = Unpack(spans, counts);
  for (size_t i = 0; i < all.size();) {
    if (all[i].count != 0) {
      kept.push_back(all[i++]);
      continue;
    }
    size_t end = i;
    while (end < all.size() && all[end].count == 0) ++end;
    // A short gap inside stays; leading and trailing zeros never do.
    const bool inside = !kept.empty() && end < all.size() &&
                        all[end].index - kept.back().index - 1 <= max_empty_buckets;
    if (inside) {
      for (int32_t index = kept.back().index + 1; index < all[end].index; ++index) {
        kept.push_back({index, 0, 0});
      }
    }
    i = end;
  }
  if (max_empty_buckets > 0) {
    // Gaps that the spans left out are filled the same way.
    WorkBuckets filled;
    for (const WorkBucket& bucket : kept) {
      if (!filled.empty() && bucket.index - filled.back().index - 1 <= max_empty_buckets) {
        for (int32_t index = filled.back().index + 1; index < bucket.index; ++index) {
          filled.push_back({index, 0, 0});
        }
      }
      filled.push_back(bucket);
    }
    kept = std::move(filled);
  }
  Pack(kept, &spans, &counts);
}

bool CountsEqual(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

bool SameDouble(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

std::vector<BucketSpan> WithoutEmptySpans(const std::vector<BucketSpan>& spans) {
  std::vector<BucketSpan> out;
  int32_t skipped = 0;
  for (const BucketSpan& span : spans) {
    if (span.length == 0) {
      skipped += span.offset;
    } else if (!out.empty() && span.offset + skipped == 0) {
      out.back().length += span.length;
      skipped = 0;
    } else {
      out.push_back({span.offset + skipped, span.length});
      skipped = 0;
    }
  }
  return out;
}

/// Tells whether some bucket of `current` holds less than the same bucket of `previous`.
bool AnyFell(const WorkBuckets& current, const WorkBuckets& previous) {
  size_t i = 0;
  for (const WorkBucket& before : previous) {
    while (i < current.size() && current[i].index < before.index) ++i;
    const double now =
        i < current.size() && current[i].index == before.index ? current[i].count : 0;
    if (now < before.count) return true;
  }
  return false;
}

// --- Trimming ---

/// What stays of a bucket, and where its middle lies.
struct Kept {
  double count = 0;
  double midpoint = 0;
};

/// Keeps the part of a bucket with finite bounds that lies on the right side of `bound`.
Kept KeepFinite(const HistogramBucket& b, double bound, bool upper, bool linear) {
  const double from = upper ? b.lower : std::max(b.lower, bound);
  const double to = upper ? std::min(b.upper, bound) : b.upper;
  if (from >= to) return {};
  double fraction = 1;
  if (from != b.lower || to != b.upper) {
    if (linear) {
      fraction = (to - from) / (b.upper - b.lower);
    } else {
      const double log_lower = std::log2(std::fabs(b.lower));
      const double log_upper = std::log2(std::fabs(b.upper));
      const double log_bound = std::log2(std::fabs(bound));
      const double below = b.lower > 0 ? (log_bound - log_lower) / (log_upper - log_lower)
                                       : 1 - (log_bound - log_upper) / (log_lower - log_upper);
      fraction = upper ? below : 1 - below;
    }
  }
  double midpoint = (from + to) / 2;
  if (!linear) {
    midpoint = std::sqrt(std::fabs(from) * std::fabs(to));
    if (b.upper <= 0) midpoint = -midpoint;
  }
  return {b.count * fraction, midpoint};
}

/// Does the same for custom buckets, of which the outer ones reach to infinity. Where nothing is
/// known about the inside of such a bucket, it stays whole if the trim leaves its open side alone
/// and goes whole otherwise; what stays is taken to lie at the finite end.
Kept KeepCustom(HistogramBucket b, double bound, bool upper) {
  if (bound == (upper ? kInf : -kInf)) return {b.count, 0};
  if (bound == (upper ? -kInf : kInf)) return {};
  // As everywhere, a first bucket that ends above zero begins at zero; asked for what lies above a
  // negative bound, it is open below all the same.
  if (b.lower == -kInf && !upper && bound < 0) return {};
  if (b.lower == -kInf && b.upper > 0 && b.upper != kInf) b.lower = 0;
  if (b.lower == -kInf && b.upper == kInf) return {};
  if (b.lower == -kInf) return upper ? Kept{b.count, std::min(b.upper, bound)} : Kept{};
  if (b.upper == kInf) return upper ? Kept{} : Kept{b.count, std::max(b.lower, bound)};
  return KeepFinite(b, bound, upper, true);
}

}  // namespace

double ExponentialBound(int32_t index, int32_t schema) {
  if (schema < 0) {
    const int64_t exponent = static_cast<int64_t>(index) << -schema;
    if (exponent == 1024) return std::numeric_limits<double>::max();
    return std::ldexp(1.0, static_cast<int>(std::clamp<int64_t>(exponent, -5000, 5000)));
  }
  const int32_t fraction_index = index & ((1 << schema) - 1);
  const double fraction = Fractions(schema)[fraction_index];
  const int32_t exponent = (index >> schema) + 1;
  if (fraction == 0.5 && exponent == 1025) return std::numeric_limits<double>::max();
  return std::ldexp(fraction, exponent);
}

std::vector<BucketCount> PositiveBuckets(const FloatHistogram& h) {
  std::vector<BucketCount> out;
  out.reserve(h.positive_counts.size());
  ForEachBucket(h.positive_spans, h.positive_counts,
                [&](int32_t index, double count, size_t) { out.push_back({index, count}); });
  return out;
}
std::vector<BucketCount> NegativeBuckets(const FloatHistogram& h) {
  std::vector<BucketCount> out;
  out.reserve(h.negative_counts.size());
  ForEachBucket(h.negative_spans, h.negative_counts,
                [&](int32_t index, double count, size_t) { out.push_back({index, count}); });
  return out;
}

HistogramBucket PositiveBucket(const FloatHistogram& h, BucketCount bucket) {
  HistogramBucket out;
  out.count = bucket.count;
  if (h.uses_custom_buckets()) {
    const auto bound = [&](int64_t index) {
      if (index < 0) return -kInf;
      return static_cast<size_t>(index) < h.custom_values.size() ? h.custom_values[index] : kInf;
    };
    out.upper = bound(bucket.index);
    out.lower = bound(static_cast<int64_t>(bucket.index) - 1);
    out.rule =
        bucket.index == 0 ? HistogramBucket::Rule::kClosed : HistogramBucket::Rule::kOpenLeft;
    return out;
  }
  out.upper = ExponentialBound(bucket.index, h.schema);
  out.lower = ExponentialBound(bucket.index - 1, h.schema);
  out.rule = HistogramBucket::Rule::kOpenLeft;
  return out;
}

HistogramBucket NegativeBucket(const FloatHistogram& h, BucketCount bucket) {
  HistogramBucket out;
  out.count = bucket.count;
  out.lower = -ExponentialBound(bucket.index, h.schema);
  out.upper = -ExponentialBound(bucket.index - 1, h.schema);
  out.rule = HistogramBucket::Rule::kOpenRight;
  return out;
}

HistogramBucket ZeroBucket(const FloatHistogram& h) {
  return {-h.zero_threshold, h.zero_threshold, HistogramBucket::Rule::kClosed, h.zero_count};
}

std::vector<HistogramBucket> FloatHistogram::Buckets() const {
  std::vector<HistogramBucket> out;
  const std::vector<BucketCount> negative = NegativeBuckets(*this);
  for (auto it = negative.rbegin(); it != negative.rend(); ++it) {
    out.push_back(NegativeBucket(*this, *it));
  }
  if (zero_count != 0) out.push_back(ZeroBucket(*this));
  for (const BucketCount& bucket : PositiveBuckets(*this)) {
    out.push_back(PositiveBucket(*this, bucket));
  }
  return out;
}

FloatHistogram FloatHistogram::From(const Histogram& h) {
  FloatHistogram out;
  out.reset_hint = h.reset_hint;
  out.schema = h.schema;
  out.zero_threshold = h.zero_threshold;
  out.sum = h.sum;
  out.custom_values = h.custom_values;
  if (h.is_stale()) return out;  // nothing else of a stale marker means anything
  out.positive_spans = h.positive_spans;
  out.negative_spans = h.negative_spans;
  if (h.is_float) {
    out.count = h.float_count;
    out.zero_count = h.float_zero_count;
    out.positive_counts = h.positive_counts;
    out.negative_counts = h.negative_counts;
    return out;
  }
  out.count = static_cast<double>(h.count);
  out.zero_count = static_cast<double>(h.zero_count);
  const auto absolute = [](const std::vector<int64_t>& deltas, std::vector<double>* counts) {
    uint64_t count = 0;
    counts->reserve(deltas.size());
    for (const int64_t delta : deltas) {
      count += static_cast<uint64_t>(delta);
      counts->push_back(static_cast<double>(static_cast<int64_t>(count)));
    }
  };
  absolute(h.positive_deltas, &out.positive_counts);
  absolute(h.negative_deltas, &out.negative_counts);
  return out;
}

bool Equals(const FloatHistogram& a, const FloatHistogram& b) {
  return a.schema == b.schema && SameDouble(a.zero_threshold, b.zero_threshold) &&
         SameDouble(a.zero_count, b.zero_count) && SameDouble(a.count, b.count) &&
         SameDouble(a.sum, b.sum) &&
         (!a.uses_custom_buckets() || SameBounds(a.custom_values, b.custom_values)) &&
         WithoutEmptySpans(a.positive_spans) == WithoutEmptySpans(b.positive_spans) &&
         WithoutEmptySpans(a.negative_spans) == WithoutEmptySpans(b.negative_spans) &&
         CountsEqual(a.positive_counts, b.positive_counts) &&
         CountsEqual(a.negative_counts, b.negative_counts);
}

FloatHistogram Compact(const FloatHistogram& histogram, int max_empty_buckets) {
  FloatHistogram out = histogram;
  CompactSide(out.positive_spans, out.positive_counts, max_empty_buckets);
  CompactSide(out.negative_spans, out.negative_counts, max_empty_buckets);
  return out;
}

std::string ToString(const FloatHistogram& h) {
  std::string out = Concat("{count:", GoFormatG(h.count), ", sum:", GoFormatG(h.sum));
  for (const HistogramBucket& b : h.Buckets()) {
    if (b.count == 0) continue;
    using enum HistogramBucket::Rule;
    out += Concat(", ", b.rule == kClosed || b.rule == kOpenRight ? "[" : "(", GoFormatG(b.lower),
                  ",", GoFormatG(b.upper), b.rule == kClosed || b.rule == kOpenLeft ? "]" : ")",
                  ":", GoFormatG(b.count));
  }
  return out + "}";
}

std::string TestExpression(const FloatHistogram& h) {
  std::vector<std::string> parts;
  if (h.schema != 0) parts.push_back(Concat("schema:", h.schema));
  if (h.count != 0) parts.push_back("count:" + GoFormatG(h.count));
  if (h.sum != 0) parts.push_back("sum:" + GoFormatG(h.sum));
  if (h.zero_count != 0) parts.push_back("z_bucket:" + GoFormatG(h.zero_count));
  if (h.zero_threshold != 0) parts.push_back("z_bucket_w:" + GoFormatG(h.zero_threshold));
  if (h.uses_custom_buckets()) {
    std::string values;
    for (const double v : h.custom_values) values += (values.empty() ? "" : " ") + GoFormatG(v);
    parts.push_back(Concat("custom_values:[", values, "]"));
  }
  switch (h.reset_hint) {
    case CounterResetHint::kUnknown:
      break;
    case CounterResetHint::kReset:
      parts.push_back("counter_reset_hint:reset");
      break;
    case CounterResetHint::kNotReset:
      parts.push_back("counter_reset_hint:not_reset");
      break;
    case CounterResetHint::kGauge:
      parts.push_back("counter_reset_hint:gauge");
      break;
  }
  const auto side = [&](std::string_view prefix, const std::vector<BucketCount>& buckets) {
    if (buckets.empty()) return;
    if (buckets.front().index != 0) {
      parts.push_back(Concat(prefix, "offset:", buckets.front().index));
    }
    std::string counts;
    int32_t next = buckets.front().index;
    for (const BucketCount& bucket : buckets) {
      for (; next < bucket.index; ++next) counts += counts.empty() ? "0" : " 0";
      counts += (counts.empty() ? "" : " ") + GoFormatG(bucket.count);
      ++next;
    }
    parts.push_back(Concat(prefix, "buckets:[", counts, "]"));
  };
  side("", PositiveBuckets(h));
  side("n_", NegativeBuckets(h));
  std::string out = "{{";
  for (size_t i = 0; i < parts.size(); ++i) out += (i ? " " : "") + parts[i];
  return out + "}}";
}

CombineNotes Add(FloatHistogram& h, const FloatHistogram& other) {
  return Combine(h, other, false, nullptr);
}
CombineNotes Subtract(FloatHistogram& h, const FloatHistogram& other) {
  return Combine(h, other, true, nullptr);
}

HistogramSum::HistogramSum(FloatHistogram first) : sum_(std::move(first)) {}

CombineNotes HistogramSum::Add(const FloatHistogram& other) {
  if (!has_compensation_) {
    c_ = sum_;
    c_.count = c_.sum = c_.zero_count = 0;
    std::fill(c_.positive_counts.begin(), c_.positive_counts.end(), 0.0);
    std::fill(c_.negative_counts.begin(), c_.negative_counts.end(), 0.0);
    has_compensation_ = true;
  }
  return Combine(sum_, other, false, &c_);
}

void HistogramSum::Scale(double factor) {
  query::Scale(sum_, factor);
  if (has_compensation_) query::Scale(c_, factor);
}
void HistogramSum::Divide(double divisor) {
  query::Divide(sum_, divisor);
  if (has_compensation_) query::Divide(c_, divisor);
}

bool HistogramSum::overflowed() const {
  const auto any_inf = [](const std::vector<double>& counts) {
    return std::any_of(counts.begin(), counts.end(), [](double v) { return std::isinf(v); });
  };
  return std::isinf(sum_.zero_count) || std::isinf(sum_.count) || std::isinf(sum_.sum) ||
         any_inf(sum_.positive_counts) || any_inf(sum_.negative_counts);
}

FloatHistogram HistogramSum::Total() const {
  FloatHistogram out = sum_;
  if (!has_compensation_) return out;
  out.count += c_.count;
  out.sum += c_.sum;
  out.zero_count += c_.zero_count;
  for (size_t i = 0; i < out.positive_counts.size(); ++i) {
    out.positive_counts[i] += c_.positive_counts[i];
  }
  for (size_t i = 0; i < out.negative_counts.size(); ++i) {
    out.negative_counts[i] += c_.negative_counts[i];
  }
  return out;
}

void Scale(FloatHistogram& h, double factor) {
  // Negative counts are no counter's.
  if (factor < 0) h.reset_hint = CounterResetHint::kGauge;
  h.zero_count *= factor;
  h.count *= factor;
  h.sum *= factor;
  for (double& count : h.positive_counts) count *= factor;
  for (double& count : h.negative_counts) count *= factor;
}

void Divide(FloatHistogram& h, double divisor) {
  if (divisor < 0) h.reset_hint = CounterResetHint::kGauge;
  h.zero_count /= divisor;
  h.count /= divisor;
  h.sum /= divisor;
  if (divisor == 0) {
    // Infinitely many observations do not say where they fell.
    h.positive_spans.clear();
    h.negative_spans.clear();
    h.positive_counts.clear();
    h.negative_counts.clear();
    return;
  }
  for (double& count : h.positive_counts) count /= divisor;
  for (double& count : h.negative_counts) count /= divisor;
}

void ReduceResolution(FloatHistogram& h, int32_t schema) {
  if (schema == h.schema) return;
  VARVE_CHECK(schema < h.schema && !h.uses_custom_buckets());
  Pack(Coarsen(Unpack(h.positive_spans, h.positive_counts), h.schema, schema, false),
       &h.positive_spans, &h.positive_counts);
  Pack(Coarsen(Unpack(h.negative_spans, h.negative_counts), h.schema, schema, false),
       &h.negative_spans, &h.negative_counts);
  h.schema = schema;
}

bool DetectReset(const FloatHistogram& h, const FloatHistogram& previous) {
  if (h.reset_hint == CounterResetHint::kReset) return true;
  if (h.reset_hint == CounterResetHint::kNotReset) return false;
  // A gauge says nothing about resets, and neither does "unknown": look at the counts.
  if (h.count < previous.count) return true;
  if (h.uses_custom_buckets() != previous.uses_custom_buckets()) return true;
  WorkBuckets now = Unpack(h.positive_spans, h.positive_counts);
  WorkBuckets before = Unpack(previous.positive_spans, previous.positive_counts);
  if (h.uses_custom_buckets()) {
    if (!SameBounds(h.custom_values, previous.custom_values)) {
      const std::vector<double> bounds = Intersect(h.custom_values, previous.custom_values);
      now = ToBounds(now, h.custom_values, bounds, false);
      before = ToBounds(before, previous.custom_values, bounds, false);
    }
    return AnyFell(now, before);
  }
  if (h.schema > previous.schema) return true;
  if (h.zero_threshold < previous.zero_threshold) return true;
  double threshold = h.zero_threshold;
  const double previous_zero = WidenedZeroCount(previous, threshold);
  // The new zero bucket would end inside a populated old bucket: not the same counter.
  if (threshold != h.zero_threshold) return true;
  if (h.zero_count < previous_zero) return true;
  WorkBuckets before_negative = Unpack(previous.negative_spans, previous.negative_counts);
  if (h.zero_threshold != previous.zero_threshold) {
    DropZeroed(before, previous.schema, h.zero_threshold);
    DropZeroed(before_negative, previous.schema, h.zero_threshold);
  }
  before = Coarsen(before, previous.schema, h.schema, false);
  before_negative = Coarsen(before_negative, previous.schema, h.schema, false);
  return AnyFell(now, before) ||
         AnyFell(Unpack(h.negative_spans, h.negative_counts), before_negative);
}

void Trim(FloatHistogram& h, double bound, bool upper) {
  const bool custom = h.uses_custom_buckets();
  double count = 0;
  double sum = 0;
  bool any_removed = false;
  const auto take = [&](const Kept& kept, double before) {
    any_removed |= kept.count != before;
    count += kept.count;
    sum += kept.count * kept.midpoint;
    return kept.count;
  };
  const std::vector<BucketCount> positive = PositiveBuckets(h);
  for (size_t i = 0; i < positive.size(); ++i) {
    if (positive[i].count == 0) continue;
    const HistogramBucket b = PositiveBucket(h, positive[i]);
    h.positive_counts[i] =
        take(custom ? KeepCustom(b, bound, upper) : KeepFinite(b, bound, upper, false), b.count);
  }
  const std::vector<BucketCount> negative = NegativeBuckets(h);
  for (size_t i = 0; i < negative.size(); ++i) {
    if (negative[i].count == 0) continue;
    const HistogramBucket b = NegativeBucket(h, negative[i]);
    h.negative_counts[i] = take(KeepFinite(b, bound, upper, false), b.count);
  }
  if (h.zero_count > 0) {
    HistogramBucket zero = ZeroBucket(h);
    // A histogram with observations on one side only has them there in the zero bucket too.
    if (h.negative_counts.empty() && !h.positive_counts.empty()) zero.lower = 0;
    if (h.positive_counts.empty() && !h.negative_counts.empty()) zero.upper = 0;
    h.zero_count = take(KeepFinite(zero, bound, upper, true), zero.count);
  }
  // What lost nothing keeps its exact sum; otherwise the middles of what is left must do.
  if (any_removed) {
    h.count = count;
    h.sum = count == 0 ? 0 : sum;
  }
  h = Compact(h, 0);
}

uint64_t SampleWeight(const FloatHistogram& h) {
  // What Prometheus counts: the bytes of the sample in its memory layout, in units of a float
  // sample's 16 bytes.
  uint64_t bytes = 8 + 9 * 8 + 5 * 24 + 8;
  bytes += h.custom_values.size() * 8;
  bytes += (h.positive_spans.size() + h.negative_spans.size()) * 8;
  bytes += (h.positive_counts.size() + h.negative_counts.size()) * 8;
  return bytes / 16;
}

}  // namespace varve::query
