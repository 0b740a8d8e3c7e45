// Measures merges of blocks of one stream, in memory: by copying row groups where the blocks follow
// each other in time, and by encoding anew where their times interleave. `bytes_per_second` counts
// raw bytes of lines per second of CPU time, `ratio` is raw to merged bytes, `groups` tells how
// many row groups the merged block has, `copied` how many of them are byte for byte those of a
// source.

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "bench/logs/log_lines.h"
#include "engine/block/plan.h"
#include "engine/io/memory_file_system.h"
#include "engine/logs/block_reader.h"
#include "engine/logs/block_writer.h"
#include "engine/logs/seal.h"
#include "engine/logs/source.h"

namespace varve::logs {
namespace {

constexpr int kBlocks = 4;
/// Eight full row groups, and a small one at the end.
constexpr uint64_t kBlockBytes = 8 << 20;
constexpr const char* kAccess =
    "10.0.%u.%u - alice [27/Nov/2026:17:20:00 +0000] \"GET /item?id=%u HTTP/1.1\" 200 %llu";
constexpr const char* kJson =
    "{\"level\":\"info\",\"shard\":%u,\"worker\":%u,\"n\":%u,\"msg\":\"job "
    "done\",\"id\":\"%016llx\"}";

std::string PathOf(uint64_t id) { return io::JoinPath("/d", block::BlockFileName(id)); }

/// Blocks of the stream {app="hot"}.
struct Sources {
  std::shared_ptr<io::MemoryFileSystem> fs = std::make_shared<io::MemoryFileSystem>();
  std::vector<std::shared_ptr<const LogsBlock>> blocks;
  std::vector<SourcePtr> sources;
  uint64_t line_bytes = 0;

  /// Block `b` has the times begin + b * offset, begin + b * offset + step and so on.
  Status Make(const char* shape, int64_t offset, int64_t step) {
    std::mt19937_64 random(1);
    Status status = fs->MakeDirs("/d");
    const Labels labels{{"app", "hot"}};
    for (uint64_t b = 0; status.ok() && b < kBlocks; ++b) {
      auto writer = LogsBlockWriter::Create(fs, "/d", b + 1);
      if (!writer.ok()) return writer.status();
      status = (*writer)->BeginStream(labels);
      std::vector<std::string> lines;
      LogRows rows;
      uint64_t bytes = 0;
      while (bytes < kBlockBytes) {
        lines.push_back(MakeLogLine(shape, random));
        bytes += lines.back().size();
        rows.times_ns.push_back(1'795'800'000'000'000'000 + static_cast<int64_t>(b) * offset +
                                static_cast<int64_t>(rows.times_ns.size()) * step);
      }
      rows.lines.assign(lines.begin(), lines.end());
      rows.metadata_begin.assign(lines.size() + 1, 0);
      if (status.ok()) status = (*writer)->Add(rows);
      block::BlockMeta meta;
      meta.wing = block::Wing::kLogs;
      block::ApplySealMeta({}, b + 1, &meta);
      if (status.ok()) status = (*writer)->Finish(std::move(meta)).status();
      if (!status.ok()) break;
      auto opened = LogsBlock::Open(*fs, PathOf(b + 1));
      if (!opened.ok()) return opened.status();
      blocks.push_back(*std::move(opened));
      sources.push_back(MakeBlockSource(blocks.back(), {}));
      line_bytes += bytes;
    }
    return status;
  }
};

void Merge(benchmark::State& state, const char* shape, int64_t offset, int64_t step) {
  Sources from;
  if (!from.Make(shape, offset, step).ok()) return state.SkipWithError("no blocks");
  const uint64_t id = kBlocks + 1;
  uint64_t merged_bytes = 0;
  bool counted = false;
  for (auto _ : state) {
    const auto meta =
        WriteMerged(from.sources, NsRange{}, {}, {from.fs, "/d", [id] { return id; }});
    if (!meta.ok() || !meta->has_value()) return state.SkipWithError("does not merge");
    state.PauseTiming();
    merged_bytes = (*meta)->bytes;
    if (!std::exchange(counted, true)) {
      std::unordered_set<std::string_view> known;
      for (const auto& block : from.blocks) {
        for (uint32_t g = 0; g < block->directory().groups.size(); ++g) {
          known.insert(block->ReadGroup(g)->rows);
        }
      }
      const auto merged = *LogsBlock::Open(*from.fs, PathOf(id));
      double copied = 0;
      const size_t groups = merged->directory().groups.size();
      for (uint32_t g = 0; g < groups; ++g) {
        if (known.contains(merged->ReadGroup(g)->rows)) ++copied;
      }
      state.counters["groups"] = static_cast<double>(groups);
      state.counters["copied"] = copied;
    }
    if (!from.fs->Remove(PathOf(id)).ok()) return state.SkipWithError("not removed");
    state.ResumeTiming();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(from.line_bytes));
  state.counters["ratio"] =
      static_cast<double>(from.line_bytes) / static_cast<double>(merged_bytes);
}
constexpr int64_t kHour = 3'600'000'000'000;
BENCHMARK_CAPTURE(Merge, access_one_after_another, kAccess, kHour, 1'000'000);
BENCHMARK_CAPTURE(Merge, access_interleaved, kAccess, 1, 1'000'000);
BENCHMARK_CAPTURE(Merge, json_one_after_another, kJson, kHour, 1'000'000);
BENCHMARK_CAPTURE(Merge, json_interleaved, kJson, 1, 1'000'000);

}  // namespace
}  // namespace varve::logs

BENCHMARK_MAIN();
