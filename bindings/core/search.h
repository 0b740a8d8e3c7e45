#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/logql.h"
#include "varve/traceql.h"

namespace varve::bindings {

/// The entries that a LogQL query found, in output order. Immutable.
struct LogResult {
  struct Entry {
    int64_t time_ns;
    uint32_t stream;  // index into labels
    std::string line;
  };
  std::vector<query::LogLabels> labels;  // folded: of the stream, metadata and what was parsed
  std::vector<Entry> entries;
  std::vector<std::string> warnings;
  std::string analysis;
};

/// Flattens streams into entries by time, newest first if `backward`; ties keep their order.
std::shared_ptr<const LogResult> MakeLogResult(query::LogQueryResult result, bool backward);
/// Streams `time` (ns), `line` and `labels` (a map).
std::unique_ptr<arrow::Source> LogSource(std::shared_ptr<const LogResult> result, int64_t rows_max);

/// Streams one row a trace: `trace_id`, `root_service`, `root_name`, `start` (ns), `duration_ns`,
/// `spans`, `errors`, and `matched`, the spans that the query matched.
std::unique_ptr<arrow::Source> TraceSource(std::shared_ptr<const query::SearchResult> result);
/// Prints what a search looked at, one line.
std::string FormatAnalysis(const query::TraceSearchStats& stats);

}  // namespace varve::bindings
