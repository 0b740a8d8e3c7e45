#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace varve {

/// Pieces of text that are mostly shorter than a call to the library is worth.

/// Copies `bytes` of what ends at `end`; the destination has room for kCopySlack more.
inline constexpr size_t kCopySlack = 16;
inline void CopyShort(char* to, const char* from, size_t bytes, const char* end) {
  if (bytes <= kCopySlack && static_cast<size_t>(end - from) >= kCopySlack) {
    std::memcpy(to, from, kCopySlack);
  } else {
    std::memcpy(to, from, bytes);
  }
}

/// Compares short texts without a call.
inline bool SameShort(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  const char* const x = a.data();
  const char* const y = b.data();
  const size_t n = a.size();
  const auto differ = [&](auto word, size_t at) {
    decltype(word) other;
    std::memcpy(&word, x + at, sizeof word);
    std::memcpy(&other, y + at, sizeof other);
    return word ^ other;
  };
  if (n > 16) return std::memcmp(x, y, n) == 0;
  if (n >= 8) return (differ(uint64_t{}, 0) | differ(uint64_t{}, n - 8)) == 0;
  if (n >= 4) return (differ(uint32_t{}, 0) | differ(uint32_t{}, n - 4)) == 0;
  for (size_t i = 0; i < n; ++i) {
    if (x[i] != y[i]) return false;
  }
  return true;
}

}  // namespace varve
