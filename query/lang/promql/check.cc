#include "query/lang/promql/check.h"

#include <re2/re2.h>

#include <algorithm>

#include "engine/base/bounded_regex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::promql {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Tells whether a pattern is made of bytes that stand for themselves, alternated at most: such a
/// pattern compiles for certain, and matches "" exactly if one alternative is empty.
bool IsPlainAlternation(std::string_view pattern) {
  return pattern.find_first_of("\\.+*?()[]{}^$") == std::string_view::npos && IsValidUtf8(pattern);
}

std::string_view GoRegexError(RE2::ErrorCode code) {
  switch (code) {
    case RE2::ErrorBadEscape:
      return "invalid escape sequence";
    case RE2::ErrorBadCharClass:
      return "invalid character class";
    case RE2::ErrorBadCharRange:
      return "invalid character class range";
    case RE2::ErrorMissingBracket:
      return "missing closing ]";
    case RE2::ErrorMissingParen:
      return "missing closing )";
    case RE2::ErrorUnexpectedParen:
      return "unexpected )";
    case RE2::ErrorTrailingBackslash:
      return "trailing backslash at end of expression";
    case RE2::ErrorRepeatArgument:
      return "missing argument to repetition operator";
    case RE2::ErrorRepeatSize:
      return "invalid repeat count";
    case RE2::ErrorRepeatOp:
      return "invalid nested repetition operator";
    case RE2::ErrorBadPerlOp:
      return "invalid or unsupported Perl syntax";
    case RE2::ErrorBadUTF8:
      return "invalid UTF-8";
    case RE2::ErrorBadNamedCapture:
      return "invalid named capture";
    case RE2::ErrorPatternTooLarge:
      return "expression too large";
    default:
      return "internal error";
  }
}

RE2::Options RegexOptions() {
  RE2::Options options;
  options.set_log_errors(false);
  options.set_dot_nl(true);
  return options;
}

class Checker {
 public:
  explicit Checker(std::string_view query) : query_(query) {}

  /// Checks `expr` and everything below it. `may_be_empty`: a selector without a matcher that
  /// refuses "" is right here.
  Result<ValueType> Check(Expr& expr, bool may_be_empty = false) {
    switch (expr.kind) {
      case ExprKind::kNumber:
        return ValueType::kScalar;
      case ExprKind::kString:
        return ValueType::kString;
      case ExprKind::kVectorSelector: {
        VARVE_RETURN_IF_ERROR(CheckSelector(*As<VectorSelector>(expr), may_be_empty));
        return ValueType::kVector;
      }
      case ExprKind::kMatrixSelector: {
        VARVE_RETURN_IF_ERROR(CheckSelector(*As<MatrixSelector>(expr)->selector, false));
        return ValueType::kMatrix;
      }
      case ExprKind::kSubquery: {
        VARVE_ASSIGN_OR_RETURN(const ValueType type, Check(*As<SubqueryExpr>(expr)->expr));
        if (type != ValueType::kVector) {
          return Error(expr.span, Concat("subquery is only allowed on instant vector, got ",
                                         ToString(type), " instead"));
        }
        return ValueType::kMatrix;
      }
      case ExprKind::kCall:
        return CheckCall(*As<Call>(expr));
      case ExprKind::kAggregate:
        return CheckAggregate(*As<AggregateExpr>(expr));
      case ExprKind::kBinary:
        return CheckBinary(*As<BinaryExpr>(expr));
      case ExprKind::kUnary: {
        VARVE_ASSIGN_OR_RETURN(const ValueType type, Check(*As<UnaryExpr>(expr)->expr));
        if (type != ValueType::kScalar && type != ValueType::kVector) {
          return Error(expr.span,
                       Concat("unary expression only allowed on expressions of type scalar or "
                              "instant vector, got ",
                              GoQuote(DocumentedType(type))));
        }
        return type;
      }
      case ExprKind::kParen:
        return Check(*As<ParenExpr>(expr)->expr);
    }
    return ValueType::kNone;
  }

 private:
  Status Error(Span span, std::string_view what) const { return ParseError(query_, span, what); }

  Status Expect(Expr& expr, ValueType want, std::string_view context) {
    VARVE_ASSIGN_OR_RETURN(const ValueType type, Check(expr));
    if (type == want) return absl::OkStatus();
    return Error(expr.span, Concat("expected type ", DocumentedType(want), " in ", context,
                                   ", got ", DocumentedType(type)));
  }

  Status CheckSelector(const VectorSelector& selector, bool may_be_empty) const {
    if (!selector.name.empty()) {
      for (size_t i = 0; i + 1 < selector.matchers.size(); ++i) {
        const Matcher& matcher = selector.matchers[i];
        if (matcher.name == kMetricName) {
          return Error(selector.span,
                       Concat("metric name must not be set twice: ", GoQuote(selector.name), " or ",
                              GoQuote(matcher.value)));
        }
      }
      return absl::OkStatus();
    }
    if (may_be_empty || !std::all_of(selector.matchers.begin(), selector.matchers.end(),
                                     [](const Matcher& m) { return MatchesEmpty(m); })) {
      return absl::OkStatus();
    }
    return Error(selector.span, "vector selector must contain at least one non-empty matcher");
  }

  Result<ValueType> CheckCall(Call& call) {
    const FunctionSpec& function = *call.function;
    const auto wanted = static_cast<size_t>(function.args_count);
    const size_t given = call.args.size();
    const auto count_error = [&](std::string_view how, size_t count) {
      return Error(call.span, Concat("expected ", how, count, " argument(s) in call to ",
                                     GoQuote(function.name), ", got ", given));
    };
    if (function.variadic == 0) {
      if (given != wanted) return count_error("", wanted);
    } else {
      if (given < wanted - 1) return count_error("at least ", wanted - 1);
      const size_t most = wanted - 1 + static_cast<size_t>(std::max(function.variadic, 0));
      if (function.variadic > 0 && given > most) return count_error("at most ", most);
    }
    const bool is_info = function.id == FunctionId::kInfo;
    if (is_info && given > 1) {
      const Expr& selector = *call.args[1];
      if (TypeOf(selector) != ValueType::kVector) {
        return Error(call.span,
                     Concat("expected type instant vector in call to function \"info\", got ",
                            DocumentedType(TypeOf(selector))));
      }
      const auto* vector = As<VectorSelector>(selector);
      if (vector == nullptr) return Error(selector.span, "expected label selectors only");
      if (!vector->name.empty()) {
        return Error(selector.span, "expected label selectors only, got vector selector instead");
      }
    }
    for (size_t i = 0; i < given; ++i) {
      Expr& arg = *call.args[i];
      VARVE_ASSIGN_OR_RETURN(const ValueType type, Check(arg, is_info && i == 1));
      if (type != function.arg_type(i)) {
        return Error(arg.span, Concat("expected type ", DocumentedType(function.arg_type(i)),
                                      " in call to function ", GoQuote(function.name), ", got ",
                                      DocumentedType(type)));
      }
    }
    return function.return_type;
  }

  Result<ValueType> CheckAggregate(AggregateExpr& aggregate) {
    VARVE_RETURN_IF_ERROR(Expect(*aggregate.expr, ValueType::kVector, "aggregation expression"));
    if (aggregate.param) {
      const ValueType want =
          aggregate.op == AggregateOp::kCountValues ? ValueType::kString : ValueType::kScalar;
      VARVE_RETURN_IF_ERROR(Expect(*aggregate.param, want, "aggregation parameter"));
    }
    return ValueType::kVector;
  }

  /// Covers the operator and its modifiers, without the space around them.
  Span OperatorSpan(const BinaryExpr& binary) const {
    Span span{binary.left->span.end, binary.right->span.begin};
    while (span.begin < span.end && IsSpace(query_[span.begin])) ++span.begin;
    while (span.end > span.begin && IsSpace(query_[span.end - 1])) --span.end;
    return span;
  }

  Result<ValueType> CheckBinary(BinaryExpr& binary) {
    VARVE_ASSIGN_OR_RETURN(const ValueType left, Check(*binary.left));
    VARVE_ASSIGN_OR_RETURN(const ValueType right, Check(*binary.right));
    const bool is_set = IsSetOperator(binary.op);
    const std::string op = GoQuote(ToString(binary.op));
    VectorMatching& matching = *binary.matching;
    using Cardinality = VectorMatching::Cardinality;

    if (binary.return_bool && !IsComparison(binary.op)) {
      return Error(OperatorSpan(binary), "bool modifier can only be used on comparison operators");
    }
    if (IsComparison(binary.op) && !binary.return_bool && left == ValueType::kScalar &&
        right == ValueType::kScalar) {
      return Error(OperatorSpan(binary), "comparisons between scalars must use BOOL modifier");
    }
    const bool grouped = matching.cardinality != Cardinality::kOneToOne;
    if (matching.on) {
      for (const std::string& label : matching.labels) {
        if (std::find(matching.include.begin(), matching.include.end(), label) !=
            matching.include.end()) {
          return Error(
              OperatorSpan(binary),
              Concat("label ", GoQuote(label), " must not occur in ON and GROUP clause at once"));
        }
      }
    }
    for (const auto& [side, type] :
         {std::pair(binary.left.get(), left), {binary.right.get(), right}}) {
      if (type != ValueType::kScalar && type != ValueType::kVector) {
        return Error(side->span,
                     "binary expression must contain only scalar and instant vector types");
      }
    }
    const bool has_fill = matching.fill_left || matching.fill_right;
    if (left != ValueType::kVector || right != ValueType::kVector) {
      if (!matching.labels.empty()) {
        return Error(binary.span, "vector matching only allowed between instant vectors");
      }
      if (has_fill) {
        return Error(binary.span, "filling in missing series only allowed between instant vectors");
      }
      binary.matching.reset();
      if (is_set) {
        return Error(binary.span,
                     Concat("set operator ", op, " not allowed in binary scalar expression"));
      }
    } else if (is_set) {
      if (grouped) return Error(binary.span, Concat("no grouping allowed for ", op, " operation"));
      if (has_fill) {
        return Error(binary.span, "filling in missing series not allowed for set operators");
      }
      matching.cardinality = Cardinality::kManyToMany;
    }
    return left == ValueType::kScalar && right == ValueType::kScalar ? ValueType::kScalar
                                                                     : ValueType::kVector;
  }

  std::string_view query_;
};

}  // namespace

Status ParseError(std::string_view query, Span span, std::string_view what) {
  // Prometheus knows no position in a text of no characters.
  if (query.empty()) return TextError({1, 1}, Concat("unknown position: parse error: ", what));
  const TextPlace place = PlaceOf(query, span.begin);
  return TextError(place, Concat(place.line, ":", place.column, ": parse error: ", what));
}

Status CheckTypes(std::string_view query, Expr& expr) {
  return Checker(query).Check(expr).status();
}

Status CheckRegex(const Matcher& matcher) {
  if (matcher.type != MatchType::kRegex && matcher.type != MatchType::kNotRegex) {
    return absl::OkStatus();
  }
  if (IsPlainAlternation(matcher.value) || matcher.value == ".*" || matcher.value == ".+") {
    return absl::OkStatus();
  }
  if (BoundedRegex::HasTooManyParts(matcher.value)) {
    return MakeStatus(StatusCode::kInvalidArgument, "error parsing regexp: expression too large");
  }
  const RE2 regex(matcher.value, RegexOptions());
  if (regex.ok()) return absl::OkStatus();
  std::string message = Concat("error parsing regexp: ", GoRegexError(regex.error_code()));
  if (!regex.error_arg().empty()) message += Concat(": `", regex.error_arg(), "`");
  return MakeStatus(StatusCode::kInvalidArgument, message);
}

bool MatchesEmpty(const Matcher& matcher) {
  const std::string& value = matcher.value;
  const auto regex_matches = [&value] {
    if (value == ".*") return true;
    if (value == ".+") return false;
    if (IsPlainAlternation(value)) {
      return value.empty() || value.front() == '|' || value.back() == '|' ||
             value.find("||") != std::string::npos;
    }
    // One that is too large is refused by CheckRegex.
    return !BoundedRegex::HasTooManyParts(value) && RE2::FullMatch("", RE2(value, RegexOptions()));
  };
  switch (matcher.type) {
    case MatchType::kEqual:
      return value.empty();
    case MatchType::kNotEqual:
      return !value.empty();
    case MatchType::kRegex:
      return regex_matches();
    case MatchType::kNotRegex:
      return !regex_matches();
  }
  return false;
}

}  // namespace varve::promql
