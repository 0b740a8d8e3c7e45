#include <charconv>
#include <chrono>

#include "engine/base/strings.h"
#include "query/logs/go_time.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {
namespace {

Result<Value> UnixToTime(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Fail(Concat("unable to parse time '", text, "': strconv.ParseInt: parsing ",
                       GoQuote(text), ": invalid syntax"));
  }
  int64_t scale = 0;
  switch (text.size()) {
    case 5:
      scale = 86'400'000'000'000;
      break;
    case 10:
      scale = 1'000'000'000;
      break;
    case 13:
      scale = 1'000'000;
      break;
    case 16:
      scale = 1'000;
      break;
    case 19:
      scale = 1;
      break;
    default:
      return Fail(Concat("unable to parse time '", text, "': unsupported unix timestamp length"));
  }
  return Value::Time(Wrap(static_cast<uint64_t>(number) * static_cast<uint64_t>(scale)));
}

int64_t FloorSeconds(int64_t ns, int64_t unit) {
  const int64_t whole = ns / unit;
  return ns % unit < 0 ? whole - 1 : whole;
}

}  // namespace

FunctionList TimeFunctions() {
  return {
      {"now", 0, 0,
       [](const Context&, Arguments) -> Result<Value> {
         return Value::Time(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count());
       }},
      {"date", 2, 2,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto layout, Text(a[0]));
         int64_t time = 0;
         if (a[1].kind == Kind::kInt) {
           time = Wrap(static_cast<uint64_t>(a[1].integer) * 1'000'000'000);
         } else if (a[1].kind == Kind::kTime) {
           time = a[1].integer;
         } else {
           return Fail("wrong type for value; expected time.Time; got " +
                       std::string(TypeName(a[1])));
         }
         if (layout.size() > 4096) return Fail("layout is too long");
         std::string out;
         AppendGoTime(time, layout, &out);
         return c.Keep(out);
       }},
      {"toDate", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto layout, auto text) -> Result<Value> {
           const auto time = ParseGoTime(layout, text, "UTC");
           // Sprig gives the zero time for what does not parse.
           return Value::Time(time.ok() ? *time : INT64_MIN);
         });
       }},
      {"toDateInZone", 3, 3,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto layout, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto zone, Text(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[2]));
         const auto time = ParseGoTime(layout, text, zone);
         return Value::Time(time.ok() ? *time : INT64_MIN);
       }},
      {"unixEpoch", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(FloorSeconds(time, 1'000'000'000)));
       }},
      {"unixEpochMillis", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(FloorSeconds(time, 1'000'000)));
       }},
      {"unixEpochNanos", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(time));
       }},
      {"unixToTime", 1, 1,
       [](const Context&, Arguments a) { return OnText(a, [](auto s) { return UnixToTime(s); }); }},
  };
}

}  // namespace varve::query::templates
