#pragma once

#include <cstdint>
#include <string_view>

#include "varve/query.h"

/// Functions of one or two values. They know nothing of any query language.
namespace varve::query {

enum class ElementFunction : uint8_t {
  kAbs,
  kCeil,
  kFloor,
  kExp,
  kLn,
  kLog2,
  kLog10,
  kSqrt,
  kSgn,
  kDeg,
  kRad,
  kSin,
  kCos,
  kTan,
  kAsin,
  kAcos,
  kAtan,
  kSinh,
  kCosh,
  kTanh,
  kAsinh,
  kAcosh,
  kAtanh,
  kMinute,
  kHour,
  kDayOfWeek,
  kDayOfMonth,
  kDayOfYear,
  kDaysInMonth,
  kMonth,
  kYear,
};
std::string_view ToString(ElementFunction function);
/// Applies a function to `count` values in place; calendar functions read them as Unix seconds,
/// UTC.
void Apply(ElementFunction function, double* values, uint32_t count);

/// Behave as Go's math.Max and math.Min: NaN unless the other decides, and 0 is above -0.
double GoMax(double a, double b);
double GoMin(double a, double b);

enum class BinaryFunction : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kModulo,
  kPower,
  kAtan2,
  kEqual,
  kNotEqual,
  kGreater,
  kLess,
  kGreaterEqual,
  kLessEqual,
  kTrimUpper,
  kTrimLower,
};
std::string_view ToString(BinaryFunction function);
constexpr bool IsComparison(BinaryFunction f) {
  return f >= BinaryFunction::kEqual && f <= BinaryFunction::kLessEqual;
}
constexpr bool IsTrim(BinaryFunction f) { return f >= BinaryFunction::kTrimUpper; }
constexpr bool IsArithmetic(BinaryFunction f) { return f <= BinaryFunction::kAtan2; }

/// Computes an arithmetic function.
double Calculate(BinaryFunction function, double a, double b);
bool Compare(BinaryFunction function, double a, double b);

/// What an operation on two values of which one or both may be histograms gives.
struct PairResult {
  bool keep = false;
  double value = 0;
  HistogramPtr histogram;
  enum class Problem : uint8_t {
    kNone,
    kIncompatibleTypes,    // info: no such operation between these types; dropped
    kIncompatibleBuckets,  // warning: exponential and custom buckets; dropped
  };
  Problem problem = Problem::kNone;
  bool collision = false;   // warning: conflicting reset hints
  bool reconciled = false;  // info: custom bounds differed
};
/// Combines two values; a null histogram pointer means the float counts.
PairResult Combine(BinaryFunction function, double a, const FloatHistogram* ha, double b,
                   const FloatHistogram* hb);

}  // namespace varve::query
