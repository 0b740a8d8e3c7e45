#include "tools/varve/shell/source.h"

#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/varve/commands.h"
#include "varve/database.h"
#include "varve/span_scan.h"

namespace varve::cli::shell {
namespace {

constexpr std::pair<AttributeScope, std::string_view> kScopes[] = {
    {AttributeScope::kResource, "resource."},
    {AttributeScope::kSpan, "span."},
    {AttributeScope::kEvent, "event."},
    {AttributeScope::kLink, "link."},
    {AttributeScope::kInstrumentation, "instrumentation."},
    {AttributeScope::kAny, "."},
};

class Directory final : public Source {
 public:
  Directory(std::string dir, std::unique_ptr<Database> database,
            std::unique_ptr<query::Engine> engine)
      : dir_(std::move(dir)), database_(std::move(database)), engine_(std::move(engine)) {}
  ~Directory() override { database_->Close().IgnoreError(); }

  Result<query::QueryResult> Instant(
      std::string_view text, int64_t time_ms,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeSnapshot());
    return engine_->Instant(std::move(snapshot), text, time_ms, Options(cancellation));
  }
  Result<query::QueryResult> Range(
      std::string_view text, const query::QueryRange& range,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeSnapshot());
    return engine_->Range(std::move(snapshot), text, range, Options(cancellation));
  }
  std::vector<std::string> LabelNames() override {
    const auto snapshot = database_->TakeSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelNames({}, TimeRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> LabelValues(const std::string& name) override {
    const auto snapshot = database_->TakeSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelValues(name, {}, TimeRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> StreamLabelNames() override {
    const auto snapshot = database_->TakeLogSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelNames({}, NsRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }
  std::vector<std::string> StreamLabelValues(const std::string& name) override {
    const auto snapshot = database_->TakeLogSnapshot();
    if (!snapshot.ok()) return {};
    auto found = (*snapshot)->LabelValues(name, {}, NsRange(), LookupLimit());
    return found.ok() ? std::move(found->values) : std::vector<std::string>();
  }

  std::vector<std::string> AttributeNames() override {
    std::vector<std::string> out;
    const auto snapshot = database_->TakeTraceSnapshot();
    if (!snapshot.ok()) return out;
    const auto found = (*snapshot)->TagNames(AttributeScope::kAny, NsRange());
    if (!found.ok()) return out;
    for (const TagName& name : *found) {
      for (const auto& [scope, prefix] : kScopes) {
        if (scope == name.scope) out.push_back(Concat(prefix, name.key));
      }
    }
    return out;
  }
  std::vector<std::string> AttributeValues(const std::string& name) override {
    std::vector<std::string> out;
    SpanField field;
    for (const auto& [scope, prefix] : kScopes) {
      if (!name.starts_with(prefix)) continue;
      field.scope = scope;
      field.key = name.substr(prefix.size());
    }
    if (field.key.empty()) return out;
    const auto snapshot = database_->TakeTraceSnapshot();
    if (!snapshot.ok()) return out;
    constexpr size_t kValuesMax = 1000;
    const auto found = (*snapshot)->TagValues(field, NsRange(), kValuesMax);
    if (!found.ok()) return out;
    for (const TraceSnapshot::TagValue& value : *found) {
      if (value.type == ValueType::kString) out.push_back(value.text);
    }
    return out;
  }

  Result<query::LogQueryResult> LogQl(
      std::string_view text, const query::LogQueryRange& range, bool instant,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(auto snapshot, database_->TakeLogSnapshot());
    if (log_engine_ == nullptr) {
      query::LogEngineOptions engine_options;
      // Limits that protect a server from its clients; here who asks says how much.
      engine_options.max_entries_limit_per_query = 0;
      engine_options.max_query_length = std::chrono::nanoseconds(0);
      log_engine_ = query::LogEngine::Make(engine_options);
    }
    query::LogQueryOptions options;
    options.cancellation = cancellation;
    options.analyze = true;
    if (instant) {
      return log_engine_->Instant(std::move(snapshot), text, range.end_ns, options);
    }
    return log_engine_->Range(std::move(snapshot), text, range, options);
  }

  Result<TraceAnswer> TraceQl(
      std::string_view text, NsRange range, int64_t step_ms, uint32_t limit,
      const std::shared_ptr<const query::Cancellation>& cancellation) override {
    VARVE_ASSIGN_OR_RETURN(const auto snapshot, database_->TakeTraceSnapshot());
    if (trace_engine_ == nullptr) trace_engine_ = query::TraceEngine::Make({});
    VARVE_ASSIGN_OR_RETURN(const auto parsed, trace_engine_->Parse(text));
    query::TraceQueryOptions options;
    options.cancellation = cancellation;
    if (!parsed.metrics) {
      query::TraceSearch search;
      search.range = range;
      search.limit = limit;
      VARVE_ASSIGN_OR_RETURN(query::SearchResult found,
                             trace_engine_->Search(*snapshot, text, search, options));
      return TraceAnswer(std::move(found));
    }
    const int64_t start_ms = range.min_ns / 1'000'000;
    const int64_t end_ms = range.max_ns / 1'000'000;
    Result<query::TraceMetricsResult> metrics =
        step_ms == 0
            ? trace_engine_->MetricsInstant(*snapshot, text, start_ms, end_ms, options)
            : trace_engine_->MetricsRange(*snapshot, text, {start_ms, end_ms, step_ms}, options);
    if (!metrics.ok()) return metrics.status();
    query::QueryResult out;
    out.value = std::move(metrics->value);
    out.statistics = std::move(metrics->statistics);
    return TraceAnswer(std::move(out));
  }

  Result<SpanBatch> Trace(const TraceId& id) override {
    VARVE_ASSIGN_OR_RETURN(const auto snapshot, database_->TakeTraceSnapshot());
    SpanBatch out;
    VARVE_RETURN_IF_ERROR(snapshot->GetTrace(id, &out));
    return out;
  }

  std::string Describe() override {
    const DatabaseStats stats = database_->Stats();
    uint64_t samples = stats.head_samples;
    for (const BlockStats& block : stats.blocks) samples += block.samples;
    return Concat(dir_, ": ", FormatCount(samples), " samples, ", stats.blocks.size(), " blocks, ",
                  FormatSize(static_cast<double>(stats.disk_bytes)), " on disk");
  }

 private:
  static query::QueryOptions Options(
      const std::shared_ptr<const query::Cancellation>& cancellation) {
    query::QueryOptions out;
    out.cancellation = cancellation;
    out.analyze = true;
    return out;
  }

  const std::string dir_;
  const std::unique_ptr<Database> database_;
  const std::unique_ptr<query::Engine> engine_;
  std::unique_ptr<query::LogEngine> log_engine_;      // made when first asked
  std::unique_ptr<query::TraceEngine> trace_engine_;  // made when first asked
};

}  // namespace

Result<std::unique_ptr<Source>> Source::OpenDirectory(const std::string& dir,
                                                      const query::EngineOptions& engine) {
  varve::Options options;
  options.dir = dir;
  options.create_if_missing = false;
  options.read_only = true;
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(options));
  std::unique_ptr<Source> out =
      std::make_unique<Directory>(dir, std::move(database), query::Engine::Make(engine));
  return out;
}

}  // namespace varve::cli::shell
