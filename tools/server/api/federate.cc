#include <algorithm>
#include <map>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

namespace varve::api {
namespace {

struct Newest {
  int64_t time_ms = 0;
  double value = 0;
};

// Finds the newest float in (now - lookback, now]. Only the last chunks are decoded.
Result<std::optional<Newest>> FindNewest(const SeriesSet& set, size_t i, TimeRange range,
                                         std::vector<Chunk>* chunks, std::vector<int64_t>* times,
                                         std::vector<double>* values) {
  VARVE_RETURN_IF_ERROR(set.GetChunks(i, range, chunks));
  for (auto chunk = chunks->rbegin(); chunk != chunks->rend(); ++chunk) {
    times->resize(chunk->count);
    VARVE_RETURN_IF_ERROR(chunk->DecodeTimes(*times));
    const auto end = std::upper_bound(times->begin(), times->end(), range.max_ms);
    if (end == times->begin()) continue;
    const auto at = static_cast<uint32_t>(end - times->begin() - 1);
    if ((*times)[at] < range.min_ms) return std::optional<Newest>();
    // A native histogram has no text form; only protobuf could carry it.
    if (chunk->kind != ChunkKind::kFloat) return std::optional<Newest>();
    values->resize(1);
    VARVE_RETURN_IF_ERROR(chunk->DecodeValues(at, *values));
    if (IsStaleNan(values->front())) return std::optional<Newest>();
    return std::optional<Newest>(Newest{(*times)[at], values->front()});
  }
  return std::optional<Newest>();
}

void AppendLabelValue(std::string_view value, std::string* out) {
  for (const char c : value) {
    if (c == '\\') {
      out->append("\\\\");
    } else if (c == '"') {
      out->append("\\\"");
    } else if (c == '\n') {
      out->append("\\n");
    } else {
      out->push_back(c);
    }
  }
}

bool IsLegacyName(std::string_view name, bool colons) {
  if (name.empty() || (name.front() >= '0' && name.front() <= '9')) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (colons && c == ':');
  });
}

void AppendName(std::string_view name, std::string* out) {
  if (IsLegacyName(name, false)) {
    out->append(name);
    return;
  }
  out->push_back('"');
  AppendLabelValue(name, out);
  out->push_back('"');
}

http::Response Federate(Context& context, Database& database, http::Request& request) {
  const auto selectors = SelectorParameters(request.params);
  if (!selectors.ok()) {
    return http::Response::Text(400, Concat(ToStd(selectors.status().message()), "\n"));
  }
  const auto snapshot = database.TakeSnapshot();
  const auto failed = [](const Status& status) {
    return http::Response::Text(500, Concat(ToStd(status.message()), "\n"));
  };
  if (!snapshot.ok()) return failed(snapshot.status());
  const int64_t now = context.clock->NowMs();
  const TimeRange range{now - context.engine->options().lookback_delta.count() + 1, now};

  // Sorted by name, then labels; a series that several selectors find is sent once.
  std::map<std::pair<std::string, Labels>, Newest> found;
  std::vector<LabelView> labels;
  std::vector<Chunk> chunks;
  std::vector<int64_t> times;
  std::vector<double> values;
  for (const std::vector<Matcher>& matchers : *selectors) {
    const auto set = (*snapshot)->Select(matchers, range);
    if (!set.ok()) return failed(set.status());
    for (size_t i = 0; i < (*set)->size(); ++i) {
      if (request.cancel->cancelled()) return http::Response::Text(499, "canceled\n");
      const auto newest = FindNewest(**set, i, range, &chunks, &times, &values);
      if (!newest.ok()) return failed(newest.status());
      if (!newest->has_value()) continue;
      (*set)->GetLabels(i, &labels);
      Labels owned{LabelsView(labels)};
      std::string name(owned.metric_name());
      found.try_emplace({std::move(name), std::move(owned)}, **newest);
    }
  }
  http::Response response = http::Response::Text(200, "");
  response.headers.Set("Content-Type", telemetry::ContentTypeOf(telemetry::Format::kText));
  std::string& out = response.body;
  std::string_view last;
  for (const auto& [key, newest] : found) {
    const auto& [name, series] = key;
    if (name.empty()) continue;
    const bool legacy = IsLegacyName(name, true);
    if (last != name) {
      out += "# TYPE ";
      if (legacy) {
        out += name;
      } else {
        AppendName(name, &out);
      }
      out += " untyped\n";
      last = name;
    }
    // The federating server would put its own instance in place of a missing one.
    bool has_instance = false;
    char separator = '{';
    if (legacy) {
      out += name;
    } else {
      out += '{';
      AppendName(name, &out);
      separator = ',';
    }
    for (const LabelView& label : series) {
      if (label.name == kMetricName) continue;
      has_instance |= label.name == "instance";
      out += separator;
      AppendName(label.name, &out);
      out += "=\"";
      AppendLabelValue(label.value, &out);
      out += '"';
      separator = ',';
    }
    if (!has_instance) out += Concat(separator, "instance=\"\"");
    out += "} ";
    json::AppendFloat(newest.value, &out);
    out += Concat(" ", newest.time_ms, "\n");
  }
  return response;
}

}  // namespace

void AddFederateRoute(Context* context, http::Router* router) {
  AddRoute(context, router, http::kGetOnly, "/federate", {.lane = http::Lane::kQuery}, Federate);
}

}  // namespace varve::api
