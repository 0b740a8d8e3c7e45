// Messages as in prompb/remote.proto and prompb/types.proto; fields are named where they are
// written.

#include "tools/server/api/remote_read.h"

#include <snappy.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/protobuf.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/xor_chunk.h"
#include "tools/server/http/coding.h"
#include "tools/server/http/crc32c.h"

namespace varve::api {
namespace {

constexpr size_t kChunkSamples = 120;  // as Prometheus cuts them
constexpr size_t kFrameBytesMax = 1u << 20;
constexpr size_t kQueriesMax = 64;
constexpr size_t kMatchersMax = 1000;
// What an answer in one message may come to before compression; streaming has no such bound.
constexpr size_t kAnswerBytesMax = 512u << 20;

// ---------- The request

struct ReadQuery {
  TimeRange range;
  std::vector<Matcher> matchers;
};
struct ReadRequest {
  std::vector<ReadQuery> queries;
  bool streamed = false;  // the first type that the client names and we know
  bool samples_accepted = false;
};

bool ReadMatcher(std::string_view bytes, ingest::WireFault* fault, Matcher* out) {
  ingest::WireReader reader(bytes, fault, "LabelMatcher");
  while (reader.Next()) {
    uint64_t type = 0;
    std::string_view text;
    switch (reader.field()) {
      case 1:
        if (!reader.Varint(&type)) return false;
        if (type > 3) return fault->Set(reader.field_at(), "unknown matcher type");
        out->type = static_cast<MatchType>(type);
        break;
      case 2:
        if (!reader.Bytes(&text)) return false;
        out->name = text;
        break;
      case 3:
        if (!reader.Bytes(&text)) return false;
        out->value = text;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

bool ReadOneQuery(std::string_view bytes, ingest::WireFault* fault, ReadQuery* out) {
  ingest::WireReader reader(bytes, fault, "Query");
  out->range = {0, 0};
  while (reader.Next()) {
    std::string_view message;
    switch (reader.field()) {
      case 1:
        if (!reader.Int64(&out->range.min_ms)) return false;
        break;
      case 2:
        if (!reader.Int64(&out->range.max_ms)) return false;
        break;
      case 3:
        if (!reader.Bytes(&message)) return false;
        if (out->matchers.size() >= kMatchersMax) {
          return fault->Set(reader.field_at(), "too many matchers");
        }
        if (!ReadMatcher(message, fault, &out->matchers.emplace_back())) return false;
        break;
      default:  // hints only help a store that wants them
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok();
}

Result<ReadRequest> ParseRequest(std::string_view body) {
  ingest::WireFault fault;
  fault.body = body.data();
  ingest::WireReader reader(body, &fault, "ReadRequest");
  ReadRequest out;
  bool type_chosen = false;
  while (reader.Next()) {
    std::string_view message;
    if (reader.field() == 1) {
      if (!reader.Bytes(&message)) break;
      if (out.queries.size() >= kQueriesMax) {
        fault.Set(reader.field_at(), "too many queries");
        break;
      }
      if (!ReadOneQuery(message, &fault, &out.queries.emplace_back())) break;
    } else if (reader.field() == 2) {
      const bool good = reader.RepeatedVarint([&](uint64_t type) {
        if (!type_chosen && type <= 1) {
          type_chosen = true;
          out.streamed = type == 1;
        }
        out.samples_accepted |= type == 0;
        return true;
      });
      if (!good) break;
    } else if (!reader.Skip()) {
      break;
    }
  }
  if (!fault.ok()) return fault.ToStatus();
  if (!type_chosen) out.samples_accepted = true;
  return out;
}

// ---------- The answer

void AppendVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>((value & 0x7f) | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}
void AppendTag(uint32_t field, uint32_t wire, std::string* out) {
  AppendVarint(field << 3 | wire, out);
}
void AppendUint(uint32_t field, uint64_t value, std::string* out) {
  if (value == 0) return;
  AppendTag(field, 0, out);
  AppendVarint(value, out);
}
void AppendInt(uint32_t field, int64_t value, std::string* out) {
  AppendUint(field, static_cast<uint64_t>(value), out);
}
uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
void AppendFixed64(double value, std::string* out) {
  const auto bits = std::bit_cast<uint64_t>(value);
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(bits >> (8 * i)));
}
// `always`: also a zero, for members of a oneof.
void AppendDouble(uint32_t field, double value, std::string* out, bool always = false) {
  if (!always && std::bit_cast<uint64_t>(value) == 0) return;
  AppendTag(field, 1, out);
  AppendFixed64(value, out);
}
void AppendBytes(uint32_t field, std::string_view bytes, std::string* out) {
  AppendTag(field, 2, out);
  AppendVarint(bytes.size(), out);
  out->append(bytes);
}

void AppendLabels(LabelsView labels, std::string* out) {
  std::string label;
  for (const LabelView& view : labels) {
    label.clear();
    AppendBytes(1, view.name, &label);
    AppendBytes(2, view.value, &label);
    AppendBytes(1, label, out);  // labels = 1, in TimeSeries and in ChunkedSeries
  }
}

void AppendSpans(uint32_t field, const std::vector<BucketSpan>& spans, std::string* out) {
  std::string message;
  for (const BucketSpan& span : spans) {
    message.clear();
    AppendUint(1, ZigZag(span.offset), &message);
    AppendUint(2, span.length, &message);
    AppendBytes(field, message, out);
  }
}
void AppendDeltas(uint32_t field, const std::vector<int64_t>& deltas, std::string* out) {
  if (deltas.empty()) return;
  std::string packed;
  for (const int64_t delta : deltas) AppendVarint(ZigZag(delta), &packed);
  AppendBytes(field, packed, out);
}
void AppendDoubles(uint32_t field, const std::vector<double>& values, std::string* out) {
  if (values.empty()) return;
  std::string packed;
  for (const double value : values) AppendFixed64(value, &packed);
  AppendBytes(field, packed, out);
}

void AppendHistogram(const Histogram& histogram, int64_t time_ms, std::string* out) {
  if (histogram.is_float) {
    AppendDouble(2, histogram.float_count, out, /*always=*/true);
  } else {
    AppendTag(1, 0, out);
    AppendVarint(histogram.count, out);
  }
  AppendDouble(3, histogram.sum, out);
  AppendUint(4, ZigZag(histogram.schema), out);
  AppendDouble(5, histogram.zero_threshold, out);
  if (histogram.is_float) {
    AppendDouble(7, histogram.float_zero_count, out, /*always=*/true);
  } else {
    AppendTag(6, 0, out);
    AppendVarint(histogram.zero_count, out);
  }
  AppendSpans(8, histogram.negative_spans, out);
  AppendDeltas(9, histogram.negative_deltas, out);
  AppendDoubles(10, histogram.negative_counts, out);
  AppendSpans(11, histogram.positive_spans, out);
  AppendDeltas(12, histogram.positive_deltas, out);
  AppendDoubles(13, histogram.positive_counts, out);
  AppendUint(14, static_cast<uint64_t>(histogram.reset_hint), out);
  AppendInt(15, time_ms, out);
  AppendDoubles(16, histogram.custom_values, out);
}

struct Columns {
  std::vector<Chunk> chunks;
  std::vector<int64_t> times;
  std::vector<double> values;
  std::vector<Histogram> histograms;
  std::vector<LabelView> labels;
};

// Decodes a chunk and cuts [begin, end) of it to the range.
Status DecodeTimes(const Chunk& chunk, TimeRange range, Columns* columns, size_t* begin,
                   size_t* end) {
  columns->times.resize(chunk.count);
  VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(columns->times));
  const auto& times = columns->times;
  *begin = static_cast<size_t>(std::lower_bound(times.begin(), times.end(), range.min_ms) -
                               times.begin());
  *end = static_cast<size_t>(std::upper_bound(times.begin(), times.end(), range.max_ms) -
                             times.begin());
  return absl::OkStatus();
}

// Appends one TimeSeries to a QueryResult, unless it has no sample in the range.
Status AppendTimeSeries(const SeriesSet& set, size_t i, TimeRange range, Columns* columns,
                        std::string* out) {
  VARVE_RETURN_IF_ERROR(set.GetChunks(i, range, &columns->chunks));
  set.GetLabels(i, &columns->labels);
  std::string series;
  AppendLabels(columns->labels, &series);
  const size_t empty = series.size();
  std::string sample;
  for (const Chunk& chunk : columns->chunks) {
    size_t begin = 0;
    size_t end = 0;
    VARVE_RETURN_IF_ERROR(DecodeTimes(chunk, range, columns, &begin, &end));
    if (begin >= end) continue;
    if (chunk.kind == ChunkKind::kFloat) {
      columns->values.resize(chunk.count);
      VARVE_RETURN_IF_ERROR(chunk.DecodeValues(columns->values));
    } else {
      VARVE_RETURN_IF_ERROR(chunk.DecodeHistograms(&columns->histograms));
    }
    for (size_t k = begin; k < end; ++k) {
      sample.clear();
      if (chunk.kind == ChunkKind::kFloat) {
        AppendDouble(1, columns->values[k], &sample);
        AppendInt(2, columns->times[k], &sample);
        AppendBytes(2, sample, &series);  // samples
      } else {
        AppendHistogram(columns->histograms[k], columns->times[k], &sample);
        AppendBytes(4, sample, &series);  // histograms
      }
    }
  }
  if (series.size() > empty) AppendBytes(1, series, out);
  return absl::OkStatus();
}

struct Selection {
  TimeRange range;
  std::unique_ptr<SeriesSet> set;
};

http::Response AnswerSamples(const std::vector<Selection>& selections,
                             const http::CancelFlag& cancel) {
  std::string message;
  std::string result;
  Columns columns;
  for (const Selection& selection : selections) {
    result.clear();
    for (size_t i = 0; i < selection.set->size(); ++i) {
      if (cancel.cancelled()) return http::Response::Text(499, "canceled\n");
      const Status status = AppendTimeSeries(*selection.set, i, selection.range, &columns, &result);
      if (!status.ok()) return http::Response::Text(500, Concat(ToStd(status.message()), "\n"));
      if (message.size() + result.size() > kAnswerBytesMax) {
        return http::Response::Text(400,
                                    Concat("the answer exceeds ", kAnswerBytesMax,
                                           " bytes; ask for less, or for STREAMED_XOR_CHUNKS\n"));
      }
    }
    AppendBytes(1, result, &message);
  }
  http::Response response;
  snappy::Compress(message.data(), message.size(), &response.body);
  response.headers.Add("Content-Type", "application/x-protobuf");
  response.headers.Add("Content-Encoding", "snappy");
  return response;
}

// Writes frames of ChunkedReadResponse: uvarint length, big-endian CRC-32C, message. One series a
// frame, several frames where a series has more than a frame of chunks.
class ChunkSource final : public http::BodySource {
 public:
  ChunkSource(std::shared_ptr<const Snapshot> snapshot, std::vector<Selection> selections)
      : snapshot_(std::move(snapshot)), selections_(std::move(selections)) {}

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    while (query_ < selections_.size() && out->size() - begin < bytes_hint) {
      const Selection& selection = selections_[query_];
      if (series_ == selection.set->size()) {
        ++query_;
        series_ = 0;
        continue;
      }
      VARVE_RETURN_IF_ERROR(AppendSeries(selection, series_++, out));
    }
    return query_ < selections_.size();
  }

 private:
  Status AppendSeries(const Selection& selection, size_t i, std::string* out) {
    VARVE_RETURN_IF_ERROR(selection.set->GetChunks(i, selection.range, &columns_.chunks));
    selection.set->GetLabels(i, &columns_.labels);
    std::string labels;
    AppendLabels(columns_.labels, &labels);
    std::string series = labels;
    std::string message;
    for (const Chunk& chunk : columns_.chunks) {
      size_t begin = 0;
      size_t end = 0;
      VARVE_RETURN_IF_ERROR(DecodeTimes(chunk, selection.range, &columns_, &begin, &end));
      if (begin >= end) continue;
      columns_.values.resize(chunk.count);
      VARVE_RETURN_IF_ERROR(chunk.DecodeValues(columns_.values));
      for (size_t k = begin; k < end; k += kChunkSamples) {
        const size_t count = std::min(kChunkSamples, end - k);
        const std::span<const int64_t> times = std::span(columns_.times).subspan(k, count);
        message.clear();
        AppendInt(1, times.front(), &message);
        AppendInt(2, times.back(), &message);
        AppendUint(3, 1, &message);  // type: XOR
        AppendBytes(4, EncodeXorChunk(times, std::span(columns_.values).subspan(k, count)),
                    &message);
        AppendBytes(2, message, &series);  // chunks
        if (series.size() >= kFrameBytesMax) {
          AppendFrame(series, out);
          series = labels;
        }
      }
    }
    if (series.size() > labels.size()) AppendFrame(series, out);
    return absl::OkStatus();
  }

  void AppendFrame(std::string_view series, std::string* out) const {
    std::string message;
    AppendBytes(1, series, &message);                      // chunked_series
    AppendInt(2, static_cast<int64_t>(query_), &message);  // query_index
    AppendVarint(message.size(), out);
    const uint32_t crc = http::Crc32c(message);
    for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(crc >> shift));
    out->append(message);
  }

  const std::shared_ptr<const Snapshot> snapshot_;
  const std::vector<Selection> selections_;
  Columns columns_;
  size_t query_ = 0;
  size_t series_ = 0;
};

Result<bool> HasHistograms(const std::vector<Selection>& selections) {
  std::vector<Chunk> chunks;
  for (const Selection& selection : selections) {
    for (size_t i = 0; i < selection.set->size(); ++i) {
      VARVE_RETURN_IF_ERROR(selection.set->GetChunks(i, selection.range, &chunks));
      for (const Chunk& chunk : chunks) {
        if (chunk.kind == ChunkKind::kHistogram) return true;
      }
    }
  }
  return false;
}

http::Response RemoteRead(Context&, Database& database, http::Request& request) {
  // Senders always compress, and many do not say so.
  std::string encoding = request.headers.Joined("Content-Encoding");
  if (encoding.empty()) encoding = "snappy";
  const Result<std::string> body =
      http::DecodeBody(encoding, std::move(request.body), http::DecodeLimits());
  if (!body.ok()) {
    const StatusCode code = body.status().code();
    return http::Response::Text(code == StatusCode::kUnimplemented       ? 415
                                : code == StatusCode::kResourceExhausted ? 413
                                                                         : 400,
                                Concat(ToStd(body.status().message()), "\n"));
  }
  const Result<ReadRequest> parsed = ParseRequest(*body);
  if (!parsed.ok()) {
    return http::Response::Text(400, Concat(ToStd(parsed.status().message()), "\n"));
  }
  auto snapshot = database.TakeSnapshot();
  const auto failed = [](const Status& status) {
    return http::Response::Text(status.code() == StatusCode::kInvalidArgument ? 400 : 500,
                                Concat(ToStd(status.message()), "\n"));
  };
  if (!snapshot.ok()) return failed(snapshot.status());
  std::vector<Selection> selections;
  for (const ReadQuery& query : parsed->queries) {
    auto set = (*snapshot)->Select(query.matchers, query.range);
    if (!set.ok()) return failed(set.status());
    selections.push_back({query.range, *std::move(set)});
  }
  if (!parsed->streamed) return AnswerSamples(selections, *request.cancel);
  const Result<bool> histograms = HasHistograms(selections);
  if (!histograms.ok()) return failed(histograms.status());
  if (*histograms) {
    // Native histograms travel as samples only.
    if (parsed->samples_accepted) return AnswerSamples(selections, *request.cancel);
    return http::Response::Text(
        400, "the selection has native histograms, which need the response type SAMPLES\n");
  }
  http::Response response;
  response.headers.Add("Content-Type",
                       "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
  response.source = std::make_unique<ChunkSource>(*std::move(snapshot), std::move(selections));
  return response;
}

}  // namespace

void AddRemoteReadRoute(Context* context, http::Router* router) {
  AddRoute(context, router, http::kPostOnly, "/api/v1/read",
           {.lane = http::Lane::kQuery, .body_bytes_max = 4u << 20}, RemoteRead);
}

}  // namespace varve::api
