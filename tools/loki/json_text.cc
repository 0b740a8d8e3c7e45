#include "tools/loki/json_text.h"

#include <cstring>

#include "engine/base/strings.h"

namespace varve::loki {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Reads eight decimal digits in one word, the first one in its lowest byte; false if they are none.
bool EightDigits(const char* at, uint64_t* value) {
  uint64_t text = 0;
  std::memcpy(&text, at, sizeof text);
  // The upper half of each byte is 3, and stays it where 6 is added to the lower half.
  constexpr uint64_t kUpper = 0xf0f0'f0f0'f0f0'f0f0;
  constexpr uint64_t kThrees = 0x3030'3030'3030'3030;
  if ((text & kUpper) != kThrees || ((text + 0x0606'0606'0606'0606) & kUpper) != kThrees) {
    return false;
  }
  text &= ~kUpper;
  // Neighbours are put together: to pairs, to four digits, to all.
  text = (text * 10 + (text >> 8)) & 0x00ff'00ff'00ff'00ff;
  text = (text * 100 + (text >> 16)) & 0x0000'ffff'0000'ffff;
  *value = (text * 10'000 + (text >> 32)) & 0xffff'ffff;
  return true;
}

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

void JsonText::SkipBlanks() {
  while (at_ != end_ && IsBlank(*at_)) ++at_;
}

bool JsonText::TakeNull() {
  if (Peek() != 'n' || end_ - at_ < 4 || std::memcmp(at_, "null", 4) != 0) return false;
  at_ += 4;
  return true;
}

bool JsonText::String(std::string_view* out) {
  if (Peek() != '"' || at_ == end_) return Fail("expected a string");
  char* const begin = ++at_;
  at_ = kernels_.find_special(begin, end_);
  char* write = at_;
  if (at_ != end_ && *at_ == '\\') kernels_.unescape(&at_, &write, end_);
  if (at_ == end_ || (*at_ == '\\' && end_ - at_ < 2)) return Fail("unterminated string");
  if (*at_ != '"') {
    if (*at_ != '\\') return Fail("control character in a string");
    return Fail(at_[1] == 'u' ? "invalid \\u escape" : "invalid escape in a string");
  }
  ++at_;
  *out = std::string_view(begin, static_cast<size_t>(write - begin));
  return true;
}

bool JsonText::TakeNanoseconds(int64_t* value) {
  // The largest value that fits begins with 9.
  constexpr ptrdiff_t kDigits = 19;
  if (Peek() != '"' || end_ - at_ < kDigits + 2 || at_[kDigits + 1] != '"' || at_[1] == '9') {
    return false;
  }
  uint64_t first = 0;
  uint64_t second = 0;
  if (!EightDigits(at_ + 1, &first) || !EightDigits(at_ + 9, &second)) return false;
  uint64_t out = first * 100'000'000 + second;
  for (int i = 17; i <= kDigits; ++i) {
    const auto digit = static_cast<unsigned>(at_[i] - '0');
    if (digit > 9) return false;
    out = out * 10 + digit;
  }
  *value = static_cast<int64_t>(out);
  at_ += kDigits + 2;
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
    at_ = kernels_.find_special(at_, end_);
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
        if (ReadHex4(at_ + 2, end_) < 0) return Fail("invalid \\u escape");
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
