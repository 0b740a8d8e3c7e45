#pragma once

#include <optional>
#include <span>
#include <vector>

#include "varve/query.h"
#include "varve/status.h"

namespace varve::query {

/// What the buckets of a histogram do not say, or not always.
struct HistogramShape {
  /// -4..8 or kCustomBucketsSchema. By default it is found from the bounds.
  std::optional<int32_t> schema;
  /// Of a zero bucket that is not among the buckets, because it is empty.
  double zero_threshold = 0;
  /// Of custom buckets; by default the bounds of the buckets.
  std::vector<double> custom_values;
  CounterResetHint reset_hint = CounterResetHint::kUnknown;
  /// Whether the rules of the buckets say something.
  bool has_rules = true;
};

/// Finds the native histogram whose buckets are `buckets`, in ascending order; empty ones may be
/// left out. What Prometheus's API prints says no schema: buckets whose bounds are those of a
/// schema make an exponential histogram, all others one with custom bounds. Errors:
/// kInvalidArgument for bounds that no histogram has, or none of that schema.
Result<FloatHistogram> HistogramOfBuckets(double count, double sum,
                                          std::span<const HistogramBucket> buckets,
                                          const HistogramShape& shape = {});

/// Makes the sample that stores `histogram`: with integers if all counts are whole numbers, else
/// with floats. The inverse of FloatHistogram::From, but that a float histogram of whole counts
/// becomes one of integers, which means the same to every query.
Histogram ToSample(const FloatHistogram& histogram);

}  // namespace varve::query
