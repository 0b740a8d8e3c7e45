#include <charconv>
#include <cmath>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/loki/push_decode.h"

namespace varve::loki {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Status Bad(std::string_view text) { return MakeStatus(StatusCode::kInvalidArgument, text); }

// Reads a plain decimal number; false if the text is anything else.
bool ParseNumber(std::string_view text, double* out) {
  if (text.empty()) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*out);
}

bool IsInteger(std::string_view text) {
  if (!text.empty() && text.front() == '-') text.remove_prefix(1);
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

Result<int64_t> ParseTime(std::string_view text) {
  if (IsInteger(text)) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return Bad(Concat("time out of range: ", GoQuote(text)));
    if (text.size() > 10) return value;
    return value * kSecond;  // at most ten characters: no overflow
  }
  double seconds = 0;
  if (ParseNumber(text, &seconds)) {
    if (std::abs(seconds) > 9.2e9) return Bad(Concat("time out of range: ", GoQuote(text)));
    // As Loki: whole seconds and milliseconds apart, so that 1.1 is 1,100,000,000.
    const double whole = std::trunc(seconds);
    return static_cast<int64_t>(whole) * kSecond +
           static_cast<int64_t>(std::round((seconds - whole) * 1000)) * 1'000'000;
  }
  int64_t time_ns = 0;
  if (ParseRfc3339(text, &time_ns)) return time_ns;
  return Bad(Concat("cannot parse ", GoQuote(text),
                    " to a valid timestamp: Unix seconds, Unix nanoseconds or RFC 3339"));
}

Result<int64_t> ParseDuration(std::string_view text) {
  double seconds = 0;
  const auto bad = [&] {
    return Bad(Concat("cannot parse ", GoQuote(text), " to a valid duration"));
  };
  if (ParseNumber(text, &seconds)) {
    if (std::abs(seconds) > 9.2e9) return bad();
    return static_cast<int64_t>(seconds * 1e9);
  }
  struct Unit {
    std::string_view name;
    double ns;
  };
  // Longer names first where one begins another.
  static constexpr Unit kUnits[] = {
      {"ns", 1},   {"us", 1e3},   {"\xc2\xb5s", 1e3}, {"ms", 1e6},      {"s", 1e9},
      {"m", 60e9}, {"h", 3600e9}, {"d", 86'400e9},    {"w", 604'800e9}, {"y", 31'536'000e9}};
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (negative) rest.remove_prefix(1);
  if (rest.empty()) return bad();
  double total = 0;
  while (!rest.empty()) {
    if (rest.front() == '-' || rest.front() == '+') return bad();
    const size_t digits = rest.find_first_not_of("0123456789.");
    double value = 0;
    if (digits == std::string_view::npos || !ParseNumber(rest.substr(0, digits), &value))
      return bad();
    rest.remove_prefix(digits);
    bool found = false;
    for (const Unit& unit : kUnits) {
      if (!rest.starts_with(unit.name)) continue;
      total += value * unit.ns;
      rest.remove_prefix(unit.name.size());
      found = true;
      break;
    }
    if (!found) return bad();
  }
  if (total > 9.2e18) return bad();
  return static_cast<int64_t>(negative ? -total : total);
}

Result<int64_t> TimeParameter(const http::Params& params, std::string_view name,
                              int64_t otherwise) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return otherwise;
  return ParseTime(text);
}

Result<NsRange> RangeParameters(const Context& context, const http::Params& params) {
  const int64_t now = context.NowNs();
  int64_t since = 3600 * kSecond;
  if (const std::string_view text = params.Get("since"); !text.empty()) {
    VARVE_ASSIGN_OR_RETURN(since, ParseDuration(text));
  }
  VARVE_ASSIGN_OR_RETURN(const int64_t end, TimeParameter(params, "end", now));
  // A query that reaches into the future still looks back from now.
  const int64_t from = std::min(end, now);
  const int64_t start_default = from < INT64_MIN + since ? INT64_MIN : from - since;
  VARVE_ASSIGN_OR_RETURN(const int64_t start, TimeParameter(params, "start", start_default));
  return NsRange{start, end};
}

Result<uint32_t> CountParameter(const http::Params& params, std::string_view name,
                                uint32_t otherwise) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return otherwise;
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) {
    return Bad(Concat(name, " must be a positive value"));
  }
  return value;
}

Result<query::LogDirection> DirectionParameter(const http::Params& params) {
  const std::string_view text = params.Get("direction");
  if (text.empty() || http::EqualsIgnoreCase(text, "backward")) {
    return query::LogDirection::kBackward;
  }
  if (http::EqualsIgnoreCase(text, "forward")) return query::LogDirection::kForward;
  return Bad(Concat("invalid direction ", GoQuote(text)));
}

bool WantsCategorizedLabels(const http::Request& request) {
  const std::string flags = request.headers.Joined("X-Loki-Response-Encoding-Flags");
  std::string_view rest = flags;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    if (http::Trim(rest.substr(0, comma)) == "categorize-labels") return true;
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return false;
}

std::shared_ptr<const query::Cancellation> CancellationOf(http::Request& request) {
  auto cancellation = std::make_shared<query::Cancellation>();
  request.cancel->OnCancel([cancellation] { cancellation->Cancel(); });
  return cancellation;
}

}  // namespace varve::loki
