#include <algorithm>
#include <cmath>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/http/coding.h"
#include "tools/server/json/writer.h"
#include "tools/server/traces/tempo_json.h"
#include "tools/server/traces/trace_common.h"

/// Tempo's HTTP API: what Grafana's data source for traces speaks.
namespace varve::api {
namespace {

constexpr uint32_t kLimitDefault = 20;
constexpr uint32_t kLimitMax = 10'000;
constexpr uint32_t kSpansDefault = 3;
constexpr int64_t kSecondNs = 1'000'000'000;

http::Response Failure(int status, std::string_view message) {
  return http::Response::Text(status, Concat(message, "\n"));
}
http::Response Failure(const Status& status) {
  return Failure(HttpStatusOf(status), ToStd(status.message()));
}

// Unix time in seconds, or finer: the number of digits says which.
std::optional<int64_t> ParseTempoTime(std::string_view text) {
  if (const std::optional<int64_t> whole = ParseInt(text)) {
    const size_t digits = text.size() - (text.starts_with('-') ? 1 : 0);
    if (digits >= 19) return whole;
    if (digits >= 16) return *whole * 1'000;
    if (digits >= 13) return *whole * 1'000'000;
    if (digits > 10) return std::nullopt;
    int64_t ns = 0;
    if (__builtin_mul_overflow(*whole, kSecondNs, &ns)) return std::nullopt;
    return ns;
  }
  return ParseRfc3339Ns(text);
}

Status ReadRange(const http::Params& params, NsRange* range) {
  for (const auto& [name, bound] :
       {std::pair{"start", &range->min_ns}, std::pair{"end", &range->max_ns}}) {
    const std::string_view text = params.Get(name);
    if (text.empty() || text == "0") continue;
    const std::optional<int64_t> time = ParseTempoTime(text);
    if (!time.has_value()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("invalid ", name, ": ", GoQuote(text)));
    }
    *bound = *time;
  }
  if (range->min_ns > range->max_ns) {
    return MakeStatus(StatusCode::kInvalidArgument, "http parameter start must be before end");
  }
  return absl::OkStatus();
}

bool WantsProtobuf(const http::Request& request) {
  for (const http::MediaRange& range : http::ParseAccept(request.headers.Joined("Accept"))) {
    if (range.type == "application/protobuf" || range.type == "application/x-protobuf") return true;
    if (range.type == "application/json") return false;
  }
  return false;
}

http::Response Trace(TraceContext& context, Database& database, http::Request& request, bool v2) {
  const std::string_view text = request.path_params.Get("id");
  const std::optional<TraceId> id = ParseTraceId(text);
  if (!id.has_value()) return Failure(400, Concat("trace ids are hex: ", GoQuote(text)));
  auto lookup = TraceLookup::Make(database, context.archive);
  if (!lookup.ok()) return Failure(lookup.status());
  if (WantsProtobuf(request)) {
    SpanBatch batch;
    auto spans = lookup->Get(*id, &batch);
    if (!spans.ok()) return Failure(spans.status());
    if (spans->empty()) return Failure(404, "trace not found");
    otlp::TraceWriter writer(otlp::TraceWriter::Format::kProtobuf, batch, *std::move(spans));
    http::Response response;
    response.headers.Set("Content-Type", "application/protobuf");
    if (v2) {
      const otlp::Submessage trace(1, &response.body);  // TraceByIDResponse.trace
      writer.All(&response.body);
    } else {
      writer.All(&response.body);
    }
    return response;
  }
  const Result<bool> found = lookup->Has(*id);
  if (!found.ok()) return Failure(found.status());
  if (!*found) return Failure(404, "trace not found");
  http::Response response;
  response.headers.Set("Content-Type", "application/json");
  response.source = std::make_unique<TraceListBody>(
      *std::move(lookup), std::vector<TraceId>{*id},
      v2 ? R"({"trace":{"resourceSpans":[)" : R"({"batches":[)", TempoJsonPieces,
      [v2](const std::vector<TraceId>&) {
        return std::string(v2 ? R"(]},"metrics":{},"status":"COMPLETE"})" : "]}");
      });
  return response;
}

// Tempo's older form of search: tags in logfmt, bounds on the duration of the trace.
Result<std::string> QueryOfTags(const http::Params& params) {
  std::string query;
  const auto add = [&](std::string_view condition) {
    query += Concat(query.empty() ? "" : " && ", condition);
  };
  std::string_view tags = params.Get("tags");
  while (!tags.empty()) {
    if (tags.front() == ' ') {
      tags.remove_prefix(1);
      continue;
    }
    const size_t equals = tags.find('=');
    if (equals == std::string_view::npos) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("invalid tags: ", GoQuote(tags), " has no value"));
    }
    const std::string_view key = tags.substr(0, equals);
    tags.remove_prefix(equals + 1);
    std::string value;
    if (tags.starts_with('"')) {
      size_t i = 1;
      for (; i < tags.size() && tags[i] != '"'; ++i) {
        if (tags[i] == '\\' && i + 1 < tags.size()) ++i;
        value.push_back(tags[i]);
      }
      if (i == tags.size()) {
        return MakeStatus(StatusCode::kInvalidArgument, "invalid tags: a quote is not closed");
      }
      tags.remove_prefix(i + 1);
    } else {
      value = tags.substr(0, tags.find(' '));
      tags.remove_prefix(value.size());
    }
    add(Concat(".", GoQuote(key), " = ", GoQuote(value)));
  }
  for (const auto& [name, op] : {std::pair{"minDuration", ">="}, std::pair{"maxDuration", "<="}}) {
    const std::string_view text = params.Get(name);
    if (text.empty()) continue;
    const std::optional<int64_t> duration = ParseGoDuration(text);
    if (!duration.has_value() || *duration < 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("invalid ", name, ": ", GoQuote(text)));
    }
    add(Concat("traceDuration ", op, " ", *duration, "ns"));
  }
  return Concat("{ ", query, " }");
}

Result<uint32_t> Number(const http::Params& params, std::string_view name, uint32_t otherwise,
                        uint32_t most) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return otherwise;
  const std::optional<int64_t> value = ParseInt(text);
  if (!value.has_value() || *value < 0) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("invalid ", name, ": ", GoQuote(text)));
  }
  return static_cast<uint32_t>(std::min<int64_t>(*value, most));
}

http::Response Search(TraceContext& context, Database& database, http::Request& request) {
  const http::Params& params = request.params;
  query::TraceSearch search;
  if (const Status status = ReadRange(params, &search.range); !status.ok()) return Failure(status);
  const Result<uint32_t> limit = Number(params, "limit", kLimitDefault, kLimitMax);
  if (!limit.ok()) return Failure(limit.status());
  search.limit = *limit == 0 ? kLimitDefault : *limit;
  const Result<uint32_t> spans = Number(params, "spss", kSpansDefault, kLimitMax);
  if (!spans.ok()) return Failure(spans.status());
  search.spans_per_spanset = *spans;
  search.cursor = params.Get("cursor");
  const bool details = params.Get("details") == "true";
  std::string query(params.Get("q"));
  if (query.empty()) {
    Result<std::string> made = QueryOfTags(params);
    if (!made.ok()) return Failure(made.status());
    query = *std::move(made);
  }
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Result<query::SearchResult> found =
      context.engine->Search(**snapshot, query, search, TraceOptionsOf(request));
  if (!found.ok()) return Failure(found.status());
  std::string body;
  WriteTempoSearch(*found, details, &body);
  return http::Response::Json(200, std::move(body));
}

std::optional<AttributeScope> ScopeOf(std::string_view name) {
  if (name == "span") return AttributeScope::kSpan;
  if (name == "resource") return AttributeScope::kResource;
  if (name == "instrumentation") return AttributeScope::kInstrumentation;
  if (name == "event") return AttributeScope::kEvent;
  if (name == "link") return AttributeScope::kLink;
  return std::nullopt;
}
std::string_view NameOf(AttributeScope scope) {
  switch (scope) {
    case AttributeScope::kResource:
      return "resource";
    case AttributeScope::kInstrumentation:
      return "instrumentation";
    case AttributeScope::kEvent:
      return "event";
    case AttributeScope::kLink:
      return "link";
    default:
      return "span";
  }
}

http::Response Tags(TraceContext& context, Database& database, http::Request& request, bool v2) {
  NsRange range;
  if (const Status status = ReadRange(request.params, &range); !status.ok()) return Failure(status);
  const std::string_view scope_text = request.params.Get("scope");
  const std::optional<AttributeScope> scope = ScopeOf(scope_text);
  const bool intrinsics = scope_text.empty() || scope_text == "none" || scope_text == "intrinsic";
  if (!scope.has_value() && !intrinsics) {
    return Failure(400, Concat("invalid scope: ", scope_text));
  }
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  std::vector<TagName> names;
  if (scope_text != "intrinsic") {
    auto found = context.engine->TagNames(**snapshot, scope, range, request.params.Get("q"),
                                          TraceOptionsOf(request));
    if (!found.ok()) return Failure(found.status());
    names = *std::move(found);
  }
  std::string body;
  json::Writer json(&body);
  if (!v2) {
    std::vector<std::string> keys;
    for (const TagName& name : names) keys.push_back(name.key);
    if (intrinsics) {
      for (std::string& name : query::TraceIntrinsics()) keys.push_back(std::move(name));
    }
    std::ranges::sort(keys);
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    json.BeginObject().Key("tagNames").BeginArray();
    for (const std::string& key : keys) json.String(key);
    json.EndArray().EndObject();
    return http::Response::Json(200, std::move(body));
  }
  json.BeginObject().Key("scopes").BeginArray();
  for (const AttributeScope each :
       {AttributeScope::kResource, AttributeScope::kSpan, AttributeScope::kInstrumentation,
        AttributeScope::kEvent, AttributeScope::kLink}) {
    const bool any =
        std::ranges::any_of(names, [&](const TagName& name) { return name.scope == each; });
    if (!any) continue;
    json.BeginObject().Field("name", NameOf(each)).Key("tags").BeginArray();
    for (const TagName& name : names) {
      if (name.scope == each) json.String(name.key);
    }
    json.EndArray().EndObject();
  }
  if (intrinsics) {
    json.BeginObject().Field("name", "intrinsic").Key("tags").BeginArray();
    for (const std::string& name : query::TraceIntrinsics()) json.String(name);
    json.EndArray().EndObject();
  }
  json.EndArray().Key("metrics").BeginObject().EndObject().EndObject();
  return http::Response::Json(200, std::move(body));
}

std::string_view TypeName(std::string_view tag, ValueType type) {
  if (tag == "status" || tag == "kind" || tag == "span:status" || tag == "span:kind") {
    return "keyword";
  }
  if (tag == "duration" || tag == "traceDuration" || tag == "span:duration" ||
      tag == "trace:duration") {
    return "duration";
  }
  switch (type) {
    case ValueType::kBool:
      return "bool";
    case ValueType::kInt:
      return "int";
    case ValueType::kDouble:
      return "float";
    default:
      return "string";
  }
}

http::Response TagValues(TraceContext& context, Database& database, http::Request& request,
                         bool v2) {
  NsRange range;
  if (const Status status = ReadRange(request.params, &range); !status.ok()) return Failure(status);
  const Result<uint32_t> limit = Number(request.params, "limit", 0, 100'000);
  if (!limit.ok()) return Failure(limit.status());
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const std::string_view tag = request.path_params.Get("tag");
  const auto values = context.engine->TagValues(**snapshot, tag, range, request.params.Get("q"),
                                                *limit, TraceOptionsOf(request));
  if (!values.ok()) return Failure(values.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("tagValues").BeginArray();
  for (const TraceSnapshot::TagValue& value : *values) {
    if (v2) {
      json.BeginObject().Field("type", TypeName(tag, value.type)).Field("value", value.text);
      json.EndObject();
    } else {
      json.String(value.text);
    }
  }
  json.EndArray();
  if (v2) json.Key("metrics").BeginObject().EndObject();
  json.EndObject();
  return http::Response::Json(200, std::move(body));
}

// --- Metrics ---

void WriteLabels(const Labels& labels, json::Writer* json) {
  json->Key("labels").BeginArray();
  for (const LabelView& label : labels) {
    json->BeginObject().Field("key", label.name).Key("value").BeginObject();
    json->Field("stringValue", label.value).EndObject().EndObject();
  }
  json->EndArray().Field("promLabels", ToString(labels.view()));
}
void WriteValue(double value, json::Writer* json) {
  json->Key("value");
  if (std::isfinite(value)) {
    json->Number(value);
  } else {
    json->FloatString(value);
  }
}

http::Response Metrics(TraceContext& context, Database& database, http::Request& request,
                       bool instant) {
  const http::Params& params = request.params;
  std::string_view query = params.Get("q");
  if (query.empty()) query = params.Get("query");
  const int64_t now_ns = context.base->clock->NowMs() * 1'000'000;
  NsRange range{now_ns - 3600 * kSecondNs, now_ns};
  if (const std::string_view since = params.Get("since"); !since.empty()) {
    const std::optional<int64_t> duration = ParseGoDuration(since);
    if (!duration.has_value() || *duration < 0) {
      return Failure(400, Concat("invalid since: ", GoQuote(since)));
    }
    range.min_ns = now_ns - *duration;
  }
  if (const Status status = ReadRange(params, &range); !status.ok()) return Failure(status);
  const int64_t start_ms = range.min_ns / 1'000'000;
  const int64_t end_ms = range.max_ns / 1'000'000;
  // Some two hundred points unless the client says otherwise.
  int64_t step_ms = std::max<int64_t>(1000, (end_ms - start_ms) / 200 / 1000 * 1000);
  if (const std::string_view text = params.Get("step"); !text.empty()) {
    const std::optional<int64_t> duration = ParseGoDuration(text);
    const std::optional<int64_t> seconds = ParseInt(text);
    if (seconds.has_value() && *seconds > 0 && *seconds < 1'000'000'000) {
      step_ms = *seconds * 1000;
    } else if (duration.has_value() && *duration >= 1'000'000) {
      step_ms = *duration / 1'000'000;
    } else {
      return Failure(400, Concat("invalid step: ", GoQuote(text)));
    }
  }
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return Failure(snapshot.status());
  const Result<query::TraceMetricsResult> result =
      instant ? context.engine->MetricsInstant(**snapshot, query, start_ms, end_ms,
                                               TraceOptionsOf(request))
              : context.engine->MetricsRange(**snapshot, query, {start_ms, end_ms, step_ms},
                                             TraceOptionsOf(request));
  if (!result.ok()) return Failure(result.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("series").BeginArray();
  if (const auto* matrix = std::get_if<query::Matrix>(&result->value)) {
    for (const query::Series& series : *matrix) {
      json.BeginObject();
      WriteLabels(series.labels, &json);
      json.Key("samples").BeginArray();
      for (size_t i = 0; i < series.values.size(); ++i) {
        json.BeginObject().Field("timestampMs", std::to_string(series.times_ms[i]));
        WriteValue(series.values[i], &json);
        json.EndObject();
      }
      json.EndArray().Key("exemplars").BeginArray();
      for (const query::TraceExemplar& exemplar : result->exemplars) {
        if (!(exemplar.labels == series.labels)) continue;
        json.BeginObject().Key("labels").BeginArray().BeginObject().Field("key", "trace:id");
        json.Key("value").BeginObject().Field("stringValue", ToString(exemplar.trace_id));
        json.EndObject().EndObject().EndArray();
        WriteValue(exemplar.value, &json);
        json.Field("timestampMs", std::to_string(exemplar.time_ns / 1'000'000)).EndObject();
      }
      json.EndArray().EndObject();
    }
  } else if (const auto* vector = std::get_if<query::Vector>(&result->value)) {
    for (const query::VectorSample& sample : *vector) {
      json.BeginObject();
      WriteLabels(sample.labels, &json);
      WriteValue(sample.value, &json);
      json.EndObject();
    }
  }
  json.EndArray().Key("metrics").BeginObject();
  json.Field("inspectedBytes", std::to_string(result->scan.bytes_decompressed));
  json.Field("inspectedSpans", std::to_string(result->scan.spans));
  json.EndObject().EndObject();
  return http::Response::Json(200, std::move(body));
}

http::Response BuildInfo(TraceContext& context) {
  std::string body;
  json::Writer json(&body);
  // Grafana chooses endpoints by this version: the one whose API is followed.
  json.BeginObject().Field("version", "3.0.2").Field("revision", context.base->version);
  json.Field("branch", "").Field("buildUser", "varve").Field("buildDate", "");
  json.Field("goVersion", "").EndObject();
  return http::Response::Json(200, std::move(body));
}

}  // namespace

void AddTempoRoutes(TraceContext* context, http::Router* router) {
  const auto add = [&](std::string_view path, bool searches, auto handler) {
    const auto guarded = [context, searches, handler](http::Request& request) {
      Database* const database = context->base->database.load(std::memory_order_acquire);
      if (database == nullptr) return Failure(503, "the store is not open yet");
      if (searches && context->engine == nullptr) return Failure(501, "not available");
      return handler(*context, *database, request);
    };
    const http::RouteOptions options{.lane = http::Lane::kQuery};
    router->Add(http::kGetOnly, Concat("/tempo", path), guarded, options);
    // At the root, too, where no other API has the path.
    if (path != "/api/traces/:id") router->Add(http::kGetOnly, path, guarded, options);
  };
  const auto version = [](auto handler, bool flag) {
    return [handler, flag](TraceContext& context, Database& database, http::Request& request) {
      return handler(context, database, request, flag);
    };
  };
  add("/api/traces/:id", false, version(Trace, false));
  add("/api/v2/traces/:id", false, version(Trace, true));
  add("/api/search", true, Search);
  add("/api/search/tags", true, version(Tags, false));
  add("/api/v2/search/tags", true, version(Tags, true));
  add("/api/search/tag/:tag/values", true, version(TagValues, false));
  add("/api/v2/search/tag/:tag/values", true, version(TagValues, true));
  add("/api/metrics/query_range", true, version(Metrics, false));
  add("/api/metrics/query", true, version(Metrics, true));
  router->Add(http::kGetOnly, "/tempo/api/echo",
              [](http::Request&) { return http::Response::Text(200, "echo"); });
  router->Add(http::kGetOnly, "/api/echo",
              [](http::Request&) { return http::Response::Text(200, "echo"); });
  router->Add(http::kGetOnly, "/tempo/api/status/buildinfo",
              [context](http::Request&) { return BuildInfo(*context); });
  router->Add(http::kGetOnly, "/tempo/ready", [context](http::Request&) {
    return context->base->database.load(std::memory_order_acquire) != nullptr
               ? http::Response::Text(200, "ready\n")
               : Failure(503, "starting");
  });
}

}  // namespace varve::api
