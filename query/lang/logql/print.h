#pragma once

#include <string>

#include "query/lang/logql/ast.h"

namespace varve::logql {

/// Prints an expression on one line in canonical form. Parse(Print(e)) equals e.
std::string Print(const Expr& expr);
std::string Print(const Stage& stage);
std::string Print(const std::vector<Matcher>& matchers);
std::string Print(const Grouping& grouping);

/// Prints an expression over several lines as /loki/api/v1/format_query does: what fits in 100
/// columns stays on one line, two spaces of indentation a level. Parse(PrettyPrint(e)) equals e.
std::string PrettyPrint(const Expr& expr);

}  // namespace varve::logql
