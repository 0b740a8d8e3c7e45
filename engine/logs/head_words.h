#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/strings.h"
#include "engine/logs/line_filter.h"

namespace varve::logs {

/// The vocabulary of those pages of a head that have a filter, which only grows: what the
/// vocabulary section is to a block. Thread-safe.
class HeadWords {
 public:
  HeadWords();
  /// Adds words, with a line feed behind each, and returns the version that has them. Beyond
  /// kVocabularyBytesMax all are forgotten, and queries do without.
  uint64_t Add(std::string_view words);
  /// Turns what a scan needs into keys, as the vocabulary was at `version` or later. Those of the
  /// last few scans are kept.
  std::shared_ptr<const NeededKeys> Needed(const LogScan& scan, uint64_t version) const;

  /// Counts memory of the filters themselves.
  void AddFilterBytes(uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  /// Memory in use, filters included.
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  /// Words are places in text_.
  struct Word {
    using is_transparent = void;
    const std::string* text;
    std::string_view At(uint32_t place) const {
      const std::string_view rest = std::string_view(*text).substr(place);
      return rest.substr(0, rest.find('\n'));
    }
    std::string_view At(std::string_view word) const { return word; }
    template <typename T>
    size_t operator()(const T& word) const {
      return StringHash()(At(word));
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return At(a) == At(b);
    }
  };
  struct Resolved {
    uint64_t scan;
    uint64_t version;
    std::shared_ptr<const NeededKeys> needed;
  };

  std::atomic<uint64_t> bytes_{0};
  mutable absl::Mutex mutex_;
  std::string text_ ABSL_GUARDED_BY(mutex_);  // with padding behind the last word
  absl::flat_hash_set<uint32_t, Word, Word> known_ ABSL_GUARDED_BY(mutex_);
  bool full_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable std::vector<Resolved> resolved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::logs
