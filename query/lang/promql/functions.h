#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "query/lang/promql/types.h"

namespace varve::promql {

enum class FunctionId : uint8_t {
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
  kRound,
  kClamp,
  kClampMin,
  kClampMax,
  kMinute,
  kHour,
  kDayOfWeek,
  kDayOfMonth,
  kDayOfYear,
  kDaysInMonth,
  kMonth,
  kYear,
  kTime,
  kPi,
  kVector,
  kScalar,
  kTimestamp,
  kAbsent,
  kAbsentOverTime,
  kRate,
  kIncrease,
  kDelta,
  kIrate,
  kIdelta,
  kResets,
  kChanges,
  kDeriv,
  kPredictLinear,
  kAvgOverTime,
  kMinOverTime,
  kMaxOverTime,
  kSumOverTime,
  kCountOverTime,
  kStddevOverTime,
  kStdvarOverTime,
  kLastOverTime,
  kPresentOverTime,
  kFirstOverTime,
  kQuantileOverTime,
  kMadOverTime,
  kTsOfFirstOverTime,
  kTsOfLastOverTime,
  kTsOfMinOverTime,
  kTsOfMaxOverTime,
  kDoubleExponentialSmoothing,
  kHistogramQuantile,
  kHistogramFraction,
  kHistogramAvg,
  kHistogramCount,
  kHistogramSum,
  kHistogramStddev,
  kHistogramStdvar,
  kHistogramQuantiles,
  kLabelReplace,
  kLabelJoin,
  kSort,
  kSortDesc,
  kSortByLabel,
  kSortByLabelDesc,
  kInfo,
  kStart,
  kEnd,
  kStep,
  kRange,
  kMaxOf,
  kMinOf,
  kStartTimestamp,
};

/// Describes a function. With `variadic` 0 it takes exactly `args`. Otherwise the last of `args` is
/// optional and repeats: at most `variadic` times, or without bound if that is -1.
struct FunctionSpec {
  static constexpr int kArgsMax = 5;
  FunctionId id;
  std::string_view name;
  ValueType arg_types[kArgsMax];
  int args_count;
  int variadic;
  ValueType return_type;
  bool experimental;

  std::span<const ValueType> args() const { return {arg_types, static_cast<size_t>(args_count)}; }
  /// Gives the type of argument `i`, which may lie in the repeated tail.
  ValueType arg_type(size_t i) const {
    const auto last = static_cast<size_t>(args_count) - 1;
    return arg_types[i < last ? i : last];
  }
};

/// Finds a function by its exact name; null if there is none. Cost: one hash lookup.
const FunctionSpec* FindFunction(std::string_view name);
/// Lists every function, ordered by id.
std::span<const FunctionSpec> Functions();

}  // namespace varve::promql
