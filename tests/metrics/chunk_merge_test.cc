#include "engine/metrics/chunk_merge.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace varve::metrics {
namespace {

Chunk Floats(std::vector<int64_t> times, double value) {
  SampleRun run;
  run.times = std::move(times);
  for (size_t i = 0; i < run.times.size(); ++i) run.values.push_back(value);
  return MakeChunk(std::move(run));
}

/// Decodes all chunks, checking that they are in order and disjoint.
std::map<int64_t, double> Flatten(const std::vector<Chunk>& chunks) {
  std::map<int64_t, double> out;
  int64_t last = kMinTime;
  for (const Chunk& chunk : chunks) {
    SampleRun run;
    EXPECT_TRUE(DecodeChunk(chunk, &run).ok());
    EXPECT_EQ(run.size(), chunk.count);
    EXPECT_EQ(run.times.front(), chunk.min_time_ms);
    EXPECT_EQ(run.times.back(), chunk.max_time_ms);
    for (size_t i = 0; i < run.size(); ++i) {
      EXPECT_GT(run.times[i], last);
      last = run.times[i];
      out[last] = chunk.kind == ChunkKind::kFloat ? run.values[i] : run.histograms[i].sum;
    }
  }
  return out;
}

TEST(MergeChunks, PassesDisjointChunksThrough) {
  const Chunk a = Floats({1, 2, 3}, 1);
  const Chunk b = Floats({4, 5}, 2);
  std::vector<Chunk> out;
  ASSERT_TRUE(MergeChunks({{b}, {a}}, &out).ok());
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].impl, a.impl);
  EXPECT_EQ(out[1].impl, b.impl);
}

TEST(MergeChunks, TheEarlierSourceWins) {
  std::vector<Chunk> out;
  ASSERT_TRUE(MergeChunks({{Floats({1, 3, 5}, 1)}, {Floats({2, 3, 4}, 2)}}, &out).ok());
  EXPECT_EQ(Flatten(out), (std::map<int64_t, double>{{1, 1}, {2, 2}, {3, 1}, {4, 2}, {5, 1}}));
}

TEST(MergeChunks, SplitsWhereTheKindChanges) {
  SampleRun run;
  run.kind = ChunkKind::kHistogram;
  run.times = {2, 3};
  run.histograms.resize(2);
  run.histograms[0].sum = 20;
  run.histograms[0].reset_hint = CounterResetHint::kNotReset;
  run.histograms[1].sum = 30;
  run.histograms[1].reset_hint = CounterResetHint::kGauge;
  std::vector<Chunk> out;
  ASSERT_TRUE(MergeChunks({{Floats({1, 4}, 1)}, {MakeChunk(run)}}, &out).ok());
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[1].kind, ChunkKind::kHistogram);
  EXPECT_EQ(Flatten(out), (std::map<int64_t, double>{{1, 1}, {2, 20}, {3, 30}, {4, 1}}));
  std::vector<Histogram> histograms;
  ASSERT_TRUE(out[1].DecodeHistograms(&histograms).ok());
  EXPECT_EQ(histograms[0].reset_hint, CounterResetHint::kUnknown);
  EXPECT_EQ(histograms[1].reset_hint, CounterResetHint::kGauge);
}

TEST(MergeChunks, EqualsAMapOnRandomSources) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::mt19937_64 random(seed);
    std::map<int64_t, double> model;
    std::vector<std::vector<Chunk>> sources;
    const size_t count = 1 + random() % 4;
    for (size_t s = 0; s < count; ++s) {
      std::vector<Chunk> chunks;
      int64_t time = static_cast<int64_t>(random() % 50);
      for (size_t c = 0; c < random() % 5; ++c) {
        std::vector<int64_t> times;
        for (size_t i = 0; i < 1 + random() % 6; ++i) {
          time += 1 + static_cast<int64_t>(random() % 10);
          times.push_back(time);
          model.emplace(time, static_cast<double>(s));
        }
        chunks.push_back(Floats(times, static_cast<double>(s)));
      }
      sources.push_back(std::move(chunks));
    }
    std::vector<Chunk> out;
    ASSERT_TRUE(MergeChunks(std::move(sources), &out).ok());
    EXPECT_EQ(Flatten(out), model) << "seed " << seed;
  }
}

TEST(CutChunks, RemovesExactlyTheRanges) {
  std::vector<Chunk> chunks = {Floats({1, 2, 3}, 1), Floats({4, 5, 6}, 1), Floats({7, 8}, 1)};
  const auto untouched = chunks[2].impl;
  ASSERT_TRUE(CutChunks({{2, 4}, {6, 6}}, &chunks).ok());
  EXPECT_EQ(Flatten(chunks), (std::map<int64_t, double>{{1, 1}, {5, 1}, {7, 1}, {8, 1}}));
  EXPECT_EQ(chunks.back().impl, untouched);
  ASSERT_TRUE(CutChunks({{kMinTime, kMaxTime}}, &chunks).ok());
  EXPECT_TRUE(chunks.empty());
}

TEST(DecodeChunk, KeepsOnlyTheAskedRange) {
  SampleRun run;
  run.times = {1, 2, 3, 4};
  run.values = {10, 20, 30, 40};
  run.starts = {0, 0, 1, 0};
  const Chunk chunk = MakeChunk(run);
  EXPECT_TRUE(chunk.has(kChunkHasStartTimes));
  EXPECT_TRUE(chunk.has(kChunkNonDecreasing));
  SampleRun out;
  ASSERT_TRUE(DecodeChunk(chunk, &out, {2, 3}).ok());
  EXPECT_EQ(out.times, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(out.values, (std::vector<double>{20, 30}));
  EXPECT_EQ(out.starts, (std::vector<int64_t>{0, 1}));
}

TEST(FlagsOf, TellsWhatHolds) {
  const double nan = std::bit_cast<double>(kNormalNanBits);
  EXPECT_EQ(FlagsOf({1, 1}) & kChunkConstant, kChunkConstant);
  EXPECT_EQ(FlagsOf({0.0, -0.0}) & kChunkConstant, 0u);
  EXPECT_EQ(FlagsOf({2, 1}) & kChunkNonDecreasing, 0u);
  EXPECT_EQ(FlagsOf({1, nan}) & (kChunkHasNoNan | kChunkNonDecreasing), 0u);
  EXPECT_EQ(FlagsOf({1, nan}) & kChunkHasNoStale, kChunkHasNoStale);
  EXPECT_EQ(FlagsOf({1, StaleNan()}) & kChunkHasNoStale, 0u);
}

}  // namespace
}  // namespace varve::metrics
