#include "tools/server/api/export_api.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/otlp/traces.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/api/result_json.h"
#include "tools/server/json/writer.h"
#include "varve/logql.h"
#include "varve/selector.h"

namespace varve::api {
namespace {

// A line ends once it has this many samples, or bytes of log lines.
constexpr size_t kLineSamples = 8192;
constexpr size_t kLineBytes = 1u << 20;
constexpr size_t kTracesAtOnce = 256;

// --- Samples ---

void AppendValue(double value, std::string* out) {
  if (IsStaleNan(value)) {
    *out += "\"StaleNaN\"";
  } else if (value == 0 && std::signbit(value)) {
    *out += "-0.0";  // "-0" reads as an integer, which has one zero
  } else if (std::isfinite(value)) {
    json::AppendFloat(value, out);
  } else {
    *out += '"';
    json::AppendFloat(value, out);
    *out += '"';
  }
}

std::string_view NameOf(CounterResetHint hint) {
  static constexpr std::string_view kNames[] = {"unknown", "reset", "not_reset", "gauge"};
  return kNames[static_cast<size_t>(hint)];
}

// Writes what the query API prints of a histogram, empty buckets too, and what makes it whole: what
// the bulk import takes.
void AppendHistogram(const query::FloatHistogram& histogram, std::string* out) {
  const auto value = [](double number) {
    std::string text;
    AppendValue(number, &text);
    return text;
  };
  json::Writer json(out);
  json.BeginObject().Key("count").Raw(value(histogram.count));
  json.Key("sum").Raw(value(histogram.sum));
  json.Key("buckets").BeginArray();
  for (const query::HistogramBucket& bucket : histogram.Buckets()) {
    json.BeginArray().Uint(static_cast<uint64_t>(bucket.rule)).Raw(value(bucket.lower));
    json.Raw(value(bucket.upper)).Raw(value(bucket.count)).EndArray();
  }
  json.EndArray().Key("schema").Int(histogram.schema);
  json.Key("zero_threshold").Raw(value(histogram.zero_threshold));
  json.Key("custom_values").BeginArray();
  for (const double bound : histogram.custom_values) json.Raw(value(bound));
  json.EndArray().Field("reset_hint", NameOf(histogram.reset_hint)).EndObject();
}

// Writes {"metric":{...},"values":[...],"timestamps":[...]}, VictoriaMetrics's form; of native
// histograms {"metric":{...},"histograms":[...],"timestamps":[...]}.
class SampleLines final : public http::BodySource {
 public:
  SampleLines(std::shared_ptr<const Snapshot> snapshot, std::unique_ptr<SeriesSet> series,
              TimeRange range)
      : snapshot_(std::move(snapshot)), series_(std::move(series)), range_(range) {}

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    while (out->size() - begin < bytes_hint) {
      if (chunk_ < chunks_.size()) {
        VARVE_RETURN_IF_ERROR(AppendLine(out));
      } else if (next_series_ < series_->size()) {
        chunk_ = 0;
        VARVE_RETURN_IF_ERROR(series_->GetChunks(next_series_, range_, &chunks_));
        series_->GetLabels(next_series_++, &labels_);
      } else {
        return false;
      }
    }
    return true;
  }

 private:
  // Decodes chunks of one kind until a line is full, and prints them.
  Status AppendLine(std::string* out) {
    const ChunkKind kind = chunks_[chunk_].kind;
    times_.clear();
    std::string points;
    for (; chunk_ < chunks_.size() && chunks_[chunk_].kind == kind && times_.size() < kLineSamples;
         ++chunk_) {
      VARVE_RETURN_IF_ERROR(AppendPoints(chunks_[chunk_], &points));
    }
    if (times_.empty()) return absl::OkStatus();
    json::Writer json(out);
    json.BeginObject().Key("metric");
    WriteLabels(labels_, &json);
    json.Key(kind == ChunkKind::kFloat ? "values" : "histograms").Raw(Concat("[", points, "]"));
    json.Key("timestamps").BeginArray();
    for (const int64_t time : times_) json.Int(time);
    json.EndArray().EndObject();
    *out += '\n';
    return absl::OkStatus();
  }

  // Adds the times in the range to `times_` and what stands there to `points`.
  Status AppendPoints(const Chunk& chunk, std::string* points) {
    chunk_times_.resize(chunk.count);
    if (chunk.kind == ChunkKind::kFloat) {
      values_.resize(chunk.count);
      VARVE_RETURN_IF_ERROR(chunk.DecodeFloats(chunk_times_, values_));
    } else {
      VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(chunk_times_));
      VARVE_RETURN_IF_ERROR(chunk.DecodeHistograms(&histograms_));
    }
    for (size_t i = 0; i < chunk_times_.size(); ++i) {
      if (!range_.Contains(chunk_times_[i])) continue;
      times_.push_back(chunk_times_[i]);
      if (!points->empty()) *points += ',';
      if (chunk.kind == ChunkKind::kFloat) {
        AppendValue(values_[i], points);
      } else {
        AppendHistogram(query::FloatHistogram::From(histograms_[i]), points);
      }
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<const Snapshot> snapshot_;
  const std::unique_ptr<SeriesSet> series_;
  const TimeRange range_;
  size_t next_series_ = 0;
  std::vector<LabelView> labels_;  // of the current series
  std::vector<Chunk> chunks_;
  size_t chunk_ = 0;  // next to decode
  std::vector<int64_t> times_;
  std::vector<int64_t> chunk_times_;
  std::vector<double> values_;
  std::vector<Histogram> histograms_;
};

http::Response Lines(std::unique_ptr<http::BodySource> source) {
  http::Response response;
  response.headers.Add("Content-Type", "application/x-ndjson");
  response.source = std::move(source);
  return response;
}

http::Response ExportSamples(Context&, Database& database, http::Request& request) {
  const auto selectors = SelectorParameters(request.params);
  if (!selectors.ok()) return Error(selectors.status());
  if (selectors->size() > 1) return Error(400, "bad_data", "give one match[], or none for all");
  const auto range = RangeParameters(request.params);
  if (!range.ok()) return Error(range.status());
  auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  const std::vector<Matcher> all;
  auto series = (*snapshot)->Select(selectors->empty() ? all : selectors->front(), *range);
  if (!series.ok()) return Error(series.status());
  return Lines(std::make_unique<SampleLines>(*std::move(snapshot), *std::move(series), *range));
}

// --- Logs ---

// Reads start and end, both included, by default all time.
Result<NsRange> NsRangeParameters(const http::Params& params) {
  NsRange out;
  VARVE_ASSIGN_OR_RETURN(out.min_ns, loki::TimeParameter(params, "start", out.min_ns));
  VARVE_ASSIGN_OR_RETURN(out.max_ns, loki::TimeParameter(params, "end", out.max_ns));
  if (out.empty()) return MakeStatus(StatusCode::kInvalidArgument, "end is before start");
  return out;
}

// Writes {"stream":{...},"values":[["ns","line",{metadata}],...]}, elements of a Loki push.
class LogLines final : public http::BodySource {
 public:
  LogLines(std::shared_ptr<const LogSnapshot> snapshot, std::unique_ptr<StreamSet> streams,
           std::shared_ptr<const LogScan> scan, NsRange range)
      : snapshot_(std::move(snapshot)),
        streams_(std::move(streams)),
        scan_(std::move(scan)),
        range_(range) {}

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    while (out->size() - begin < bytes_hint) {
      if (row_ < rows_.size()) {
        AppendLine(out);
      } else if (chunk_ < chunks_.size()) {
        LogScanStats stats;
        row_ = 0;
        VARVE_RETURN_IF_ERROR(chunks_[chunk_++].Read(*scan_, &rows_, &stats));
      } else if (next_stream_ < streams_->size()) {
        chunk_ = 0;
        VARVE_RETURN_IF_ERROR(streams_->GetChunks(next_stream_, range_, &chunks_));
        streams_->GetLabels(next_stream_++, &labels_);
      } else {
        return false;
      }
    }
    return true;
  }

 private:
  void AppendLine(std::string* out) {
    const size_t begin = out->size();
    json::Writer json(out);
    json.BeginObject().Key("stream");
    loki::WriteLabels(labels_, &json);
    json.Key("values").BeginArray();
    for (; row_ < rows_.size() && out->size() - begin < kLineBytes; ++row_) {
      json.BeginArray().String(Concat(rows_.times_ns[row_])).String(rows_.lines[row_]);
      if (const LabelsView metadata = rows_.metadata_of(row_); !metadata.empty()) {
        loki::WriteLabels(metadata, &json);
      }
      json.EndArray();
    }
    json.EndArray().EndObject();
    *out += '\n';
  }

  const std::shared_ptr<const LogSnapshot> snapshot_;
  const std::unique_ptr<StreamSet> streams_;
  const std::shared_ptr<const LogScan> scan_;
  const NsRange range_;
  size_t next_stream_ = 0;
  std::vector<LabelView> labels_;  // of the current stream
  std::vector<LogChunk> chunks_;
  size_t chunk_ = 0;  // next to read
  LogRows rows_;
  size_t row_ = 0;
};

http::Response ExportLogs(Context&, Database& database, http::Request& request) {
  std::vector<Matcher> matchers;
  if (const std::string_view selector = request.params.Get("query"); !selector.empty()) {
    Result<std::vector<Matcher>> parsed = query::ParseLogSelector(selector);
    if (!parsed.ok()) return loki::ErrorResponse(parsed.status());
    matchers = *std::move(parsed);
  }
  const Result<NsRange> range = NsRangeParameters(request.params);
  if (!range.ok()) return loki::ErrorResponse(range.status());
  LogScanSpec spec;
  spec.range = *range;
  Result<std::shared_ptr<const LogScan>> scan = CompileLogScan(spec);
  if (!scan.ok()) return loki::ErrorResponse(scan.status());
  auto snapshot = database.TakeLogSnapshot();
  if (!snapshot.ok()) return loki::ErrorResponse(snapshot.status());
  auto streams = (*snapshot)->Select(matchers, *range, scan->get());
  if (!streams.ok()) return loki::ErrorResponse(streams.status());
  return Lines(std::make_unique<LogLines>(*std::move(snapshot), *std::move(streams),
                                          *std::move(scan), *range));
}

// --- Traces ---

// Writes OTLP's TracesData, a trace a line: its spans that start in the range.
class TraceLines final : public http::BodySource {
 public:
  TraceLines(std::shared_ptr<const TraceSnapshot> snapshot, std::unique_ptr<SpanCursor> cursor,
             NsRange range)
      : snapshot_(std::move(snapshot)), cursor_(std::move(cursor)), range_(range) {}

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    while (out->size() - begin < bytes_hint) {
      while (!ended_ && waiting_.size() < kTracesAtOnce) {
        SpanColumns found;
        VARVE_ASSIGN_OR_RETURN(const bool more, cursor_->Next(&found));
        ended_ = !more;
        for (const TraceId& id : found.trace_ids) {
          if (seen_.insert(id).second) waiting_.push_back(id);
        }
      }
      if (waiting_.empty()) return false;
      VARVE_RETURN_IF_ERROR(AppendTraces(out));
    }
    return true;
  }

 private:
  Status AppendTraces(std::string* out) {
    const size_t count = std::min(kTracesAtOnce, waiting_.size());
    SpanBatch batch;
    VARVE_RETURN_IF_ERROR(
        snapshot_->GetTraces(std::span<const TraceId>(waiting_).first(count), 0, &batch));
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count));
    std::map<TraceId, std::vector<uint32_t>> spans;
    for (uint32_t i = 0; i < batch.spans().size(); ++i) {
      const SpanBatch::Span& span = batch.spans()[i];
      if (range_.Contains(span.start_ns)) spans[span.trace_id].push_back(i);
    }
    for (auto& [id, of_trace] : spans) {
      otlp::TraceWriter(otlp::TraceWriter::Format::kJson, batch, std::move(of_trace)).All(out);
      *out += '\n';
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<const TraceSnapshot> snapshot_;
  const std::unique_ptr<SpanCursor> cursor_;
  const NsRange range_;
  std::set<TraceId> seen_;
  std::vector<TraceId> waiting_;  // seen and not yet printed
  bool ended_ = false;
};

http::Response ExportTraces(Context&, Database& database, http::Request& request) {
  const Result<NsRange> range = NsRangeParameters(request.params);
  if (!range.ok()) return loki::ErrorResponse(range.status());
  SpanScanSpec spec;
  spec.range = *range;
  if (const std::string_view service = request.params.Get("service"); !service.empty()) {
    SpanPredicate predicate;
    predicate.field.intrinsic = Intrinsic::kServiceName;
    predicate.op = SpanPredicate::Op::kEqual;
    predicate.value = std::string(service);
    spec.predicates.push_back(std::move(predicate));
  }
  auto snapshot = database.TakeTraceSnapshot();
  if (!snapshot.ok()) return loki::ErrorResponse(snapshot.status());
  auto cursor = (*snapshot)->Scan(spec);
  if (!cursor.ok()) return loki::ErrorResponse(cursor.status());
  return Lines(std::make_unique<TraceLines>(*std::move(snapshot), *std::move(cursor), *range));
}

}  // namespace

void AddExportRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kExport{.lane = http::Lane::kQuery, .form = true};
  AddRoute(context, router, http::kGetPost, "/api/v1/export", kExport, ExportSamples);
  AddRoute(context, router, http::kGetPost, "/api/v1/export/logs", kExport, ExportLogs);
  AddRoute(context, router, http::kGetPost, "/api/v1/export/traces", kExport, ExportTraces);
}

}  // namespace varve::api
