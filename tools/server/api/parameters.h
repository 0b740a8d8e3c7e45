#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/message.h"
#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"

/// Request parameters as Prometheus reads them, with its error texts. All errors are
/// kInvalidArgument and say which parameter.
namespace varve::api {

/// Reads a point in time: seconds as a float, or RFC 3339. Unix milliseconds; what is out of range
/// is clamped to the outermost times.
Result<int64_t> ParseTime(std::string_view text);
/// Reads a duration: seconds as a float, or Prometheus's form (`1h30m`). Milliseconds, at least 1
/// for anything above zero.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

/// Reads what Go's strconv.ParseBool takes.
std::optional<bool> ParseGoBool(std::string_view text);

/// Says which parameter an error is about: `invalid parameter "step": ...`.
Status InvalidParameter(std::string_view name, const Status& why);
Status InvalidParameter(std::string_view name, std::string_view why);

/// Read one optional parameter.
Result<int64_t> TimeParameter(const http::Params& params, std::string_view name, int64_t otherwise);
/// 0 when absent: no limit.
Result<size_t> LimitParameter(const http::Params& params, std::string_view name = "limit");
/// start and end, by default all time. Errors also for an end before the start.
Result<TimeRange> RangeParameters(const http::Params& params);
/// All match[] selectors, each a conjunction of matchers.
Result<std::vector<std::vector<Matcher>>> SelectorParameters(const http::Params& params);

/// Turns "U__a_2e_b" back into "a.b"; anything else, also a broken escape, stays as it is.
/// (Prometheus, model.UnescapeName with value encoding.)
std::string UnescapeName(std::string_view name);

/// Prints Unix milliseconds as RFC 3339 in UTC with milliseconds.
std::string FormatTime(int64_t time_ms);

}  // namespace varve::api
