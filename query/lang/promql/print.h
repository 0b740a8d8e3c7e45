#pragma once

#include <string>
#include <string_view>

#include "query/lang/promql/ast.h"

namespace varve::promql {

/// Prints an expression on one line in Prometheus's canonical form. Parse(Print(e)) equals e.
std::string Print(const Expr& expr);
/// Prints a duration as it stands in brackets or after `offset`.
std::string Print(const DurationExpr& duration);

/// Prints an expression over several lines as /api/v1/format_query does: what fits in 100 columns
/// stays on one line, two spaces of indentation a level. Parse(PrettyPrint(e)) equals e.
std::string PrettyPrint(const Expr& expr);

/// Prints the tree as the JSON of /api/v1/parse_query (Prometheus 3).
std::string ToJson(const Expr& expr);

}  // namespace varve::promql
