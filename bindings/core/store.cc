#include "bindings/core/store.h"

#include <algorithm>
#include <initializer_list>
#include <mutex>
#include <string>
#include <utility>

#include "bindings/core/logs.h"
#include "bindings/core/samples.h"
#include "bindings/core/spans.h"
#include "varve/selector.h"

namespace varve::bindings {
namespace {

Result<std::vector<Matcher>> MatchersOf(std::string_view selector) {
  if (selector.empty()) return std::vector<Matcher>();
  return query::ParseSelector(selector);
}

Result<std::vector<Matcher>> LogMatchersOf(std::string_view selector) {
  if (selector.empty()) return std::vector<Matcher>();
  return query::ParseLogSelector(selector);
}

Status CheckTimes(std::initializer_list<int64_t> times_ms) {
  for (const int64_t time_ms : times_ms) {
    if (time_ms >= kTimeMsMin && time_ms <= kTimeMsMax) continue;
    return MakeStatus(StatusCode::kInvalidArgument, "the time " + std::to_string(time_ms) +
                                                        " ms is not between the years 1 and 9999");
  }
  return absl::OkStatus();
}

// Cuts a time to where the durations of a query may be added: "from the first to the last" is
// often said by the ends of int64.
int64_t Cut(int64_t time_ns) {
  constexpr int64_t kMin = -8'520'336'000'000'000'000;
  constexpr int64_t kMax = 8'520'336'000'000'000'000;
  return std::clamp(time_ns, kMin, kMax);
}

}  // namespace

/// Ends a stream in order when the store was closed under it, and keeps the store while it lives.
class Store::GuardedSource final : public arrow::Source {
 public:
  GuardedSource(std::shared_ptr<Store> store, std::unique_ptr<arrow::Source> source)
      : store_(std::move(store)), source_(std::move(source)) {}

  const std::vector<arrow::Field>& fields() const override { return source_->fields(); }
  Result<bool> Next(std::vector<arrow::ArrayPtr>* columns) override {
    return store_->Call([&](Database&) { return source_->Next(columns); });
  }

 private:
  const std::shared_ptr<Store> store_;  // goes after the source
  const std::unique_ptr<arrow::Source> source_;
};

Status Store::ClosedError() {
  return MakeStatus(StatusCode::kFailedPrecondition, "the database is closed");
}

Result<std::shared_ptr<Store>> Store::Open(const Options& options,
                                           const query::EngineOptions& engine) {
  Result<std::unique_ptr<Database>> database = Database::Open(options);
  if (!database.ok()) return database.status();
  return std::shared_ptr<Store>(
      new Store(options.dir, *std::move(database), query::Engine::Make(engine)));
}

Store::~Store() { Close().IgnoreError(); }

Status Store::Close() {
  if (closed_.exchange(true, std::memory_order_acq_rel)) return absl::OkStatus();
  const std::unique_lock<std::shared_mutex> lock(mutex_);
  return database_->Close();
}

Result<std::shared_ptr<const MetricResult>> Store::Instant(std::string_view text, int64_t time_ms,
                                                           const query::QueryOptions& options) {
  if (Status status = CheckTimes({time_ms}); !status.ok()) return status;
  return Call([&](Database& database) -> Result<std::shared_ptr<const MetricResult>> {
    auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    Result<query::QueryResult> result =
        engine_->Instant(*std::move(snapshot), text, time_ms, options);
    if (!result.ok()) return result.status();
    return MakeColumns(*std::move(result));
  });
}

Result<std::shared_ptr<const MetricResult>> Store::Range(std::string_view text,
                                                         const query::QueryRange& range,
                                                         const query::QueryOptions& options) {
  if (Status status = CheckTimes({range.start_ms, range.end_ms}); !status.ok()) return status;
  return Call([&](Database& database) -> Result<std::shared_ptr<const MetricResult>> {
    auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    Result<query::QueryResult> result = engine_->Range(*std::move(snapshot), text, range, options);
    if (!result.ok()) return result.status();
    return MakeColumns(*std::move(result));
  });
}

Result<std::string> Store::Explain(std::string_view text, const query::QueryRange& range) {
  if (Status status = CheckTimes({range.start_ms, range.end_ms}); !status.ok()) return status;
  return Call([&](Database&) { return engine_->Explain(text, range); });
}

query::TraceEngine& Store::trace_engine() {
  std::call_once(trace_engine_once_, [this] {
    query::TraceEngineOptions options;
    options.threads = engine_->options().threads;
    trace_engine_ = query::TraceEngine::Make(options);
  });
  return *trace_engine_;
}

Result<Store::TraceAnswer> Store::TraceQl(std::string_view text, const query::TraceSearch& asked,
                                          int64_t step_ms,
                                          const query::TraceQueryOptions& options) {
  query::TraceSearch search = asked;
  search.range = {Cut(asked.range.min_ns), Cut(asked.range.max_ns)};
  return Call([&](Database& database) -> Result<TraceAnswer> {
    query::TraceEngine& engine = trace_engine();
    const auto parsed = engine.Parse(text);
    if (!parsed.ok()) return parsed.status();
    const auto snapshot = database.TakeTraceSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    TraceAnswer out;
    if (!parsed->metrics) {
      auto found = engine.Search(**snapshot, text, search, options);
      if (!found.ok()) return found.status();
      out.traces = std::make_shared<const query::SearchResult>(*std::move(found));
      return out;
    }
    constexpr int64_t kMs = 1'000'000;
    const int64_t start_ms = search.range.min_ns / kMs;
    const int64_t end_ms = search.range.max_ns / kMs;
    auto found = step_ms == 0
                     ? engine.MetricsInstant(**snapshot, text, start_ms, end_ms, options)
                     : engine.MetricsRange(**snapshot, text, {start_ms, end_ms, step_ms}, options);
    if (!found.ok()) return found.status();
    query::QueryResult result;
    result.value = std::move(found->value);
    result.statistics = std::move(found->statistics);
    out.metrics = MakeColumns(std::move(result));
    return out;
  });
}

Result<std::string> Store::ExplainTraceQl(std::string_view text) {
  return Call([&](Database&) { return trace_engine().Explain(text); });
}

query::LogEngine& Store::log_engine() {
  std::call_once(log_engine_once_, [this] {
    query::LogEngineOptions options;
    options.threads = engine_->options().threads;
    options.memory_bytes_max = engine_->options().memory_bytes_max;
    // A library's caller names its own limits.
    options.max_entries_limit_per_query = 0;
    options.max_query_length = std::chrono::nanoseconds(0);
    options.max_query_series = 0;
    log_engine_ = query::LogEngine::Make(options);
  });
  return *log_engine_;
}

Result<Store::LogAnswer> Store::LogQl(std::string_view text, const query::LogQueryRange& asked,
                                      bool instant, const query::LogQueryOptions& options) {
  query::LogQueryRange range = asked;
  range.start_ns = Cut(asked.start_ns);
  range.end_ns = Cut(asked.end_ns);
  return Call([&](Database& database) -> Result<LogAnswer> {
    const auto info = query::InspectLogQuery(text);
    if (!info.ok()) return info.status();
    auto snapshot = database.TakeLogSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    auto found = instant && !info->is_log_query
                     ? log_engine().Instant(*std::move(snapshot), text, range.end_ns, options)
                     : log_engine().Range(*std::move(snapshot), text, range, options);
    if (!found.ok()) return found.status();
    LogAnswer out;
    if (info->is_log_query) {
      out.entries =
          MakeLogResult(*std::move(found), range.direction == query::LogDirection::kBackward);
      return out;
    }
    query::QueryResult result;
    if (auto* scalar = std::get_if<query::Scalar>(&found->value)) {
      result.value = *scalar;
    } else if (auto* vector = std::get_if<query::Vector>(&found->value)) {
      result.value = std::move(*vector);
    } else if (auto* matrix = std::get_if<query::Matrix>(&found->value)) {
      result.value = std::move(*matrix);
    }
    result.annotations.warnings = std::move(found->warnings);
    out.metrics = MakeColumns(std::move(result));
    return out;
  });
}

Result<std::string> Store::ExplainLogQl(std::string_view text) {
  return Call([&](Database&) { return log_engine().Explain(text); });
}

Result<std::vector<std::string>> Store::LabelNames(std::string_view selector, TimeRange range) {
  return Call([&](Database& database) -> Result<std::vector<std::string>> {
    const auto matchers = MatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    const auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    Result<LookupResult> found = (*snapshot)->LabelNames(*matchers, range, LookupLimit());
    if (!found.ok()) return found.status();
    return std::move(found->values);
  });
}

Result<std::vector<std::string>> Store::LabelValues(std::string_view name,
                                                    std::string_view selector, TimeRange range) {
  return Call([&](Database& database) -> Result<std::vector<std::string>> {
    const auto matchers = MatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    const auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    Result<LookupResult> found = (*snapshot)->LabelValues(name, *matchers, range, LookupLimit());
    if (!found.ok()) return found.status();
    return std::move(found->values);
  });
}

Result<std::vector<Labels>> Store::Series(std::string_view selector, TimeRange range) {
  return Call([&](Database& database) -> Result<std::vector<Labels>> {
    const auto matchers = MatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    const auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    const auto found = (*snapshot)->Select(*matchers, range);
    if (!found.ok()) return found.status();
    std::vector<Labels> out;
    out.reserve((*found)->size());
    std::vector<LabelView> labels;
    for (size_t i = 0; i < (*found)->size(); ++i) {
      (*found)->GetLabels(i, &labels);
      out.emplace_back(LabelsView(labels));
    }
    return out;
  });
}

Result<std::unique_ptr<arrow::Source>> Store::Samples(std::string_view selector, TimeRange range,
                                                      int64_t rows_max) {
  return Call([&](Database& database) -> Result<std::unique_ptr<arrow::Source>> {
    auto matchers = MatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    auto snapshot = database.TakeSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    auto source = SampleSource(*std::move(snapshot), *std::move(matchers), range, rows_max);
    if (!source.ok()) return source.status();
    std::unique_ptr<arrow::Source> out =
        std::make_unique<GuardedSource>(shared_from_this(), *std::move(source));
    return out;
  });
}

Status Store::DeleteSeries(std::string_view selector, TimeRange range) {
  return Call([&](Database& database) -> Status {
    const auto matchers = MatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    return database.DeleteSeries(*matchers, range);
  });
}

Status Store::DeleteLogs(std::string_view query, NsRange range) {
  return Call([&](Database& database) -> Status {
    const auto info = query::InspectLogQuery(query);
    if (!info.ok()) return info.status();
    if (!info->is_log_query || (info->has_pipeline && !info->only_line_filters)) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "only a selector and line filters can say what to delete");
    }
    return database.DeleteLogs(info->selectors.front(), range, info->line_filters, {});
  });
}

Result<std::unique_ptr<arrow::Source>> Store::LogEntries(std::string_view selector, NsRange range,
                                                         int64_t rows_max) {
  return Call([&](Database& database) -> Result<std::unique_ptr<arrow::Source>> {
    auto matchers = LogMatchersOf(selector);
    if (!matchers.ok()) return matchers.status();
    auto snapshot = database.TakeLogSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    auto source = LogEntrySource(*std::move(snapshot), *std::move(matchers), range, rows_max);
    if (!source.ok()) return source.status();
    std::unique_ptr<arrow::Source> out =
        std::make_unique<GuardedSource>(shared_from_this(), *std::move(source));
    return out;
  });
}

Result<std::unique_ptr<arrow::Source>> Store::Spans(const std::string& service, NsRange range) {
  return Call([&](Database& database) -> Result<std::unique_ptr<arrow::Source>> {
    auto snapshot = database.TakeTraceSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    auto source = SpanSource(*std::move(snapshot), service, range);
    if (!source.ok()) return source.status();
    std::unique_ptr<arrow::Source> out =
        std::make_unique<GuardedSource>(shared_from_this(), *std::move(source));
    return out;
  });
}

Result<std::shared_ptr<const SpanBatch>> Store::Trace(const TraceId& id) {
  return Call([&](Database& database) -> Result<std::shared_ptr<const SpanBatch>> {
    const auto snapshot = database.TakeTraceSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    const auto spans = std::make_shared<SpanBatch>();
    if (Status status = (*snapshot)->GetTrace(id, spans.get()); !status.ok()) return status;
    return std::shared_ptr<const SpanBatch>(spans);
  });
}

Result<std::vector<correlate::TraceLog>> Store::LogsOfTrace(const TraceId& id, size_t limit) {
  return Call([&](Database& database) {
    return correlate::LogsOfTrace(database, id, {.range = std::nullopt, .limit = limit});
  });
}

Result<std::vector<std::string>> Store::Services() {
  return Call([&](Database& database) -> Result<std::vector<std::string>> {
    const auto snapshot = database.TakeTraceSnapshot();
    if (!snapshot.ok()) return snapshot.status();
    Result<LookupResult> found = (*snapshot)->Services(NsRange());
    if (!found.ok()) return found.status();
    return std::move(found->values);
  });
}

}  // namespace varve::bindings
