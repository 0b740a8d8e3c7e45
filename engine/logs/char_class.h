#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace varve::logs {

/// What bytes mean to filters and to those who cut lines. Spec: engine/docs/format/logs-block.md,
/// "Filters".

/// Bytes of words: ASCII letters and digits, the underscore, all that is not ASCII.
enum CharClass : uint8_t { kDelimiter = 0, kLetter = 1, kDigit = 2 };
constexpr std::array<uint8_t, 256> MakeCharClasses() {
  std::array<uint8_t, 256> out{};
  for (int c = 0; c < 256; ++c) {
    if (c >= '0' && c <= '9') {
      out[c] = kDigit;
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80) {
      out[c] = kLetter;
    }
  }
  return out;
}
inline constexpr std::array<uint8_t, 256> kCharClass = MakeCharClasses();

/// What a byte means to those who cut fields.
enum FieldBits : uint8_t { kFieldEnd = 1, kNotLetter = 2 };
constexpr std::array<uint8_t, 256> MakeFieldBits() {
  std::array<uint8_t, 256> out{};
  for (size_t c = 0; c < out.size(); ++c) out[c] = kCharClass[c] == kLetter ? 0 : kNotLetter;
  for (const char c : std::string_view(" \t\"',;=:{}[]()<>|\0", 18)) {
    out[static_cast<uint8_t>(c)] |= kFieldEnd;
  }
  return out;
}
inline constexpr std::array<uint8_t, 256> kFieldBits = MakeFieldBits();
/// Tells that a byte ends a field outside of quotes.
inline bool EndsField(char c) { return (kFieldBits[static_cast<uint8_t>(c)] & kFieldEnd) != 0; }

/// What a byte says of the word that it is in. No bits: it is in none.
enum WordBits : uint8_t { kWordDigit = 1, kWordLetter = 2, kWordUpper = 4, kWordBeyondHex = 8 };
constexpr std::array<uint8_t, 256> MakeWordBits() {
  std::array<uint8_t, 256> out{};
  for (size_t c = 0; c < out.size(); ++c) {
    if (kCharClass[c] == kDigit) out[c] = kWordDigit;
    if (kCharClass[c] != kLetter) continue;
    out[c] = kWordLetter;
    if (c >= 'A' && c <= 'Z') out[c] |= kWordUpper;
    const size_t low = c | 0x20;
    if (low < 'a' || low > 'f') out[c] |= kWordBeyondHex;
  }
  return out;
}
inline constexpr std::array<uint8_t, 256> kWordBits = MakeWordBits();

}  // namespace varve::logs
