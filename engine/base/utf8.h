#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

/// Reads the well-formed character at the start of `text`, which is not empty, and returns its
/// length in bytes; 0 where no such character begins (Unicode 15, table 3-7: no overlong forms, no
/// surrogates, nothing beyond 0x10ffff).
inline size_t GetUtf8(std::string_view text, uint32_t* rune) {
  const auto byte = [&](size_t i) -> uint32_t { return static_cast<unsigned char>(text[i]); };
  const uint32_t first = byte(0);
  if (first < 0x80) {
    *rune = first;
    return 1;
  }
  const size_t length = first < 0xc2   ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                        : first < 0xf5 ? 4
                                       : 0;
  if (length == 0 || text.size() < length) return 0;
  uint32_t code = first & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3f);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return 0;
  *rune = code;
  return length;
}

/// The length of the well-formed character at the start of `text`, which is not empty; 0 for none.
inline size_t Utf8Length(std::string_view text) {
  uint32_t rune;
  return GetUtf8(text, &rune);
}

inline void AppendUtf8(uint32_t rune, std::string* out) {
  char bytes[kUtf8BytesMax];
  out->append(bytes, static_cast<size_t>(PutUtf8(rune, bytes) - bytes));
}

}  // namespace varve
