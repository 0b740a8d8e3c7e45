#include "tools/loki/level.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "engine/base/avx2.h"

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

// Returns the level of the word at `begin`, empty if it is none.
std::string_view LevelOfWordAt(std::string_view line, size_t begin) {
  const std::string_view rest = line.substr(begin);
  for (const Word& known : kWords) {
    const size_t size = known.text.size();
    if (Lower(rest[0]) != known.text[0] || rest.size() < size) continue;
    if (!EqualsLower(rest.substr(0, size), known.text)) continue;
    if (rest.size() > size && IsWordByte(rest[size])) continue;
    // "+Inf" is a number; consoles write INF.
    if (known.text == "inf" && !rest.starts_with("INF")) return {};
    return known.level;
  }
  return {};
}

std::string_view KeywordLevel(std::string_view line) {
  std::string_view found = kLevelUnknown;
  ForEachWordStart(line, [&](size_t begin) {
    const std::string_view level = LevelOfWordAt(line, begin);
    if (level.empty()) return false;
    found = level;
    return true;
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

// What stands before a level name: the quote of a key in JSON, a space in logfmt.
bool IsQuote(char c) { return c == '"'; }
bool IsBlank(char c) { return static_cast<unsigned char>(c) <= ' '; }

// --- logfmt ---

// Reads the value of a pair from behind its "=", quotes removed, and moves `at` behind it.
std::string_view LogfmtValue(std::string_view line, size_t* at) {
  const size_t begin = *at;
  if (begin < line.size() && line[begin] == '"') {
    *at = SkipJsonString(line, begin + 1);
    return line.substr(begin + 1, *at > begin + 1 ? *at - 1 - (begin + 1) : 0);
  }
  while (*at < line.size() && !IsBlank(line[*at])) ++*at;
  return line.substr(begin, *at - begin);
}

// Returns the value of the first pair with a level name.
std::string_view LogfmtLevelValue(std::string_view line) {
  for (size_t i = 0; i < line.size();) {
    while (i < line.size() && IsBlank(line[i])) ++i;
    const size_t begin = i;
    while (i < line.size() && !IsBlank(line[i]) && line[i] != '=') ++i;
    if (i >= line.size() || line[i] != '=') continue;
    const std::string_view name = line.substr(begin, i - begin);
    ++i;
    const std::string_view value = LogfmtValue(line, &i);
    if (IsLevelName(name)) return value;
  }
  return {};
}

// Returns the level that a field of a line gives, empty if it gives none that is known. `end` is
// where the first level name ends that may be one of a field.
std::string_view FieldLevel(std::string_view line, bool json, size_t end) {
  if (json) return NormalizeLevel(JsonLevelValue(line));
  // Quoted values may hold what looks like pairs: only without quotes before it is the name that
  // of a pair for sure, and the line need not be read from its beginning.
  if (line.substr(0, end).find('"') != std::string_view::npos) {
    return NormalizeLevel(LogfmtLevelValue(line));
  }
  size_t at = end + 1;
  return NormalizeLevel(LogfmtValue(line, &at));
}

// --- The whole ---

std::string_view DetectLevelBaseline(std::string_view line) {
  const bool json = LooksLikeJson(line);
  size_t name_end = 0;
  ForEachNameEnd(line, json ? '"' : '=', [&](size_t end) {
    if (!NameEndsAt(line, end, json ? IsQuote : IsBlank)) return false;
    name_end = end;
    return true;
  });
  // Only a line in which such a name may be is worth a walk.
  const std::string_view level =
      name_end > 0 ? FieldLevel(line, json, name_end) : std::string_view();
  return level.empty() ? KeywordLevel(line) : level;
}

#ifdef VARVE_AVX2
// Three letters of either case: all but a few of those that begin a word which is a level, or end a
// name under which one is given, told by six look-ups for 32 places at once. A bit of eight stands
// for a group of such letters; it is kept in each table at the nibbles which its letters have.
struct LetterTables {
  // For each of the three letters, by the low and the high half of a byte.
  std::array<std::array<uint8_t, 16>, 3> low{};
  std::array<std::array<uint8_t, 16>, 3> high{};
};
constexpr uint8_t kNameGroups = 0xc0;
constexpr LetterTables kLetters = [] {
  constexpr std::string_view kGroups[8][3] = {
      {"t", "r", "ac"},  {"d", "eb", "bg"},  {"i", "n", "f"},
      {"w", "ar", "rn"}, {"e", "r", "r"},    {"cf", "ra", "it"},  // words
      {"lv", "ve", "l"}, {"ie", "tx", "yt"},  // ends of names: level, lvl; severity, text
  };
  LetterTables out;
  for (size_t group = 0; group < 8; ++group) {
    for (size_t i = 0; i < 3; ++i) {
      for (const char letter : kGroups[group][i]) {
        const auto bit = static_cast<uint8_t>(1u << group);
        out.low[i][letter & 15] |= bit;
        out.high[i][letter >> 4] |= bit;
        out.high[i][(letter >> 4) - 2] |= bit;  // upper case
      }
    }
  }
  return out;
}();

// A bit for each place of 32 where a word or the end of a name may begin.
struct Places {
  uint32_t words;
  uint32_t names;
};

VARVE_AVX2 inline __m256i LookUp(const std::array<uint8_t, 16>& table, __m256i nibbles) {
  const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data()));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(all), nibbles);
}

// Reads 34 bytes.
VARVE_AVX2 inline Places FindPlaces(const char* at) {
  __m256i groups = _mm256_set1_epi8(-1);
#pragma GCC unroll 3
  for (size_t i = 0; i < 3; ++i) {
    const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + i));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(text, 4), _mm256_set1_epi8(15));
    // A byte above ASCII finds nothing: a look-up gives 0 where the highest bit is set.
    groups = _mm256_and_si256(
        groups, _mm256_and_si256(LookUp(kLetters.low[i], text), LookUp(kLetters.high[i], high)));
  }
  const __m256i names = _mm256_and_si256(groups, _mm256_set1_epi8(static_cast<char>(kNameGroups)));
  const __m256i none = _mm256_setzero_si256();
  const auto zeros = [none](__m256i v) VARVE_AVX2 {
    return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, none)));
  };
  return {~zeros(_mm256_xor_si256(groups, names)), ~zeros(names)};
}

VARVE_AVX2 inline uint32_t Equal(const char* at, char c) {
  const __m256i text = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  return static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(text, _mm256_set1_epi8(c))));
}

// Looks for words and names in one pass.
class LineScan {
 public:
  explicit LineScan(std::string_view line) : line_(line), json_(LooksLikeJson(line)) {}

  VARVE_AVX2 std::string_view Run() {
    constexpr size_t kRead = 34;
    const char mark = json_ ? '"' : '=';
    const char* const text = line_.data();
    size_t at = 0;
    for (; at + kRead < line_.size(); at += 32) {
      Places places = FindPlaces(text + at);
      places.names &= Equal(text + at + 3, mark);
      if ((places.words | places.names) != 0 && Visit(at, places)) return level_;
    }
    // The last step reads up to the end, and leaves out what was seen before.
    Places places{};
    if (line_.size() >= kRead) {
      const size_t last = line_.size() - kRead;
      places = FindPlaces(text + last);
      places.names &= Equal(text + last + 2, mark) >> 1;
      const uint32_t seen = (uint32_t{1} << (at - last)) - 1;
      places.words &= ~seen;
      places.names &= ~seen;
      at = last;
    } else {
      char copy[kRead + 1] = {};
      std::memcpy(copy, text, line_.size());
      places = FindPlaces(copy);
      places.names &= Equal(copy + 3, mark);
    }
    if ((places.words | places.names) != 0 && Visit(at, places)) return level_;
    return level_.empty() ? kLevelUnknown : level_;
  }

 private:
  // Returns true if level_ is what the line has.
  bool Visit(size_t at, Places places) {
    for (; places.names != 0 && !fields_done_; places.names &= places.names - 1) {
      const size_t end = at + static_cast<size_t>(std::countr_zero(places.names)) + 3;
      if (!NameEndsAt(line_, end, json_ ? IsQuote : IsBlank)) continue;
      fields_done_ = true;
      const std::string_view level = FieldLevel(line_, json_, end);
      if (level.empty()) break;
      level_ = level;
      return true;
    }
    for (; places.words != 0 && level_.empty(); places.words &= places.words - 1) {
      const size_t begin = at + static_cast<size_t>(std::countr_zero(places.words));
      if (begin > 0 && IsWordByte(line_[begin - 1])) continue;
      level_ = LevelOfWordAt(line_, begin);
    }
    return fields_done_ && !level_.empty();
  }

  const std::string_view line_;
  const bool json_;
  bool fields_done_ = false;  // no field gives a level
  std::string_view level_;    // of the first word that is one
};

std::string_view DetectLevelAvx2(std::string_view line) {
  return line.size() < 3 ? kLevelUnknown : LineScan(line).Run();
}
#endif

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

std::span<const LevelKernel> AllLevelKernels() {
  static constexpr LevelKernel kAll[] = {
      {"baseline", DetectLevelBaseline},
#ifdef VARVE_AVX2
      {"avx2", DetectLevelAvx2},
#endif
  };
  return std::span(kAll).first(HasAvx2() ? std::size(kAll) : 1);
}

std::string_view DetectLevel(std::string_view line) {
  static const LevelKernel& best = AllLevelKernels().back();
  return best.detect(line);
}

}  // namespace varve::loki
