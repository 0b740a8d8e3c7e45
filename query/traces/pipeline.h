#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "query/lang/traceql/ast.h"
#include "query/traces/program.h"
#include "query/traces/trace_table.h"

namespace varve::query {

/// Rows of one trace that belong together, ascending, and what is known of them as a group.
struct RowSet {
  std::vector<uint32_t> rows;
  std::vector<NamedTraceValue> values;
};
/// The spansets that flow from stage to stage; none is empty.
using RowSets = std::vector<RowSet>;

/// Adds every field expression of a query to a program, and the fields of select().
Status AddExpressions(const traceql::Expr& expr, Program* program);

/// Evaluates a spanset expression over the rows of `input`.
RowSets EvaluateSpansets(const traceql::Expr& expr, const TraceTable& table, const RowSet& input);
/// Runs the stages of a pipeline up to the first that is no spanset stage.
RowSets EvaluateStages(const std::vector<traceql::ExprPtr>& stages, const TraceTable& table,
                       const RowSet& input);
/// Runs one stage over one spanset.
RowSets EvaluateStage(const traceql::Expr& stage, const TraceTable& table, const RowSet& input);
/// Makes the set of all rows.
RowSet AllRows(const TraceTable& table);

/// Tells whether a stage can turn spansets into spansets.
bool IsSpansetStage(const traceql::Expr& stage);

}  // namespace varve::query
