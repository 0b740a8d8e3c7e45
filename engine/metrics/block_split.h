#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace varve::metrics {

/// Cuts a run of ascending times into chunks of at most `samples_max` and returns the end index of
/// each. The cuts fall on a grid of time that starts at `origin_ms` and whose width depends only
/// on how dense the samples are, so that series of one scrape target, which came and went at
/// different times, still share most of their time axes, and equal values most of their columns.
std::vector<size_t> SplitRun(std::span<const int64_t> times_ms, size_t samples_max,
                             int64_t origin_ms);

}  // namespace varve::metrics
