#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/logs/text_kernels.h"
#include "engine/logs/vocabulary.h"
#include "engine/logs/word_hash.h"

namespace varve::logs {

/// What the filter of a row group knows of its lines, and what a search may therefore ask of it.
/// Spec: engine/docs/format/logs-block.md, "Filters" and "Vocabulary". Bytes of words:
/// char_class.h.

/// Tells that a word has a letter that hexadecimal has not: such words are few enough to be listed.
bool InVocabulary(std::string_view word);
/// Hashes a word, whatever the case of its ASCII letters.
uint64_t WordKey(std::string_view word);
/// Words of at least this many bytes with letters and digits are ids: every piece of an id that is
/// as long has one of its minimizers.
inline constexpr size_t kIdBytesMin = 13;
/// Appends the keys of pairs of neighbouring words: of two words of letters with one space between.
/// In every encoded line that holds `needle` those lie in one piece, and so does what the filter
/// was told. Words at the ends of the needle may go on outside of it and make no pair.
void AddPairKeys(std::string_view needle, std::vector<uint64_t>* keys);
/// Appends the keys of the minimizers of `id` (k = 6, windows of 8). Source: Schleimer, Wilkerson,
/// Aiken, "Winnowing: Local Algorithms for Document Fingerprinting" (2003).
void AddIdKeys(std::string_view id, std::vector<uint64_t>* keys);
/// Runs of at least this many digits are numbers, whatever stands around them: every piece of a
/// number that is as long has one of its minimizers.
inline constexpr size_t kNumberBytesMin = 9;
/// Appends the keys of the minimizers of all numbers in `word` (k = 6, windows of 4).
void AddNumberKeys(std::string_view word, std::vector<uint64_t>* keys);

/// Collects the keys of texts: each about once. Behind each text are kTextPadding bytes that may be
/// read.
class KeyCollector {
 public:
  /// `vocabulary` may be null.
  void Start(std::vector<uint64_t>* keys, Vocabulary* vocabulary);
  /// Adds WordKey of every word with a letter, AddIdKeys of long ones with a digit, AddNumberKeys,
  /// the pairs that AddPairKeys may ask for, and to the vocabulary the words for which InVocabulary
  /// holds.
  void Add(std::string_view text);
  /// Does the same for a text that stays until Finish, unless it came lately.
  void AddValue(std::string_view text);
  /// Adds what is left to do.
  void Finish() { PassWords(); }
  /// Adds a word of digits.
  void AddDigits(std::string_view word) {
    if (word.size() >= kNumberBytesMin && !Recent(hash_.Padded(word))) AddNumberKeys(word, keys_);
  }

 private:
  /// The last word of a text that was of letters alone.
  struct Before {
    std::string_view word;
    uint64_t hash = 0;
  };
  size_t AddLongWord(std::string_view text, Before* before);
  void AddWord(std::string_view word, const WordBytes& bytes, uint64_t mask, Before* before);
  void AddWords(std::string_view text);
  void PassWords() {
    if (vocabulary_ != nullptr) vocabulary_->Add(words_);
    words_.clear();
  }
  /// Repeats do no harm, they only cost: a small memory of the last hashes is enough.
  bool Recent(uint64_t hash) {
    uint64_t& slot = recent_[hash >> 52];
    if (slot == hash) return true;
    slot = hash;
    return false;
  }

  const WordHash hash_;
  std::vector<uint64_t>* keys_ = nullptr;
  Vocabulary* vocabulary_ = nullptr;
  std::vector<Vocabulary::Hashed> words_;  // for it, of texts that stay
  std::array<uint64_t, 4096> recent_;
  std::array<std::string_view, 2048> values_;
};

}  // namespace varve::logs
