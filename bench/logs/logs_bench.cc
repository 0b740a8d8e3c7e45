// Loads the first 60 MB of each file of $VARVE_SHARED/data/logs through the public API, one stream
// a file, one batch per MB, durably, and reports CPU, size on disk, and the time of queries.
//
// Usage: logs_bench [DIR] [jitter_ns]   DIR is emptied. Entries are a millisecond apart, plus a
//        pseudo-random part below jitter_ns (0 by default).
//        logs_bench DIR ingest         writes only.
//        logs_bench DIR query [REGEX]   asks only, of what an earlier run left in DIR.

#include "bench/logs/logs_bench.h"

#include <zstd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "varve/database.h"

namespace varve {
namespace {

constexpr size_t kFileBytesMax = 60'000'000;
constexpr size_t kBatchBytes = 1 << 20;

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string packed((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  std::string out;
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 27);
  ZSTD_inBuffer from{packed.data(), packed.size(), 0};
  std::vector<char> piece(1 << 20);
  while (from.pos < from.size && out.size() < kFileBytesMax) {
    ZSTD_outBuffer to{piece.data(), piece.size(), 0};
    if (ZSTD_isError(ZSTD_decompressStream(context.get(), &to, &from))) break;
    out.append(piece.data(), to.pos);
  }
  if (out.size() > kFileBytesMax) out.resize(kFileBytesMax);
  const size_t end = out.rfind('\n');
  if (end != std::string::npos) out.resize(end + 1);
  return out;
}

void Queries(const Database& db) {
  using Op = LineFilter::Op;
  Report(db, "absent word", Op::kContains, {" quizzacious "});
  Report(db, "absent bare word", Op::kContains, {"quizzacious"});
  Report(db, "absent id", Op::kContains, {"7c9e6679a425401d"});
  Report(db, "absent number", Op::kContains, {"4829135707312"});
  Report(db, "absent phrase", Op::kContains, {"could not receive data from client"});
  Report(db, "rare phrase", Op::kContains, {"duplicate key value violates unique constraint"});
  Report(db, "common substring", Op::kContains, {"error"});
  Report(db, "regex with a literal", Op::kMatches, {"checkpoint (starting|complete)"});
  Report(db, "regex without one", Op::kMatches, {"[0-9]{3}[a-f][0-9]{4}[a-f]{2}"});
  Report(db, "negated substring", Op::kNotContains, {"a"});
  Report(db, "all lines", Op::kContains, {});
}

int Main(int argc, char** argv) {
  const std::string dir = argc > 1 ? argv[1] : "logs_bench.db";
  const uint64_t jitter_ns = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (argc > 2 && std::string(argv[2]) == "query") {
    Options options;
    options.dir = dir;
    auto opened = Database::Open(options);
    Check(opened.status());
    if (argc > 3) {
      Report(**opened, argv[3], LineFilter::Op::kMatches, {argv[3]});
    } else {
      Queries(**opened);
    }
    Check((*opened)->Close());
    return 0;
  }
  const char* shared = std::getenv("VARVE_SHARED");
  const std::filesystem::path logs =
      std::filesystem::path(shared ? shared : "../shared") / "data/logs";
  if (!std::filesystem::exists(logs)) {
    std::printf("skipped: no %s\n", logs.c_str());
    return 0;
  }
  std::filesystem::remove_all(dir);
  Options options;
  options.dir = dir;
  auto opened = Database::Open(options);
  Check(opened.status());
  Database& db = **opened;

  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(logs)) files.push_back(file.path());
  std::sort(files.begin(), files.end());
  uint64_t raw_bytes = 0;
  uint64_t entries = 0;
  double cpu = 0;
  const auto began = std::chrono::steady_clock::now();
  std::mt19937_64 random(1);
  for (const auto& path : files) {
    const std::string text = ReadFile(path);
    const Labels labels{{"file", path.stem().string()}};
    LogBatch batch;
    int64_t time = 1'795'188'180'000'000'000;
    size_t at = 0;
    while (at < text.size()) {
      batch.Clear();
      const uint32_t stream = batch.AddStream(labels);
      const double begin = CpuSeconds();
      size_t bytes = 0;
      while (at < text.size() && bytes < kBatchBytes) {
        size_t end = text.find('\n', at);
        if (end == std::string::npos) end = text.size();
        const int64_t jitter = jitter_ns > 0 ? static_cast<int64_t>(random() % jitter_ns) : 0;
        batch.AddEntry(stream, time + jitter, std::string_view(text).substr(at, end - at));
        time += 1'000'000;
        bytes += end + 1 - at;
        at = end + 1;
        ++entries;
      }
      raw_bytes += bytes;
      Check(db.AppendLogs(batch).status());
      cpu += CpuSeconds() - begin;
    }
  }
  const double append_cpu = cpu;
  std::printf("%.1f MB raw, %lu entries; append %.2f s CPU (%.0f MB a CPU-second), head %.1f MB\n",
              static_cast<double>(raw_bytes) * 1e-6, static_cast<unsigned long>(entries), cpu,
              static_cast<double>(raw_bytes) * 1e-6 / cpu,
              static_cast<double>(db.Stats().logs.head_bytes) * 1e-6);
  const bool ingest_only = argc > 2 && std::string(argv[2]) == "ingest";
  if (!ingest_only) {
    std::printf("--- in the head\n");
    Queries(db);
  }
  const double begin = CpuSeconds();
  Check(db.Compact());
  cpu += CpuSeconds() - begin;
  const DatabaseStats stats = db.Stats();
  std::printf("seal and merge %.2f s CPU; together %.0f MB a CPU-second; %.1f s of wall\n",
              cpu - append_cpu, static_cast<double>(raw_bytes) * 1e-6 / cpu,
              std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  uint64_t disk = 0;
  for (const LogBlockStats& block : stats.logs.blocks) {
    disk += block.bytes;
    std::printf("block %lu: %.2f MB, %lu entries, %lu streams\n",
                static_cast<unsigned long>(block.id), static_cast<double>(block.bytes) * 1e-6,
                static_cast<unsigned long>(block.entries),
                static_cast<unsigned long>(block.streams));
    for (const auto* list : {&block.sections, &block.columns}) {
      for (const SectionStats& section : *list) {
        std::printf("  %-10s %9.3f MB\n", section.name.c_str(),
                    static_cast<double>(section.bytes) * 1e-6);
      }
    }
  }
  std::printf("on disk %.2f MB in blocks, %.2f MB in all\n", static_cast<double>(disk) * 1e-6,
              static_cast<double>(stats.disk_bytes) * 1e-6);
  if (!ingest_only) {
    std::printf("--- in blocks\n");
    Queries(db);
  }
  std::printf("peak memory %.0f MB\n", PeakMb());
  Check(db.Close());
  return 0;
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) { return varve::Main(argc, argv); }
