#include "query/lang/logql/build.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/lang/promql/literals.h"

namespace varve::logql {
namespace {

using Grammar = grammar::LogQL;
using antlr4::ParserRuleContext;
using antlr4::Token;

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
[[noreturn]] void FailSense(Span span, std::string_view what) {
  throw SyntaxFault{span, std::string(what), false};
}
[[noreturn]] void FailUnexpected(const Token& token, std::string_view text) {
  throw SyntaxFault{SpanOf(token), DescribeUnexpected(token.getType(), text)};
}

constexpr RangeOp RangeOpOf(size_t token) {
  switch (token) {
    case Grammar::COUNT_OVER_TIME:
      return RangeOp::kCount;
    case Grammar::RATE:
      return RangeOp::kRate;
    case Grammar::RATE_COUNTER:
      return RangeOp::kRateCounter;
    case Grammar::BYTES_OVER_TIME:
      return RangeOp::kBytes;
    case Grammar::BYTES_RATE:
      return RangeOp::kBytesRate;
    case Grammar::AVG_OVER_TIME:
      return RangeOp::kAvg;
    case Grammar::SUM_OVER_TIME:
      return RangeOp::kSum;
    case Grammar::MIN_OVER_TIME:
      return RangeOp::kMin;
    case Grammar::MAX_OVER_TIME:
      return RangeOp::kMax;
    case Grammar::STDDEV_OVER_TIME:
      return RangeOp::kStddev;
    case Grammar::STDVAR_OVER_TIME:
      return RangeOp::kStdvar;
    case Grammar::QUANTILE_OVER_TIME:
      return RangeOp::kQuantile;
    case Grammar::FIRST_OVER_TIME:
      return RangeOp::kFirst;
    case Grammar::LAST_OVER_TIME:
      return RangeOp::kLast;
    default:
      return RangeOp::kAbsent;
  }
}

constexpr VectorOp VectorOpOf(size_t token) {
  switch (token) {
    case Grammar::SUM:
      return VectorOp::kSum;
    case Grammar::AVG:
      return VectorOp::kAvg;
    case Grammar::MAX:
      return VectorOp::kMax;
    case Grammar::MIN:
      return VectorOp::kMin;
    case Grammar::COUNT:
      return VectorOp::kCount;
    case Grammar::STDDEV:
      return VectorOp::kStddev;
    case Grammar::STDVAR:
      return VectorOp::kStdvar;
    case Grammar::TOPK:
      return VectorOp::kTopk;
    case Grammar::BOTTOMK:
      return VectorOp::kBottomk;
    case Grammar::APPROX_TOPK:
      return VectorOp::kApproxTopk;
    case Grammar::SORT:
      return VectorOp::kSort;
    case Grammar::SORT_DESC:
      return VectorOp::kSortDesc;
    case Grammar::GROUP:
      return VectorOp::kGroup;
    case Grammar::QUANTILE:
      return VectorOp::kQuantile;
    default:
      return VectorOp::kCountValues;
  }
}

constexpr BinaryOp BinaryOpOf(size_t token) {
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
    case Grammar::EQLC:
      return BinaryOp::kEqual;
    case Grammar::NEQ:
      return BinaryOp::kNotEqual;
    case Grammar::GTR:
      return BinaryOp::kGreater;
    case Grammar::GTE:
      return BinaryOp::kGreaterEqual;
    case Grammar::LSS:
      return BinaryOp::kLess;
    case Grammar::LTE:
      return BinaryOp::kLessEqual;
    case Grammar::LAND:
      return BinaryOp::kAnd;
    case Grammar::LOR:
      return BinaryOp::kOr;
    default:
      return BinaryOp::kUnless;
  }
}

MatchType MatchTypeOf(size_t token) {
  switch (token) {
    case Grammar::EQL:
      return MatchType::kEqual;
    case Grammar::NEQ:
      return MatchType::kNotEqual;
    case Grammar::EQL_REGEX:
      return MatchType::kRegex;
    default:
      return MatchType::kNotRegex;
  }
}

CompareOp CompareOpOf(size_t token) {
  switch (token) {
    case Grammar::NEQ:
      return CompareOp::kNotEqual;
    case Grammar::GTR:
      return CompareOp::kGreater;
    case Grammar::GTE:
      return CompareOp::kGreaterEqual;
    case Grammar::LSS:
      return CompareOp::kLess;
    case Grammar::LTE:
      return CompareOp::kLessEqual;
    default:
      return CompareOp::kEqual;
  }
}

LineOp LineOpOf(size_t token) {
  switch (token) {
    case Grammar::PIPE_EXACT:
      return LineOp::kContains;
    case Grammar::NEQ:
      return LineOp::kNotContains;
    case Grammar::PIPE_MATCH:
      return LineOp::kMatches;
    case Grammar::NEQ_REGEX:
      return LineOp::kNotMatches;
    case Grammar::PIPE_PATTERN:
      return LineOp::kPattern;
    default:
      return LineOp::kNotPattern;
  }
}

/// Computes what Loki reduces while it parses: operations of two literals.
double Reduce(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return a + b;
    case BinaryOp::kSub:
      return a - b;
    case BinaryOp::kMul:
      return a * b;
    case BinaryOp::kDiv:
      return b == 0 ? NAN : a / b;
    case BinaryOp::kMod:
      return b == 0 ? NAN : std::fmod(a, b);
    case BinaryOp::kPow:
      return std::pow(a, b);
    case BinaryOp::kEqual:
      return a == b;
    case BinaryOp::kNotEqual:
      return a != b;
    case BinaryOp::kGreater:
      return a > b;
    case BinaryOp::kGreaterEqual:
      return a >= b;
    case BinaryOp::kLess:
      return a < b;
    default:
      return a <= b;
  }
}

/// An expression with what was written behind it, until something takes it.
struct Operand {
  ExprPtr expr;
  bool ranged = false;
  int64_t range_ns = 0;
  int64_t offset_ns = 0;
  std::optional<int64_t> subquery_step_ns;
  std::optional<int64_t> at_ns;
  const Token* range_token = nullptr;
};

class Builder {
 public:
  explicit Builder(std::string_view query) : query_(query) {}

  ExprPtr BuildRoot(Grammar::ExprContext& tree) {
    Operand root = Build(tree);
    if (root.ranged) FailUnexpectedAfter(root);
    if (root.expr->kind == ExprKind::kLog) RefuseUnwrap(*root.expr);
    return std::move(root.expr);
  }

  std::vector<Matcher> Build(Grammar::SelectorContext& tree) {
    std::vector<Matcher> out;
    for (auto* matcher : tree.matcher()) out.push_back(Build(*matcher));
    return out;
  }

 private:
  std::string_view Text(Span span) const {
    return query_.substr(span.begin, span.end - span.begin);
  }
  std::string_view Text(const Token& token) const { return Text(SpanOf(token)); }
  std::string_view Text(const ParserRuleContext& tree) const { return Text(SpanOf(tree)); }
  std::string Name(Grammar::NameContext& tree) const { return std::string(Text(tree)); }

  std::string UnquoteToken(const Token& token) const {
    auto text = promql::Unquote(Text(token));
    if (!text.ok()) Fail(SpanOf(token), "invalid syntax");
    return *std::move(text);
  }
  double Number(const Token& token) const {
    const std::string text(Text(token));
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // Loki refuses what overflows; what underflows is nothing to anybody.
    if (error != std::errc() || end != text.data() + text.size()) {
      Fail(SpanOf(token), Concat("unable to parse float: ", text));
    }
    return value;
  }
  double Number(Grammar::NumberContext& tree) const {
    const double value = Number(*tree.NUMBER()->getSymbol());
    return tree.SUB() != nullptr ? -value : value;
  }
  int64_t DurationNs(const Token& token) const {
    const std::string_view text = Text(token);
    if (const auto ms = promql::ParseDurationMs(text); ms.ok()) return *ms * 1'000'000;
    const auto ns = query::ParseGoDuration(text);
    if (!ns) Fail(SpanOf(token), Concat("not a valid duration string: ", GoQuote(text)));
    return *ns;
  }

  [[noreturn]] void FailUnexpectedAfter(const Operand& operand) const {
    if (operand.range_token != nullptr) {
      FailUnexpected(*operand.range_token, Text(*operand.range_token));
    }
    Fail(operand.expr->span, "syntax error: unexpected expression");
  }

  /// Words a fault at whatever stands behind a span: the place where Loki notices that something is
  /// missing.
  [[noreturn]] void FailBehind(Span span) const {
    size_t at = span.end;
    while (at < query_.size() &&
           (query_[at] == ' ' || query_[at] == '\t' || query_[at] == '\n' || query_[at] == '\r')) {
      ++at;
    }
    const auto begin = static_cast<uint32_t>(at);
    if (at >= query_.size()) Fail({begin, begin}, "syntax error: unexpected $end");
    size_t end = at + 1;
    const auto is_word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
    };
    while (is_word(query_[at]) && end < query_.size() && is_word(query_[end])) ++end;
    Fail({begin, static_cast<uint32_t>(end)},
         Concat("syntax error: unexpected ", query_.substr(at, end - at)));
  }

  void RefuseUnwrap(const Expr& log) const {
    if (const Stage* unwrap = FindUnwrap(log)) {
      Fail({unwrap->span.begin, unwrap->span.end}, "syntax error: unexpected unwrap");
    }
  }

  /// Takes an operand where a metric query must stand.
  ExprPtr TakeMetric(Operand operand) const {
    if (operand.ranged) FailUnexpectedAfter(operand);
    if (operand.expr->kind == ExprKind::kLog) FailBehind(operand.expr->span);
    return std::move(operand.expr);
  }

  Operand Build(Grammar::ExprContext& tree) {
    if (tree.operand() != nullptr) return Build(*tree.operand());
    // A chain of operators to the left is built in a loop, so that depth costs no stack here.
    std::vector<Grammar::ExprContext*> chain;
    Grammar::ExprContext* at = &tree;
    while (at->operand() == nullptr) {
      chain.push_back(at);
      at = at->expr(0);
    }
    ExprPtr left = TakeMetric(Build(*at));
    for (size_t i = chain.size(); i-- > 0;) left = BuildBinary(*chain[i], std::move(left));
    return {std::move(left)};
  }

  ExprPtr BuildBinary(Grammar::ExprContext& tree, ExprPtr left) {
    auto binary = std::make_unique<Expr>(ExprKind::kBinary);
    binary->binary_op = BinaryOpOf(tree.op->getType());
    auto& modifiers = *tree.modifiers();
    binary->return_bool = modifiers.BOOL() != nullptr;
    Matching& matching = binary->matching;
    matching.on = modifiers.ON() != nullptr;
    matching.given = matching.on || modifiers.IGNORING() != nullptr;
    if (modifiers.match != nullptr) matching.labels = Build(*modifiers.match);
    if (modifiers.group != nullptr) {
      matching.cardinality = modifiers.group->getType() == Grammar::GROUP_LEFT
                                 ? Matching::Cardinality::kManyToOne
                                 : Matching::Cardinality::kOneToMany;
      if (modifiers.include != nullptr) matching.include = Build(*modifiers.include);
    }
    ExprPtr right = TakeMetric(Build(*tree.expr(1)));
    const Span span{left->span.begin, right->span.end};
    binary->span = span;
    if (binary->return_bool && !IsComparison(binary->binary_op)) {
      FailSense(SpanOf(*tree.op), "bool modifier can only be used on comparison operators");
    }
    if (IsSet(binary->binary_op)) {
      for (const Expr* leg : {left.get(), right.get()}) {
        if (!IsScalar(*leg)) continue;
        char number[64];
        std::snprintf(number, sizeof number, "%f", leg->number);
        FailSense(leg->span, Concat("unexpected literal for ", leg == left.get() ? "left" : "right",
                                    " leg of logical/set binary operation (",
                                    ToString(binary->binary_op), "): ", number));
      }
      if (matching.cardinality != Matching::Cardinality::kOneToOne) {
        FailSense(SpanOf(*tree.op), "no grouping allowed for set operations");
      }
    }
    if (left->kind == ExprKind::kNumber && right->kind == ExprKind::kNumber) {
      auto number = std::make_unique<Expr>(ExprKind::kNumber);
      number->number = Reduce(binary->binary_op, left->number, right->number);
      number->span = span;
      return number;
    }
    binary->children.push_back(std::move(left));
    binary->children.push_back(std::move(right));
    return binary;
  }

  Operand Build(Grammar::OperandContext& tree) {
    auto& primary = *tree.primary();
    bool in_parentheses = false;
    Operand out = Build(primary, &in_parentheses);
    bool fresh_range = false;  // an offset or time may follow
    bool stages_before = !out.expr->stages.empty();
    bool stages_after = false;
    for (auto* suffix : tree.suffix()) {
      Expr& expr = *out.expr;
      const Token& first = *suffix->start;
      if (suffix->RANGE() != nullptr) {
        if (out.ranged) FailUnexpected(first, Text(first));
        ReadRange(first, &out);
        out.ranged = true;
        out.range_token = &first;
        fresh_range = true;
      } else if (suffix->OFFSET() != nullptr) {
        if (!fresh_range || out.offset_ns != 0) FailUnexpected(first, Text(first));
        const int64_t ns = DurationNs(*suffix->DURATION()->getSymbol());
        out.offset_ns = suffix->SUB() != nullptr ? -ns : ns;
      } else if (suffix->AT() != nullptr) {
        if (!fresh_range || out.at_ns) FailUnexpected(first, Text(first));
        double seconds = Number(*suffix->NUMBER()->getSymbol());
        if (suffix->SUB() != nullptr) seconds = -seconds;
        if (!(std::fabs(seconds) < 9.2e9))
          Fail(SpanOf(*suffix), "timestamp out of bounds for @ modifier");
        out.at_ns = std::llround(seconds * 1000) * 1'000'000;
      } else {
        // A stage stands before the range or behind it, never on both sides, and never behind a
        // parenthesis.
        if (expr.kind != ExprKind::kLog || in_parentheses || (out.ranged && stages_before)) {
          FailUnexpected(first, Text(first));
        }
        fresh_range = false;
        (out.ranged ? stages_after : stages_before) = true;
        Stage stage = Build(*suffix->stage());
        if (FindUnwrap(expr) != nullptr && stage.kind != StageKind::kLabelFilter) {
          FailUnexpected(first, Text(first));
        }
        expr.stages.push_back(std::move(stage));
      }
      expr.span.end = SpanOf(*suffix).end;
    }
    return out;
  }

  /// Reads `[range]`, or `[range:step]` behind a metric query.
  void ReadRange(const Token& token, Operand* operand) const {
    const bool log = operand->expr->kind == ExprKind::kLog;
    const Span span = SpanOf(token);
    std::string_view text = Text(token).substr(1);
    text.remove_suffix(1);
    std::string_view step;
    const size_t colon = text.find(':');
    if (colon != std::string_view::npos) {
      if (log) Fail(span, "syntax error: unexpected subquery of a log query");
      step = Trim(text.substr(colon + 1));
      text = text.substr(0, colon);
      operand->subquery_step_ns = step.empty() ? 0 : Milliseconds(step, span);
    } else if (!log) {
      Fail(span, "syntax error: unexpected RANGE");
    }
    operand->range_ns = Milliseconds(Trim(text), span);
  }
  int64_t Milliseconds(std::string_view text, Span span) const {
    const auto ms = promql::ParseDurationMs(text);
    if (!ms.ok()) Fail(span, Concat("not a valid duration string: ", GoQuote(text)));
    return *ms * 1'000'000;
  }
  static std::string_view Trim(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    const size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
  }

  Operand Build(Grammar::PrimaryContext& tree, bool* in_parentheses) {
    const Span span = SpanOf(tree);
    Operand out;
    if (tree.number() != nullptr) {
      const double value = Number(*tree.number());
      out.expr =
          std::make_unique<Expr>(tree.VECTOR() != nullptr ? ExprKind::kVector : ExprKind::kNumber);
      out.expr->number = value;
    } else if (tree.LABEL_REPLACE() != nullptr) {
      out.expr = std::make_unique<Expr>(ExprKind::kLabelReplace);
      for (size_t i = 0; i < 4; ++i) {
        out.expr->strings[i] = UnquoteToken(*tree.STRING(i)->getSymbol());
      }
      out.expr->children.push_back(TakeMetric(Build(*tree.expr())));
    } else if (tree.expr() != nullptr) {
      *in_parentheses = true;
      out = Build(*tree.expr());
    } else if (tree.rangeAggregation() != nullptr) {
      out.expr = Build(*tree.rangeAggregation());
    } else if (tree.vectorAggregation() != nullptr) {
      out.expr = Build(*tree.vectorAggregation());
    } else {
      out.expr = std::make_unique<Expr>(ExprKind::kLog);
      out.expr->matchers = Build(*tree.selector());
    }
    out.expr->span = span;
    return out;
  }

  ExprPtr Build(Grammar::RangeAggregationContext& tree) {
    auto out = std::make_unique<Expr>(ExprKind::kRangeAggregation);
    const Span op_span = SpanOf(*tree.rangeOp());
    out->range_op = RangeOpOf(tree.rangeOp()->start->getType());
    if (tree.NUMBER() != nullptr) out->parameter = Number(*tree.NUMBER()->getSymbol());
    if (tree.grouping() != nullptr) out->grouping = Build(*tree.grouping());
    Operand operand = Build(*tree.expr());
    if (!operand.ranged) FailBehind(operand.expr->span);
    Expr& input = *operand.expr;
    out->range_ns = operand.range_ns;
    out->offset_ns = operand.offset_ns;
    out->subquery_step_ns = operand.subquery_step_ns;
    out->at_ns = operand.at_ns;
    CheckRangeAggregation(*out, input, op_span);
    out->children.push_back(std::move(operand.expr));
    return out;
  }

  static void CheckRangeAggregation(const Expr& out, const Expr& input, Span span) {
    const RangeOp op = out.range_op;
    const std::string_view name = ToString(op);
    if (op == RangeOp::kQuantile && !out.parameter) {
      FailSense(span, Concat("parameter required for operation ", name));
    }
    if (op != RangeOp::kQuantile && out.parameter) {
      FailSense(span, Concat("parameter ", promql::FormatFloat(*out.parameter),
                             " not supported for operation ", name));
    }
    // The samples of a subquery have values, as unwrapped lines do.
    const bool unwrapped = input.kind != ExprKind::kLog || FindUnwrap(input) != nullptr;
    if (out.grouping) {
      switch (op) {
        case RangeOp::kAvg:
        case RangeOp::kStddev:
        case RangeOp::kStdvar:
        case RangeOp::kQuantile:
        case RangeOp::kMax:
        case RangeOp::kMin:
        case RangeOp::kFirst:
        case RangeOp::kLast:
          break;
        default:
          FailSense(span, Concat("grouping not allowed for ", name, " aggregation"));
      }
    }
    switch (op) {
      case RangeOp::kRate:
      case RangeOp::kAbsent:
        break;
      case RangeOp::kCount:
        if (unwrapped && input.kind == ExprKind::kLog) {
          FailSense(span, Concat("invalid aggregation ", name, " with unwrap"));
        }
        break;
      case RangeOp::kBytes:
      case RangeOp::kBytesRate:
        if (unwrapped) FailSense(span, Concat("invalid aggregation ", name, " with unwrap"));
        break;
      default:
        if (!unwrapped) FailSense(span, Concat("invalid aggregation ", name, " without unwrap"));
    }
  }

  ExprPtr Build(Grammar::VectorAggregationContext& tree) {
    auto out = std::make_unique<Expr>(ExprKind::kVectorAggregation);
    const Span span = SpanOf(*tree.vectorOp());
    out->vector_op = VectorOpOf(tree.vectorOp()->start->getType());
    const std::string_view name = ToString(out->vector_op);
    if (tree.grouping() != nullptr) out->grouping = Build(*tree.grouping());
    auto& arguments = *tree.arguments();
    if (arguments.NUMBER() != nullptr) {
      out->parameter = Number(*arguments.NUMBER()->getSymbol());
      if (!TakesNumber(out->vector_op)) {
        FailSense(span, Concat("unsupported parameter for operation ", name, "(",
                               Text(*arguments.NUMBER()->getSymbol()), ","));
      }
    } else if (TakesNumber(out->vector_op)) {
      FailSense(span, Concat("parameter required for operation ", name));
    }
    if ((arguments.STRING() != nullptr) != (out->vector_op == VectorOp::kCountValues)) {
      if (arguments.STRING() != nullptr) {
        Fail(SpanOf(*arguments.STRING()->getSymbol()), "syntax error: unexpected STRING");
      }
      FailSense(span, Concat("parameter required for operation ", name));
    }
    if (arguments.STRING() != nullptr) out->label = UnquoteToken(*arguments.STRING()->getSymbol());
    if (out->vector_op == VectorOp::kTopk || out->vector_op == VectorOp::kBottomk ||
        out->vector_op == VectorOp::kApproxTopk) {
      if (!(*out->parameter >= 1) || *out->parameter != std::floor(*out->parameter)) {
        FailSense(span, Concat("invalid parameter (must be greater than 0) ", name, "(",
                               Text(*arguments.NUMBER()->getSymbol())));
      }
    }
    if (out->grouping &&
        (out->vector_op == VectorOp::kSort || out->vector_op == VectorOp::kSortDesc ||
         out->vector_op == VectorOp::kApproxTopk)) {
      FailSense(span, Concat("grouping not allowed for ", name, " aggregation"));
    }
    out->children.push_back(TakeMetric(Build(*arguments.expr())));
    return out;
  }

  Grouping Build(Grammar::GroupingContext& tree) {
    return {tree.WITHOUT() != nullptr, Build(*tree.labels())};
  }
  std::vector<std::string> Build(Grammar::LabelsContext& tree) {
    std::vector<std::string> out;
    for (auto* name : tree.name()) out.push_back(Name(*name));
    return out;
  }
  Matcher Build(Grammar::MatcherContext& tree) {
    return {MatchTypeOf(tree.op->getType()), Name(*tree.name()),
            UnquoteToken(*tree.STRING()->getSymbol())};
  }

  Stage Build(Grammar::StageContext& tree) {
    Stage out;
    out.span = SpanOf(tree);
    if (auto* line = dynamic_cast<Grammar::LineFilterContext*>(&tree)) {
      out.kind = StageKind::kLineFilter;
      out.line_op = LineOpOf(line->op->getType());
      for (auto* text : line->lineText()) {
        const bool ip = text->IP() != nullptr;
        if (ip && out.line_op != LineOp::kContains && out.line_op != LineOp::kNotContains) {
          FailSense(SpanOf(*text), "ip() line filter only supports |= and != operators");
        }
        out.line_texts.push_back({ip, UnquoteToken(*text->STRING()->getSymbol())});
      }
    } else if (auto* json = dynamic_cast<Grammar::JsonContext*>(&tree)) {
      out.kind = StageKind::kJson;
      out.extractions = Build(json->extraction());
    } else if (auto* logfmt = dynamic_cast<Grammar::LogfmtContext*>(&tree)) {
      out.kind = StageKind::kLogfmt;
      for (auto* flag : logfmt->FLAG()) {
        const std::string_view text = Text(*flag->getSymbol());
        bool* target = text == "--strict"       ? &out.strict
                       : text == "--keep-empty" ? &out.keep_empty
                                                : nullptr;
        if (target == nullptr || *target) {
          Fail(SpanOf(*flag->getSymbol()), Concat("syntax error: unexpected flag ", text));
        }
        *target = true;
      }
      out.extractions = Build(logfmt->extraction());
    } else if (auto* parser = dynamic_cast<Grammar::TextParserContext*>(&tree)) {
      out.kind =
          parser->which->getType() == Grammar::REGEXP ? StageKind::kRegexp : StageKind::kPattern;
      out.text = UnquoteToken(*parser->STRING()->getSymbol());
    } else if (dynamic_cast<Grammar::UnpackContext*>(&tree) != nullptr) {
      out.kind = StageKind::kUnpack;
    } else if (auto* format = dynamic_cast<Grammar::LineFormatContext*>(&tree)) {
      out.kind = StageKind::kLineFormat;
      out.text = UnquoteToken(*format->STRING()->getSymbol());
    } else if (auto* formats = dynamic_cast<Grammar::LabelFormatsContext*>(&tree)) {
      out.kind = StageKind::kLabelFormat;
      for (auto* item : formats->labelFormat()) {
        LabelFormat label;
        label.name = Name(*item->name(0));
        label.rename = item->STRING() == nullptr;
        label.value =
            label.rename ? Name(*item->name(1)) : UnquoteToken(*item->STRING()->getSymbol());
        out.formats.push_back(std::move(label));
      }
    } else if (dynamic_cast<Grammar::DecolorizeContext*>(&tree) != nullptr) {
      out.kind = StageKind::kDecolorize;
    } else if (auto* choice = dynamic_cast<Grammar::DropKeepContext*>(&tree)) {
      out.kind = choice->keep->getType() == Grammar::KEEP ? StageKind::kKeep : StageKind::kDrop;
      for (auto* item : choice->labelChoice()) {
        LabelChoice label;
        if (item->matcher() != nullptr) {
          label.matcher = Build(*item->matcher());
          label.name = label.matcher->name;
        } else {
          label.name = Name(*item->name());
        }
        out.choices.push_back(std::move(label));
      }
    } else if (auto* unwrap = dynamic_cast<Grammar::UnwrapContext*>(&tree)) {
      out.kind = StageKind::kUnwrap;
      out.text = Name(*unwrap->name());
    } else if (auto* converted = dynamic_cast<Grammar::UnwrapConvertedContext*>(&tree)) {
      out.kind = StageKind::kUnwrap;
      out.text = Name(*converted->name());
      const size_t type = converted->conversion->getType();
      out.conversion = type == Grammar::BYTES_CONVERSION ? Conversion::kBytes
                       : type == Grammar::DURATION_CONV  ? Conversion::kDuration
                                                         : Conversion::kDurationSeconds;
    } else {
      auto& filter = static_cast<Grammar::LabelFilterStageContext&>(tree);
      out.kind = StageKind::kLabelFilter;
      out.filter = Build(*filter.labelFilter());
    }
    return out;
  }

  std::vector<Extraction> Build(const std::vector<Grammar::ExtractionContext*>& trees) {
    std::vector<Extraction> out;
    for (auto* tree : trees) {
      Extraction item;
      item.name = Name(*tree->name());
      item.bare = tree->STRING() == nullptr;
      item.expression = item.bare ? item.name : UnquoteToken(*tree->STRING()->getSymbol());
      out.push_back(std::move(item));
    }
    return out;
  }

  static LabelFilterPtr Combine(LabelFilter::Kind kind, LabelFilterPtr left, LabelFilterPtr right) {
    auto out = std::make_unique<LabelFilter>();
    out->kind = kind;
    out->span = {left->span.begin, right->span.end};
    out->left = std::move(left);
    out->right = std::move(right);
    return out;
  }

  /// Loki's parser generator knows a precedence of `and` over `or`, but none for a comma or for two
  /// tests side by side: there it reads on before it combines anything.
  LabelFilterPtr Build(Grammar::LabelFilterContext& tree) {
    enum class Connective : uint8_t { kOr, kAnd, kBare };
    const auto tests = tree.labelTest();
    if (tests.size() > kTreeDepthMax) {
      Fail(SpanOf(tree), Concat("label filter has more than ", kTreeDepthMax, " tests"));
    }
    std::vector<LabelFilterPtr> stack;
    std::vector<Connective> connectives;
    const auto reduce = [&] {
      LabelFilterPtr right = std::move(stack.back());
      stack.pop_back();
      const auto kind =
          connectives.back() == Connective::kOr ? LabelFilter::Kind::kOr : LabelFilter::Kind::kAnd;
      connectives.pop_back();
      stack.back() = Combine(kind, std::move(stack.back()), std::move(right));
    };
    Connective next = Connective::kBare;
    bool first = true;
    for (antlr4::tree::ParseTree* child : tree.children) {
      auto* test = dynamic_cast<Grammar::LabelTestContext*>(child);
      if (test == nullptr) {
        const size_t type = static_cast<antlr4::tree::TerminalNode*>(child)->getSymbol()->getType();
        next = type == Grammar::LAND  ? Connective::kAnd
               : type == Grammar::LOR ? Connective::kOr
                                      : Connective::kBare;
        continue;
      }
      if (!first) {
        while (!connectives.empty() && next != Connective::kBare &&
               connectives.back() != Connective::kBare && connectives.back() >= next) {
          reduce();
        }
        connectives.push_back(next);
      }
      first = false;
      next = Connective::kBare;
      stack.push_back(Build(*test));
    }
    while (!connectives.empty()) reduce();
    return std::move(stack.back());
  }

  LabelFilterPtr Build(Grammar::LabelTestContext& tree) {
    if (tree.labelFilter() != nullptr) return Build(*tree.labelFilter());
    auto out = std::make_unique<LabelFilter>();
    out->span = SpanOf(tree);
    if (tree.matcher() != nullptr) {
      out->kind = LabelFilter::Kind::kString;
      out->matcher = Build(*tree.matcher());
      out->name = out->matcher.name;
      return out;
    }
    out->name = Name(*tree.name());
    out->compare = CompareOpOf(tree.op->getType());
    if (tree.IP() != nullptr) {
      out->kind = LabelFilter::Kind::kIp;
      out->text = UnquoteToken(*tree.STRING()->getSymbol());
    } else if (tree.number() != nullptr) {
      out->kind = LabelFilter::Kind::kNumber;
      out->number = Number(*tree.number());
      out->text = Text(*tree.number());
    } else if (tree.DURATION() != nullptr) {
      out->kind = LabelFilter::Kind::kDuration;
      const Token& token = *tree.DURATION()->getSymbol();
      const auto ns = static_cast<double>(DurationNs(token));
      out->number = tree.SUB() != nullptr ? -ns : ns;
      out->text = Concat(tree.SUB() != nullptr ? "-" : "", Text(token));
    } else {
      out->kind = LabelFilter::Kind::kBytes;
      const Token& token = *tree.BYTES()->getSymbol();
      out->text = Text(token);
      const auto bytes = query::ParseHumanBytes(out->text);
      if (!bytes) Fail(SpanOf(token), Concat("not a valid size: ", out->text));
      out->number = static_cast<double>(*bytes);
    }
    return out;
  }

  const std::string_view query_;
};

}  // namespace

std::string DescribeUnexpected(size_t type, std::string_view text) {
  constexpr std::string_view kStart = "syntax error: unexpected ";
  switch (type) {
    case antlr4::Token::EOF:
      return Concat(kStart, "$end");
    case Grammar::IDENTIFIER:
      return Concat(kStart, "IDENTIFIER");
    case Grammar::STRING:
      return Concat(kStart, "STRING");
    case Grammar::NUMBER:
      return Concat(kStart, "NUMBER");
    case Grammar::DURATION:
      return Concat(kStart, "DURATION");
    case Grammar::BYTES:
      return Concat(kStart, "BYTES");
    case Grammar::RANGE:
      return Concat(kStart, "RANGE");
    case Grammar::BAD_RANGE:
      return "missing closing ']' in duration";
    case Grammar::BAD_NUMBER:
      return Concat("bad number or duration syntax: ", GoQuote(text));
    case Grammar::BAD_STRING:
      return "literal not terminated";
    case Grammar::UNEXPECTED:
      return Concat("syntax error: unexpected character ", GoQuote(text));
    default: {
      std::string word(text);
      for (char& c : word) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      }
      return Concat(kStart, word);
    }
  }
}

ExprPtr BuildExpr(std::string_view query, Grammar::ExprContext& tree) {
  return Builder(query).BuildRoot(tree);
}

std::vector<Matcher> BuildMatchers(std::string_view query, Grammar::SelectorContext& tree) {
  return Builder(query).Build(tree);
}

}  // namespace varve::logql
