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

/// Collects warnings and infos, each once. Thread-safe.
class AnnotationSink {
 public:
  enum class Kind : uint8_t { kWarning, kInfo };
  /// `place` is "line:column" of what the note is about.
  void Add(Kind kind, std::string_view text, std::string_view place);
  /// Gives all of them, sorted by text: the order must not depend on threads.
  Annotations Take();

 private:
  absl::Mutex mutex_;
  std::map<std::string, Kind, std::less<>> notes_ ABSL_GUARDED_BY(mutex_);
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
  std::atomic<uint64_t> samples_read{0};
  std::atomic<uint64_t> series_selected{0};

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
