#include <algorithm>
#include <map>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

constexpr http::RouteOptions kQuery{.lane = http::Lane::kQuery, .form = true};
constexpr size_t kValuesMax = 1'000'000;

// The matchers of `query`; none if it is empty.
Result<std::vector<Matcher>> SelectorParameter(const http::Params& params, bool allow_empty) {
  const std::string_view text = params.Get("query");
  if (text.empty()) return std::vector<Matcher>();
  return query::ParseLogSelector(text, allow_empty);
}

Response List(const Result<LookupResult>& found) {
  if (!found.ok()) return ErrorResponse(found.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Field("status", "success");
  // Loki leaves out an empty list.
  if (!found->values.empty()) {
    json.Key("data").BeginArray();
    for (const std::string& value : found->values) json.String(value);
    json.EndArray();
  }
  json.EndObject();
  return Response::Json(200, std::move(body));
}

Response Labels(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  const auto matchers = SelectorParameter(request.params, true);
  if (!matchers.ok()) return ErrorResponse(matchers.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  return List((*snapshot)->LabelNames(*matchers, *range, {kValuesMax}));
}

Response Values(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  const auto matchers = SelectorParameter(request.params, true);
  if (!matchers.ok()) return ErrorResponse(matchers.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  return List(
      (*snapshot)->LabelValues(request.path_params.Get("name"), *matchers, *range, {kValuesMax}));
}

Response Series(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  std::vector<std::string_view> texts = request.params.All("match[]");
  for (const std::string_view text : request.params.All("match")) texts.push_back(text);
  if (texts.size() > 64) {
    return TextError(400, "too many match[] parameters: at most 64");
  }
  std::vector<std::vector<Matcher>> selectors;
  for (const std::string_view text : texts) {
    auto matchers = query::ParseLogSelector(text, /*allow_empty=*/true);
    if (!matchers.ok()) return ErrorResponse(matchers.status());
    selectors.push_back(*std::move(matchers));
  }
  if (selectors.empty()) selectors.emplace_back();
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  // Streams of several selectors, each once; printed labels are a key that sorts well enough.
  std::map<std::string, std::string> found;
  for (const auto& matchers : selectors) {
    const auto streams = (*snapshot)->Select(matchers, *range);
    if (!streams.ok()) return ErrorResponse(streams.status());
    std::vector<LabelView> labels;
    std::vector<LogChunk> chunks;
    for (size_t i = 0; i < (*streams)->size(); ++i) {
      if (request.cancel->cancelled()) return TextError(499, "context canceled");
      if (const Status status = (*streams)->GetChunks(i, *range, &chunks); !status.ok()) {
        return ErrorResponse(status);
      }
      if (chunks.empty()) continue;
      (*streams)->GetLabels(i, &labels);
      std::string& text = found[ToString(LabelsView(labels))];
      if (!text.empty()) continue;
      json::Writer json(&text);
      WriteLabels(LabelsView(labels), &json);
      if (found.size() > kValuesMax) return TextError(400, "too many series");
    }
  }
  std::string body = R"({"status":"success","data":[)";
  bool first = true;
  for (const auto& [key, text] : found) {
    if (!first) body.push_back(',');
    first = false;
    body += text;
  }
  body += "]}";
  return Response::Json(200, std::move(body));
}

// Labels whose every value is a number or a UUID tell nobody anything in a list of facets.
bool IsId(std::string_view value) {
  if (value.empty()) return false;
  bool number = true;
  bool dot = false;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    if (c == '-' && i == 0 && value.size() > 1) continue;
    if (c == '.' && !dot) {
      dot = true;
      continue;
    }
    if (c < '0' || c > '9') number = false;
  }
  if (number) return true;
  if (value.size() != 36) return false;
  for (size_t i = 0; i < value.size(); ++i) {
    const char c = value[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !hex) return false;
  }
  return true;
}

Response DetectedLabels(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  const auto matchers = SelectorParameter(request.params, true);
  if (!matchers.ok()) return ErrorResponse(matchers.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  const auto names = (*snapshot)->LabelNames(*matchers, *range, {kValuesMax});
  if (!names.ok()) return ErrorResponse(names.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject();
  bool any = false;
  for (const std::string& name : names->values) {
    const auto values = (*snapshot)->LabelValues(name, *matchers, *range, {kValuesMax});
    if (!values.ok()) return ErrorResponse(values.status());
    if (values->values.empty() || std::all_of(values->values.begin(), values->values.end(), IsId)) {
      continue;
    }
    if (!any) json.Key("detectedLabels").BeginArray();
    any = true;
    json.BeginObject().Field("label", name).Key("cardinality").Uint(values->values.size());
    json.EndObject();
  }
  if (any) json.EndArray();
  json.EndObject();
  return Response::Json(200, std::move(body));
}

}  // namespace

void AddLabelRoutes(Context* context, http::Router* router) {
  for (const std::string_view prefix : {"/loki/api/v1/", "/api/prom/"}) {
    AddRoute(context, router, http::kGetPost, Concat(prefix, "labels"), kQuery, Labels);
    AddRoute(context, router, http::kGetPost, Concat(prefix, "label"), kQuery, Labels);
    AddRoute(context, router, http::kGetPost, Concat(prefix, "label/:name/values"), kQuery, Values);
    AddRoute(context, router, http::kGetPost, Concat(prefix, "series"), kQuery, Series);
  }
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/detected_labels", kQuery, DetectedLabels);
}

}  // namespace varve::loki
