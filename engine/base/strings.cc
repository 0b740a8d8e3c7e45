#include "engine/base/strings.h"

#include <cstdio>
#include <cstring>

#include "engine/base/seeded_hash.h"
#include "engine/base/utf8.h"

namespace varve {
namespace {

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

size_t StringHash::operator()(std::string_view text) const { return SeededHash64(text); }

std::string GoQuote(std::string_view text) {
  std::string out = "\"";
  char buffer[16];
  for (size_t at = 0; at < text.size();) {
    uint32_t rune = 0;
    const size_t length = GetUtf8(text.substr(at), &rune);
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
    const size_t length = Utf8Length(text.substr(at));
    if (length == 0) return false;
    at += length;
  }
  return true;
}

}  // namespace varve
