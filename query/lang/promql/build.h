#pragma once

#include <string>
#include <string_view>

#include "PromQL.h"
#include "query/lang/promql/ast.h"
#include "query/lang/promql/parse.h"

namespace varve::promql {

/// Is thrown inside the parser for a fault in the text, and never leaves parse.cc.
struct SyntaxFault {
  Span span;
  std::string what;
};

/// Turns ANTLR's tree into ours and checks what does not depend on types. Throws SyntaxFault.
ExprPtr BuildExpr(std::string_view query, const ParseOptions& options,
                  grammar::PromQL::ExprContext& tree);
std::unique_ptr<VectorSelector> BuildSelector(std::string_view query, const ParseOptions& options,
                                              grammar::PromQL::VectorSelectorContext& tree);

}  // namespace varve::promql
