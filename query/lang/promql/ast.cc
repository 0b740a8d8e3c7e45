#include "query/lang/promql/ast.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::promql {
namespace {

/// One past the largest, and the smallest, duration in seconds: an int64 of nanoseconds.
constexpr double kDurationSecondsEnd = 9223372036.854775807;

Status DurationError(std::string_view query, Span span, std::string_view what) {
  const TextPlace place = PlaceOf(query, span.begin);
  return TextError(place, Concat(place.line, ":", place.column, ": ", what));
}

Result<double> EvalSeconds(const DurationExpr& d, DurationScope scope, std::string_view query) {
  using Kind = DurationExpr::Kind;
  double left = 0;
  double right = 0;
  if (d.left) {
    VARVE_ASSIGN_OR_RETURN(left, EvalSeconds(*d.left, scope, query));
  }
  if (d.right) {
    VARVE_ASSIGN_OR_RETURN(right, EvalSeconds(*d.right, scope, query));
  }
  switch (d.kind) {
    case Kind::kLiteral:
      return d.seconds;
    case Kind::kStep:
      return static_cast<double>(scope.step_ms) / 1000;
    case Kind::kRange:
      return static_cast<double>(scope.range_ms) / 1000;
    case Kind::kNegate:
      return -left;
    case Kind::kParen:
      return left;
    case Kind::kMin:
      return std::isnan(left) || std::isnan(right) ? NAN : std::min(left, right);
    case Kind::kMax:
      return std::isnan(left) || std::isnan(right) ? NAN : std::max(left, right);
    case Kind::kAdd:
      return left + right;
    case Kind::kSub:
      return left - right;
    case Kind::kMul:
      return left * right;
    case Kind::kDiv:
      if (right == 0) return DurationError(query, d.span, "division by zero");
      return left / right;
    case Kind::kMod:
      if (right == 0) return DurationError(query, d.span, "modulo by zero");
      return std::fmod(left, right);
    case Kind::kPow:
      return std::pow(left, right);
  }
  return 0.0;
}

template <typename T>
bool EqualPointers(const std::unique_ptr<T>& a, const std::unique_ptr<T>& b) {
  return a && b ? Equal(*a, *b) : !a && !b;
}

bool EqualFloats(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }
bool EqualFloats(const std::optional<double>& a, const std::optional<double>& b) {
  return a && b ? EqualFloats(*a, *b) : a.has_value() == b.has_value();
}

bool EqualShifts(const TimeShift& a, const TimeShift& b) {
  return EqualPointers(a.offset, b.offset) && a.at_ms == b.at_ms && a.at_edge == b.at_edge;
}

/// Compares without regard to order: printing sorts matchers.
bool EqualMatchers(std::vector<Matcher> a, std::vector<Matcher> b) {
  const auto less = [](const Matcher& x, const Matcher& y) {
    return std::tie(x.name, x.type, x.value) < std::tie(y.name, y.type, y.value);
  };
  std::sort(a.begin(), a.end(), less);
  std::sort(b.begin(), b.end(), less);
  return a == b;
}

bool EqualMatching(const VectorMatching& a, const VectorMatching& b) {
  return a.cardinality == b.cardinality && a.on == b.on && a.labels == b.labels &&
         a.include == b.include && EqualFloats(a.fill_left, b.fill_left) &&
         EqualFloats(a.fill_right, b.fill_right);
}

TimeShift CloneShift(const TimeShift& shift) {
  TimeShift out;
  if (shift.offset) out.offset = Clone(*shift.offset);
  out.at_ms = shift.at_ms;
  out.at_edge = shift.at_edge;
  return out;
}

template <typename T>
std::unique_ptr<T> Start(const T& from) {
  auto out = std::make_unique<T>();
  out->span = from.span;
  return out;
}

std::unique_ptr<VectorSelector> CloneSelector(const VectorSelector& from) {
  auto out = Start(from);
  out->name = from.name;
  out->matchers = from.matchers;
  out->shift = CloneShift(from.shift);
  out->anchored = from.anchored;
  out->smoothed = from.smoothed;
  return out;
}

}  // namespace

TextPlace PlaceOf(std::string_view query, uint32_t offset) {
  TextPlace place;
  const size_t end = std::min<size_t>(offset, query.size());
  for (size_t i = 0; i < end; ++i) {
    if (query[i] == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

std::string PositionOf(std::string_view query, Span span) {
  const TextPlace place = PlaceOf(query, span.begin);
  return Concat(place.line, ":", place.column);
}

Result<int64_t> EvalDuration(const DurationExpr& duration, DurationScope scope,
                             std::string_view query, bool must_be_positive) {
  VARVE_ASSIGN_OR_RETURN(const double seconds, EvalSeconds(duration, scope, query));
  // Written so that NaN fails both tests.
  if (must_be_positive && !(seconds > 0)) {
    return DurationError(query, duration.span, "duration must be greater than 0");
  }
  if (!(seconds > -kDurationSecondsEnd && seconds < kDurationSecondsEnd)) {
    return DurationError(query, duration.span, "duration is out of range");
  }
  // A literal goes through nanoseconds first, so that 1.001 is 1001 ms; arithmetic does not.
  if (duration.is_literal()) return std::llround(seconds * 1e9) / 1'000'000;
  return static_cast<int64_t>(seconds * 1000);
}

ValueType TypeOf(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kNumber:
      return ValueType::kScalar;
    case ExprKind::kString:
      return ValueType::kString;
    case ExprKind::kVectorSelector:
      return ValueType::kVector;
    case ExprKind::kMatrixSelector:
    case ExprKind::kSubquery:
      return ValueType::kMatrix;
    case ExprKind::kCall:
      return As<Call>(expr)->function->return_type;
    case ExprKind::kAggregate:
      return ValueType::kVector;
    case ExprKind::kBinary: {
      const auto& binary = *As<BinaryExpr>(expr);
      return TypeOf(*binary.left) == ValueType::kScalar &&
                     TypeOf(*binary.right) == ValueType::kScalar
                 ? ValueType::kScalar
                 : ValueType::kVector;
    }
    case ExprKind::kUnary:
      return TypeOf(*As<UnaryExpr>(expr)->expr);
    case ExprKind::kParen:
      return TypeOf(*As<ParenExpr>(expr)->expr);
  }
  return ValueType::kNone;
}

const Expr& StripParens(const Expr& expr) {
  const Expr* at = &expr;
  while (const auto* paren = As<ParenExpr>(*at)) at = paren->expr.get();
  return *at;
}

DurationPtr Clone(const DurationExpr& duration) {
  auto out = std::make_unique<DurationExpr>();
  out->kind = duration.kind;
  out->span = duration.span;
  out->seconds = duration.seconds;
  if (duration.left) out->left = Clone(*duration.left);
  if (duration.right) out->right = Clone(*duration.right);
  return out;
}

ExprPtr Clone(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kNumber: {
      const auto& from = *As<NumberLiteral>(expr);
      auto out = Start(from);
      out->value = from.value;
      out->is_duration = from.is_duration;
      return out;
    }
    case ExprKind::kString: {
      const auto& from = *As<StringLiteral>(expr);
      auto out = Start(from);
      out->value = from.value;
      return out;
    }
    case ExprKind::kVectorSelector:
      return CloneSelector(*As<VectorSelector>(expr));
    case ExprKind::kMatrixSelector: {
      const auto& from = *As<MatrixSelector>(expr);
      auto out = Start(from);
      out->selector = CloneSelector(*from.selector);
      out->range = Clone(*from.range);
      return out;
    }
    case ExprKind::kSubquery: {
      const auto& from = *As<SubqueryExpr>(expr);
      auto out = Start(from);
      out->expr = Clone(*from.expr);
      out->range = Clone(*from.range);
      if (from.step) out->step = Clone(*from.step);
      out->shift = CloneShift(from.shift);
      return out;
    }
    case ExprKind::kCall: {
      const auto& from = *As<Call>(expr);
      auto out = Start(from);
      out->function = from.function;
      for (const ExprPtr& arg : from.args) out->args.push_back(Clone(*arg));
      return out;
    }
    case ExprKind::kAggregate: {
      const auto& from = *As<AggregateExpr>(expr);
      auto out = Start(from);
      out->op = from.op;
      out->expr = Clone(*from.expr);
      if (from.param) out->param = Clone(*from.param);
      out->grouping = from.grouping;
      out->without = from.without;
      return out;
    }
    case ExprKind::kBinary: {
      const auto& from = *As<BinaryExpr>(expr);
      auto out = Start(from);
      out->op = from.op;
      out->left = Clone(*from.left);
      out->right = Clone(*from.right);
      out->return_bool = from.return_bool;
      out->matching = from.matching;
      return out;
    }
    case ExprKind::kUnary: {
      const auto& from = *As<UnaryExpr>(expr);
      auto out = Start(from);
      out->negative = from.negative;
      out->expr = Clone(*from.expr);
      return out;
    }
    case ExprKind::kParen: {
      const auto& from = *As<ParenExpr>(expr);
      auto out = Start(from);
      out->expr = Clone(*from.expr);
      return out;
    }
  }
  return nullptr;
}

bool Equal(const DurationExpr& a, const DurationExpr& b) {
  return a.kind == b.kind && EqualFloats(a.seconds, b.seconds) && EqualPointers(a.left, b.left) &&
         EqualPointers(a.right, b.right);
}

bool Equal(const Expr& a, const Expr& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case ExprKind::kNumber: {
      const auto& x = *As<NumberLiteral>(a);
      const auto& y = *As<NumberLiteral>(b);
      return std::isnan(x.value)
                 ? std::isnan(y.value)
                 : x.value == y.value && std::signbit(x.value) == std::signbit(y.value);
    }
    case ExprKind::kString:
      return As<StringLiteral>(a)->value == As<StringLiteral>(b)->value;
    case ExprKind::kVectorSelector: {
      const auto& x = *As<VectorSelector>(a);
      const auto& y = *As<VectorSelector>(b);
      return x.name == y.name && EqualMatchers(x.matchers, y.matchers) &&
             EqualShifts(x.shift, y.shift) && x.anchored == y.anchored && x.smoothed == y.smoothed;
    }
    case ExprKind::kMatrixSelector: {
      const auto& x = *As<MatrixSelector>(a);
      const auto& y = *As<MatrixSelector>(b);
      return Equal(*x.selector, *y.selector) && Equal(*x.range, *y.range);
    }
    case ExprKind::kSubquery: {
      const auto& x = *As<SubqueryExpr>(a);
      const auto& y = *As<SubqueryExpr>(b);
      return Equal(*x.expr, *y.expr) && Equal(*x.range, *y.range) &&
             EqualPointers(x.step, y.step) && EqualShifts(x.shift, y.shift);
    }
    case ExprKind::kCall: {
      const auto& x = *As<Call>(a);
      const auto& y = *As<Call>(b);
      return x.function == y.function &&
             std::equal(x.args.begin(), x.args.end(), y.args.begin(), y.args.end(),
                        [](const ExprPtr& p, const ExprPtr& q) { return Equal(*p, *q); });
    }
    case ExprKind::kAggregate: {
      const auto& x = *As<AggregateExpr>(a);
      const auto& y = *As<AggregateExpr>(b);
      return x.op == y.op && Equal(*x.expr, *y.expr) && EqualPointers(x.param, y.param) &&
             x.grouping == y.grouping && x.without == y.without;
    }
    case ExprKind::kBinary: {
      const auto& x = *As<BinaryExpr>(a);
      const auto& y = *As<BinaryExpr>(b);
      if (x.matching.has_value() != y.matching.has_value()) return false;
      return x.op == y.op && x.return_bool == y.return_bool && Equal(*x.left, *y.left) &&
             Equal(*x.right, *y.right) && (!x.matching || EqualMatching(*x.matching, *y.matching));
    }
    case ExprKind::kUnary: {
      const auto& x = *As<UnaryExpr>(a);
      const auto& y = *As<UnaryExpr>(b);
      return x.negative == y.negative && Equal(*x.expr, *y.expr);
    }
    case ExprKind::kParen:
      return Equal(*As<ParenExpr>(a)->expr, *As<ParenExpr>(b)->expr);
  }
  return false;
}

}  // namespace varve::promql
