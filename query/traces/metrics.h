#pragma once

#include <string>

#include "query/exec/operator.h"
#include "query/lang/traceql/ast.h"
#include "query/traces/context.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

namespace varve::query {

/// Runs a metrics query over the steps of `grid`; a rate is per `step_ms`, and a step covers that
/// much time up to itself.
Result<TraceMetricsResult> RunMetrics(const TraceSnapshot& snapshot, const traceql::Query& query,
                                      std::string_view text, const StepGrid& grid, int64_t step_ms,
                                      bool instant, ThreadPool* pool,
                                      const TraceQueryOptions& query_options,
                                      QueryContext& context);
std::string ExplainMetrics(const traceql::Query& query, ThreadPool* pool);

}  // namespace varve::query
