#include "tools/server/traces/tempo_json.h"

#include <cmath>
#include <string>

#include "tools/server/json/writer.h"
#include "tools/tracing/jaeger_json.h"

namespace varve::api {
namespace {

void WriteAttributes(const std::vector<query::NamedTraceValue>& values, bool details,
                     json::Writer* json) {
  json->BeginArray();
  for (const query::NamedTraceValue& value : values) {
    json->BeginObject().Field("key", details ? std::string_view(value.name) : value.bare_name());
    json->Key("value").BeginObject();
    using Type = query::TraceValue::Type;
    switch (details && value.value.type == Type::kDuration ? Type::kInt : value.value.type) {
      case query::TraceValue::Type::kBool:
        json->Key("boolValue").Bool(value.value.boolean);
        break;
      case query::TraceValue::Type::kInt:
        json->Field("intValue", std::to_string(value.value.integer));
        break;
      case query::TraceValue::Type::kDouble:
        json->Key("doubleValue");
        if (std::isfinite(value.value.number)) {
          json->Number(value.value.number);
        } else {
          json->FloatString(value.value.number);
        }
        break;
      default:
        json->Field("stringValue", ToString(value.value));
    }
    json->EndObject().EndObject();
  }
  json->EndArray();
}

void WriteSpanset(const query::Spanset& set, bool details, json::Writer* json) {
  json->BeginObject().Key("spans").BeginArray();
  for (const query::MatchedSpan& span : set.spans) {
    json->BeginObject().Field("spanID", ToString(span.id)).Field("name", span.name);
    json->Field("startTimeUnixNano", std::to_string(span.start_ns));
    json->Field("durationNanos", std::to_string(span.duration_ns));
    if (details) json->Field("serviceName", span.service);
    json->Key("attributes");
    WriteAttributes(span.values, details, json);
    json->EndObject();
  }
  json->EndArray().Key("matched").Uint(set.matched);
  if (!set.values.empty()) {
    json->Key("attributes");
    WriteAttributes(set.values, details, json);
  }
  json->EndObject();
}

}  // namespace

void WriteTempoSearch(const query::SearchResult& found, bool details, std::string* body) {
  json::Writer json(body);
  json.BeginObject().Key("traces").BeginArray();
  for (const query::TraceSummary& trace : found.traces) {
    json.BeginObject().Field("traceID", tracing::JaegerTraceId(trace.id));
    const bool root = trace.root_found || details;
    json.Field("rootServiceName",
               root ? std::string_view(trace.root_service) : "<root span not yet received>");
    json.Field("rootTraceName", root ? std::string_view(trace.root_name) : "");
    json.Field("startTimeUnixNano", std::to_string(trace.start_ns));
    json.Key("durationMs").Int(trace.duration_ns / 1'000'000);
    if (details) json.Field("durationNanos", std::to_string(trace.duration_ns));
    if (!trace.spansets.empty()) {
      json.Key("spanSet");
      WriteSpanset(trace.spansets.front(), details, &json);
      json.Key("spanSets").BeginArray();
      for (const query::Spanset& set : trace.spansets) WriteSpanset(set, details, &json);
      json.EndArray();
    }
    json.Key("serviceStats").BeginObject();
    for (const query::ServiceSummary& service : trace.services) {
      json.Key(service.service).BeginObject().Key("spanCount").Uint(service.spans);
      if (service.errors > 0) json.Key("errorCount").Uint(service.errors);
      json.EndObject();
    }
    json.EndObject().EndObject();
  }
  json.EndArray();
  if (!found.next.empty()) json.Field("nextCursor", found.next);
  json.Key("metrics").BeginObject();
  json.Key("inspectedTraces").Uint(found.stats.traces_inspected);
  json.Field("inspectedBytes", std::to_string(found.stats.scan.bytes_decompressed));
  json.Field("inspectedSpans", std::to_string(found.stats.scan.spans));
  json.Key("completedJobs").Int(1).Key("totalJobs").Int(1);
  json.EndObject().EndObject();
}

}  // namespace varve::api
