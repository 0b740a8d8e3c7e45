#include "tools/server/traces/jaeger_query.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/quote_regex.h"
#include "engine/base/strings.h"
#include "tools/server/json/writer.h"
#include "tools/server/traces/trace_common.h"
#include "tools/tracing/json_decode.h"

namespace varve::api {
namespace {

std::string_view KindName(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal:
      return "internal";
    case SpanKind::kServer:
      return "server";
    case SpanKind::kClient:
      return "client";
    case SpanKind::kProducer:
      return "producer";
    case SpanKind::kConsumer:
      return "consumer";
    default:
      return "";
  }
}

std::string Alternatives(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += Concat(out.empty() ? "" : "|", QuoteRegex(text));
  return out;
}

}  // namespace

Result<std::vector<std::pair<std::string, std::string>>> OperationsOf(const TraceSnapshot& snapshot,
                                                                      std::string_view service,
                                                                      std::string_view kind) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<Operation> operations, snapshot.Operations(service, {}));
  std::vector<std::pair<std::string, std::string>> out;
  for (const Operation& operation : operations) {
    const std::string_view text = KindName(operation.kind);
    if (kind.empty() || text == kind) out.emplace_back(operation.name, text);
  }
  std::ranges::sort(out);
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Status ReadTagMap(std::string_view json, std::vector<std::pair<std::string, std::string>>* tags) {
  return tracing::ParseTagMap(json, tags);
}

namespace {

// Candidates that are looked at in one go: few at first, since most searches end soon.
constexpr uint32_t kFirstCandidates = 128;
constexpr uint32_t kCandidatesMax = 8192;

/// Tests whether a span of the trace that starts in the range matches.
Result<bool> HasMatch(const TraceSnapshot& snapshot, const TraceId& id, const JaegerSearch& search,
                      SpanBatch* spans) {
  spans->Clear();
  VARVE_RETURN_IF_ERROR(snapshot.GetTrace(id, spans));
  const NsRange& range = search.search.range;
  return std::ranges::any_of(spans->spans(), [&](const SpanBatch::Span& span) {
    return span.start_ns >= range.min_ns && span.start_ns <= range.max_ns &&
           search.structured->Matches(*spans, span);
  });
}

// The engine finds candidates by what it understands of the filter, page after page; the filter
// itself decides.
Result<query::SearchResult> FindStructured(query::TraceEngine& engine,
                                           const TraceSnapshot& snapshot,
                                           const JaegerSearch& search,
                                           query::TraceQueryOptions options) {
  const auto deadline = std::chrono::steady_clock::now() + engine.options().timeout;
  query::TraceFilter filter;
  filter.expression = search.structured->Superset();
  query::TraceSearch page = search.search;
  const uint32_t limit = page.limit;
  page.limit = std::max(limit, kFirstCandidates);
  query::SearchResult out;
  SpanBatch spans;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(query::SearchResult candidates,
                           engine.FindTraces(snapshot, filter, page, options));
    for (size_t i = 0; i < candidates.traces.size(); ++i) {
      query::TraceSummary& trace = candidates.traces[i];
      VARVE_ASSIGN_OR_RETURN(const bool matches, HasMatch(snapshot, trace.id, search, &spans));
      if (!matches) continue;
      out.traces.push_back(std::move(trace));
      if (out.traces.size() < limit) continue;
      out.next = std::move(candidates.next);
      if (search.paginated && i + 1 < candidates.traces.size()) {
        // Only the engine knows the cursor of a place within its page.
        page.limit = static_cast<uint32_t>(i + 1);
        VARVE_ASSIGN_OR_RETURN(candidates, engine.FindTraces(snapshot, filter, page, options));
        out.next = std::move(candidates.next);
      }
      return out;
    }
    if (candidates.next.empty()) return out;
    page.cursor = std::move(candidates.next);
    page.limit = std::min(2 * page.limit, kCandidatesMax);
    if (engine.options().timeout.count() > 0) {
      options.timeout =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (options.timeout->count() <= 0) {
        return MakeStatus(StatusCode::kDeadlineExceeded, "the search took too long");
      }
    }
  }
}

}  // namespace

Result<query::SearchResult> FindTraces(TraceContext& context, const TraceSnapshot& snapshot,
                                       const JaegerSearch& search,
                                       const query::TraceQueryOptions& options) {
  if (context.engine == nullptr) {
    return MakeStatus(StatusCode::kUnimplemented, "trace search is not available");
  }
  const query::TraceFilter& filter = search.filter;
  if (!search.structured.has_value()) {
    return context.engine->FindTraces(snapshot, filter, search.search, options);
  }
  if (!filter.service.empty() || !filter.operation.empty() || !filter.tags.empty() ||
      filter.min_duration_ns.has_value() || filter.max_duration_ns.has_value()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "a filter stands alone: service, operation, attributes and durations belong "
                      "into it");
  }
  return FindStructured(*context.engine, snapshot, search, options);
}

Result<std::vector<DependencyLink>> DependenciesBetween(TraceContext& context, Database& database,
                                                        int64_t min_ms, int64_t max_ms) {
  std::map<std::pair<std::string, std::string>, std::pair<double, double>> calls;  // sum, newest
  const auto add = [&](std::pair<std::string, std::string> key, double value, bool counts) {
    auto& [sum, newest] = calls[std::move(key)];
    // A counter that is lower than before has started again.
    if (counts) sum += value >= newest ? value - newest : value;
    newest = value;
  };
  if (context.base->engine != nullptr && max_ms > min_ms) {
    auto snapshot = database.TakeSnapshot();
    if (snapshot.ok()) {
      // A little more than asked for, to know where the counters stood.
      constexpr int64_t kBeforeMs = 10 * 60 * 1000;
      const int64_t now_ms = context.base->clock->NowMs();
      const int64_t end_ms = std::min(max_ms, now_ms);
      if (end_ms > min_ms) {
        VARVE_ASSIGN_OR_RETURN(
            const query::QueryResult result,
            context.base->engine->Instant(
                *std::move(snapshot),
                Concat(tracing::kDependenciesMetric, "[", end_ms - min_ms + kBeforeMs, "ms]"),
                end_ms));
        if (const auto* matrix = std::get_if<query::Matrix>(&result.value)) {
          for (const query::Series& series : *matrix) {
            for (size_t i = 0; i < series.values.size(); ++i) {
              add({std::string(series.labels.Get("parent")),
                   std::string(series.labels.Get("child"))},
                  series.values[i], series.times_ms[i] >= min_ms);
            }
          }
        }
      }
    }
  }
  // What has been counted since the last sample.
  tracing::TraceIngest* const ingest = context.ingest.load(std::memory_order_acquire);
  const int64_t now_ms = context.base->clock->NowMs();
  if (ingest != nullptr && min_ms <= now_ms && now_ms - 1000 <= max_ms) {
    for (auto& dependency : ingest->metrics().Dependencies()) {
      add({std::move(dependency.parent), std::move(dependency.child)},
          static_cast<double>(dependency.calls), true);
    }
  }
  std::vector<DependencyLink> links;
  for (const auto& [pair, values] : calls) {
    if (values.first <= 0) continue;
    links.push_back({pair.first, pair.second, static_cast<uint64_t>(std::llround(values.first))});
  }
  return links;
}

Result<std::string> SpanMetricFamily(TraceContext& context, Database& database,
                                     std::string_view metric, http::Request& request) {
  tracing::TraceIngest* const ingest = context.ingest.load(std::memory_order_acquire);
  if (metric == "minstep") {
    return std::string(R"({"data":1,"total":0,"limit":0,"offset":0,"errors":null})");
  }
  if (metric != "latencies" && metric != "calls" && metric != "errors") {
    return MakeStatus(StatusCode::kNotFound, "404 page not found");
  }
  if (ingest == nullptr || context.base->engine == nullptr) {
    return MakeStatus(StatusCode::kUnimplemented, "metrics querying is currently disabled");
  }
  const bool jaeger_names = ingest->metrics().options().jaeger_names;
  if (!ingest->metrics().options().span_metrics) {
    return MakeStatus(StatusCode::kUnimplemented, "metrics querying is currently disabled");
  }
  const http::Params& params = request.params;
  std::vector<std::string> services;
  for (const std::string_view service : params.All("service")) services.emplace_back(service);
  if (services.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "unable to parse param 'service': please provide at least one service name");
  }
  const std::string_view grouping = params.Get("groupByOperation");
  const bool by_operation = grouping == "true" || grouping == "1";
  int64_t end_ms = context.base->clock->NowMs();
  int64_t lookback_ms = 3'600'000;
  int64_t step_ms = 5'000;
  int64_t rate_ms = 600'000;
  for (const auto& [name, value] :
       {std::pair{"endTs", &end_ms}, std::pair{"lookback", &lookback_ms},
        std::pair{"step", &step_ms}, std::pair{"ratePer", &rate_ms}}) {
    const std::string_view text = params.Get(name);
    if (text.empty()) continue;
    const std::optional<int64_t> parsed = ParseInt(text);
    if (!parsed.has_value() || *parsed < 1) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("unable to parse param '", name, "': ", GoQuote(text)));
    }
    *value = *parsed;
  }
  std::vector<std::string> kinds;
  for (const std::string_view kind : params.All("spanKind")) {
    std::string text = "SPAN_KIND_";
    for (const char c : kind) text.push_back(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
    kinds.push_back(std::move(text));
  }
  if (kinds.empty()) kinds.emplace_back("SPAN_KIND_SERVER");

  const std::string_view service_label = jaeger_names ? "service_name" : "service";
  const std::string_view calls_name =
      jaeger_names ? "traces_span_metrics_calls_total" : "traces_spanmetrics_calls_total";
  const std::string_view bucket_name = jaeger_names
                                           ? "traces_span_metrics_duration_milliseconds_bucket"
                                           : "traces_spanmetrics_latency_bucket";
  const std::string selector = Concat(service_label, "=~", GoQuote(Alternatives(services)),
                                      ",span_kind=~", GoQuote(Alternatives(kinds)));
  const std::string group = Concat(service_label, by_operation ? ",span_name" : "");
  const auto rate = [&](std::string_view name, std::string_view more, std::string_view by) {
    return Concat("sum by (", by, ") (rate(", name, "{", selector, more, "}[", rate_ms, "ms]))");
  };
  std::string query;
  std::string name;
  std::string help;
  if (metric == "calls") {
    query = rate(calls_name, "", group);
    name = "call_rate";
    help = "calls/sec";
  } else if (metric == "errors") {
    const std::string all = rate(calls_name, "", group);
    // No errors is no series; where there are calls, that is zero.
    query = Concat("(", rate(calls_name, ",status_code=\"STATUS_CODE_ERROR\"", group), " or ", all,
                   " * 0) / ", all);
    name = "error_rate";
    help = "error rate, computed as a fraction of errors/sec over calls/sec";
  } else {
    const std::string_view text = params.Get("quantile");
    double quantile = 0;
    try {
      quantile = std::stod(std::string(text));
    } catch (const std::exception&) {
      quantile = 0;
    }
    if (!(quantile > 0 && quantile <= 1)) {
      return MakeStatus(
          StatusCode::kInvalidArgument,
          "unable to parse param 'quantile': please provide a quantile between (0, 1]");
    }
    std::string digits;
    json::AppendFloat(quantile, &digits);
    query = Concat("histogram_quantile(", digits, ", ", rate(bucket_name, "", Concat(group, ",le")),
                   ")", jaeger_names ? "" : " * 1000");
    name = "latencies";
    help = Concat(digits, "th quantile latency");
  }
  auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  query::QueryOptions options;
  options.cancellation = TraceOptionsOf(request).cancellation;
  VARVE_ASSIGN_OR_RETURN(
      const query::QueryResult result,
      context.base->engine->Range(*std::move(snapshot), query,
                                  {end_ms - lookback_ms, end_ms, step_ms}, options));
  std::string out;
  json::Writer json(&out);
  json.BeginObject();
  json.Field("name", Concat(by_operation ? "service_operation_" : "service_", name));
  json.Field("type", "GAUGE");
  json.Field("help", Concat(help, by_operation ? ", grouped by service & operation"
                                               : ", grouped by service"));
  json.Key("metrics").BeginArray();
  if (const auto* matrix = std::get_if<query::Matrix>(&result.value)) {
    for (const query::Series& series : *matrix) {
      json.BeginObject().Key("labels").BeginArray();
      if (by_operation) {
        json.BeginObject().Field("name", "operation");
        json.Field("value", series.labels.Get("span_name")).EndObject();
      }
      json.BeginObject().Field("name", "service_name");
      json.Field("value", series.labels.Get(service_label)).EndObject();
      json.EndArray().Key("metricPoints").BeginArray();
      for (size_t i = 0; i < series.values.size(); ++i) {
        json.BeginObject().Key("gaugeValue").BeginObject().Key("doubleValue");
        if (std::isfinite(series.values[i])) {
          json.Number(series.values[i]);
        } else {
          json.FloatString(series.values[i]);
        }
        json.EndObject();
        json.Field("timestamp", FormatRfc3339Ns(series.times_ms[i] * 1'000'000)).EndObject();
      }
      json.EndArray().EndObject();
    }
  }
  json.EndArray().EndObject();
  return out;
}

}  // namespace varve::api
