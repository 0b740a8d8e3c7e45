#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Numbers, durations and times as programs in Go, Jaeger among them, write them.
namespace varve::tracing {

/// Reads a duration as Go prints it: "1h2m3.5s", "250ms", "10us", "-1s", "0". Nanoseconds; nothing
/// for other text or what does not fit.
std::optional<int64_t> ParseGoDuration(std::string_view text);
/// Reads RFC 3339 with nanoseconds: "2017-01-26T16:46:31.639875123Z", offsets too.
std::optional<int64_t> ParseRfc3339Ns(std::string_view text);
/// Prints it, without trailing zeros of the fraction.
std::string FormatRfc3339Ns(int64_t time_ns);
/// Reads a decimal integer, whole text.
std::optional<int64_t> ParseInt(std::string_view text);

}  // namespace varve::tracing
