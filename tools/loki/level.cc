#include "tools/loki/level.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace varve::loki {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         (static_cast<unsigned char>(c) & 0x80) != 0;
}
bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Compares with a lower-case word.
bool EqualsLower(std::string_view text, std::string_view word) {
  return text.size() == word.size() && std::equal(text.begin(), text.end(), word.begin(),
                                                  [](char a, char b) { return Lower(a) == b; });
}

constexpr std::array<std::string_view, 14> kLevelNames = {
    "level",    "LEVEL",         "Level",         "log.level",    "severity",
    "SEVERITY", "Severity",      "SeverityText",  "lvl",          "LVL",
    "Lvl",      "severity_text", "Severity_Text", "SEVERITY_TEXT"};

// The words that are levels.
struct Word {
  std::string_view text;
  std::string_view level;
};
constexpr Word kWords[] = {
    {"trace", kLevelTrace},       {"trc", kLevelTrace},   {"debug", kLevelDebug},
    {"dbg", kLevelDebug},         {"info", kLevelInfo},   {"information", kLevelInfo},
    {"inf", kLevelInfo},          {"warn", kLevelWarn},   {"warning", kLevelWarn},
    {"wrn", kLevelWarn},          {"error", kLevelError}, {"err", kLevelError},
    {"critical", kLevelCritical}, {"fatal", kLevelFatal},
};

// The first two letters of all words above, with 0x20 set.
bool BeginsWord(char first, char second) {
  second = static_cast<char>(second | 0x20);
  switch (first | 0x20) {
    case 't':
    case 'e':
    case 'c':
      return second == 'r';
    case 'i':
      return second == 'n';
    case 'd':
      return second == 'e' || second == 'b';
    case 'w':
      return second == 'a' || second == 'r';
    case 'f':
      return second == 'a';
    default:
      return false;
  }
}

// Calls `visit(i)` for each position at which one of the words above may begin, in order, until it
// returns true: its first two letters are those of a word and no word byte stands before it.
template <typename Visit>
void ForEachWordStart(std::string_view text, Visit visit) {
  if (text.size() < 3) return;
  const auto check = [&](size_t i) {
    return i + 3 <= text.size() && (i == 0 || !IsWordByte(text[i - 1])) && visit(i);
  };
  if (BeginsWord(text[0], text[1]) && check(0)) return;
  size_t i = 1;
#ifdef __SSE2__
  const auto load = [&](size_t at) {
    return _mm_or_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at)),
                        _mm_set1_epi8(0x20));
  };
  const auto is = [](__m128i v, char c) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(c)); };
  for (; i + 17 <= text.size(); i += 16) {
    const __m128i first = load(i);
    const __m128i second = load(i + 1);
    const __m128i w = is(first, 'w');
    __m128i found = _mm_and_si128(
        _mm_or_si128(_mm_or_si128(is(first, 't'), is(first, 'e')), _mm_or_si128(is(first, 'c'), w)),
        is(second, 'r'));
    found = _mm_or_si128(found, _mm_and_si128(is(first, 'i'), is(second, 'n')));
    found = _mm_or_si128(
        found, _mm_and_si128(is(first, 'd'), _mm_or_si128(is(second, 'e'), is(second, 'b'))));
    found = _mm_or_si128(found, _mm_and_si128(_mm_or_si128(w, is(first, 'f')), is(second, 'a')));
    // Not where a letter stands before: x - 'a' <= 25 without sign.
    const __m128i before = _mm_sub_epi8(load(i - 1), _mm_set1_epi8('a'));
    const __m128i letter = _mm_cmpeq_epi8(_mm_min_epu8(before, _mm_set1_epi8(25)), before);
    auto mask = static_cast<uint32_t>(_mm_movemask_epi8(_mm_andnot_si128(letter, found)));
    for (; mask != 0; mask &= mask - 1) {
      if (check(i + static_cast<size_t>(std::countr_zero(mask)))) return;
    }
  }
#endif
  for (; i + 3 <= text.size(); ++i) {
    if (BeginsWord(text[i], text[i + 1]) && check(i)) return;
  }
}

std::string_view KeywordLevel(std::string_view line) {
  std::string_view found = kLevelUnknown;
  ForEachWordStart(line, [&](size_t begin) {
    size_t end = begin + 1;
    while (end < line.size() && end - begin <= 11 && IsWordByte(line[end])) ++end;
    const std::string_view word = line.substr(begin, end - begin);
    for (const Word& known : kWords) {
      if (!EqualsLower(word, known.text)) continue;
      // "+Inf" is a number; consoles write INF.
      if (known.text == "inf" && word != "INF") return false;
      found = known.level;
      return true;
    }
    return false;
  });
  return found;
}

// Calls `visit(i)` for each position of `mark` after a letter that may end a level name (l, y, t),
// in order, until it returns true.
template <typename Visit>
void ForEachNameEnd(std::string_view text, char mark, Visit visit) {
  size_t i = 1;
#ifdef __SSE2__
  const auto load = [&](size_t at) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + at));
  };
  for (; i + 16 <= text.size(); i += 16) {
    const __m128i at = _mm_cmpeq_epi8(load(i), _mm_set1_epi8(mark));
    const __m128i before = _mm_or_si128(load(i - 1), _mm_set1_epi8(0x20));
    const __m128i last = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(before, _mm_set1_epi8('l')),
                                                   _mm_cmpeq_epi8(before, _mm_set1_epi8('y'))),
                                      _mm_cmpeq_epi8(before, _mm_set1_epi8('t')));
    auto mask = static_cast<uint32_t>(_mm_movemask_epi8(_mm_and_si128(at, last)));
    for (; mask != 0; mask &= mask - 1) {
      if (visit(i + static_cast<size_t>(std::countr_zero(mask)))) return;
    }
  }
#endif
  for (; i < text.size(); ++i) {
    const char last = static_cast<char>(text[i - 1] | 0x20);
    if (text[i] == mark && (last == 'l' || last == 'y' || last == 't') && visit(i)) return;
  }
}

// Tests whether a level name stands right before `end`, after one of `before` or the beginning.
bool NameEndsAt(std::string_view text, size_t end, bool (*before)(char)) {
  for (const std::string_view name : kLevelNames) {
    if (end < name.size() || text[end - 1] != name.back()) continue;
    const size_t begin = end - name.size();
    // One more byte tells most others, without a call.
    if (text[begin] != name.front() || text.substr(begin, name.size()) != name) continue;
    if (end == name.size() || before(text[end - name.size() - 1])) return true;
  }
  return false;
}

// --- JSON: a walk that trusts nothing and keeps only what is needed ---

// Skips a string whose opening quote is before `at`; returns the position after the closing quote.
size_t SkipJsonString(std::string_view text, size_t at) {
  while (at < text.size()) {
    const char* const quote =
        static_cast<const char*>(std::memchr(text.data() + at, '"', text.size() - at));
    if (quote == nullptr) return text.size();
    const size_t end = static_cast<size_t>(quote - text.data());
    size_t slashes = 0;
    while (end - slashes > at && text[end - slashes - 1] == '\\') ++slashes;
    at = end + 1;
    if (slashes % 2 == 0) return at;
  }
  return text.size();
}

// Finds the first string member with a level name in an object of at most two levels.
std::string_view JsonLevelValue(std::string_view text) {
  constexpr size_t kDepthMax = 2;
  size_t depth = 0;      // of braces and brackets together
  uint64_t objects = 0;  // bit per depth, lowest the innermost: an object, not an array
  size_t arrays = 0;     // open arrays: fields inside do not count
  bool key = false;      // the next string is a key
  for (size_t i = 0; i < text.size();) {
    switch (text[i]) {
      case '{':
        ++depth;
        if (depth > 64) return {};
        objects = objects << 1 | 1;
        key = true;
        ++i;
        break;
      case '[':
        ++depth;
        if (depth > 64) return {};
        objects <<= 1;
        ++arrays;
        key = false;
        ++i;
        break;
      case '}':
      case ']':
        if (depth == 0) return {};
        if ((objects & 1) == 0) --arrays;
        objects >>= 1;
        --depth;
        key = false;
        ++i;
        break;
      case ',':
        key = (objects & 1) != 0;
        ++i;
        break;
      case '"': {
        const size_t begin = i + 1;
        i = SkipJsonString(text, begin);
        if (!key || arrays > 0 || depth > kDepthMax || i <= begin) break;
        const std::string_view name = text.substr(begin, i - 1 - begin);
        if (!IsLevelName(name)) break;
        size_t at = i;
        while (at < text.size() && IsSpace(text[at])) ++at;
        if (at == text.size() || text[at] != ':') break;
        ++at;
        while (at < text.size() && IsSpace(text[at])) ++at;
        if (at == text.size() || text[at] != '"') break;
        const size_t end = SkipJsonString(text, at + 1);
        if (end <= at + 1) return {};
        return text.substr(at + 1, end - 1 - (at + 1));
      }
      case ':':
        key = false;
        ++i;
        break;
      default:
        ++i;
    }
  }
  return {};
}

bool LooksLikeJson(std::string_view line) {
  size_t begin = 0;
  while (begin < line.size() && IsSpace(line[begin])) ++begin;
  size_t end = line.size();
  while (end > begin && IsSpace(line[end - 1])) --end;
  return end > begin + 1 && line[begin] == '{' && line[end - 1] == '}';
}

std::string_view JsonLevel(std::string_view line) {
  bool candidate = false;
  ForEachNameEnd(line, '"', [&](size_t end) {
    candidate = NameEndsAt(line, end, [](char c) { return c == '"'; });
    return candidate;
  });
  // Only a line in which such a key may be is worth a walk.
  return candidate ? JsonLevelValue(line) : std::string_view();
}

// --- logfmt ---

// Returns the value of the first pair with a level name, quotes removed.
std::string_view LogfmtLevel(std::string_view line) {
  bool candidate = false;
  ForEachNameEnd(line, '=', [&](size_t end) {
    candidate = NameEndsAt(line, end, [](char c) { return static_cast<unsigned char>(c) <= ' '; });
    return candidate;
  });
  if (!candidate) return {};
  // Quoted values may hold what looks like pairs, so the line is read from its beginning.
  for (size_t i = 0; i < line.size();) {
    while (i < line.size() && static_cast<unsigned char>(line[i]) <= ' ') ++i;
    const size_t begin = i;
    while (i < line.size() && static_cast<unsigned char>(line[i]) > ' ' && line[i] != '=') ++i;
    if (i >= line.size() || line[i] != '=') continue;
    const std::string_view name = line.substr(begin, i - begin);
    ++i;
    std::string_view value;
    if (i < line.size() && line[i] == '"') {
      const size_t end = SkipJsonString(line, i + 1);
      value = line.substr(i + 1, end > i + 1 ? end - 1 - (i + 1) : 0);
      i = end;
    } else {
      const size_t from = i;
      while (i < line.size() && static_cast<unsigned char>(line[i]) > ' ') ++i;
      value = line.substr(from, i - from);
    }
    if (IsLevelName(name)) return value;
  }
  return {};
}

}  // namespace

std::string_view NormalizeLevel(std::string_view word) {
  if (word.size() < 3 || word.size() > 11) return {};
  for (const Word& known : kWords) {
    if (EqualsLower(word, known.text)) return known.level;
  }
  return {};
}

std::string_view LevelOfSeverityNumber(std::string_view number) {
  int value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  if (error != std::errc() || end != number.data() + number.size()) return kLevelInfo;
  if (value == 0) return kLevelUnknown;
  if (value <= 4) return kLevelTrace;
  if (value <= 8) return kLevelDebug;
  if (value <= 12) return kLevelInfo;
  if (value <= 16) return kLevelWarn;
  if (value <= 20) return kLevelError;
  if (value <= 24) return kLevelFatal;
  return kLevelUnknown;
}

bool IsLevelName(std::string_view name) {
  if (name.size() < 3 || name.size() > 13) return false;
  return std::find(kLevelNames.begin(), kLevelNames.end(), name) != kLevelNames.end();
}

std::string_view LevelOfLabels(LabelsView labels) {
  for (const std::string_view name : kLevelNames) {
    for (const LabelView& label : labels) {
      if (label.name != name) continue;
      const std::string_view known = NormalizeLevel(label.value);
      return known.empty() ? label.value : known;
    }
  }
  return {};
}

std::string_view DetectLevel(std::string_view line) {
  std::string_view value;
  if (LooksLikeJson(line)) {
    value = JsonLevel(line);
  } else {
    value = LogfmtLevel(line);
  }
  const std::string_view level = NormalizeLevel(value);
  return level.empty() ? KeywordLevel(line) : level;
}

}  // namespace varve::loki
