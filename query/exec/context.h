#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/arena.h"
#include "query/exec/thread_pool.h"
#include "query/exec/tile.h"
#include "varve/query.h"

namespace varve::query {

/// Separates several places in one text: those of equal parts of a query, evaluated once.
inline constexpr char kPlaceSeparator = '|';

/// Collects warnings and infos, each once. Thread-safe.
class AnnotationSink {
 public:
  enum class Kind : uint8_t { kWarning, kInfo };
  /// `place` is "line:column" of what the note is about, or several of them.
  void Add(Kind kind, std::string_view text, std::string_view place);
  /// Gives all of them, sorted by text: the order must not depend on threads.
  Annotations Take();

 private:
  absl::Mutex mutex_;
  std::map<std::string, Kind, std::less<>> notes_ ABSL_GUARDED_BY(mutex_);
};

/// Who counts samples, as Prometheus does: what a subquery selects inside counts only once it is in
/// the windows over the subquery, and what is the same at every step is read once but counts at
/// each. Equal parts are evaluated once and count as often as they are written.
struct SampleAccount {
  enum class Kind : uint8_t { kPerStep, kEveryStep, kNone };
  Kind kind = Kind::kPerStep;
  uint64_t times = 1;
};

/// Counts the samples that the steps of one operator looked at. One a thread.
class SampleCounter {
 public:
  /// `per_step` also keeps a count for each of `steps`.
  void Start(bool per_step, uint32_t steps) {
    per_step_ = per_step;
    if (per_step) steps_.assign(steps, 0);
  }
  bool per_step() const { return per_step_; }
  void Add(uint32_t step, uint64_t samples) {
    total_ += samples;
    if (per_step_) steps_[step] += samples;
  }
  /// Adds what is known to lie in the steps together; only without per_step().
  void AddTotal(uint64_t samples) { total_ += samples; }

 private:
  friend struct ExecContext;
  bool per_step_ = false;
  uint64_t total_ = 0;
  std::vector<uint64_t> steps_;
};

/// What a running query may use and what it has used. Thread-safe.
class Budget {
 public:
  Budget(uint64_t samples_max, uint64_t bytes_max)
      : samples_max_(samples_max), bytes_max_(bytes_max) {}
  /// Takes points and bytes. Errors: kResourceExhausted in Prometheus's words.
  Status Take(uint64_t samples, uint64_t bytes);
  void Give(uint64_t samples, uint64_t bytes);
  /// Checks a need that is not kept.
  Status Check(uint64_t samples) const;
  uint64_t samples_max() const { return samples_max_; }
  uint64_t peak_samples() const { return peak_samples_.load(std::memory_order_relaxed); }
  uint64_t peak_bytes() const { return peak_bytes_.load(std::memory_order_relaxed); }

 private:
  const uint64_t samples_max_;
  const uint64_t bytes_max_;
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> bytes_{0};
  mutable std::atomic<uint64_t> peak_samples_{0};
  std::atomic<uint64_t> peak_bytes_{0};
};

/// Everything that the operators of one query share. Owned by the engine while the query runs.
struct ExecContext {
  ExecContext(const EngineOptions& o, uint64_t samples_max, ThreadPool* p)
      : options(o), pool(p), budget(samples_max, o.memory_bytes_max) {}

  const EngineOptions& options;
  ThreadPool* pool;
  std::shared_ptr<const Snapshot> snapshot;
  std::string_view text;  // of the query, for places in notes
  int64_t lookback_ms = 0;
  bool delayed_names = false;
  StepGrid query_grid;  // of the whole query; subqueries have grids of their own

  Budget budget;
  AnnotationSink annotations;
  std::shared_ptr<const Cancellation> cancellation;
  bool has_deadline = false;
  std::chrono::steady_clock::time_point deadline;
  std::chrono::milliseconds timeout{0};

  // Statistics; added to by any thread.
  std::atomic<uint64_t> total_samples{0};
  bool per_step_stats = false;
  std::vector<uint64_t> samples_per_step;  // of query_grid, if asked for; the query's own thread
  std::atomic<uint64_t> samples_read{0};
  std::atomic<uint64_t> series_selected{0};

  /// The account of the operators that are being made; they remember it.
  SampleAccount account;
  /// Starts a counter of an operator over `grid`.
  void StartCounter(SampleAccount of, const StepGrid& grid, SampleCounter* counter) const {
    counter->Start(per_step_stats && of.kind == SampleAccount::Kind::kPerStep, grid.count);
  }
  /// Takes what a counter has counted and sets it to zero. On the query's own thread.
  void Count(SampleAccount of, SampleCounter* counter);

  /// Polls for cancellation and the deadline; operators call it at least once a tile.
  Status Poll() const;

  /// Makes labels that live as long as the query. Not thread-safe: only while operators open.
  LabelsView KeepLabels(std::span<const LabelView> labels);  // copies views, not bytes
  std::string_view KeepBytes(std::string_view bytes) { return bytes_.Copy(bytes); }

 private:
  Arena bytes_{16 * 1024};
  Arena views_{64 * 1024};
};

/// The error of a query that failed while running.
inline Status ExecutionError(std::string_view what) {
  return MakeStatus(StatusCode::kFailedPrecondition, what);
}

}  // namespace varve::query
