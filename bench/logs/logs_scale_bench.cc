// Measures the two ends of what comes: very many streams with few lines each, as pods that come and
// go make them, and one stream that takes everything. Reports CPU per line and per MB, memory, and
// the time of queries, in the head and in blocks.
//
// Usage: logs_scale_bench DIR streams [N]    N streams (100,000) of 20 lines each. DIR is emptied.
//        logs_scale_bench DIR hot [MB]       MB (2,000) into one stream, sealed and merged beside
//                                            it by one thread as in a server.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/logs/logs_bench.h"
#include "varve/database.h"

namespace varve {
namespace {

constexpr int64_t kStart = 1'795'188'180'000'000'000;
constexpr int64_t kSecond = 1'000'000'000;

double ThreadSeconds() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double ResidentMb() {
  std::ifstream in("/proc/self/statm");
  double pages = 0;
  in >> pages >> pages;
  return pages * 4096 / 1e6;
}

int ManyStreams(const std::string& dir, uint32_t count) {
  constexpr uint32_t kLines = 20;
  constexpr uint32_t kStreamsOfBatch = 1000;
  Options options;
  options.dir = dir;
  options.background_threads = 0;
  auto opened = Database::Open(options);
  Check(opened.status());
  Database& db = **opened;
  const double resident = ResidentMb();
  LogBatch batch;  // borrows its lines
  std::vector<std::string> texts(kStreamsOfBatch);
  double cpu = 0;
  double first_cpu = 0;
  uint64_t raw_bytes = 0;
  for (uint32_t line = 0; line < kLines; ++line) {
    for (uint32_t first = 0; first < count; first += kStreamsOfBatch) {
      batch.Clear();
      const uint32_t end = std::min(count, first + kStreamsOfBatch);
      for (uint32_t s = first; s < end; ++s) {
        const std::string app = "app" + std::to_string(s % 50);
        const std::string pod = "pod-" + std::to_string(s);
        const std::vector<LabelView> labels{{"app", app}, {"namespace", "default"}, {"pod", pod}};
        const uint32_t stream = batch.AddStream(labels);
        std::string& text = texts[s - first];
        text = "level=info msg=\"request handled\" pod=" + pod +
               " status=200 took=" + std::to_string(s * 7919 % 1000 + line) +
               "ms path=/api/v1/items/" + std::to_string(s * 31 % 977);
        raw_bytes += text.size() + 1;
        batch.AddEntry(stream, kStart + line * kSecond + s, text);
      }
      const double begin = CpuSeconds();
      Check(db.AppendLogs(batch).status());
      cpu += CpuSeconds() - begin;
    }
    if (line == 0) first_cpu = cpu;
  }
  const double entries = static_cast<double>(count) * kLines;
  const DatabaseStats stats = db.Stats();
  std::printf(
      "%u streams, %.0f entries, %.1f MB raw: append %.0f ns an entry (%.0f ns where it "
      "makes a stream), %.0f MB a CPU-second\n",
      count, entries, static_cast<double>(raw_bytes) * 1e-6, cpu / entries * 1e9,
      first_cpu / count * 1e9, static_cast<double>(raw_bytes) * 1e-6 / cpu);
  std::printf("head %.1f MB by its own count, %.0f bytes a stream; resident %.0f MB more\n",
              static_cast<double>(stats.logs.head_bytes) * 1e-6,
              static_cast<double>(stats.logs.head_bytes) / count, ResidentMb() - resident);
  const auto ask = [&] {
    Report(db, "one stream", LineFilter::Op::kContains, {}, {{MatchType::kEqual, "pod", "pod-77"}});
    Report(db, "absent word", LineFilter::Op::kContains, {" quizzacious "});
    Report(db, "rare text", LineFilter::Op::kContains, {"pod=pod-4711 "});
    Report(db, "regex", LineFilter::Op::kMatches, {"took=99[0-9]ms"});
    Report(db, "all lines", LineFilter::Op::kContains, {});
  };
  std::printf("--- in the head\n");
  ask();
  const double begin = CpuSeconds();
  Check(db.Compact());
  const double seal = CpuSeconds() - begin;
  std::printf("seal and merge %.0f ns an entry; together %.0f MB a CPU-second, %.2f MB on disk\n",
              seal / entries * 1e9, static_cast<double>(raw_bytes) * 1e-6 / (cpu + seal),
              static_cast<double>(db.Stats().disk_bytes) * 1e-6);
  std::printf("--- in blocks\n");
  ask();
  std::printf("peak memory %.0f MB\n", PeakMb());
  Check(db.Close());
  return 0;
}

int HotStream(const std::string& dir, uint64_t megabytes) {
  constexpr size_t kBatchBytes = 1 << 20;
  Options options;
  options.dir = dir;
  auto opened = Database::Open(options);
  Check(opened.status());
  Database& db = **opened;
  const std::vector<LabelView> labels{{"app", "hot"}};
  // Lines without their ids, made before the clock starts.
  std::vector<std::string> texts;
  size_t text_bytes = 0;
  uint64_t random = 1;
  const auto next = [&random] {
    return random = random * 6364136223846793005 + 1442695040888963407;
  };
  while (text_bytes < kBatchBytes) {
    const uint64_t bits = next();
    char line[256];
    std::snprintf(line, sizeof line,
                  "10.%u.%u.%u - - \"GET /api/v1/items/%u?page=%u HTTP/1.1\" %u %u \"-\" "
                  "\"curl/8.0\" rt=0.%03u trace=",
                  unsigned(bits >> 8 & 255), unsigned(bits >> 16 & 255), unsigned(bits >> 24 & 255),
                  unsigned(bits >> 32 & 4095), unsigned(bits >> 44 & 31),
                  (bits >> 49 & 15) != 0 ? 200U : 500U, unsigned(bits >> 50 & 16383),
                  unsigned(bits >> 53 & 1023) % 1000);
    texts.emplace_back(line);
    text_bytes += texts.back().size() + 18;
  }
  std::string some_id;
  const double resident = ResidentMb();
  double resident_max = 0;
  double newest_cpu_max = 0;
  double newest_wall_max = 0;
  double append_wall_max = 0;
  uint64_t raw_bytes = 0;
  uint64_t entries = 0;
  double other_cpu = 0;  // of making lines and asking
  LogBatch batch;
  const double cpu_begin = CpuSeconds();
  const auto seconds_since = [](std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t round = 0; raw_bytes < megabytes * 1'000'000; ++round) {
    batch.Clear();
    const uint32_t stream = batch.AddStream(LabelsView(labels));
    const double making = ThreadSeconds();
    for (std::string& text : texts) {
      // About 8,000 lines a MB, 100 MB a second; each has an id of its own.
      const size_t size = text.size();
      const uint64_t id = next();
      for (int digit = 60; digit >= 0; digit -= 4) text += "0123456789abcdef"[id >> digit & 15];
      const std::string_view line = batch.Copy(text);
      if (entries == 777'777) some_id = text.substr(size);
      text.resize(size);
      batch.AddEntry(stream, kStart + static_cast<int64_t>(entries) * 1'250, line);
      raw_bytes += line.size() + 1;
      ++entries;
    }
    other_cpu += ThreadSeconds() - making;
    const auto append = std::chrono::steady_clock::now();
    Check(db.AppendLogs(batch).status());
    append_wall_max = std::max(append_wall_max, seconds_since(append));
    if (round % 50 != 49) continue;
    resident_max = std::max(resident_max, ResidentMb());
    // What a dashboard asks meanwhile: the last second.
    LogScanSpec spec;
    spec.range = {kStart + static_cast<int64_t>(entries) * 1'250 - kSecond, INT64_MAX};
    spec.line_filters = {{LineFilter::Op::kContains, {" 500 "}}};
    const auto asked = std::chrono::steady_clock::now();
    const double query = ThreadSeconds();
    const Answer answer = Ask(db, spec);
    const double cpu = ThreadSeconds() - query;
    other_cpu += cpu;
    newest_cpu_max = std::max(newest_cpu_max, cpu);
    newest_wall_max = std::max(newest_wall_max, seconds_since(asked));
    if (answer.entries == 0) std::printf("nothing found in the last second\n");
  }
  const double wall = seconds_since(begin);
  Check(db.Sync());
  const double cpu = CpuSeconds() - cpu_begin - other_cpu;
  const DatabaseStats stats = db.Stats();
  std::printf(
      "%.0f MB, %llu entries: %.0f MB/s of wall, %.0f MB a CPU-second with what was sealed "
      "meanwhile (%llu seals, %llu merges); longest append %.0f ms\n",
      static_cast<double>(raw_bytes) * 1e-6, static_cast<unsigned long long>(entries),
      static_cast<double>(raw_bytes) * 1e-6 / wall, static_cast<double>(raw_bytes) * 1e-6 / cpu,
      static_cast<unsigned long long>(stats.seals),
      static_cast<unsigned long long>(stats.compactions), append_wall_max * 1e3);
  std::printf("last second asked for meanwhile: at most %.1f ms of CPU, %.1f ms of wall\n",
              newest_cpu_max * 1e3, newest_wall_max * 1e3);
  std::printf("head %.0f MB, WAL %.0f MB, resident at most %.0f MB more\n",
              static_cast<double>(stats.logs.head_bytes) * 1e-6,
              static_cast<double>(stats.wal_bytes) * 1e-6, resident_max - resident);
  const double compact = CpuSeconds();
  Check(db.Compact());
  std::printf("together %.0f MB a CPU-second, %.2f MB on disk\n",
              static_cast<double>(raw_bytes) * 1e-6 / (cpu + CpuSeconds() - compact),
              static_cast<double>(db.Stats().disk_bytes) * 1e-6);
  Report(db, "absent word", LineFilter::Op::kContains, {" quizzacious "});
  Report(db, "absent id", LineFilter::Op::kContains, {"7c9e6679a425401d"});
  Report(db, "one id", LineFilter::Op::kContains, {some_id});
  Report(db, "regex", LineFilter::Op::kMatches, {"items/[0-9]+.page=7 HTTP/1.1. 500"});
  std::printf("peak memory %.0f MB\n", PeakMb());
  Check(db.Close());
  return 0;
}

int Main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[2] : "";
  const uint64_t number = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0;
  if (what != "streams" && what != "hot") {
    std::fprintf(stderr, "usage: logs_scale_bench DIR streams [N] | DIR hot [MB]\n");
    return 2;
  }
  std::filesystem::remove_all(argv[1]);
  if (what == "hot") return HotStream(argv[1], number > 0 ? number : 2000);
  return ManyStreams(argv[1], number > 0 ? static_cast<uint32_t>(number) : 100'000);
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) { return varve::Main(argc, argv); }
