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
constexpr int64_t kSecond = 1'000'000'000;

Response Stats(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  const auto matchers = query::ParseLogSelector(request.params.Get("query"), true);
  if (!matchers.ok()) return ErrorResponse(matchers.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  const Result<LogVolume> volume = (*snapshot)->Volume(*matchers, *range);
  if (!volume.ok()) return ErrorResponse(volume.status());
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("streams").Uint(volume->streams).Key("chunks").Uint(volume->chunks);
  json.Key("bytes").Uint(volume->line_bytes).Key("entries").Uint(volume->entries).EndObject();
  return Response::Json(200, std::move(body));
}

Response Shards(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  const auto info = query::InspectLogQuery(request.params.Get("query"));
  if (!info.ok()) return ErrorResponse(info.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  LogVolume volume;
  for (const auto& matchers : info->selectors) {
    const Result<LogVolume> one = (*snapshot)->Volume(matchers, *range);
    if (!one.ok()) return ErrorResponse(one.status());
    volume.streams += one->streams;
    volume.chunks += one->chunks;
    volume.entries += one->entries;
    volume.line_bytes += one->line_bytes;
  }
  // One shard: queries spread over cores by themselves.
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("shards").BeginArray().BeginObject();
  json.Key("bounds").BeginObject().Key("min").Uint(0).Key("max").Uint(UINT64_MAX).EndObject();
  json.Key("stats").BeginObject().Key("streams").Uint(volume.streams);
  json.Key("chunks").Uint(volume.chunks).Key("bytes").Uint(volume.line_bytes);
  json.Key("entries").Uint(volume.entries).EndObject().EndObject().EndArray();
  json.Key("statistics");
  WriteStatistics({}, &json);
  json.EndObject();
  return Response::Json(200, std::move(body));
}

struct VolumeQuery {
  NsRange range;
  std::vector<Matcher> matchers;
  std::vector<std::string> targets;  // names to group by
  bool all_labels = false;           // group by every label of a stream
  bool by_label = false;             // aggregateBy=labels: one volume a label name
  uint32_t limit = 100;
  int64_t step_ns = 0;  // of volume_range
};

Result<VolumeQuery> ReadVolume(const Context& context, const http::Params& params) {
  VolumeQuery out;
  VARVE_ASSIGN_OR_RETURN(out.range, RangeParameters(context, params));
  if (out.range.max_ns <= out.range.min_ns) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "end timestamp must not be before or equal to start time");
  }
  VARVE_ASSIGN_OR_RETURN(out.matchers, query::ParseLogSelector(params.Get("query"), true));
  VARVE_ASSIGN_OR_RETURN(out.limit, CountParameter(params, "limit", 100));
  if (context.limits.volume_max_series > 0) {
    // Drilldown asks for 5,000 and takes what it gets.
    out.limit = std::min(out.limit, std::max(context.limits.volume_max_series, 1u));
  }
  std::string_view targets = params.Get("targetLabels");
  while (!targets.empty()) {
    const size_t comma = std::min(targets.find(','), targets.size());
    const std::string_view name = http::Trim(targets.substr(0, comma));
    if (!name.empty()) out.targets.emplace_back(name);
    targets.remove_prefix(std::min(comma + 1, targets.size()));
  }
  const std::string_view by = params.Get("aggregateBy");
  if (by == "labels") {
    out.by_label = true;
  } else if (!by.empty() && by != "series") {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "invalid aggregation option: must be one of 'series' or 'labels'");
  }
  for (const std::string& target : out.targets) {
    // Streams without a target label count nowhere.
    out.matchers.push_back({MatchType::kRegex, target, ".+"});
  }
  if (out.targets.empty()) {
    for (const Matcher& matcher : out.matchers) out.targets.push_back(matcher.name);
    out.all_labels = out.matchers.empty();
  }
  std::sort(out.targets.begin(), out.targets.end());
  out.targets.erase(std::unique(out.targets.begin(), out.targets.end()), out.targets.end());
  if (const std::string_view text = params.Get("step"); !text.empty()) {
    VARVE_ASSIGN_OR_RETURN(out.step_ns, ParseDuration(text));
    if (out.step_ns <= 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "zero or negative query resolution step widths are not accepted. Try a "
                        "positive integer");
    }
  } else {
    out.step_ns =
        std::max<int64_t>((out.range.max_ns - out.range.min_ns) / (250 * kSecond), 1) * kSecond;
  }
  if ((out.range.max_ns - out.range.min_ns) / out.step_ns > 11'000) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "exceeded maximum resolution of 11,000 points per time series. Try "
                      "increasing the value of the step parameter");
  }
  return out;
}

// Bytes of each group, by bucket: one bucket, or one a step.
using Volumes = std::map<std::vector<std::pair<std::string, std::string>>, std::vector<uint64_t>>;

class VolumeScan {
 public:
  VolumeScan(const VolumeQuery& query, bool stepped) : query_(query), stepped_(stepped) {
    buckets_ =
        stepped
            ? static_cast<size_t>((query.range.max_ns - 1 - query.range.min_ns) / query.step_ns) + 1
            : 1;
  }
  size_t buckets() const { return buckets_; }

  Status Run(const LogSnapshot& snapshot, const http::CancelFlag& cancel, Volumes* out) {
    // The end does not belong to it.
    const NsRange range{query_.range.min_ns, query_.range.max_ns - 1};
    LogScanSpec spec;
    spec.range = range;
    spec.lines = LogScanSpec::Lines::kLengths;
    spec.with_metadata = false;
    VARVE_ASSIGN_OR_RETURN(const auto scan, CompileLogScan(spec));
    VARVE_ASSIGN_OR_RETURN(const auto streams, snapshot.Select(query_.matchers, range));
    std::vector<LogChunk> chunks;
    std::vector<LabelView> labels;
    LogRows rows;
    LogScanStats stats;
    std::vector<uint64_t> bytes(buckets_);
    for (size_t i = 0; i < streams->size(); ++i) {
      if (cancel.cancelled()) return absl::CancelledError("context canceled");
      VARVE_RETURN_IF_ERROR(streams->GetChunks(i, range, &chunks));
      std::fill(bytes.begin(), bytes.end(), 0);
      bool any = false;
      for (const LogChunk& chunk : chunks) {
        // What lies in one bucket whole needs no look inside.
        if (range.Contains(chunk.min_time_ns) && range.Contains(chunk.max_time_ns) &&
            Bucket(chunk.min_time_ns) == Bucket(chunk.max_time_ns)) {
          bytes[Bucket(chunk.min_time_ns)] += chunk.line_bytes;
          any = any || chunk.count > 0;
          continue;
        }
        VARVE_RETURN_IF_ERROR(chunk.Read(*scan, &rows, &stats));
        for (size_t r = 0; r < rows.size(); ++r) {
          bytes[Bucket(rows.times_ns[r])] += rows.line_lengths[r];
          any = true;
        }
      }
      if (!any) continue;
      streams->GetLabels(i, &labels);
      Add(labels, bytes, out);
    }
    return absl::OkStatus();
  }

 private:
  size_t Bucket(int64_t time_ns) const {
    if (!stepped_) return 0;
    return static_cast<size_t>((time_ns - query_.range.min_ns) / query_.step_ns);
  }
  bool IsTarget(std::string_view name) const {
    return query_.all_labels ||
           std::binary_search(query_.targets.begin(), query_.targets.end(), name, std::less<>());
  }
  void Add(const std::vector<LabelView>& labels, const std::vector<uint64_t>& bytes, Volumes* out) {
    const auto add = [&](std::vector<std::pair<std::string, std::string>> key) {
      std::vector<uint64_t>& sums = (*out)[std::move(key)];
      sums.resize(buckets_);
      for (size_t b = 0; b < buckets_; ++b) sums[b] += bytes[b];
    };
    if (query_.by_label) {
      for (const LabelView& label : labels) {
        if (IsTarget(label.name)) add({{std::string(label.name), ""}});
      }
      return;
    }
    std::vector<std::pair<std::string, std::string>> key;
    for (const LabelView& label : labels) {
      if (IsTarget(label.name)) key.emplace_back(label.name, label.value);
    }
    add(std::move(key));
  }

  const VolumeQuery& query_;
  const bool stepped_;
  size_t buckets_;
};

Response AnswerVolume(Context& context, Database& database, Request& request, bool stepped) {
  const Result<VolumeQuery> query = ReadVolume(context, request.params);
  if (!query.ok()) return ErrorResponse(query.status());
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  Volumes volumes;
  VolumeScan scan(*query, stepped);
  if (const Status status = scan.Run(**snapshot, *request.cancel, &volumes); !status.ok()) {
    return ErrorResponse(status);
  }
  // The largest first, up to the limit.
  std::vector<std::pair<uint64_t, const Volumes::value_type*>> order;
  for (const auto& entry : volumes) {
    uint64_t sum = 0;
    for (const uint64_t bytes : entry.second) sum += bytes;
    order.emplace_back(sum, &entry);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  if (order.size() > query->limit) order.resize(query->limit);
  std::string body = R"({"status":"success","data":{"resultType":")";
  body += stepped ? "matrix" : "vector";
  body += R"(","result":)";
  json::Writer json(&body);
  json.BeginArray();
  for (const auto& [sum, entry] : order) {
    json.BeginObject().Key("metric").BeginObject();
    for (const auto& [name, value] : entry->first) json.Field(name, value);
    json.EndObject();
    if (stepped) {
      json.Key("values").BeginArray();
      for (size_t b = 0; b < entry->second.size(); ++b) {
        if (entry->second[b] == 0) continue;
        const int64_t time_ns = query->range.min_ns + static_cast<int64_t>(b) * query->step_ns;
        json.BeginArray().TimeMs(time_ns / 1'000'000);
        json.String(std::to_string(entry->second[b])).EndArray();
      }
      json.EndArray();
    } else {
      json.Key("value").BeginArray().TimeMs(query->range.max_ns / 1'000'000);
      json.String(std::to_string(sum)).EndArray();
    }
    json.EndObject();
  }
  json.EndArray();
  body += R"(,"stats":)";
  json::Writer stats(&body);
  WriteStatistics({}, &stats);
  body += "}}";
  return Response::Json(200, std::move(body));
}

}  // namespace

void AddVolumeRoutes(Context* context, http::Router* router) {
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/index/stats", kQuery, Stats);
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/index/shards", kQuery, Shards);
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/index/volume", kQuery,
           [](Context& c, Database& d, Request& r) { return AnswerVolume(c, d, r, false); });
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/index/volume_range", kQuery,
           [](Context& c, Database& d, Request& r) { return AnswerVolume(c, d, r, true); });
}

}  // namespace varve::loki
