#include "tools/tracing/trace_ingest.h"

#include "engine/base/clock.h"

namespace varve::tracing {

TraceIngest::TraceIngest(Database& database, const SpanMetricsOptions& options,
                         std::shared_ptr<Clock> clock)
    : database_(database),
      clock_(clock != nullptr ? std::move(clock) : Clock::Real()),
      metrics_(options) {}

Result<SpanAppendResult> TraceIngest::Append(const SpanBatch& batch) {
  WriteOptions write;
  write.partial = true;
  Result<SpanAppendResult> appended = database_.AppendSpans(batch, write);
  if (!appended.ok()) return appended;
  spans_.fetch_add(appended->spans, std::memory_order_relaxed);
  rejected_.fetch_add(appended->rejected, std::memory_order_relaxed);
  metrics_.Add(batch, appended->rejections, clock_->NowMs());
  return appended;
}

}  // namespace varve::tracing
