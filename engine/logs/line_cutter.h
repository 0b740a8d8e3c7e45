#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/seeded_hash.h"

namespace varve::logs {

/// How a line is cut into its template and variables.
enum class CutBy : uint8_t {
  kWords,   // words with a digit are variables
  kFields,  // what stands between quotes, behind = or :, or has more than letters between spaces
};

/// Finds words and digits of a text by bits: one for each byte, 64 at a time.
class WordMarks {
 public:
  /// Behind `text` are kTextPadding bytes that may be read.
  void Mark(std::string_view text);
  /// Returns the first digit at or after `at`, or the size of the text.
  size_t NextDigit(size_t at) const;
  /// Return where the word around `at` begins and ends.
  size_t WordBegin(size_t at) const;
  size_t WordEnd(size_t at) const;

 private:
  size_t size_ = 0;
  std::vector<uint64_t> words_, digits_;
};

/// Cuts values into templates and variables. Spec: engine/docs/format/logs-block.md, "Lines".
/// Values of one template mostly follow each other in the same order: the template that came after
/// the last one the time before is tried first, and what fits it needs not to be cut anew. Between
/// the variables that change, the value must have the bytes of the template's first value: those
/// that stay the same need not even be looked for.
class LineCutter {
 public:
  static constexpr uint32_t kWhole = UINT32_MAX;  // the value fits no template

  struct Word {
    uint32_t begin;  // in its value
    uint32_t bytes;
  };
  /// A place of a variable in a template.
  struct Slot {
    uint32_t literal_bytes;  // of the template's text between the variable before and this one
    enum Kind : uint8_t { kWord, kQuoted, kField, kAssigned } kind;
    std::string_view first = {};  // variable
    uint32_t changed = kWhole;    // the value of the template that first had another one, if any
    bool constant() const { return changed == kWhole; }
  };
  struct Template {
    uint32_t text_begin, text_bytes;
    uint32_t first_slot, slots;
    uint64_t hash;               // of the text
    std::string_view first;      // value
    uint32_t first_segment = 0;  // of slots + 1
    uint32_t changing = 0;       // how many slots are not constant
    uint32_t rows = 0;
    uint32_t next = kWhole;  // the template of the value that followed the last one of this
    int trust = 0;           // how often `next` was right of late
  };

  /// Cuts `values`, which must stay where they are and have kTextPadding bytes behind each that may
  /// be read. Returns false, with nothing to be used, where too many templates are needed.
  bool Cut(std::span<const std::string_view> values, CutBy by);

  const std::vector<Template>& templates() const { return templates_; }
  /// Behind this text are kTextPadding bytes that may be read.
  std::string_view text(const Template& one) const {
    return std::string_view(text_).substr(one.text_begin, one.text_bytes);
  }
  std::span<const Slot> slots(const Template& one) const {
    return std::span(slots_).subspan(one.first_slot, one.slots);
  }
  /// The template of a value, or kWhole.
  uint32_t template_of(size_t row) const { return row_template_[row]; }
  /// The variables of a value that has a template; of no meaning where the slot was constant until
  /// behind this value (Slot::changed).
  const Word* words(size_t row) const { return words_.data() + row_words_[row]; }

 private:
  uint32_t CutRow(std::string_view value, CutBy by);
  uint32_t Expected() const;
  uint32_t FitsRecent(std::string_view value, uint32_t tried);
  void Expect(uint32_t number);
  bool FitsSegments(std::string_view value, const Template& one);
  bool FitsSlots(std::string_view value, const Template& one);
  uint32_t CutAnew(std::string_view value, CutBy by);
  void CutWords(std::string_view value);
  void CutFields(std::string_view value);
  uint32_t FindTemplate(std::string_view value);
  void MakeTable(int bits);
  size_t PlaceOf(uint64_t hash) const { return hash * factor_ >> (64 - by_hash_bits_); }
  void NoteWords(std::string_view value, const Word* words, Template* one);
  void FindSegments(Template* one);
  void AddSlot(size_t literal_bytes, Slot::Kind kind) {
    cut_slots_[cut_slot_count_++] = {static_cast<uint32_t>(literal_bytes), kind};
  }
  void AddWord(size_t begin, size_t end) {
    words_[word_count_++] = {static_cast<uint32_t>(begin), static_cast<uint32_t>(end - begin)};
  }

  std::vector<Template> templates_;
  std::string text_;  // of templates, and kTextPadding bytes more
  size_t text_bytes_ = 0;
  std::vector<Slot> slots_;
  /// What lies in the first value between two slots that are not constant.
  struct Segment {
    uint32_t begin, bytes;
    uint32_t slot;  // that follows; of no meaning in the last one
  };
  std::vector<Segment> segments_;
  /// A hash table of numbers of templates, from 1 on: at least twice as large as they are many.
  std::vector<uint32_t> by_hash_;
  int by_hash_bits_ = 0;
  const uint64_t factor_ = ProcessSeed() | 1;  // whoever writes lines cannot know their places
  uint32_t last_ = kWhole;                     // template that was used last
  std::array<uint32_t, 4> recent_;             // templates, the last one first, or kWhole
  int recent_trust_ = 0;                       // how often one of them was right of late
  std::vector<Word> words_;                    // the variables, row by row, and room for more
  size_t word_count_ = 0;
  std::vector<uint32_t> row_template_;
  std::vector<size_t> row_words_;  // into words_
  // Of the value that is cut anew:
  std::string cut_text_;  // its template, and room for more
  size_t cut_bytes_ = 0;
  std::vector<Slot> cut_slots_;  // its slots, and room for more
  size_t cut_slot_count_ = 0;
  WordMarks marks_;
};

}  // namespace varve::logs
