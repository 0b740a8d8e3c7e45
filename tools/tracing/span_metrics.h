#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/strings.h"
#include "varve/sample.h"
#include "varve/span_batch.h"
#include "varve/write_batch.h"

namespace varve::tracing {

struct SpanMetricsOptions {
  bool span_metrics = true;   // traces_spanmetrics_*
  bool service_graph = true;  // traces_service_graph_*
  bool dependencies = true;   // traces_dependencies_calls_total{parent,child}
  /// Names as Jaeger's SPM asks for them: traces_span_metrics_calls_total and
  /// traces_span_metrics_duration_milliseconds_*, labels service_name, span_name, ... Tempo's
  /// names otherwise.
  bool jaeger_names = false;
  /// Series of each kind; services and operations past it are counted as "other".
  size_t series_max = 10'000;
  /// How long one half of a client-server pair waits for the other.
  int64_t pair_wait_ms = 10'000;
  size_t pairs_max = 100'000;
};

/// Calls from one service to another.
struct ServiceEdge {
  std::string client;
  std::string server;
  /// Empty for a call, "messaging_system", "database" or "virtual_node".
  std::string connection;
  uint64_t calls = 0;
  uint64_t failed = 0;
};

/// The series of dependencies.
inline constexpr std::string_view kDependenciesMetric = "traces_dependencies_calls_total";

/// Computes rate, errors and duration of every operation, and the graph of services, from spans as
/// they come: what Tempo's metrics-generator makes. State is bounded. Thread-safe.
///
/// Counters start at 0 with the process; each dump appends all series as ordinary samples, so that
/// PromQL sees resets as it always does.
class SpanMetrics {
 public:
  explicit SpanMetrics(const SpanMetricsOptions& options);
  ~SpanMetrics();

  /// Counts the spans of `batch` except those in `rejections`.
  void Add(const SpanBatch& batch, const std::vector<SpanRejection>& rejections, int64_t now_ms);
  /// Gives up on pairs that have waited long enough: their peer becomes a virtual node if the span
  /// names one.
  void Expire(int64_t now_ms);
  /// Adds a sample at `now_ms` of every series to `batch`.
  void Dump(int64_t now_ms, WriteBatch* batch) const;
  /// Returns the edges of the service graph seen so far.
  std::vector<ServiceEdge> Edges() const;
  /// Returns calls from parent to child seen so far.
  struct Dependency {
    std::string parent;
    std::string child;
    uint64_t calls = 0;
  };
  std::vector<Dependency> Dependencies() const;
  uint64_t pairs_dropped() const;

  const SpanMetricsOptions& options() const { return options_; }

  /// Upper bounds of the latency histograms in seconds: 2 ms * 2^n, 14 of them.
  static constexpr size_t kBuckets = 14;

 private:
  struct State;

  const SpanMetricsOptions options_;
  mutable absl::Mutex mutex_;
  std::unique_ptr<State> state_ ABSL_PT_GUARDED_BY(mutex_);
};

}  // namespace varve::tracing
