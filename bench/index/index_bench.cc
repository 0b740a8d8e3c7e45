// Measures the label indexes and filters against the targets of the design study: an equality AND
// over a million series below 100 us, `=~".*x.*"` over a million values below 10 ms, opening a
// million series well below 1 s, adding a series to the head in about 1 us.
//
// Run: build/release/bin/index_bench

#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/filters.h"
#include "engine/index/label_index.h"
#include "engine/index/memory_index.h"

namespace varve::index {
namespace {

constexpr uint32_t kMillion = 1'000'000;

std::string Hex(uint64_t value, int digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (int i = digits - 1; i >= 0; --i) out += kDigits[value >> 4 * i & 15];
  return out;
}

/// A million series of 8 labels: 200 metrics of 5,000 pods; `id` is unique to each series, with
/// values of 24 bytes in random order.
const std::vector<Labels>& Million() {
  static const std::vector<Labels>* const series = [] {
    auto* out = new std::vector<Labels>();
    out->reserve(kMillion);
    std::mt19937_64 random(1);
    for (uint32_t i = 0; i < kMillion; ++i) {
      const uint32_t metric = i / 5000;
      const uint32_t pod = i % 5000;
      out->push_back(Labels({{"__name__", Concat("varve_bench_metric_", metric, "_total")},
                             {"cluster", Concat("cluster-", pod % 4)},
                             {"id", Hex(random(), 16) + Hex(random(), 8)},
                             {"instance", Concat("10.1.", pod / 250, ".", pod % 250, ":9100")},
                             {"job", Concat("job-", pod % 40)},
                             {"mode", pod % 2 == 0 ? "idle" : "user"},
                             {"namespace", Concat("namespace-", pod % 100)},
                             {"pod", Concat("pod-", pod)}}));
    }
    std::sort(out->begin(), out->end());
    return out;
  }();
  return *series;
}

const std::string& MillionBytes() {
  static const std::string* const bytes = [] {
    LabelIndexBuilder builder;
    for (const Labels& labels : Million()) VARVE_CHECK(builder.Add(labels).ok());
    return new std::string(builder.Finish());
  }();
  return *bytes;
}

const LabelIndexView& MillionView() {
  static const LabelIndexView* const view = [] {
    return LabelIndexView::Open(MillionBytes()).value().release();
  }();
  return *view;
}

std::vector<CompiledMatcher> Compile(const std::vector<Matcher>& matchers) {
  return CompileMatchers(matchers).value();
}

void BM_Build(benchmark::State& state) {
  const std::vector<Labels>& series = Million();
  for (auto _ : state) {
    LabelIndexBuilder builder;
    for (const Labels& labels : series) VARVE_CHECK(builder.Add(labels).ok());
    benchmark::DoNotOptimize(builder.Finish());
  }
  state.SetLabel("1M series; target about 1 us a series");
}
BENCHMARK(BM_Build)->Unit(benchmark::kMillisecond)->Iterations(1);

void BM_Open(benchmark::State& state) {
  const std::string& bytes = MillionBytes();
  size_t memory = 0;
  for (auto _ : state) {
    const auto view = LabelIndexView::Open(bytes);
    VARVE_CHECK(view.ok());
    memory = (*view)->memory_bytes();
  }
  state.counters["file_bytes"] = static_cast<double>(bytes.size());
  state.counters["memory_bytes"] = static_cast<double>(memory);
  state.SetLabel("1M series; target well below 1 s");
}
BENCHMARK(BM_Open)->Unit(benchmark::kMillisecond);

void Selecting(benchmark::State& state, const std::vector<Matcher>& matchers, size_t wanted) {
  const LabelIndexView& view = MillionView();
  const std::vector<CompiledMatcher> compiled = Compile(matchers);
  const size_t found = view.Select(compiled).size();
  VARVE_CHECK(wanted == 0 || found == wanted);
  for (auto _ : state) benchmark::DoNotOptimize(view.Select(compiled));
  state.counters["series"] = static_cast<double>(found);
}

void BM_EqualityAndOfLargeSets(benchmark::State& state) {
  Selecting(state,
            {{MatchType::kEqual, "mode", "idle"}, {MatchType::kEqual, "cluster", "cluster-2"}},
            kMillion / 4);
  state.SetLabel("500k x 250k of 1M; target < 100 us");
}
BENCHMARK(BM_EqualityAndOfLargeSets)->Unit(benchmark::kMicrosecond);

void BM_EqualityAndOfThree(benchmark::State& state) {
  Selecting(state,
            {{MatchType::kEqual, "job", "job-8"},
             {MatchType::kEqual, "namespace", "namespace-8"},
             {MatchType::kEqual, "mode", "idle"}},
            0);
  state.SetLabel("25k x 10k x 500k of 1M; target < 100 us");
}
BENCHMARK(BM_EqualityAndOfThree)->Unit(benchmark::kMicrosecond);

void BM_MetricAndInstance(benchmark::State& state) {
  Selecting(state,
            {{MatchType::kEqual, "__name__", "varve_bench_metric_77_total"},
             {MatchType::kEqual, "instance", "10.1.3.9:9100"}},
            1);
  state.SetLabel("target < 100 us");
}
BENCHMARK(BM_MetricAndInstance)->Unit(benchmark::kMicrosecond);

void BM_MetricAndRegex(benchmark::State& state) {
  Selecting(state,
            {{MatchType::kEqual, "__name__", "varve_bench_metric_77_total"},
             {MatchType::kRegex, "instance", "10\\.1\\.(3|4|5)\\..*"}},
            750);
}
BENCHMARK(BM_MetricAndRegex)->Unit(benchmark::kMicrosecond);

/// Regular expressions over the million values of `id`, without the cache: the candidates of a
/// fresh pattern. Each iteration draws another pattern.
void RegexOver(benchmark::State& state, const std::string& before, const std::string& after,
               int digits) {
  const LabelIndexView& view = MillionView();
  VARVE_CHECK(view.Select(Compile({{MatchType::kRegex, "id", ".+"}})).size() == kMillion);
  std::mt19937_64 random(2);
  size_t found = 0;
  for (auto _ : state) {
    state.PauseTiming();
    const auto compiled =
        Compile({{MatchType::kRegex, "id", before + Hex(random(), digits) + after}});
    state.ResumeTiming();
    found += view.Select(compiled).size();
  }
  state.counters["series"] =
      static_cast<double>(found) / static_cast<double>(std::max<int64_t>(1, state.iterations()));
}
void BM_RegexSubstringRare(benchmark::State& state) {
  RegexOver(state, ".*", ".*", 5);
  state.SetLabel("=~\".*x.*\" over 1M values; target < 10 ms");
}
BENCHMARK(BM_RegexSubstringRare)->Unit(benchmark::kMillisecond);
void BM_RegexSubstringFrequent(benchmark::State& state) {
  RegexOver(state, ".*", ".*", 2);
  state.SetLabel("the same, a tenth of the values match; target < 10 ms");
}
BENCHMARK(BM_RegexSubstringFrequent)->Unit(benchmark::kMillisecond);
void BM_RegexSubstringMost(benchmark::State& state) {
  RegexOver(state, ".*", ".*", 1);
  state.SetLabel("the same, three quarters match; target < 10 ms");
}
BENCHMARK(BM_RegexSubstringMost)->Unit(benchmark::kMillisecond)->Iterations(16);
void BM_RegexPrefix(benchmark::State& state) {
  RegexOver(state, "", ".*", 4);
  state.SetLabel("=~\"x.*\" over 1M values");
}
BENCHMARK(BM_RegexPrefix)->Unit(benchmark::kMicrosecond);
void BM_RegexNeedsRe2(benchmark::State& state) {
  RegexOver(state, ".*", "[0-9a-f]{4}[0-7].*", 3);
  state.SetLabel("=~\".*abc[0-9a-f]{4}[0-7].*\" over 1M values");
}
BENCHMARK(BM_RegexNeedsRe2)->Unit(benchmark::kMillisecond);

void BM_FirstUseOfALabel(benchmark::State& state) {
  const std::string& bytes = MillionBytes();
  for (auto _ : state) {
    state.PauseTiming();
    auto view = LabelIndexView::Open(bytes).value();
    const auto compiled = Compile({{MatchType::kEqual, "pod", "pod-7"}});
    state.ResumeTiming();
    benchmark::DoNotOptimize(view->Select(compiled));
    state.PauseTiming();
    view.reset();
    state.ResumeTiming();
  }
  state.SetLabel("makes the postings of one label of 1M series");
}
BENCHMARK(BM_FirstUseOfALabel)->Unit(benchmark::kMillisecond)->Iterations(5);

void BM_GetLabels(benchmark::State& state) {
  const LabelIndexView& view = MillionView();
  std::vector<LabelView> labels;
  std::mt19937_64 random(3);
  for (auto _ : state) {
    view.GetLabels(static_cast<uint32_t>(random() % kMillion), &labels);
    benchmark::DoNotOptimize(labels.data());
  }
  state.SetLabel("8 labels, random series of 1M");
}
BENCHMARK(BM_GetLabels);

void BM_LabelValuesOfAMetric(benchmark::State& state) {
  const LabelIndexView& view = MillionView();
  const Postings within =
      view.Select(Compile({{MatchType::kEqual, "__name__", "varve_bench_metric_5_total"}}));
  for (auto _ : state) benchmark::DoNotOptimize(view.LabelValues("instance", &within, 0));
  state.SetLabel("5,000 series, 5,000 values");
}
BENCHMARK(BM_LabelValuesOfAMetric)->Unit(benchmark::kMicrosecond);

/// Adds the million series in the order of their instances, as scrapes bring them.
void BM_MemoryAdd(benchmark::State& state) {
  const std::vector<Labels>& series = Million();
  const bool with_unique = state.range(0) != 0;
  std::vector<Labels> scraped;
  scraped.reserve(series.size());
  for (uint32_t i = 0; i < kMillion; ++i) {
    const uint32_t pod = i / 200;
    const uint32_t metric = i % 200;
    std::vector<LabelView> labels;
    for (const LabelView& label : series[metric * 5000 + pod]) {
      if (with_unique || label.name != "id") labels.push_back(label);
    }
    // Pods are sorted by id within a metric: name them again, so that neighbours share labels.
    const std::string instance = Concat("10.1.", pod / 250, ".", pod % 250, ":9100");
    const std::string name = Concat("pod-", pod);
    for (LabelView& label : labels) {
      if (label.name == "instance") label.value = instance;
      if (label.name == "pod") label.value = name;
    }
    scraped.emplace_back(LabelsView(labels));
  }
  MemoryIndex::Stats stats;
  for (auto _ : state) {
    auto memory = std::make_unique<MemoryIndex>();
    for (const Labels& labels : scraped) memory->Add(labels);
    state.PauseTiming();
    stats = memory->stats();
    memory.reset();
    state.ResumeTiming();
  }
  state.counters["bytes_a_series"] =
      static_cast<double>(stats.memory_bytes - stats.string_bytes) / kMillion;
  state.SetItemsProcessed(state.iterations() * kMillion);
  state.SetLabel(with_unique ? "8 labels, one unique; target about 1 us, 150 B beside strings"
                             : "7 labels; target about 1 us, 150 B beside strings");
}
BENCHMARK(BM_MemoryAdd)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->Iterations(2);

void BM_MemorySelect(benchmark::State& state) {
  static const MemoryIndex* const memory = [] {
    auto* out = new MemoryIndex();
    for (const Labels& labels : Million()) out->Add(labels);
    return out;
  }();
  const std::vector<std::vector<Matcher>> selections = {
      {{MatchType::kEqual, "mode", "idle"}, {MatchType::kEqual, "cluster", "cluster-2"}},
      {{MatchType::kEqual, "__name__", "varve_bench_metric_77_total"},
       {MatchType::kEqual, "instance", "10.1.3.9:9100"}},
      {{MatchType::kRegex, "id", ".*7f3a.*"}},
  };
  const auto compiled = Compile(selections[static_cast<size_t>(state.range(0))]);
  for (auto _ : state) benchmark::DoNotOptimize(memory->Select(compiled));
  static constexpr const char* kLabels[] = {"500k x 250k of 1M; target < 100 us", "one series",
                                            "=~\".*x.*\" over 1M values"};
  state.SetLabel(kLabels[state.range(0)]);
}
BENCHMARK(BM_MemorySelect)->DenseRange(0, 2)->Unit(benchmark::kMicrosecond);

void BM_MemoryChurn(benchmark::State& state) {
  const std::vector<Labels>& series = Million();
  MemoryIndex memory;
  std::vector<uint32_t> ordinals;
  for (uint32_t i = 0; i < 100000; ++i) ordinals.push_back(memory.Add(series[i * 7]));
  uint32_t at = 0;
  for (auto _ : state) {
    memory.Remove(ordinals[at % 100000]);
    memory.Recycle(ordinals[at % 100000]);
    ordinals[at % 100000] = memory.Add(series[(at % 100000) * 7]);
    ++at;
  }
  state.SetLabel("remove, recycle and add one series of 100k");
}
BENCHMARK(BM_MemoryChurn);

std::vector<uint64_t> RandomHashes(size_t count) {
  std::mt19937_64 random(5);
  std::vector<uint64_t> out(count);
  for (uint64_t& hash : out) hash = random();
  return out;
}

void BM_BloomProbe(benchmark::State& state) {
  const std::vector<uint64_t> hashes = RandomHashes(8192);
  BlockedBloom filter(hashes.size(), 12);
  for (const uint64_t hash : hashes) filter.Add(hash);
  uint64_t probe = 1;
  size_t hits = 0;
  for (auto _ : state) hits += filter.MayContain(probe *= 0xd1342543de82ef95u) ? 1 : 0;
  state.counters["false_positives"] =
      static_cast<double>(hits) / static_cast<double>(state.iterations());
  state.SetLabel("8k keys, 12 bits a key; study: 6.3 ns, 0.55 %");
}
BENCHMARK(BM_BloomProbe);

void BM_FuseBuild(benchmark::State& state) {
  const std::vector<uint64_t> hashes = RandomHashes(8192);
  size_t bytes = 0;
  for (auto _ : state) bytes = BinaryFuse::Build(hashes, 12)->bytes();
  state.SetItemsProcessed(state.iterations() * 8192);
  state.counters["bits_a_key"] = static_cast<double>(bytes) * 8 / 8192;
  state.SetLabel("8k keys, 12 bits; study: about 15 bits a key");
}
BENCHMARK(BM_FuseBuild)->Unit(benchmark::kMicrosecond);

/// The keys of a row group of log lines: each about twice, many of them the smallest hash of some.
void BM_FuseBuildRepeats(benchmark::State& state) {
  const auto count = static_cast<size_t>(state.range(0));
  std::mt19937_64 random(6);
  std::vector<uint64_t> distinct(count);
  for (uint64_t& hash : distinct) hash = std::min({random(), random(), random(), random()});
  std::vector<uint64_t> hashes;
  for (size_t i = 0; i < count * 2; ++i) hashes.push_back(distinct[random() % count]);
  for (auto _ : state) benchmark::DoNotOptimize(BinaryFuse::Build(hashes, 8)->bytes());
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(hashes.size()));
}
BENCHMARK(BM_FuseBuildRepeats)->Arg(2000)->Arg(30000)->Unit(benchmark::kMicrosecond);

void BM_FuseProbe(benchmark::State& state) {
  const BinaryFuse filter = *BinaryFuse::Build(RandomHashes(8192), 12);
  uint64_t probe = 1;
  size_t hits = 0;
  for (auto _ : state) hits += filter.MayContain(probe *= 0xd1342543de82ef95u) ? 1 : 0;
  state.counters["false_positives"] =
      static_cast<double>(hits) / static_cast<double>(state.iterations());
  state.SetLabel("8k keys, 12 bits; study: 0.024 %");
}
BENCHMARK(BM_FuseProbe);

}  // namespace
}  // namespace varve::index

BENCHMARK_MAIN();
