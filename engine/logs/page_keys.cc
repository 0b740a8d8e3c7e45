#include "engine/logs/page_keys.h"

#include <algorithm>

#include "engine/base/interrupt.h"
#include "engine/base/macros.h"
#include "engine/base/seeded_hash.h"
#include "engine/logs/char_class.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/line_keys.h"
#include "engine/logs/page.h"

namespace varve::logs {
namespace {

constexpr size_t kRecent = 1 << 15;
/// Shorter matches are not worth the look at where they come from.
constexpr size_t kMatchBytesMin = 8;
/// So much text is read between two looks at whether somebody interrupts: a few milliseconds.
constexpr size_t kStepBytes = 128 * 1024;

}  // namespace

/// The matches of an LZ4 block that was inflated before, in order.
class PageKeyCollector::Matches {
 public:
  explicit Matches(std::string_view packed)
      : at_(reinterpret_cast<const uint8_t*>(packed.data())), end_(at_ + packed.size()) {
    Next();
  }
  /// Moves on to the first match that ends behind `place`.
  void Seek(size_t place) {
    while (end <= place) Next();
  }

  // In the inflated bytes; [SIZE_MAX, SIZE_MAX) behind the last match.
  size_t begin = 0;
  size_t end = 0;
  size_t offset = 0;  // back to what is repeated

 private:
  void Next() {
    begin = end;
    if (at_ >= end_) return Stop();
    const uint32_t token = *at_++;
    const size_t literals = Length(token >> 4);
    begin += literals;
    at_ += std::min<size_t>(literals, static_cast<size_t>(end_ - at_));
    if (end_ - at_ < 2) return Stop();  // the last sequence has no match
    offset = at_[0] | static_cast<size_t>(at_[1]) << 8;
    at_ += 2;
    constexpr size_t kMinMatch = 4;
    end = begin + Length(token & 15) + kMinMatch;
  }
  size_t Length(size_t nibble) {
    if (nibble < 15) return nibble;
    while (at_ < end_) {
      const uint8_t more = *at_++;
      nibble += more;
      if (more != 255) break;
    }
    return nibble;
  }
  void Stop() {
    at_ = end_;
    begin = end = SIZE_MAX;
  }

  const uint8_t* at_;
  const uint8_t* const end_;
};

/// Tells that a hash was among the last ones; repeats do no harm, they only cost.
bool PageKeyCollector::Recent(uint64_t hash) {
  uint64_t& slot = recent_[hash % kRecent];
  if (slot == hash) return true;
  slot = hash;
  return false;
}

Status PageKeyCollector::Collect(std::string_view page, const Rows& rows, PageKeys* out) {
  out->Clear();
  // A slot begins with a hash that belongs to another one.
  recent_.assign(kRecent, 0);
  recent_[0] = 1;
  borders_.assign(rows.line_begin.back() / 64 + 1, 0);
  for (const uint32_t begin : rows.line_begin) borders_[begin / 64] |= uint64_t{1} << begin % 64;
  Matches matches(BlockOfPage(page));
  VARVE_RETURN_IF_ERROR(AddLines(rows, &matches, out));
  for (const LabelView& label : rows.metadata) {
    const uint64_t key = MetadataKey(label.name, label.value);
    if (!Recent(key)) out->keys.push_back(key);
  }
  return absl::OkStatus();
}

/// Adds a word that is not one of digits alone or has enough of them for a number.
Status PageKeyCollector::AddWord(std::string_view word, uint8_t classes, PageKeys* out) {
  const bool digits = (classes & kDigit) != 0;
  const bool letters = classes != kDigit;
  // Pieces that overlap by all that a minimizer regards have the minimizers of the whole.
  constexpr size_t kOverlap = kIdBytesMin - 1;
  static_assert(kOverlap >= kNumberBytesMin - 1);
  for (size_t at = 0; digits; at += kStepBytes) {
    const std::string_view piece = word.substr(at, kStepBytes + kOverlap);
    AddNumberKeys(piece, &out->keys);
    if (letters && piece.size() >= kIdBytesMin) AddIdKeys(piece, &out->keys);
    if (at + piece.size() == word.size()) break;
    VARVE_RETURN_IF_ERROR(InterruptCheck::Interrupted());
  }
  if (!letters) return absl::OkStatus();
  out->keys.push_back(WordKey(word));
  if (InVocabulary(word)) {
    out->words.append(word);
    out->words.push_back('\n');
  }
  return absl::OkStatus();
}

Status PageKeyCollector::AddLines(const Rows& rows, Matches* matches, PageKeys* out) {
  size_t next_step = kStepBytes;
  const std::string_view text = rows.text;
  const size_t first = rows.line_begin.front();
  const auto class_of = [&](size_t i) { return kCharClass[static_cast<uint8_t>(text[i])]; };
  // Tells whether a line begins in [from, to].
  const auto crosses = [&](size_t from, size_t to) {
    size_t part = from / 64;
    uint64_t bits = borders_[part] >> from % 64 << from % 64;
    for (; part < to / 64; bits = borders_[++part]) {
      if (bits != 0) return true;
    }
    return (bits & (~uint64_t{0} >> (63 - to % 64))) != 0;
  };
  for (uint32_t row = 0; row < rows.size(); ++row) {
    const size_t end = rows.line_begin[row + 1];
    for (size_t at = rows.line_begin[row]; at < end;) {
      if (at >= next_step) {
        VARVE_RETURN_IF_ERROR(InterruptCheck::Interrupted());
        next_step = at + kStepBytes;
      }
      if (class_of(at) == kDelimiter) {
        matches->Seek(at);
        if (matches->begin <= at && matches->end - at >= kMatchBytesMin &&
            matches->offset <= at - first) {
          // Words from here to the last delimiter of the match stand whole in what it repeats, if
          // that is of one line.
          size_t last = std::min(matches->end, end) - 1;
          while (class_of(last) != kDelimiter) --last;
          if (!crosses(at - matches->offset + 1, last - matches->offset)) at = last;
        }
        ++at;
        continue;
      }
      const size_t begin = at;
      uint8_t classes = 0;
      for (uint8_t one; at < end && (one = class_of(at)) != kDelimiter; ++at) classes |= one;
      const std::string_view word = text.substr(begin, at - begin);
      if (classes == kDigit && word.size() < kNumberBytesMin) continue;
      // Two words of one hash must not be taken for one: by one without a seed they could.
      if (!Recent(SeededHash64(word))) VARVE_RETURN_IF_ERROR(AddWord(word, classes, out));
    }
  }
  return absl::OkStatus();
}

}  // namespace varve::logs
