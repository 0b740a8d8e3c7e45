#include "query/lang/traceql/parse.h"

#include <optional>
#include <utility>
#include <vector>

#include "TraceQL.h"
#include "TraceQLLexer.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/antlr_driver.h"
#include "query/lang/promql/parse.h"
#include "query/lang/traceql/build.h"
#include "query/lang/traceql/check.h"
#include "query/lang/traceql/faults.h"

namespace varve::traceql {
namespace {

using Grammar = grammar::TraceQL;

/// Parses from a start rule and hands its tree to `build`. Throws SyntaxFault.
template <typename StartRule, typename Build>
auto ParseWith(std::string_view text, StartRule start_rule, Build build) {
  using Tokens = std::vector<TokenView>;
  const auto check = [](const Tokens& tokens) {
    if (auto fault = FindExcessiveDepth(tokens)) throw *std::move(fault);
  };
  const auto describe = [&](antlr4::Parser&, const Tokens& tokens, size_t index) {
    return DescribeFault(text, tokens, index);
  };
  return lang::ParseWith<grammar::TraceQLLexer, Grammar, TokenView>(text, start_rule, check,
                                                                    describe, build);
}

/// Calls `parse` and turns what it throws into a status.
template <typename T, typename F>
Result<T> Guard(std::string_view text, size_t query_bytes_max, F parse) {
  if (query_bytes_max != 0 && text.size() > query_bytes_max) {
    return QueryError(text, {},
                      Concat("the query is ", text.size(), " bytes long, more than the limit of ",
                             query_bytes_max));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return QueryError(text, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

}  // namespace

Result<std::shared_ptr<const Query>> Parse(std::string_view text, size_t query_bytes_max) {
  using Out = std::shared_ptr<const Query>;
  return Guard<Out>(text, query_bytes_max, [&]() -> Result<Out> {
    auto query =
        std::make_shared<Query>(ParseWith(text, &Grammar::query, [&](Grammar::QueryContext& tree) {
          return BuildQuery(text, tree);
        }));
    VARVE_RETURN_IF_ERROR(CheckQuery(text, query.get()));
    return query;
  });
}

Result<FieldExprPtr> ParseFilter(std::string_view text, size_t query_bytes_max) {
  return Guard<FieldExprPtr>(text, query_bytes_max, [&]() -> Result<FieldExprPtr> {
    FieldExprPtr out = ParseWith(text, &Grammar::fieldOnly, [&](Grammar::FieldOnlyContext& tree) {
      return BuildField(text, *tree.field());
    });
    VARVE_RETURN_IF_ERROR(CheckFilter(text, *out));
    return out;
  });
}

Result<Field> ParseField(std::string_view text) {
  return Guard<Field>(text, kQueryBytesMax, [&]() -> Result<Field> {
    FieldExprPtr out = ParseWith(text, &Grammar::fieldOnly, [&](Grammar::FieldOnlyContext& tree) {
      return BuildField(text, *tree.field());
    });
    if (out->kind != FieldExpr::Kind::kField) return QueryError(text, {}, "not a field");
    return std::move(out->field);
  });
}

}  // namespace varve::traceql
