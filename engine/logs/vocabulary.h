#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "engine/index/value_scan.h"
#include "engine/logs/word_hash.h"

namespace varve::logs {

/// Distinct words, one after another with a line feed behind each: what a search for a piece of a
/// word looks through. Beyond kVocabularyBytesMax nothing is kept, and searches do without.
class Vocabulary {
 public:
  Vocabulary();
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  struct Hashed {
    std::string_view word;
    uint64_t hash;  // WordHash
  };
  /// Adds words. Those that came lately are told by their hash alone: whoever writes words cannot
  /// know it. Many at once wait less for memory. What `words` then holds is of no meaning.
  void Add(std::span<Hashed> words);
  /// Adds words that have a line feed behind each.
  void AddAll(std::string_view words);
  /// Forgets all, for good: some words are not known.
  void Forget();

  bool full() const { return full_; }
  size_t size() const { return known_.size(); }
  /// All words, in order of arrival.
  std::string_view words() const {
    return std::string_view(text_).substr(0, text_.size() - index::kScanPadding);
  }
  /// The same with index::kScanPadding bytes behind them.
  const std::string& text() const { return text_; }
  /// All words, sorted.
  std::string Sorted() const;
  uint64_t memory() const;

 private:
  /// Words are places in text_.
  struct Word {
    using is_transparent = void;
    WordHash hash;
    const std::string* text;
    std::string_view At(uint32_t place) const {
      const std::string_view rest = std::string_view(*text).substr(place);
      return rest.substr(0, rest.find('\n'));
    }
    std::string_view At(std::string_view word) const { return word; }
    std::string_view At(const Hashed& word) const { return word.word; }
    template <typename T>
    size_t operator()(const T& word) const {
      return hash(At(word));
    }
    size_t operator()(const Hashed& word) const { return word.hash; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return At(a) == At(b);
    }
  };

  void AddNew(std::string_view word);

  std::string text_;  // with padding behind the last word
  absl::flat_hash_set<uint32_t, Word, Word> known_;
  std::vector<uint64_t> recent_;  // hashes of words that came lately
  bool full_ = false;
};

}  // namespace varve::logs
