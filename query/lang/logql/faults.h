#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "query/lang/logql/build.h"

namespace varve::logql {

/// One token of a query; `type` is the grammar's. The last one is the end of the input.
struct TokenView {
  size_t type = 0;
  Span span;
};

/// Finds out, in one pass without recursion, whether parsing `tokens` would go deeper than
/// kNestingMax or give a tree deeper than kTreeDepthMax. Anything that recurses may then be run.
std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens);

/// Checks the matchers of every selector: expressions compile, and one refuses the empty value.
/// Throws SyntaxFault.
void CheckSelectors(const Expr& expr);
void CheckMatchers(const std::vector<Matcher>& matchers, Span span, bool allow_empty);

}  // namespace varve::logql
