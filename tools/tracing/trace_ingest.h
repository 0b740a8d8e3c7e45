#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>

#include "tools/tracing/span_metrics.h"
#include "varve/database.h"

namespace varve {
class Clock;
}

namespace varve::tracing {

/// The one way in for spans, whatever protocol brought them: stores them, then lets the metrics
/// derived from spans see what was stored. Thread-safe.
class TraceIngest {
 public:
  /// `database` must outlive it; `clock` null: the real one.
  TraceIngest(Database& database, const SpanMetricsOptions& options,
              std::shared_ptr<Clock> clock = nullptr);

  /// Appends the good spans of `batch`; what is refused is listed in the result.
  Result<SpanAppendResult> Append(const SpanBatch& batch);

  SpanMetrics& metrics() { return metrics_; }
  uint64_t spans() const { return spans_.load(std::memory_order_relaxed); }
  uint64_t rejected() const { return rejected_.load(std::memory_order_relaxed); }

 private:
  Database& database_;
  const std::shared_ptr<Clock> clock_;
  SpanMetrics metrics_;
  std::atomic<uint64_t> spans_{0};
  std::atomic<uint64_t> rejected_{0};
};

}  // namespace varve::tracing
