#include "engine/logs/line_codec.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "absl/container/flat_hash_map.h"
#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/short_text.h"
#include "engine/base/strings.h"
#include "engine/codec/int_stream.h"
#include "engine/logs/char_class.h"
#include "engine/logs/line_format.h"
#include "engine/logs/line_keys.h"
#include "engine/logs/line_table.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

constexpr int kPlainLevel = 1;
constexpr int kTextLevel = 1;
/// Templates of fewer lines are not worth their columns.
constexpr uint32_t kTemplateRowsMin = 4;
constexpr size_t kNestedRowsMin = 32;

struct Word {
  uint32_t begin;  // in the text
  uint32_t bytes;
};

bool IsHex(std::string_view text) {
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/// How a line is cut into its template and variables.
enum class Cut : uint8_t {
  kWords,   // words with a digit are variables
  kFields,  // what stands between quotes, behind = or :, or has more than letters between spaces
};

/// Returns the first quote or backslash in [at, end), or end.
const char* FindQuote(const char* at, const char* end) {
#if defined(__SSE2__)
  for (; end - at >= 16; at += 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                                     _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))));
    if (found != 0) return at + std::countr_zero(static_cast<unsigned>(found));
  }
#endif
  while (at < end && *at != '"' && *at != '\\') ++at;
  return at;
}

/// The pages that columns are written to.
struct Pages {
  std::string head, numbers, text, hex;
  KeyCollector* keys = nullptr;  // of all that is written
  void Clear() {
    head.clear();
    numbers.clear();
    text.clear();
    hex.clear();
  }
};

/// Finds words and digits of a text by bits: one for each byte, 64 at a time.
class WordMarks {
 public:
  void Mark(std::string_view text) {
    size_ = text.size();
    const size_t parts = size_ / 64 + 1;  // the bit behind the last byte is always there
    if (words_.size() < parts) {
      words_.resize(parts);
      digits_.resize(parts);
    }
    const size_t whole = size_ / 64;
    for (size_t i = 0; i < whole; ++i) MarkPart(text.data() + i * 64, i);
    std::array<char, 64> rest{};
    std::memcpy(rest.data(), text.data() + whole * 64, size_ - whole * 64);
    MarkPart(rest.data(), whole);
  }
  /// Returns the first digit at or after `at`, or the size of the text.
  size_t NextDigit(size_t at) const {
    for (size_t i = at / 64, from = at % 64; i <= size_ / 64; ++i, from = 0) {
      const uint64_t bits = digits_[i] >> from << from;
      if (bits != 0) return i * 64 + static_cast<size_t>(std::countr_zero(bits));
    }
    return size_;
  }
  /// Return where the word around `at` begins and ends.
  size_t WordBegin(size_t at) const {
    size_t i = at / 64;
    uint64_t others = ~words_[i] & ((uint64_t{2} << at % 64) - 1);
    while (others == 0) {
      if (i == 0) return 0;
      others = ~words_[--i];
    }
    return i * 64 + 64 - static_cast<size_t>(std::countl_zero(others));
  }
  size_t WordEnd(size_t at) const {
    for (size_t i = at / 64, from = at % 64; i <= size_ / 64; ++i, from = 0) {
      const uint64_t others = ~words_[i] >> from << from;
      if (others != 0) return i * 64 + static_cast<size_t>(std::countr_zero(others));
    }
    return size_;
  }

 private:
  void MarkPart(const char* text, size_t part) {
    uint64_t words = 0;
    uint64_t digits = 0;
#if defined(__SSE2__)
    const auto within = [](__m128i v, char low, char high) {
      return _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8(static_cast<char>(low - 1))),
                           _mm_cmplt_epi8(v, _mm_set1_epi8(static_cast<char>(high + 1))));
    };
    for (int i = 0; i < 4; ++i) {
      const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text) + i);
      const __m128i digit = within(v, '0', '9');
      const __m128i letter = within(_mm_or_si128(v, _mm_set1_epi8(0x20)), 'a', 'z');
      // Bytes from 0x80 on have the bit that movemask takes already.
      const __m128i other = _mm_or_si128(v, _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
      const __m128i word = _mm_or_si128(_mm_or_si128(digit, letter), other);
      digits |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(digit))) << 16 * i;
      words |= static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(word))) << 16 * i;
    }
#else
    for (size_t i = 0; i < 64; ++i) {
      const uint8_t kind = kCharClass[static_cast<uint8_t>(text[i])];
      digits |= uint64_t{kind == kDigit} << i;
      words |= uint64_t{kind != kDelimiter} << i;
    }
#endif
    digits_[part] = digits;
    words_[part] = words;
  }

  size_t size_ = 0;
  std::vector<uint64_t> words_, digits_;
};

/// Cuts values into templates and columns; one for whole lines, one for the columns of those.
class TableEncoder {
 public:
  /// Cuts `values`. Returns false where too few share a template.
  bool Split(std::span<const std::string_view> values, Cut cut) {
    templates_.clear();
    by_hash_.clear();
    word_count_ = 0;
    row_template_.clear();
    row_words_.clear();
    for (size_t row = 0; row < values.size(); ++row) {
      // Where templates are as many as rows there is no use in going on.
      if ((row & 255) == 255 && templates_.size() * 3 > row) return false;
      const std::string_view value = values[row];
      row_words_.push_back(word_count_);
      if (value.size() > kTemplateLineBytesMax || value.find(kPlace) != std::string_view::npos) {
        row_template_.push_back(kWhole);
        continue;
      }
      if (scratch_.size() < value.size() + kCopySlack) scratch_.resize(value.size() + kCopySlack);
      // Between two variables is a byte that is in none.
      if (words_.size() < word_count_ + value.size() / 2 + 1) {
        words_.resize(2 * words_.size() + kTemplateLineBytesMax);
      }
      const size_t bytes = cut == Cut::kWords ? CutWords(value) : CutFields(value);
      const std::string_view text(scratch_.data(), bytes);
      const auto [known, added] =
          by_hash_.try_emplace(Hash64(text), static_cast<uint32_t>(templates_.size()));
      if (added) {
        templates_.emplace_back();
        templates_.back().text = std::string(text);
        templates_.back().slots = static_cast<uint32_t>(word_count_ - row_words_.back());
      } else if (templates_[known->second].text != text) {
        row_template_.push_back(kWhole);
        word_count_ = row_words_.back();
        continue;
      }
      ++templates_[known->second].rows;
      row_template_.push_back(known->second);
    }
    row_words_.push_back(word_count_);
    size_t covered = 0;
    for (const Template& one : templates_) {
      if (one.rows >= kTemplateRowsMin) covered += one.rows;
    }
    return covered * 4 >= values.size() * 3;
  }

  /// Writes what was cut: templates, the template of each row, columns.
  void Write(std::span<const std::string_view> values, TableEncoder* nested, Pages* pages) {
    uint32_t number = 0;
    uint32_t columns = 0;
    for (Template& one : templates_) {
      if (one.rows < kTemplateRowsMin) continue;
      one.number = ++number;
      one.first_column = columns;
      columns += one.slots;
    }
    std::string& head = pages->head;
    PutVarint(&head, number);
    for (const Template& one : templates_) {
      if (one.number == 0) continue;
      PutString(&head, one.text);
      pages->keys->Add(one.text);
    }
    if (number > 1 || HasWhole()) {
      head.push_back(1);
      for (const uint32_t t : row_template_) {
        PutVarint(&head, t == kWhole ? 0 : templates_[t].number);
      }
    } else {
      head.push_back(0);
    }
    // Values of each column, in row order.
    std::vector<uint32_t> begins(columns + 1);
    for (const Template& one : templates_) {
      for (uint32_t s = 0; one.number != 0 && s < one.slots; ++s) {
        begins[one.first_column + s + 1] = one.rows;
      }
    }
    for (size_t c = 0; c < columns; ++c) begins[c + 1] += begins[c];
    values_.resize(begins.back());
    std::vector<uint32_t> at(begins.begin(), begins.end() - 1);
    for (size_t row = 0; row < values.size(); ++row) {
      const uint32_t t = row_template_[row];
      if (t == kWhole || templates_[t].number == 0) {
        PutVarint(&head, values[row].size());
        pages->text.append(values[row]);
        pages->keys->AddValue(values[row]);
        continue;
      }
      const Template& one = templates_[t];
      const Word* const words = words_.data() + row_words_[row];
      for (uint32_t s = 0; s < one.slots; ++s) {
        values_[at[one.first_column + s]++] = values[row].substr(words[s].begin, words[s].bytes);
      }
    }
    for (size_t c = 0; c < columns; ++c) {
      WriteColumn(std::span(values_).subspan(begins[c], begins[c + 1] - begins[c]), nested, pages);
    }
  }

 private:
  static constexpr uint32_t kWhole = UINT32_MAX;
  struct Template {
    std::string text;
    uint32_t rows = 0;
    uint32_t slots = 0;
    uint32_t number = 0;  // 1.. among those that are written; 0: rows stay whole
    uint32_t first_column = 0;
  };

  bool HasWhole() const {
    return std::any_of(row_template_.begin(), row_template_.end(),
                       [&](uint32_t t) { return t == kWhole || templates_[t].number == 0; });
  }

  void AddWord(size_t begin, size_t end) {
    words_[word_count_++] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(end - begin)};
  }
  /// Write the template of a value into scratch_, return its size, and add its variables, for which
  /// there is room.
  size_t CutWords(std::string_view value) {
    marks_.Mark(value);
    char* to = scratch_.data();
    const char* const begin = value.data();
    const char* const stop = begin + value.size();
    size_t done = 0;
    for (size_t digit = marks_.NextDigit(0); digit < value.size(); digit = marks_.NextDigit(done)) {
      const size_t word = marks_.WordBegin(digit);
      const size_t end = marks_.WordEnd(digit);
      CopyShort(to, begin + done, word - done, stop);
      to += word - done;
      *to++ = kPlace;
      AddWord(word, end);
      done = end;
    }
    std::memcpy(to, begin + done, value.size() - done);
    to += value.size() - done;
    return static_cast<size_t>(to - scratch_.data());
  }
  size_t CutFields(std::string_view value) {
    char* to = scratch_.data();
    const char* const begin = value.data();
    const char* at = begin;
    const char* const end = at + value.size();
    char before = ' ';
    const auto variable = [&](const char* from, const char* stop) {
      *to++ = kPlace;
      AddWord(static_cast<size_t>(from - begin), static_cast<size_t>(stop - begin));
    };
    while (at < end) {
      const char c = *at;
      if (c == '"') {
        *to++ = c;
        const char* const from = ++at;
        while ((at = FindQuote(at, end)) < end && *at != '"') at += at + 1 < end ? 2 : 1;
        const bool key = at + 1 < end && at[1] == ':';
        if (key) {
          CopyShort(to, from, static_cast<size_t>(at - from), end);
          to += at - from;
        } else if (at > from) {
          variable(from, at);
        }
        if (at < end) *to++ = *at++;
        before = '"';
        continue;
      }
      if (EndsField(c)) {
        *to++ = before = c;
        ++at;
        continue;
      }
      const char* const from = at;
      uint8_t seen = 0;
      for (uint8_t bits = 0; at < end; ++at, seen |= bits) {
        bits = kFieldBits[static_cast<uint8_t>(*at)];
        if ((bits & kFieldEnd) != 0) break;
      }
      const bool plain = (seen & kNotLetter) == 0;
      const bool key = at < end && *at == '=';
      if (key || (plain && before != '=' && before != ':')) {
        CopyShort(to, from, static_cast<size_t>(at - from), end);
        to += at - from;
      } else {
        variable(from, at);
      }
      before = 'a';
    }
    return static_cast<size_t>(to - scratch_.data());
  }

  /// Writes the values of one place in one template, as what they are.
  void WriteColumn(std::span<const std::string_view> values, TableEncoder* nested, Pages* pages) {
    const std::string_view first = values[0];
    const auto all = [&](auto test) { return std::all_of(values.begin() + 1, values.end(), test); };
    const auto type = [&](ColumnType t) { pages->head.push_back(static_cast<char>(t)); };
    if (all([first](std::string_view value) { return SameShort(value, first); })) {
      type(ColumnType::kConstant);
      PutString(&pages->head, first);
      pages->keys->Add(first);
    } else if (bool padded = false; ParseNumbers(values, &padded)) {
      type(padded ? ColumnType::kPadded : ColumnType::kNumbers);
      if (padded) PutVarint(&pages->head, first.size());
      for (const std::string_view value : values) pages->keys->AddDigits(value);
      WriteNumbers(&pages->numbers);
    } else if (FindDistinct(values)) {
      type(ColumnType::kDictionary);
      WriteDictionary(pages);
    } else if (first.size() % 2 == 0 && IsHex(first) && all([first](std::string_view value) {
                 return value.size() == first.size() && IsHex(value);
               })) {
      type(ColumnType::kHex);
      PutVarint(&pages->head, first.size());
      for (const std::string_view value : values) {
        pages->keys->AddValue(value);
        for (size_t i = 0; i < value.size(); i += 2) {
          pages->hex.push_back(static_cast<char>(HexDigit(value[i]) << 4 | HexDigit(value[i + 1])));
        }
      }
    } else if (nested != nullptr && values.size() >= kNestedRowsMin &&
               nested->Split(values, Cut::kWords)) {
      type(ColumnType::kTable);
      nested->Write(values, nullptr, pages);
    } else {
      type(ColumnType::kText);
      for (const std::string_view value : values) PutVarint(&pages->head, value.size());
      for (const std::string_view value : values) {
        pages->text.append(value);
        pages->keys->AddValue(value);
      }
    }
  }

  /// Fills integers_ if all values are decimal numbers that have one way of being written: without
  /// leading zeros, or, `padded`, of one width.
  bool ParseNumbers(std::span<const std::string_view> values, bool* padded) {
    bool one_width = true;
    bool leading_zero = false;
    integers_.clear();
    for (const std::string_view value : values) {
      if (value.size() > kDigitsMax) return false;
      one_width = one_width && value.size() == values[0].size();
      leading_zero = leading_zero || (value[0] == '0' && value.size() > 1);
      int64_t number = 0;
      for (const char c : value) {
        const auto digit = static_cast<unsigned>(c - '0');
        if (digit > 9) return false;
        number = number * 10 + digit;
      }
      integers_.push_back(number);
    }
    *padded = leading_zero;
    return one_width || !leading_zero;
  }
  void WriteNumbers(std::string* numbers) {
    if (integers_.size() >= kStreamRowsMin) return integer_encoder_.Encode(integers_, numbers);
    int64_t last = 0;
    for (const int64_t number : integers_) {
      PutSigned(numbers, number - last);
      last = number;
    }
  }

  /// Fills distinct_ and places_ if the values are few for their number.
  bool FindDistinct(std::span<const std::string_view> values) {
    distinct_.clear();
    places_.clear();
    const size_t most = std::min(kDictionaryMax, values.size() / 3);
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0 && SameShort(values[i], values[i - 1])) {
        places_.push_back(places_.back());
        continue;
      }
      const auto [known, added] =
          distinct_.try_emplace(values[i], static_cast<uint32_t>(distinct_.size()));
      if (distinct_.size() > most) return false;
      places_.push_back(static_cast<char>(known->second));
    }
    return true;
  }
  void WriteDictionary(Pages* pages) {
    PutVarint(&pages->head, distinct_.size());
    dictionary_.resize(distinct_.size());
    for (const auto& [value, place] : distinct_) dictionary_[place] = value;
    for (const std::string_view value : dictionary_) {
      PutVarint(&pages->head, value.size());
      pages->text.append(value);
      pages->keys->Add(value);
    }
    pages->head.append(places_);
  }

  std::vector<Template> templates_;
  absl::flat_hash_map<uint64_t, uint32_t> by_hash_;
  std::vector<Word> words_;  // the variables, row by row, and room for more
  size_t word_count_ = 0;
  std::vector<uint32_t> row_template_;  // or kWhole
  std::vector<size_t> row_words_;       // rows + 1, into words_
  std::vector<std::string_view> values_;
  std::vector<int64_t> integers_;
  codec::IntStreamEncoder integer_encoder_;
  absl::flat_hash_map<std::string_view, uint32_t, StringHash, StringEqual> distinct_;
  std::vector<std::string_view> dictionary_;
  std::string places_;
  std::string scratch_;
  WordMarks marks_;
};

/// Encodes the lines of row groups. Keeps its memory, and tries first what helped last.
class TemplateEncoder {
 public:
  /// Returns false where templates do not help.
  bool Encode(std::span<const std::string_view> lines, std::string* out, KeyCollector* keys) {
    if (!lines_.Split(lines, last_)) {
      const Cut other = last_ == Cut::kWords ? Cut::kFields : Cut::kWords;
      if (!lines_.Split(lines, other)) return false;
      last_ = other;
    }
    pages_.Clear();
    pages_.keys = keys;
    lines_.Write(lines, &nested_, &pages_);
    out->push_back(static_cast<char>(kTemplateLines));
    for (const auto& [page, level] : {std::pair<const std::string*, int>{&pages_.head, kTextLevel},
                                      {&pages_.numbers, 1},
                                      {&pages_.hex, 1},
                                      {&pages_.text, kTextLevel}}) {
      packed_.clear();
      PutZstdPage(*page, level, &packed_);
      PutVarint(out, packed_.size());
      out->append(packed_);
    }
    return true;
  }

 private:
  Cut last_ = Cut::kWords;
  TableEncoder lines_, nested_;
  Pages pages_;
  std::string packed_;
};

void EncodePlain(std::span<const std::string_view> lines, std::string* out) {
  static thread_local std::string raw;
  raw.clear();
  for (const std::string_view line : lines) PutVarint(&raw, line.size());
  for (const std::string_view line : lines) raw.append(line);
  out->push_back(static_cast<char>(kPlainLines));
  PutZstdPage(raw, kPlainLevel, out);
}

}  // namespace

std::string_view UncutPart(std::string_view needle) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(needle[i]); };
  std::string_view best;
  // A word of letters is never cut; nor is it hexadecimal with one letter that is not.
  for (size_t i = 0; i < needle.size();) {
    if (kCharClass[byte(i)] == kDelimiter) {
      ++i;
      continue;
    }
    const size_t begin = i;
    uint8_t classes = 0;
    while (i < needle.size() && kCharClass[byte(i)] != kDelimiter) classes |= kCharClass[byte(i++)];
    const std::string_view word = needle.substr(begin, i - begin);
    if (classes == kLetter && !IsHex(word) && word.size() > best.size()) best = word;
  }
  // Delimiters stay with the words of letters between them, unless those may be values for what
  // stands before, and unless there are quotes, which change what is cut. The first and the last
  // word may go on outside of the needle.
  if (needle.find_first_of("\"\\") != std::string_view::npos) return best;
  size_t begin = std::string_view::npos;
  const auto consider = [&](size_t end) {
    if (begin == std::string_view::npos) return;
    // The last word of the part must end in it.
    const std::string_view part = needle.substr(begin, end - begin);
    const bool letters = std::any_of(part.begin(), part.end(), [](char c) {
      return kCharClass[static_cast<uint8_t>(c)] == kLetter;
    });
    if (letters && part.size() > best.size()) best = part;
    begin = std::string_view::npos;
  };
  for (size_t i = 0; i < needle.size();) {
    if (EndsField(needle[i])) {
      if (begin == std::string_view::npos) begin = i;
      ++i;
      continue;
    }
    const size_t field = i;
    bool letters = true;
    while (i < needle.size() && !EndsField(needle[i])) letters &= kCharClass[byte(i++)] == kLetter;
    const bool inside = field > 0 && i < needle.size();
    const bool value = inside && (needle[field - 1] == '=' || needle[field - 1] == ':');
    if (!inside || !letters || value) consider(field);
  }
  consider(needle.size());
  return best;
}

void EncodeLines(std::span<const std::string_view> lines, std::string* out,
                 std::vector<uint64_t>* keys, Vocabulary* vocabulary) {
  static thread_local TemplateEncoder encoder;
  static thread_local KeyCollector collector;
  collector.Start(keys, vocabulary);
  if (encoder.Encode(lines, out, &collector)) return;
  for (const std::string_view line : lines) collector.Add(line);
  EncodePlain(lines, out);
}

Status DecodeLines(std::string_view bytes, uint32_t count, uint64_t text_bytes, Rows* rows) {
  static thread_local LineTable table;
  VARVE_RETURN_IF_ERROR(table.Open(bytes, count, text_bytes));
  return table.Render(rows);
}

Result<bool> LinesMayContain(std::string_view bytes, uint32_t count, uint64_t text_bytes,
                             std::string_view needle) {
  static thread_local LineTable table;
  VARVE_RETURN_IF_ERROR(table.Open(bytes, count, text_bytes));
  return table.MayContain(needle);
}

}  // namespace varve::logs
