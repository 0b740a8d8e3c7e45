#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "varve/labels.h"
#include "varve/write_batch.h"

namespace varve::ingest {

/// Remembers which series a run of raw label bytes stood for, so that a known series costs one
/// hash and one probe instead of parsing, sorting and looking up its labels.
///
/// Keys are XXH3-128 hashes of the bytes as they came, so two spellings of one series are two
/// entries; that wastes room, never answers wrongly. An entry may be stale or missing at any
/// time: the database says so, and the caller sends labels.
///
/// Thread-safe. Lookups and inserts run side by side without waiting for each other; only growing
/// a table or turning a generation excludes them, for the time of an allocation and a copy.
///
/// Bounded: when the current generation holds half of `entries_max` it becomes the previous one
/// and the one before goes. Entries that are used move to the current generation, so a series
/// written at least once in a generation is never lost. Memory: 24 bytes a slot, slots at most
/// two thirds full.
class SeriesCache {
 public:
  explicit SeriesCache(size_t entries_max);
  ~SeriesCache();
  SeriesCache(const SeriesCache&) = delete;
  SeriesCache& operator=(const SeriesCache&) = delete;

  /// Fills `refs` (same length as `keys`), 0 where the key is not known. Probes are prefetched, so
  /// a batch costs far less than its keys one by one. Returns how many were found.
  size_t Find(std::span<const SeriesKey> keys, std::span<SeriesRef> refs);

  /// Remembers `refs[i]` for `keys[i]`, replacing what was there; a ref of 0 is passed over.
  void Put(std::span<const SeriesKey> keys, std::span<const SeriesRef> refs);

  /// Forgets everything.
  void Clear();

  size_t entries() const;
  size_t bytes() const;

 private:
  class Table;

  void GrowOrTurn(size_t more) ABSL_LOCKS_EXCLUDED(mutex_);

  const size_t generation_max_;
  mutable absl::Mutex mutex_;  // shared: read and write slots; exclusive: replace tables
  std::unique_ptr<Table> current_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Table> previous_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::ingest
