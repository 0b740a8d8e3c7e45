#include "engine/codec/histogram_codec.h"

#include <gtest/gtest.h>

#include "tests/codec/random_data.h"

namespace varve::codec {
namespace {

using varve::testing::RandomData;

TEST(HistogramCodec, RoundTripsEveryKind) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomData data(seed);
    const size_t count = 1 + data.Below(40);
    const auto times = data.Times(count, static_cast<int>(data.Below(RandomData::kTimeShapes)));
    HistogramChunk chunk;
    std::vector<Histogram> expected;
    for (size_t i = 0; i < count; ++i) {
      expected.push_back(data.Draw(i == 0 ? nullptr : &expected.back()));
      chunk.Append(times[i], expected.back());
    }
    std::vector<int64_t> got_times(count);
    std::vector<Histogram> got;
    ASSERT_TRUE(DecodeHistogramChunk(chunk.bytes(), got_times, &got)) << "seed " << seed;
    EXPECT_EQ(got_times, times);
    ASSERT_EQ(got.size(), count);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_TRUE(BitEqual(got[i], expected[i])) << "seed " << seed << " at " << i;
    }
    const size_t half = count / 2;
    got_times.resize(half);
    EXPECT_TRUE(DecodeHistogramChunk(chunk.bytes(), got_times, &got));
    EXPECT_EQ(got.size(), half);
  }
}

TEST(HistogramCodec, SharesTheLayout) {
  Histogram h;
  h.positive_spans = {{0, 8}};
  h.positive_deltas = {5, 0, 0, 0, 0, 0, 0, 0};
  h.count = 40;
  std::string first;
  PutHistogram(nullptr, h, &first);
  std::string second;
  PutHistogram(&h, h, &second);
  EXPECT_EQ(second.size(), 1u + 3u + 8u);
  EXPECT_GT(first.size(), second.size());
}

TEST(HistogramCodec, RefusesHostileBytes) {
  RandomData data(3);
  HistogramChunk chunk;
  for (int i = 0; i < 20; ++i) {
    chunk.Append(i * 1000, data.Draw(i == 0 ? nullptr : &chunk.last()));
  }
  const std::string whole(chunk.bytes());
  std::vector<int64_t> times(20);
  std::vector<Histogram> out;
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(DecodeHistogramChunk(std::string_view(whole).substr(0, cut), times, &out));
  }
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = whole;
    for (int k = 0; k < 3; ++k) bytes[data.Below(bytes.size())] = static_cast<char>(data.Word());
    (void)DecodeHistogramChunk(bytes, times, &out);
  }
}

TEST(HistogramColumn, RoundTripsAndRefusesHostileBytes) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    RandomData data(seed);
    std::vector<Histogram> expected;
    const auto count = static_cast<uint32_t>(1 + data.Below(120));
    for (uint32_t i = 0; i < count; ++i) {
      expected.push_back(data.Draw(i == 0 ? nullptr : &expected.back()));
    }
    std::string bytes;
    ASSERT_TRUE(PutHistogramColumn(expected, &bytes));
    std::vector<Histogram> got;
    ASSERT_TRUE(DecodeHistogramColumn(bytes, count, &got)) << "seed " << seed;
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(BitEqual(got[i], expected[i]));
    EXPECT_FALSE(DecodeHistogramColumn(bytes, count + 1, &got));
    for (int i = 0; i < 50; ++i) {
      std::string bad = bytes.substr(0, data.Below(bytes.size() + 1));
      for (int k = 0; k < 2 && !bad.empty(); ++k) {
        bad[data.Below(bad.size())] = static_cast<char>(data.Word());
      }
      (void)DecodeHistogramColumn(bad, count, &got);
    }
  }
  // A frame that claims more than any column may hold.
  std::string bomb("\x01\xff\xff\xff\xff\x7f", 6);
  std::vector<Histogram> got;
  EXPECT_FALSE(DecodeHistogramColumn(bomb, 1, &got));
}

}  // namespace
}  // namespace varve::codec
