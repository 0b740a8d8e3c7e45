#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::promql {

/// Reads a number token: decimal, hexadecimal, octal after a leading zero (0755 is 493, but 08 is
/// 8), underscores between digits, Inf and NaN in any case; no sign. Errors: kInvalidArgument.
Result<double> ParseNumber(std::string_view text);

/// Reads a duration in Prometheus's form: `1h30m`, units descending from y to ms, each at most
/// once, whole numbers; a year is 365 days. "0" is allowed. Errors: kInvalidArgument in
/// Prometheus's words for other text and for more than 2^63 ns.
Result<int64_t> ParseDurationMs(std::string_view text);
/// Prints a duration as Prometheus does: `1h30m`, `500ms`, `0s`; a minus sign in front if
/// negative. Years and weeks are used only where nothing remains.
std::string FormatDurationMs(int64_t duration_ms);

/// Prints a float as Go's strconv.FormatFloat(value, 'f', -1, 64): the shortest digits that give
/// the same value back, no exponent; NaN, +Inf, -Inf.
std::string FormatFloat(double value);

/// Removes quotes and resolves Go's escapes: double and single quotes with escapes, backticks
/// without. Precondition: `token` starts and ends with the same quote. Errors: kInvalidArgument.
Result<std::string> Unquote(std::string_view token);

/// Tests for a label name that needs no quotes: [a-zA-Z_][a-zA-Z0-9_]*.
bool IsPlainLabelName(std::string_view name);

}  // namespace varve::promql
