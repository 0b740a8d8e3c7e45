#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
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
#include "engine/index/label_order.h"
#include "engine/index/matchers.h"
#include "engine/index/memory_index.h"
#include "engine/logs/head_words.h"
#include "engine/logs/rows.h"
#include "engine/logs/wal_batch.h"
#include "varve/log_batch.h"
#include "varve/log_scan.h"
#include "varve/options.h"

namespace varve::logs {

/// Writes one record to the log and returns once its place is fixed, not once it is durable.
using LogFn = std::function<Status(std::span<const std::string_view> pieces)>;

/// A batch that was judged and encoded: all that costs much and needs no order, so that it happens
/// before the append lock is taken. Borrows the LogBatch.
class PreparedBatch {
 public:
  /// Errors, unless `options.partial`: kInvalidArgument for the first entry that is rejected.
  static Result<PreparedBatch> Make(const LogBatch& batch, const Limits& limits,
                                    const WriteOptions& options);

 private:
  friend class Head;
  /// Encodes the entries that are not rejected.
  void Encode();
  void Reject(uint32_t entry, LogRejectReason reason, std::string detail);
  Status RejectionError() const;

  const LogBatch* batch_ = nullptr;
  WriteOptions options_;
  LogAppendResult result_;
  std::vector<SeriesKey> keys_;       // of streams by labels
  std::vector<bool> stream_ok_;       // by batch stream
  std::vector<bool> entry_rejected_;  // empty: none
  std::vector<uint32_t> used_;        // batch streams that entries name, in order of first use
  std::vector<EntryView> entries_;    // accepted; their streams are positions in used_
  std::string page_;
};

/// Holds the entries that are in no block yet: for each stream a list of closed pages and an open
/// one, all in arrival order. Sealing freezes a head whole; a frozen head never changes.
///
/// A closed page gets a filter of its words, ids and metadata from the first scan that asks for any
/// of those and has to inflate it: writing pays nothing for it, and no later scan for what the page
/// has not inflates it again.
///
/// Threads: Append and Replay come from one thread at a time (the append lock); everything const
/// may run beside them.
///
/// Isolation: each batch has a sequence number, and a reader sees the state after the sequence it
/// pinned. Entries are append-only, so the state of a page is a count; a page remembers the counts
/// of those sequences that a reader has pinned at some time.
class Head {
 public:
  Head(uint32_t id, const Limits& limits, int64_t newest_time_ns);
  ~Head();
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  /// Logs a batch and applies it. Errors: those of `log`, kResourceExhausted for the limit of
  /// streams; the head is then unchanged.
  Result<LogAppendResult> Append(PreparedBatch* prepared, const LogFn& log);
  /// Applies a logged record again. Errors: kDataLoss for a payload that makes no sense.
  Status Replay(std::string_view payload);

  uint32_t id() const { return id_; }
  int64_t newest_time_ns() const { return newest_time_ns_.load(std::memory_order_relaxed); }
  NsRange range() const;  // of this head's own entries
  uint64_t entries() const { return entries_.load(std::memory_order_relaxed); }
  uint64_t line_bytes() const { return line_bytes_.load(std::memory_order_relaxed); }
  uint64_t stream_count() const { return stream_count_.load(std::memory_order_relaxed); }
  uint64_t replayed_entries() const { return replayed_entries_; }
  /// Memory in use, estimated from what was allocated.
  uint64_t approximate_bytes() const {
    return bytes_.load(std::memory_order_relaxed) + words_->bytes();
  }

  // --- Reading at a sequence; streams are named by their ordinal ---

  /// Names the state of now, which stays readable. Call under the append lock.
  uint64_t Pin() const;

  /// Finds streams in label order that match and may have entries in `range`.
  std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers, uint64_t pin,
                               NsRange range) const;
  void GetLabels(uint32_t stream, std::vector<LabelView>* out) const;
  std::string_view GetLabel(uint32_t stream, std::string_view name) const;
  /// Appends the pages of a stream that may hold entries in `range`, in arrival order.
  void GetChunks(uint32_t stream, uint64_t pin, NsRange range, std::vector<LogChunk>* out) const;
  /// Adds what the pages of a stream hold, from their heads.
  void AddVolume(uint32_t stream, uint64_t pin, NsRange range, LogVolume* out) const;
  void WithIndex(const std::function<void(const index::MemoryIndex&)>& use) const;
  /// Returns the names of metadata that entries of this head have.
  std::vector<std::string> MetadataNames() const;

 private:
  struct Page;
  struct OpenPage;
  struct Stream;
  struct PageChunk;
  struct OpenChunk;

  uint32_t Find(const SeriesKey& key) const;
  uint32_t Create(const SeriesKey& key, LabelsView labels) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Apply(std::span<const uint32_t> ordinals, std::span<const EntryView> entries,
             std::string page) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddPage(Stream* stream, NsRange range, size_t entries, uint64_t line_bytes,
               std::string bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseOpenPage(Stream* stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteNames(std::span<const EntryView> entries) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Records that the state after the current batch has `count` entries in a page.
  void Mark(std::vector<std::pair<uint64_t, uint32_t>>* marks, uint32_t count) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint32_t id_;
  const Limits limits_;
  const std::shared_ptr<HeadWords> words_ = std::make_shared<HeadWords>();
  std::atomic<int64_t> newest_time_ns_;
  std::atomic<int64_t> min_time_ns_{kMaxTime}, max_time_ns_{kMinTime};
  std::atomic<uint64_t> entries_{0}, line_bytes_{0}, stream_count_{0}, bytes_{0};

  // Written under the append lock only.
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> by_key_;
  uint64_t replayed_entries_ = 0;
  std::string streams_bytes_;

  mutable absl::Mutex mutex_;
  uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  mutable uint64_t newest_pin_ ABSL_GUARDED_BY(mutex_) = 0;  // of all time
  index::MemoryIndex index_ ABSL_GUARDED_BY(mutex_);
  mutable index::LabelOrder label_order_ ABSL_GUARDED_BY(mutex_);
  std::vector<Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> metadata_names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::logs
