#include "engine/base/strings.h"
#include "query/lang/promql/parse.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/api/result_json.h"
#include "tools/server/json/writer.h"
#include "tools/server/traces/trace_common.h"
#include "varve/correlate.h"

/// From one signal to another over HTTP.
namespace varve::api {
namespace {

constexpr size_t kLimitDefault = 1000;
constexpr size_t kLimitMax = 100'000;
constexpr size_t kSeriesDefault = 100;

Result<size_t> LimitOf(const http::Params& params, size_t otherwise) {
  const Result<size_t> limit = LimitParameter(params);
  if (!limit.ok()) return limit.status();
  return *limit == 0 ? otherwise : std::min(*limit, kLimitMax);
}

http::Response Logs(TraceContext&, Database& database, http::Request& request) {
  const std::string_view text = request.path_params.Get("id");
  TraceId id;
  if (!tracing::ParseJaegerTraceId(text, &id)) {
    return Error(400, "bad_data", Concat("no trace id: ", GoQuote(text)));
  }
  correlate::TraceLogsOptions options;
  const Result<size_t> limit = LimitOf(request.params, kLimitDefault);
  if (!limit.ok()) return Error(limit.status());
  options.limit = *limit;
  if (request.params.Has("start") || request.params.Has("end")) {
    const Result<TimeRange> range = RangeParameters(request.params);
    if (!range.ok()) return Error(range.status());
    constexpr int64_t kMost = kMaxTime / 1'000'000;
    options.range = NsRange{std::clamp(range->min_ms, -kMost, kMost) * 1'000'000,
                            std::clamp(range->max_ms, -kMost, kMost) * 1'000'000 + 999'999};
  }
  const auto logs = correlate::LogsOfTrace(database, id, options);
  if (!logs.ok()) return Error(logs.status());
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("traceID", ToString(id)).Key("entries").BeginArray();
  for (const correlate::TraceLog& log : *logs) {
    json.BeginObject().Field("timestamp", std::to_string(log.time_ns)).Key("stream");
    WriteLabels(log.stream, &json);
    json.Key("metadata").BeginObject();
    for (const auto& [name, value] : log.metadata) json.Field(name, value);
    json.EndObject().Field("line", log.line).EndObject();
  }
  json.EndArray().EndObject();
  return Success(data);
}

http::Response Exemplars(TraceContext&, Database& database, http::Request& request) {
  const std::string_view query = request.params.Get("query");
  const auto selector = promql::ParseSelector(query);
  if (!selector.ok()) return Error(InvalidParameter("query", selector.status()));
  const Result<TimeRange> range = RangeParameters(request.params);
  if (!range.ok()) return Error(range.status());
  const Result<size_t> limit = LimitOf(request.params, kSeriesDefault);
  if (!limit.ok()) return Error(limit.status());
  const auto found = correlate::TracesOfExemplars(database, *selector, *range, *limit);
  if (!found.ok()) return Error(found.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  for (const correlate::ExemplarTrace& entry : *found) {
    json.BeginObject().Key("seriesLabels");
    WriteLabels(entry.series, &json);
    json.Key("exemplar").BeginObject().Key("labels");
    WriteLabels(entry.exemplar.labels, &json);
    json.Key("value").FloatString(entry.exemplar.value);
    json.Key("timestamp").TimeMs(entry.exemplar.time_ms).EndObject();
    json.Field("traceID", ToString(entry.trace_id)).Key("stored").Bool(entry.stored);
    if (entry.stored) {
      json.Field("rootServiceName", entry.root_service).Field("rootTraceName", entry.root_name);
      json.Field("startTimeUnixNano", std::to_string(entry.start_ns));
      json.Field("durationNanos", std::to_string(entry.duration_ns));
      json.Key("spanCount").Uint(entry.spans);
    }
    json.EndObject();
  }
  json.EndArray();
  return Success(data);
}

http::Response SpanMetrics(TraceContext& context, Database& database, http::Request& request) {
  TraceId trace;
  const std::optional<SpanId> span = ParseSpanId(request.path_params.Get("span"));
  if (!tracing::ParseJaegerTraceId(request.path_params.Get("id"), &trace) || !span.has_value()) {
    return Error(400, "bad_data", "trace and span ids are hex");
  }
  if (context.base->engine == nullptr) return Error(501, "unavailable", "no query engine");
  int64_t around_ms = 5 * 60 * 1000;
  if (const std::string_view text = request.params.Get("around"); !text.empty()) {
    const auto duration = ParseDuration(text);
    if (!duration.ok()) return Error(InvalidParameter("around", duration.status()));
    around_ms = std::clamp<int64_t>(duration->count(), 0, int64_t{7} * 24 * 3600 * 1000);
  }
  const Result<size_t> limit = LimitOf(request.params, kSeriesDefault);
  if (!limit.ok()) return Error(limit.status());
  query::QueryOptions options;
  options.cancellation = TraceOptionsOf(request).cancellation;
  const auto found = correlate::MetricsOfSpan(database, *context.base->engine, trace, *span,
                                              around_ms, *limit, options);
  if (!found.ok()) {
    if (found.status().code() == StatusCode::kNotFound) {
      return Error(404, "not_found", ToStd(found.status().message()));
    }
    return Error(found.status());
  }
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("service", found->service);
  json.Key("start").TimeMs(found->start_ms).Key("end").TimeMs(found->end_ms);
  json.Field("resultType", "matrix").Key("result").BeginArray();
  for (const query::Series& series : found->series) {
    json.BeginObject().Key("metric");
    WriteLabels(series.labels, &json);
    json.Key("values").BeginArray();
    for (size_t i = 0; i < series.values.size(); ++i) {
      json.BeginArray().TimeMs(series.times_ms[i]).FloatString(series.values[i]).EndArray();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  return Success(data);
}

}  // namespace

void AddCorrelationRoutes(TraceContext* context, http::Router* router) {
  const auto add = [&](std::string_view path, auto handler) {
    router->Add(http::kGetOnly, path,
                [context, handler](http::Request& request) {
                  Database* const database =
                      context->base->database.load(std::memory_order_acquire);
                  if (database == nullptr) return NotReady();
                  return handler(*context, *database, request);
                },
                {.lane = http::Lane::kQuery});
  };
  add("/api/v1/correlate/traces/:id/logs", Logs);
  add("/api/v1/correlate/traces/:id/spans/:span/metrics", SpanMetrics);
  add("/api/v1/correlate/exemplars", Exemplars);
}

}  // namespace varve::api
