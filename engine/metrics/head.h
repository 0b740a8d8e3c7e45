#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/hash.h"
#include "engine/codec/gorilla.h"
#include "engine/codec/histogram_codec.h"
#include "engine/index/label_order.h"
#include "engine/index/matchers.h"
#include "engine/index/memory_index.h"
#include "engine/metrics/append_times.h"
#include "engine/metrics/wal_batch.h"
#include "varve/options.h"
#include "varve/scan.h"
#include "varve/write_batch.h"

namespace varve::metrics {

/// The newest sample of a series, by which Prometheus's rules judge the next one.
struct NewestSample {
  int64_t time_ms = kMinTime;
  uint64_t value_bits = 0;  // of the value, or Fingerprint of a histogram
  ChunkKind kind = ChunkKind::kFloat;
  bool known = false;
};

/// How a head learns what blocks hold, so that repeats, conflicts and late samples are recognised
/// whenever and by whichever process a series was sealed. Both are called under the append lock.
struct SealedSamples {
  /// Returns the newest time of all blocks; kMinTime for none. Cheap: called for each batch.
  std::function<int64_t()> newest_time_ms;
  /// Finds the newest sample of a series in the blocks that reach to `since_ms` or beyond; unknown
  /// if there is none. May read blocks.
  std::function<NewestSample(LabelsView labels, int64_t since_ms)> find;
};

/// Writes one record to the log and returns once its place is fixed, not once it is durable.
using LogFn = std::function<Status(std::span<const std::string_view> pieces)>;

struct HeadOptions {
  Limits limits;
  int64_t out_of_order_window_ms = 0;
  int64_t block_range_ms = 0;
};

/// Holds the samples that are in no block yet: for each series a list of Gorilla chunks in time
/// order, and beside it late samples as they came. Sealing freezes a head whole and starts a new
/// one; a frozen head never changes.
///
/// Threads: Append, Replay* and Freeze come from one thread at a time (the database's append
/// lock); everything const may run beside them. Locks, in this order: index_mutex_, one stripe,
/// side_mutex_. No I/O under a stripe.
///
/// Isolation: each append has a sequence number, and a reader sees the state after the sequence
/// it took. Series are append-only, so a state is three counts. The first append that changes a
/// series after a snapshot was taken leaves a mark with the counts of before (Impl: MarkState).
class Head : public std::enable_shared_from_this<Head> {
 public:
  /// `id` makes references of this head differ from those of others; at least 1. `newest_time_ms`
  /// is that of all stored samples, kMinTime for none. `sealed` and `previous` tell the newest
  /// samples of what was stored before; both may be empty.
  Head(uint32_t id, const HeadOptions& options, int64_t newest_time_ms, SealedSamples sealed,
       std::shared_ptr<const Head> previous);
  ~Head();
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  /// Validates a batch, logs what is accepted, applies it. Errors as Database::Append, and those
  /// of `log`; the head is then unchanged.
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions& options,
                              const LogFn& log);
  /// Lets go of the head before this one, whose samples are in blocks now. Under the append lock.
  void ForgetPrevious() { previous_.reset(); }
  /// Asks again what blocks hold: samples of them were deleted, and may be written again, or blocks
  /// were added from elsewhere. Under the append lock.
  void SealedChanged();
  /// Checks that labels are canonical and within the limits. Errors: kInvalidArgument.
  Status CheckLabels(LabelsView labels) const;

  /// Apply logged records again. Errors: kDataLoss for a payload that makes no sense.
  void ReplayEpoch();
  Status ReplayBatch(std::string_view payload);
  uint64_t replayed_samples() const { return replayed_samples_; }

  /// Adds samples without judging or logging them, late ones included: for bulk loads.
  void LoadSamples(LabelsView labels, std::span<const int64_t> times_ms,
                   std::span<const double> values);
  void LoadHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                      std::span<const Histogram> histograms);
  void LoadMetadata(std::string_view family, const Metadata& metadata);

  uint32_t id() const { return id_; }
  uint64_t sequence() const { return sequence_.load(std::memory_order_acquire); }
  /// The newest time of all samples ever stored, in earlier heads too; kMinTime for none.
  int64_t newest_time_ms() const { return newest_time_ms_.load(std::memory_order_relaxed); }
  /// Samples older than this are refused from now on, whatever their series; kMinTime: none are.
  int64_t settled_before_ms() const;
  /// How far back appends have reached, those into earlier heads included.
  const std::shared_ptr<AppendTimes>& append_times() const { return append_times_; }
  /// The times of this head's own samples; min > max when there are none.
  TimeRange range() const;
  uint64_t series_count() const { return series_count_.load(std::memory_order_acquire); }
  uint64_t samples() const { return samples_.load(std::memory_order_relaxed); }
  uint64_t chunks() const { return chunks_.load(std::memory_order_relaxed); }
  uint64_t exemplar_count() const;
  /// Memory in use, estimated from what was allocated.
  uint64_t bytes() const;
  /// The same, cheaply: without the index's own count.
  uint64_t approximate_bytes() const;
  bool empty() const;
  /// Tells that a series exists whose first sample was rejected.
  bool has_empty_series() const {
    return series_with_samples_.load(std::memory_order_relaxed) != series_count();
  }

  // --- Reading at a sequence; series are named by their ordinal ---

  /// Keeps the state after `sequence()` readable until Unpin. Call under the append lock.
  uint64_t Pin() const;
  void Unpin(uint64_t sequence) const;

  /// Finds series in label order that match and may have samples in `range`.
  std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers,
                               TimeRange range) const;
  /// Returns all series in label order.
  std::vector<uint32_t> AllSeries() const;
  void GetLabels(uint32_t series, std::vector<LabelView>* out) const;
  std::string_view GetLabel(uint32_t series, std::string_view name) const;
  /// Appends the chunks of a series that overlap `range`, in time order, disjoint.
  Status GetChunks(uint32_t series, uint64_t sequence, TimeRange range,
                   std::vector<Chunk>* out) const;
  TimeRange SeriesRange(uint32_t series) const;
  /// Asks for the cache lines that GetChunks and SeriesRange read first.
  void Prefetch(uint32_t series) const;

  /// Runs `use` on the index under its lock; views of label bytes outlive the call.
  void WithIndex(const std::function<void(const index::MemoryIndex&)>& use) const;
  std::vector<std::pair<uint32_t, Exemplar>> Exemplars(uint64_t sequence) const;
  std::map<std::string, std::vector<Metadata>> AllMetadata() const;

 private:
  friend class HeadChunkData;
  class Appender;
  class ReplaySink;
  struct ClosedChunk;
  struct Late;
  struct Mark;
  struct Rare;
  struct Series;
  struct Page;
  struct BatchSeries;
  enum class Route : uint8_t { kSkip, kInOrder, kLate };

  static constexpr uint32_t kPageSeries = 1024;
  static constexpr uint32_t kStripes = 64;
  static constexpr uint32_t kChunkSamples = 120;
  static constexpr uint32_t kNoSeries = UINT32_MAX;

  inline Series& At(uint32_t ordinal) const;
  absl::Mutex& StripeOf(uint32_t ordinal) const { return stripes_[ordinal % kStripes]; }
  uint32_t Find(const SeriesKey& key) const;
  uint32_t Create(const SeriesKey& key, LabelsView labels);
  uint32_t FindOrCreate(LabelsView labels);
  /// Returns what this head and those before it know of a series, blocks not asked.
  NewestSample NewestOf(const SeriesKey& key) const;
  /// Makes sure that `entry` knows the newest sample of its series that is in a block.
  void AskSealed(BatchSeries* entry);

  /// Judges one sample by Prometheus's rules (tsdb/head_append.go, memSeries.appendable).
  bool Judge(const NewestSample& newest, int64_t time_ms, uint64_t value_bits, ChunkKind kind,
             int64_t min_valid_ms, Route* route, RejectReason* reason) const;

  void ApplyFloat(Series& series, int64_t time_ms, double value, int64_t start_ms, Route route);
  void ApplyHistogram(Series& series, int64_t time_ms, const Histogram& histogram, int64_t start_ms,
                      Route route);
  void ApplyExemplar(uint32_t ordinal, Exemplar exemplar);
  void ApplyMetadata(std::string_view family, const Metadata& metadata);
  void MarkState(Series& series);
  void Touch(Series& series, int64_t time_ms);
  void CloseChunk(Series& series);
  void NoteSample(int64_t time_ms);

  const uint32_t id_;
  const HeadOptions options_;
  const SealedSamples sealed_;
  std::shared_ptr<const Head> previous_;
  const std::shared_ptr<AppendTimes> append_times_;

  std::atomic<uint64_t> sequence_{0};
  std::atomic<int64_t> newest_time_ms_;
  std::atomic<int64_t> min_time_ms_{kMaxTime};
  std::atomic<int64_t> max_time_ms_{kMinTime};
  std::atomic<uint64_t> series_count_{0};
  std::atomic<uint64_t> series_with_samples_{0};
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> chunks_{0};
  std::atomic<int64_t> chunk_bytes_{0};

  // Written under the append lock only.
  uint32_t batch_number_ = 0;
  WalBatchEncoder encoder_;
  std::vector<BatchSeries> batch_series_;
  std::vector<Route> routes_;
  std::vector<uint32_t> replay_series_;  // logged number -> ordinal, kNoSeries if unknown
  uint64_t replayed_samples_ = 0;
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> by_key_;

  std::unique_ptr<std::atomic<Page*>[]> pages_;
  mutable std::array<absl::Mutex, kStripes> stripes_;

  mutable absl::Mutex index_mutex_;
  index::MemoryIndex index_ ABSL_GUARDED_BY(index_mutex_);
  mutable index::LabelOrder label_order_ ABSL_GUARDED_BY(index_mutex_);

  struct StoredExemplar {
    uint64_t sequence;
    uint32_t series;
    Exemplar exemplar;
  };
  mutable absl::Mutex side_mutex_;
  std::deque<StoredExemplar> exemplars_ ABSL_GUARDED_BY(side_mutex_);
  std::map<std::string, std::vector<Metadata>, std::less<>> metadata_ ABSL_GUARDED_BY(side_mutex_);
  mutable std::multiset<uint64_t> pinned_ ABSL_GUARDED_BY(side_mutex_);
  mutable std::atomic<uint64_t> newest_pin_{0};  // 0: nothing is pinned
};

}  // namespace varve::metrics
