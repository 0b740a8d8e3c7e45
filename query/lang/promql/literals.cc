#include "query/lang/promql/literals.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/charconv.h"
#include "engine/base/strings.h"
#include "engine/base/utf8.h"

namespace varve::promql {
namespace {

Status Bad(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] | 0x20) != lower[i]) return false;
  }
  return true;
}

/// Reads all of `digits` as an integer of `base`; false if it does not fit or is no such number.
bool ReadInteger(std::string_view digits, int base, int64_t* out) {
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), *out, base);
  return error == std::errc() && end == digits.data() + digits.size();
}

struct Unit {
  std::string_view name;
  int64_t ms;
  bool only_whole;  // printed only if nothing remains
};
constexpr int64_t kDayMs = 24LL * 60 * 60 * 1000;
constexpr std::array<Unit, 7> kUnits = {{
    {"y", 365 * kDayMs, true},
    {"w", 7 * kDayMs, true},
    {"d", kDayMs, false},
    {"h", 60 * 60 * 1000, false},
    {"m", 60 * 1000, false},
    {"s", 1000, false},
    {"ms", 1, false},
}};

}  // namespace

Result<double> ParseNumber(std::string_view text) {
  if (EqualsIgnoringCase(text, "inf")) return std::numeric_limits<double>::infinity();
  if (EqualsIgnoringCase(text, "nan")) return std::numeric_limits<double>::quiet_NaN();
  std::string digits;
  for (const char c : text) {
    if (c != '_') digits.push_back(c);
  }
  int64_t integer = 0;
  if (digits.size() > 1 && digits[0] == '0') {
    const bool hex = (digits[1] | 0x20) == 'x';
    if (hex) {
      if (ReadInteger(std::string_view(digits).substr(2), 16, &integer)) {
        return static_cast<double>(integer);
      }
      return Bad(Concat("error parsing number: strconv.ParseFloat: parsing ", GoQuote(text),
                        ": invalid syntax"));
    }
    if (ReadInteger(std::string_view(digits).substr(1), 8, &integer)) {
      return static_cast<double>(integer);
    }
  } else if (ReadInteger(digits, 10, &integer)) {
    return static_cast<double>(integer);
  }
  double value = 0;
  const auto [end, error] = absl::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() ||
      (error != std::errc() && error != std::errc::result_out_of_range)) {
    return Bad(Concat("error parsing number: strconv.ParseFloat: parsing ", GoQuote(text),
                      ": invalid syntax"));
  }
  if (std::isinf(value) || value == std::numeric_limits<double>::max()) {
    if (error == std::errc::result_out_of_range) {
      return Bad(Concat("error parsing number: strconv.ParseFloat: parsing ", GoQuote(text),
                        ": value out of range"));
    }
  }
  return value;
}

Result<int64_t> ParseDurationMs(std::string_view text) {
  if (text == "0") return 0;
  if (text.empty()) return Bad("empty duration string");
  // 2^63 ns, in whole milliseconds.
  constexpr int64_t kDurationMsMax = 9'223'372'036'854;
  int64_t total = 0;
  size_t next_unit = 0;
  for (size_t at = 0; at < text.size();) {
    int64_t count = 0;
    const size_t digits_begin = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
      // Once past any allowed duration, more digits change nothing.
      if (count <= kDurationMsMax) count = count * 10 + (text[at] - '0');
      ++at;
    }
    const size_t unit_begin = at;
    while (at < text.size() && text[at] >= 'a' && text[at] <= 'z') ++at;
    const std::string_view name = text.substr(unit_begin, at - unit_begin);
    size_t unit = next_unit;
    while (unit < kUnits.size() && kUnits[unit].name != name) ++unit;
    if (unit_begin == digits_begin || unit == kUnits.size()) {
      return Bad(Concat("not a valid duration string: ", GoQuote(text)));
    }
    next_unit = unit + 1;
    if (count > kDurationMsMax / kUnits[unit].ms) return Bad("duration out of range");
    total += count * kUnits[unit].ms;
    if (total > kDurationMsMax) return Bad("duration out of range");
  }
  return total;
}

std::string FormatDurationMs(int64_t duration_ms) {
  if (duration_ms == 0) return "0s";
  std::string out;
  // The magnitude of the smallest int64 does not fit one.
  uint64_t rest = duration_ms < 0 ? 0 - static_cast<uint64_t>(duration_ms) : duration_ms;
  if (duration_ms < 0) out = "-";
  for (const Unit& unit : kUnits) {
    const auto size = static_cast<uint64_t>(unit.ms);
    if (unit.only_whole && rest % size != 0) continue;
    if (rest < size) continue;
    out += Concat(rest / size, unit.name);
    rest %= size;
  }
  return out;
}

std::string FormatFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char buffer[400];  // 309 digits before the point, or 341 after "0."
  const auto [end, error] =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed);
  return std::string(buffer, end);
}

Result<std::string> Unquote(std::string_view token) {
  const auto bad = [&] {
    return Bad(Concat("error unquoting string ", GoQuote(token), ": invalid syntax"));
  };
  if (token.size() < 2 || token.front() != token.back()) return bad();
  const char quote = token.front();
  const std::string_view body = token.substr(1, token.size() - 2);
  if (quote == '`' || body.find('\\') == std::string_view::npos) return std::string(body);

  std::string out;
  out.reserve(body.size());
  for (size_t at = 0; at < body.size();) {
    if (body[at] != '\\') {
      out.push_back(body[at++]);
      continue;
    }
    if (++at == body.size()) return bad();
    const char kind = body[at++];
    int digits = 0;
    int base = 16;
    switch (kind) {
      case 'a':
        out.push_back('\a');
        continue;
      case 'b':
        out.push_back('\b');
        continue;
      case 'f':
        out.push_back('\f');
        continue;
      case 'n':
        out.push_back('\n');
        continue;
      case 'r':
        out.push_back('\r');
        continue;
      case 't':
        out.push_back('\t');
        continue;
      case 'v':
        out.push_back('\v');
        continue;
      case '\\':
        out.push_back('\\');
        continue;
      case '"':
      case '\'':
        if (kind != quote) return bad();
        out.push_back(kind);
        continue;
      case 'x':
        digits = 2;
        break;
      case 'u':
        digits = 4;
        break;
      case 'U':
        digits = 8;
        break;
      default:
        if (kind < '0' || kind > '7') return bad();
        digits = 3;
        base = 8;
        --at;
    }
    if (body.size() - at < static_cast<size_t>(digits)) return bad();
    const std::string_view number = body.substr(at, digits);
    uint32_t code = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + digits, code, base);
    if (error != std::errc() || end != number.data() + digits) return bad();
    at += digits;
    if (kind == 'u' || kind == 'U') {
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return bad();
      AppendUtf8(code, &out);
    } else {
      if (code > 0xff) return bad();
      out.push_back(static_cast<char>(code));
    }
  }
  return out;
}

bool IsPlainLabelName(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (const char c : name) {
    const bool word =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!word) return false;
  }
  return true;
}

}  // namespace varve::promql
