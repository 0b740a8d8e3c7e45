#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/vocabulary.h"

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
  struct Resolved {
    uint64_t scan;
    uint64_t version;
    std::shared_ptr<const NeededKeys> needed;
  };

  std::atomic<uint64_t> bytes_{0};
  mutable absl::Mutex mutex_;
  Vocabulary vocabulary_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable std::vector<Resolved> resolved_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::logs
