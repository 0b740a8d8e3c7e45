#include "query/lang/promql/parse.h"

#include <optional>
#include <utility>

#include "PromQL.h"
#include "PromQLLexer.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/antlr_driver.h"
#include "query/lang/promql/build.h"
#include "query/lang/promql/check.h"
#include "query/lang/promql/faults.h"
#include "query/lang/tree_cache.h"

namespace varve::promql {
namespace {

using Grammar = grammar::PromQL;

/// Parses from a start rule and hands its tree to `build`. Throws SyntaxFault.
template <typename StartRule, typename Build>
auto ParseWith(std::string_view query, StartRule start_rule, Build build) {
  using Tokens = std::vector<TokenView>;
  const auto check = [](const Tokens& tokens) {
    if (auto fault = FindExcessiveDepth(tokens)) throw *std::move(fault);
  };
  const auto describe = [&](antlr4::Parser&, const Tokens& tokens, size_t index) {
    return DescribeFault(query, tokens, index);
  };
  return lang::ParseWith<grammar::PromQLLexer, Grammar, TokenView>(query, start_rule, check,
                                                                   describe, build);
}

/// Calls `parse` and turns what it throws into a status.
template <typename T, typename F>
Result<T> Guard(std::string_view query, const ParseOptions& options, F parse) {
  if (query.size() > options.query_bytes_max) {
    return ParseError(query, Span{},
                      Concat("query is ", query.size(), " bytes long, more than the limit of ",
                             options.query_bytes_max));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return ParseError(query, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

// --- Cache ---

uint8_t FlagsOf(const ParseOptions& options) {
  return static_cast<uint8_t>(options.experimental_functions | options.experimental_durations << 1 |
                              options.extended_range_selectors << 2 |
                              options.binop_fill_modifiers << 3);
}

lang::TreeCache<Expr>& Cache() {
  static auto* const cache = new lang::TreeCache<Expr>();
  return *cache;
}

}  // namespace

Result<ExprPtr> Parse(std::string_view query, const ParseOptions& options) {
  return Guard<ExprPtr>(query, options, [&]() -> Result<ExprPtr> {
    ExprPtr expr = ParseWith(query, &Grammar::query, [&](Grammar::QueryContext& tree) {
      return BuildExpr(query, options, *tree.expr());
    });
    VARVE_RETURN_IF_ERROR(CheckTypes(query, *expr));
    return expr;
  });
}

Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query,
                                                const ParseOptions& options) {
  if (query.size() > options.query_bytes_max) return Parse(query, options).status();
  std::string key = Concat(static_cast<char>(FlagsOf(options)), query);
  if (auto tree = Cache().Find(key)) return tree;
  VARVE_ASSIGN_OR_RETURN(ExprPtr parsed, Parse(query, options));
  std::shared_ptr<const Expr> tree = std::move(parsed);
  Cache().Insert(std::move(key), tree);
  return tree;
}

Result<std::vector<Matcher>> ParseSelector(std::string_view text, const ParseOptions& options) {
  return Guard<std::vector<Matcher>>(text, options, [&]() -> Result<std::vector<Matcher>> {
    auto selector = ParseWith(text, &Grammar::selector, [&](Grammar::SelectorContext& tree) {
      return BuildSelector(text, options, *tree.vectorSelector());
    });
    VARVE_RETURN_IF_ERROR(CheckTypes(text, *selector));
    return std::move(selector->matchers);
  });
}

std::string RenderError(std::string_view query, const Status& status) {
  const std::string_view message = ToStd(status.message());
  const auto place = TextPlaceOf(status);
  if (!place) return std::string(message);
  size_t begin = 0;
  for (uint32_t line = 1; line < place->line; ++line) {
    const size_t newline = query.find('\n', begin);
    if (newline == std::string_view::npos) return std::string(message);
    begin = newline + 1;
  }
  std::string_view line = query.substr(begin, query.substr(begin).find('\n'));
  size_t caret = std::min<size_t>(place->column - 1, line.size());
  // A long line is shown around the place only.
  constexpr size_t kShown = 160;
  constexpr size_t kBefore = 80;
  if (line.size() > kShown) {
    const size_t cut = caret > kBefore ? caret - kBefore : 0;
    line = line.substr(cut, kShown);
    caret -= cut;
  }
  // Tabs stay tabs in the caret's line, and a rune takes one column, so that the caret stands
  // under its character.
  std::string indent;
  for (size_t i = 0; i < caret; ++i) {
    if ((line[i] & 0xc0) != 0x80) indent.push_back(line[i] == '\t' ? '\t' : ' ');
  }
  return Concat(message, "\n", line, "\n", indent, "^");
}

}  // namespace varve::promql
