#include "varve/correlate.h"

#include <algorithm>
#include <tuple>

#include "engine/base/macros.h"
#include "engine/base/quote_regex.h"
#include "engine/base/strings.h"
#include "varve/log_scan.h"
#include "varve/span_scan.h"

namespace varve::correlate {
namespace {

constexpr int64_t kMinuteNs = 60'000'000'000;
constexpr std::string_view kTraceIdNames[] = {"trace_id", "traceid", "traceID"};

int64_t Shifted(int64_t ns, int64_t by) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(ns, by, &sum)) return sum;
  return by > 0 ? kMaxTime : kMinTime;
}

struct TraceTimes {
  int64_t start_ns = kMaxTime;
  int64_t end_ns = kMinTime;
  const SpanBatch::Span* root = nullptr;
};
TraceTimes TimesOf(const SpanBatch& batch) {
  TraceTimes times;
  for (const SpanBatch::Span& span : batch.spans()) {
    times.start_ns = std::min(times.start_ns, span.start_ns);
    times.end_ns = std::max(times.end_ns, span.end_ns);
    if (span.parent_id.empty() && times.root == nullptr) times.root = &span;
  }
  return times;
}

std::string ServiceOf(const SpanBatch& batch, const SpanBatch::Span& span) {
  const ValueView* const name =
      FindAttribute(batch.attributes(batch.resource_of(span).attributes), "service.name");
  return name == nullptr ? std::string() : ToString(*name);
}

}  // namespace

Result<std::vector<TraceLog>> LogsOfTrace(const Database& database, const TraceId& id,
                                          const TraceLogsOptions& options) {
  NsRange range;
  if (options.range.has_value()) {
    range = *options.range;
  } else {
    const auto traces = database.TakeTraceSnapshot();
    SpanBatch batch;
    if (traces.ok()) VARVE_RETURN_IF_ERROR((*traces)->GetTrace(id, &batch));
    if (!batch.empty()) {
      const TraceTimes times = TimesOf(batch);
      range = {Shifted(times.start_ns, -kMinuteNs), Shifted(times.end_ns, 5 * kMinuteNs)};
    }
  }
  VARVE_ASSIGN_OR_RETURN(const auto logs, database.TakeLogSnapshot());
  const std::string hex = ToString(id);
  std::vector<LogScanSpec> specs;
  for (const std::string_view name : kTraceIdNames) {
    LogScanSpec& spec = specs.emplace_back();
    spec.range = range;
    spec.metadata.push_back({MatchType::kEqual, std::string(name), hex});
  }
  LogScanSpec& by_line = specs.emplace_back();
  by_line.range = range;
  by_line.line_filters.push_back({LineFilter::Op::kContains, {hex}});

  std::vector<TraceLog> found;
  LogScanStats stats;
  LogRows rows;
  std::vector<LogChunk> chunks;
  std::vector<LabelView> labels;
  for (const LogScanSpec& spec : specs) {
    VARVE_ASSIGN_OR_RETURN(const auto scan, CompileLogScan(spec));
    VARVE_ASSIGN_OR_RETURN(const auto streams, logs->Select({}, range, scan.get()));
    for (size_t i = 0; i < streams->size(); ++i) {
      VARVE_RETURN_IF_ERROR(streams->GetChunks(i, range, &chunks));
      for (const LogChunk& chunk : chunks) {
        VARVE_RETURN_IF_ERROR(chunk.Read(*scan, &rows, &stats));
        for (size_t row = 0; row < rows.size(); ++row) {
          TraceLog& log = found.emplace_back();
          log.time_ns = rows.times_ns[row];
          streams->GetLabels(i, &labels);
          log.stream = Labels(labels);
          log.line = rows.lines[row];
          for (const LabelView& pair : rows.metadata_of(row)) {
            log.metadata.emplace_back(pair.name, pair.value);
          }
        }
        // Enough to answer from, and a bound on what a very chatty trace costs.
        if (found.size() > 4 * options.limit + 1000) break;
      }
    }
  }
  const auto less = [](const TraceLog& a, const TraceLog& b) {
    if (a.time_ns != b.time_ns) return a.time_ns < b.time_ns;
    if (const auto order = a.stream <=> b.stream; order != 0) return order < 0;
    return std::tie(a.line, a.metadata) < std::tie(b.line, b.metadata);
  };
  std::ranges::sort(found, less);
  found.erase(std::unique(found.begin(), found.end(),
                          [&](const TraceLog& a, const TraceLog& b) { return !less(a, b); }),
              found.end());
  if (found.size() > options.limit) found.resize(options.limit);
  return found;
}

Result<std::vector<ExemplarTrace>> TracesOfExemplars(const Database& database,
                                                     std::span<const Matcher> matchers,
                                                     TimeRange range, size_t limit) {
  VARVE_ASSIGN_OR_RETURN(const auto metrics, database.TakeSnapshot());
  VARVE_ASSIGN_OR_RETURN(const std::vector<SeriesExemplars> series,
                         metrics->Exemplars(matchers, range));
  const auto traces = database.TakeTraceSnapshot();
  std::vector<ExemplarTrace> out;
  for (const SeriesExemplars& one : series) {
    for (const Exemplar& exemplar : one.exemplars) {
      std::optional<TraceId> id;
      for (const std::string_view name : kTraceIdNames) {
        if (!id.has_value()) id = ParseTraceId(exemplar.labels.Get(name));
      }
      if (!id.has_value() || id->empty()) continue;
      if (out.size() >= limit) return out;
      ExemplarTrace& entry = out.emplace_back();
      entry.series = one.labels;
      entry.exemplar = exemplar;
      entry.trace_id = *id;
      if (!traces.ok()) continue;
      SpanBatch batch;
      VARVE_RETURN_IF_ERROR((*traces)->GetTrace(*id, &batch));
      if (batch.empty()) continue;
      const TraceTimes times = TimesOf(batch);
      entry.stored = true;
      entry.spans = batch.spans().size();
      entry.start_ns = times.start_ns;
      entry.duration_ns = times.end_ns - times.start_ns;
      if (times.root != nullptr) {
        entry.root_service = ServiceOf(batch, *times.root);
        entry.root_name = times.root->name;
      }
    }
  }
  return out;
}

Result<SpanMetricsResult> MetricsOfSpan(const Database& database, query::Engine& engine,
                                        const TraceId& trace, const SpanId& span_id,
                                        int64_t around_ms, size_t limit,
                                        const query::QueryOptions& options) {
  VARVE_ASSIGN_OR_RETURN(const auto traces, database.TakeTraceSnapshot());
  SpanBatch batch;
  VARVE_RETURN_IF_ERROR(traces->GetTrace(trace, &batch));
  const auto found = std::ranges::find(batch.spans(), span_id, &SpanBatch::Span::span_id);
  if (found == batch.spans().end()) return MakeStatus(StatusCode::kNotFound, "no such span");
  SpanMetricsResult out;
  out.service = ServiceOf(batch, *found);
  if (out.service.empty()) {
    return MakeStatus(StatusCode::kNotFound, "the span's resource names no service");
  }
  constexpr int64_t kStepMs = 15'000;
  out.start_ms = found->start_ns / 1'000'000 - around_ms;
  out.end_ms = std::max(found->end_ns, found->start_ns) / 1'000'000 + around_ms;
  // Some hundreds of points, however long the span.
  out.step_ms = std::max(kStepMs, (out.end_ms - out.start_ms) / 500);
  VARVE_ASSIGN_OR_RETURN(const auto metrics, database.TakeSnapshot());
  const std::string selectors[] = {
      Concat("{__name__!=\"\",job=~", GoQuote(Concat("(.+/)?", QuoteRegex(out.service))), "}"),
      Concat("{__name__!=\"\",service=", GoQuote(out.service), "}"),
      Concat("{__name__!=\"\",service_name=", GoQuote(out.service), "}")};
  for (const std::string& selector : selectors) {
    VARVE_ASSIGN_OR_RETURN(
        query::QueryResult result,
        engine.Range(metrics, selector, {out.start_ms, out.end_ms, out.step_ms}, options));
    auto* const matrix = std::get_if<query::Matrix>(&result.value);
    if (matrix == nullptr) continue;
    for (query::Series& series : *matrix) {
      if (out.series.size() >= limit) break;
      // One that carries several of the labels was found before.
      const bool known = std::ranges::any_of(
          out.series, [&](const query::Series& other) { return other.labels == series.labels; });
      if (!known) out.series.push_back(std::move(series));
    }
  }
  return out;
}

}  // namespace varve::correlate
