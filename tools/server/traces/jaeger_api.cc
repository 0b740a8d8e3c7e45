#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/server/json/writer.h"
#include "tools/server/traces/jaeger_query.h"
#include "tools/server/traces/trace_common.h"

/// Jaeger's legacy JSON API.
namespace varve::api {
namespace {

constexpr int64_t kMicro = 1000;
constexpr int64_t kMilli = 1'000'000;
constexpr int64_t kDefaultLookbackNs = int64_t{2} * 24 * 3600 * 1'000'000'000;
constexpr std::string_view kTail = R"(,"total":0,"limit":0,"offset":0,"errors":null})";

std::string ErrorsJson(std::string_view errors) {
  return Concat(R"({"data":null,"total":0,"limit":0,"offset":0,"errors":[)", errors, "]}");
}
http::Response Failure(int status, std::string_view message) {
  std::string error;
  json::Writer(&error).BeginObject().Key("code").Int(status).Field("msg", message).EndObject();
  return http::Response::Json(status, ErrorsJson(error));
}
http::Response Failure(const Status& status) {
  return Failure(HttpStatusOf(status), ToStd(status.message()));
}
http::Response Data(std::string_view data, size_t total) {
  return http::Response::Json(200, Concat(R"({"data":)", data, R"(,"total":)", total,
                                          R"(,"limit":0,"offset":0,"errors":null})"));
}

bool IsTrue(std::string_view text) { return text == "true" || text == "1"; }

http::Response Services(TraceContext&, Database& database, http::Request&) {
  const auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Result<LookupResult> services = (*snapshot)->Services({});
  if (!services.ok()) return Failure(services.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  size_t count = 0;
  for (const std::string& service : services->values) {
    json.String(service);
    ++count;
  }
  json.EndArray();
  return Data(data, count);
}

http::Response Operations(Database& database, std::string_view service, std::string_view kind,
                          bool names_only) {
  const auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const auto operations = OperationsOf(**snapshot, service, kind);
  if (!operations.ok()) return Failure(operations.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  size_t count = 0;
  std::string_view last;
  for (const auto& [name, kind_text] : *operations) {
    if (names_only) {
      if (count > 0 && name == last) continue;
      json.String(name);
      last = name;
    } else {
      json.BeginObject().Field("name", name).Field("spanKind", kind_text).EndObject();
    }
    ++count;
  }
  json.EndArray();
  return Data(data, count);
}

/// Answers with traces, in Jaeger's JSON, of which those that do not exist are listed as errors.
http::Response Traces(TraceLookup lookup, std::vector<TraceId> ids, bool raw) {
  http::Response response;
  response.headers.Set("Content-Type", "application/json");
  response.source = std::make_unique<TraceListBody>(
      std::move(lookup), std::move(ids), R"({"data":[)",
      [raw](const SpanBatch& batch, std::vector<uint32_t> spans) {
        return JaegerPieces(batch, std::move(spans), raw);
      },
      [](const std::vector<TraceId>& missing) {
        if (missing.empty()) return Concat("]", kTail);
        std::string errors;
        for (const TraceId& id : missing) {
          errors += Concat(errors.empty() ? "" : ",",
                           R"({"code":404,"msg":"trace not found","traceID":")",
                           tracing::JaegerTraceId(id), "\"}");
        }
        return Concat(R"(],"total":0,"limit":0,"offset":0,"errors":[)", errors, "]}");
      });
  return response;
}

http::Response Search(TraceContext& context, Database& database, http::Request& request) {
  const http::Params& params = request.params;
  const bool raw = IsTrue(params.Get("raw"));
  auto lookup = TraceLookup::Make(database, context.archive);
  if (!lookup.ok()) return Failure(lookup.status());
  std::vector<TraceId> ids;
  for (const std::string_view text : params.All("traceID")) {
    if (!tracing::ParseJaegerTraceId(text, &ids.emplace_back())) {
      return Failure(400, Concat("cannot parse traceID param: ", GoQuote(text)));
    }
  }
  if (!ids.empty()) return Traces(*std::move(lookup), std::move(ids), raw);

  query::TraceFilter filter;
  query::TraceSearch search;
  filter.service = params.Get("service");
  filter.operation = params.Get("operation");
  if (filter.service.empty()) return Failure(400, "parameter 'service' is required");
  const int64_t now_ns = context.base->clock->NowMs() * kMilli;
  search.range = {now_ns - kDefaultLookbackNs, now_ns};
  for (const auto& [name, bound] :
       {std::pair{"start", &search.range.min_ns}, std::pair{"end", &search.range.max_ns}}) {
    const std::string_view text = params.Get(name);
    if (text.empty()) continue;
    const std::optional<int64_t> micros = ParseInt(text);
    if (!micros.has_value()) {
      return Failure(400, Concat("unable to parse param '", name, "': ", GoQuote(text)));
    }
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / kMicro;
    *bound = std::clamp(*micros, -kMost, kMost) * kMicro;
  }
  search.limit = 100;
  if (const std::string_view text = params.Get("limit"); !text.empty()) {
    const std::optional<int64_t> limit = ParseInt(text);
    if (!limit.has_value() || *limit < 0) {
      return Failure(400, Concat("unable to parse param 'limit': ", GoQuote(text)));
    }
    if (*limit > 0) search.limit = static_cast<uint32_t>(std::min<int64_t>(*limit, 10'000));
  }
  search.spans_per_spanset = 1;
  for (const auto& [name, bound] : {std::pair{"minDuration", &filter.min_duration_ns},
                                    std::pair{"maxDuration", &filter.max_duration_ns}}) {
    const std::string_view text = params.Get(name);
    if (text.empty()) continue;
    const std::optional<int64_t> duration = ParseGoDuration(text);
    if (!duration.has_value()) {
      return Failure(400, Concat("unable to parse param '", name, "': time: invalid duration ",
                                 GoQuote(text)));
    }
    if (*duration > 0) *bound = duration;
  }
  if (filter.min_duration_ns.has_value() && filter.max_duration_ns.has_value() &&
      *filter.max_duration_ns < *filter.min_duration_ns) {
    return Failure(400, "'maxDuration' should be greater than 'minDuration'");
  }
  for (const std::string_view tag : params.All("tag")) {
    const size_t colon = tag.find(':');
    if (colon == std::string_view::npos) {
      return Failure(400,
                     Concat("malformed 'tag' parameter, expecting key:value, received: ", tag));
    }
    filter.tags.emplace_back(tag.substr(0, colon), tag.substr(colon + 1));
  }
  for (const std::string_view tags : params.All("tags")) {
    if (const Status status = ReadTagMap(tags, &filter.tags); !status.ok()) {
      return Failure(400, Concat("malformed 'tags' parameter, cannot unmarshal JSON: ",
                                 ToStd(status.message())));
    }
  }
  if (context.engine == nullptr) return Failure(501, "trace search is not available");
  const Result<query::SearchResult> found =
      context.engine->FindTraces(lookup->store(), filter, search, TraceOptionsOf(request));
  if (!found.ok()) return Failure(found.status());
  for (const query::TraceSummary& trace : found->traces) ids.push_back(trace.id);
  return Traces(*std::move(lookup), std::move(ids), raw);
}

http::Response Trace(TraceContext& context, Database& database, http::Request& request) {
  TraceId id;
  const std::string_view text = request.path_params.Get("id");
  if (!tracing::ParseJaegerTraceId(text, &id)) {
    return Failure(400, Concat("cannot parse trace id ", GoQuote(text)));
  }
  auto lookup = TraceLookup::Make(database, context.archive);
  if (!lookup.ok()) return Failure(lookup.status());
  const Result<bool> found = lookup->Has(id);
  if (!found.ok()) return Failure(found.status());
  if (!*found) return Failure(404, "trace not found");
  return Traces(*std::move(lookup), {id}, IsTrue(request.params.Get("raw")));
}

http::Response ArchivedTrace(TraceContext& context, Database&, http::Request& request) {
  TraceId id;
  const std::string_view text = request.path_params.Get("id");
  if (!tracing::ParseJaegerTraceId(text, &id)) {
    return Failure(400, Concat("cannot parse trace id ", GoQuote(text)));
  }
  auto archived = context.archive->TakeSnapshot();
  if (!archived.ok()) return Failure(archived.status());
  if (*archived == nullptr) return Failure(404, "trace not found");
  TraceLookup lookup(*std::move(archived));
  const Result<bool> found = lookup.Has(id);
  if (!found.ok()) return Failure(found.status());
  if (!*found) return Failure(404, "trace not found");
  return Traces(std::move(lookup), {id}, IsTrue(request.params.Get("raw")));
}

http::Response Archive(TraceContext& context, Database& database, http::Request& request) {
  TraceId id;
  const std::string_view text = request.path_params.Get("id");
  if (!tracing::ParseJaegerTraceId(text, &id)) {
    return Failure(400, Concat("cannot parse trace id ", GoQuote(text)));
  }
  const auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Status status = context.archive->Add(**snapshot, id);
  if (!status.ok()) return Failure(status);
  return http::Response::Json(200, R"({"data":[],"total":0,"limit":0,"offset":0,"errors":[]})");
}

http::Response Transform(http::Request& request) {
  std::string wire;
  SpanBatch batch;
  otlp::DecodeReport report;
  Status status = otlp::JsonToWire(request.body, otlp::kTraceRequest, &wire);
  if (status.ok()) status = otlp::DecodeTraces(wire, &batch, &report);
  if (!status.ok()) return Failure(400, ToStd(status.message()));
  std::string data = "[";
  size_t traces = 0;
  for (const tracing::TraceSpans& trace : tracing::GroupByTrace(batch)) {
    if (traces++ > 0) data.push_back(',');
    tracing::JaegerTraceWriter writer(batch, trace.spans);
    while (writer.Next(size_t{1} << 20, &data)) {
    }
  }
  data.push_back(']');
  return Data(data, 0);
}

http::Response Dependencies(TraceContext& context, Database& database, http::Request& request) {
  const int64_t now_ms = context.base->clock->NowMs();
  int64_t end_ms = now_ms;
  int64_t lookback_ms = 24 * 3600 * 1000;
  for (const auto& [name, value] :
       {std::pair{"endTs", &end_ms}, std::pair{"lookback", &lookback_ms}}) {
    const std::string_view text = request.params.Get(name);
    if (text.empty()) continue;
    const std::optional<int64_t> parsed = ParseInt(text);
    if (!parsed.has_value()) {
      return Failure(400, Concat("unable to parse param '", name, "': ", GoQuote(text)));
    }
    // A hundred years bound what is a mistake.
    *value = std::clamp<int64_t>(*parsed, 0, int64_t{36'500} * 24 * 3600 * 1000);
  }
  const std::string_view service = request.params.Get("service");
  const auto links = DependenciesBetween(context, database, end_ms - lookback_ms, end_ms);
  if (!links.ok()) return Failure(links.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  for (const DependencyLink& link : *links) {
    if (!service.empty() && link.parent != service && link.child != service) continue;
    json.BeginObject().Field("parent", link.parent).Field("child", link.child);
    json.Key("callCount").Uint(link.calls).EndObject();
  }
  json.EndArray();
  return Data(data, 0);
}

http::Response Metrics(TraceContext& context, Database& database, http::Request& request) {
  const Result<std::string> family =
      SpanMetricFamily(context, database, request.path_params.Get("metric"), request);
  if (!family.ok()) return Failure(family.status());
  return http::Response::Json(200, *family);
}

}  // namespace

void AddJaegerRoutes(TraceContext* context, http::Router* router) {
  const http::RouteOptions query{.lane = http::Lane::kQuery};
  const auto with_store = [context](auto handler) {
    return [context, handler](http::Request& request) {
      Database* const database = context->base->database.load(std::memory_order_acquire);
      if (database == nullptr) return Failure(503, "the store is not open yet");
      return handler(*context, *database, request);
    };
  };
  const auto add = [&](std::string_view path, auto handler) {
    router->Add(http::kGetOnly, path, with_store(handler), query);
  };
  add("/api/services", Services);
  add("/api/services/:service/operations",
      [](TraceContext&, Database& database, http::Request& request) {
        return Operations(database, request.path_params.Get("service"), "", true);
      });
  add("/api/operations", [](TraceContext&, Database& database, http::Request& request) {
    const std::string_view service = request.params.Get("service");
    if (service.empty()) return Failure(400, "parameter 'service' is required");
    return Operations(database, service, request.params.Get("spanKind"), false);
  });
  add("/api/traces", Search);
  add("/api/traces/:id", Trace);
  add("/api/dependencies", Dependencies);
  add("/api/metrics/:metric", Metrics);
  add("/api/archive/:id", ArchivedTrace);
  router->Add(http::kPostOnly, "/api/archive/:id", with_store(Archive),
              {.lane = http::Lane::kWrite, .ignore_disconnect = true});
  router->Add(http::kPostOnly, "/api/transform", Transform, query);
}

}  // namespace varve::api
