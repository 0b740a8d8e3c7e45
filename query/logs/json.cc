#include "query/logs/json.h"

#include <emmintrin.h>

#include <bit>
#include <cstring>

#include "engine/base/utf8.h"

namespace varve::query {
namespace {

bool IsSpace(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

size_t SkipSpace(std::string_view text, size_t at) {
  while (at < text.size() && IsSpace(text[at])) ++at;
  return at;
}

/// Finds the first quote or backslash from `at` on; size() if there is none.
size_t FindQuoteOrBackslash(std::string_view text, size_t at) {
  const __m128i quote = _mm_set1_epi8('"');
  const __m128i backslash = _mm_set1_epi8('\\');
  while (at + 16 <= text.size()) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
    const int mask = _mm_movemask_epi8(
        _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
    if (mask != 0) return at + static_cast<size_t>(std::countr_zero(static_cast<unsigned>(mask)));
    at += 16;
  }
  while (at < text.size() && text[at] != '"' && text[at] != '\\') ++at;
  return at;
}

/// Finds the quote that ends the string whose content starts at `at`; npos if there is none.
size_t FindStringEnd(std::string_view text, size_t at) {
  for (;;) {
    at = FindQuoteOrBackslash(text, at);
    if (at >= text.size()) return std::string_view::npos;
    if (text[at] == '"') return at;
    at += 2;
    if (at > text.size()) return std::string_view::npos;
  }
}

/// Finds the byte behind the bracket that closes the one at `at`; npos if there is none.
size_t FindBlockEnd(std::string_view text, size_t at, char open, char close) {
  const __m128i opens = _mm_set1_epi8(open);
  const __m128i closes = _mm_set1_epi8(close);
  const __m128i quotes = _mm_set1_epi8('"');
  size_t depth = 0;
  while (at < text.size()) {
    if (at + 16 <= text.size()) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
      const int mask = _mm_movemask_epi8(
          _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, opens), _mm_cmpeq_epi8(bytes, closes)),
                       _mm_cmpeq_epi8(bytes, quotes)));
      if (mask == 0) {
        at += 16;
        continue;
      }
      at += static_cast<size_t>(std::countr_zero(static_cast<unsigned>(mask)));
    }
    const char c = text[at++];
    if (c == '"') {
      const size_t end = FindStringEnd(text, at);
      if (end == std::string_view::npos) return end;
      at = end + 1;
    } else if (c == open) {
      ++depth;
    } else if (c == close && --depth == 0) {
      return at;
    }
  }
  return std::string_view::npos;
}

bool EndsToken(char c) { return IsSpace(c) || c == ',' || c == '}' || c == ']'; }

bool ReadHex4(std::string_view text, size_t at, uint32_t* code) {
  if (at + 4 > text.size()) return false;
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    const char c = text[at + i];
    uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<uint32_t>(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<uint32_t>(c - 'A') + 10;
    } else {
      return false;
    }
    value = value << 4 | digit;
  }
  *code = value;
  return true;
}

bool IsAscii(std::string_view text) {
  size_t at = 0;
  uint64_t seen = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    seen |= word;
  }
  for (; at < text.size(); ++at) seen |= static_cast<unsigned char>(text[at]);
  return (seen & 0x8080808080808080u) == 0;
}

}  // namespace

std::string_view ToString(JsonFault fault) {
  switch (fault) {
    case JsonFault::kNone:
      return "";
    case JsonFault::kMalformed:
      return "Malformed JSON error";
    case JsonFault::kObject:
      return "Value looks like object, but can't find closing '}' symbol";
    case JsonFault::kArray:
      return "Value looks like array, but can't find closing ']' symbol";
    case JsonFault::kString:
      return "Value looks like string, but can't find closing '\"' symbol";
    case JsonFault::kValue:
      return "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
    case JsonFault::kUnknownType:
      return "Unknown value type";
    case JsonFault::kEscape:
      return "Encountered an invalid escape sequence in a string";
    case JsonFault::kDepth:
      return "Value is nested too deeply";
  }
  return "";
}

bool ReadJsonValue(std::string_view text, size_t* at, JsonValue* value, JsonFault* fault) {
  const auto fail = [&](JsonFault why) {
    *fault = why;
    return false;
  };
  const size_t begin = SkipSpace(text, *at);
  if (begin >= text.size()) return fail(JsonFault::kMalformed);
  switch (text[begin]) {
    case '"': {
      const size_t end = FindStringEnd(text, begin + 1);
      if (end == std::string_view::npos) return fail(JsonFault::kString);
      *value = {JsonType::kString, text.substr(begin + 1, end - begin - 1)};
      *at = end + 1;
      return true;
    }
    case '{':
    case '[': {
      const bool object = text[begin] == '{';
      const size_t end = FindBlockEnd(text, begin, text[begin], object ? '}' : ']');
      if (end == std::string_view::npos)
        return fail(object ? JsonFault::kObject : JsonFault::kArray);
      *value = {object ? JsonType::kObject : JsonType::kArray, text.substr(begin, end - begin)};
      *at = end;
      return true;
    }
    default:
      break;
  }
  size_t end = begin;
  while (end < text.size() && !EndsToken(text[end])) ++end;
  const std::string_view token = text.substr(begin, end - begin);
  *at = end;
  if (token.empty()) return fail(JsonFault::kUnknownType);
  const char first = token[0];
  if (first == '-' || (first >= '0' && first <= '9')) {
    *value = {JsonType::kNumber, token};
  } else if (token == "true" || token == "false") {
    *value = {JsonType::kBoolean, token};
  } else if (token == "null") {
    *value = {JsonType::kNull, token};
  } else {
    return fail(JsonFault::kUnknownType);
  }
  return true;
}

bool JsonObjectReader::Open() {
  at_ = SkipSpace(text_, 0);
  if (at_ >= text_.size() || text_[at_] != '{') return Fail(JsonFault::kObject);
  ++at_;
  return true;
}

bool JsonObjectReader::Next(std::string_view* key, JsonValue* value) {
  at_ = SkipSpace(text_, at_);
  if (at_ >= text_.size()) return Fail(first_ ? JsonFault::kMalformed : JsonFault::kArray);
  if (!first_) {
    if (text_[at_] == '}') {
      ++at_;
      return false;
    }
    if (text_[at_] != ',') return Fail(JsonFault::kObject);
    at_ = SkipSpace(text_, at_ + 1);
    if (at_ >= text_.size()) return Fail(JsonFault::kArray);
  }
  first_ = false;
  if (text_[at_] == '}') {
    ++at_;
    return false;
  }
  if (text_[at_] != '"') return Fail(JsonFault::kObject);
  const size_t end = FindStringEnd(text_, at_ + 1);
  if (end == std::string_view::npos) return Fail(JsonFault::kMalformed);
  *key = text_.substr(at_ + 1, end - at_ - 1);
  at_ = SkipSpace(text_, end + 1);
  if (at_ >= text_.size() || text_[at_] != ':') return Fail(JsonFault::kMalformed);
  ++at_;
  return ReadJsonValue(text_, &at_, value, &fault_);
}

bool JsonArrayReader::Open() {
  at_ = SkipSpace(text_, 0);
  if (at_ >= text_.size() || text_[at_] != '[') return Fail(JsonFault::kArray);
  ++at_;
  return true;
}

bool JsonArrayReader::Next(JsonValue* value) {
  at_ = SkipSpace(text_, at_);
  if (at_ >= text_.size()) return Fail(JsonFault::kArray);
  if (text_[at_] == ']') return false;
  if (!first_) {
    if (text_[at_] != ',') return Fail(JsonFault::kArray);
    ++at_;
  }
  first_ = false;
  return ReadJsonValue(text_, &at_, value, &fault_);
}

bool UnescapeJson(std::string_view text, EntryArena& arena, std::string_view* out) {
  const size_t first = text.find('\\');
  if (first == std::string_view::npos) {
    *out = text;
    return true;
  }
  // An escape is never shorter than what it stands for.
  char* const begin = arena.Allocate(text.size());
  char* to = begin;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      *to++ = text[at++];
      continue;
    }
    if (at + 1 >= text.size()) return false;
    const char kind = text[at + 1];
    at += 2;
    switch (kind) {
      case '"':
      case '\\':
      case '/':
        *to++ = kind;
        break;
      case 'b':
        *to++ = '\b';
        break;
      case 'f':
        *to++ = '\f';
        break;
      case 'n':
        *to++ = '\n';
        break;
      case 'r':
        *to++ = '\r';
        break;
      case 't':
        *to++ = '\t';
        break;
      case 'u': {
        uint32_t code = 0;
        if (!ReadHex4(text, at, &code)) return false;
        at += 4;
        if (code >= 0xd800 && code <= 0xdfff) {
          uint32_t low = 0;
          if (code >= 0xdc00 || at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u' ||
              !ReadHex4(text, at + 2, &low) || low < 0xdc00 || low > 0xdfff) {
            return false;
          }
          code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
          at += 6;
        }
        to = PutUtf8(code, to);
        break;
      }
      default:
        return false;
    }
  }
  *out = {begin, static_cast<size_t>(to - begin)};
  return true;
}

std::string_view DropInvalidUtf8(std::string_view text, EntryArena& arena) {
  if (IsAscii(text)) return text;
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  // Finds the first byte that must go, to spare the copy where there is none.
  size_t at = 0;
  const auto bad_at = [&](size_t i, size_t* length) {
    *length = Utf8Length(text.substr(i));
    if (*length == 0) {
      *length = 1;
      return true;
    }
    return text.substr(i, 3) == kReplacement;
  };
  size_t length = 0;
  while (at < text.size() && !bad_at(at, &length)) at += length;
  if (at >= text.size()) return text;
  char* const begin = arena.Allocate(text.size());
  std::memcpy(begin, text.data(), at);
  char* to = begin + at;
  while (at < text.size()) {
    if (!bad_at(at, &length)) {
      std::memcpy(to, text.data() + at, length);
      to += length;
    }
    at += length;
  }
  return {begin, static_cast<size_t>(to - begin)};
}

std::string_view JsonLabelValue(const JsonValue& value, EntryArena& arena) {
  switch (value.type) {
    case JsonType::kNull:
      return "";
    case JsonType::kString: {
      std::string_view out;
      if (!UnescapeJson(value.text, arena, &out)) return "";
      return DropInvalidUtf8(out, arena);
    }
    default:
      return value.text;
  }
}

}  // namespace varve::query
