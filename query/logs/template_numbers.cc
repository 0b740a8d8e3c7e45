#include <algorithm>
#include <cmath>

#include "query/functions/log_values.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {
namespace {

/// Folds integers.
template <typename F>
Result<Value> FoldInts(Arguments arguments, F f) {
  int64_t out = ToInt(arguments[0]);
  for (const Value& value : arguments.subspan(1)) out = f(out, ToInt(value));
  return Value::Int(out);
}
template <typename F>
Result<Value> FoldFloats(Arguments arguments, F f) {
  double out = ToFloat(arguments[0]);
  for (const Value& value : arguments.subspan(1)) out = f(out, ToFloat(value));
  return Value::Float(out);
}

double RoundTo(double value, int64_t digits) {
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value * scale;
  const double fraction = std::modf(scaled, &value);
  return (fraction >= 0.5 ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

}  // namespace

FunctionList NumberFunctions() {
  return {
      // Conversion.
      {"bytes", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto bytes = ParseHumanBytes(s);
           if (!bytes) return Fail(HumanBytesError(s));
           return Value::Float(static_cast<double>(*bytes));
         });
       }},
      {"duration", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto ns = ParseGoDuration(s);
           if (!ns) return Fail(GoDurationError(s));
           return Value::Float(DurationSeconds(*ns));
         });
       }},
      {"duration_seconds", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto ns = ParseGoDuration(s);
           if (!ns) return Fail(GoDurationError(s));
           return Value::Float(DurationSeconds(*ns));
         });
       }},
      {"int", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> { return Value::Int(ToInt(a[0])); }},
      {"float64", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> { return Value::Float(ToFloat(a[0])); }},
      // Mathematics.
      {"add", 1, -1,
       [](const Context&, Arguments a) {
         return FoldInts(a, [](int64_t x, int64_t y) {
           return Wrap(static_cast<uint64_t>(x) + static_cast<uint64_t>(y));
         });
       }},
      {"mul", 1, -1,
       [](const Context&, Arguments a) {
         return FoldInts(a, [](int64_t x, int64_t y) {
           return Wrap(static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
         });
       }},
      {"max", 1, -1,
       [](const Context&, Arguments a) {
         return FoldInts(a, [](int64_t x, int64_t y) { return std::max(x, y); });
       }},
      {"min", 1, -1,
       [](const Context&, Arguments a) {
         return FoldInts(a, [](int64_t x, int64_t y) { return std::min(x, y); });
       }},
      {"sub", 2, 2,
       [](const Context&, Arguments a) {
         return FoldInts(a, [](int64_t x, int64_t y) {
           return Wrap(static_cast<uint64_t>(x) - static_cast<uint64_t>(y));
         });
       }},
      {"div", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         const int64_t y = ToInt(a[1]);
         if (y == 0) return Fail("runtime error: integer divide by zero");
         if (y == -1) return Value::Int(Wrap(0 - static_cast<uint64_t>(ToInt(a[0]))));
         return Value::Int(ToInt(a[0]) / y);
       }},
      {"mod", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         const int64_t y = ToInt(a[1]);
         if (y == 0) return Fail("runtime error: integer divide by zero");
         return Value::Int(y == -1 ? 0 : ToInt(a[0]) % y);
       }},
      {"addf", 1, -1,
       [](const Context&, Arguments a) {
         return FoldFloats(a, [](double x, double y) { return x + y; });
       }},
      {"subf", 1, -1,
       [](const Context&, Arguments a) {
         return FoldFloats(a, [](double x, double y) { return x - y; });
       }},
      {"mulf", 1, -1,
       [](const Context&, Arguments a) {
         return FoldFloats(a, [](double x, double y) { return x * y; });
       }},
      {"divf", 1, -1,
       [](const Context&, Arguments a) -> Result<Value> {
         for (const Value& value : a.subspan(1)) {
           if (ToFloat(value) == 0) return Fail("decimal division by 0");
         }
         return FoldFloats(a, [](double x, double y) { return x / y; });
       }},
      {"maxf", 1, -1,
       [](const Context&, Arguments a) {
         return FoldFloats(a, [](double x, double y) { return std::max(x, y); });
       }},
      {"minf", 1, -1,
       [](const Context&, Arguments a) {
         return FoldFloats(a, [](double x, double y) { return std::min(x, y); });
       }},
      {"ceil", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> {
         return Value::Float(std::ceil(ToFloat(a[0])));
       }},
      {"floor", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> {
         return Value::Float(std::floor(ToFloat(a[0])));
       }},
      {"round", 2, 3,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto digits, Integer(a[1]));
         return Value::Float(RoundTo(ToFloat(a[0]), digits));
       }},
  };
}

}  // namespace varve::query::templates
