#pragma once

#include <memory>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::bindings {

/// Streams log entries as they are stored, stream by stream, times ascending within each: `time`
/// (ns), `line`, `labels` and `metadata` (maps). Holds the snapshot, one chunk and one batch of at
/// most `rows_max` rows. Errors: those of LogSnapshot::Select.
Result<std::unique_ptr<arrow::Source>> LogEntrySource(std::shared_ptr<const LogSnapshot> snapshot,
                                                      std::vector<Matcher> matchers, NsRange range,
                                                      int64_t rows_max);

}  // namespace varve::bindings
