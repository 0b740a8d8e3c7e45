// The database without a network: append by reference and by labels, replay, open, scan.
// Targets: >= 1.5 M samples per core-second end to end at 30 K series (so append alone must be well
// under 300 ns), 10 M samples of WAL replayed under 5 s, 12 M samples in blocks opened under 100
// ms, blocks decoded at >= 500 M samples/s per core.

#include <benchmark/benchmark.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "engine/base/macros.h"
#include "engine/io/memory_file_system.h"
#include "varve/database.h"

namespace varve {
namespace {

constexpr int64_t kStart = 1'700'000'000'000;

Labels SeriesLabels(int i) {
  const std::string instance = "host-" + std::to_string(i / 100) + ":9100";
  const std::string mode = "mode-" + std::to_string(i % 100);
  return Labels{{"__name__", "node_cpu_seconds_total"},
                {"cluster", "eu-west-" + std::to_string(i % 7)},
                {"cpu", std::to_string(i % 16)},
                {"instance", instance},
                {"job", "node"},
                {"mode", mode}};
}

struct Store {
  explicit Store(bool on_disk) {
    static int counter = 0;
    dir = (std::filesystem::temp_directory_path() /
           ("varve-bench-" + std::to_string(::getpid()) + "-" + std::to_string(counter++)))
              .string();
    options.dir = dir;
    options.background_threads = 0;
    options.durability = Durability::kProcessCrash;
    if (!on_disk) options.file_system = std::make_shared<io::MemoryFileSystem>();
  }
  ~Store() {
    db.reset();
    std::filesystem::remove_all(dir);
  }
  void Open() {
    auto opened = Database::Open(options);
    VARVE_CHECK(opened.ok());
    db = std::move(*opened);
  }
  std::string dir;
  Options options;
  std::unique_ptr<Database> db;
};

/// Appends `steps` samples to each of `series` series in batches of 2,000 samples.
void Fill(Database& db, int series, int steps, bool by_reference) {
  std::vector<SeriesRef> refs(series, 0);
  WriteBatch batch;
  for (int step = 0; step < steps; ++step) {
    for (int begin = 0; begin < series; begin += 2000) {
      batch.Clear();
      const int end = std::min(series, begin + 2000);
      for (int i = begin; i < end; ++i) {
        const uint32_t row = by_reference && refs[i] != 0 ? batch.AddSeries(refs[i])
                                                          : batch.AddSeries(SeriesLabels(i));
        batch.AddSample(row, kStart + step * 15'000, step * (i % 50 + 0.25));
      }
      auto result = db.Append(batch, WriteOptions());
      VARVE_CHECK(result.ok() && result->samples == static_cast<uint64_t>(end - begin));
      for (int i = begin; i < end; ++i) refs[i] = result->refs[i - begin];
    }
  }
}

void BM_AppendByReference(benchmark::State& state) {
  const int series = static_cast<int>(state.range(0));
  const int steps = static_cast<int>(state.range(1));
  for (auto _ : state) {
    state.PauseTiming();
    auto store = std::make_unique<Store>(true);
    store->Open();
    state.ResumeTiming();
    Fill(*store->db, series, steps, true);
    state.PauseTiming();
    state.counters["head_bytes_per_series"] =
        static_cast<double>(store->db->Stats().head_bytes) / series;
    store.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * series * steps);
}
BENCHMARK(BM_AppendByReference)
    ->Args({30'000, 100})
    ->Args({300'000, 20})
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();

void BM_NewSeries(benchmark::State& state) {
  const int series = static_cast<int>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    auto store = std::make_unique<Store>(true);
    store->Open();
    state.ResumeTiming();
    Fill(*store->db, series, 1, false);
    state.PauseTiming();
    store.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * series);
}
BENCHMARK(BM_NewSeries)->Arg(300'000)->Unit(benchmark::kMillisecond)->MeasureProcessCPUTime();

void BM_ReplayWal(benchmark::State& state) {
  Store store(true);
  store.options.head_bytes_max = 8ull << 30;
  store.Open();
  Fill(*store.db, 10'000, 1000, true);
  VARVE_CHECK(store.db->Close().ok());
  for (auto _ : state) {
    store.Open();
    VARVE_CHECK(store.db->recovery().wal_samples == 10'000'000);
    state.PauseTiming();
    store.db.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * 10'000'000);
}
BENCHMARK(BM_ReplayWal)->Unit(benchmark::kMillisecond)->Iterations(2);

void BM_OpenAndScanBlocks(benchmark::State& state) {
  Store store(true);
  store.options.head_bytes_max = 8ull << 30;
  store.Open();
  Fill(*store.db, 10'000, 400, true);
  VARVE_CHECK(store.db->Compact().ok());
  const bool scan = state.range(0) != 0;
  uint64_t samples = 0;
  std::vector<Chunk> chunks;
  std::vector<double> values;
  std::shared_ptr<const Snapshot> snapshot;
  std::unique_ptr<SeriesSet> set;
  if (scan) {
    snapshot = *store.db->TakeSnapshot();
    set = *snapshot->Select({}, {});
  } else {
    VARVE_CHECK(store.db->Close().ok());
  }
  for (auto _ : state) {
    if (!scan) {
      store.db.reset();
      store.Open();
      continue;
    }
    for (size_t i = 0; i < set->size(); ++i) {
      VARVE_CHECK(set->GetChunks(i, {}, &chunks).ok());
      for (const Chunk& chunk : chunks) {
        values.resize(chunk.count);
        VARVE_CHECK(chunk.DecodeValues(values).ok());
        benchmark::DoNotOptimize(values.data());
        samples += chunk.count;
      }
    }
  }
  if (scan) state.SetItemsProcessed(static_cast<int64_t>(samples));
  set.reset();
  snapshot.reset();
}
BENCHMARK(BM_OpenAndScanBlocks)->ArgName("scan")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace varve

BENCHMARK_MAIN();
