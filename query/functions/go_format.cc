#include "query/functions/go_format.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <vector>

#include "engine/base/strings.h"

namespace varve::query {
namespace {

/// Names the values that have no digits.
bool FormatSpecial(double value, std::string* out) {
  if (std::isnan(value)) {
    *out = "NaN";
    return true;
  }
  if (std::isinf(value)) {
    *out = value > 0 ? "+Inf" : "-Inf";
    return true;
  }
  return false;
}

std::string Chars(double value, std::chars_format format) {
  char buffer[400];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format);
  return std::string(buffer, end.ptr);
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Cuts a text into runs of digits and runs of anything else.
std::vector<std::string_view> Runs(std::string_view text) {
  std::vector<std::string_view> runs;
  size_t begin = 0;
  for (size_t i = 1; i <= text.size(); ++i) {
    if (i == text.size() || IsDigit(text[i]) != IsDigit(text[begin])) {
      runs.push_back(text.substr(begin, i - begin));
      begin = i;
    }
  }
  return runs;
}

std::string_view TrimZeros(std::string_view digits) {
  while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  return digits;
}

}  // namespace

std::string GoFormatF(double value) {
  std::string out;
  if (FormatSpecial(value, &out)) return out;
  return Chars(value, std::chars_format::fixed);
}

std::string GoFormatG(double value) {
  std::string out;
  if (FormatSpecial(value, &out)) return out;
  if (value == 0) return std::signbit(value) ? "-0" : "0";
  // Scientific notation tells the exponent; both C++ and Go print at least two digits of it.
  std::string scientific = Chars(value, std::chars_format::scientific);
  const size_t e = scientific.find('e');
  int exponent = 0;
  const char* at = scientific.data() + e + 1;
  if (*at == '+') ++at;
  std::from_chars(at, scientific.data() + scientific.size(), exponent);
  if (exponent < -4 || exponent >= 6) return scientific;
  return Chars(value, std::chars_format::fixed);
}

std::string GoFormatFixed(double value) {
  std::string out;
  if (FormatSpecial(value, &out)) return out;
  char buffer[400];
  const int size = std::snprintf(buffer, sizeof buffer, "%.6f", value);
  return std::string(buffer, size);
}

std::string OpenMetricsFloat(double value) {
  std::string out = GoFormatG(value);
  if (std::isnan(value) || std::isinf(value)) return out;
  if (out.find_first_of("e.") == std::string::npos) out += ".0";
  return out;
}

bool NaturalLess(std::string_view a, std::string_view b) {
  const std::vector<std::string_view> runs_a = Runs(a);
  const std::vector<std::string_view> runs_b = Runs(b);
  for (size_t i = 0; i < runs_a.size(); ++i) {
    if (i >= runs_b.size()) return false;
    const std::string_view x = runs_a[i];
    const std::string_view y = runs_b[i];
    if (x == y) continue;
    if (IsDigit(x[0]) && IsDigit(y[0])) {
      const std::string_view m = TrimZeros(x);
      const std::string_view n = TrimZeros(y);
      if (m.size() != n.size()) return m.size() < n.size();
      if (m != n) return m < n;
      // Equal numbers: the one with more leading zeros is the longer text and comes later.
      return x.size() < y.size();
    }
    return x < y;
  }
  return runs_a.size() < runs_b.size();
}

}  // namespace varve::query
