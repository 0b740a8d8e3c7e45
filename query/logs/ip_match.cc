#include "query/logs/ip_match.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "engine/base/strings.h"

namespace varve::query {
namespace {

constexpr size_t kAddressBytesMax = 45;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsHex(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

}  // namespace

std::optional<IpAddress> ParseIp(std::string_view text) {
  if (text.empty() || text.size() > kAddressBytesMax) return std::nullopt;
  // A zone names an interface, not an address.
  text = text.substr(0, text.find('%'));
  char buffer[kAddressBytesMax + 1];
  text.copy(buffer, text.size());
  buffer[text.size()] = 0;
  IpAddress out;
  if (text.find(':') == std::string_view::npos) {
    // inet_pton takes no leading zeros and four parts only, like Go's parser.
    in_addr v4{};
    if (inet_pton(AF_INET, buffer, &v4) != 1) return std::nullopt;
    out.bytes[10] = out.bytes[11] = 0xff;
    std::memcpy(out.bytes.data() + 12, &v4, 4);
    out.v4 = true;
    return out;
  }
  in6_addr v6{};
  if (inet_pton(AF_INET6, buffer, &v6) != 1) return std::nullopt;
  std::memcpy(out.bytes.data(), &v6, 16);
  return out;
}

Result<IpMatcher> IpMatcher::Parse(std::string_view text) {
  const auto fail = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("invalid pattern: ", GoQuote(text)));
  };
  IpMatcher out;
  if (const size_t slash = text.find('/'); slash != std::string_view::npos) {
    const auto address = ParseIp(text.substr(0, slash));
    const std::string_view digits = text.substr(slash + 1);
    int bits = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (!address || error != std::errc() || end != digits.data() + digits.size() || bits < 0 ||
        bits > (address->v4 ? 32 : 128)) {
      return fail();
    }
    if (address->v4) bits += 96;
    out.low_ = out.high_ = *address;
    for (int i = 0; i < 16; ++i) {
      const int kept = std::clamp(bits - i * 8, 0, 8);
      const auto mask = static_cast<uint8_t>(0xff00 >> kept);
      out.low_.bytes[i] &= mask;
      out.high_.bytes[i] |= static_cast<uint8_t>(~mask);
    }
    return out;
  }
  if (const size_t dash = text.find('-'); dash != std::string_view::npos) {
    const auto low = ParseIp(text.substr(0, dash));
    const auto high = ParseIp(text.substr(dash + 1));
    if (!low || !high || low->v4 != high->v4 || *high < *low) return fail();
    out.low_ = *low;
    out.high_ = *high;
    return out;
  }
  const auto address = ParseIp(text);
  if (!address) return fail();
  out.low_ = out.high_ = *address;
  return out;
}

bool IpMatcher::Matches(const IpAddress& address) const {
  return address.v4 == low_.v4 && low_ <= address && address <= high_;
}

bool IpMatcher::FindIn(std::string_view line) const {
  for (size_t at = 0; at < line.size();) {
    if (!IsHex(line[at]) && line[at] != ':') {
      ++at;
      continue;
    }
    // A run of bytes that addresses are made of; what is longer than any address holds none at its
    // start, and its tail is looked at again.
    size_t end = at;
    bool colon = false;
    size_t dots = 0;
    while (end < line.size() && (IsHex(line[end]) || line[end] == ':' || line[end] == '.')) {
      colon |= line[end] == ':';
      dots += line[end] == '.';
      ++end;
    }
    const std::string_view run = line.substr(at, end - at);
    at = end;
    if (low_.v4) {
      if (dots < 3) continue;
      // Tries every start of digits: `a1.2.3.4` and `x:1.2.3.4:80` hold addresses.
      for (size_t i = 0; i < run.size();) {
        if (!IsDigit(run[i])) {
          ++i;
          continue;
        }
        size_t stop = i;
        size_t parts = 0;
        while (stop < run.size() && (IsDigit(run[stop]) || (run[stop] == '.' && parts < 3))) {
          parts += run[stop] == '.';
          ++stop;
        }
        if (parts == 3 && Matches(run.substr(i, stop - i))) return true;
        i = std::max(stop, i + 1);
      }
    } else if (colon) {
      std::string_view rest = run;
      while (rest.size() > 2) {
        // A sentence may end behind the address, a port or a key may touch it.
        std::string_view candidate = rest;
        while (!candidate.empty() && (candidate.back() == '.')) candidate.remove_suffix(1);
        if (Matches(candidate)) return true;
        if (candidate.size() > 2 && candidate.back() == ':' && !candidate.ends_with("::")) {
          candidate.remove_suffix(1);
          if (Matches(candidate)) return true;
        }
        const size_t colon_at = rest.find(':');
        if (colon_at == std::string_view::npos) break;
        rest.remove_prefix(colon_at + 1);
        if (run.size() > 4 * kAddressBytesMax) break;
      }
    }
  }
  return false;
}

}  // namespace varve::query
