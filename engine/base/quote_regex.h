#pragma once

#include <string>
#include <string_view>

namespace varve {

/// Writes a regular expression that matches `text` only. Unlike RE2::QuoteMeta it leaves plain what
/// may stand plain, so that matchers still see plain texts and alternatives of them.
inline std::string QuoteRegex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("\\.+*?()|[]{}^$").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace varve
