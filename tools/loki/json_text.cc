#include "tools/loki/json_text.h"

#include <cstring>

#include "engine/base/strings.h"

namespace varve::loki {
namespace {

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

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
