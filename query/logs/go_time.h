#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/status.h"

/// Formats and reads times by Go's layouts (the reference time Mon Jan 2 15:04:05 MST 2006). Times
/// are Unix nanoseconds; output is in UTC.
namespace varve::query {

/// Appends a time in a layout.
void AppendGoTime(int64_t time_ns, std::string_view layout, std::string* out);
/// Prints as Go's Time.String in UTC.
std::string FormatGoTime(int64_t time_ns);
/// Reads a time by its layout; without a zone in the text, `zone` (an IANA name, "UTC", "Local" as
/// UTC) gives it. Errors: kInvalidArgument in Go's manner.
Result<int64_t> ParseGoTime(std::string_view layout, std::string_view text, std::string_view zone);

}  // namespace varve::query
