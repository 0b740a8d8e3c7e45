#include "query/functions/log_values.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"

namespace varve::query {
namespace {

struct DurationUnit {
  std::string_view name;
  uint64_t ns;
};
constexpr std::array<DurationUnit, 8> kDurationUnits = {{{"ns", 1},
                                                         {"us", 1'000},
                                                         {"\xc2\xb5s", 1'000},
                                                         {"\xce\xbcs", 1'000},
                                                         {"ms", 1'000'000},
                                                         {"s", 1'000'000'000},
                                                         {"m", 60'000'000'000},
                                                         {"h", 3'600'000'000'000}}};

enum class DurationFault : uint8_t { kNone, kInvalid, kMissingUnit, kUnknownUnit };

DurationFault ReadDuration(std::string_view text, int64_t* ns, std::string_view* unit_text) {
  constexpr uint64_t kMax = uint64_t{1} << 63;
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") {
    *ns = 0;
    return DurationFault::kNone;
  }
  if (text.empty()) return DurationFault::kInvalid;
  uint64_t total = 0;
  while (!text.empty()) {
    uint64_t whole = 0;
    uint64_t fraction = 0;
    double scale = 1;
    size_t at = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
      if (whole > kMax / 10) return DurationFault::kInvalid;
      whole = whole * 10 + static_cast<uint64_t>(text[at++] - '0');
      if (whole > kMax) return DurationFault::kInvalid;
    }
    bool digits = at > 0;
    if (at < text.size() && text[at] == '.') {
      const size_t begin = ++at;
      bool full = false;
      while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
        const auto digit = static_cast<uint64_t>(text[at++] - '0');
        if (full) continue;
        if (fraction > (kMax - 1) / 10 || fraction * 10 + digit > kMax) {
          full = true;
          continue;
        }
        fraction = fraction * 10 + digit;
        scale *= 10;
      }
      digits |= at > begin;
    }
    if (!digits) return DurationFault::kInvalid;
    const size_t unit_begin = at;
    while (at < text.size() && text[at] != '.' && !(text[at] >= '0' && text[at] <= '9')) ++at;
    if (at == unit_begin) return DurationFault::kMissingUnit;
    *unit_text = text.substr(unit_begin, at - unit_begin);
    const auto unit = std::find_if(kDurationUnits.begin(), kDurationUnits.end(),
                                   [&](const DurationUnit& u) { return u.name == *unit_text; });
    if (unit == kDurationUnits.end()) return DurationFault::kUnknownUnit;
    text.remove_prefix(at);
    if (whole > kMax / unit->ns) return DurationFault::kInvalid;
    whole *= unit->ns;
    if (fraction > 0) {
      whole += static_cast<uint64_t>(static_cast<double>(fraction) *
                                     (static_cast<double>(unit->ns) / scale));
      if (whole > kMax) return DurationFault::kInvalid;
    }
    total += whole;
    if (total > kMax) return DurationFault::kInvalid;
  }
  if (!negative && total > kMax - 1) return DurationFault::kInvalid;
  *ns = negative ? static_cast<int64_t>(0 - total) : static_cast<int64_t>(total);
  return DurationFault::kNone;
}

struct SizeUnit {
  std::string_view name;
  double bytes;
};
constexpr double kKi = 1024;
constexpr std::array<SizeUnit, 26> kSizeUnits = {{{"", 1},
                                                  {"b", 1},
                                                  {"kib", kKi},
                                                  {"kb", 1e3},
                                                  {"mib", kKi* kKi},
                                                  {"mb", 1e6},
                                                  {"gib", kKi* kKi* kKi},
                                                  {"gb", 1e9},
                                                  {"tib", kKi* kKi* kKi* kKi},
                                                  {"tb", 1e12},
                                                  {"pib", kKi* kKi* kKi* kKi* kKi},
                                                  {"pb", 1e15},
                                                  {"eib", kKi* kKi* kKi* kKi* kKi* kKi},
                                                  {"eb", 1e18},
                                                  {"ki", kKi},
                                                  {"k", 1e3},
                                                  {"mi", kKi* kKi},
                                                  {"m", 1e6},
                                                  {"gi", kKi* kKi* kKi},
                                                  {"g", 1e9},
                                                  {"ti", kKi* kKi* kKi* kKi},
                                                  {"t", 1e12},
                                                  {"pi", kKi* kKi* kKi* kKi* kKi},
                                                  {"p", 1e15},
                                                  {"ei", kKi* kKi* kKi* kKi* kKi* kKi},
                                                  {"e", 1e18}}};

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Splits a size into its number, without commas, and its unit in lower case.
void SplitSize(std::string_view text, std::string* number, std::string* unit) {
  size_t at = 0;
  while (at < text.size() &&
         ((text[at] >= '0' && text[at] <= '9') || text[at] == '.' || text[at] == ',')) {
    if (text[at] != ',') number->push_back(text[at]);
    ++at;
  }
  text.remove_prefix(at);
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  for (const char c : text) {
    unit->push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
}

bool EqualsIgnoringCase(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x - 'A' + 'a') : x) == y;
         });
}

}  // namespace

std::optional<int64_t> ParseGoDuration(std::string_view text) {
  int64_t ns = 0;
  std::string_view unit;
  if (ReadDuration(text, &ns, &unit) != DurationFault::kNone) return std::nullopt;
  return ns;
}

std::string GoDurationError(std::string_view text) {
  int64_t ns = 0;
  std::string_view unit;
  switch (ReadDuration(text, &ns, &unit)) {
    case DurationFault::kMissingUnit:
      return Concat("time: missing unit in duration ", GoQuote(text));
    case DurationFault::kUnknownUnit:
      return Concat("time: unknown unit ", GoQuote(unit), " in duration ", GoQuote(text));
    default:
      return Concat("time: invalid duration ", GoQuote(text));
  }
}

std::string FormatGoDuration(int64_t ns) {
  if (ns == 0) return "0s";
  const bool negative = ns < 0;
  uint64_t rest = negative ? 0 - static_cast<uint64_t>(ns) : static_cast<uint64_t>(ns);
  // Prints whole units with the fraction that is left, without trailing zeros.
  const auto with_fraction = [](uint64_t value, uint64_t unit) {
    std::string out = std::to_string(value / unit);
    uint64_t fraction = value % unit;
    if (fraction == 0) return out;
    std::string digits;
    for (uint64_t scale = unit / 10; scale > 0; scale /= 10) {
      digits.push_back(static_cast<char>('0' + fraction / scale));
      fraction %= scale;
    }
    while (digits.back() == '0') digits.pop_back();
    return Concat(out, ".", digits);
  };
  std::string out;
  if (rest < 1'000) {
    out = Concat(rest, "ns");
  } else if (rest < 1'000'000) {
    out = Concat(with_fraction(rest, 1'000), "\xc2\xb5s");
  } else if (rest < 1'000'000'000) {
    out = Concat(with_fraction(rest, 1'000'000), "ms");
  } else {
    const uint64_t minutes = rest / 60'000'000'000;
    out = Concat(with_fraction(rest % 60'000'000'000, 1'000'000'000), "s");
    if (minutes > 0) out = Concat(minutes % 60, "m", out);
    if (minutes >= 60) out = Concat(minutes / 60, "h", out);
  }
  return negative ? "-" + out : out;
}

std::optional<uint64_t> ParseHumanBytes(std::string_view text) {
  // Numbers without a unit, the usual case, need no copies.
  std::string number;
  std::string unit;
  if (text.size() > 128) return std::nullopt;
  SplitSize(text, &number, &unit);
  const auto value = ParseGoFloat(number);
  if (!value) return std::nullopt;
  const auto found = std::find_if(kSizeUnits.begin(), kSizeUnits.end(),
                                  [&](const SizeUnit& u) { return u.name == unit; });
  if (found == kSizeUnits.end()) return std::nullopt;
  const double bytes = *value * found->bytes;
  if (!(bytes < 18446744073709551615.0)) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

std::string HumanBytesError(std::string_view text) {
  std::string number;
  std::string unit;
  SplitSize(text.substr(0, 128), &number, &unit);
  if (!ParseGoFloat(number)) return GoFloatError(number);
  if (std::none_of(kSizeUnits.begin(), kSizeUnits.end(),
                   [&](const SizeUnit& u) { return u.name == unit; })) {
    return Concat("unhandled size name: ", unit);
  }
  return Concat("too large: ", text);
}

std::optional<double> ParseGoFloat(std::string_view text) {
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest.empty()) return std::nullopt;
  double value = 0;
  const char first = rest[0];
  if ((first >= '0' && first <= '9') || first == '.') {
    std::from_chars_result end{};
    if (rest.size() > 2 && first == '0' && (rest[1] == 'x' || rest[1] == 'X')) {
      rest.remove_prefix(2);
      if (rest[0] == '-' || rest.find_first_of("pP") == std::string_view::npos) return std::nullopt;
      end = std::from_chars(rest.data(), rest.data() + rest.size(), value, std::chars_format::hex);
    } else {
      end = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    }
    if (end.ptr != rest.data() + rest.size()) return std::nullopt;
    if (end.ec == std::errc::result_out_of_range) {
      // from_chars does not say which way; Go refuses overflow and rounds underflow to zero.
      const size_t exponent = rest.find_first_of("eEpP");
      if (exponent == std::string_view::npos || exponent + 1 >= rest.size() ||
          rest[exponent + 1] != '-') {
        return std::nullopt;
      }
      value = 0;
    } else if (end.ec != std::errc()) {
      return std::nullopt;
    }
  } else if (EqualsIgnoringCase(rest, "inf") || EqualsIgnoringCase(rest, "infinity")) {
    value = std::numeric_limits<double>::infinity();
  } else if (EqualsIgnoringCase(text, "nan")) {
    value = std::numeric_limits<double>::quiet_NaN();
  } else {
    return std::nullopt;
  }
  return negative ? -value : value;
}

std::string GoFloatError(std::string_view text) {
  return Concat("strconv.ParseFloat: parsing ", GoQuote(text), ": invalid syntax");
}

std::string GoRegexError(const re2::RE2& expression) {
  std::string_view what;
  switch (expression.error_code()) {
    case re2::RE2::ErrorBadEscape:
      what = "invalid escape sequence";
      break;
    case re2::RE2::ErrorBadCharClass:
      what = "invalid character class";
      break;
    case re2::RE2::ErrorBadCharRange:
      what = "invalid character class range";
      break;
    case re2::RE2::ErrorMissingBracket:
      what = "missing closing ]";
      break;
    case re2::RE2::ErrorMissingParen:
      what = "missing closing )";
      break;
    case re2::RE2::ErrorUnexpectedParen:
      what = "unexpected )";
      break;
    case re2::RE2::ErrorTrailingBackslash:
      what = "trailing backslash at end of expression";
      break;
    case re2::RE2::ErrorRepeatArgument:
      what = "missing argument to repetition operator";
      break;
    case re2::RE2::ErrorRepeatSize:
      what = "invalid repeat count";
      break;
    case re2::RE2::ErrorRepeatOp:
      what = "invalid nested repetition operator";
      break;
    case re2::RE2::ErrorBadPerlOp:
      what = "invalid or unsupported Perl syntax";
      break;
    case re2::RE2::ErrorBadUTF8:
      what = "invalid UTF-8";
      break;
    case re2::RE2::ErrorBadNamedCapture:
      what = "invalid named capture";
      break;
    default:
      what = "expression too large";
      break;
  }
  const std::string& argument = expression.error_arg();
  if (argument.empty()) return std::string(what);
  return Concat(what, ": `", argument, "`");
}

}  // namespace varve::query
