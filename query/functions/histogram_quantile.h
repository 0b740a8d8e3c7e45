#pragma once

#include <cmath>
#include <vector>

#include "varve/query.h"

/// Quantiles and fractions of classic and native histograms. (Prometheus, promql/quantile.)
namespace varve::query {

/// A bucket of a classic histogram: the count of observations up to its bound.
struct ClassicBucket {
  double upper_bound = 0;
  double count = 0;
};
struct ClassicQuantile {
  double value = 0;
  bool forced_monotonic = false;  // a count was below the one before by more than rounding
};

/// Computes the q-quantile; sorts and repairs `buckets` on the way. NaN without a +Inf bucket,
/// with fewer than two bounds, or without observations. Precondition: not empty.
ClassicQuantile QuantileOfBuckets(double q, std::vector<ClassicBucket>& buckets);
/// Computes the share of observations in (lower, upper]; sorts `buckets`. Precondition: not empty.
double FractionOfBuckets(double lower, double upper, std::vector<ClassicBucket>& buckets);

/// What NaN observations did to a result.
enum class NanEffect : uint8_t { kNone, kNanResult, kSkewed };

struct NativeResult {
  double value = 0;
  NanEffect nan = NanEffect::kNone;
};
/// Computes the q-quantile: exponential buckets are interpolated on a logarithmic scale, the zero
/// bucket and custom ones linearly.
NativeResult QuantileOfHistogram(double q, const FloatHistogram& h);
/// Computes the share of observations between the bounds; `nan` is kSkewed if some are NaN.
NativeResult FractionOfHistogram(double lower, double upper, const FloatHistogram& h);

/// Estimates the variance from the middles of the buckets.
double VarianceOfHistogram(const FloatHistogram& h);

/// The order of values in a quantile: -0 before 0, so that the answer does not depend on how they
/// were sorted. Not for NaN.
inline bool QuantileLess(double a, double b) {
  return a < b || (a == b && std::signbit(a) && !std::signbit(b));
}
/// Computes the q-quantile of plain values, which it sorts (NaN first). NaN if there are none.
double QuantileOfValues(double q, std::vector<double>& values);
/// The same of values that are sorted by QuantileLess and not NaN.
double QuantileOfSorted(double q, const double* values, size_t count);

}  // namespace varve::query
