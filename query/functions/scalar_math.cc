#include "query/functions/scalar_math.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "query/functions/float_histogram.h"

namespace varve::query {
namespace {

/// A day of the proleptic Gregorian calendar. (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", civil_from_days.)
struct Civil {
  int64_t year;
  int month;
  int day;
};
Civil CivilOf(int64_t days) {
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto doe = static_cast<uint32_t>(days - era * 146097);
  const uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  const uint32_t mp = (5 * doy + 2) / 153;
  const int month = static_cast<int>(mp < 10 ? mp + 3 : mp - 9);
  return {static_cast<int64_t>(yoe) + era * 400 + (month <= 2), month,
          static_cast<int>(doy - (153 * mp + 2) / 5 + 1)};
}
bool IsLeap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }
int DaysInMonth(int64_t year, int month) {
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return month == 2 && IsLeap(year) ? 29 : kDays[month - 1];
}

double Calendar(ElementFunction function, double value) {
  // Truncates as a conversion does; what no integer can hold becomes the least one, as in Go.
  const int64_t seconds = value >= -9223372036854775808.0 && value < 9223372036854775808.0
                              ? static_cast<int64_t>(value)
                              : std::numeric_limits<int64_t>::min();
  // Go counts unsigned seconds from a year far in the past, so what lies before that one lies far
  // in the future: the least integer, and with it NaN and the infinities, is in the year
  // 292277026596.
  constexpr uint64_t kZeroYear = 9223372028715321600u;  // seconds before 1970
  const uint64_t absolute = static_cast<uint64_t>(seconds) + kZeroYear;
  const auto days =
      static_cast<int64_t>(absolute / 86400) - static_cast<int64_t>(kZeroYear / 86400);
  const auto rest = static_cast<int64_t>(absolute % 86400);
  using enum ElementFunction;
  if (function == kMinute) return static_cast<double>(rest / 60 % 60);
  if (function == kHour) return static_cast<double>(rest / 3600);
  if (function == kDayOfWeek) return static_cast<double>(((days % 7) + 11) % 7);  // day 0: Thursday
  const Civil civil = CivilOf(days);
  switch (function) {
    case kDayOfMonth:
      return civil.day;
    case kDayOfYear: {
      int day = civil.day;
      for (int m = 1; m < civil.month; ++m) day += DaysInMonth(civil.year, m);
      return day;
    }
    case kDaysInMonth:
      return DaysInMonth(civil.year, civil.month);
    case kMonth:
      return civil.month;
    default:
      return static_cast<double>(civil.year);
  }
}

template <typename F>
void Each(double* values, uint32_t count, F&& f) {
  for (uint32_t i = 0; i < count; ++i) values[i] = f(values[i]);
}

}  // namespace

std::string_view ToString(ElementFunction function) {
  static constexpr std::string_view kNames[] = {
      "abs",           "ceil",  "floor",  "exp",  "ln",          "log2",         "log10",
      "sqrt",          "sgn",   "deg",    "rad",  "sin",         "cos",          "tan",
      "asin",          "acos",  "atan",   "sinh", "cosh",        "tanh",         "asinh",
      "acosh",         "atanh", "minute", "hour", "day_of_week", "day_of_month", "day_of_year",
      "days_in_month", "month", "year"};
  return kNames[static_cast<size_t>(function)];
}

void Apply(ElementFunction function, double* values, uint32_t count) {
  using enum ElementFunction;
  constexpr double kPi = std::numbers::pi;
  switch (function) {
    case kAbs:
      return Each(values, count, [](double v) { return std::fabs(v); });
    case kCeil:
      return Each(values, count, [](double v) { return std::ceil(v); });
    case kFloor:
      return Each(values, count, [](double v) { return std::floor(v); });
    case kExp:
      return Each(values, count, [](double v) { return std::exp(v); });
    case kLn:
      return Each(values, count, [](double v) { return std::log(v); });
    case kLog2:
      return Each(values, count, [](double v) { return std::log2(v); });
    case kLog10:
      return Each(values, count, [](double v) { return std::log10(v); });
    case kSqrt:
      return Each(values, count, [](double v) { return std::sqrt(v); });
    case kSgn:
      return Each(values, count, [](double v) { return v < 0 ? -1.0 : v > 0 ? 1.0 : v; });
    case kDeg:
      return Each(values, count, [](double v) { return v * 180 / kPi; });
    case kRad:
      return Each(values, count, [](double v) { return v * kPi / 180; });
    case kSin:
      return Each(values, count, [](double v) { return std::sin(v); });
    case kCos:
      return Each(values, count, [](double v) { return std::cos(v); });
    case kTan:
      return Each(values, count, [](double v) { return std::tan(v); });
    case kAsin:
      return Each(values, count, [](double v) { return std::asin(v); });
    case kAcos:
      return Each(values, count, [](double v) { return std::acos(v); });
    case kAtan:
      return Each(values, count, [](double v) { return std::atan(v); });
    case kSinh:
      return Each(values, count, [](double v) { return std::sinh(v); });
    case kCosh:
      return Each(values, count, [](double v) { return std::cosh(v); });
    case kTanh:
      return Each(values, count, [](double v) { return std::tanh(v); });
    case kAsinh:
      return Each(values, count, [](double v) { return std::asinh(v); });
    case kAcosh:
      return Each(values, count, [](double v) { return std::acosh(v); });
    case kAtanh:
      return Each(values, count, [](double v) { return std::atanh(v); });
    case kMinute:
    case kHour:
    case kDayOfWeek:
    case kDayOfMonth:
    case kDayOfYear:
    case kDaysInMonth:
    case kMonth:
    case kYear:
      return Each(values, count, [function](double v) { return Calendar(function, v); });
  }
}

double GoMax(double a, double b) {
  if (a == std::numeric_limits<double>::infinity() ||
      b == std::numeric_limits<double>::infinity()) {
    return std::numeric_limits<double>::infinity();
  }
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  if (a == 0 && a == b) return std::signbit(a) ? b : a;
  return a > b ? a : b;
}
double GoMin(double a, double b) {
  constexpr double kLowest = -std::numeric_limits<double>::infinity();
  if (a == kLowest || b == kLowest) return kLowest;
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  if (a == 0 && a == b) return std::signbit(a) ? a : b;
  return a < b ? a : b;
}

std::string_view ToString(BinaryFunction function) {
  static constexpr std::string_view kNames[] = {
      "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "</", ">/"};
  return kNames[static_cast<size_t>(function)];
}

double Calculate(BinaryFunction function, double a, double b) {
  using enum BinaryFunction;
  switch (function) {
    case kAdd:
      return a + b;
    case kSubtract:
      return a - b;
    case kMultiply:
      return a * b;
    case kDivide:
      return a / b;
    case kModulo:
      return std::fmod(a, b);
    case kPower:
      return std::pow(a, b);
    case kAtan2:
      return std::atan2(a, b);
    default:
      return Compare(function, a, b) ? 1 : 0;
  }
}

bool Compare(BinaryFunction function, double a, double b) {
  using enum BinaryFunction;
  switch (function) {
    case kEqual:
      return a == b;
    case kNotEqual:
      return a != b;
    case kGreater:
      return a > b;
    case kLess:
      return a < b;
    case kGreaterEqual:
      return a >= b;
    case kLessEqual:
      return a <= b;
    default:
      return false;
  }
}

PairResult Combine(BinaryFunction function, double a, const FloatHistogram* ha, double b,
                   const FloatHistogram* hb) {
  using enum BinaryFunction;
  PairResult out;
  const auto keep = [&out](FloatHistogram h) {
    out.keep = true;
    out.histogram = std::make_shared<const FloatHistogram>(Compact(h, 0));
  };
  out.problem = PairResult::Problem::kIncompatibleTypes;
  if (ha == nullptr && hb == nullptr) {
    if (IsTrim(function)) return out;
    out.problem = PairResult::Problem::kNone;
    if (IsComparison(function)) {
      out.keep = Compare(function, a, b);
      out.value = a;
    } else {
      out.keep = true;
      out.value = Calculate(function, a, b);
    }
    return out;
  }
  if (ha == nullptr || hb == nullptr) {
    const bool left = ha != nullptr;
    FloatHistogram h = left ? *ha : *hb;
    const double scalar = left ? b : a;
    if (function == kMultiply) {
      Scale(h, scalar);
    } else if (left && function == kDivide) {
      Divide(h, scalar);
    } else if (left && IsTrim(function)) {
      Trim(h, scalar, function == kTrimUpper);
    } else {
      return out;
    }
    out.problem = PairResult::Problem::kNone;
    keep(std::move(h));
    return out;
  }
  if (function == kEqual || function == kNotEqual) {
    out.problem = PairResult::Problem::kNone;
    out.keep = Equals(*ha, *hb) == (function == kEqual);
    out.histogram = std::make_shared<const FloatHistogram>(*ha);
    return out;
  }
  if (function != kAdd && function != kSubtract) return out;
  FloatHistogram h = *ha;
  const CombineNotes notes = function == kAdd ? Add(h, *hb) : Subtract(h, *hb);
  if (notes.incompatible) {
    out.problem = PairResult::Problem::kIncompatibleBuckets;
    return out;
  }
  out.problem = PairResult::Problem::kNone;
  if (function == kSubtract) h.reset_hint = CounterResetHint::kGauge;
  out.collision = notes.counter_reset_collision;
  out.reconciled = notes.bounds_reconciled;
  keep(std::move(h));
  return out;
}

}  // namespace varve::query
