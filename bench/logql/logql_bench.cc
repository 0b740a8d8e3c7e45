// Measures LogQL: single stages over lines in memory, and queries over a database in memory whose
// blocks are compacted. `bytes_per_second` counts raw line bytes per second of CPU time of the
// process, one thread.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/io/memory_file_system.h"
#include "varve/database.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1'700'000'000 * kSecond;

std::string JsonLine(std::mt19937_64& random) {
  static constexpr const char* kLevels[] = {"info", "info", "info", "debug", "warn", "error"};
  static constexpr const char* kMethods[] = {"GET", "POST", "PUT", "DELETE"};
  char line[512];
  std::snprintf(line, sizeof line,
                "{\"ts\":\"2024-05-06T07:08:%02u.%03uZ\",\"level\":\"%s\",\"method\":\"%s\","
                "\"path\":\"/api/v1/users/%u\","
                "\"status\":%u,\"duration_ms\":%u.%u,\"bytes\":%u,\"user\":{\"id\":\"u%u\","
                "\"city\":\"Oslo\"},"
                "\"trace_id\":\"%016llx\",\"msg\":\"request done without any trouble\"}",
                unsigned(random() % 60), unsigned(random() % 1000), kLevels[random() % 6],
                kMethods[random() % 4], unsigned(random() % 1000),
                unsigned(200 + random() % 4 * 100), unsigned(random() % 900),
                unsigned(random() % 10), unsigned(random() % 100'000), unsigned(random() % 500),
                static_cast<unsigned long long>(random()));
  return line;
}
std::string LogfmtLine(std::mt19937_64& random) {
  char line[256];
  std::snprintf(
      line, sizeof line,
      "level=info caller=worker.go:%u msg=\"job done\" job=sync dur=%ums size=%uKB n=%u retry=0",
      unsigned(random() % 300), unsigned(random() % 900), unsigned(random() % 90),
      unsigned(random() % 50));
  return line;
}
std::string NginxLine(std::mt19937_64& random) {
  char line[256];
  std::snprintf(line, sizeof line,
                "10.%u.%u.%u - alice [20/Nov/2026:13:01:09 +0000] \"GET /index.html?id=%u "
                "HTTP/1.1\" 200 %u \"-\" \"curl/8.0\" 0.%u",
                unsigned(random() % 256), unsigned(random() % 256), unsigned(random() % 256),
                unsigned(random() % 100'000), unsigned(random() % 100'000),
                unsigned(random() % 1000));
  return line;
}

std::string PackedLine(std::mt19937_64& random) {
  char line[256];
  std::snprintf(line, sizeof line,
                "{\"level\":\"info\",\"pod\":\"api-%u\",\"_entry\":\"request %u took %u ms\"}",
                unsigned(random() % 300), unsigned(random() % 100'000), unsigned(random() % 900));
  return line;
}
std::string ColouredLine(std::mt19937_64& random) {
  char line[256];
  std::snprintf(line, sizeof line, "\x1b[32mINFO\x1b[0m worker %u \x1b[1;34mdone\x1b[0m in %u ms",
                unsigned(random() % 300), unsigned(random() % 900));
  return line;
}

void Stage(benchmark::State& state, const char* query, std::string (*make)(std::mt19937_64&)) {
  auto pipeline = LogPipeline::Make(query);
  if (!pipeline.ok()) return state.SkipWithError("query does not compile");
  std::mt19937_64 random(1);
  std::vector<std::string> lines;
  int64_t bytes = 0;
  for (int i = 0; i < 10'000; ++i) {
    lines.push_back(make(random));
    bytes += static_cast<int64_t>(lines.back().size());
  }
  const std::vector<LabelView> stream = {{"app", "api"}, {"env", "prod"}};
  LogStream out;
  for (auto _ : state) {
    for (const std::string& line : lines) {
      benchmark::DoNotOptimize((*pipeline)->Process(stream, kStart, line, {}, &out));
    }
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}
// The filter behind each parser drops every line, so that the parser is what is measured.
BENCHMARK_CAPTURE(Stage, json, "{app=\"api\"} | json | level=\"none\"", JsonLine);
BENCHMARK_CAPTURE(Stage, json_path, "{app=\"api\"} | json l=\"level\" | l=\"none\"", JsonLine);
BENCHMARK_CAPTURE(Stage, logfmt, "{app=\"api\"} | logfmt | level=\"none\"", LogfmtLine);
BENCHMARK_CAPTURE(
    Stage, pattern,
    "{app=\"api\"} | pattern `<ip> - <user> [<_>] \"<m> <p> <_>\" <status> <size> <_>` | m=\"x\"",
    NginxLine);
BENCHMARK_CAPTURE(Stage, regexp,
                  "{app=\"api\"} | regexp `(?P<ip>\\S+) - (?P<user>\\S+)` | user=\"x\"", NginxLine);
BENCHMARK_CAPTURE(Stage, line_format,
                  "{app=\"api\"} | line_format `{{.app | upper}} {{__line__}}` | app=\"x\"",
                  NginxLine);
BENCHMARK_CAPTURE(Stage, logfmt_names, "{app=\"api\"} | logfmt l=\"level\" | l=\"none\"",
                  LogfmtLine);
BENCHMARK_CAPTURE(Stage, unpack, "{app=\"api\"} | unpack | level=\"none\"", PackedLine);
BENCHMARK_CAPTURE(Stage, label_format, "{app=\"api\"} | label_format a=`{{.app}}-{{.env}}`, b=env",
                  NginxLine);
BENCHMARK_CAPTURE(Stage, decolorize, "{app=\"api\"} | decolorize", ColouredLine);
BENCHMARK_CAPTURE(Stage, keep, "{app=\"api\"} | logfmt | keep job, n", LogfmtLine);
BENCHMARK_CAPTURE(Stage, drop, "{app=\"api\"} | logfmt | drop caller, msg, dur", LogfmtLine);
BENCHMARK_CAPTURE(Stage, label_filters,
                  "{app=\"api\"} | logfmt | dur > 500ms and size < 50KB or n >= 40", LogfmtLine);
BENCHMARK_CAPTURE(Stage, ip_filter, "{app=\"api\"} |= ip(\"192.168.0.0/16\")", NginxLine);
BENCHMARK_CAPTURE(Stage, pattern_filter, "{app=\"api\"} |> `<_>POST<_>`", NginxLine);

/// ~100 MB of JSON in four streams over an hour, compacted.
std::shared_ptr<const LogSnapshot> JsonData(int64_t* bytes) {
  struct Data {
    std::unique_ptr<Database> db;
    std::shared_ptr<const LogSnapshot> snapshot;
    int64_t bytes = 0;
  };
  static auto* const data = [] {
    auto* out = new Data();
    Options options;
    options.dir = "/db";
    options.background_threads = 0;
    options.durability = Durability::kProcessCrash;
    options.file_system = std::make_shared<io::MemoryFileSystem>();
    auto db = Database::Open(options);
    if (!db.ok()) return out;
    out->db = *std::move(db);
    std::mt19937_64 random(1);
    LogBatch batch;
    int64_t time = kStart;
    while (out->bytes < 100'000'000) {
      batch.Clear();
      for (int s = 0; s < 4; ++s) {
        const std::vector<LabelView> labels = {{"app", "api"},
                                               {"pod", s == 0   ? "a"
                                                       : s == 1 ? "b"
                                                       : s == 2 ? "c"
                                                                : "d"}};
        const uint32_t stream = batch.AddStream(labels);
        for (int i = 0; i < 1000; ++i) {
          const std::string line = JsonLine(random);
          out->bytes += static_cast<int64_t>(line.size());
          batch.AddEntry(stream, time += 10'000'000 + static_cast<int64_t>(random() % 1000),
                         batch.Copy(line));
        }
      }
      if (!out->db->AppendLogs(batch).ok()) return out;
    }
    if (out->db->Compact().ok()) {
      auto snapshot = out->db->TakeLogSnapshot();
      if (snapshot.ok()) out->snapshot = *snapshot;
    }
    return out;
  }();
  *bytes = data->bytes;
  return data->snapshot;
}

void Query(benchmark::State& state, const char* query) {
  int64_t bytes = 0;
  const auto snapshot = JsonData(&bytes);
  if (snapshot == nullptr) return state.SkipWithError("no data");
  LogEngineOptions options;
  options.threads = 1;
  const auto engine = LogEngine::Make(options);
  LogQueryRange range;
  range.start_ns = kStart;
  range.end_ns = kStart + 3600 * kSecond * 2;
  range.step_ns = 60 * kSecond;
  for (auto _ : state) {
    const auto result = engine->Range(snapshot, query, range);
    if (!result.ok()) return state.SkipWithError(std::string(result.status().message()).c_str());
    benchmark::DoNotOptimize(result->value);
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}
BENCHMARK_CAPTURE(Query, count_by_level,
                  "sum by (level) (count_over_time({app=\"api\"} | json [5m]))")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Query, count, "sum(count_over_time({app=\"api\"}[5m]))")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Query, regex, "{app=\"api\"} |~ `users/[0-9]+[a-z]`")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Query, needle, "{app=\"api\"} |= `no such text anywhere`")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(Query, newest, "{app=\"api\"} | json")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();
BENCHMARK_CAPTURE(
    Query, unwrap,
    "quantile_over_time(0.99, {app=\"api\"} | json | unwrap duration_ms [5m]) by (method)")
    ->Unit(benchmark::kMillisecond)
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace varve::query

BENCHMARK_MAIN();
