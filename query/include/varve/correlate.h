#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/database.h"
#include "varve/query.h"

/// From one signal to another: a trace's log entries, an exemplar's trace, a span's metrics.
namespace varve::correlate {

struct TraceLog {
  int64_t time_ns = 0;
  Labels stream;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::string line;
};

struct TraceLogsOptions {
  /// Where to look. Unset: from a minute before the trace to five minutes after it; all times if
  /// the trace itself is not stored.
  std::optional<NsRange> range;
  size_t limit = 1000;
};

/// Finds the log entries of a trace: those whose structured metadata trace_id, traceid or traceID
/// is the id, and those whose line holds it. Oldest first.
Result<std::vector<TraceLog>> LogsOfTrace(const Database& database, const TraceId& id,
                                          const TraceLogsOptions& options);

struct ExemplarTrace {
  Labels series;
  Exemplar exemplar;
  TraceId trace_id;
  bool stored = false;  // the trace is there
  // Of the trace, if it is:
  std::string root_service;
  std::string root_name;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
  size_t spans = 0;
};

/// Finds the traces behind the exemplars of the series that match.
Result<std::vector<ExemplarTrace>> TracesOfExemplars(const Database& database,
                                                     std::span<const Matcher> matchers,
                                                     TimeRange range, size_t limit);

struct SpanMetricsResult {
  std::string service;
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  int64_t step_ms = 0;
  query::Matrix series;
};

/// Finds the series of a span's service (labels job, service, service_name) over the span's time
/// and `around_ms` before and after it. Errors: kNotFound.
Result<SpanMetricsResult> MetricsOfSpan(const Database& database, query::Engine& engine,
                                        const TraceId& trace, const SpanId& span, int64_t around_ms,
                                        size_t limit, const query::QueryOptions& options);

}  // namespace varve::correlate
