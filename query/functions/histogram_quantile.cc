#include "query/functions/histogram_quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "query/functions/float_histogram.h"
#include "query/functions/kahan.h"

namespace varve::query {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
/// Relative differences up to this between neighbouring counts are rounding, not data.
constexpr double kSmallDelta = 1e-12;

void SortBuckets(std::vector<ClassicBucket>& buckets) {
  // Callers that ask for step after step bring them in order.
  bool sorted = true;
  for (size_t i = 1; i < buckets.size(); ++i) {
    sorted &= buckets[i - 1].upper_bound <= buckets[i].upper_bound;
  }
  if (sorted) return;
  std::stable_sort(
      buckets.begin(), buckets.end(),
      [](const ClassicBucket& a, const ClassicBucket& b) { return a.upper_bound < b.upper_bound; });
}

/// Adds up buckets that have the same bound.
void MergeEqualBounds(std::vector<ClassicBucket>& buckets) {
  size_t last = 0;
  for (size_t i = 1; i < buckets.size(); ++i) {
    if (buckets[i].upper_bound == buckets[last].upper_bound) {
      buckets[last].count += buckets[i].count;
    } else {
      buckets[++last] = buckets[i];
    }
  }
  buckets.resize(last + 1);
}

bool AlmostEqual(double a, double b, double epsilon) {
  if (std::isnan(a) && std::isnan(b)) return true;
  if (a == b) return true;
  const double sum = std::fabs(a) + std::fabs(b);
  const double difference = std::fabs(a - b);
  constexpr double kSmallest = 2.2250738585072014e-308;
  if (a == 0 || b == 0 || sum < kSmallest) return difference < epsilon * kSmallest;
  return difference / std::min(sum, std::numeric_limits<double>::max()) < epsilon;
}

/// Levels small differences and lifts real decreases. Returns whether there was one of the latter.
bool MakeMonotonic(std::vector<ClassicBucket>& buckets) {
  bool forced = false;
  double previous = buckets[0].count;
  for (size_t i = 1; i < buckets.size(); ++i) {
    const double current = buckets[i].count;
    if (current == previous) continue;
    if (previous > 0 && current - previous > 10 * kSmallDelta * current) {
      // Far enough apart, without a division. An infinite count takes the long way.
      previous = current;
      continue;
    }
    if (AlmostEqual(previous, current, kSmallDelta)) {
      buckets[i].count = previous;
      continue;
    }
    if (current < previous) {
      buckets[i].count = previous;
      forced = true;
      continue;
    }
    previous = current;
  }
  return forced;
}

/// Clips a zero bucket that has observations of one sign only.
void ClipZeroBucket(const FloatHistogram& h, HistogramBucket& bucket) {
  if (h.negative_counts.empty() && !h.positive_counts.empty()) bucket.lower = 0;
  if (h.positive_counts.empty() && !h.negative_counts.empty()) bucket.upper = 0;
}

/// Finds where two bounds fall into cumulative counts, bucket after bucket.
class FractionFinder {
 public:
  FractionFinder(double lower, double upper) : lower_(lower), upper_(upper) {}
  /// Visits a bucket; `rank` counts what lies below it. `interpolate` maps a value strictly
  /// inside to a rank. Returns true when both bounds are found.
  template <typename F>
  bool Visit(double bucket_lower, double bucket_upper, double rank, F&& interpolate) {
    if (!lower_set_ && bucket_lower >= lower_) SetLower(rank);
    if (!upper_set_ && bucket_lower >= upper_) SetUpper(rank);
    if (lower_set_ && upper_set_) return true;
    if (!lower_set_ && bucket_lower < lower_ && bucket_upper > lower_) {
      SetLower(interpolate(lower_));
    }
    if (!upper_set_ && bucket_lower < upper_ && bucket_upper > upper_) {
      SetUpper(interpolate(upper_));
    }
    return lower_set_ && upper_set_;
  }
  /// Gives the share of `count`, of which `total` lies in buckets.
  double Fraction(double total, double count) const {
    const double low = !lower_set_ || lower_rank_ > total ? total : lower_rank_;
    const double high = !upper_set_ || upper_rank_ > total ? total : upper_rank_;
    return (high - low) / count;
  }

 private:
  void SetLower(double rank) {
    lower_rank_ = rank;
    lower_set_ = true;
  }
  void SetUpper(double rank) {
    upper_rank_ = rank;
    upper_set_ = true;
  }
  double lower_;
  double upper_;
  double lower_rank_ = 0;
  double upper_rank_ = 0;
  bool lower_set_ = false;
  bool upper_set_ = false;
};

}  // namespace

ClassicQuantile QuantileOfBuckets(double q, std::vector<ClassicBucket>& buckets) {
  if (std::isnan(q)) return {kNan, false};
  if (q < 0) return {-kInf, false};
  if (q > 1) return {kInf, false};
  SortBuckets(buckets);
  if (buckets.back().upper_bound != kInf) return {kNan, false};
  MergeEqualBounds(buckets);
  const bool forced = MakeMonotonic(buckets);
  if (buckets.size() < 2) return {kNan, false};
  const double observations = buckets.back().count;
  if (observations == 0) return {kNan, false};
  double rank = q * observations;
  const size_t last = buckets.size() - 1;
  // The first bucket with enough; counts that are NaN never have enough. A plain binary search,
  // since only that gives Prometheus's answer for unordered (NaN) counts.
  size_t low = 0;
  size_t high = last;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (!(buckets[middle].count >= rank)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const size_t b = low;
  if (b == last) return {buckets[last - 1].upper_bound, forced};
  if (b == 0 && buckets[0].upper_bound <= 0) return {buckets[0].upper_bound, forced};
  double start = 0;
  const double end = buckets[b].upper_bound;
  double count = buckets[b].count;
  if (b > 0) {
    start = buckets[b - 1].upper_bound;
    count -= buckets[b - 1].count;
    rank -= buckets[b - 1].count;
  }
  return {start + (end - start) * (rank / count), forced};
}

double FractionOfBuckets(double lower, double upper, std::vector<ClassicBucket>& buckets) {
  SortBuckets(buckets);
  if (buckets.back().upper_bound != kInf) return kNan;
  MergeEqualBounds(buckets);
  const double count = buckets.back().count;
  if (count == 0 || std::isnan(lower) || std::isnan(upper)) return kNan;
  if (lower >= upper) return 0;
  FractionFinder finder(lower, upper);
  double rank = 0;
  for (size_t i = 0; i < buckets.size(); ++i) {
    const ClassicBucket& b = buckets[i];
    const double low = i > 0 ? buckets[i - 1].upper_bound : (b.upper_bound > 0 ? 0 : -kInf);
    const auto linear = [&](double v) {
      // Nothing can be said about the inside of a bucket without a lower end: it counts whole.
      if (low == -kInf) return b.count;
      return rank + (b.count - rank) * (v - low) / (b.upper_bound - low);
    };
    if (finder.Visit(low, b.upper_bound, rank, linear)) break;
    rank = b.count;
  }
  return finder.Fraction(count, count);
}

NativeResult QuantileOfHistogram(double q, const FloatHistogram& h) {
  if (q < 0) return {-kInf};
  if (q > 1) return {kInf};
  if (h.count == 0 || std::isnan(q)) return {kNan};

  // NaN observations raise the count but lie in no bucket: then ranks hold from below only.
  const bool nan_sum = std::isnan(h.sum);
  const bool forward = nan_sum || q < 0.5;
  double rank = forward ? q * h.count : (1 - q) * h.count;

  FloatHistogram with_zero;
  std::vector<HistogramBucket> buckets = h.Buckets();
  if (!forward) std::reverse(buckets.begin(), buckets.end());
  HistogramBucket bucket;
  double count = 0;
  size_t at = 0;
  for (; at < buckets.size(); ++at) {
    if (buckets[at].count == 0) continue;
    bucket = buckets[at];
    count += bucket.count;
    if (count >= rank) {
      ++at;
      break;
    }
  }
  NativeResult result;
  if (nan_sum) {
    double total = count;
    for (size_t i = at; i < buckets.size(); ++i) total += buckets[i].count;
    if (total < h.count) result.nan = NanEffect::kSkewed;
    if (count < rank) {
      result.nan = NanEffect::kNanResult;
      result.value = kNan;
      return result;
    }
  }
  const bool custom = h.uses_custom_buckets();
  if (!custom && bucket.lower < 0 && bucket.upper > 0) {
    ClipZeroBucket(h, bucket);
  } else if (custom) {
    if (bucket.lower == -kInf) {
      if (bucket.upper <= 0) {
        result.value = bucket.upper;
        return result;
      }
      bucket.lower = 0;
    } else if (bucket.upper == kInf) {
      result.value = bucket.lower;
      return result;
    }
  }
  // Rounding may make the buckets hold more than the count says.
  if (count > h.count) count = h.count;
  if (count < rank) {
    result.value = bucket.upper;
    return result;
  }
  if (forward) {
    rank -= count - bucket.count;
  } else {
    rank = count - rank;
  }
  const double fraction = rank / bucket.count;
  if (custom || (bucket.lower <= 0 && bucket.upper >= 0)) {
    result.value = bucket.lower + (bucket.upper - bucket.lower) * fraction;
    return result;
  }
  const double log_lower = std::log2(std::fabs(bucket.lower));
  const double log_upper = std::log2(std::fabs(bucket.upper));
  if (bucket.lower > 0) {
    result.value = std::exp2(log_lower + (log_upper - log_lower) * fraction);
  } else {
    result.value = -std::exp2(log_upper + (log_lower - log_upper) * (1 - fraction));
  }
  return result;
}

NativeResult FractionOfHistogram(double lower, double upper, const FloatHistogram& h) {
  if (h.count == 0 || std::isnan(lower) || std::isnan(upper)) return {kNan};
  if (lower >= upper) return {0};
  const bool custom = h.uses_custom_buckets();
  FractionFinder finder(lower, upper);
  double rank = 0;
  bool found = false;
  for (HistogramBucket b : h.Buckets()) {
    bool linear = custom;
    if (!custom && b.lower <= 0 && b.upper >= 0) {
      linear = true;
      ClipZeroBucket(h, b);
    }
    if (custom && b.lower == -kInf && b.upper > 0) b.lower = 0;
    const auto interpolate = [&](double v) {
      if (linear) {
        if (b.lower == -kInf) return rank + b.count;
        return rank + b.count * (v - b.lower) / (b.upper - b.lower);
      }
      const double log_lower = std::log2(std::fabs(b.lower));
      const double log_upper = std::log2(std::fabs(b.upper));
      const double log_v = std::log2(std::fabs(v));
      const double fraction = v > 0 ? (log_v - log_lower) / (log_upper - log_lower)
                                    : 1 - ((log_v - log_upper) / (log_lower - log_upper));
      return rank + b.count * fraction;
    };
    if (!found) found = finder.Visit(b.lower, b.upper, rank, interpolate);
    rank += b.count;
  }
  NativeResult result;
  // Without NaN observations the count is what the buckets hold, but for rounding.
  const bool nan_sum = std::isnan(h.sum);
  if (nan_sum && rank < h.count) result.nan = NanEffect::kSkewed;
  result.value = finder.Fraction(nan_sum ? std::min(rank, h.count) : h.count, h.count);
  return result;
}

double VarianceOfHistogram(const FloatHistogram& h) {
  const double mean = h.sum / h.count;
  KahanSum variance;
  for (const HistogramBucket& b : h.Buckets()) {
    if (b.count == 0) continue;
    double value;
    if (h.uses_custom_buckets()) {
      value = (b.upper + b.lower) / 2.0;
    } else if (b.lower <= 0 && b.upper >= 0) {
      value = 0;
    } else {
      value = std::sqrt(b.upper * b.lower);
      if (b.upper < 0) value = -value;
    }
    const double delta = value - mean;
    KahanAdd(b.count * delta * delta, variance);
  }
  return (variance.sum + variance.c) / h.count;
}

double QuantileOfValues(double q, std::vector<double>& values) {
  if (values.empty() || std::isnan(q)) return kNan;
  if (q < 0) return -kInf;
  if (q > 1) return kInf;
  const auto less = [](double a, double b) {
    if (std::isnan(a)) return !std::isnan(b);
    return QuantileLess(a, b);
  };
  const double n = static_cast<double>(values.size());
  const double rank = q * (n - 1);
  const double lower = std::max(0.0, std::floor(rank));
  const double upper = std::min(n - 1, lower + 1);
  const double weight = rank - std::floor(rank);
  // Selection finds the same two order statistics as sorting.
  const auto low = values.begin() + static_cast<ptrdiff_t>(lower);
  std::nth_element(values.begin(), low, values.end(), less);
  const double low_value = *low;
  double high_value = low_value;
  if (upper > lower) high_value = *std::min_element(low + 1, values.end(), less);
  return low_value * (1 - weight) + high_value * weight;
}

double QuantileOfSorted(double q, const double* values, size_t count) {
  if (count == 0 || std::isnan(q)) return kNan;
  if (q < 0) return -kInf;
  if (q > 1) return kInf;
  const double n = static_cast<double>(count);
  const double rank = q * (n - 1);
  const double lower = std::max(0.0, std::floor(rank));
  const double upper = std::min(n - 1, lower + 1);
  const double weight = rank - std::floor(rank);
  return values[static_cast<size_t>(lower)] * (1 - weight) +
         values[static_cast<size_t>(upper)] * weight;
}

}  // namespace varve::query
