#pragma once

#include <string_view>

#include "query/lang/promql/ast.h"
#include "varve/status.h"

namespace varve::promql {

/// Makes the error of a query: `line:column: parse error: what`, place as payload.
Status ParseError(std::string_view query, Span span, std::string_view what);

/// Checks types, argument counts, matchers and vector matching, as Prometheus does after parsing,
/// with its texts. Settles what depends on types: removes `matching` from operators that do not
/// pair two vectors and makes set operators many-to-many. Errors: ParseError, the first in the
/// order of Prometheus's own walk.
Status CheckTypes(std::string_view query, Expr& expr);

/// Checks that a matcher's regular expression compiles. Gives Go's message without a place.
Status CheckRegex(const Matcher& matcher);
/// Tells whether a matcher accepts the empty string. Precondition: CheckRegex passed.
bool MatchesEmpty(const Matcher& matcher);

}  // namespace varve::promql
