#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/arena.h"
#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "engine/block/plan.h"
#include "engine/index/stable_vector.h"
#include "engine/traces/source.h"
#include "engine/traces/wal_batch.h"
#include "varve/options.h"
#include "varve/span_batch.h"
#include "varve/write_batch.h"

namespace varve::traces {

/// Writes one record to the log and returns once its place is fixed, not once it is durable.
using LogFn = std::function<Status(std::span<const std::string_view> pieces)>;

/// A span's attribute in a head: 16 bytes. Texts are numbers of the head's strings.
struct HeadAttribute {
  uint32_t key = 0;  // into the head's keys
  ValueType type = ValueType::kEmpty;
  uint64_t bits = 0;  // string number, integer, bits of a double, 0 or 1
};
struct HeadAttributes {
  const HeadAttribute* data = nullptr;
  uint32_t count = 0;
  std::span<const HeadAttribute> view() const { return {data, count}; }
};
struct HeadEvent {
  int64_t time_ns = 0;
  uint32_t name = 0;
  uint32_t dropped_attributes = 0;
  HeadAttributes attributes;
};
struct HeadLink {
  TraceId trace_id;
  SpanId span_id;
  uint32_t trace_state = 0;
  uint32_t dropped_attributes = 0;
  uint32_t flags = 0;
  HeadAttributes attributes;
};
struct HeadResource {
  HeadAttributes attributes;
  uint32_t schema_url = 0;
  uint32_t dropped_attributes = 0;
  uint32_t service = 0;                // string number
  std::vector<AttributeView> decoded;  // the same attributes, for readers
};
struct HeadScope {
  uint32_t resource = 0;
  uint32_t name = 0;
  uint32_t version = 0;
  uint32_t schema_url = 0;
  uint32_t dropped_attributes = 0;
  HeadAttributes attributes;
  std::vector<AttributeView> decoded;
};
struct HeadRow {
  TraceId trace_id;
  SpanId span_id;
  SpanId parent_id;
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  uint32_t name = 0;
  uint32_t scope = 0;
  uint32_t trace_state = 0;
  uint32_t status_message = 0;
  uint32_t flags = 0;
  uint32_t dropped_attributes = 0;
  uint32_t dropped_events = 0;
  uint32_t dropped_links = 0;
  uint32_t previous = UINT32_MAX;  // row of the same trace before this one
  SpanKind kind = SpanKind::kUnspecified;
  SpanStatus status = SpanStatus::kUnset;
  HeadAttributes attributes;
  const HeadEvent* events = nullptr;
  const HeadLink* links = nullptr;
  uint32_t event_count = 0;
  uint32_t link_count = 0;
};

/// Holds the spans that are in no block yet, as rows in arrival order with every text interned;
/// beside them a table of traces and one of span keys. Sealing freezes a head whole and starts a
/// new one; a frozen head never changes.
///
/// Threads: Append and Replay come from one thread at a time (the database's append lock);
/// everything const may run beside them. A reader pins a number of rows: rows before it, and what
/// they point to, never change and never move. Tables are under index_mutex_; no I/O under it.
class Head : public std::enable_shared_from_this<Head> {
 public:
  /// `newest_time_ns` is the newest start of all spans ever stored, INT64_MIN for none. `clock`
  /// tells when spans come; null: it does not matter.
  Head(const Limits& limits, int64_t newest_time_ns, std::shared_ptr<Clock> clock = nullptr);
  ~Head();
  Head(const Head&) = delete;
  Head& operator=(const Head&) = delete;

  /// Validates a batch, logs what is accepted, applies it. Errors as Database::AppendSpans, and
  /// those of `log`; the head then holds what it held before.
  Result<SpanAppendResult> Append(const SpanBatch& batch, const WriteOptions& options,
                                  const LogFn& log);
  /// Applies a logged batch again. Errors: kDataLoss for a payload that makes no sense.
  Status Replay(std::string_view payload);

  uint32_t rows() const { return rows_published_.load(std::memory_order_acquire); }
  int64_t newest_time_ns() const { return newest_time_ns_.load(std::memory_order_relaxed); }
  /// The starts of this head's own spans; empty when there are none.
  NsRange range() const;
  /// When the first and the last of its spans came, in Unix ns.
  block::TimeSpan arrivals() const {
    return {first_arrival_ns_.load(std::memory_order_relaxed),
            last_arrival_ns_.load(std::memory_order_relaxed)};
  }
  /// Memory in use, estimated from what was allocated.
  uint64_t approximate_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t trace_count() const;
  /// Tells that two spans had one hash, so that repeats of the second may have been taken.
  bool may_repeat_spans() const { return hashes_met_.load(std::memory_order_relaxed); }

  // --- Reading; everything that rows before a pinned number refer to ---

  const HeadRow& row(uint32_t i) const { return row_store_[i]; }
  const HeadScope& scope(uint32_t i) const { return scopes_[i]; }
  const HeadResource& resource(uint32_t i) const { return resources_[i]; }
  std::string_view string(uint32_t i) const { return strings_[i]; }
  std::string_view key(uint32_t i) const { return keys_[i].text; }
  ValueView ValueOf(const HeadAttribute& attribute) const;
  /// Starts of the first `count` whole units of kUnitRows rows.
  std::vector<Unit> Units(uint32_t rows) const;
  static constexpr uint32_t kUnitRows = 4096;
  static constexpr uint32_t kNone = UINT32_MAX;

  /// Returns the newest row of a trace, kNone if there is none; older ones follow by `previous`.
  uint32_t LastRowOf(const TraceId& id) const;
  uint32_t FindString(std::string_view text) const;
  uint32_t FindKey(std::string_view text) const;
  uint32_t scope_count() const;
  void AddServices(std::set<std::string>* out) const;
  void AddOperations(std::string_view service, std::set<Operation>* out) const;
  void AddTagNames(AttributeScope scope, TagNameMap* out) const;
  /// Lists all traces as (newest row).
  std::vector<uint32_t> LastRows() const;

 private:
  struct Key {
    std::string_view text;
    std::array<uint8_t, 6> types;  // by AttributeScope: bits 1 << ValueType
    uint32_t last_value;           // the string that an attribute of this key had last
  };
  struct SpanKeyHash {
    size_t operator()(uint64_t hash) const { return hash; }
  };
  struct TraceIdHash {
    size_t operator()(const TraceId& id) const;
  };
  struct OperationKey {
    uint32_t service;
    uint32_t name;
    SpanKind kind;
    friend bool operator==(const OperationKey&, const OperationKey&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const OperationKey& k) {
      return H::combine(std::move(h), k.service, k.name, static_cast<uint8_t>(k.kind));
    }
  };

  uint32_t Intern(std::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  uint32_t InternKey(std::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  HeadAttributes InternAttributes(AttributesView attributes, AttributeScope level)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  uint32_t InternResource(const SpanBatch& batch, const SpanBatch::Resource& resource)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  uint32_t InternScope(const SpanBatch& batch, const SpanBatch::Scope& scope, uint32_t resource)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  std::vector<AttributeView> Decode(HeadAttributes attributes) const;
  void PrefetchKey(const SpanBatch::Span& span) const ABSL_SHARED_LOCKS_REQUIRED(index_mutex_);
  /// Stages the spans of a batch that were not rejected; none were if `rejected` is empty.
  void StageBatch(const SpanBatch& batch, const std::vector<bool>& rejected)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  /// Adds a row, or returns false for one that repeats a stored span.
  bool StageSpan(const SpanBatch& batch, const SpanBatch::Span& span, uint32_t scope)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  void RollBack(uint32_t rows) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_);
  void Publish();
  std::string CheckAttributes(AttributesView attributes, uint64_t* count, uint64_t* bytes,
                              SpanRejectReason* reason) const;
  /// What is wrong with a scope or its resource is wrong with each of its spans.
  struct ScopeVerdict {
    bool judged = false;
    SpanRejectReason reason = SpanRejectReason::kInvalidAttribute;
    std::string fault;
  };
  Status JudgeScope(const SpanBatch& batch, uint32_t scope, ScopeVerdict* out) const;
  /// Tells of each span whether it is rejected, and counts them. Errors: for a batch that makes no
  /// sense, and for one that is to be taken whole or not at all.
  Result<std::vector<bool>> Judge(const SpanBatch& batch, const WriteOptions& options,
                                  SpanAppendResult* result) const;
  std::string CheckSpan(const SpanBatch& batch, const SpanBatch::Span& span,
                        SpanRejectReason* reason) const;
  template <typename T>
  T* AllocateArray(size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mutex_) {
    return reinterpret_cast<T*>(arena_.Allocate(count * sizeof(T), alignof(T)));
  }

  const Limits limits_;
  const std::shared_ptr<Clock> clock_;
  std::atomic<int64_t> first_arrival_ns_{0}, last_arrival_ns_{0};
  std::atomic<uint32_t> rows_published_{0};
  std::atomic<int64_t> newest_time_ns_;
  std::atomic<int64_t> min_start_ns_{INT64_MAX};
  std::atomic<int64_t> max_start_ns_{INT64_MIN};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<bool> hashes_met_{false};

  // Written under index_mutex_ by the one writer; elements are read without it, by number.
  index::StableVector<HeadRow> row_store_;
  index::StableVector<HeadScope> scopes_;
  index::StableVector<HeadResource> resources_;
  index::StableVector<std::string_view> strings_;
  index::StableVector<Key> keys_;
  index::StableVector<Unit> units_;  // of whole units of published rows

  mutable absl::Mutex index_mutex_;
  Arena arena_ ABSL_GUARDED_BY(index_mutex_);
  uint32_t rows_staged_ ABSL_GUARDED_BY(index_mutex_) = 0;
  StringViewMap<uint32_t> string_table_ ABSL_GUARDED_BY(index_mutex_);
  StringViewMap<uint32_t> key_table_ ABSL_GUARDED_BY(index_mutex_);
  StringMap<uint32_t> resource_table_ ABSL_GUARDED_BY(index_mutex_);
  StringMap<uint32_t> scope_table_ ABSL_GUARDED_BY(index_mutex_);
  absl::flat_hash_map<TraceId, uint32_t, TraceIdHash> traces_ ABSL_GUARDED_BY(index_mutex_);
  absl::flat_hash_map<uint64_t, uint32_t, SpanKeyHash> span_keys_ ABSL_GUARDED_BY(index_mutex_);
  absl::flat_hash_set<OperationKey> operations_ ABSL_GUARDED_BY(index_mutex_);
  OperationKey last_operation_ ABSL_GUARDED_BY(index_mutex_){UINT32_MAX, 0, SpanKind::kUnspecified};
  std::vector<uint32_t> key_stamp_ ABSL_GUARDED_BY(index_mutex_);  // by key: set it was last in
  std::vector<uint32_t> last_keys_ ABSL_GUARDED_BY(index_mutex_);  // of the attribute set before
  uint32_t stamp_ ABSL_GUARDED_BY(index_mutex_) = 0;
  WalBatchEncoder encoder_;
};

/// Pins `head` at its current state. Call under the append lock.
SourcePtr MakeHeadSource(std::shared_ptr<const Head> head);

}  // namespace varve::traces
