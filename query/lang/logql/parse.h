#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "query/lang/logql/ast.h"
#include "varve/labels.h"
#include "varve/status.h"

namespace varve::logql {

/// Parses a query and checks what needs no compiled stage: types, parameters, selectors that must
/// not be empty. The tree keeps no reference to `query`. Errors: kInvalidArgument with the place as
/// payload and Loki's form of the message. Thread-safe.
Result<ExprPtr> Parse(std::string_view query);

/// Parses like Parse, and remembers the trees of the most recent queries in a bounded table shared
/// by the process. Failures are not kept. Thread-safe.
Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query);

/// Parses `{...}`. Errors: as Parse; at least one matcher must not match the empty string, unless
/// `allow_empty`.
Result<std::vector<Matcher>> ParseSelector(std::string_view text, bool allow_empty);

/// Shows the line of the query that `status` speaks of, with a caret under the place and the
/// message: three lines. Gives the bare message if the status carries no place.
std::string RenderError(std::string_view query, const Status& status);

}  // namespace varve::logql
