#pragma once

#include "query/lang/traceql/ast.h"
#include "varve/status.h"
#include "varve/traceql.h"

namespace varve::query {

/// Translates a filter into the query that it means. Errors: kInvalidArgument.
Result<traceql::ExprPtr> ToExpr(const TraceFilter& filter);

}  // namespace varve::query
