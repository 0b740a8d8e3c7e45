#include "engine/base/strings.h"

#include <cstdio>
#include <cstring>

#include "engine/base/hash.h"

namespace varve {
namespace {

/// Decodes one rune at `text[at]`. Returns its length, or 0 if the bytes are not UTF-8.
int DecodeRune(std::string_view text, size_t at, uint32_t* rune) {
  const auto byte = [&](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint32_t first = byte(at);
  if (first < 0x80) {
    *rune = first;
    return 1;
  }
  if (first >= 0xc2 && first < 0xe0 && continues(at + 1)) {
    *rune = (first & 0x1f) << 6 | (byte(at + 1) & 0x3f);
    return 2;
  }
  if (first >= 0xe0 && first < 0xf0 && continues(at + 1) && continues(at + 2)) {
    *rune = (first & 0x0f) << 12 | (byte(at + 1) & 0x3f) << 6 | (byte(at + 2) & 0x3f);
    return *rune >= 0x800 && (*rune < 0xd800 || *rune > 0xdfff) ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5 && continues(at + 1) && continues(at + 2) &&
      continues(at + 3)) {
    *rune = (first & 0x07) << 18 | (byte(at + 1) & 0x3f) << 12 | (byte(at + 2) & 0x3f) << 6 |
            (byte(at + 3) & 0x3f);
    return *rune >= 0x10000 && *rune <= 0x10ffff ? 4 : 0;
  }
  return 0;
}

/// Tells control characters and the few invisible runes that Go escapes and that occur in practice.
bool Prints(uint32_t rune) {
  if (rune < 0x20 || (rune >= 0x7f && rune < 0xa1) || rune == 0xad) return false;
  if (rune >= 0x2000 && rune <= 0x200f) return false;
  if (rune >= 0x2028 && rune <= 0x202f) return false;
  if (rune >= 0x205f && rune <= 0x206f) return false;
  if (rune == 0x1680 || rune == 0x3000 || rune == 0xfeff) return false;
  if (rune >= 0xe000 && rune <= 0xf8ff) return false;
  return rune < 0xfff0 || rune == 0xfffc || rune == 0xfffd || (rune >= 0x10000 && rune < 0xe0000);
}

}  // namespace

size_t StringHash::operator()(std::string_view text) const { return Hash64(text); }

std::string GoQuote(std::string_view text) {
  std::string out = "\"";
  char buffer[16];
  for (size_t at = 0; at < text.size();) {
    uint32_t rune = 0;
    const int length = DecodeRune(text, at, &rune);
    if (length == 0) {
      std::snprintf(buffer, sizeof buffer, "\\x%02x", static_cast<unsigned char>(text[at]));
      out += buffer;
      ++at;
      continue;
    }
    switch (rune) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\a':
        out += "\\a";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\v':
        out += "\\v";
        break;
      default:
        if (Prints(rune)) {
          out.append(text.substr(at, length));
        } else {
          const char* form = rune < 0x20 || rune == 0x7f ? "\\x%02x"
                             : rune < 0x10000            ? "\\u%04x"
                                                         : "\\U%08x";
          std::snprintf(buffer, sizeof buffer, form, rune);
          out += buffer;
        }
    }
    at += length;
  }
  out += '"';
  return out;
}

bool IsValidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    // Nearly all text is ASCII: eight bytes at a time, then one.
    if (text.size() - at >= 8) {
      uint64_t word;
      std::memcpy(&word, text.data() + at, 8);
      if ((word & 0x8080808080808080) == 0) {
        at += 8;
        continue;
      }
    }
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    uint32_t rune = 0;
    const int length = DecodeRune(text, at, &rune);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

}  // namespace varve
