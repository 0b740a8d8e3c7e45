// Measures the decoders alone: the database behind them accepts everything and remembers nothing
// but references. Bodies look like a sender's: 7 labels, one sample a series, 2,000 series.

#include <benchmark/benchmark.h>
#include <snappy.h>

#include <cstring>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "tools/ingest/exposition.h"
#include "tools/ingest/import.h"
#include "tools/ingest/remote_write.h"
#include "varve/database.h"

namespace varve::ingest {
namespace {

constexpr int kSeries = 2000;
constexpr int64_t kTime = 1'700'000'000'000;

/// Gives every new series a number and counts samples.
class NullDatabase final : public Database {
 public:
  using Database::Append;
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions&) override {
    AppendResult result;
    result.samples = batch.samples().size();
    result.histograms = batch.histograms().size();
    result.refs.reserve(batch.series().size());
    for (const WriteBatch::Series& series : batch.series()) {
      result.refs.push_back(series.ref != 0 ? series.ref : ++next_);
    }
    samples += result.samples;
    return result;
  }
  Status Sync() override { return absl::OkStatus(); }
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const override {
    return absl::UnimplementedError("");
  }
  Result<std::unique_ptr<BulkLoader>> StartBulkLoad() override {
    return absl::UnimplementedError("");
  }
  Status DeleteSeries(std::span<const Matcher>, TimeRange) override { return absl::OkStatus(); }
  Status Flush() override { return absl::OkStatus(); }
  Status Compact() override { return absl::OkStatus(); }
  Status Maintain() override { return absl::OkStatus(); }
  Status Backup(const std::string&, const BackupOptions&) override { return absl::OkStatus(); }
  Result<std::vector<Status>> Verify() override { return std::vector<Status>(); }
  DatabaseStats Stats() const override { return {}; }
  const RecoveryReport& recovery() const override { return recovery_; }
  Status Close() override { return absl::OkStatus(); }

  uint64_t samples = 0;

 private:
  RecoveryReport recovery_;
  SeriesRef next_ = 0;
};

std::vector<std::pair<std::string, std::string>> LabelsOf(int i) {
  return {{"__name__", "http_requests_total"},
          {"cluster", "eu-west-" + std::to_string(i % 3)},
          {"handler", "/api/v1/resource/" + std::to_string(i % 50)},
          {"instance", "host-" + std::to_string(i / 50) + ".example.org:9100"},
          {"job", "api-server"},
          {"method", i % 2 == 0 ? "GET" : "POST"},
          {"status", std::to_string(200 + i % 5)}};
}

std::string BodyV1(int64_t time, int salt) {
  std::string body;
  protozero::pbf_writer request(body);
  for (int i = 0; i < kSeries; ++i) {
    protozero::pbf_writer series(request, 1);
    for (const auto& [name, value] : LabelsOf(i + salt)) {
      protozero::pbf_writer label(series, 1);
      label.add_string(1, name);
      label.add_string(2, value);
    }
    protozero::pbf_writer sample(series, 2);
    sample.add_double(1, i * 1.5);
    sample.add_int64(2, time);
  }
  return body;
}

std::string BodyV2(int64_t time) {
  std::vector<std::string> symbols{""};
  std::string rest;
  const auto symbol = [&](const std::string& text) {
    for (size_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i] == text) return static_cast<uint32_t>(i);
    }
    symbols.push_back(text);
    return static_cast<uint32_t>(symbols.size() - 1);
  };
  protozero::pbf_writer request(rest);
  for (int i = 0; i < kSeries; ++i) {
    std::vector<uint32_t> refs;
    for (const auto& [name, value] : LabelsOf(i)) {
      refs.push_back(symbol(name));
      refs.push_back(symbol(value));
    }
    protozero::pbf_writer series(request, 5);
    series.add_packed_uint32(1, refs.begin(), refs.end());
    protozero::pbf_writer sample(series, 2);
    sample.add_double(1, i * 1.5);
    sample.add_int64(2, time);
  }
  std::string body;
  protozero::pbf_writer head(body);
  for (const std::string& text : symbols) head.add_string(4, text);
  return body + rest;
}

std::string Snappy(const std::string& body) {
  std::string out;
  snappy::Compress(body.data(), body.size(), &out);
  return out;
}

void Run(benchmark::State& state, const std::vector<std::string>& bodies, std::string_view type) {
  NullDatabase database;
  IngestOptions options;
  options.future_ms_max = 0;
  IngestContext context(database, options);
  size_t next = 0;
  for (auto _ : state) {
    RemoteWriteRequest request;
    request.content_type = type;
    request.content_encoding = "snappy";
    request.body = bodies[next++ % bodies.size()];
    const HttpOutcome outcome = HandleRemoteWrite(context, request);
    if (outcome.status != 204) state.SkipWithError(outcome.body.c_str());
  }
  if (database.samples != static_cast<uint64_t>(state.iterations()) * kSeries)
    state.SkipWithError("samples are missing");
  state.SetItemsProcessed(static_cast<int64_t>(database.samples));
}

void RemoteWriteV1Known(benchmark::State& state) {
  Run(state, {Snappy(BodyV1(kTime, 0))}, "application/x-protobuf");
}
BENCHMARK(RemoteWriteV1Known);

void RemoteWriteV1ManyKnown(benchmark::State& state) {
  std::vector<std::string> bodies;
  for (int i = 0; i < 150; ++i) bodies.push_back(Snappy(BodyV1(kTime, i * kSeries)));
  Run(state, bodies, "application/x-protobuf");
}
BENCHMARK(RemoteWriteV1ManyKnown)->Iterations(3000);

void RemoteWriteV1New(benchmark::State& state) {
  std::vector<std::string> bodies;
  for (int i = 0; i < 300; ++i) bodies.push_back(Snappy(BodyV1(kTime, i * kSeries)));
  Run(state, bodies, "application/x-protobuf");
}
BENCHMARK(RemoteWriteV1New)->Iterations(300);

void RemoteWriteV2Known(benchmark::State& state) {
  Run(state, {Snappy(BodyV2(kTime))},
      "application/x-protobuf;proto=io.prometheus.write.v2.Request");
}
BENCHMARK(RemoteWriteV2Known);

void SnappyAlone(benchmark::State& state) {
  const std::string packed = Snappy(BodyV1(kTime, 0));
  std::string out(BodyV1(kTime, 0).size(), 0);
  for (auto _ : state) {
    if (!snappy::RawUncompress(packed.data(), packed.size(), out.data())) return;
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * kSeries);
}
BENCHMARK(SnappyAlone);

std::string Text(bool open_metrics) {
  std::string body = "# HELP http_requests Requests.\n# TYPE http_requests counter\n";
  for (int i = 0; i < kSeries; ++i) {
    const auto labels = LabelsOf(i);
    body += "http_requests_total{";
    for (size_t l = 1; l < labels.size(); ++l) {
      body += (l > 1 ? "," : "") + labels[l].first + "=\"" + labels[l].second + "\"";
    }
    body += "} " + std::to_string(i * 1.5) + "\n";
  }
  if (open_metrics) body += "# EOF\n";
  return body;
}

void ParseExposition(benchmark::State& state) {
  const auto format = static_cast<ExpositionFormat>(state.range(0));
  const std::string body = Text(format == ExpositionFormat::kOpenMetrics);
  ExpositionOptions options;
  options.strict = state.range(1) != 0;
  size_t samples = 0;
  for (auto _ : state) {
    const auto parser = ExpositionParser::Make(format, body, options);
    ExpositionItem item;
    for (;;) {
      const auto more = parser->Next(&item);
      if (!more.ok()) return state.SkipWithError("parse error");
      if (!*more) break;
      samples += item.kind == ExpositionItem::Kind::kSample;
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(samples));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * body.size()));
}
BENCHMARK(ParseExposition)->Args({0, 0})->Args({1, 0})->Args({1, 1});

void ImportText(benchmark::State& state) {
  NullDatabase database;
  IngestContext context(database, {});
  const std::string body = Text(false);
  for (auto _ : state) {
    ImportRequest request;
    request.body = body;
    if (HandleImportPrometheus(context, request).status != 204)
      return state.SkipWithError("status");
  }
  state.SetItemsProcessed(static_cast<int64_t>(database.samples));
}
BENCHMARK(ImportText);

}  // namespace
}  // namespace varve::ingest

BENCHMARK_MAIN();
