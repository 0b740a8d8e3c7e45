#include "query/lang/promql/functions.h"

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::promql {
namespace {

constexpr ValueType kS = ValueType::kScalar;
constexpr ValueType kV = ValueType::kVector;
constexpr ValueType kM = ValueType::kMatrix;
constexpr ValueType kT = ValueType::kString;
using enum FunctionId;

/// In the order of FunctionId. Columns: id, name, argument types, their count, variadic, result,
/// experimental.
constexpr FunctionSpec kFunctions[] = {
    {kAbs, "abs", {kV}, 1, 0, kV, false},
    {kCeil, "ceil", {kV}, 1, 0, kV, false},
    {kFloor, "floor", {kV}, 1, 0, kV, false},
    {kExp, "exp", {kV}, 1, 0, kV, false},
    {kLn, "ln", {kV}, 1, 0, kV, false},
    {kLog2, "log2", {kV}, 1, 0, kV, false},
    {kLog10, "log10", {kV}, 1, 0, kV, false},
    {kSqrt, "sqrt", {kV}, 1, 0, kV, false},
    {kSgn, "sgn", {kV}, 1, 0, kV, false},
    {kDeg, "deg", {kV}, 1, 0, kV, false},
    {kRad, "rad", {kV}, 1, 0, kV, false},
    {kSin, "sin", {kV}, 1, 0, kV, false},
    {kCos, "cos", {kV}, 1, 0, kV, false},
    {kTan, "tan", {kV}, 1, 0, kV, false},
    {kAsin, "asin", {kV}, 1, 0, kV, false},
    {kAcos, "acos", {kV}, 1, 0, kV, false},
    {kAtan, "atan", {kV}, 1, 0, kV, false},
    {kSinh, "sinh", {kV}, 1, 0, kV, false},
    {kCosh, "cosh", {kV}, 1, 0, kV, false},
    {kTanh, "tanh", {kV}, 1, 0, kV, false},
    {kAsinh, "asinh", {kV}, 1, 0, kV, false},
    {kAcosh, "acosh", {kV}, 1, 0, kV, false},
    {kAtanh, "atanh", {kV}, 1, 0, kV, false},
    {kRound, "round", {kV, kS}, 2, 1, kV, false},
    {kClamp, "clamp", {kV, kS, kS}, 3, 0, kV, false},
    {kClampMin, "clamp_min", {kV, kS}, 2, 0, kV, false},
    {kClampMax, "clamp_max", {kV, kS}, 2, 0, kV, false},
    {kMinute, "minute", {kV}, 1, 1, kV, false},
    {kHour, "hour", {kV}, 1, 1, kV, false},
    {kDayOfWeek, "day_of_week", {kV}, 1, 1, kV, false},
    {kDayOfMonth, "day_of_month", {kV}, 1, 1, kV, false},
    {kDayOfYear, "day_of_year", {kV}, 1, 1, kV, false},
    {kDaysInMonth, "days_in_month", {kV}, 1, 1, kV, false},
    {kMonth, "month", {kV}, 1, 1, kV, false},
    {kYear, "year", {kV}, 1, 1, kV, false},
    {kTime, "time", {}, 0, 0, kS, false},
    {kPi, "pi", {}, 0, 0, kS, false},
    {kVector, "vector", {kS}, 1, 0, kV, false},
    {kScalar, "scalar", {kV}, 1, 0, kS, false},
    {kTimestamp, "timestamp", {kV}, 1, 0, kV, false},
    {kAbsent, "absent", {kV}, 1, 0, kV, false},
    {kAbsentOverTime, "absent_over_time", {kM}, 1, 0, kV, false},
    {kRate, "rate", {kM}, 1, 0, kV, false},
    {kIncrease, "increase", {kM}, 1, 0, kV, false},
    {kDelta, "delta", {kM}, 1, 0, kV, false},
    {kIrate, "irate", {kM}, 1, 0, kV, false},
    {kIdelta, "idelta", {kM}, 1, 0, kV, false},
    {kResets, "resets", {kM}, 1, 0, kV, false},
    {kChanges, "changes", {kM}, 1, 0, kV, false},
    {kDeriv, "deriv", {kM}, 1, 0, kV, false},
    {kPredictLinear, "predict_linear", {kM, kS}, 2, 0, kV, false},
    {kAvgOverTime, "avg_over_time", {kM}, 1, 0, kV, false},
    {kMinOverTime, "min_over_time", {kM}, 1, 0, kV, false},
    {kMaxOverTime, "max_over_time", {kM}, 1, 0, kV, false},
    {kSumOverTime, "sum_over_time", {kM}, 1, 0, kV, false},
    {kCountOverTime, "count_over_time", {kM}, 1, 0, kV, false},
    {kStddevOverTime, "stddev_over_time", {kM}, 1, 0, kV, false},
    {kStdvarOverTime, "stdvar_over_time", {kM}, 1, 0, kV, false},
    {kLastOverTime, "last_over_time", {kM}, 1, 0, kV, false},
    {kPresentOverTime, "present_over_time", {kM}, 1, 0, kV, false},
    {kFirstOverTime, "first_over_time", {kM}, 1, 0, kV, true},
    {kQuantileOverTime, "quantile_over_time", {kS, kM}, 2, 0, kV, false},
    {kMadOverTime, "mad_over_time", {kM}, 1, 0, kV, true},
    {kTsOfFirstOverTime, "ts_of_first_over_time", {kM}, 1, 0, kV, true},
    {kTsOfLastOverTime, "ts_of_last_over_time", {kM}, 1, 0, kV, true},
    {kTsOfMinOverTime, "ts_of_min_over_time", {kM}, 1, 0, kV, true},
    {kTsOfMaxOverTime, "ts_of_max_over_time", {kM}, 1, 0, kV, true},
    {kDoubleExponentialSmoothing, "double_exponential_smoothing", {kM, kS, kS}, 3, 0, kV, true},
    {kHistogramQuantile, "histogram_quantile", {kS, kV}, 2, 0, kV, false},
    {kHistogramFraction, "histogram_fraction", {kS, kS, kV}, 3, 0, kV, false},
    {kHistogramAvg, "histogram_avg", {kV}, 1, 0, kV, false},
    {kHistogramCount, "histogram_count", {kV}, 1, 0, kV, false},
    {kHistogramSum, "histogram_sum", {kV}, 1, 0, kV, false},
    {kHistogramStddev, "histogram_stddev", {kV}, 1, 0, kV, false},
    {kHistogramStdvar, "histogram_stdvar", {kV}, 1, 0, kV, false},
    {kHistogramQuantiles, "histogram_quantiles", {kV, kT, kS, kS}, 4, 9, kV, true},
    {kLabelReplace, "label_replace", {kV, kT, kT, kT, kT}, 5, 0, kV, false},
    {kLabelJoin, "label_join", {kV, kT, kT, kT}, 4, -1, kV, false},
    {kSort, "sort", {kV}, 1, 0, kV, false},
    {kSortDesc, "sort_desc", {kV}, 1, 0, kV, false},
    {kSortByLabel, "sort_by_label", {kV, kT}, 2, -1, kV, true},
    {kSortByLabelDesc, "sort_by_label_desc", {kV, kT}, 2, -1, kV, true},
    {kInfo, "info", {kV, kV}, 2, 1, kV, true},
    {kStart, "start", {}, 0, 0, kS, true},
    {kEnd, "end", {}, 0, 0, kS, true},
    {kStep, "step", {}, 0, 0, kS, true},
    {kRange, "range", {}, 0, 0, kS, true},
    {kMaxOf, "max_of", {kS, kS}, 2, 0, kS, true},
    {kMinOf, "min_of", {kS, kS}, 2, 0, kS, true},
    {kStartTimestamp, "start_timestamp", {kV}, 1, 0, kV, true},
};

}  // namespace

std::span<const FunctionSpec> Functions() { return kFunctions; }

const FunctionSpec* FindFunction(std::string_view name) {
  static const auto* const kByName = [] {
    auto* table = new StringViewMap<const FunctionSpec*>();
    for (size_t i = 0; i < std::size(kFunctions); ++i) {
      VARVE_CHECK(static_cast<size_t>(kFunctions[i].id) == i);
      table->emplace(kFunctions[i].name, &kFunctions[i]);
    }
    return table;
  }();
  const auto found = kByName->find(name);
  return found == kByName->end() ? nullptr : found->second;
}

}  // namespace varve::promql
