#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "query/lang/promql/build.h"

namespace varve::promql {

/// One token of a query; `type` is the grammar's. The last one is the end of the input.
struct TokenView {
  size_t type = 0;
  Span span;
};

/// Finds out, in one pass without recursion, whether parsing `tokens` would go deeper than
/// kNestingMax or give a tree deeper than kTreeDepthMax. Anything that recurses may then be run.
std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens);

/// Words the fault of a query whose token `index` cannot stand where it does: what it is, where it
/// is, and what was expected instead. Prometheus's texts where it has one.
SyntaxFault DescribeFault(std::string_view query, const std::vector<TokenView>& tokens,
                          size_t index);

}  // namespace varve::promql
