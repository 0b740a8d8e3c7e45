#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "varve/status.h"

namespace varve::query {

/// An address as 16 bytes, IPv4 mapped into IPv6.
struct IpAddress {
  std::array<uint8_t, 16> bytes{};
  bool v4 = false;
  friend auto operator<=>(const IpAddress& a, const IpAddress& b) { return a.bytes <=> b.bytes; }
  friend bool operator==(const IpAddress& a, const IpAddress& b) { return a.bytes == b.bytes; }
};
std::optional<IpAddress> ParseIp(std::string_view text);

/// Matches addresses: one, a range `a-b`, or a network `a/bits`.
class IpMatcher {
 public:
  /// Errors: kInvalidArgument.
  static Result<IpMatcher> Parse(std::string_view text);
  bool Matches(const IpAddress& address) const;
  /// Parses and matches.
  bool Matches(std::string_view text) const {
    const auto address = ParseIp(text);
    return address && Matches(*address);
  }
  /// Looks for a matching address anywhere in a line. Cost: one pass over the bytes; addresses are
  /// parsed where hexadecimal digits, dots and colons stand together.
  bool FindIn(std::string_view line) const;

 private:
  IpAddress low_;
  IpAddress high_;
};

}  // namespace varve::query
