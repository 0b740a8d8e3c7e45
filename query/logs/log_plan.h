#pragma once

#include "query/exec/operator.h"
#include "query/lang/logql/ast.h"
#include "query/logs/log_range.h"
#include "query/logs/log_scan_units.h"

namespace varve::query {

/// Builds the operators of a metric query. The tree must outlive them. Errors: kInvalidArgument for
/// stages that do not compile.
Result<OperatorPtr> BuildLogOperators(LogContext& context, const logql::Expr& expr,
                                      const StepGrid& grid, const LogSteps& steps);

}  // namespace varve::query
