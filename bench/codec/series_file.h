#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "varve/labels.h"

namespace varve::bench {

struct RecordedSeries {
  Labels labels;
  std::vector<int64_t> times;
  std::vector<double> values;
};

/// Loads a file of recorded series, one JSON object a line ({"metric", "timestamps", "values"},
/// values as numbers or "NaN" "+Inf" "-Inf" "StaleNaN"), Zstd-compressed, sorted by labels.
/// Returns nothing if the file is not there; stops the program if it is malformed.
std::optional<std::vector<RecordedSeries>> LoadSeriesFile(const std::string& path);

/// Returns where the recorded series lie: $VARVE_SHARED, else ../shared beside the sources.
std::string RecordedSeriesPath();

}  // namespace varve::bench
