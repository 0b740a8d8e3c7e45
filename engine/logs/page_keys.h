#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/rows.h"
#include "varve/status.h"

namespace varve::logs {

/// What the filter of a closed page of a head should know. Keys may repeat.
struct PageKeys {
  std::vector<uint64_t> keys;  // WordKey, AddIdKeys, AddNumberKeys, MetadataKey
  std::string words;           // those for a vocabulary (InVocabulary), a line feed behind each

  void Clear() {
    keys.clear();
    words.clear();
  }
};

/// Collects the keys of pages. Keeps its memory; not thread-safe.
class PageKeyCollector {
 public:
  /// Replaces `out` by the keys of `rows`, which DecodePage took from `page`. What the LZ4 block of
  /// that repeats is not read again: a word that lies in a match with the bytes around it was met
  /// before.
  /// Errors: those of InterruptCheck::Interrupted, looked at every few milliseconds.
  Status Collect(std::string_view page, const Rows& rows, PageKeys* out);

 private:
  class Matches;
  bool Recent(uint64_t hash);
  Status AddWord(std::string_view word, uint8_t classes, PageKeys* out);
  Status AddLines(const Rows& rows, Matches* matches, PageKeys* out);

  std::vector<uint64_t> borders_;  // a bit for each byte of text: 1 where a line begins
  std::vector<uint64_t> recent_;
};

}  // namespace varve::logs
