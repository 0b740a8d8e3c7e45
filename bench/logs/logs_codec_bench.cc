// Measures the codecs of logs alone, in memory: lines, times and metadata of row groups, pages of
// heads, filters. `bytes_per_second` counts raw bytes of lines per second of CPU time.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bench/logs/log_lines.h"
#include "engine/index/filters.h"
#include "engine/logs/columns.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/page.h"
#include "engine/logs/page_keys.h"
#include "engine/logs/rows.h"
#include "tests/support/padded_lines.h"

namespace varve::logs {
namespace {

/// One row group: 1 MiB of lines, with their times and metadata.
struct Group {
  std::vector<std::string> owned;
  std::vector<std::string_view> lines;
  std::vector<std::string> traces;
  std::vector<int64_t> times;
  uint64_t bytes = 0;

  explicit Group(const char* shape) {
    std::mt19937_64 random(1);
    int64_t time = 1'795'800'000'000'000'000;
    while (bytes < 1u << 20) {
      owned.push_back(MakeLogLine(shape, random));
      bytes += owned.back().size();
      times.push_back(time += 1'000'000 + static_cast<int64_t>(random() % 1000) * 1000);
      char trace[20];
      std::snprintf(trace, sizeof trace, "%016llx",
                    static_cast<unsigned long long>(random() % 500));
      traces.emplace_back(trace);
    }
    lines.assign(owned.begin(), owned.end());
  }
  uint32_t rows() const { return static_cast<uint32_t>(lines.size()); }
  std::string Encoded(std::vector<uint64_t>* keys) const {
    std::string out;
    EncodeLines(PaddedLines(lines).lines(), &out, keys);
    return out;
  }
  std::string Page() const {
    std::vector<EntryView> entries;
    for (size_t i = 0; i < lines.size(); ++i) entries.push_back({times[i], lines[i], {}, 0});
    std::string out;
    EncodePage(entries, true, &out);
    return out;
  }
};

constexpr const char* kAccess =
    "10.0.%u.%u - alice [27/Nov/2026:17:20:00 +0000] \"GET /item?id=%u HTTP/1.1\" 200 %llu";
constexpr const char* kJson =
    "{\"level\":\"info\",\"shard\":%u,\"worker\":%u,\"n\":%u,\"msg\":\"job "
    "done\",\"id\":\"%016llx\"}";

void Count(benchmark::State& state, const Group& group) {
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(group.bytes));
}

void EncodeGroup(benchmark::State& state, const char* shape) {
  const Group group(shape);
  const PaddedLines padded(group.lines);
  std::string out;
  std::vector<uint64_t> keys;
  for (auto _ : state) {
    out.clear();
    keys.clear();
    EncodeLines(padded.lines(), &out, &keys);
    benchmark::DoNotOptimize(out.data());
  }
  Count(state, group);
  state.counters["ratio"] = static_cast<double>(group.bytes) / static_cast<double>(out.size());
}
BENCHMARK_CAPTURE(EncodeGroup, access, kAccess);
BENCHMARK_CAPTURE(EncodeGroup, json, kJson);

void DecodeGroup(benchmark::State& state, const char* shape) {
  const Group group(shape);
  std::vector<uint64_t> keys;
  const std::string encoded = group.Encoded(&keys);
  Rows rows;
  for (auto _ : state) {
    if (!DecodeLines(encoded, group.rows(), group.bytes, &rows).ok()) {
      return state.SkipWithError("does not decode");
    }
    benchmark::DoNotOptimize(rows.text.data());
  }
  if (rows.line(7) != group.lines[7]) state.SkipWithError("another line");
  Count(state, group);
}
BENCHMARK_CAPTURE(DecodeGroup, access, kAccess);
BENCHMARK_CAPTURE(DecodeGroup, json, kJson);

void MayContain(benchmark::State& state, const char* shape) {
  const Group group(shape);
  std::vector<uint64_t> keys;
  const std::string encoded = group.Encoded(&keys);
  for (auto _ : state) {
    const auto may = LinesMayContain(encoded, group.rows(), group.bytes, "no such words here");
    if (!may.ok() || *may) return state.SkipWithError("may contain");
  }
  Count(state, group);
}
BENCHMARK_CAPTURE(MayContain, access, kAccess);
BENCHMARK_CAPTURE(MayContain, json, kJson);

void Times(benchmark::State& state, bool decode) {
  const Group group(kAccess);
  std::string encoded;
  EncodeTimes(group.times, &encoded);
  std::vector<int64_t> out;
  for (auto _ : state) {
    if (decode) {
      if (!DecodeTimes(encoded, group.rows(), &out).ok()) return state.SkipWithError("times");
    } else {
      encoded.clear();
      EncodeTimes(group.times, &encoded);
    }
    benchmark::DoNotOptimize(encoded.data());
  }
  if (decode && out != group.times) state.SkipWithError("other times");
  Count(state, group);
}
BENCHMARK_CAPTURE(Times, encode, false);
BENCHMARK_CAPTURE(Times, decode, true);

void Metadata(benchmark::State& state, bool decode) {
  const Group group(kAccess);
  MetadataColumns columns;
  std::string encoded;
  const auto encode = [&] {
    columns.Clear();
    for (const std::string& trace : group.traces) {
      const LabelView label{"trace_id", trace};
      columns.Add(LabelsView(&label, 1));
    }
    encoded.clear();
    const uint32_t number = 0;
    columns.Encode({&number, 1}, &encoded);
  };
  encode();
  const std::string_view name = "trace_id";
  Rows rows;
  for (auto _ : state) {
    if (!decode) {
      encode();
    } else if (!DecodeMetadata(encoded, group.rows(), {&name, 1}, &rows).ok()) {
      return state.SkipWithError("metadata");
    }
    benchmark::DoNotOptimize(encoded.data());
  }
  Count(state, group);
}
BENCHMARK_CAPTURE(Metadata, encode, false);
BENCHMARK_CAPTURE(Metadata, decode, true);

void GroupFilter(benchmark::State& state, const char* shape) {
  const Group group(shape);
  std::vector<uint64_t> keys;
  group.Encoded(&keys);
  std::string out;
  for (auto _ : state) {
    out.clear();
    if (!EncodeGroupFilter(keys, MetadataColumns(), &out).ok())
      return state.SkipWithError("filter");
  }
  Count(state, group);
  state.counters["bytes"] = static_cast<double>(out.size());
}
BENCHMARK_CAPTURE(GroupFilter, access, kAccess);
BENCHMARK_CAPTURE(GroupFilter, json, kJson);

// With the level that a push gives each entry.
void EncodeHeadPage(benchmark::State& state, const char* shape) {
  const Group group(shape);
  const LabelView level{"detected_level", "info"};
  std::vector<EntryView> entries;
  for (size_t i = 0; i < group.lines.size(); ++i) {
    entries.push_back({group.times[i], group.lines[i], LabelsView(&level, 1), 0});
  }
  std::string out;
  for (auto _ : state) {
    out.clear();
    EncodePage(entries, true, &out);
    benchmark::DoNotOptimize(out.data());
  }
  Count(state, group);
}
BENCHMARK_CAPTURE(EncodeHeadPage, access, kAccess);
BENCHMARK_CAPTURE(EncodeHeadPage, json, kJson);

/// Decodes a page, and collects what its filter should know.
void ReadHeadPage(benchmark::State& state, const char* shape, bool collect) {
  const Group group(shape);
  const std::string page = group.Page();
  Rows rows;
  std::vector<uint32_t> streams;
  PageKeyCollector collector;
  PageKeys keys;
  if (!DecodePage(page, &rows, &streams).ok()) return state.SkipWithError("does not decode");
  for (auto _ : state) {
    if (collect) {
      if (!collector.Collect(page, rows, &keys).ok()) return state.SkipWithError("interrupted");
      benchmark::DoNotOptimize(keys.keys.data());
    } else {
      benchmark::DoNotOptimize(DecodePage(page, &rows, &streams).ok());
    }
  }
  Count(state, group);
}
BENCHMARK_CAPTURE(ReadHeadPage, access, kAccess, false);
BENCHMARK_CAPTURE(ReadHeadPage, json, kJson, false);
BENCHMARK_CAPTURE(ReadHeadPage, access_keys, kAccess, true);
BENCHMARK_CAPTURE(ReadHeadPage, json_keys, kJson, true);

}  // namespace
}  // namespace varve::logs

BENCHMARK_MAIN();
