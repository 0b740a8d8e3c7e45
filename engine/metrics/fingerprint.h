#pragma once

#include <cstdint>

#include "varve/sample.h"

namespace varve::metrics {

/// Hashes what makes two histograms the same sample, by which a repeat is told from a conflict:
/// everything but the reset hint, whatever empty buckets they spell out. All stale ones are equal.
uint64_t Fingerprint(const Histogram& histogram);

}  // namespace varve::metrics
