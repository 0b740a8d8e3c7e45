#pragma once

#include <memory>

#include "query/exec/operator.h"
#include "query/lang/logql/ast.h"
#include "query/logs/log_scan_units.h"

namespace varve::query {

/// The steps of a metric query in nanoseconds; the grids of operators carry milliseconds.
struct LogSteps {
  int64_t start_ns = 0;
  int64_t step_ns = 1;
  uint32_t count = 1;
  int64_t At(uint32_t i) const { return start_ns + static_cast<int64_t>(i) * step_ns; }
};

/// How a range aggregation is computed: which labels its series keep.
struct LogRangeSpec {
  const logql::Expr* expr = nullptr;  // kRangeAggregation over kLog
  bool no_labels = false;
  bool without = false;
  std::vector<std::string> groups;  // sorted
};

/// Evaluates a range aggregation over log entries: reads the chunks of its streams on all threads,
/// runs the pipeline, and slides windows (t - range, t] over the samples of each series. Counts and
/// sizes of many entries are kept as sums per step, not as samples.
OperatorPtr LogRange(LogContext& context, const StepGrid& grid, const LogSteps& steps,
                     LogRangeSpec spec, std::shared_ptr<const Pipeline> pipeline);

}  // namespace varve::query
