#include "tools/server/api/parameters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/base/utf8.h"
#include "query/lang/promql/literals.h"
#include "query/lang/promql/parse.h"

namespace varve::api {
namespace {

Status Bad(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

// Reads a whole text as a float, in the forms that strconv.ParseFloat takes and people send.
std::optional<double> ParseFloat(std::string_view text) {
  const bool plus = !text.empty() && text.front() == '+';
  if (plus) text.remove_prefix(1);
  if (text.empty() || (plus && text.front() == '-')) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::nullopt;
  if (error != std::errc()) return std::nullopt;
  return value;
}

int64_t ClampToMs(double ms) {
  constexpr double kMost = 9.2e18;
  if (ms >= kMost) return kMaxTime;
  if (ms <= -kMost) return kMinTime;
  return static_cast<int64_t>(ms);
}

// Days since 1970-01-01 of a proleptic Gregorian date. (H. Hinnant, chrono-compatible calendars.)
int64_t DaysFromCivil(int64_t year, unsigned month, unsigned day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + static_cast<int64_t>(day_of_era) - 719468;
}

// Reads exactly `digits` digits.
bool TakeNumber(std::string_view* text, size_t digits, int* out) {
  if (text->size() < digits) return false;
  *out = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char c = (*text)[i];
    if (c < '0' || c > '9') return false;
    *out = *out * 10 + (c - '0');
  }
  text->remove_prefix(digits);
  return true;
}

bool TakeChar(std::string_view* text, std::string_view any) {
  if (text->empty() || any.find(text->front()) == std::string_view::npos) return false;
  text->remove_prefix(1);
  return true;
}

std::optional<int64_t> ParseRfc3339(std::string_view text) {
  int year, month, day, hour, minute, second;
  if (!TakeNumber(&text, 4, &year) || !TakeChar(&text, "-") || !TakeNumber(&text, 2, &month) ||
      !TakeChar(&text, "-") || !TakeNumber(&text, 2, &day) || !TakeChar(&text, "Tt") ||
      !TakeNumber(&text, 2, &hour) || !TakeChar(&text, ":") || !TakeNumber(&text, 2, &minute) ||
      !TakeChar(&text, ":") || !TakeNumber(&text, 2, &second)) {
    return std::nullopt;
  }
  static constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (month < 1 || month > 12 || day < 1 || day > kDays[month - 1] + (month == 2 && leap ? 1 : 0) ||
      hour > 23 || minute > 59 || second > 59) {
    return std::nullopt;
  }
  int64_t ms = 0;
  if (TakeChar(&text, ".,")) {
    size_t digits = 0;
    for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; ++digits) {
      if (digits < 3) ms = ms * 10 + (text.front() - '0');
      text.remove_prefix(1);
    }
    if (digits == 0) return std::nullopt;
    for (; digits < 3; ++digits) ms *= 10;
  }
  int64_t offset_minutes = 0;
  if (!TakeChar(&text, "Zz")) {
    const bool west = !text.empty() && text.front() == '-';
    int hours, minutes;
    if (!TakeChar(&text, "+-") || !TakeNumber(&text, 2, &hours) || !TakeChar(&text, ":") ||
        !TakeNumber(&text, 2, &minutes) || hours > 23 || minutes > 59) {
      return std::nullopt;
    }
    offset_minutes = (west ? -1 : 1) * (hours * 60 + minutes);
  }
  if (!text.empty()) return std::nullopt;
  const int64_t days =
      DaysFromCivil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  const int64_t minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
  return (minutes * 60 + second) * 1000 + ms;
}

}  // namespace

Result<int64_t> ParseTime(std::string_view text) {
  if (const std::optional<double> seconds = ParseFloat(text); seconds.has_value()) {
    if (std::isnan(*seconds))
      return Bad(Concat("cannot parse ", GoQuote(text), " to a valid timestamp"));
    // The fraction is rounded by itself, so that large times keep their milliseconds.
    double whole = 0;
    const double fraction = std::modf(*seconds, &whole);
    const int64_t base = ClampToMs(whole * 1000);
    const auto ms = static_cast<int64_t>(std::round(fraction * 1000));
    if (base > kMaxTime - 1000 || base < kMinTime + 1000) return base;
    return base + ms;
  }
  if (const std::optional<int64_t> ms = ParseRfc3339(text); ms.has_value()) return *ms;
  // What Prometheus prints for its outermost times.
  if (text == "-292273086-05-16T16:47:06Z") return kMinTime;
  if (text == "292277025-08-18T07:12:54.999999999Z") return kMaxTime;
  return Bad(Concat("cannot parse ", GoQuote(text), " to a valid timestamp"));
}

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  if (const std::optional<double> seconds = ParseFloat(text); seconds.has_value()) {
    constexpr double kSecondsMax = 9223372036.0;  // what int64 nanoseconds hold
    if (!(std::fabs(*seconds) <= kSecondsMax)) {
      return Bad(
          Concat("cannot parse ", GoQuote(text), " to a valid duration. It overflows int64"));
    }
    const double ms = *seconds * 1000;
    const auto rounded = static_cast<int64_t>(std::round(ms));
    return std::chrono::milliseconds(rounded == 0 && ms > 0 ? 1 : rounded);
  }
  const Result<int64_t> ms = promql::ParseDurationMs(text);
  if (!ms.ok()) return Bad(Concat("cannot parse ", GoQuote(text), " to a valid duration"));
  return std::chrono::milliseconds(*ms);
}

std::optional<bool> ParseGoBool(std::string_view text) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"0", "f", "F", "FALSE", "false", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

Status InvalidParameter(std::string_view name, std::string_view why) {
  return Bad(Concat("invalid parameter ", GoQuote(name), ": ", why));
}

Status InvalidParameter(std::string_view name, const Status& why) {
  return InvalidParameter(name, ToStd(why.message()));
}

Result<int64_t> TimeParameter(const http::Params& params, std::string_view name,
                              int64_t otherwise) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return otherwise;
  const Result<int64_t> time = ParseTime(text);
  if (time.ok()) return *time;
  return InvalidParameter(
      name, Concat("invalid time value for '", name, "': ", ToStd(time.status().message())));
}

Result<size_t> LimitParameter(const http::Params& params, std::string_view name) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return size_t{0};
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidParameter(name, Concat("cannot parse ", GoQuote(text), " to a number"));
  }
  if (value < 0) return InvalidParameter(name, Concat(name, " must be non-negative"));
  return static_cast<size_t>(value);
}

Result<TimeRange> RangeParameters(const http::Params& params) {
  TimeRange range;
  VARVE_ASSIGN_OR_RETURN(range.min_ms, TimeParameter(params, "start", kMinTime));
  VARVE_ASSIGN_OR_RETURN(range.max_ms, TimeParameter(params, "end", kMaxTime));
  if (range.max_ms < range.min_ms) {
    return InvalidParameter("end", "end timestamp must not be before start time");
  }
  return range;
}

Result<std::vector<std::vector<Matcher>>> SelectorParameters(const http::Params& params) {
  std::vector<std::vector<Matcher>> out;
  for (const std::string_view text : params.All("match[]")) {
    Result<std::vector<Matcher>> matchers = promql::ParseSelector(text);
    if (!matchers.ok()) return InvalidParameter("match[]", matchers.status());
    out.push_back(*std::move(matchers));
  }
  return out;
}

std::string UnescapeName(std::string_view name) {
  constexpr std::string_view kPrefix = "U__";
  if (!name.starts_with(kPrefix)) return std::string(name);
  std::string out;
  std::string_view rest = name.substr(kPrefix.size());
  while (!rest.empty()) {
    if (rest.front() != '_') {
      out.push_back(rest.front());
      rest.remove_prefix(1);
      continue;
    }
    rest.remove_prefix(1);
    if (!rest.empty() && rest.front() == '_') {
      out.push_back('_');
      rest.remove_prefix(1);
      continue;
    }
    const size_t end = rest.find('_');
    if (end == std::string_view::npos || end == 0 || end > 6) return std::string(name);
    uint32_t rune = 0;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + end, rune, 16);
    if (error != std::errc() || stop != rest.data() + end || rune > 0x10ffff ||
        (rune >= 0xd800 && rune <= 0xdfff)) {
      return std::string(name);
    }
    AppendUtf8(rune, &out);
    rest.remove_prefix(end + 1);
  }
  return out;
}

std::string FormatTime(int64_t time_ms) {
  // The calendar of the C library goes wrong far from now; nobody reads such times.
  const int64_t bounded = std::clamp<int64_t>(time_ms, -62135596800000, 253402300799999);
  const int64_t ms = ((bounded % 1000) + 1000) % 1000;
  const std::time_t seconds = (bounded - ms) / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[80];
  const int length = std::snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
                                   parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                                   parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(ms));
  return std::string(text, static_cast<size_t>(length));
}

}  // namespace varve::api
