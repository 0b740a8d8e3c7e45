#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "query/plan/identity.h"
#include "varve/query.h"
#include "varve/stability.h"

namespace varve::query {

/// Names a query whose answers for equal steps are equal: what it computes, the lookback, and which
/// steps (step and phase), or which time.
struct ResultKey {
  plan::PlanKey plan{};
  int64_t lookback_ms = 0;
  int64_t step_ms = 0;   // 0: an instant query
  int64_t phase_ms = 0;  // of the steps, in [0, step); the time of an instant query
  friend bool operator==(const ResultKey&, const ResultKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const ResultKey& k) {
    return H::combine(std::move(h), k.plan, k.lookback_ms, k.step_ms, k.phase_ms);
  }
};

/// The answer of a query for the steps from `first_ms` to `last_ms`: a Matrix with series in label
/// order, or what an instant query gave.
struct CachedResult {
  Stability state;  // of the snapshot that was asked, or of a later one that has the same answer
  int64_t first_ms = 0;
  int64_t last_ms = 0;
  std::shared_ptr<const Value> value;
  std::shared_ptr<AnswerText> text = std::make_shared<AnswerText>();

  const Matrix& series() const { return std::get<Matrix>(*value); }
};

/// Keeps answers of queries, least recently used first out. Thread-safe. How much of one
/// still holds, its reader asks its snapshot.
class ResultCache {
 public:
  explicit ResultCache(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  /// Returns what is kept of a query in this epoch, or null. An entry of another epoch goes.
  std::shared_ptr<const CachedResult> Find(const ResultKey& key, uint64_t epoch);
  /// Keeps an answer instead of what was kept of the query. Ignored if it is too large.
  void Put(const ResultKey& key, CachedResult result);
  /// Tells whether this was asked before of the same query, not too many others ago.
  bool AskedAgain(const ResultKey& key);
  ResultCacheStats stats() const;
  /// The size up to which Put takes an answer.
  uint64_t entry_bytes_max() const { return bytes_max_ / 4; }

 private:
  struct Entry {
    ResultKey key;
    std::shared_ptr<const CachedResult> result;
    uint64_t value_bytes = 0;
    uint64_t bytes = 0;  // with the text, as far as it has been counted
  };
  /// Counts a text that has come to an entry since.
  void CountText(Entry* entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Shrink() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Erase(std::list<Entry>::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const uint64_t bytes_max_;
  /// Hashes of queries, each in the place that it says.
  std::array<std::atomic<uint64_t>, 1024> asked_{};
  mutable absl::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  absl::flat_hash_map<ResultKey, std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  ResultCacheStats stats_ ABSL_GUARDED_BY(mutex_);
};

/// Copies the points of `from` in [first, last].
Matrix SliceTimes(const Matrix& from, int64_t first_ms, int64_t last_ms);
/// Puts `later` behind `earlier`: both in label order, all times of `later` after those of
/// `earlier`.
Matrix JoinTimes(Matrix earlier, Matrix later);
/// Estimates the memory of a result.
uint64_t BytesOf(const Value& value);

}  // namespace varve::query
