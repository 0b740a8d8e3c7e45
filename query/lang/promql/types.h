#pragma once

#include <cstdint>
#include <string_view>

namespace varve::promql {

enum class ValueType : uint8_t { kNone, kScalar, kVector, kMatrix, kString };
/// Gives the API's word: "none", "scalar", "vector", "matrix", "string".
std::string_view ToString(ValueType type);
/// Gives the word of error messages: "instant vector", "range vector", ...
std::string_view DocumentedType(ValueType type);

enum class BinaryOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kPow,
  kAtan2,
  kEqual,
  kNotEqual,
  kGreater,
  kLess,
  kGreaterEqual,
  kLessEqual,
  kTrimUpper,  // </ : cuts a histogram above a float
  kTrimLower,  // >/ : cuts a histogram below a float
  kAnd,
  kOr,
  kUnless,
};
/// Gives the operator as written.
std::string_view ToString(BinaryOp op);
constexpr bool IsComparison(BinaryOp op) {
  return op >= BinaryOp::kEqual && op <= BinaryOp::kLessEqual;
}
constexpr bool IsSetOperator(BinaryOp op) { return op >= BinaryOp::kAnd; }
constexpr bool IsTrim(BinaryOp op) {
  return op == BinaryOp::kTrimUpper || op == BinaryOp::kTrimLower;
}

enum class AggregateOp : uint8_t {
  kSum,
  kAvg,
  kCount,
  kMin,
  kMax,
  kGroup,
  kStddev,
  kStdvar,
  kTopk,
  kBottomk,
  kCountValues,
  kQuantile,
  kLimitk,
  kLimitRatio,
};
/// Gives the operator as written.
std::string_view ToString(AggregateOp op);
constexpr bool HasParam(AggregateOp op) { return op >= AggregateOp::kTopk; }
constexpr bool IsExperimental(AggregateOp op) { return op >= AggregateOp::kLimitk; }

}  // namespace varve::promql
