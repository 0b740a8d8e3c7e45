#include "engine/logs/line_cutter.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "engine/base/hash.h"
#include "engine/base/short_text.h"
#include "engine/logs/char_class.h"
#include "engine/logs/line_format.h"
#include "engine/logs/text_kernels.h"

namespace varve::logs {
namespace {

constexpr int kTableBitsMin = 8;

/// Returns the first quote, backslash or kPlace in [at, end), or end.
const char* FindQuote(const char* at, const char* end) {
#if defined(__SSE2__)
  for (; end - at >= 16; at += 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i quotes =
        _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    const int found =
        _mm_movemask_epi8(_mm_or_si128(quotes, _mm_cmpeq_epi8(v, _mm_set1_epi8(kPlace))));
    if (found != 0) return at + std::countr_zero(static_cast<unsigned>(found));
  }
#endif
  while (at < end && *at != '"' && *at != '\\' && *at != kPlace) ++at;
  return at;
}

/// Returns where a quoted text that begins at `at` ends: at a quote, at kPlace, or at `end`.
const char* QuotedEnd(const char* at, const char* end) {
  while ((at = FindQuote(at, end)) < end && *at == '\\') {
    at += at + 1 < end && at[1] != kPlace ? 2 : 1;
  }
  return at;
}

/// Finds the end of a field that begins at `at`; `letters`: it has nothing else.
const char* FieldEnd(const char* at, const char* end, bool* letters) {
  uint8_t seen = 0;
  for (uint8_t bits = 0; at < end; ++at, seen |= bits) {
    bits = kFieldBits[static_cast<uint8_t>(*at)];
    if ((bits & kFieldEnd) != 0) break;
  }
  *letters = (seen & kNotLetter) == 0;
  return at;
}

/// Finds the end of the word that begins at `at`; null if it has no digit.
const char* NumberedWordEnd(const char* at, const char* end) {
  uint8_t seen = 0;
  for (uint8_t kind = 0; at < end; ++at, seen |= kind) {
    kind = kCharClass[static_cast<uint8_t>(*at)];
    if (kind == kDelimiter) break;
  }
  return (seen & kDigit) != 0 ? at : nullptr;
}

/// Finds the end of a variable of this kind that begins at `at`; null if cutting would not make one
/// of what is there.
const char* VariableEnd(LineCutter::Slot::Kind kind, const char* at, const char* end) {
  using Slot = LineCutter::Slot;
  const char* stop = nullptr;
  switch (kind) {
    case Slot::kWord:
      stop = NumberedWordEnd(at, end);
      break;
    case Slot::kQuoted:
      stop = QuotedEnd(at, end);
      if (stop < end && *stop == kPlace) return nullptr;
      break;
    case Slot::kField:
    case Slot::kAssigned: {
      bool letters = false;
      stop = FieldEnd(at, end, &letters);
      if ((letters && kind == Slot::kField) || (stop < end && *stop == '=')) return nullptr;
      break;
    }
  }
  return stop == at ? nullptr : stop;
}

}  // namespace

// --- Marks ---

void WordMarks::Mark(std::string_view text) {
  size_ = text.size();
  const size_t parts = size_ / 64 + 1;  // the bit behind the last byte is always there
  if (words_.size() < parts) {
    words_.resize(parts);
    digits_.resize(parts);
  }
  const TextKernel& kernel = BestTextKernel();
  for (size_t i = 0; i < parts; ++i) {
    const WordBytes bytes = kernel.word_bytes(text.data() + i * 64);
    words_[i] = bytes.words;
    digits_[i] = bytes.digits;
  }
  const uint64_t inside = (uint64_t{1} << size_ % 64) - 1;
  words_[parts - 1] &= inside;
  digits_[parts - 1] &= inside;
}

size_t WordMarks::NextDigit(size_t at) const {
  for (size_t i = at / 64, from = at % 64; i <= size_ / 64; ++i, from = 0) {
    const uint64_t bits = digits_[i] >> from << from;
    if (bits != 0) return i * 64 + static_cast<size_t>(std::countr_zero(bits));
  }
  return size_;
}

size_t WordMarks::WordBegin(size_t at) const {
  size_t i = at / 64;
  uint64_t others = ~words_[i] & ((uint64_t{2} << at % 64) - 1);
  while (others == 0) {
    if (i == 0) return 0;
    others = ~words_[--i];
  }
  return i * 64 + 64 - static_cast<size_t>(std::countl_zero(others));
}

size_t WordMarks::WordEnd(size_t at) const {
  for (size_t i = at / 64, from = at % 64; i <= size_ / 64; ++i, from = 0) {
    const uint64_t others = ~words_[i] >> from << from;
    if (others != 0) return i * 64 + static_cast<size_t>(std::countr_zero(others));
  }
  return size_;
}

// --- Cutting ---

bool LineCutter::Cut(std::span<const std::string_view> values, CutBy by) {
  templates_.clear();
  text_bytes_ = 0;
  slots_.clear();
  segments_.clear();
  MakeTable(kTableBitsMin);
  last_ = kWhole;
  recent_.fill(kWhole);
  recent_trust_ = 0;
  word_count_ = 0;
  row_template_.clear();
  row_words_.clear();
  for (size_t row = 0; row < values.size(); ++row) {
    // Where templates are as many as rows there is no use in going on.
    if ((row & 255) == 255 && templates_.size() * 3 > row) return false;
    row_words_.push_back(word_count_);
    row_template_.push_back(CutRow(values[row], by));
    if (row_template_.back() == kWhole) word_count_ = row_words_.back();
  }
  size_t covered = 0;
  for (const Template& one : templates_) {
    if (one.rows >= kTemplateRowsMin) covered += one.rows;
  }
  return covered * 4 >= values.size() * 3;
}

uint32_t LineCutter::CutRow(std::string_view value, CutBy by) {
  if (value.size() > kTemplateLineBytesMax) return kWhole;
  // Between two variables is a byte that is in none.
  if (words_.size() < word_count_ + value.size() / 2 + 1) {
    words_.resize(2 * words_.size() + kTemplateLineBytesMax);
  }
  const size_t begin = word_count_;
  uint32_t number = Expected();
  uint32_t fits = number;
  if (fits == kWhole || !FitsSegments(value, templates_[fits])) fits = FitsRecent(value, number);
  if (fits != kWhole) {
    ++templates_[fits].rows;
    Expect(fits);
    return fits;
  }
  if (number == kWhole || !FitsSlots(value, templates_[number])) {
    word_count_ = begin;
    number = CutAnew(value, by);
    if (number == kWhole) return kWhole;
  }
  Expect(number);
  NoteWords(value, words_.data() + begin, &templates_[number]);
  return number;
}

/// The template that is tried first, or kWhole.
uint32_t LineCutter::Expected() const {
  if (last_ == kWhole || templates_[last_].trust < 0) return kWhole;
  return templates_[last_].next;
}

/// Learns which template followed the last one. After some that nobody expected no more are tried
/// until they come as expected again.
void LineCutter::Expect(uint32_t number) {
  if (last_ != kWhole) {
    constexpr int kTrustMax = 2;
    Template& last = templates_[last_];
    const bool expected = last.next == number;
    last.trust = std::clamp(last.trust + (expected ? 1 : -1), -kTrustMax, kTrustMax);
    last.next = number;
  }
  last_ = number;
  const auto known = std::find(recent_.begin(), recent_.end() - 1, number);
  std::move_backward(recent_.begin(), known, known + 1);
  recent_[0] = number;
}

/// Tries the templates that were used last, as long as that is of use. Returns the one that fits,
/// or kWhole.
uint32_t LineCutter::FitsRecent(std::string_view value, uint32_t tried) {
  constexpr int kTrustMax = 8;
  if (recent_trust_ < 0) {
    ++recent_trust_;
    return kWhole;
  }
  for (const uint32_t number : recent_) {
    if (number == kWhole) break;
    if (number == tried || !FitsSegments(value, templates_[number])) continue;
    recent_trust_ = std::min(recent_trust_ + 2, kTrustMax);
    return number;
  }
  // After too many that did not fit none are tried for a while.
  if (--recent_trust_ < 0) recent_trust_ = -4 * kTrustMax;
  return kWhole;
}

/// Keeps count of what a template's variables are.
void LineCutter::NoteWords(std::string_view value, const Word* words, Template* one) {
  Slot* const slots = slots_.data() + one->first_slot;
  const uint32_t changing_before = one->changing;
  for (uint32_t s = 0; s < one->slots; ++s) {
    Slot& slot = slots[s];
    if (!slot.constant()) continue;
    const std::string_view word(value.data() + words[s].begin, words[s].bytes);
    if (one->rows == 0) {
      slot.first = word;
    } else if (!SameShort(slot.first, word)) {
      slot.changed = one->rows;
      ++one->changing;
    }
  }
  if (one->rows++ == 0 || one->changing != changing_before) FindSegments(one);
}

/// Finds what lies between the slots of a template that are not constant.
void LineCutter::FindSegments(Template* one) {
  const std::span<const Slot> all = slots(*one);
  Segment* to = segments_.data() + one->first_segment;
  uint32_t begin = 0;
  for (uint32_t s = 0; s < one->slots; ++s) {
    if (all[s].constant()) continue;
    const auto at = static_cast<uint32_t>(all[s].first.data() - one->first.data());
    *to++ = {begin, at - begin, s};
    begin = at + static_cast<uint32_t>(all[s].first.size());
  }
  *to = {begin, static_cast<uint32_t>(one->first.size()) - begin, 0};
}

/// Tells whether cutting `value` would make this template, and adds its variables if so. The bytes
/// between variables must be those of the template; they are then cut as there, for what is done
/// with a byte depends on bytes before it and the next one alone. Variables must end where cutting
/// would end them, and be of the same kind. Where a value has the same bytes as the first one, the
/// variables in them are the same too: only those that change are looked for, and added.
bool LineCutter::FitsSegments(std::string_view value, const Template& one) {
  const char* const begin = value.data();
  const char* const end = begin + value.size();
  const char* at = begin;
  const Segment* segment = segments_.data() + one.first_segment;
  const Slot* const slots = slots_.data() + one.first_slot;
  Word* const words = words_.data() + word_count_;
  for (uint32_t i = 0;; ++i, ++segment) {
    const size_t bytes = segment->bytes;
    if (static_cast<size_t>(end - at) < bytes ||
        !SameShort({one.first.data() + segment->begin, bytes}, {at, bytes})) {
      return false;
    }
    at += bytes;
    if (i == one.changing) break;
    const char* const stop = VariableEnd(slots[segment->slot].kind, at, end);
    if (stop == nullptr) return false;
    words[segment->slot] = {static_cast<uint32_t>(at - begin), static_cast<uint32_t>(stop - at)};
    at = stop;
  }
  if (at != end) return false;
  word_count_ += one.slots;
  return true;
}

/// The same where a variable may be another one that was constant until now.
bool LineCutter::FitsSlots(std::string_view value, const Template& one) {
  const char* const begin = value.data();
  const char* const end = begin + value.size();
  const char* at = begin;
  std::string_view rest = text(one);
  const auto take_literal = [&](size_t bytes) {
    if (static_cast<size_t>(end - at) < bytes ||
        !SameShort(rest.substr(0, bytes), std::string_view(at, bytes))) {
      return false;
    }
    at += bytes;
    return true;
  };
  for (const Slot& slot : slots(one)) {
    if (!take_literal(slot.literal_bytes)) return false;
    rest.remove_prefix(slot.literal_bytes + 1);
    const char* const stop = VariableEnd(slot.kind, at, end);
    if (stop == nullptr) return false;
    AddWord(static_cast<size_t>(at - begin), static_cast<size_t>(stop - begin));
    at = stop;
  }
  return static_cast<size_t>(end - at) == rest.size() && take_literal(rest.size());
}

uint32_t LineCutter::CutAnew(std::string_view value, CutBy by) {
  if (value.find(kPlace) != std::string_view::npos) return kWhole;
  if (cut_text_.size() < value.size() + kCopySlack) cut_text_.resize(value.size() + kCopySlack);
  if (cut_slots_.size() < value.size() / 2 + 1) cut_slots_.resize(value.size() + 1);
  cut_slot_count_ = 0;
  if (by == CutBy::kWords) {
    marks_.Mark(value);
    CutWords(value);
  } else {
    CutFields(value);
  }
  return FindTemplate(value);
}

/// Returns the template that is cut_text_, a new one if there is none.
uint32_t LineCutter::FindTemplate(std::string_view value) {
  const std::string_view cut(cut_text_.data(), cut_bytes_);
  const uint64_t hash = Hash64(cut);
  size_t place = PlaceOf(hash);
  for (; by_hash_[place] != 0; place = (place + 1) % by_hash_.size()) {
    const uint32_t known = by_hash_[place] - 1;
    if (templates_[known].hash != hash) continue;
    return text(templates_[known]) == cut ? known : kWhole;
  }
  const auto number = static_cast<uint32_t>(templates_.size());
  by_hash_[place] = number + 1;
  templates_.push_back({static_cast<uint32_t>(text_bytes_), static_cast<uint32_t>(cut.size()),
                        static_cast<uint32_t>(slots_.size()),
                        static_cast<uint32_t>(cut_slot_count_), hash, value,
                        static_cast<uint32_t>(segments_.size())});
  segments_.resize(segments_.size() + cut_slot_count_ + 1);
  text_.resize(text_bytes_);
  text_.append(cut);
  text_bytes_ = text_.size();
  text_.append(kTextPadding, kPlace);
  slots_.insert(slots_.end(), cut_slots_.begin(),
                cut_slots_.begin() + static_cast<ptrdiff_t>(cut_slot_count_));
  if (2 * templates_.size() > by_hash_.size()) MakeTable(by_hash_bits_ + 1);
  return number;
}

/// Puts all templates into a table of 2^bits places.
void LineCutter::MakeTable(int bits) {
  by_hash_bits_ = bits;
  by_hash_.assign(size_t{1} << bits, 0);
  for (uint32_t number = 0; number < templates_.size(); ++number) {
    size_t place = PlaceOf(templates_[number].hash);
    while (by_hash_[place] != 0) place = (place + 1) % by_hash_.size();
    by_hash_[place] = number + 1;
  }
}

/// Write the template of a value into cut_text_ and its slots into cut_slots_, and add its
/// variables, for which there is room.
void LineCutter::CutWords(std::string_view value) {
  char* to = cut_text_.data();
  const char* const begin = value.data();
  const char* const end = begin + value.size();
  size_t done = 0;
  for (size_t digit = marks_.NextDigit(0); digit < value.size(); digit = marks_.NextDigit(done)) {
    const size_t word = marks_.WordBegin(digit);
    const size_t word_end = marks_.WordEnd(digit);
    CopyShort(to, begin + done, word - done, end);
    to += word - done;
    *to++ = kPlace;
    AddSlot(word - done, Slot::kWord);
    AddWord(word, word_end);
    done = word_end;
  }
  std::memcpy(to, begin + done, value.size() - done);
  to += value.size() - done;
  cut_bytes_ = static_cast<size_t>(to - cut_text_.data());
}

void LineCutter::CutFields(std::string_view value) {
  char* to = cut_text_.data();
  const char* literal = to;  // where the text behind the last variable begins
  const char* const begin = value.data();
  const char* const end = begin + value.size();
  const char* at = begin;
  char before = ' ';
  const auto variable = [&](const char* from, const char* stop, Slot::Kind kind) {
    AddSlot(static_cast<size_t>(to - literal), kind);
    *to++ = kPlace;
    literal = to;
    AddWord(static_cast<size_t>(from - begin), static_cast<size_t>(stop - begin));
  };
  const auto keep = [&](const char* from, const char* stop) {
    CopyShort(to, from, static_cast<size_t>(stop - from), end);
    to += stop - from;
  };
  while (at < end) {
    const char c = *at;
    if (c == '"') {
      *to++ = c;
      const char* const from = ++at;
      at = QuotedEnd(at, end);
      const bool key = at + 1 < end && at[1] == ':';
      if (key) {
        keep(from, at);
      } else if (at > from) {
        variable(from, at, Slot::kQuoted);
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
    bool letters = false;
    at = FieldEnd(at, end, &letters);
    const bool key = at < end && *at == '=';
    const bool assigned = before == '=' || before == ':';
    if (key || (letters && !assigned)) {
      keep(from, at);
    } else {
      variable(from, at, assigned ? Slot::kAssigned : Slot::kField);
    }
    before = 'a';
  }
  cut_bytes_ = static_cast<size_t>(to - cut_text_.data());
}

}  // namespace varve::logs
