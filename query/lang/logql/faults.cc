#include "query/lang/logql/faults.h"

#include <re2/re2.h>

#include "engine/base/bounded_regex.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"

namespace varve::logql {
namespace {

using Grammar = grammar::LogQL;

bool IsBinaryOperator(size_t type) {
  switch (type) {
    case Grammar::ADD:
    case Grammar::SUB:
    case Grammar::MUL:
    case Grammar::DIV:
    case Grammar::MOD:
    case Grammar::POW:
    case Grammar::EQLC:
    case Grammar::NEQ:
    case Grammar::GTR:
    case Grammar::GTE:
    case Grammar::LSS:
    case Grammar::LTE:
    case Grammar::LAND:
    case Grammar::LOR:
    case Grammar::LUNLESS:
      return true;
    default:
      return false;
  }
}

bool MatchesEmpty(const Matcher& matcher, Span span) {
  switch (matcher.type) {
    case MatchType::kEqual:
      return matcher.value.empty();
    case MatchType::kNotEqual:
      return !matcher.value.empty();
    default: {
      if (BoundedRegex::HasTooManyParts(matcher.value)) {
        throw SyntaxFault{span, "error parsing regexp: expression too large", false};
      }
      RE2::Options options(RE2::Quiet);
      options.set_dot_nl(true);
      const RE2 expression(matcher.value, options);
      if (!expression.ok()) {
        throw SyntaxFault{span, Concat("error parsing regexp: ", query::GoRegexError(expression)),
                          false};
      }
      return RE2::FullMatch("", expression) == (matcher.type == MatchType::kRegex);
    }
  }
}

}  // namespace

std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens) {
  size_t depth = 0;
  size_t powers = 0;
  // Operators since the last comma, a bound of what may pile up in one chain. Those of filters and
  // line texts are counted too: they make nothing deep, but nobody writes a thousand of them.
  size_t chain = 0;
  for (const TokenView& token : tokens) {
    const size_t type = token.type;
    if (type == Grammar::LEFT_PAREN) ++depth;
    if (type == Grammar::RIGHT_PAREN && depth > 0) --depth;
    if (type == Grammar::POW) ++powers;
    if (IsBinaryOperator(type)) ++chain;
    if (depth + powers > kNestingMax) {
      return SyntaxFault{token.span,
                         Concat("expression is nested more than ", kNestingMax, " levels deep")};
    }
    if (depth + chain > kTreeDepthMax) {
      return SyntaxFault{token.span,
                         Concat("expression chains more than ", kTreeDepthMax, " operators")};
    }
  }
  return std::nullopt;
}

void CheckMatchers(const std::vector<Matcher>& matchers, Span span, bool allow_empty) {
  bool selective = false;
  for (const Matcher& matcher : matchers) selective |= !MatchesEmpty(matcher, span);
  if (!selective && !allow_empty) {
    throw SyntaxFault{span,
                      "queries require at least one regexp or equality matcher that does not have "
                      "an empty-compatible value. For instance, app=~\".*\" does not meet this "
                      "requirement, but app=~\".+\" will",
                      false};
  }
}

void CheckSelectors(const Expr& expr) {
  if (expr.kind == ExprKind::kLog) CheckMatchers(expr.matchers, expr.span, false);
  if (expr.kind == ExprKind::kLabelReplace) {
    const bool large = BoundedRegex::HasTooManyParts(expr.strings[3]);
    const RE2 expression(large ? std::string() : expr.strings[3], RE2::Quiet);
    if (large || !expression.ok()) {
      throw SyntaxFault{expr.span,
                        Concat("invalid regex in label_replace: error parsing regexp: ",
                               large ? "expression too large" : query::GoRegexError(expression)),
                        false};
    }
  }
  for (const ExprPtr& child : expr.children) CheckSelectors(*child);
}

}  // namespace varve::logql
