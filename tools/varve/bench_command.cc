#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <thread>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

double SecondsSince(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

struct Figures {
  double ingest_seconds = 0;
  double compact_seconds = 0;
  double reopen_seconds = 0;
  double query_seconds = 0;
  uint64_t samples = 0;
  uint64_t queries = 0;
  uint64_t query_samples = 0;
  uint64_t bytes = 0;
  uint64_t syncs = 0;
};

constexpr int64_t kStartMs = 1'700'000'000'000;
constexpr int64_t kStepMs = 15'000;

// Counters that grow by small irregular steps, as request counts do.
double ValueAt(uint64_t series, uint64_t step) {
  return static_cast<double>(step * (series % 17 + 1) + (series * 2654435761u + step * 40503u) % 7);
}

Labels LabelsOf(uint64_t series) {
  const std::string instance = Concat("host-", series % 100, ":9100");
  const std::string handler = Concat("/api/", series / 100);
  return Labels{{"__name__", "bench_requests_total"},
                {"handler", handler},
                {"instance", instance},
                {"job", "bench"}};
}

// Appends all steps of series [begin, end), `batch` series of one step at a time, by reference
// once those are known.
Status Ingest(const BenchCommand& command, Database* database, uint64_t begin, uint64_t end) {
  WriteOptions options;
  options.durability = command.durable ? Durability::kDurable : Durability::kProcessCrash;
  std::vector<SeriesRef> refs(end - begin, 0);
  WriteBatch batch;
  for (uint64_t step = 0; step < command.samples; ++step) {
    const int64_t time_ms = kStartMs + static_cast<int64_t>(step) * kStepMs;
    for (uint64_t first = begin; first < end; first += command.batch_series) {
      const uint64_t last = std::min(end, first + command.batch_series);
      bool by_ref = true;
      while (true) {
        batch.Clear();
        for (uint64_t series = first; series < last; ++series) {
          const SeriesRef ref = refs[series - begin];
          const uint32_t row =
              by_ref && ref != 0 ? batch.AddSeries(ref) : batch.AddSeries(LabelsOf(series).view());
          batch.AddSample(row, time_ms, ValueAt(series, step));
        }
        VARVE_ASSIGN_OR_RETURN(const AppendResult result, database->Append(batch, options));
        if (result.stale_refs) {
          by_ref = false;
          continue;
        }
        std::copy(result.refs.begin(), result.refs.end(),
                  refs.begin() + static_cast<ptrdiff_t>(first - begin));
        break;
      }
    }
  }
  return absl::OkStatus();
}

Status Measure(const BenchCommand& command, const std::string& dir, Figures* figures) {
  Options options;
  options.dir = dir;
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<Database> database, Database::Open(options));
  {
    const Spinner spinner("appending");
    const auto begin = SteadyClock::now();
    std::vector<std::thread> threads;
    std::vector<Status> results(command.threads);
    for (uint32_t i = 0; i < command.threads; ++i) {
      threads.emplace_back([&, i] {
        results[i] = Ingest(command, database.get(), command.series * i / command.threads,
                            command.series * (i + 1) / command.threads);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Status& status : results) VARVE_RETURN_IF_ERROR(status);
    figures->ingest_seconds = SecondsSince(begin);
    figures->samples = command.series * command.samples;
    figures->syncs = database->Stats().wal_syncs;
  }
  {
    const Spinner spinner("compacting");
    const auto begin = SteadyClock::now();
    VARVE_RETURN_IF_ERROR(database->Compact());
    figures->compact_seconds = SecondsSince(begin);
  }
  VARVE_RETURN_IF_ERROR(database->Close());
  const auto reopen = SteadyClock::now();
  VARVE_ASSIGN_OR_RETURN(database, Database::Open(options));
  figures->reopen_seconds = SecondsSince(reopen);
  for (const BlockStats& block : database->Stats().blocks) figures->bytes += block.bytes;
  {
    const Spinner spinner("querying");
    const std::unique_ptr<query::Engine> engine = query::Engine::Make(query::EngineOptions());
    const query::QueryRange range{
        kStartMs, kStartMs + static_cast<int64_t>(command.samples) * kStepMs, 60'000};
    const auto begin = SteadyClock::now();
    do {
      VARVE_ASSIGN_OR_RETURN(const auto snapshot, database->TakeSnapshot());
      VARVE_ASSIGN_OR_RETURN(
          const query::QueryResult result,
          engine->Range(snapshot, "sum by (handler) (rate(bench_requests_total[5m]))", range));
      figures->query_samples += result.statistics.samples_read;
      ++figures->queries;
      figures->query_seconds = SecondsSince(begin);
    } while (figures->query_seconds < 2 && figures->queries < 100);
  }
  return database->Close();
}

}  // namespace

int RunBench(const BenchCommand& command) {
  std::string dir = command.dir;
  const bool temporary = dir.empty();
  if (temporary) {
    const char* base = getenv("TMPDIR");
    dir = Concat(base != nullptr ? base : "/tmp", "/varve-bench-XXXXXX");
    if (mkdtemp(dir.data()) == nullptr) return Fail("cannot make a temporary directory");
  } else if (std::filesystem::exists(dir) && !std::filesystem::is_empty(dir)) {
    return Fail(Concat(dir, " is not empty"));
  }
  Figures figures;
  const Status status = Measure(command, dir, &figures);
  if (temporary) {
    std::error_code error;
    std::filesystem::remove_all(dir, error);
  }
  if (!status.ok()) return Fail(status);
  const auto samples = static_cast<double>(figures.samples);
  const double rate = samples / figures.ingest_seconds;
  const double read_rate = static_cast<double>(figures.query_samples) / figures.query_seconds;
  const double per_sample = static_cast<double>(figures.bytes) / samples;
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Key("series").Uint(command.series).Key("samples").Uint(figures.samples);
    json.Key("threads").Uint(command.threads).Key("durable").Bool(command.durable);
    json.Key("append_samples_per_second").Number(rate).Key("wal_syncs").Uint(figures.syncs);
    json.Key("compact_seconds").Number(figures.compact_seconds);
    json.Key("reopen_seconds").Number(figures.reopen_seconds);
    json.Key("block_bytes").Uint(figures.bytes).Key("bytes_per_sample").Number(per_sample);
    json.Key("query_seconds").Number(figures.query_seconds / static_cast<double>(figures.queries));
    json.Key("query_samples_per_second").Number(read_rate).EndObject();
    std::cout << out << "\n";
    return kOk;
  }
  std::printf("append   %s samples in %.2f s: %s samples/s (%u threads, %s, %s syncs)\n",
              FormatCount(figures.samples).c_str(), figures.ingest_seconds,
              FormatCount(static_cast<uint64_t>(rate)).c_str(), command.threads,
              command.durable ? "durable" : "process-crash", FormatCount(figures.syncs).c_str());
  std::printf("compact  %.2f s to %s, %.4f bytes a sample\n", figures.compact_seconds,
              FormatSize(static_cast<double>(figures.bytes)).c_str(), per_sample);
  std::printf("reopen   %.1f ms\n", figures.reopen_seconds * 1000);
  std::printf("query    sum by (handler) (rate(...[5m])): %.1f ms, %s samples/s\n",
              figures.query_seconds / static_cast<double>(figures.queries) * 1000,
              FormatCount(static_cast<uint64_t>(read_rate)).c_str());
  return kOk;
}

}  // namespace varve::cli
