#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "query/lang/traceql/build.h"

namespace varve::traceql {

/// One token of a query; `type` is the grammar's. The last one is the end of the input.
struct TokenView {
  size_t type = 0;
  TextSpan span;
};

/// Finds out, in one pass without recursion, whether parsing `tokens` would go deeper than
/// kNestingMax or give a tree deeper than kTreeDepthMax. Anything that recurses may then be run.
std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens);

/// Words the fault of a query whose token `index` cannot stand where it does.
SyntaxFault DescribeFault(std::string_view text, const std::vector<TokenView>& tokens,
                          size_t index);

}  // namespace varve::traceql
