#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/loki/pattern_miner.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

// What one request may read: enough for patterns to show, little enough to answer at once.
constexpr uint64_t kLinesMax = 200'000;
constexpr uint64_t kBytesMax = 64u << 20;
constexpr size_t kPatternsMax = 300;  // in an answer
constexpr int64_t kSecond = 1'000'000'000;

Status Mine(const LogSnapshot& snapshot, const query::LogQueryInfo& info, NsRange range,
            const http::CancelFlag& cancel, PatternMiner* miner) {
  LogScanSpec spec;
  spec.range = range;
  spec.line_filters = info.line_filters;
  spec.metadata_names = {std::string(kDetectedLevel)};
  VARVE_ASSIGN_OR_RETURN(const auto scan, CompileLogScan(spec));
  VARVE_ASSIGN_OR_RETURN(const auto streams,
                         snapshot.Select(info.selectors.front(), range, scan.get()));
  std::vector<LogChunk> chunks;
  LogRows rows;
  LogScanStats stats;
  uint64_t lines = 0;
  // Every stream gets its share, its newest chunks first.
  const uint64_t share = std::max<uint64_t>(kLinesMax / std::max<size_t>(streams->size(), 1), 100);
  for (size_t i = 0; i < streams->size(); ++i) {
    if (cancel.cancelled()) return absl::CancelledError("context canceled");
    VARVE_RETURN_IF_ERROR(streams->GetChunks(i, range, &chunks));
    const std::string stream_level(streams->GetLabel(i, kDetectedLevel));
    uint64_t of_stream = 0;
    for (auto chunk = chunks.rbegin(); chunk != chunks.rend(); ++chunk) {
      if (of_stream >= share || lines >= kLinesMax || stats.line_bytes >= kBytesMax) break;
      VARVE_RETURN_IF_ERROR(chunk->Read(*scan, &rows, &stats));
      for (size_t r = 0; r < rows.size(); ++r) {
        std::string_view level = FindLabel(rows.metadata_of(r), kDetectedLevel);
        if (level.empty()) level = stream_level;
        miner->Add(rows.times_ns[r], level, rows.lines[r]);
      }
      of_stream += rows.size();
      lines += rows.size();
    }
  }
  return absl::OkStatus();
}

Response Patterns(Context& context, Database& database, Request& request) {
  const Result<NsRange> range = RangeParameters(context, request.params);
  if (!range.ok()) return ErrorResponse(range.status());
  if (range->max_ns <= range->min_ns) {
    return TextError(400, "end timestamp must not be before or equal to start time");
  }
  const auto info = query::InspectLogQuery(request.params.Get("query"));
  if (!info.ok()) return ErrorResponse(info.status());
  if (!info->is_log_query || info->selectors.size() != 1) {
    return TextError(400, "only log queries are supported: patterns are those of lines");
  }
  int64_t step_ns =
      std::max<int64_t>((range->max_ns - range->min_ns) / (250 * kSecond), 10) * kSecond;
  if (const std::string_view text = request.params.Get("step"); !text.empty()) {
    const Result<int64_t> step = ParseDuration(text);
    if (!step.ok()) return ErrorResponse(step.status());
    if (*step <= 0) {
      return TextError(400,
                       "zero or negative query resolution step widths are not accepted. Try a "
                       "positive integer");
    }
    step_ns = *step;
  }
  if ((range->max_ns - range->min_ns) / step_ns > 11'000) {
    return TextError(400,
                     "exceeded maximum resolution of 11,000 points per time series. Try increasing "
                     "the value of the step parameter");
  }
  const auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return ErrorResponse(snapshot.status());
  PatternMiner miner({}, step_ns);
  const Status status =
      Mine(**snapshot, *info, {range->min_ns, range->max_ns - 1}, *request.cancel, &miner);
  if (!status.ok()) return ErrorResponse(status);
  std::vector<PatternMiner::Pattern> patterns = miner.Patterns();
  if (patterns.size() > kPatternsMax) patterns.resize(kPatternsMax);
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Field("status", "success").Key("data").BeginArray();
  for (const PatternMiner::Pattern& pattern : patterns) {
    json.BeginObject().Field("pattern", pattern.text).Field("level", pattern.level);
    json.Key("samples").BeginArray();
    for (const auto& [time_ns, count] : pattern.samples) {
      json.BeginArray().Int(time_ns / kSecond).Uint(count).EndArray();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  return Response::Json(200, std::move(body));
}

}  // namespace

void AddPatternRoutes(Context* context, http::Router* router) {
  AddRoute(context, router, http::kGetPost, "/loki/api/v1/patterns",
           {.lane = http::Lane::kQuery, .form = true}, Patterns);
}

}  // namespace varve::loki
