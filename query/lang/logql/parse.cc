#include "query/lang/logql/parse.h"

#include <utility>

#include "LogQL.h"
#include "LogQLLexer.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/antlr_driver.h"
#include "query/lang/logql/build.h"
#include "query/lang/logql/faults.h"
#include "query/lang/promql/parse.h"
#include "query/lang/tree_cache.h"

namespace varve::logql {
namespace {

using Grammar = grammar::LogQL;

/// Lists what could stand there, if that is at most four things, as Loki's parser does.
std::string Expected(antlr4::Parser& parser) {
  const antlr4::misc::IntervalSet set = parser.getExpectedTokens();
  std::vector<std::string> names;
  bool any_name = false;
  for (const ssize_t type : set.toList()) {
    if (type == Grammar::IDENTIFIER || (type >= static_cast<ssize_t>(Grammar::COUNT_OVER_TIME) &&
                                        type <= static_cast<ssize_t>(Grammar::IP) &&
                                        set.contains(static_cast<size_t>(Grammar::IDENTIFIER)))) {
      if (!std::exchange(any_name, true)) names.emplace_back("IDENTIFIER");
      continue;
    }
    std::string name = type == static_cast<ssize_t>(antlr4::Token::EOF)
                           ? "$end"
                           : parser.getVocabulary().getDisplayName(static_cast<size_t>(type));
    if (name.size() > 2 && name.front() == '\'') name = name.substr(1, name.size() - 2);
    names.push_back(std::move(name));
    if (names.size() > 4) return {};
  }
  std::string out;
  for (size_t i = 0; i < names.size(); ++i) {
    out += Concat(i == 0 ? ", expecting " : " or ", names[i]);
  }
  return out;
}

SyntaxFault DescribeFault(std::string_view query, antlr4::Parser& parser,
                          const std::vector<TokenView>& tokens, size_t index) {
  const TokenView& at = tokens[index];
  std::string what =
      DescribeUnexpected(at.type, query.substr(at.span.begin, at.span.end - at.span.begin));
  const bool lexical = at.type == Grammar::BAD_RANGE || at.type == Grammar::BAD_NUMBER ||
                       at.type == Grammar::BAD_STRING;
  if (!lexical) what += Expected(parser);
  return {at.span, std::move(what)};
}

/// Parses from a start rule and hands its tree to `build`. Throws SyntaxFault.
template <typename StartRule, typename Build>
auto ParseWith(std::string_view query, StartRule start_rule, Build build) {
  using Tokens = std::vector<TokenView>;
  const auto check = [](const Tokens& tokens) {
    if (auto fault = FindExcessiveDepth(tokens)) throw *std::move(fault);
  };
  const auto describe = [&](antlr4::Parser& parser, const Tokens& tokens, size_t index) {
    return DescribeFault(query, parser, tokens, index);
  };
  return lang::ParseWith<grammar::LogQLLexer, Grammar, TokenView>(query, start_rule, check,
                                                                  describe, build);
}

/// Calls `parse` and turns what it throws into a status.
template <typename T, typename F>
Result<T> Guard(std::string_view query, F parse) {
  if (query.size() > kQueryBytesMax) {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        Concat("parse error : input size too long (", query.size(), " > ", kQueryBytesMax, ")"));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return fault.placed ? PlacedError(query, fault.span.begin, fault.what)
                        : SenseError(query, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

lang::TreeCache<Expr>& Cache() {
  static auto* const cache = new lang::TreeCache<Expr>();
  return *cache;
}

}  // namespace

Result<ExprPtr> Parse(std::string_view query) {
  return Guard<ExprPtr>(query, [&]() -> Result<ExprPtr> {
    ExprPtr expr = ParseWith(query, &Grammar::query, [&](Grammar::QueryContext& tree) {
      return BuildExpr(query, *tree.expr());
    });
    CheckSelectors(*expr);
    return expr;
  });
}

Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query) {
  if (query.size() > kQueryBytesMax) return Parse(query).status();
  std::string key(query);
  if (auto tree = Cache().Find(key)) return tree;
  VARVE_ASSIGN_OR_RETURN(ExprPtr parsed, Parse(query));
  std::shared_ptr<const Expr> tree = std::move(parsed);
  Cache().Insert(std::move(key), tree);
  return tree;
}

Result<std::vector<Matcher>> ParseSelector(std::string_view text, bool allow_empty) {
  return Guard<std::vector<Matcher>>(text, [&]() -> Result<std::vector<Matcher>> {
    auto matchers = ParseWith(text, &Grammar::matchers, [&](Grammar::MatchersContext& tree) {
      return BuildMatchers(text, *tree.selector());
    });
    CheckMatchers(matchers, {0, static_cast<uint32_t>(text.size())}, allow_empty);
    return matchers;
  });
}

std::string RenderError(std::string_view query, const Status& status) {
  // The carets of all our languages look alike.
  return promql::RenderError(query, status);
}

}  // namespace varve::logql
