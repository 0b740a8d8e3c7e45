#pragma once

#include <span>

#include "varve/query.h"
#include "varve/status.h"

namespace varve::query {

/// Finds the native histogram whose non-empty buckets are `buckets`, in ascending order: what
/// Prometheus's API prints says no schema. Buckets whose bounds are those of a schema make an
/// exponential histogram, all others one with custom bounds. A zero bucket without observations is
/// not printed; its threshold is lost. Errors: kInvalidArgument for bounds that no histogram has.
Result<FloatHistogram> HistogramOfBuckets(double count, double sum,
                                          std::span<const HistogramBucket> buckets);

}  // namespace varve::query
