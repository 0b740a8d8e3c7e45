#include "tools/loki/json_text.h"

#include <bit>
#include <cstring>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace varve::loki {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

#ifdef __SSE2__
// A bit for each byte that is a quote, a backslash or a control character.
inline int SpecialBytes(__m128i v) {
  const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
  return _mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                                          _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')))));
}
#endif

// Returns the first of them in [at, end), or end.
template <typename Char>
Char* FindSpecial(Char* at, Char* end) {
#ifdef __SSE2__
  for (; end - at >= 16; at += 16) {
    const int special = SpecialBytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    if (special != 0) return at + std::countr_zero(static_cast<unsigned>(special));
  }
#endif
  for (; at != end; ++at) {
    if (*at == '"' || *at == '\\' || static_cast<unsigned char>(*at) < 0x20) break;
  }
  return at;
}

#ifdef __SSE2__
// Stores the first `bytes` of 16, and nothing behind them.
inline void StoreFirst(__m128i v, size_t bytes, char* to) {
  alignas(16) char all[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(all), v);
  if (bytes >= 8) {
    std::memcpy(to, all, 8);
    std::memcpy(to + bytes - 8, all + bytes - 8, 8);
  } else if (bytes >= 4) {
    std::memcpy(to, all, 4);
    std::memcpy(to + bytes - 4, all + bytes - 4, 4);
  } else {
    for (size_t i = 0; i < bytes; ++i) to[i] = all[i];
  }
}
#endif

// Moves the text from *in to the next special byte, or to the end, down to *write <= *in.
void MoveRun(char** write, char** in, char* end) {
#ifdef __SSE2__
  while (end - *in >= 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(*in));
    const int special = SpecialBytes(v);
    const size_t bytes =
        special != 0 ? static_cast<size_t>(std::countr_zero(static_cast<unsigned>(special))) : 16;
    if (*in - *write >= 16) {
      // The gap is as wide as the step: nothing that is still to be read is written over.
      _mm_storeu_si128(reinterpret_cast<__m128i*>(*write), v);
    } else {
      StoreFirst(v, bytes, *write);
    }
    *in += bytes;
    *write += bytes;
    if (special != 0) return;
  }
#endif
  char* const next = FindSpecial(*in, end);
  const auto run = static_cast<size_t>(next - *in);
  if (run > 0) std::memmove(*write, *in, run);
  *write += run;
  *in = next;
}

// Reads four hex digits; -1 if they are none.
int32_t Hex4(const char* at, const char* end) {
  if (end - at < 4) return -1;
  int32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at[i];
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') digit = c - 'A' + 10;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

constexpr uint32_t kReplacement = 0xfffd;

}  // namespace

bool JsonText::Fail(const char* what) {
  if (error_ == nullptr) {
    error_ = what;
    error_at_ = offset();
  }
  return false;
}

std::string JsonText::ErrorText() const {
  return Concat(error_ == nullptr ? "no error" : error_, " at byte ", error_at_);
}

char JsonText::Peek() {
  while (at_ != end_ && IsBlank(*at_)) ++at_;
  return at_ == end_ ? '\0' : *at_;
}

bool JsonText::Take(char c, const char* what) {
  if (Peek() != c || at_ == end_) {
    if (error_ == nullptr) {
      error_ = what;
      error_at_ = offset();
    }
    return false;
  }
  ++at_;
  return true;
}

bool JsonText::TakeIf(char c) {
  if (Peek() != c || at_ == end_) return false;
  ++at_;
  return true;
}

bool JsonText::TakeNull() {
  if (Peek() != 'n' || end_ - at_ < 4 || std::memcmp(at_, "null", 4) != 0) return false;
  at_ += 4;
  return true;
}

bool JsonText::String(std::string_view* out) {
  if (Peek() != '"' || at_ == end_) return Fail("expected a string");
  char* const begin = ++at_;
  char* in = FindSpecial(begin, end_);
  char* write = in;
  while (true) {
    if (in == end_) {
      at_ = in;
      return Fail("unterminated string");
    }
    if (*in == '"') break;
    if (*in != '\\') {
      at_ = in;
      return Fail("control character in a string");
    }
    if (end_ - in < 2) {
      at_ = in;
      return Fail("unterminated string");
    }
    const char escape = in[1];
    char* const escape_at = in;
    in += 2;
    switch (escape) {
      case '"':
      case '\\':
      case '/':
        *write++ = escape;
        break;
      case 'b':
        *write++ = '\b';
        break;
      case 'f':
        *write++ = '\f';
        break;
      case 'n':
        *write++ = '\n';
        break;
      case 'r':
        *write++ = '\r';
        break;
      case 't':
        *write++ = '\t';
        break;
      case 'u': {
        const int32_t unit = Hex4(in, end_);
        if (unit < 0) {
          at_ = escape_at;
          return Fail("invalid \\u escape");
        }
        in += 4;
        auto rune = static_cast<uint32_t>(unit);
        if (rune >= 0xd800 && rune < 0xe000) {
          // Half a pair alone is no character; Go reads it as U+FFFD, too.
          const int32_t low = rune < 0xdc00 && end_ - in >= 6 && in[0] == '\\' && in[1] == 'u'
                                  ? Hex4(in + 2, end_)
                                  : -1;
          if (low >= 0xdc00 && low < 0xe000) {
            rune = 0x10000 + ((rune - 0xd800) << 10) + (static_cast<uint32_t>(low) - 0xdc00);
            in += 6;
          } else {
            rune = kReplacement;
          }
        }
        write = PutUtf8(rune, write);
        break;
      }
      default:
        at_ = escape_at;
        return Fail("invalid escape in a string");
    }
    MoveRun(&write, &in, end_);
  }
  at_ = in + 1;
  *out = std::string_view(begin, static_cast<size_t>(write - begin));
  return true;
}

bool JsonText::Number(std::string_view* out) {
  Peek();
  char* const begin = at_;
  const auto digits = [&] {
    char* const from = at_;
    while (at_ != end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ != from;
  };
  if (at_ != end_ && *at_ == '-') ++at_;
  if (at_ != end_ && *at_ == '0') {
    ++at_;
  } else if (!digits()) {
    return Fail("expected a number");
  }
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    if (!digits()) return Fail("malformed number");
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    if (!digits()) return Fail("malformed number");
  }
  *out = std::string_view(begin, static_cast<size_t>(at_ - begin));
  return true;
}

bool JsonText::SkipString() {
  ++at_;
  while (true) {
    at_ = FindSpecial(at_, end_);
    if (at_ == end_ || (*at_ == '\\' && end_ - at_ < 2)) return Fail("unterminated string");
    if (*at_ == '"') break;
    if (*at_ != '\\') return Fail("control character in a string");
    switch (at_[1]) {
      case '"':
      case '\\':
      case '/':
      case 'b':
      case 'f':
      case 'n':
      case 'r':
      case 't':
        at_ += 2;
        break;
      case 'u':
        if (Hex4(at_ + 2, end_) < 0) return Fail("invalid \\u escape");
        at_ += 6;
        break;
      default:
        return Fail("invalid escape in a string");
    }
  }
  ++at_;
  return true;
}

bool JsonText::Skip(std::string_view* raw) {
  Peek();
  const char* const begin = at_;
  // A bit for each open level: 1 an object.
  uint64_t levels[kDepthMax / 64] = {};
  size_t depth = 0;
  const auto in_object = [&] { return (levels[(depth - 1) / 64] >> ((depth - 1) % 64) & 1) != 0; };
  bool key = false;  // a member's key comes next
  while (true) {
    const char c = Peek();
    if (key) {
      if (c != '"') return Fail("expected a member name");
      if (!SkipString() || !Take(':', "expected \":\"")) return false;
      key = false;
      continue;
    }
    bool closed = false;  // a value is complete
    std::string_view number;
    switch (c) {
      case '{':
      case '[':
        if (depth == kDepthMax) return Fail("nested more than 512 deep");
        ++at_;
        ++depth;
        if (c == '{') {
          levels[(depth - 1) / 64] |= uint64_t{1} << ((depth - 1) % 64);
        } else {
          levels[(depth - 1) / 64] &= ~(uint64_t{1} << ((depth - 1) % 64));
        }
        if (Peek() == (c == '{' ? '}' : ']')) {
          ++at_;
          --depth;
          closed = true;
        } else {
          key = c == '{';
        }
        break;
      case '"':
        if (!SkipString()) return false;
        closed = true;
        break;
      case 't':
      case 'f':
      case 'n': {
        const std::string_view word = c == 't' ? "true" : c == 'f' ? "false" : "null";
        if (static_cast<size_t>(end_ - at_) < word.size() ||
            std::memcmp(at_, word.data(), word.size()) != 0) {
          return Fail("unknown literal");
        }
        at_ += word.size();
        closed = true;
        break;
      }
      default:
        if (at_ == end_) return Fail("unexpected end");
        if (c != '-' && (c < '0' || c > '9')) return Fail("expected a value");
        if (!Number(&number)) return false;
        closed = true;
    }
    while (closed) {
      if (depth == 0) {
        if (raw != nullptr) *raw = std::string_view(begin, static_cast<size_t>(at_ - begin));
        return true;
      }
      const char next = Peek();
      if (next == ',') {
        ++at_;
        key = in_object();
        closed = false;
      } else if (next == (in_object() ? '}' : ']') && at_ != end_) {
        ++at_;
        --depth;
      } else {
        return Fail(in_object() ? "expected \",\" or \"}\"" : "expected \",\" or \"]\"");
      }
    }
  }
}

bool JsonList::Next() {
  if (!good_ || !json_->ok()) return false;
  if (first_) {
    first_ = false;
    if (json_->TakeIf(close_)) {
      good_ = false;
      return false;
    }
    return true;
  }
  if (json_->TakeIf(',')) return true;
  good_ = false;
  json_->Take(close_, close_ == '}' ? "expected \",\" or \"}\"" : "expected \",\" or \"]\"");
  return false;
}

}  // namespace varve::loki
