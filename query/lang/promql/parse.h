#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "query/lang/promql/ast.h"
#include "varve/labels.h"
#include "varve/status.h"

namespace varve::promql {

struct ParseOptions {
  size_t query_bytes_max = kQueryBytesMax;
  // Prometheus hides these behind flags.
  bool experimental_functions = true;    // and the aggregations limitk and limit_ratio
  bool experimental_durations = true;    // arithmetic in durations
  bool extended_range_selectors = true;  // anchored, smoothed
  bool binop_fill_modifiers = true;      // fill, fill_left, fill_right
};

/// Parses and type-checks a query. The tree keeps no reference to `query`.
/// Errors: kInvalidArgument with the place as payload (TextPlaceOf) and Prometheus's form of the
/// message, `line:column: parse error: what`. Thread-safe. Cost: tens of microseconds for a usual
/// dashboard query once the prediction tables are warm.
Result<ExprPtr> Parse(std::string_view query, const ParseOptions& options = {});

/// Parses like Parse, and remembers the trees of the most recent queries (by text and options) in
/// a bounded table shared by the process. Failures are not kept. Thread-safe.
Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query,
                                                const ParseOptions& options = {});

/// Parses a selector such as `up{job="x"}` (the API's match[]). Errors: as Parse; at least one
/// matcher must not match the empty string.
Result<std::vector<Matcher>> ParseSelector(std::string_view text, const ParseOptions& options = {});

/// Shows the line of the query that `status` speaks of, with a caret under the place and the
/// message: three lines. Gives the bare message if the status carries no place.
std::string RenderError(std::string_view query, const Status& status);

}  // namespace varve::promql
