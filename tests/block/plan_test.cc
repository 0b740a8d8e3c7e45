#include "engine/block/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace varve::block {
namespace {

constexpr int64_t kHour = 3600 * 1000;
const PlanOptions kOptions{.block_range = 2 * kHour, .levels = 3, .early_merge_blocks = 4};

PlanBlock Block(uint64_t id, int64_t begin_h, int64_t end_h, uint64_t order = 0) {
  PlanBlock block;
  block.id = id;
  block.order = order == 0 ? id : order;
  block.range = {begin_h * kHour, end_h * kHour - 1};
  block.bytes = 100;
  return block;
}

TEST(Windows, AreAlignedAlsoBeforeTheEpoch) {
  EXPECT_EQ(WindowOf(0, 0, kOptions), 0);
  EXPECT_EQ(WindowOf(-1, 0, kOptions), -1);
  EXPECT_EQ(WindowOf(2 * kHour, 0, kOptions), 1);
  EXPECT_EQ(WindowOf(5 * kHour, 1, kOptions), 0);
  EXPECT_EQ(WindowRange(-1, 0, kOptions), (TimeSpan{-2 * kHour, -1}));
}

TEST(Windows, HoldTheEndsOfTime) {
  for (const int64_t time :
       {INT64_MIN, INT64_MIN + 1, int64_t{-1}, int64_t{0}, INT64_MAX - 1, INT64_MAX}) {
    for (uint32_t level = 0; level < 3; ++level) {
      const TimeSpan range = WindowRange(WindowOf(time, level, kOptions), level, kOptions);
      EXPECT_TRUE(range.Contains(time)) << time << " level " << level;
    }
  }
}

TEST(PlanSeal, OneBlockAWindow) {
  const auto ranges = PlanSeal({0, 1, 7}, kOptions);
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0], (TimeSpan{0, 2 * kHour - 1}));
  EXPECT_EQ(ranges[2], (TimeSpan{14 * kHour, 16 * kHour - 1}));
}

TEST(PlanSeal, CoarsensWhenSamplesAreStrewn) {
  std::set<int64_t> windows;
  for (int64_t i = -5000; i < 5000; ++i) windows.insert(i * 977);
  windows.insert(WindowOf(INT64_MAX, 0, kOptions));
  windows.insert(WindowOf(INT64_MIN, 0, kOptions));
  const auto ranges = PlanSeal(windows, kOptions, 16);
  ASSERT_LE(ranges.size(), 16u);
  for (size_t i = 1; i < ranges.size(); ++i) EXPECT_LT(ranges[i - 1].max, ranges[i].min);
  for (const int64_t window : windows) {
    const int64_t time = WindowRange(window, 0, kOptions).max;
    EXPECT_TRUE(std::any_of(ranges.begin(), ranges.end(), [time](const TimeSpan& r) {
      return r.Contains(time);
    })) << window;
  }
}

TEST(PlanCompaction, MergesAClosedWindowInOrder) {
  const std::vector<PlanBlock> blocks = {Block(3, 0, 1), Block(1, 0, 2, 9), Block(2, 1, 2)};
  const auto plan = PlanCompaction(blocks, 2 * kHour, kOptions, false);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(*plan, (std::vector<uint64_t>{2, 3, 1}));
}

TEST(PlanCompaction, LeavesAnOpenWindowUntilThereAreMany) {
  std::vector<PlanBlock> blocks = {Block(1, 0, 1), Block(2, 0, 1), Block(3, 0, 1)};
  EXPECT_FALSE(PlanCompaction(blocks, kHour, kOptions, false).has_value());
  EXPECT_TRUE(PlanCompaction(blocks, kHour, kOptions, true).has_value());
  blocks.push_back(Block(4, 0, 1));
  EXPECT_TRUE(PlanCompaction(blocks, kHour, kOptions, false).has_value());
}

TEST(PlanCompaction, TieredEarlyMergesLeaveLargeBlocksAlone) {
  PlanOptions options = kOptions;
  options.tiered_early_merges = true;
  std::vector<PlanBlock> blocks;
  uint64_t written = 0;
  uint64_t next = 1;
  for (int sealed = 0; sealed < 256; ++sealed) {
    blocks.push_back(Block(next++, 0, 2));
    while (const auto plan = PlanCompaction(blocks, 0, options, false)) {
      ASSERT_EQ(plan->size(), 4u);
      PlanBlock merged = Block(next++, 0, 2, UINT64_MAX);
      merged.bytes = 0;
      std::vector<uint64_t> orders;
      for (const PlanBlock& block : blocks) orders.push_back(block.order);
      std::sort(orders.begin(), orders.end());
      std::vector<size_t> places;
      for (const uint64_t id : *plan) {
        const auto at = std::find_if(blocks.begin(), blocks.end(),
                                     [id](const PlanBlock& block) { return block.id == id; });
        ASSERT_NE(at, blocks.end());
        places.push_back(static_cast<size_t>(std::find(orders.begin(), orders.end(), at->order) -
                                             orders.begin()));
        merged.bytes += at->bytes;
        merged.order = std::min(merged.order, at->order);
        blocks.erase(at);
      }
      // Neighbours only: precedence stays an order.
      for (size_t i = 1; i < places.size(); ++i) ASSERT_EQ(places[i], places[i - 1] + 1);
      written += merged.bytes;
      blocks.push_back(merged);
    }
  }
  EXPECT_LE(written, 256u * 100 * 5) << "each row is rewritten four or five times at most";
  EXPECT_LE(blocks.size(), 16u);
  EXPECT_TRUE(PlanCompaction(blocks, kHour * 10, options, false).has_value()) << "closed: all";
}

TEST(PlanCompaction, MergesNeighboursIntoTheNextLevel) {
  const std::vector<PlanBlock> blocks = {Block(1, 0, 2), Block(2, 2, 4), Block(3, 4, 6)};
  EXPECT_FALSE(PlanCompaction(blocks, 5 * kHour, kOptions, false).has_value());
  const auto plan = PlanCompaction(blocks, 6 * kHour, kOptions, false);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->size(), 3u);
}

TEST(PlanCompaction, MergesALargeWindowAtOnce) {
  std::vector<PlanBlock> blocks;
  for (uint64_t id = 1; id <= 9; ++id) {
    const auto begin = static_cast<int64_t>(id - 1) / 2 * 2;
    blocks.push_back(Block(id, begin, begin + 2));
  }
  const auto plan = PlanCompaction(blocks, 18 * kHour, kOptions, false);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->size(), 9u) << "18 h are closed";
  const auto part = PlanCompaction(blocks, 6 * kHour, kOptions, false);
  EXPECT_EQ(part, (std::vector<uint64_t>{1, 2, 3, 4, 5, 6})) << "6 h are closed";
  blocks[0].damaged = true;
  const auto rest = PlanCompaction(blocks, 18 * kHour, kOptions, false);
  EXPECT_EQ(rest, (std::vector<uint64_t>{7, 8, 9})) << "without the part that is damaged";
}

TEST(PlanCompaction, ALateBlockJoinsTheLargeOneItOverlaps) {
  // Block 9 came late into the time that block 8 (6 h) covers already.
  const std::vector<PlanBlock> blocks = {Block(8, 0, 6, 1), Block(9, 2, 4), Block(10, 2, 4)};
  const auto plan = PlanCompaction(blocks, 100 * kHour, kOptions, false);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(*plan, (std::vector<uint64_t>{8, 9, 10}));
}

TEST(PlanCompaction, LeavesDamagedBlocksAndRewritesTombstones) {
  std::vector<PlanBlock> blocks = {Block(1, 0, 2), Block(2, 0, 2)};
  blocks[0].damaged = true;
  EXPECT_FALSE(PlanCompaction(blocks, 100 * kHour, kOptions, true).has_value());
  std::vector<PlanBlock> one = {Block(1, 0, 2)};
  EXPECT_FALSE(PlanCompaction(one, 100 * kHour, kOptions, true).has_value());
  one[0].has_tombstones = true;
  EXPECT_EQ(PlanCompaction(one, 0, kOptions, false), (std::vector<uint64_t>{1}));
}

TEST(PlanCompaction, AlwaysEnds) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    std::vector<PlanBlock> blocks;
    uint64_t id = 1;
    for (int i = 0; i < 30; ++i) {
      const int64_t begin = static_cast<int64_t>(random() % 100);
      blocks.push_back(Block(id++, begin, begin + 1 + static_cast<int64_t>(random() % 8)));
    }
    int steps = 0;
    while (const auto plan = PlanCompaction(blocks, INT64_MAX, kOptions, true)) {
      ASSERT_LT(++steps, 100);
      PlanBlock merged = Block(id++, 0, 1);
      merged.range = {INT64_MAX, INT64_MIN};
      merged.order = UINT64_MAX;
      std::erase_if(blocks, [&](const PlanBlock& block) {
        if (std::find(plan->begin(), plan->end(), block.id) == plan->end()) return false;
        merged.range.min = std::min(merged.range.min, block.range.min);
        merged.range.max = std::max(merged.range.max, block.range.max);
        merged.order = std::min(merged.order, block.order);
        return true;
      });
      blocks.push_back(merged);
    }
  }
}

TEST(PlanRetention, ByTimeAndBySize) {
  const std::vector<PlanBlock> blocks = {Block(3, 4, 6), Block(1, 0, 2), Block(2, 2, 4)};
  EXPECT_TRUE(PlanRetention(blocks, INT64_MIN, 0, 0).empty());
  EXPECT_EQ(PlanRetention(blocks, 3 * kHour, 0, 0), (std::vector<uint64_t>{1}));
  EXPECT_EQ(PlanRetention(blocks, INT64_MIN, 250, 0), (std::vector<uint64_t>{1}));
  EXPECT_EQ(PlanRetention(blocks, INT64_MIN, 250, 100), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(PlanRetention(blocks, 100 * kHour, 0, 0).size(), 3u);
}

}  // namespace
}  // namespace varve::block
