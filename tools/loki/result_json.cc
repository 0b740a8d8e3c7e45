#include <algorithm>

#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

/// Writes the envelope, then one series or group after another, as fast as the client reads.
class ResultSource final : public http::BodySource {
 public:
  ResultSource(query::LogQueryResult result, bool categorize, bool backward)
      : result_(std::move(result)), categorize_(categorize) {
    if (const auto* streams = std::get_if<query::Streams>(&result_.value)) {
      groups_ = query::GroupStreams(*streams, categorize, backward);
      size_ = groups_.size();
    } else if (const auto* vector = std::get_if<query::Vector>(&result_.value)) {
      size_ = vector->size();
    } else if (const auto* matrix = std::get_if<query::Matrix>(&result_.value)) {
      size_ = matrix->size();
    }
  }

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    if (!started_) {
      started_ = true;
      *out += R"({"status":"success",)";
      WriteWarnings(out);
      *out += R"("data":{"resultType":")";
      *out += TypeName();
      *out += R"(","result":)";
      if (const auto* scalar = std::get_if<query::Scalar>(&result_.value)) {
        // Milliseconds here, unlike everywhere else: so does Loki.
        json::Writer json(out);
        json.BeginArray().Int(scalar->time_ms).FloatString(scalar->value).EndArray();
      } else {
        out->push_back('[');
      }
    }
    while (next_ < size_ && out->size() - begin < bytes_hint) {
      if (next_ > 0) out->push_back(',');
      json::Writer json(out);
      WriteNext(&json);
      ++next_;
    }
    if (next_ < size_) return true;
    if (!std::holds_alternative<query::Scalar>(result_.value)) out->push_back(']');
    if (categorize_ && std::holds_alternative<query::Streams>(result_.value)) {
      *out += R"(,"encodingFlags":["categorize-labels"])";
    }
    *out += R"(,"stats":)";
    json::Writer json(out);
    WriteStatistics(result_.statistics, &json);
    *out += "}}";
    return false;
  }

 private:
  std::string_view TypeName() const {
    if (std::holds_alternative<query::Streams>(result_.value)) return "streams";
    if (std::holds_alternative<query::Vector>(result_.value)) return "vector";
    if (std::holds_alternative<query::Matrix>(result_.value)) return "matrix";
    return "scalar";
  }
  void WriteWarnings(std::string* out) const {
    if (result_.warnings.empty()) return;
    *out += R"("warnings":)";
    json::Writer json(out);
    json.BeginArray();
    for (const std::string& warning : result_.warnings) json.String(warning);
    json.EndArray();
    out->push_back(',');
  }
  void WriteNext(json::Writer* json) {
    if (auto* streams = std::get_if<query::Streams>(&result_.value)) {
      WriteStreamGroup(*streams, groups_[next_], categorize_, json);
      groups_[next_] = {};
    } else if (auto* vector = std::get_if<query::Vector>(&result_.value)) {
      const query::VectorSample& sample = (*vector)[next_];
      json->BeginObject().Key("metric");
      WriteLabels(sample.labels.view(), json);
      json->Key("value").BeginArray().TimeMs(sample.time_ms).FloatString(sample.value).EndArray();
      json->EndObject();
    } else if (auto* matrix = std::get_if<query::Matrix>(&result_.value)) {
      const query::Series& series = (*matrix)[next_];
      json->BeginObject().Key("metric");
      WriteLabels(series.labels.view(), json);
      json->Key("values").BeginArray();
      for (size_t i = 0; i < series.times_ms.size(); ++i) {
        json->BeginArray().TimeMs(series.times_ms[i]).FloatString(series.values[i]).EndArray();
      }
      json->EndArray().EndObject();
      (*matrix)[next_] = query::Series();  // give back what has been sent
    }
  }

  query::LogQueryResult result_;
  const bool categorize_;
  std::vector<query::StreamGroup> groups_;
  size_t size_ = 0;
  size_t next_ = 0;
  bool started_ = false;
};

}  // namespace

void WriteLabels(const query::LogLabels& labels, json::Writer* json) {
  json->BeginObject();
  for (const auto& [name, value] : labels) json->Field(name, value);
  json->EndObject();
}

void WriteLabels(LabelsView labels, json::Writer* json) {
  json->BeginObject();
  for (const LabelView& label : labels) json->Field(label.name, label.value);
  json->EndObject();
}

void WriteStreamGroup(const query::Streams& streams, const query::StreamGroup& group,
                      bool categorize, json::Writer* json) {
  json->BeginObject().Key("stream");
  WriteLabels(group.labels, json);
  json->Key("values").BeginArray();
  for (const query::StreamGroup::Item& item : group.items) {
    const query::LogStream& stream = streams[item.stream];
    const query::LogEntry& entry = stream.entries[item.entry];
    json->BeginArray().String(std::to_string(entry.time_ns)).String(entry.line);
    if (categorize) {
      json->BeginObject();
      if (!stream.metadata.empty()) {
        json->Key("structuredMetadata");
        WriteLabels(stream.metadata, json);
      }
      if (!stream.parsed.empty()) {
        json->Key("parsed");
        WriteLabels(stream.parsed, json);
      }
      json->EndObject();
    }
    json->EndArray();
  }
  json->EndArray().EndObject();
}

void WriteStatistics(const query::LogStatistics& statistics, json::Writer* json) {
  const LogScanStats& scan = statistics.scan;
  const double seconds = std::max(Seconds(statistics.total_time), 1e-9);
  const auto rate = [&](uint64_t count) {
    return static_cast<uint64_t>(static_cast<double>(count) / seconds);
  };
  const auto chunk = [&](bool filled) {
    json->Key("chunk").BeginObject();
    json->Key("headChunkBytes").Uint(0).Key("headChunkLines").Uint(0);
    json->Key("headChunkStructuredMetadataBytes").Uint(0);
    json->Key("decompressedBytes").Uint(filled ? scan.bytes_decompressed : 0);
    json->Key("decompressedLines").Uint(filled ? scan.entries : 0);
    json->Key("decompressedStructuredMetadataBytes").Uint(0);
    json->Key("compressedBytes").Uint(filled ? scan.bytes_compressed : 0);
    json->Key("totalDuplicates").Uint(0);
    json->Key("postFilterLines").Uint(filled ? scan.entries_matched : 0);
    json->EndObject();
  };
  const auto store = [&](bool filled) {
    json->Key("store").BeginObject();
    json->Key("totalChunksRef").Uint(filled ? statistics.chunks : 0);
    json->Key("totalChunksDownloaded").Uint(filled ? scan.groups_read : 0);
    json->Key("chunksDownloadTime").Uint(0).Key("queryReferencedStructuredMetadata").Bool(false);
    chunk(filled);
    json->Key("chunkRefsFetchTime").Uint(0).Key("congestionControlLatency").Uint(0);
    json->Key("pipelineWrapperFilteredLines").Uint(0);
    json->EndObject();
  };
  json->BeginObject();
  json->Key("summary").BeginObject();
  json->Key("bytesProcessedPerSecond").Uint(rate(scan.line_bytes));
  json->Key("linesProcessedPerSecond").Uint(rate(scan.entries));
  json->Key("totalBytesProcessed").Uint(scan.line_bytes);
  json->Key("totalLinesProcessed").Uint(scan.entries);
  json->Key("execTime").Number(Seconds(statistics.total_time));
  json->Key("queueTime").Number(0).Key("subqueries").Uint(0);
  json->Key("totalEntriesReturned").Uint(statistics.entries_returned);
  json->Key("splits").Uint(0).Key("shards").Uint(0);
  json->Key("totalPostFilterLines").Uint(scan.entries_matched);
  json->Key("totalStructuredMetadataBytesProcessed").Uint(0).EndObject();
  json->Key("querier").BeginObject();
  store(true);
  json->EndObject();
  json->Key("ingester").BeginObject();
  json->Key("totalReached").Uint(0).Key("totalChunksMatched").Uint(0);
  json->Key("totalBatches").Uint(0).Key("totalLinesSent").Uint(0);
  store(false);
  json->EndObject();
  json->Key("cache").BeginObject();
  for (const std::string_view cache : {"chunk", "index", "result", "statsResult", "volumeResult",
                                       "seriesResult", "labelResult", "instantMetricResult"}) {
    json->Key(cache).BeginObject();
    for (const std::string_view count :
         {"entriesFound", "entriesRequested", "entriesStored", "bytesReceived", "bytesSent",
          "requests", "downloadTime"}) {
      json->Key(count).Uint(0);
    }
    json->EndObject();
  }
  json->EndObject();
  json->Key("index").BeginObject();
  json->Key("totalChunks").Uint(scan.groups);
  json->Key("postFilterChunks").Uint(scan.groups_read).Key("shardsDuration").Uint(0);
  json->EndObject();
  json->EndObject();
}

http::Response ResultResponse(query::LogQueryResult result, bool categorize, bool backward) {
  http::Response response = http::Response::Json(200, "");
  response.source = std::make_unique<ResultSource>(std::move(result), categorize, backward);
  return response;
}

}  // namespace varve::loki
