#pragma once

#include <cstdint>
#include <string>

namespace varve {

/// Most bytes of a character in UTF-8 (RFC 3629).
constexpr size_t kUtf8BytesMax = 4;

/// Writes the character `rune` in UTF-8 to `out`, where there is room for kUtf8BytesMax bytes, and
/// returns the place behind it. Precondition: rune is below 0x200000; surrogates and characters
/// beyond 0x10ffff are written like others, so a caller that must not write them tests before.
inline char* PutUtf8(uint32_t rune, char* out) {
  const auto tail = [rune](int shift) { return static_cast<char>(0x80 | (rune >> shift & 0x3f)); };
  if (rune < 0x80) {
    *out++ = static_cast<char>(rune);
  } else if (rune < 0x800) {
    *out++ = static_cast<char>(0xc0 | rune >> 6);
    *out++ = tail(0);
  } else if (rune < 0x10000) {
    *out++ = static_cast<char>(0xe0 | rune >> 12);
    *out++ = tail(6);
    *out++ = tail(0);
  } else {
    *out++ = static_cast<char>(0xf0 | rune >> 18);
    *out++ = tail(12);
    *out++ = tail(6);
    *out++ = tail(0);
  }
  return out;
}

inline void AppendUtf8(uint32_t rune, std::string* out) {
  char bytes[kUtf8BytesMax];
  out->append(bytes, static_cast<size_t>(PutUtf8(rune, bytes) - bytes));
}

}  // namespace varve
