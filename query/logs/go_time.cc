#include "query/logs/go_time.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "absl/time/time.h"
#include "engine/base/strings.h"

namespace varve::query {
namespace {

constexpr std::array<std::string_view, 12> kMonths = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
constexpr std::array<std::string_view, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                   "Thursday", "Friday", "Saturday"};

enum class Element : uint8_t {
  kNone,
  kLongMonth,
  kMonth,
  kNumMonth,
  kZeroMonth,
  kLongDay,
  kDay,
  kDayOfMonth,
  kUnderDayOfMonth,
  kZeroDayOfMonth,
  kZeroDayOfYear,
  kUnderDayOfYear,
  kHour24,
  kHour12,
  kZeroHour12,
  kMinute,
  kZeroMinute,
  kSecond,
  kZeroSecond,
  kLongYear,
  kYear,
  kPM,
  kpm,
  kZoneName,
  kIsoZone,       // Z0700
  kIsoColonZone,  // Z07:00
  kIsoShortZone,  // Z07
  kZone,          // -0700
  kColonZone,     // -07:00
  kShortZone,     // -07
  kFractionZeros,
  kFractionNines,
};

struct Token {
  Element element = Element::kNone;
  size_t begin = 0;
  size_t size = 0;
};

/// Finds the first element of a layout from `at` on.
Token NextElement(std::string_view layout, size_t at) {
  constexpr std::pair<std::string_view, Element> kWords[] = {{"January", Element::kLongMonth},
                                                             {"Jan", Element::kMonth},
                                                             {"Monday", Element::kLongDay},
                                                             {"Mon", Element::kDay},
                                                             {"MST", Element::kZoneName},
                                                             {"002", Element::kZeroDayOfYear},
                                                             {"__2", Element::kUnderDayOfYear},
                                                             {"01", Element::kZeroMonth},
                                                             {"02", Element::kZeroDayOfMonth},
                                                             {"03", Element::kZeroHour12},
                                                             {"04", Element::kZeroMinute},
                                                             {"05", Element::kZeroSecond},
                                                             {"06", Element::kYear},
                                                             {"15", Element::kHour24},
                                                             {"_2006", Element::kNone},
                                                             {"_2", Element::kUnderDayOfMonth},
                                                             {"2006", Element::kLongYear},
                                                             {"PM", Element::kPM},
                                                             {"pm", Element::kpm},
                                                             {"Z07:00", Element::kIsoColonZone},
                                                             {"Z0700", Element::kIsoZone},
                                                             {"Z07", Element::kIsoShortZone},
                                                             {"-07:00", Element::kColonZone},
                                                             {"-0700", Element::kZone},
                                                             {"-07", Element::kShortZone},
                                                             {"1", Element::kNumMonth},
                                                             {"2", Element::kDayOfMonth},
                                                             {"3", Element::kHour12},
                                                             {"4", Element::kMinute},
                                                             {"5", Element::kSecond}};
  for (size_t i = at; i < layout.size(); ++i) {
    const std::string_view rest = layout.substr(i);
    if ((rest[0] == '.' || rest[0] == ',') && rest.size() > 1 &&
        (rest[1] == '0' || rest[1] == '9')) {
      size_t end = 1;
      while (end < rest.size() && rest[end] == rest[1]) ++end;
      if (end >= rest.size() || rest[end] < '0' || rest[end] > '9') {
        return {rest[1] == '0' ? Element::kFractionZeros : Element::kFractionNines, i, end};
      }
    }
    for (const auto& [word, element] : kWords) {
      if (!rest.starts_with(word)) continue;
      if (word == "_2006") return {Element::kLongYear, i + 1, 4};
      // A month's short name inside a word is not one: "January" came first, "Janet" is text.
      if ((word == "Jan" || word == "Mon") && rest.size() > 3 && rest[3] >= 'a' && rest[3] <= 'z')
        continue;
      return {element, i, word.size()};
    }
  }
  return {Element::kNone, layout.size(), 0};
}

void AppendNumber(int64_t value, int width, char pad, std::string* out) {
  std::string digits = std::to_string(value);
  if (static_cast<int>(digits.size()) < width)
    out->append(static_cast<size_t>(width) - digits.size(), pad);
  *out += digits;
}

bool ReadNumber(std::string_view* text, int digits_min, int digits_max, int* value) {
  int digits = 0;
  int out = 0;
  while (digits < digits_max && digits < static_cast<int>(text->size()) &&
         (*text)[static_cast<size_t>(digits)] >= '0' &&
         (*text)[static_cast<size_t>(digits)] <= '9') {
    out = out * 10 + ((*text)[static_cast<size_t>(digits)] - '0');
    ++digits;
  }
  if (digits < digits_min) return false;
  text->remove_prefix(static_cast<size_t>(digits));
  *value = out;
  return true;
}

bool SameIgnoringCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return (x | 0x20) == (y | 0x20);
         });
}

/// Reads one of some names, long or short form.
template <size_t N>
bool ReadName(std::string_view* text, const std::array<std::string_view, N>& names, bool full,
              int* index) {
  for (size_t i = 0; i < N; ++i) {
    const std::string_view name = full ? names[i] : names[i].substr(0, 3);
    if (SameIgnoringCase(text->substr(0, name.size()), name)) {
      text->remove_prefix(name.size());
      *index = static_cast<int>(i);
      return true;
    }
  }
  return false;
}

absl::CivilSecond Civil(int64_t time_ns, int64_t* fraction) {
  int64_t seconds = time_ns / 1'000'000'000;
  *fraction = time_ns % 1'000'000'000;
  if (*fraction < 0) {
    *fraction += 1'000'000'000;
    --seconds;
  }
  return absl::ToCivilSecond(absl::FromUnixSeconds(seconds), absl::UTCTimeZone());
}

}  // namespace

void AppendGoTime(int64_t time_ns, std::string_view layout, std::string* out) {
  int64_t fraction = 0;
  const absl::CivilSecond time = Civil(time_ns, &fraction);
  const int weekday = (static_cast<int>(absl::GetWeekday(time)) + 1) % 7;
  const auto month_name = kMonths[static_cast<size_t>(time.month() - 1)];
  const auto day_name = kDays[static_cast<size_t>(weekday)];
  const int hour12 = time.hour() % 12 == 0 ? 12 : time.hour() % 12;
  size_t at = 0;
  for (;;) {
    const Token token = NextElement(layout, at);
    *out += layout.substr(at, token.begin - at);
    at = token.begin + token.size;
    switch (token.element) {
      case Element::kNone:
        return;
      case Element::kLongMonth:
        *out += month_name;
        break;
      case Element::kMonth:
        *out += month_name.substr(0, 3);
        break;
      case Element::kNumMonth:
        AppendNumber(time.month(), 1, '0', out);
        break;
      case Element::kZeroMonth:
        AppendNumber(time.month(), 2, '0', out);
        break;
      case Element::kLongDay:
        *out += day_name;
        break;
      case Element::kDay:
        *out += day_name.substr(0, 3);
        break;
      case Element::kDayOfMonth:
        AppendNumber(time.day(), 1, '0', out);
        break;
      case Element::kUnderDayOfMonth:
        AppendNumber(time.day(), 2, ' ', out);
        break;
      case Element::kZeroDayOfMonth:
        AppendNumber(time.day(), 2, '0', out);
        break;
      case Element::kZeroDayOfYear:
        AppendNumber(absl::GetYearDay(absl::CivilDay(time)), 3, '0', out);
        break;
      case Element::kUnderDayOfYear:
        AppendNumber(absl::GetYearDay(absl::CivilDay(time)), 3, ' ', out);
        break;
      case Element::kHour24:
        AppendNumber(time.hour(), 2, '0', out);
        break;
      case Element::kHour12:
        AppendNumber(hour12, 1, '0', out);
        break;
      case Element::kZeroHour12:
        AppendNumber(hour12, 2, '0', out);
        break;
      case Element::kMinute:
        AppendNumber(time.minute(), 1, '0', out);
        break;
      case Element::kZeroMinute:
        AppendNumber(time.minute(), 2, '0', out);
        break;
      case Element::kSecond:
        AppendNumber(time.second(), 1, '0', out);
        break;
      case Element::kZeroSecond:
        AppendNumber(time.second(), 2, '0', out);
        break;
      case Element::kLongYear:
        AppendNumber(time.year(), 4, '0', out);
        break;
      case Element::kYear:
        AppendNumber(time.year() % 100, 2, '0', out);
        break;
      case Element::kPM:
        *out += time.hour() >= 12 ? "PM" : "AM";
        break;
      case Element::kpm:
        *out += time.hour() >= 12 ? "pm" : "am";
        break;
      case Element::kZoneName:
        *out += "UTC";
        break;
      case Element::kIsoZone:
      case Element::kIsoColonZone:
      case Element::kIsoShortZone:
        *out += "Z";
        break;
      case Element::kZone:
        *out += "+0000";
        break;
      case Element::kColonZone:
        *out += "+00:00";
        break;
      case Element::kShortZone:
        *out += "+00";
        break;
      case Element::kFractionZeros:
      case Element::kFractionNines: {
        char digits[16];
        std::snprintf(digits, sizeof digits, "%09lld", static_cast<long long>(fraction));
        std::string_view shown =
            std::string_view(digits).substr(0, std::min<size_t>(token.size - 1, 9));
        if (token.element == Element::kFractionNines) {
          while (!shown.empty() && shown.back() == '0') shown.remove_suffix(1);
          if (shown.empty()) break;
        }
        *out += layout[token.begin];
        *out += shown;
        break;
      }
    }
  }
}

std::string FormatGoTime(int64_t time_ns) {
  std::string out;
  AppendGoTime(time_ns, "2006-01-02 15:04:05.999999999 -0700 MST", &out);
  return out;
}

Result<int64_t> ParseGoTime(std::string_view layout, std::string_view text, std::string_view zone) {
  const std::string_view whole = text;
  const auto fail = [&](std::string_view element) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("parsing time ", GoQuote(whole), " as ", GoQuote(layout),
                             ": cannot parse ", GoQuote(text), " as ", GoQuote(element)));
  };
  int year = 0;
  int month = 1;
  int day = 1;
  int year_day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int64_t fraction = 0;
  bool pm = false;
  bool pm_set = false;
  bool offset_set = false;
  int64_t offset = 0;
  size_t at = 0;
  const auto read_fraction = [&](size_t digits_max) {
    int64_t scale = 100'000'000;
    size_t i = 1;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9' && i <= digits_max) {
      fraction += (text[i] - '0') * scale;
      scale /= 10;
      ++i;
    }
    text.remove_prefix(i);
  };
  for (;;) {
    const Token token = NextElement(layout, at);
    const std::string_view literal = layout.substr(at, token.begin - at);
    // A space in a layout stands for any number of them.
    for (const char c : literal) {
      if (c == ' ') {
        if (!text.empty() && text[0] != ' ') return fail(literal);
        while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
        continue;
      }
      if (text.empty() || text[0] != c) return fail(literal);
      text.remove_prefix(1);
    }
    const std::string_view element = layout.substr(token.begin, token.size);
    at = token.begin + token.size;
    bool ok = true;
    int index = 0;
    switch (token.element) {
      case Element::kNone:
        if (!text.empty()) {
          return MakeStatus(StatusCode::kInvalidArgument, Concat("parsing time ", GoQuote(whole),
                                                                 ": extra text: ", GoQuote(text)));
        }
        break;
      case Element::kLongMonth:
      case Element::kMonth:
        ok = ReadName(&text, kMonths, token.element == Element::kLongMonth, &index);
        month = index + 1;
        break;
      case Element::kNumMonth:
      case Element::kZeroMonth:
        ok = ReadNumber(&text, token.element == Element::kZeroMonth ? 2 : 1, 2, &month);
        break;
      case Element::kLongDay:
      case Element::kDay:
        ok = ReadName(&text, kDays, token.element == Element::kLongDay, &index);
        break;
      case Element::kUnderDayOfMonth:
        if (!text.empty() && text[0] == ' ') text.remove_prefix(1);
        ok = ReadNumber(&text, 1, 2, &day);
        break;
      case Element::kDayOfMonth:
      case Element::kZeroDayOfMonth:
        ok = ReadNumber(&text, token.element == Element::kZeroDayOfMonth ? 2 : 1, 2, &day);
        break;
      case Element::kZeroDayOfYear:
      case Element::kUnderDayOfYear:
        while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
        ok = ReadNumber(&text, 1, 3, &year_day);
        break;
      case Element::kHour24:
        ok = ReadNumber(&text, 2, 2, &hour);
        break;
      case Element::kHour12:
      case Element::kZeroHour12:
        ok = ReadNumber(&text, token.element == Element::kZeroHour12 ? 2 : 1, 2, &hour) &&
             hour <= 12;
        break;
      case Element::kMinute:
      case Element::kZeroMinute:
        ok = ReadNumber(&text, token.element == Element::kZeroMinute ? 2 : 1, 2, &minute);
        break;
      case Element::kSecond:
      case Element::kZeroSecond:
        ok = ReadNumber(&text, token.element == Element::kZeroSecond ? 2 : 1, 2, &second);
        // A fraction may follow the seconds though the layout has none.
        if (ok && text.size() > 1 && (text[0] == '.' || text[0] == ',') && text[1] >= '0' &&
            text[1] <= '9') {
          const Element next = NextElement(layout, at).element;
          if (next != Element::kFractionZeros && next != Element::kFractionNines)
            read_fraction(text.size());
        }
        break;
      case Element::kLongYear:
        ok = ReadNumber(&text, 4, 4, &year);
        break;
      case Element::kYear:
        ok = ReadNumber(&text, 2, 2, &year);
        year += year >= 69 ? 1900 : 2000;
        break;
      case Element::kPM:
      case Element::kpm: {
        const std::string_view half = text.substr(0, 2);
        ok = SameIgnoringCase(half, "AM") || SameIgnoringCase(half, "PM");
        if (ok) {
          pm = SameIgnoringCase(half, "PM");
          pm_set = true;
          text.remove_prefix(2);
        }
        break;
      }
      case Element::kZoneName: {
        size_t end = 0;
        while (end < text.size() && end < 5 && text[end] >= 'A' && text[end] <= 'Z') ++end;
        ok = end >= 3;
        if (ok) text.remove_prefix(end);
        break;
      }
      case Element::kIsoZone:
      case Element::kIsoColonZone:
      case Element::kIsoShortZone:
      case Element::kZone:
      case Element::kColonZone:
      case Element::kShortZone: {
        const bool iso = token.element <= Element::kIsoShortZone;
        if (iso && text.starts_with("Z")) {
          text.remove_prefix(1);
          offset_set = true;
          break;
        }
        const bool colon =
            token.element == Element::kIsoColonZone || token.element == Element::kColonZone;
        const bool hours_only =
            token.element == Element::kIsoShortZone || token.element == Element::kShortZone;
        if (text.empty() || (text[0] != '+' && text[0] != '-')) return fail(element);
        const bool negative = text[0] == '-';
        text.remove_prefix(1);
        int hours = 0;
        int minutes = 0;
        ok = ReadNumber(&text, 2, 2, &hours);
        if (ok && colon) {
          ok = text.starts_with(":");
          if (ok) text.remove_prefix(1);
        }
        if (ok && !hours_only) ok = ReadNumber(&text, 2, 2, &minutes);
        offset = (hours * 60 + minutes) * 60;
        if (negative) offset = -offset;
        offset_set = true;
        break;
      }
      case Element::kFractionZeros:
      case Element::kFractionNines:
        if (text.empty() || text[0] != layout[token.begin]) {
          ok = token.element == Element::kFractionNines;
        } else {
          read_fraction(token.element == Element::kFractionZeros ? token.size - 1 : text.size());
        }
        break;
    }
    if (!ok) return fail(element);
    if (token.element == Element::kNone) break;
  }
  if (pm_set && pm && hour < 12) hour += 12;
  if (pm_set && !pm && hour == 12) hour = 0;
  const auto out_of_range = [&](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("parsing time ", GoQuote(whole), ": ", what, " out of range"));
  };
  if (month < 1 || month > 12) return out_of_range("month");
  if (hour > 23) return out_of_range("hour");
  if (minute > 59) return out_of_range("minute");
  if (second > 59) return out_of_range("second");
  absl::CivilSecond civil(year, month, day, hour, minute, second);
  if (civil.day() != day || day < 1) return out_of_range("day");
  if (year_day > 0)
    civil = absl::CivilSecond(absl::CivilDay(year, 1, 1) + (year_day - 1)) +
            (civil - absl::CivilSecond(absl::CivilDay(civil)));
  absl::TimeZone time_zone = absl::UTCTimeZone();
  if (!offset_set && !zone.empty() && zone != "UTC" && zone != "Local") {
    if (!absl::LoadTimeZone(std::string(zone), &time_zone)) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat("unknown time zone ", zone));
    }
  }
  // Go's times have no end; what int64 nanoseconds cannot hold wraps there when asked for them.
  const int64_t seconds = absl::ToUnixSeconds(absl::FromCivil(civil, time_zone)) - offset;
  if (seconds > 9'223'372'035 || seconds < -9'223'372'035) return out_of_range("year");
  return seconds * 1'000'000'000 + fraction;
}

}  // namespace varve::query
