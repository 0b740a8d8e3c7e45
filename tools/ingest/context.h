#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/hash.h"
#include "tools/ingest/series_cache.h"
#include "varve/database.h"

namespace varve {
class Clock;
}

namespace varve::ingest {

/// The answer to one HTTP request, ready to be written out.
struct HttpOutcome {
  int status = 204;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // plain text; the error, named, where status >= 400
};

struct IngestOptions {
  /// Bounds a body after decompression. Checked against the declared length before anything is
  /// allocated, and again while inflating.
  uint64_t decoded_bytes_max = 32ull << 20;
  /// Unset: what the database was opened with.
  std::optional<Durability> durability;
  /// How far ahead of the clock a sample may be. A single sample from the far future would move
  /// the out-of-order window past everything else. 0: unbounded.
  int64_t future_ms_max = 10 * 60 * 1000;
  /// Bounds the cache from raw label bytes to series: about 40 bytes an entry.
  size_t series_cache_entries_max = 8'000'000;
  /// How many errors a partial write describes one by one.
  uint32_t errors_max = 100;
};

/// What the ingest side has done since it was made. Monotone.
struct IngestCounters {
  std::atomic<uint64_t> requests{0};
  std::atomic<uint64_t> requests_failed{0};  // answered with status >= 400
  std::atomic<uint64_t> bytes_received{0};   // as they came over the wire
  std::atomic<uint64_t> bytes_decoded{0};
  std::atomic<uint64_t> samples{0};  // accepted, histograms not included
  std::atomic<uint64_t> histograms{0};
  std::atomic<uint64_t> exemplars{0};
  std::atomic<uint64_t> exemplars_rejected{0};
  std::atomic<uint64_t> rows_rejected{0};          // samples and histograms that the store refused
  std::atomic<uint64_t> series_invalid_labels{0};  // skipped or refused before the store saw them
  std::atomic<uint64_t> stale_ref_retries{0};
};

/// Remembers what metadata the database has been told, because senders repeat it with every
/// request. Thread-safe; forgets everything when full, which costs one repetition.
class MetadataSeen {
 public:
  static SeriesKey KeyOf(std::string_view family, uint64_t type, std::string_view help,
                         std::string_view unit);
  bool Contains(const SeriesKey& key) const;
  void Add(const SeriesKey& key);

 private:
  static constexpr size_t kEntriesMax = 200'000;
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<SeriesKey, SeriesKeyHash> keys_ ABSL_GUARDED_BY(mutex_);
};

/// Buffers that one request needs and the next can use again.
struct Scratch;

/// Everything that the handlers of one database share. Thread-safe: handlers may run on any
/// number of threads at once. Keeps `database` by reference: it must outlive this.
class IngestContext {
 public:
  /// `clock` null: the real one.
  IngestContext(Database& database, IngestOptions options, std::shared_ptr<Clock> clock = nullptr);
  ~IngestContext();
  IngestContext(const IngestContext&) = delete;
  IngestContext& operator=(const IngestContext&) = delete;

  Database& database() const { return database_; }
  const IngestOptions& options() const { return options_; }
  SeriesCache& series_cache() { return series_cache_; }
  MetadataSeen& metadata_seen() { return metadata_seen_; }
  IngestCounters& counters() { return counters_; }
  const IngestCounters& counters() const { return counters_; }
  int64_t NowMs() const;
  /// The newest time that a sample may have now.
  int64_t NewestTimeMs() const;

  /// Lends a Scratch for one request; returns it on destruction.
  class Loan {
   public:
    explicit Loan(IngestContext& context);
    ~Loan();
    Loan(const Loan&) = delete;
    Loan& operator=(const Loan&) = delete;
    Scratch* operator->() const { return scratch_.get(); }
    Scratch& operator*() const { return *scratch_; }

   private:
    IngestContext& context_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  struct Pool;

  Database& database_;
  const IngestOptions options_;
  const std::shared_ptr<Clock> clock_;
  SeriesCache series_cache_;
  MetadataSeen metadata_seen_;
  IngestCounters counters_;
  std::unique_ptr<Pool> pool_;
};

}  // namespace varve::ingest
