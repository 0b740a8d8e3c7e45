#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace re2 {
class RE2;
}

/// Reads and prints values that stand in log lines the way Go programs do: durations, sizes,
/// numbers.
namespace varve::query {

/// Reads Go's time.ParseDuration: `1h15m30.918s`, `-1.5h`, `300us`, in nanoseconds. Nothing for
/// other text and out of range.
std::optional<int64_t> ParseGoDuration(std::string_view text);
/// Converts nanoseconds as Go's Duration.Seconds: whole seconds and the rest apart.
inline double DurationSeconds(int64_t ns) {
  return static_cast<double>(ns / 1'000'000'000) + static_cast<double>(ns % 1'000'000'000) / 1e9;
}
/// Words why text is not a duration, as Go does.
std::string GoDurationError(std::string_view text);
/// Prints as Go's Duration.String: `1m30s`, `1.5µs`, `0s`.
std::string FormatGoDuration(int64_t ns);

/// Reads a size such as `5kb`, `1.5 MiB`, `1,000`, `7`; units in any case. Nothing for other text.
std::optional<uint64_t> ParseHumanBytes(std::string_view text);
std::string HumanBytesError(std::string_view text);

/// Reads Go's strconv.ParseFloat: decimal, hexadecimal with p exponent, inf and nan in any case.
std::optional<double> ParseGoFloat(std::string_view text);
std::string GoFloatError(std::string_view text);

/// Words the error of an expression that did not compile as Go's regexp does: "missing closing ):
/// `(`".
std::string GoRegexError(const re2::RE2& expression);

/// Says whether a byte may stand in a label name.
constexpr bool IsLabelByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

}  // namespace varve::query
