#include "tools/tracing/go_text.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "absl/time/time.h"
#include "engine/base/strings.h"

namespace varve::tracing {

std::optional<int64_t> ParseInt(std::string_view text) {
  int64_t value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<int64_t> ParseGoDuration(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text == "0") return 0;
  if (text.empty()) return std::nullopt;
  long double total = 0;
  while (!text.empty()) {
    double number = 0;
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
    if (error != std::errc() || number < 0 || !std::isfinite(number)) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(at - text.data()));
    constexpr std::pair<std::string_view, double> kUnits[] = {
        {"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
        {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
    bool found = false;
    for (const auto& [unit, ns] : kUnits) {
      if (!text.starts_with(unit)) continue;
      total += static_cast<long double>(number) * static_cast<long double>(ns);
      text.remove_prefix(unit.size());
      found = true;
      break;
    }
    if (!found) return std::nullopt;
  }
  if (total >= 0x1p63L) return std::nullopt;
  const auto value = static_cast<int64_t>(total + 0.5L);
  return negative ? -value : value;
}

std::optional<int64_t> ParseRfc3339Ns(std::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, ToAbsl(text), &time, &error)) return std::nullopt;
  if (time == absl::InfiniteFuture() || time == absl::InfinitePast()) return std::nullopt;
  const int64_t seconds = absl::ToUnixSeconds(time);
  if (seconds >= 9'223'372'036 || seconds <= -9'223'372'036) return std::nullopt;
  return absl::ToUnixNanos(time);
}

std::string FormatRfc3339Ns(int64_t time_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixNanos(time_ns),
                          absl::UTCTimeZone());
}

}  // namespace varve::tracing
