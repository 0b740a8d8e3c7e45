#include "query/lang/logql/ast.h"

#include "engine/base/strings.h"

namespace varve::logql {

std::string_view ToString(RangeOp op) {
  switch (op) {
    case RangeOp::kCount:
      return "count_over_time";
    case RangeOp::kRate:
      return "rate";
    case RangeOp::kRateCounter:
      return "rate_counter";
    case RangeOp::kBytes:
      return "bytes_over_time";
    case RangeOp::kBytesRate:
      return "bytes_rate";
    case RangeOp::kAvg:
      return "avg_over_time";
    case RangeOp::kSum:
      return "sum_over_time";
    case RangeOp::kMin:
      return "min_over_time";
    case RangeOp::kMax:
      return "max_over_time";
    case RangeOp::kStddev:
      return "stddev_over_time";
    case RangeOp::kStdvar:
      return "stdvar_over_time";
    case RangeOp::kQuantile:
      return "quantile_over_time";
    case RangeOp::kFirst:
      return "first_over_time";
    case RangeOp::kLast:
      return "last_over_time";
    case RangeOp::kAbsent:
      return "absent_over_time";
  }
  return "";
}

std::string_view ToString(VectorOp op) {
  constexpr std::string_view kNames[] = {
      "sum",     "avg",         "max",  "min",       "count", "stddev",   "stdvar",      "topk",
      "bottomk", "approx_topk", "sort", "sort_desc", "group", "quantile", "count_values"};
  return kNames[static_cast<size_t>(op)];
}

std::string_view ToString(BinaryOp op) {
  constexpr std::string_view kNames[] = {
      "+", "-", "*", "/", "%", "^", "==", "!=", ">", ">=", "<", "<=", "and", "or", "unless"};
  return kNames[static_cast<size_t>(op)];
}

int PrecedenceOf(BinaryOp op) {
  switch (op) {
    case BinaryOp::kPow:
      return 6;
    case BinaryOp::kMul:
    case BinaryOp::kDiv:
    case BinaryOp::kMod:
      return 5;
    case BinaryOp::kAdd:
    case BinaryOp::kSub:
      return 4;
    case BinaryOp::kAnd:
    case BinaryOp::kUnless:
      return 2;
    case BinaryOp::kOr:
      return 1;
    default:
      return 3;
  }
}

bool IsScalar(const Expr& expr) {
  if (expr.kind == ExprKind::kNumber) return true;
  return expr.kind == ExprKind::kBinary && IsScalar(*expr.children[0]) &&
         IsScalar(*expr.children[1]);
}

const Stage* FindUnwrap(const Expr& log) {
  for (const Stage& stage : log.stages) {
    if (stage.kind == StageKind::kUnwrap) return &stage;
  }
  return nullptr;
}

TextPlace PlaceOf(std::string_view query, uint32_t offset) {
  TextPlace place;
  const std::string_view before = query.substr(0, std::min<size_t>(offset, query.size()));
  for (const char c : before) {
    if (c == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  }
  return place;
}

Status PlacedError(std::string_view query, uint32_t offset, std::string_view what) {
  const TextPlace place = PlaceOf(query, offset);
  return TextError(place,
                   Concat("parse error at line ", place.line, ", col ", place.column, ": ", what));
}

Status SenseError(std::string_view query, Span span, std::string_view what) {
  return TextError(PlaceOf(query, span.begin), Concat("parse error : ", what));
}

}  // namespace varve::logql
