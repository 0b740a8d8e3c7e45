#pragma once

#include <string>
#include <string_view>

#include "TraceQL.h"
#include "query/lang/traceql/ast.h"

namespace varve::traceql {

/// Is thrown inside the parser for a fault in the text, and never leaves parse.cc.
struct SyntaxFault {
  TextSpan span;
  std::string what;
};

/// Turns ANTLR's tree into ours and checks what does not depend on types. Throws SyntaxFault.
Query BuildQuery(std::string_view text, grammar::TraceQL::QueryContext& tree);
FieldExprPtr BuildField(std::string_view text, grammar::TraceQL::FieldContext& tree);

}  // namespace varve::traceql
