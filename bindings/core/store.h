#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/core/arrow.h"
#include "bindings/core/result.h"
#include "bindings/core/search.h"
#include "varve/correlate.h"
#include "varve/database.h"
#include "varve/query.h"
#include "varve/status.h"

namespace varve::bindings {

/// The times of PromQL that bindings accept, years 1 to 9999: far from where a sum with a duration
/// would overflow.
inline constexpr int64_t kTimeMsMin = -62'135'596'800'000;
inline constexpr int64_t kTimeMsMax = 253'402'300'799'999;

/// An open database and its query engines, safe to use from languages where anything may be called
/// at any time: calls after Close fail with kFailedPrecondition, Close waits for the calls that
/// run, and streams that outlive it end with an error. Thread-safe.
class Store : public std::enable_shared_from_this<Store> {
 public:
  static Result<std::shared_ptr<Store>> Open(const Options& options,
                                             const query::EngineOptions& engine);
  ~Store();

  /// Refuses new calls, waits for running ones, closes. The second call does nothing.
  Status Close();
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  const std::string& dir() const { return dir_; }

  /// Runs `work(Database&)` unless the store is closed; `work` returns a Status or a Result.
  template <typename Work>
  auto Call(const Work& work) -> decltype(work(std::declval<Database&>())) {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    if (closed()) return ClosedError();
    return work(*database_);
  }

  /// Errors: also kInvalidArgument for times outside kTimeMsMin and kTimeMsMax.
  Result<std::shared_ptr<const MetricResult>> Instant(std::string_view text, int64_t time_ms,
                                                      const query::QueryOptions& options);
  Result<std::shared_ptr<const MetricResult>> Range(std::string_view text,
                                                    const query::QueryRange& range,
                                                    const query::QueryOptions& options);
  Result<std::string> Explain(std::string_view text, const query::QueryRange& range);

  /// Evaluates TraceQL (like LogQL below, ranges are cut to the years 1700 to 2239): a search gives
  /// traces, a metrics query columns (of MetricResult).
  struct TraceAnswer {
    std::shared_ptr<const query::SearchResult> traces;
    std::shared_ptr<const MetricResult> metrics;
  };
  Result<TraceAnswer> TraceQl(std::string_view text, const query::TraceSearch& search,
                              int64_t step_ms, const query::TraceQueryOptions& options);
  Result<std::string> ExplainTraceQl(std::string_view text);

  /// Evaluates LogQL: a log query gives entries, a metric query columns. `instant` evaluates a
  /// metric query at `range.end_ns`.
  struct LogAnswer {
    std::shared_ptr<const LogResult> entries;
    std::shared_ptr<const MetricResult> metrics;
  };
  Result<LogAnswer> LogQl(std::string_view text, const query::LogQueryRange& range, bool instant,
                          const query::LogQueryOptions& options);
  Result<std::string> ExplainLogQl(std::string_view text);

  /// `selector` is a series selector; empty selects everything.
  Result<std::vector<std::string>> LabelNames(std::string_view selector, TimeRange range);
  Result<std::vector<std::string>> LabelValues(std::string_view name, std::string_view selector,
                                               TimeRange range);
  Result<std::vector<Labels>> Series(std::string_view selector, TimeRange range);
  Result<std::unique_ptr<arrow::Source>> Samples(std::string_view selector, TimeRange range,
                                                 int64_t rows_max);
  Status DeleteSeries(std::string_view selector, TimeRange range);
  /// `query` is a log query of a selector and line filters.
  Status DeleteLogs(std::string_view query, NsRange range);

  Result<std::unique_ptr<arrow::Source>> LogEntries(std::string_view selector, NsRange range,
                                                    int64_t rows_max);
  /// `service` is empty for all.
  Result<std::unique_ptr<arrow::Source>> Spans(const std::string& service, NsRange range);
  /// All spans of a trace, by start time; none if there is no such trace.
  Result<std::shared_ptr<const SpanBatch>> Trace(const TraceId& id);
  /// At most `limit` log entries of a trace, oldest first.
  Result<std::vector<correlate::TraceLog>> LogsOfTrace(const TraceId& id, size_t limit);
  Result<std::vector<std::string>> Services();

 private:
  class GuardedSource;

  Store(std::string dir, std::unique_ptr<Database> database, std::unique_ptr<query::Engine> engine)
      : dir_(std::move(dir)), database_(std::move(database)), engine_(std::move(engine)) {}
  static Status ClosedError();
  query::TraceEngine& trace_engine();
  query::LogEngine& log_engine();

  const std::string dir_;
  const std::unique_ptr<Database> database_;
  const std::unique_ptr<query::Engine> engine_;
  // Made when first asked for: each has threads of its own.
  std::once_flag trace_engine_once_;
  std::unique_ptr<query::TraceEngine> trace_engine_;
  std::once_flag log_engine_once_;
  std::unique_ptr<query::LogEngine> log_engine_;
  std::shared_mutex mutex_;  // shared by calls, exclusive for Close
  std::atomic<bool> closed_{false};
};

}  // namespace varve::bindings
