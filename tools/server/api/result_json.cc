#include "tools/server/api/result_json.h"

#include <utility>
#include <variant>

namespace varve::api {
namespace {

// A body longer than this is written anew each time.
constexpr size_t kKeptTextBytes = 64u << 10;

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

void WriteSample(const query::VectorSample& sample, json::Writer* json) {
  json->BeginObject().Key("metric");
  WriteLabels(sample.labels, json);
  if (sample.histogram != nullptr) {
    json->Key("histogram").BeginArray().TimeMs(sample.time_ms);
    WriteHistogram(*sample.histogram, json);
  } else {
    json->Key("value").BeginArray().TimeMs(sample.time_ms).FloatString(sample.value);
  }
  json->EndArray().EndObject();
}

void WriteSeries(const query::Series& series, json::PointsWriter* points, std::string* out) {
  json::Writer writer(out);
  json::Writer* const json = &writer;
  json->BeginObject().Key("metric");
  WriteLabels(series.labels, json);
  if (!series.times_ms.empty()) {
    json->Key("values").BeginArray();
    points->Append(series.times_ms, series.values, out);
    json->EndArray();
  }
  if (!series.histograms.empty()) {
    json->Key("histograms").BeginArray();
    for (size_t i = 0; i < series.histograms.size(); ++i) {
      json->BeginArray().TimeMs(series.histogram_times_ms[i]);
      WriteHistogram(*series.histograms[i], json);
      json->EndArray();
    }
    json->EndArray();
  }
  json->EndObject();
}

std::string_view TypeOf(const query::Value& value) {
  switch (value.index()) {
    case 0:
      return "scalar";
    case 1:
      return "string";
    case 2:
      return "vector";
    default:
      return "matrix";
  }
}

// Writes the envelope, then one series after another.
class ResultSource final : public http::BodySource {
 public:
  ResultSource(query::QueryResult result, const ResultOptions& options)
      : result_(std::move(result)), options_(options) {
    if (const auto* vector = std::get_if<query::Vector>(&result_.value)) size_ = vector->size();
    if (const auto* matrix = std::get_if<query::Matrix>(&result_.value)) size_ = matrix->size();
    if (options_.limit != 0 && size_ > options_.limit) {
      size_ = options_.limit;
      result_.annotations.warnings.emplace_back("results truncated due to limit");
    }
  }

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    const bool at_once = !started_;
    if (!started_) {
      started_ = true;
      AppendSuccessHead(out);
      json::Writer json(out);
      json.BeginObject().Field("resultType", TypeOf(result_.value)).Key("result");
      if (const auto* scalar = std::get_if<query::Scalar>(&result_.value)) {
        json.BeginArray().TimeMs(scalar->time_ms).FloatString(scalar->value).EndArray();
      } else if (const auto* text = std::get_if<query::StringValue>(&result_.value)) {
        json.BeginArray().TimeMs(text->time_ms).String(text->value).EndArray();
      } else {
        out->push_back('[');
      }
    }
    Reserve(bytes_hint, out);
    while (next_ < size_ && out->size() - begin < bytes_hint) {
      if (next_ > 0) out->push_back(',');
      if (auto* vector = std::get_if<query::Vector>(&result_.value)) {
        json::Writer json(out);
        WriteSample((*vector)[next_], &json);
        (*vector)[next_] = query::VectorSample();
      } else if (auto* matrix = std::get_if<query::Matrix>(&result_.value)) {
        WriteSeries((*matrix)[next_], &points_, out);
        (*matrix)[next_] = query::Series();  // give back what has been sent
      }
      ++next_;
    }
    if (next_ < size_) return true;
    if (result_.value.index() >= 2) out->push_back(']');
    if (options_.stats) {
      out->push_back(',');
      json::Writer json(out);
      json.Key("stats");
      WriteStatistics(result_.statistics, options_.stats_all, &json);
    }
    out->push_back('}');
    AppendSuccessTail(
        {std::move(result_.annotations.warnings), std::move(result_.annotations.infos)}, out);
    if (at_once && result_.text != nullptr && options_.WholeAndAlone() &&
        out->size() - begin <= kKeptTextBytes) {
      result_.text->Set(out->substr(begin));
    }
    return false;
  }

 private:
  /// Makes room for about what comes next, so that the text is not moved while it grows.
  void Reserve(size_t bytes_hint, std::string* out) const {
    constexpr size_t kPointBytes = 32;
    constexpr size_t kLabelsBytes = 256;
    const auto* matrix = std::get_if<query::Matrix>(&result_.value);
    size_t bytes = kLabelsBytes;
    for (size_t i = next_; i < size_ && bytes < bytes_hint; ++i) {
      bytes += kLabelsBytes + (matrix != nullptr ? (*matrix)[i].times_ms.size() * kPointBytes : 0);
    }
    out->reserve(out->size() + bytes);
  }

  query::QueryResult result_;
  const ResultOptions options_;
  size_t size_ = 0;
  size_t next_ = 0;
  json::PointsWriter points_;
  bool started_ = false;
};

}  // namespace

void WriteLabels(LabelsView labels, json::Writer* json) {
  json->BeginObject();
  for (const LabelView& label : labels) json->Field(label.name, label.value);
  json->EndObject();
}

void WriteHistogram(const query::FloatHistogram& histogram, json::Writer* json) {
  json->BeginObject().Key("count").FloatString(histogram.count);
  json->Key("sum").FloatString(histogram.sum);
  bool any = false;
  for (const query::HistogramBucket& bucket : histogram.Buckets()) {
    if (bucket.count == 0) continue;
    if (!any) json->Key("buckets").BeginArray();
    any = true;
    json->BeginArray().Uint(static_cast<uint64_t>(bucket.rule)).FloatString(bucket.lower);
    json->FloatString(bucket.upper).FloatString(bucket.count).EndArray();
  }
  if (any) json->EndArray();
  json->EndObject();
}

void WriteStatistics(const query::Statistics& statistics, bool all, json::Writer* json) {
  json->BeginObject().Key("timings").BeginObject();
  json->Key("evalTotalTime").Number(Seconds(statistics.total_time));
  json->Key("resultSortTime").Number(Seconds(statistics.sort_time));
  json->Key("queryPreparationTime").Number(Seconds(statistics.parse_time + statistics.plan_time));
  json->Key("innerEvalTime").Number(Seconds(statistics.exec_time));
  json->Key("execQueueTime").Number(0);
  json->Key("execTotalTime").Number(Seconds(statistics.total_time)).EndObject();
  json->Key("samples").BeginObject();
  if (all) {
    json->Key("totalQueryableSamplesPerStep").BeginArray();
    for (const auto& [time_ms, samples] : statistics.samples_per_step) {
      json->BeginArray().TimeMs(time_ms).Uint(samples).EndArray();
    }
    json->EndArray();
  }
  json->Key("totalQueryableSamples").Uint(statistics.total_samples);
  json->Key("peakSamples").Uint(statistics.peak_samples).EndObject();
  // Steps that no other number here speaks of.
  if (statistics.cached_steps > 0) json->Key("cachedSteps").Uint(statistics.cached_steps);
  if (all) {
    json->Key("series").Uint(statistics.series);
    json->Key("samplesRead").Uint(statistics.samples_read);
    json->Key("peakBytes").Uint(statistics.peak_bytes);
    json->Key("operators").BeginArray();
    for (const query::OperatorStats& op : statistics.operators) {
      json->BeginObject().Field("name", op.name).Key("depth").Uint(op.depth);
      json->Key("series").Uint(op.series).Key("tiles").Uint(op.tiles);
      json->Key("points").Uint(op.points).Key("samples").Uint(op.samples);
      json->Key("chunks").Uint(op.chunks).Key("chunksEdgeOnly").Uint(op.chunks_edge_only);
      json->Key("seconds").Number(Seconds(op.elapsed)).EndObject();
    }
    json->EndArray();
  }
  json->EndObject();
}

http::Response ResultResponse(query::QueryResult result, const ResultOptions& options) {
  http::Response response = http::Response::Json(200, "");
  response.source = std::make_unique<ResultSource>(std::move(result), options);
  return response;
}

}  // namespace varve::api
