#pragma once

#include <string_view>

#include "query/lang/traceql/ast.h"
#include "varve/status.h"

namespace varve::traceql {

/// Sets the types of a tree, tells `<`, `>` and `!~` between spansets from those between scalars,
/// and refuses what makes no sense: Tempo's rules, except that parent.* and comparisons between
/// aggregates are allowed. Errors: kInvalidArgument with a place.
Status CheckQuery(std::string_view text, Query* query);
/// Checks that an expression may stand inside { }.
Status CheckFilter(std::string_view text, const FieldExpr& filter);

/// Makes the error of a place in a query.
Status QueryError(std::string_view text, TextSpan span, std::string_view what);

}  // namespace varve::traceql
