#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/json/writer.h"
#include "tools/server/traces/jaeger_query.h"
#include "tools/server/traces/trace_common.h"
#include "tools/tracing/json_decode.h"

/// Jaeger's API of the third generation: OTLP in its answers.
namespace varve::api {
namespace {

constexpr uint32_t kDefaultDepth = 100;
constexpr int64_t kDepthMax = 10'000;

http::Response Failure(int status, std::string_view message) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("error").BeginObject().Key("httpCode").Int(status);
  json.Field("message", message).EndObject().EndObject();
  return http::Response::Json(status, std::move(body));
}
http::Response Failure(const Status& status) {
  return Failure(HttpStatusOf(status), ToStd(status.message()));
}

// The gateway takes both spellings of a field.
std::string_view Either(const http::Params& params, std::string_view camel,
                        std::string_view snake) {
  return params.Has(camel) ? params.Get(camel) : params.Get(snake);
}

http::Response Services(TraceContext&, Database& database, http::Request&) {
  const auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Result<LookupResult> services = (*snapshot)->Services({});
  if (!services.ok()) return Failure(services.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("services").BeginArray();
  for (const std::string& service : services->values) json.String(service);
  json.EndArray().EndObject();
  return http::Response::Json(200, std::move(body));
}

http::Response Operations(TraceContext&, Database& database, http::Request& request) {
  const std::string_view service = request.params.Get("service");
  if (service.empty()) return Failure(400, "malformed parameter service: missing");
  const auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const auto operations =
      OperationsOf(**snapshot, service, Either(request.params, "spanKind", "span_kind"));
  if (!operations.ok()) return Failure(operations.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("operations").BeginArray();
  for (const auto& [name, kind] : *operations) {
    json.BeginObject().Field("name", name);
    json.Field("spanKind", kind.empty() ? "internal" : kind).EndObject();
  }
  json.EndArray().EndObject();
  return http::Response::Json(200, std::move(body));
}

http::Response Traces(TraceLookup lookup, std::vector<TraceId> ids) {
  http::Response response;
  response.headers.Set("Content-Type", "application/json");
  response.source = std::make_unique<TraceListBody>(
      std::move(lookup), std::move(ids), R"({"result":{"resourceSpans":[)", OtlpJsonPieces,
      [](const std::vector<TraceId>&) { return std::string("]}}"); });
  return response;
}

http::Response Trace(TraceContext& context, Database& database, http::Request& request) {
  TraceId id;
  if (!tracing::ParseJaegerTraceId(request.path_params.Get("id"), &id)) {
    return Failure(
        400, Concat("malformed parameter trace_id: ", GoQuote(request.path_params.Get("id"))));
  }
  for (const auto& [camel, snake] :
       {std::pair{"startTime", "start_time"}, std::pair{"endTime", "end_time"}}) {
    const std::string_view text = Either(request.params, camel, snake);
    if (!text.empty() && !ParseRfc3339Ns(text).has_value()) {
      return Failure(400, Concat("malformed parameter ", snake, ": ", GoQuote(text)));
    }
  }
  auto lookup = TraceLookup::Make(database, context.archive);
  if (!lookup.ok()) return Failure(lookup.status());
  const Result<bool> found = lookup->Has(id);
  if (!found.ok()) return Failure(found.status());
  if (!*found) return Failure(404, "No traces found");
  return Traces(*std::move(lookup), {id});
}

// Reads query.pagination.*, which stands instead of a search depth.
Status ReadPagination(const http::Params& params, std::string_view depth, JaegerSearch* out) {
  const std::string_view size =
      Either(params, "query.pagination.pageSize", "query.pagination.page_size");
  const std::string_view token =
      Either(params, "query.pagination.pageToken", "query.pagination.page_token");
  if (size.empty() && token.empty()) return absl::OkStatus();
  const std::optional<int64_t> limit = ParseInt(size);
  if (!limit.has_value() || *limit < 1) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed parameter query.pagination.page_size: ", GoQuote(size)));
  }
  if (!depth.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "query.pagination and query.search_depth exclude one another");
  }
  out->paginated = true;
  out->search.limit = static_cast<uint32_t>(std::min(*limit, kDepthMax));
  out->search.cursor = token;
  return absl::OkStatus();
}

// Reads query.* into a filter. Errors name the parameter as the gateway does.
Result<JaegerSearch> ReadQuery(const http::Params& params) {
  JaegerSearch out;
  query::TraceFilter* const filter = &out.filter;
  query::TraceSearch* const search = &out.search;
  const auto get = [&](std::string_view camel, std::string_view snake) {
    return Either(params, Concat("query.", camel), Concat("query.", snake));
  };
  const auto malformed = [](std::string_view name, std::string_view text) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed parameter query.", name, ": ", GoQuote(text)));
  };
  filter->service = get("serviceName", "service_name");
  filter->operation = get("operationName", "operation_name");
  for (const auto& [camel, snake, bound] :
       {std::tuple{"startTimeMin", "start_time_min", &search->range.min_ns},
        std::tuple{"startTimeMax", "start_time_max", &search->range.max_ns}}) {
    const std::string_view text = get(camel, snake);
    if (text.empty()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "query.start_time_min and query.start_time_max are required");
    }
    const std::optional<int64_t> time = ParseRfc3339Ns(text);
    if (!time.has_value()) return malformed(snake, text);
    *bound = *time;
  }
  // The end does not belong to the range.
  if (search->range.max_ns > kMinTime) --search->range.max_ns;
  for (const auto& [camel, snake, bound] :
       {std::tuple{"durationMin", "duration_min", &filter->min_duration_ns},
        std::tuple{"durationMax", "duration_max", &filter->max_duration_ns}}) {
    const std::string_view text = get(camel, snake);
    if (text.empty()) continue;
    const std::optional<int64_t> duration = ParseGoDuration(text);
    if (!duration.has_value()) return malformed(snake, text);
    if (*duration > 0) *bound = duration;
  }
  search->limit = kDefaultDepth;
  std::string_view depth = get("searchDepth", "search_depth");
  if (depth.empty()) depth = get("numTraces", "num_traces");
  if (!depth.empty()) {
    const std::optional<int64_t> limit = ParseInt(depth);
    if (!limit.has_value() || *limit < 0) return malformed("search_depth", depth);
    if (*limit > 0) search->limit = static_cast<uint32_t>(std::min(*limit, kDepthMax));
  }
  search->spans_per_spanset = 1;
  if (const std::string_view text = get("attributes", "attributes"); !text.empty()) {
    if (!ReadTagMap(text, &filter->tags).ok()) return malformed("attributes", text);
  }
  if (const std::string_view text = get("filter", "filter"); !text.empty()) {
    VARVE_ASSIGN_OR_RETURN(out.structured, tracing::SpanFilter::FromJson(text));
  }
  VARVE_RETURN_IF_ERROR(ReadPagination(params, depth, &out));
  return out;
}

// Puts the members of a request in JSON, {"query":{...}}, where a query string would have put them.
Status ReadBody(http::Request* request) {
  constexpr std::string_view kWhole[] = {"attributes", "filter"};
  std::vector<std::pair<std::string, std::string>> members;
  VARVE_RETURN_IF_ERROR(tracing::FlattenObject(request->body, kWhole, &members));
  for (auto& [name, value] : members) request->params.Add(std::move(name), std::move(value));
  return absl::OkStatus();
}

http::Response Search(TraceContext& context, Database& database, http::Request& request) {
  auto lookup = TraceLookup::Make(database, context.archive);
  if (!lookup.ok()) return Failure(lookup.status());
  const Result<JaegerSearch> search = ReadQuery(request.params);
  if (!search.ok()) return Failure(search.status());
  if (search->paginated) {
    return Failure(400, "traces have no pages: use query.search_depth, or trace summaries");
  }
  const auto found = FindTraces(context, lookup->store(), *search, TraceOptionsOf(request));
  if (!found.ok()) return Failure(found.status());
  if (found->traces.empty()) return Failure(404, "No traces found");
  std::vector<TraceId> ids;
  for (const query::TraceSummary& trace : found->traces) ids.push_back(trace.id);
  return Traces(*std::move(lookup), std::move(ids));
}

http::Response Summaries(TraceContext& context, Database& database, http::Request& request) {
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Result<JaegerSearch> search = ReadQuery(request.params);
  if (!search.ok()) return Failure(search.status());
  const auto found = FindTraces(context, **snapshot, *search, TraceOptionsOf(request));
  if (!found.ok()) return Failure(found.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("summaries").BeginArray();
  for (const query::TraceSummary& trace : found->traces) {
    json.BeginObject().Field("traceId", ToString(trace.id));
    json.Field("rootServiceName", trace.root_service).Field("rootOperationName", trace.root_name);
    json.Field("minStartTimeUnixNano", std::to_string(trace.start_ns));
    json.Field("maxEndTimeUnixNano", std::to_string(trace.end_ns));
    json.Key("spanCount").Uint(trace.spans).Key("errorSpanCount").Uint(trace.errors);
    json.Key("orphanSpanCount").Uint(trace.orphans).Key("services").BeginArray();
    for (const query::ServiceSummary& service : trace.services) {
      json.BeginObject().Field("name", service.service);
      json.Key("spanCount").Uint(service.spans).Key("errorSpanCount").Uint(service.errors);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray();
  if (search->paginated && !found->next.empty()) json.Field("nextPageToken", found->next);
  json.EndObject();
  return http::Response::Json(200, std::move(body));
}

// Times of the request: RFC 3339, both needed.
http::Response Dependencies(TraceContext& context, Database& database, http::Request& request) {
  int64_t bounds_ms[2];
  size_t next = 0;
  for (const auto& [camel, snake] :
       {std::pair{"startTime", "start_time"}, std::pair{"endTime", "end_time"}}) {
    const std::string_view text = Either(request.params, camel, snake);
    const std::optional<int64_t> time = ParseRfc3339Ns(text);
    if (!time.has_value()) {
      return Failure(400, Concat("malformed parameter ", snake, ": ", GoQuote(text)));
    }
    bounds_ms[next++] = *time / 1'000'000;
  }
  const auto links = DependenciesBetween(context, database, bounds_ms[0], bounds_ms[1]);
  if (!links.ok()) return Failure(links.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("dependencies").BeginArray();
  for (const DependencyLink& link : *links) {
    json.BeginObject().Field("parent", link.parent).Field("child", link.child);
    json.Field("callCount", std::to_string(link.calls)).EndObject();  // as protobuf prints 64 bits
  }
  json.EndArray().EndObject();
  return http::Response::Json(200, std::move(body));
}

http::Response Capabilities(TraceContext&, Database&, http::Request&) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("search").BeginObject();
  json.Key("withoutServiceName").Bool(true).Key("sameSpanConjunction").Bool(true);
  json.Key("filter").BeginObject();
  for (const auto& [name, words] : {std::pair{"levels", tracing::SpanFilter::levels()},
                                    std::pair{"operators", tracing::SpanFilter::operators()}}) {
    json.Key(name).BeginArray();
    for (const std::string_view word : words) json.String(word);
    json.EndArray();
  }
  json.EndObject().Key("paginated").Bool(true).EndObject().EndObject();
  return http::Response::Json(200, std::move(body));
}

}  // namespace

void AddJaegerV3Routes(TraceContext* context, http::Router* router) {
  const auto with_store = [context](auto handler) {
    return [context, handler](http::Request& request) {
      Database* const database = context->base->database.load(std::memory_order_acquire);
      if (database == nullptr) return Failure(503, "the store is not open yet");
      return handler(*context, *database, request);
    };
  };
  const http::RouteOptions query{.lane = http::Lane::kQuery};
  const auto add = [&](std::string_view path, auto handler) {
    router->Add(http::kGetOnly, path, with_store(handler), query);
  };
  // A search may also be a body: the request's message in JSON.
  const auto add_search = [&](std::string_view path, auto handler) {
    add(path, handler);
    router->Add(
        http::kPostOnly, path,
        [asked = with_store(handler)](http::Request& request) {
          const Status status = ReadBody(&request);
          return status.ok() ? asked(request) : Failure(400, ToStd(status.message()));
        },
        query);
  };
  add("/api/v3/services", Services);
  add("/api/v3/operations", Operations);
  add_search("/api/v3/traces", Search);
  add("/api/v3/traces/:id", Trace);
  add_search("/api/v3/trace-summaries", Summaries);
  add("/api/v3/dependencies", Dependencies);
  add("/api/v3/capabilities", Capabilities);
}

}  // namespace varve::api
