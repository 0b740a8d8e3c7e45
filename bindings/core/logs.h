#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::bindings {

/// The columns of a stream of log entries: `time` (ns), `line`, `labels` and `metadata` (maps).
std::vector<arrow::Field> LogEntryFields();

/// Collects rows of these columns.
class LogEntryRows {
 public:
  void Append(int64_t time_ns, std::string_view line, LabelsView labels, LabelsView metadata);
  size_t rows() const { return times_.size(); }
  size_t text_bytes() const {
    return std::max({lines_.bytes(), labels_.bytes(), metadata_.bytes()});
  }
  /// Ends the batch; call it once.
  void Finish(std::vector<arrow::ArrayPtr>* columns);

 private:
  std::vector<int64_t> times_;
  arrow::TextBuilder lines_;
  arrow::MapBuilder labels_;
  arrow::MapBuilder metadata_;
};

/// Streams log entries as they are stored, stream by stream, times ascending within each. Holds
/// the snapshot, one chunk and one batch of at most `rows_max` rows. Errors: those of
/// LogSnapshot::Select.
Result<std::unique_ptr<arrow::Source>> LogEntrySource(std::shared_ptr<const LogSnapshot> snapshot,
                                                      std::vector<Matcher> matchers, NsRange range,
                                                      int64_t rows_max);

}  // namespace varve::bindings
