#include "query/lang/promql/build.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/strings.h"
#include "query/lang/promql/check.h"
#include "query/lang/promql/literals.h"

namespace varve::promql {
namespace {

using Grammar = grammar::PromQL;
using antlr4::ParserRuleContext;
using antlr4::Token;

/// The largest duration, in seconds: an int64 of nanoseconds.
constexpr double kDurationSecondsMax = 9223372036.854775807;

BinaryOp BinaryOpOf(size_t token) {
  switch (token) {
    case Grammar::ADD:
      return BinaryOp::kAdd;
    case Grammar::SUB:
      return BinaryOp::kSub;
    case Grammar::MUL:
      return BinaryOp::kMul;
    case Grammar::DIV:
      return BinaryOp::kDiv;
    case Grammar::MOD:
      return BinaryOp::kMod;
    case Grammar::POW:
      return BinaryOp::kPow;
    case Grammar::ATAN2:
      return BinaryOp::kAtan2;
    case Grammar::EQLC:
      return BinaryOp::kEqual;
    case Grammar::NEQ:
      return BinaryOp::kNotEqual;
    case Grammar::GTR:
      return BinaryOp::kGreater;
    case Grammar::LSS:
      return BinaryOp::kLess;
    case Grammar::GTE:
      return BinaryOp::kGreaterEqual;
    case Grammar::LTE:
      return BinaryOp::kLessEqual;
    case Grammar::TRIM_UPPER:
      return BinaryOp::kTrimUpper;
    case Grammar::TRIM_LOWER:
      return BinaryOp::kTrimLower;
    case Grammar::LAND:
      return BinaryOp::kAnd;
    case Grammar::LOR:
      return BinaryOp::kOr;
    default:
      return BinaryOp::kUnless;
  }
}

AggregateOp AggregateOpOf(size_t token) {
  switch (token) {
    case Grammar::SUM:
      return AggregateOp::kSum;
    case Grammar::AVG:
      return AggregateOp::kAvg;
    case Grammar::COUNT:
      return AggregateOp::kCount;
    case Grammar::MIN:
      return AggregateOp::kMin;
    case Grammar::MAX:
      return AggregateOp::kMax;
    case Grammar::GROUP:
      return AggregateOp::kGroup;
    case Grammar::STDDEV:
      return AggregateOp::kStddev;
    case Grammar::STDVAR:
      return AggregateOp::kStdvar;
    case Grammar::TOPK:
      return AggregateOp::kTopk;
    case Grammar::BOTTOMK:
      return AggregateOp::kBottomk;
    case Grammar::COUNT_VALUES:
      return AggregateOp::kCountValues;
    case Grammar::QUANTILE:
      return AggregateOp::kQuantile;
    case Grammar::LIMITK:
      return AggregateOp::kLimitk;
    default:
      return AggregateOp::kLimitRatio;
  }
}

Span SpanOf(const Token& token) {
  return {static_cast<uint32_t>(token.getStartIndex()),
          static_cast<uint32_t>(token.getStopIndex() + 1)};
}
Span SpanOf(const ParserRuleContext& tree) {
  return {static_cast<uint32_t>(tree.start->getStartIndex()),
          static_cast<uint32_t>(tree.stop->getStopIndex() + 1)};
}

[[noreturn]] void Fail(Span span, std::string_view what) {
  throw SyntaxFault{span, std::string(what)};
}

class Builder {
 public:
  Builder(std::string_view query, const ParseOptions& options) : query_(query), options_(options) {}

  ExprPtr Build(Grammar::ExprContext& tree) {
    if (tree.op == nullptr) return Build(*tree.operand());
    if (tree.modifiers() == nullptr) return BuildUnary(tree);
    auto binary = std::make_unique<BinaryExpr>();
    binary->op = BinaryOpOf(tree.op->getType());
    binary->left = Build(*tree.expr(0));
    BuildModifiers(*tree.modifiers(), binary.get());
    binary->right = Build(*tree.expr(1));
    binary->span = {binary->left->span.begin, binary->right->span.end};
    return binary;
  }

  std::unique_ptr<VectorSelector> Build(Grammar::VectorSelectorContext& tree) {
    auto selector = std::make_unique<VectorSelector>();
    selector->span = SpanOf(tree);
    if (auto* matchers = tree.matchers()) {
      for (auto* matcher : matchers->matcher()) selector->matchers.push_back(Build(*matcher));
    }
    if (auto* name = tree.metricName()) {
      selector->name = Text(*name);
      selector->matchers.push_back({MatchType::kEqual, std::string(kMetricName), selector->name});
    }
    return selector;
  }

 private:
  std::string_view Text(const Token& token) const {
    const Span span = SpanOf(token);
    return query_.substr(span.begin, span.end - span.begin);
  }
  std::string_view Text(const ParserRuleContext& tree) const {
    const Span span = SpanOf(tree);
    return query_.substr(span.begin, span.end - span.begin);
  }

  std::string UnquoteToken(const Token& token) const {
    auto text = Unquote(Text(token));
    if (!text.ok()) Fail(SpanOf(token), ToStd(text.status().message()));
    return *std::move(text);
  }

  double Number(Grammar::NumberContext& tree, bool* is_duration) const {
    const Token& token = *tree.start;
    *is_duration = token.getType() == Grammar::DURATION;
    if (*is_duration) {
      const auto ms = ParseDurationMs(Text(token));
      if (!ms.ok()) Fail(SpanOf(token), ToStd(ms.status().message()));
      return static_cast<double>(*ms) / 1000;
    }
    const auto value = ParseNumber(Text(token));
    if (!value.ok()) Fail(SpanOf(token), ToStd(value.status().message()));
    return *value;
  }

  ExprPtr BuildUnary(Grammar::ExprContext& tree) {
    const bool negative = tree.op->getType() == Grammar::SUB;
    ExprPtr inner = Build(*tree.expr(0));
    const Span span{SpanOf(*tree.op).begin, inner->span.end};
    // A sign in front of a number is part of it.
    if (auto* number = As<NumberLiteral>(*inner)) {
      if (negative) number->value *= -1;
      number->span = span;
      return inner;
    }
    auto unary = std::make_unique<UnaryExpr>();
    unary->negative = negative;
    unary->expr = std::move(inner);
    unary->span = span;
    return unary;
  }

  void BuildModifiers(Grammar::ModifiersContext& tree, BinaryExpr* binary) {
    VectorMatching matching;
    binary->return_bool = tree.BOOL() != nullptr;
    matching.on = tree.ON() != nullptr;
    if (tree.match != nullptr) matching.labels = Build(*tree.match);
    if (tree.group != nullptr) {
      matching.cardinality = tree.group->getType() == Grammar::GROUP_LEFT
                                 ? VectorMatching::Cardinality::kManyToOne
                                 : VectorMatching::Cardinality::kOneToMany;
      if (tree.include != nullptr) matching.include = Build(*tree.include);
    }
    for (auto* fill : tree.fill()) {
      const auto type = fill->side->getType();
      if (!options_.binop_fill_modifiers) {
        Fail(SpanOf(*fill), "binop fill modifiers are experimental and not enabled");
      }
      bool is_duration = false;
      double value = Number(*fill->number(), &is_duration);
      if (fill->SUB() != nullptr) value = -value;
      const bool left = type != Grammar::FILL_RIGHT;
      const bool right = type != Grammar::FILL_LEFT;
      if ((left && matching.fill_left) || (right && matching.fill_right)) {
        Fail(SpanOf(*fill), Concat("unexpected ", Text(*fill->side),
                                   " in binary expression, fill value is set already"));
      }
      if (left) matching.fill_left = value;
      if (right) matching.fill_right = value;
    }
    binary->matching = std::move(matching);
  }

  std::vector<std::string> Build(Grammar::LabelsContext& tree) {
    std::vector<std::string> out;
    for (auto* label : tree.label()) {
      std::string name =
          label->STRING() != nullptr ? UnquoteToken(*label->start) : std::string(Text(*label));
      if (name.empty() || !IsValidUtf8(name)) {
        Fail(SpanOf(*label), Concat("invalid label name for grouping: ", GoQuote(name)));
      }
      out.push_back(std::move(name));
    }
    return out;
  }

  Matcher Build(Grammar::MatcherContext& tree) {
    Matcher matcher;
    const bool quoted = tree.name->getType() == Grammar::STRING;
    std::string name = quoted ? UnquoteToken(*tree.name) : std::string(Text(*tree.name));
    if (tree.op == nullptr) {
      if (name.empty()) Fail(SpanOf(*tree.name), "metric name must not be empty");
      matcher.name = kMetricName;
      matcher.value = std::move(name);
      return matcher;
    }
    matcher.name = std::move(name);
    matcher.value = UnquoteToken(*tree.value);
    switch (tree.op->getType()) {
      case Grammar::EQL:
        matcher.type = MatchType::kEqual;
        break;
      case Grammar::NEQ:
        matcher.type = MatchType::kNotEqual;
        break;
      case Grammar::EQL_REGEX:
        matcher.type = MatchType::kRegex;
        break;
      default:
        matcher.type = MatchType::kNotRegex;
        break;
    }
    if (const Status status = CheckRegex(matcher); !status.ok()) {
      Fail({SpanOf(*tree.name).begin, SpanOf(*tree.value).end}, ToStd(status.message()));
    }
    return matcher;
  }

  ExprPtr Build(Grammar::OperandContext& tree) {
    ExprPtr expr = Build(*tree.primary());
    for (auto* suffix : tree.suffix()) expr = BuildSuffix(*suffix, std::move(expr));
    return expr;
  }

  ExprPtr Build(Grammar::PrimaryContext& tree) {
    if (auto* number = tree.number()) {
      auto out = std::make_unique<NumberLiteral>();
      out->value = Number(*number, &out->is_duration);
      out->span = SpanOf(*number);
      return out;
    }
    if (tree.STRING() != nullptr) {
      auto out = std::make_unique<StringLiteral>();
      out->value = UnquoteToken(*tree.start);
      out->span = SpanOf(tree);
      return out;
    }
    if (auto* inner = tree.expr()) {
      auto out = std::make_unique<ParenExpr>();
      out->expr = Build(*inner);
      out->span = SpanOf(tree);
      return out;
    }
    if (auto* aggregation = tree.aggregation()) return Build(*aggregation);
    if (auto* call = tree.call()) return Build(*call);
    return Build(*tree.vectorSelector());
  }

  std::vector<ExprPtr> Build(Grammar::ArgumentsContext& tree) {
    std::vector<ExprPtr> out;
    for (auto* arg : tree.expr()) out.push_back(Build(*arg));
    return out;
  }

  ExprPtr Build(Grammar::AggregationContext& tree) {
    auto out = std::make_unique<AggregateExpr>();
    out->span = SpanOf(tree);
    out->op = AggregateOpOf(tree.start->getType());
    std::vector<ExprPtr> args = Build(*tree.arguments());
    if (auto* grouping = tree.grouping()) {
      out->without = grouping->WITHOUT() != nullptr;
      out->grouping = Build(*grouping->labels());
    }
    if (args.empty()) Fail(out->span, "no arguments for aggregate expression provided");
    if (IsExperimental(out->op) && !options_.experimental_functions) {
      Fail(out->span, Concat(ToString(out->op),
                             "() is experimental and must be enabled with "
                             "--enable-feature=promql-experimental-functions"));
    }
    const size_t wanted = HasParam(out->op) ? 2 : 1;
    if (args.size() != wanted) {
      Fail(out->span,
           Concat("wrong number of arguments for aggregate expression provided, expected ", wanted,
                  ", got ", args.size()));
    }
    if (wanted == 2) out->param = std::move(args[0]);
    out->expr = std::move(args[wanted - 1]);
    return out;
  }

  ExprPtr Build(Grammar::CallContext& tree) {
    auto out = std::make_unique<Call>();
    out->span = SpanOf(tree);
    out->args = Build(*tree.arguments());
    std::string name(Text(*tree.functionName()));
    if (tree.functionName()->IDENTIFIER() == nullptr) {
      for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out->function = FindFunction(name);
    const Span name_span = SpanOf(*tree.functionName());
    if (out->function == nullptr) {
      Fail(name_span, Concat("unknown function with name ", GoQuote(name)));
    }
    if (out->function->experimental && !options_.experimental_functions) {
      Fail(name_span, Concat("function ", GoQuote(name), " is not enabled"));
    }
    return out;
  }

  // --- Suffixes ---

  ExprPtr BuildSuffix(Grammar::SuffixContext& tree, ExprPtr expr) {
    if (tree.range != nullptr) return BuildRange(tree, std::move(expr));
    if (auto* offset = tree.offsetDuration()) {
      SetOffset(*offset, *expr);
    } else if (tree.AT() != nullptr) {
      SetAt(tree, *expr);
    } else {
      SetExtended(tree, *expr);
    }
    expr->span.end = SpanOf(tree).end;
    return expr;
  }

  ExprPtr BuildRange(Grammar::SuffixContext& tree, ExprPtr expr) {
    DurationPtr range = BuildPositive(*tree.range);
    const Span span{expr->span.begin, SpanOf(tree).end};
    if (tree.COLON() != nullptr) {
      auto out = std::make_unique<SubqueryExpr>();
      if (tree.step != nullptr) out->step = BuildPositive(*tree.step);
      out->expr = std::move(expr);
      out->range = std::move(range);
      out->span = span;
      return out;
    }
    const Span brackets = SpanOf(tree);
    auto* selector = As<VectorSelector>(*expr);
    if (selector == nullptr) Fail(brackets, "ranges only allowed for vector selectors");
    if (selector->shift.offset) Fail(brackets, "no offset modifiers allowed before range");
    if (selector->shift.has_at()) Fail(brackets, "no @ modifiers allowed before range");
    auto out = std::make_unique<MatrixSelector>();
    expr.release();
    out->selector.reset(selector);
    out->range = std::move(range);
    out->span = span;
    return out;
  }

  /// Finds the place for `offset` and `@` of an expression, or null if it may have none.
  static TimeShift* ShiftOf(Expr& expr) {
    if (auto* vector = As<VectorSelector>(expr)) return &vector->shift;
    if (auto* matrix = As<MatrixSelector>(expr)) return &matrix->selector->shift;
    if (auto* subquery = As<SubqueryExpr>(expr)) return &subquery->shift;
    return nullptr;
  }

  void SetOffset(Grammar::OffsetDurationContext& tree, Expr& expr) {
    DurationPtr offset = Build(tree);
    TimeShift* shift = ShiftOf(expr);
    if (shift == nullptr) {
      Fail(expr.span,
           "offset modifier must be preceded by an instant vector selector or range vector "
           "selector or a subquery");
    }
    if (shift->offset) Fail(expr.span, "offset may not be set multiple times");
    if (!offset->is_literal() || offset->seconds != 0) shift->offset = std::move(offset);
  }

  void SetAt(Grammar::SuffixContext& tree, Expr& expr) {
    double seconds = 0;
    if (tree.edge == nullptr) {
      bool is_duration = false;
      seconds = Number(*tree.number(), &is_duration);
      if (tree.SUB() != nullptr) seconds = -seconds;
      // In Go's words MaxInt64 and MinInt64 as floats, both excluded; NaN fails as well.
      if (!(seconds > -0x1p63 && seconds < 0x1p63)) {
        std::string text = FormatFloat(seconds);
        if (std::isfinite(seconds) && text.find('.') == std::string::npos) text += ".000000";
        Fail(expr.span, Concat("timestamp out of bounds for @ modifier: ", text));
      }
    }
    TimeShift* shift = ShiftOf(expr);
    if (shift == nullptr) {
      Fail(expr.span,
           "@ modifier must be preceded by an instant vector selector or range vector selector or "
           "a subquery");
    }
    if (shift->has_at()) Fail(expr.span, "@ <timestamp> may not be set multiple times");
    if (tree.edge != nullptr) {
      shift->at_edge =
          tree.edge->getType() == Grammar::START ? TimeShift::Edge::kStart : TimeShift::Edge::kEnd;
      return;
    }
    const double ms = std::round(seconds * 1000);
    shift->at_ms = ms >= 0x1p63    ? std::numeric_limits<int64_t>::max()
                   : ms <= -0x1p63 ? std::numeric_limits<int64_t>::min()
                                   : static_cast<int64_t>(ms);
  }

  void SetExtended(Grammar::SuffixContext& tree, Expr& expr) {
    const bool anchored = tree.ANCHORED() != nullptr;
    const std::string_view word = anchored ? "anchored" : "smoothed";
    if (!options_.extended_range_selectors) {
      Fail(expr.span, Concat(word, " modifier is experimental and not enabled"));
    }
    auto* vector = As<VectorSelector>(expr);
    if (auto* matrix = As<MatrixSelector>(expr)) vector = matrix->selector.get();
    if (vector == nullptr) {
      Fail(expr.span, expr.kind == ExprKind::kSubquery
                          ? Concat(word, " modifier is not supported for subqueries")
                          : Concat(word, " modifier not implemented"));
    }
    (anchored ? vector->anchored : vector->smoothed) = true;
    if (vector->anchored && vector->smoothed) {
      Fail(expr.span, "anchored and smoothed modifiers cannot be used together");
    }
  }

  // --- Durations ---

  DurationPtr Make(DurationExpr::Kind kind, Span span, DurationPtr left, DurationPtr right) const {
    if (!options_.experimental_durations) {
      Fail(span, "experimental duration expression is not enabled");
    }
    auto out = std::make_unique<DurationExpr>();
    out->kind = kind;
    out->span = span;
    out->left = std::move(left);
    out->right = std::move(right);
    return out;
  }

  DurationPtr Signed(bool negative, uint32_t begin, DurationPtr inner) const {
    const Span span{begin, inner->span.end};
    if (inner->is_literal()) {
      if (negative) inner->seconds *= -1;
      inner->span = span;
      return inner;
    }
    if (!negative) return inner;
    return Make(DurationExpr::Kind::kNegate, span, std::move(inner), nullptr);
  }

  DurationPtr BuildPositive(Grammar::DurationContext& tree) {
    DurationPtr out = Build(tree);
    if (out->is_literal() && !(out->seconds > 0)) {
      Fail(out->span, "duration must be greater than 0");
    }
    return out;
  }

  DurationPtr Build(Grammar::OffsetDurationContext& tree) {
    DurationPtr out = Build(*tree.durationAtom());
    for (auto child = tree.children.rbegin() + 1; child != tree.children.rend(); ++child) {
      const Token& sign = *dynamic_cast<antlr4::tree::TerminalNode&>(**child).getSymbol();
      out = Signed(sign.getType() == Grammar::SUB, SpanOf(sign).begin, std::move(out));
    }
    return out;
  }

  DurationPtr Build(Grammar::DurationContext& tree) {
    if (tree.op == nullptr) return Build(*tree.durationAtom());
    const size_t op = tree.op->getType();
    DurationPtr left = Build(*tree.duration(0));
    if (tree.duration(1) == nullptr) {
      return Signed(op == Grammar::SUB, SpanOf(*tree.op).begin, std::move(left));
    }
    DurationPtr right = Build(*tree.duration(1));
    const Span span{left->span.begin, right->span.end};
    const bool by_zero = right->is_literal() && right->seconds == 0;
    using Kind = DurationExpr::Kind;
    Kind kind = Kind::kAdd;
    switch (op) {
      case Grammar::ADD:
        kind = Kind::kAdd;
        break;
      case Grammar::SUB:
        kind = Kind::kSub;
        break;
      case Grammar::MUL:
        kind = Kind::kMul;
        break;
      case Grammar::DIV:
        if (by_zero) Fail(SpanOf(*tree.op), "division by zero");
        kind = Kind::kDiv;
        break;
      case Grammar::MOD:
        if (by_zero) Fail(SpanOf(*tree.op), "modulo by zero");
        kind = Kind::kMod;
        break;
      default:
        kind = Kind::kPow;
        break;
    }
    return Make(kind, span, std::move(left), std::move(right));
  }

  DurationPtr Build(Grammar::DurationAtomContext& tree) {
    using Kind = DurationExpr::Kind;
    const Span span = SpanOf(tree);
    if (auto* number = tree.number()) {
      auto out = std::make_unique<DurationExpr>();
      bool is_duration = false;
      out->seconds = Number(*number, &is_duration);
      out->span = span;
      if (!(std::abs(out->seconds) <= kDurationSecondsMax)) Fail(span, "duration out of range");
      return out;
    }
    DurationPtr left = tree.duration(0) != nullptr ? Build(*tree.duration(0)) : nullptr;
    DurationPtr right = tree.duration(1) != nullptr ? Build(*tree.duration(1)) : nullptr;
    Kind kind = Kind::kParen;
    if (tree.STEP() != nullptr) kind = Kind::kStep;
    if (tree.RANGE() != nullptr) kind = Kind::kRange;
    if (tree.MIN_OF() != nullptr) kind = Kind::kMin;
    if (tree.MAX_OF() != nullptr) kind = Kind::kMax;
    return Make(kind, span, std::move(left), std::move(right));
  }

  std::string_view query_;
  const ParseOptions& options_;
};

}  // namespace

ExprPtr BuildExpr(std::string_view query, const ParseOptions& options,
                  grammar::PromQL::ExprContext& tree) {
  return Builder(query, options).Build(tree);
}

std::unique_ptr<VectorSelector> BuildSelector(std::string_view query, const ParseOptions& options,
                                              grammar::PromQL::VectorSelectorContext& tree) {
  return Builder(query, options).Build(tree);
}

}  // namespace varve::promql
