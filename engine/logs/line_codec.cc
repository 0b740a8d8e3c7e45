#include "engine/logs/line_codec.h"

#include <algorithm>
#include <array>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/short_text.h"
#include "engine/codec/int_stream.h"
#include "engine/logs/char_class.h"
#include "engine/logs/line_cutter.h"
#include "engine/logs/line_format.h"
#include "engine/logs/line_keys.h"
#include "engine/logs/line_table.h"
#include "engine/logs/word_hash.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

constexpr int kPlainLevel = 1;
constexpr int kTextLevel = 1;
constexpr size_t kNestedRowsMin = 32;

bool IsHex(std::string_view text) {
  for (const char c : text) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

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

/// Cuts values into templates and columns; one for whole lines, one for the columns of those.
class TableEncoder {
 public:
  /// Cuts `values`. Returns false where too few share a template.
  bool Split(std::span<const std::string_view> values, CutBy by) { return cutter_.Cut(values, by); }

  /// Writes what was cut: templates, the template of each row, columns.
  void Write(std::span<const std::string_view> values, TableEncoder* nested, Pages* pages) {
    NumberTemplates();
    std::string& head = pages->head;
    PutVarint(&head, written_.size());
    for (const uint32_t t : written_) {
      const std::string_view text = cutter_.text(cutter_.templates()[t]);
      PutString(&head, text);
      pages->keys->Add(text);
    }
    WriteRowTemplates(values.size(), &head);
    FillColumns(values, pages);
    size_t c = 0;
    for (const uint32_t t : written_) {
      const LineCutter::Template& one = cutter_.templates()[t];
      uint64_t place = one.hash;
      for (const LineCutter::Slot& slot : cutter_.slots(one)) {
        ++place;
        if (slot.constant()) {
          WriteConstant(slot.first, pages);
          continue;
        }
        WriteColumn(std::span(values_).subspan(begins_[c], begins_[c + 1] - begins_[c]), place,
                    nested, pages);
        ++c;
      }
    }
  }

 private:
  /// What is known of a template of cutter_ when it is written.
  struct Written {
    uint32_t number = 0;                // 1.. among those that are written; 0: rows stay whole
    uint32_t first_live = 0, live = 0;  // in live_: its slots that are not constant
  };
  struct Live {
    uint32_t slot;
    uint32_t end;      // in values_: of what its column has so far
    uint32_t changed;  // there: of those that are all `first`
    std::string_view first;
  };

  /// Chooses what is written.
  void NumberTemplates() {
    written_.clear();
    templates_.clear();
    live_.clear();
    begins_.assign(1, 0);
    for (const LineCutter::Template& one : cutter_.templates()) {
      Written& written = templates_.emplace_back();
      if (one.rows < kTemplateRowsMin) continue;
      written_.push_back(static_cast<uint32_t>(templates_.size() - 1));
      written.number = static_cast<uint32_t>(written_.size());
      written.first_live = static_cast<uint32_t>(live_.size());
      const std::span<const LineCutter::Slot> slots = cutter_.slots(one);
      for (uint32_t s = 0; s < slots.size(); ++s) {
        if (slots[s].constant()) continue;
        live_.push_back({s, begins_.back(), begins_.back() + slots[s].changed, slots[s].first});
        begins_.push_back(begins_.back() + one.rows);
      }
      written.live = static_cast<uint32_t>(live_.size()) - written.first_live;
    }
  }

  /// The number of a row's template, or 0.
  uint32_t NumberOf(size_t row) const {
    const uint32_t t = cutter_.template_of(row);
    return t == LineCutter::kWhole ? 0 : templates_[t].number;
  }

  void WriteRowTemplates(size_t rows, std::string* head) {
    bool whole = false;
    for (size_t row = 0; row < rows && !whole; ++row) whole = NumberOf(row) == 0;
    const bool listed = whole || written_.size() > 1;
    head->push_back(listed ? 1 : 0);
    for (size_t row = 0; listed && row < rows; ++row) PutVarint(head, NumberOf(row));
  }

  /// Writes rows that stay whole, and lists the values of each column in row order.
  void FillColumns(std::span<const std::string_view> values, Pages* pages) {
    values_.resize(begins_.back());
    for (size_t row = 0; row < values.size(); ++row) {
      if (NumberOf(row) == 0) {
        PutVarint(&pages->head, values[row].size());
        pages->text.append(values[row]);
        pages->keys->AddValue(values[row]);
        continue;
      }
      const Written& written = templates_[cutter_.template_of(row)];
      const LineCutter::Word* const words = cutter_.words(row);
      for (Live& live : std::span(live_).subspan(written.first_live, written.live)) {
        const LineCutter::Word word = words[live.slot];
        values_[live.end] = live.end < live.changed
                                ? live.first
                                : std::string_view(values[row].data() + word.begin, word.bytes);
        ++live.end;
      }
    }
  }

  void WriteConstant(std::string_view value, Pages* pages) {
    pages->head.push_back(static_cast<char>(ColumnType::kConstant));
    PutString(&pages->head, value);
    pages->keys->Add(value);
  }

  /// Writes the values of one place in one template, which are not all the same, as what they are.
  /// `place`: of the column among all groups.
  void WriteColumn(std::span<const std::string_view> values, uint64_t place, TableEncoder* nested,
                   Pages* pages) {
    const std::string_view first = values[0];
    const auto all = [&](auto test) { return std::all_of(values.begin() + 1, values.end(), test); };
    const auto type = [&](ColumnType t) { pages->head.push_back(static_cast<char>(t)); };
    if (bool padded = false; ParseNumbers(values, &padded)) {
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
               SplitAgain(values, place, nested)) {
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

  /// Cuts a column into templates again. Where that failed in earlier groups it is not tried in
  /// each.
  bool SplitAgain(std::span<const std::string_view> values, uint64_t place, TableEncoder* nested) {
    constexpr uint32_t kPauseMax = 7;
    Failed& failed = failed_[place % failed_.size()];
    if (failed.place != place) failed = {place};
    if (failed.left > 0) {
      --failed.left;
      return false;
    }
    const bool split = nested->Split(values, CutBy::kWords);
    failed.pause = split ? 0 : std::min(2 * failed.pause + 1, kPauseMax);
    failed.left = failed.pause;
    return split;
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

  /// Fills dictionary_ and places_ if the values are few for their number.
  bool FindDistinct(std::span<const std::string_view> values) {
    dictionary_.clear();
    places_.clear();
    slots_.fill(0);
    const size_t most = std::min(kDictionaryMax, values.size() / 3);
    for (size_t i = 0; i < values.size(); ++i) {
      const std::string_view value = values[i];
      if (i > 0 && SameShort(value, values[i - 1])) {
        places_.push_back(places_.back());
        continue;
      }
      const uint64_t hash = hash_.Padded(value);
      size_t slot = hash % slots_.size();
      size_t place = slots_[slot];
      while (place != 0 &&
             (hashes_[place - 1] != hash || !SameShort(dictionary_[place - 1], value))) {
        slot = (slot + 1) % slots_.size();
        place = slots_[slot];
      }
      if (place == 0) {
        if (dictionary_.size() == most) return false;
        hashes_[dictionary_.size()] = hash;
        dictionary_.push_back(value);
        place = dictionary_.size();
        slots_[slot] = static_cast<uint8_t>(place);
      }
      places_.push_back(static_cast<char>(place - 1));
    }
    return true;
  }
  void WriteDictionary(Pages* pages) {
    PutVarint(&pages->head, dictionary_.size());
    for (const std::string_view value : dictionary_) {
      PutVarint(&pages->head, value.size());
      pages->text.append(value);
      pages->keys->Add(value);
    }
    pages->head.append(places_);
  }

  /// A column that could not be cut again.
  struct Failed {
    uint64_t place = 0;
    uint32_t pause = 0;  // how many groups are left out after it failed
    uint32_t left = 0;
  };

  LineCutter cutter_;
  std::array<Failed, 256> failed_;
  std::vector<Written> templates_;  // as many as cutter_ has
  std::vector<uint32_t> written_;   // those of them that are written
  std::vector<Live> live_;
  std::vector<uint32_t> begins_;  // of columns that are not constant, in values_, and the end
  std::vector<std::string_view> values_;
  std::vector<int64_t> integers_;
  codec::IntStreamEncoder integer_encoder_;
  std::vector<std::string_view> dictionary_;
  std::array<uint64_t, kDictionaryMax> hashes_;  // of those
  std::array<uint8_t, 512> slots_;               // a hash table of places in it, from 1 on
  static_assert(kDictionaryMax <= UINT8_MAX);
  const WordHash hash_;
  std::string places_;
};

/// Encodes the lines of row groups. Keeps its memory, and tries first what helped last.
class TemplateEncoder {
 public:
  /// Returns false where templates do not help.
  bool Encode(std::span<const std::string_view> lines, std::string* out, KeyCollector* keys) {
    if (!lines_.Split(lines, last_)) {
      const CutBy other = last_ == CutBy::kWords ? CutBy::kFields : CutBy::kWords;
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
  CutBy last_ = CutBy::kWords;
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
  if (!encoder.Encode(lines, out, &collector)) {
    for (const std::string_view line : lines) collector.AddValue(line);
    EncodePlain(lines, out);
  }
  collector.Finish();
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
