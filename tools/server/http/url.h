#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/message.h"
#include "varve/status.h"

namespace varve::http {

/// Bounds what one request line or form may hold; checked while decoding.
struct UrlLimits {
  size_t params_max = 10'000;
  size_t segments_max = 64;
};

/// Undoes percent-encoding once; with `plus_is_space` a `+` becomes a blank, as in forms.
/// Errors: kInvalidArgument for a percent sign without two hex digits, naming the place.
Result<std::string> PercentDecode(std::string_view text, bool plus_is_space);
/// Encodes everything but letters, digits and "-_.~".
std::string PercentEncode(std::string_view text);

/// Appends the pairs of a query string or an urlencoded body to `out`. Empty pairs are skipped, a
/// name without `=` has the empty value. Errors: kInvalidArgument, kResourceExhausted.
Status ParseForm(std::string_view text, const UrlLimits& limits, Params* out);

struct Target {
  std::string authority;              // of an absolute target, else empty
  std::vector<std::string> segments;  // "/a/b%2Fc" gives "a", "b/c"; "/" gives one empty segment
  std::string_view query;             // still encoded; into the text that was parsed
};
/// Takes a request target apart: origin form ("/path?query") or absolute form. A segment "." or
/// ".." is refused rather than resolved, encoded or not. Errors: kInvalidArgument,
/// kResourceExhausted.
Result<Target> ParseTarget(std::string_view target, const UrlLimits& limits);

/// Splits a Host value into the name, without brackets, and the port (empty if there is none).
/// Errors: kInvalidArgument.
struct HostPort {
  std::string host;
  std::string port;
};
Result<HostPort> ParseHost(std::string_view text);
/// Tests for a dotted IPv4 address or an IPv6 address.
bool IsIpLiteral(const std::string& host);
/// Tests for 127.0.0.0/8, ::1 or a name under localhost.
bool IsLoopbackHost(const std::string& host);

}  // namespace varve::http
