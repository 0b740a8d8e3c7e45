#include <algorithm>
#include <map>
#include <set>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

constexpr http::RouteOptions kQuery{.lane = http::Lane::kQuery, .form = true};

struct Field {
  std::set<std::string> values;
  std::set<std::string_view> parsers;  // constants; empty: structured metadata
  std::string_view type;               // of the first value
  std::vector<std::string> json_path;
};

struct FieldQuery {
  query::LogQueryRange range;
  uint32_t limit = 1000;  // fields, or values of one
};

Result<FieldQuery> ReadFields(const Context& context, const http::Params& params) {
  FieldQuery out;
  VARVE_ASSIGN_OR_RETURN(const NsRange range, RangeParameters(context, params));
  out.range.start_ns = range.min_ns;
  out.range.end_ns = range.max_ns;
  VARVE_ASSIGN_OR_RETURN(out.range.limit, CountParameter(params, "line_limit", 100));
  const std::string_view name = params.Has("limit") ? "limit" : "field_limit";
  VARVE_ASSIGN_OR_RETURN(out.limit, CountParameter(params, name, 1000));
  return out;
}

LabelsView ViewOf(const query::LogLabels& labels, std::vector<LabelView>* out) {
  out->clear();
  for (const auto& [name, value] : labels) out->push_back({name, value});
  return *out;
}

// Runs the query and gathers the fields of the newest lines: structured metadata, what the query
// itself parses, and what JSON and logfmt in the lines hold.
Result<std::map<std::string, Field>> Gather(Context& context, Database& database, Request& request,
                                            const FieldQuery& fields, std::string_view only) {
  VARVE_ASSIGN_OR_RETURN(auto snapshot, database.TakeLogSnapshot());
  query::LogQueryOptions options;
  options.cancellation = CancellationOf(request);
  VARVE_ASSIGN_OR_RETURN(const query::LogQueryResult result,
                         context.engine->Range(std::move(snapshot), request.params.Get("query"),
                                               fields.range, options));
  const auto* const streams = std::get_if<query::Streams>(&result.value);
  if (streams == nullptr) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "only log queries are supported: fields are those of lines");
  }
  std::map<std::string, Field> found;
  const auto add = [&](const std::string& name, const std::string& value,
                       std::string_view parser) -> Field* {
    if (!only.empty() && name != only) return nullptr;
    if (found.size() >= fields.limit && only.empty() && !found.contains(name)) return nullptr;
    Field& field = found[name];
    if (field.values.empty()) field.type = query::LogFieldType(value);
    if (!parser.empty()) field.parsers.insert(parser);
    if (only.empty() || field.values.size() < fields.limit) field.values.insert(value);
    return &field;
  };
  query::LogFieldDetector detector;
  std::vector<query::LogField> parsed;
  std::vector<LabelView> stream_labels;
  std::vector<LabelView> metadata;
  for (const query::LogStream& stream : *streams) {
    for (const auto& [name, value] : stream.metadata) add(name, value, {});
    for (const auto& [name, value] : stream.parsed) {
      if (!name.starts_with("__")) add(name, value, {});
    }
    ViewOf(stream.stream, &stream_labels);
    ViewOf(stream.metadata, &metadata);
    for (const query::LogEntry& entry : stream.entries) {
      const query::LogFieldParser parser =
          detector.Detect(entry.line, stream_labels, metadata, &parsed);
      if (parser == query::LogFieldParser::kNone) continue;
      const bool json = parser == query::LogFieldParser::kJson;
      for (query::LogField& field : parsed) {
        Field* const known = add(field.name, field.value, json ? "json" : "logfmt");
        if (known != nullptr && json && known->json_path.empty()) {
          known->json_path = std::move(field.json_path);
        }
      }
    }
  }
  return found;
}

Response DetectedFields(Context& context, Database& database, Request& request) {
  const Result<FieldQuery> fields = ReadFields(context, request.params);
  if (!fields.ok()) return ErrorResponse(fields.status());
  const auto found = Gather(context, database, request, *fields, {});
  if (!found.ok()) return ErrorResponse(found.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject();
  if (!found->empty()) {
    json.Key("fields").BeginArray();
    for (const auto& [name, field] : *found) {
      json.BeginObject().Field("label", name).Field("type", field.type);
      json.Key("cardinality").Uint(field.values.size()).Key("parsers");
      if (field.parsers.empty()) {
        json.Null();
      } else {
        json.BeginArray();
        for (const std::string_view parser : field.parsers) json.String(parser);
        json.EndArray();
      }
      if (!field.json_path.empty()) {
        json.Key("jsonPath").BeginArray();
        for (const std::string& key : field.json_path) json.String(key);
        json.EndArray();
      }
      json.EndObject();
    }
    json.EndArray();
  }
  json.Key("limit").Uint(fields->limit).EndObject();
  return Response::Json(200, std::move(body));
}

Response FieldValues(Context& context, Database& database, Request& request) {
  const Result<FieldQuery> fields = ReadFields(context, request.params);
  if (!fields.ok()) return ErrorResponse(fields.status());
  const std::string_view name = request.path_params.Get("name");
  if (name.empty()) return TextError(400, "a field name is required");
  const auto found = Gather(context, database, request, *fields, name);
  if (!found.ok()) return ErrorResponse(found.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject();
  if (const auto at = found->find(std::string(name)); at != found->end()) {
    json.Key("values").BeginArray();
    for (const std::string& value : at->second.values) json.String(value);
    json.EndArray();
  }
  json.Key("limit").Uint(fields->limit).EndObject();
  return Response::Json(200, std::move(body));
}

}  // namespace

void AddFieldRoutes(Context* context, http::Router* router) {
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/detected_fields", kQuery, DetectedFields);
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/detected_field/:name/values", kQuery,
           FieldValues);
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/detected_fields/:name/values", kQuery,
           FieldValues);
}

}  // namespace varve::loki
