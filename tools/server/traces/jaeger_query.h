#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/server/traces/trace_server.h"
#include "tools/tracing/span_filter.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

/// What Jaeger's APIs, JSON of both generations and gRPC, ask the store.
namespace varve::api {

/// Lists operations with their kinds as Jaeger writes them ("server", "" for none), sorted; of one
/// kind if `kind` is not empty.
Result<std::vector<std::pair<std::string, std::string>>> OperationsOf(const TraceSnapshot& snapshot,
                                                                      std::string_view service,
                                                                      std::string_view kind);

/// Reads a JSON object of strings; other scalars are taken as they print.
Status ReadTagMap(std::string_view json, std::vector<std::pair<std::string, std::string>>* tags);

/// A search of Jaeger's newer APIs.
struct JaegerSearch {
  query::TraceFilter filter;
  query::TraceSearch search;
  /// Instead of `filter`: one span in the range must match.
  std::optional<tracing::SpanFilter> structured;
  /// Asks for SearchResult::next; else it may be missing.
  bool paginated = false;
};
/// Runs it. Errors: kUnimplemented without an engine, kInvalidArgument for both a structured filter
/// and other conditions, those of TraceEngine::FindTraces.
Result<query::SearchResult> FindTraces(TraceContext& context, const TraceSnapshot& snapshot,
                                       const JaegerSearch& search,
                                       const query::TraceQueryOptions& options);

struct DependencyLink {
  std::string parent;
  std::string child;
  uint64_t calls = 0;
};
/// Returns the calls counted at ingest in a span of time, sorted.
Result<std::vector<DependencyLink>> DependenciesBetween(TraceContext& context, Database& database,
                                                        int64_t min_ms, int64_t max_ms);

/// Answers Jaeger's monitor tab: `metric` is latencies, calls or errors. Returns the family as
/// JSON. Errors: kInvalidArgument, kUnimplemented when the metrics of spans are off.
Result<std::string> SpanMetricFamily(TraceContext& context, Database& database,
                                     std::string_view metric, http::Request& request);

}  // namespace varve::api
