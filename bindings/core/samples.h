#pragma once

#include <memory>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::bindings {

/// Streams samples as they are stored, series by series, times ascending within each: `metric`,
/// `labels` (a map, without the name), `time`, `value` and `histogram`. Holds the snapshot, one
/// series' chunks and one batch of at most `rows_max` rows.
/// Errors: those of Snapshot::Select.
Result<std::unique_ptr<arrow::Source>> SampleSource(std::shared_ptr<const Snapshot> snapshot,
                                                    std::vector<Matcher> matchers, TimeRange range,
                                                    int64_t rows_max);

}  // namespace varve::bindings
