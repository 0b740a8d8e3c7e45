#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/status.h"
#include "varve/traceql.h"

namespace varve::traceql {

/// Reads a duration: "1h30m", "1.5s", units ns us µs ms s m h d w, whole and fractional numbers,
/// added up. Errors: kInvalidArgument for other text and for more than 2^63 ns.
Result<int64_t> ParseDuration(std::string_view text);
/// Prints as Go does: "1h30m0s", "1.5s", "100ms", "0s".
std::string FormatDuration(int64_t duration_ns);

/// Reads a number: an integer where it has neither point nor exponent and fits, else a double.
/// Errors: kInvalidArgument.
Result<query::TraceValue> ParseNumber(std::string_view text);
/// Prints the shortest digits that give the same double back, always so that ParseNumber reads a
/// double: 1.0, 0.25, 1e+100. Not for NaN and infinities.
std::string FormatDouble(double value);

/// Quotes a string so that the lexer reads it back: escapes for quotes, backslashes, control bytes.
std::string QuoteString(std::string_view text);

/// Makes typed values.
query::TraceValue StringLiteral(std::string_view text);
query::TraceValue IntLiteral(int64_t value);
query::TraceValue DoubleLiteral(double value);
query::TraceValue BoolLiteral(bool value);
query::TraceValue DurationLiteral(int64_t value);

/// Reads a word that is a value: true, false, nil, a status, a kind. False if it is none.
bool ParseWordLiteral(std::string_view word, query::TraceValue* out);

}  // namespace varve::traceql
