// Measures the evaluator over a snapshot that decodes by copying. `samples/s` counts stored samples
// under the selection, each once, per second of CPU time of the process.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <tuple>

#include "tests/exec/synthetic_snapshot.h"
#include "varve/query.h"

namespace varve::query {
namespace {

using testing::SyntheticShape;

constexpr int64_t kHour = 3'600'000;

std::shared_ptr<const Snapshot> Data(uint32_t targets, uint32_t hours, bool histograms) {
  static auto* const cache =
      new std::map<std::tuple<uint32_t, uint32_t, bool>, std::shared_ptr<const Snapshot>>();
  auto& snapshot = (*cache)[{targets, hours, histograms}];
  if (snapshot == nullptr) {
    SyntheticShape shape;
    shape.targets = targets;
    shape.per_target = histograms ? 12 : 100;
    shape.samples = hours * 240;
    shape.reset_chance = 0.0005;
    shape.jitter_ms = 50;
    shape.histogram_labels = histograms;
    if (histograms) shape.metric = "latency_bucket";
    snapshot = testing::MakeSyntheticSnapshot(shape);
  }
  return snapshot;
}

void Run(benchmark::State& state, const char* query, bool histograms = false) {
  const auto targets = static_cast<uint32_t>(state.range(0));
  const auto hours = static_cast<uint32_t>(state.range(1));
  const auto threads = static_cast<uint32_t>(state.range(2));
  const auto snapshot = Data(targets, hours, histograms);
  EngineOptions options;
  options.threads = threads;
  const auto engine = Engine::Make(options);
  const QueryRange range{300'000, static_cast<int64_t>(hours) * kHour, 60'000};
  uint64_t samples = 0;
  uint64_t points = 0;
  for (auto _ : state) {
    auto result = engine->Range(snapshot, query, range);
    if (!result.ok()) {
      state.SkipWithError(std::string(result.status().message()).c_str());
      return;
    }
    samples += result->statistics.samples_read;
    points = 0;
    for (const Series& series : std::get<Matrix>(result->value)) points += series.values.size();
    if (points == 0) {
      state.SkipWithError("no result");
      return;
    }
  }
  state.counters["samples/s"] =
      benchmark::Counter(static_cast<double>(samples), benchmark::Counter::kIsRate);
  state.counters["points"] = static_cast<double>(points);
}

/// Targets (100 series each), hours, threads.
void Sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"targets", "hours", "threads"})
      ->Args({40, 1, 1})
      ->Args({40, 24, 1})
      ->Args({40, 24, 2})
      ->Unit(benchmark::kMillisecond)
      ->MeasureProcessCPUTime();
}

#define VARVE_QUERY_BENCH(name, ...)                              \
  void name(benchmark::State& state) { Run(state, __VA_ARGS__); } \
  BENCHMARK(name)->Apply(Sizes)

VARVE_QUERY_BENCH(Selector, "requests_total");
VARVE_QUERY_BENCH(Rate, "rate(requests_total[5m])");
VARVE_QUERY_BENCH(SumByRate, "sum by (job) (rate(requests_total[5m]))");
VARVE_QUERY_BENCH(SumRate, "sum(rate(requests_total[5m]))");
VARVE_QUERY_BENCH(QuantileOverTime, "quantile_over_time(0.9, requests_total[5m])");
VARVE_QUERY_BENCH(SumOverTime, "sum_over_time(requests_total[5m])");
VARVE_QUERY_BENCH(TopkMaxOverTime, "topk(5, max_over_time(requests_total[5m]))");
VARVE_QUERY_BENCH(OneToOneJoin, "rate(requests_total[5m]) / requests_total");
VARVE_QUERY_BENCH(ManyToOneJoin,
                  "rate(requests_total[5m]) / on (instance) group_left sum by (instance) "
                  "(rate(requests_total[5m]))");
VARVE_QUERY_BENCH(HistogramQuantile,
                  "histogram_quantile(0.9, sum by (le, instance) (rate(latency_bucket[5m])))",
                  true);

/// An instant query: what it costs per series before any sample is looked at.
void RunInstant(benchmark::State& state, const char* query) {
  const auto snapshot = Data(static_cast<uint32_t>(state.range(0)), 1, false);
  EngineOptions options;
  options.threads = 1;
  const auto engine = Engine::Make(options);
  uint64_t series = 0;
  for (auto _ : state) {
    auto result = engine->Instant(snapshot, query, kHour);
    if (!result.ok()) {
      state.SkipWithError(std::string(result.status().message()).c_str());
      return;
    }
    series += result->statistics.series;
  }
  state.counters["series/s"] =
      benchmark::Counter(static_cast<double>(series), benchmark::Counter::kIsRate);
}

#define VARVE_INSTANT_BENCH(name, query)                           \
  void name(benchmark::State& state) { RunInstant(state, query); } \
  BENCHMARK(name)->ArgNames({"targets"})->Arg(40)->MeasureProcessCPUTime()

VARVE_INSTANT_BENCH(InstantSelector, "requests_total");
VARVE_INSTANT_BENCH(InstantCount, "count(requests_total)");
VARVE_INSTANT_BENCH(InstantSumBy, "sum by (instance) (requests_total)");
VARVE_INSTANT_BENCH(InstantSumByRate, "sum by (path) (rate(requests_total[5m]))");
VARVE_INSTANT_BENCH(InstantSumWithout, "sum without (path) (requests_total)");

}  // namespace
}  // namespace varve::query

BENCHMARK_MAIN();
