#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "LogQL.h"
#include "query/lang/logql/ast.h"

namespace varve::logql {

/// Is thrown inside the parser for a fault in the text, and never leaves parse.cc. `place` says
/// whether Loki names the place in the message.
struct SyntaxFault {
  Span span;
  std::string what;
  bool placed = true;
};

/// Words what cannot stand at a place: `syntax error: unexpected what`.
std::string DescribeUnexpected(size_t type, std::string_view text);

/// Turns ANTLR's tree into ours and checks what grammar alone does not. Throws SyntaxFault.
ExprPtr BuildExpr(std::string_view query, grammar::LogQL::ExprContext& tree);
std::vector<Matcher> BuildMatchers(std::string_view query, grammar::LogQL::SelectorContext& tree);

}  // namespace varve::logql
