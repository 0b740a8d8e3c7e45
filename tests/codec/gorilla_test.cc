#include "engine/codec/gorilla.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "tests/codec/random_data.h"

namespace varve::codec {
namespace {

using varve::testing::RandomData;
using varve::testing::SameBits;

void ExpectRoundTrip(const std::vector<int64_t>& times, const std::vector<double>& values,
                     const std::string& what) {
  GorillaChunk chunk;
  // What a reader copied after the first half of the samples must decode to them for ever.
  std::string early;
  for (size_t i = 0; i < times.size(); ++i) {
    chunk.Append(times[i], values[i]);
    if (i == times.size() / 2) early.assign(chunk.bytes());
  }
  ASSERT_EQ(chunk.count(), times.size());
  for (const bool first_half : {true, false}) {
    const size_t n = first_half ? times.size() / 2 + 1 : times.size();
    for (const std::string& bytes : {early, std::string(chunk.bytes())}) {
      if (!first_half && bytes == early && early.size() != chunk.bytes().size()) continue;
      std::vector<int64_t> got_times(n);
      std::vector<double> got_values(n);
      ASSERT_TRUE(DecodeGorilla(bytes, got_times, got_values)) << what;
      for (size_t i = 0; i < n; ++i) {
        ASSERT_EQ(got_times[i], times[i]) << what << " at " << i;
        ASSERT_TRUE(SameBits(got_values[i], values[i])) << what << " at " << i;
      }
    }
  }
}

TEST(Gorilla, RoundTripsEveryShape) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    RandomData data(seed);
    for (int shape = 0; shape < RandomData::kShapes; ++shape) {
      const size_t count = 1 + data.Below(seed % 3 == 0 ? 3 : 300);
      const int time_shape = static_cast<int>(data.Below(RandomData::kTimeShapes));
      ExpectRoundTrip(data.Times(count, time_shape), data.Values(count, shape),
                      "seed " + std::to_string(seed) + " shape " + std::to_string(shape));
    }
  }
}

TEST(Gorilla, TakesTimesInAnyOrder) {
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  ExpectRoundTrip({kMax, kMin, kMax, 0, -1, 1, kMin, kMin, kMax}, {1, 2, 3, 4, 5, 6, 7, 8, 9},
                  "extreme times");
}

TEST(Gorilla, IsSmall) {
  EXPECT_LE(sizeof(GorillaChunk), 48u);
  GorillaChunk idle;
  for (int i = 0; i < 480; ++i) idle.Append(1795186962624 + i * 15000, 7);
  EXPECT_LE(idle.bytes().size(), 75u);
  GorillaChunk counter;
  for (int i = 0; i < 480; ++i) counter.Append(1795186962624 + i * 15000, 3.0 * i + i % 2);
  EXPECT_LE(counter.bytes().size(), 480u);
  GorillaChunk first;
  first.Append(1795186962624, 1);
  EXPECT_LE(first.heap_bytes(), 16u);
}

TEST(Gorilla, RefusesHostileBytes) {
  RandomData data(7);
  GorillaChunk chunk;
  const auto times = data.Times(100, 1);
  const auto values = data.Values(100, 10);
  for (size_t i = 0; i < times.size(); ++i) chunk.Append(times[i], values[i]);
  const std::string whole(chunk.bytes());
  std::vector<int64_t> out_times(100);
  std::vector<double> out_values(100);
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(DecodeGorilla(std::string_view(whole).substr(0, cut), out_times, out_values));
  }
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(data.Below(80), '\0');
    for (char& c : bytes) c = static_cast<char>(data.Word());
    (void)DecodeGorilla(bytes, out_times, out_values);
  }
  std::vector<int64_t> many(1000000);
  std::vector<double> many_values(1000000);
  EXPECT_FALSE(DecodeGorilla(std::string(100, '\0'), many, many_values));
}

}  // namespace
}  // namespace varve::codec
