// Encoding and decoding of each codec on typical shapes; items are samples. Every benchmark checks
// once that decoding gives back what was encoded.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "engine/codec/gorilla.h"
#include "engine/codec/histogram_codec.h"
#include "engine/codec/int_stream.h"
#include "engine/codec/time_axis.h"
#include "engine/codec/value_column.h"
#include "tests/codec/random_data.h"

namespace varve {
namespace {

using codec::GorillaChunk;
using varve::testing::RandomData;

constexpr size_t kSamples = 960;

void Require(bool condition) {
  if (condition) return;
  std::fprintf(stderr, "decoding does not give back what was encoded\n");
  std::exit(1);
}

struct Shape {
  const char* name;
  double (*next)(RandomData* data, double before);
};
const Shape kShapes[] = {
    {"constant", [](RandomData*, double) { return 42.0; }},
    {"seldom", [](RandomData* data, double v) { return data->OneIn(40) ? v + 1 : v; }},
    {"counter",
     [](RandomData* data, double v) { return v + static_cast<double>(data->Below(64)); }},
    {"bytes",
     [](RandomData* data, double v) { return v + 4096.0 * static_cast<double>(data->Below(8)); }},
    {"millis",
     [](RandomData* data, double) { return static_cast<double>(data->Below(4000)) / 1000; }},
    {"sum", [](RandomData* data,
               double v) { return v + static_cast<double>(data->Below(5000000)) / 1e9; }},
    {"noise", [](RandomData* data, double) { return static_cast<double>(data->Word()) * 1.1e-19; }},
};

std::vector<double> Draw(const Shape& shape) {
  RandomData data(1);
  std::vector<double> out(kSamples);
  double v = 1000;
  for (double& x : out) x = v = shape.next(&data, v);
  return out;
}
std::vector<int64_t> DrawTimes() { return RandomData(2).Times(kSamples, 4); }

bool Same(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 8) == 0;
}

void CountSamples(benchmark::State& state, size_t bytes) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * kSamples));
  state.counters["B/sample"] = static_cast<double>(bytes) / static_cast<double>(kSamples);
}

void GorillaAppend(benchmark::State& state, const Shape& shape) {
  const auto values = Draw(shape);
  const auto times = DrawTimes();
  size_t bytes = 0;
  for (auto _ : state) {
    GorillaChunk chunk;
    for (size_t i = 0; i < kSamples; ++i) chunk.Append(times[i], values[i]);
    bytes = chunk.bytes().size();
    benchmark::DoNotOptimize(chunk.bytes().data());
  }
  CountSamples(state, bytes);
}
void GorillaDecode(benchmark::State& state, const Shape& shape) {
  const auto values = Draw(shape);
  const auto times = DrawTimes();
  GorillaChunk chunk;
  for (size_t i = 0; i < kSamples; ++i) chunk.Append(times[i], values[i]);
  std::vector<int64_t> got_times(kSamples);
  std::vector<double> got(kSamples);
  for (auto _ : state) {
    Require(codec::DecodeGorilla(chunk.bytes(), got_times, got));
    benchmark::DoNotOptimize(got.data());
  }
  Require(Same(got, values) && got_times == times);
  CountSamples(state, chunk.bytes().size());
}
void ColumnEncode(benchmark::State& state, const Shape& shape) {
  const auto values = Draw(shape);
  codec::ValueColumnEncoder encoder;
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    encoder.Encode(values, &bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  CountSamples(state, bytes.size());
}
void ColumnDecode(benchmark::State& state, const Shape& shape) {
  const auto values = Draw(shape);
  std::string bytes;
  codec::ValueColumnEncoder().Encode(values, &bytes);
  std::vector<double> got(kSamples);
  for (auto _ : state) {
    Require(codec::DecodeValueColumn(bytes, kSamples, 0, got));
    benchmark::DoNotOptimize(got.data());
  }
  Require(Same(got, values));
  CountSamples(state, bytes.size());
}
/// A column of log lines or postings, by the coder that suits it.
struct IntShape {
  const char* name;
  int64_t (*next)(RandomData* data, int64_t before);
};
const IntShape kIntShapes[] = {
    {"packed", [](RandomData* data, int64_t) { return static_cast<int64_t>(data->Below(5000)); }},
    {"classes",
     [](RandomData* data, int64_t v) {
       return v + static_cast<int64_t>(data->Word() >> (44 + data->Below(20)));
     }},
    {"dictionary",
     [](RandomData* data, int64_t) {
       return static_cast<int64_t>(data->Below(6) * data->Below(6) * 1000);
     }},
    {"steps", [](RandomData*, int64_t v) { return v + 15; }},
};
void IntStreamEncode(benchmark::State& state, const IntShape& shape) {
  RandomData data(4);
  std::vector<int64_t> values(kSamples);
  int64_t v = 1000;
  for (int64_t& x : values) x = v = shape.next(&data, v);
  codec::IntStreamEncoder encoder;
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    encoder.Encode(values, &bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  CountSamples(state, bytes.size());
}
void AxisEncode(benchmark::State& state) {
  const auto times = DrawTimes();
  codec::TimeAxisEncoder encoder;
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    encoder.Encode(times, &bytes);
    benchmark::DoNotOptimize(bytes.data());
  }
  CountSamples(state, bytes.size());
}
void AxisDecode(benchmark::State& state) {
  const auto times = DrawTimes();
  std::string bytes;
  codec::TimeAxisEncoder().Encode(times, &bytes);
  std::vector<int64_t> got(kSamples);
  for (auto _ : state) {
    Require(codec::DecodeTimeAxis(bytes, got));
    benchmark::DoNotOptimize(got.data());
  }
  Require(got == times);
  CountSamples(state, bytes.size());
}

std::vector<Histogram> DrawHistograms() {
  RandomData data(3);
  std::vector<Histogram> out(240);
  Histogram h;
  h.schema = 3;
  h.positive_spans = {{-4, 24}};
  h.positive_deltas.assign(24, 5);
  for (Histogram& x : out) {
    h.count += data.Below(50);
    h.sum += 0.25 * static_cast<double>(data.Below(100));
    h.positive_deltas[data.Below(24)] += static_cast<int64_t>(data.Below(9));
    x = h;
  }
  return out;
}
void HistogramEncode(benchmark::State& state) {
  const auto histograms = DrawHistograms();
  std::string bytes;
  for (auto _ : state) {
    bytes.clear();
    Require(codec::PutHistogramColumn(histograms, &bytes));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * histograms.size()));
  state.counters["B/sample"] =
      static_cast<double>(bytes.size()) / static_cast<double>(histograms.size());
}
void HistogramDecode(benchmark::State& state) {
  const auto histograms = DrawHistograms();
  std::string bytes;
  Require(codec::PutHistogramColumn(histograms, &bytes));
  std::vector<Histogram> got;
  for (auto _ : state) {
    Require(codec::DecodeHistogramColumn(bytes, static_cast<uint32_t>(histograms.size()), &got));
  }
  for (size_t i = 0; i < got.size(); ++i) Require(BitEqual(got[i], histograms[i]));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations() * histograms.size()));
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  using namespace varve;
  for (const Shape& shape : kShapes) {
    const std::string name = shape.name;
    benchmark::RegisterBenchmark(("gorilla_append/" + name).c_str(), GorillaAppend, shape);
    benchmark::RegisterBenchmark(("gorilla_decode/" + name).c_str(), GorillaDecode, shape);
    benchmark::RegisterBenchmark(("column_encode/" + name).c_str(), ColumnEncode, shape);
    benchmark::RegisterBenchmark(("column_decode/" + name).c_str(), ColumnDecode, shape);
  }
  for (const IntShape& shape : kIntShapes) {
    const std::string name = shape.name;
    benchmark::RegisterBenchmark(("int_stream_encode/" + name).c_str(), IntStreamEncode, shape);
  }
  benchmark::RegisterBenchmark("axis_encode", AxisEncode);
  benchmark::RegisterBenchmark("axis_decode", AxisDecode);
  benchmark::RegisterBenchmark("histogram_encode", HistogramEncode);
  benchmark::RegisterBenchmark("histogram_decode", HistogramDecode);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
