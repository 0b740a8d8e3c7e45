#include "engine/index/filters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/base/hash.h"
#include "engine/base/strings.h"

namespace varve::index {
namespace {

using ::testing::HasSubstr;

std::vector<uint64_t> Keys(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint64_t> out(count);
  for (uint64_t& key : out) key = Hash64(std::to_string(random()));
  return out;
}

template <typename Filter>
double FalsePositives(const Filter& filter, size_t tries) {
  std::mt19937_64 random(99);
  size_t hits = 0;
  for (size_t i = 0; i < tries; ++i) hits += filter.MayContain(random()) ? 1 : 0;
  return static_cast<double>(hits) / static_cast<double>(tries);
}

TEST(BlockedBloom, NeverForgetsAndRarelyErrs) {
  struct Case {
    double bits;
    double worst;
  };
  for (const Case& c : {Case{8, 0.035}, Case{10, 0.016}, Case{12, 0.008}, Case{16, 0.0025}}) {
    for (const size_t count : {size_t{1}, size_t{100}, size_t{20000}}) {
      BlockedBloom filter(count, c.bits);
      const std::vector<uint64_t> keys = Keys(count, count);
      for (const uint64_t key : keys) filter.Add(key);
      std::string bytes;
      filter.AppendTo(&bytes);
      const auto parsed = BlockedBloom::Parse(bytes);
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      for (const uint64_t key : keys) {
        ASSERT_TRUE(filter.MayContain(key));
        ASSERT_TRUE(parsed->MayContain(key));
      }
      if (count == 20000) {
        EXPECT_LT(FalsePositives(filter, 200000), c.worst) << c.bits;
        EXPECT_LE(static_cast<double>(filter.bytes()), count * c.bits / 8 + 32);
      }
    }
  }
}

TEST(BlockedBloom, Merges) {
  BlockedBloom a(1000);
  BlockedBloom b(1000);
  const std::vector<uint64_t> keys = Keys(1000, 5);
  for (size_t i = 0; i < keys.size(); ++i) (i % 2 == 0 ? a : b).Add(keys[i]);
  a.Merge(b);
  for (const uint64_t key : keys) EXPECT_TRUE(a.MayContain(key));
}

TEST(BinaryFuse, NeverForgetsAndRarelyErrs) {
  for (const int bits : {8, 12, 16}) {
    for (const size_t count : {size_t{0}, size_t{1}, size_t{2}, size_t{3}, size_t{10}, size_t{77},
                               size_t{1000}, size_t{8000}, size_t{100000}}) {
      SCOPED_TRACE(Concat(bits, " bits, ", count, " keys"));
      std::vector<uint64_t> keys = Keys(count, count + 1);
      std::vector<uint64_t> twice = keys;
      twice.insert(twice.end(), keys.begin(), keys.end());
      const auto filter = BinaryFuse::Build(twice, bits);
      ASSERT_TRUE(filter.ok()) << filter.status();
      EXPECT_EQ(filter->keys(), count);
      std::string bytes;
      filter->AppendTo(&bytes);
      const auto parsed = BinaryFuse::Parse(bytes);
      ASSERT_TRUE(parsed.ok()) << parsed.status();
      for (const uint64_t key : keys) {
        ASSERT_TRUE(filter->MayContain(key));
        ASSERT_TRUE(parsed->MayContain(key));
      }
      const double expected = std::pow(2.0, -bits);
      const double seen = FalsePositives(*filter, 400000);
      EXPECT_LT(seen, expected * 1.25 + 2e-5);
      const double bits_a_key = static_cast<double>(bytes.size()) * 8 / static_cast<double>(count);
      EXPECT_TRUE(count != 8000 || bits_a_key < bits * 1.35) << bits_a_key;
      EXPECT_TRUE(count != 100000 || bits_a_key < bits * 1.25) << bits_a_key;
      std::string again;
      BinaryFuse::Build(keys, bits)->AppendTo(&again);
      EXPECT_EQ(again, bytes);
    }
  }
  EXPECT_EQ(BinaryFuse::Build({1}, 9).status().code(), StatusCode::kInvalidArgument);
}

TEST(BinaryFuse, HashesThatAreNotSpreadEvenly) {
  // The same first bits, the same last bits, and runs: with 0 among them, each twice, and once in
  // the opposite order, which gives the same filter.
  for (const int shift : {0, 24, 40}) {
    SCOPED_TRACE(shift);
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < 20000; ++i) keys.push_back(i << shift);
    std::vector<uint64_t> twice = keys;
    twice.insert(twice.end(), keys.begin(), keys.end());
    const auto filter = BinaryFuse::Build(twice, 8);
    ASSERT_TRUE(filter.ok()) << filter.status();
    EXPECT_EQ(filter->keys(), keys.size());
    for (const uint64_t key : keys) ASSERT_TRUE(filter->MayContain(key));
    EXPECT_LT(FalsePositives(*filter, 100000), 1.25 / 256);
    std::string bytes;
    filter->AppendTo(&bytes);
    std::reverse(twice.begin(), twice.end());
    std::string again;
    BinaryFuse::Build(twice, 8)->AppendTo(&again);
    EXPECT_EQ(again, bytes);
  }
}

TEST(BinaryFuse, BuildsManySmallFilters) {
  for (size_t count = 0; count < 600; ++count) {
    const std::vector<uint64_t> keys = Keys(count % 60, count);
    const auto filter = BinaryFuse::Build(keys, 12);
    ASSERT_TRUE(filter.ok());
    for (const uint64_t key : keys) ASSERT_TRUE(filter->MayContain(key));
  }
}

TEST(Filters, ParseRefusesDamage) {
  BlockedBloom bloom(100);
  std::string bloom_bytes;
  bloom.AppendTo(&bloom_bytes);
  std::string fuse_bytes;
  BinaryFuse::Build(Keys(100, 3), 12)->AppendTo(&fuse_bytes);
  for (size_t size = 0; size < bloom_bytes.size(); ++size) {
    ASSERT_EQ(BlockedBloom::Parse(std::string_view(bloom_bytes).substr(0, size)).status().code(),
              StatusCode::kDataLoss);
  }
  for (size_t size = 0; size < fuse_bytes.size(); ++size) {
    ASSERT_EQ(BinaryFuse::Parse(std::string_view(fuse_bytes).substr(0, size)).status().code(),
              StatusCode::kDataLoss);
  }
  EXPECT_FALSE(BlockedBloom::Parse(bloom_bytes + "x").ok());
  EXPECT_FALSE(BinaryFuse::Parse(fuse_bytes + "x").ok());
  // Flipped header bits are refused or give a filter that stays inside its bytes.
  for (size_t bit = 0; bit < 24 * 8; ++bit) {
    std::string damaged = fuse_bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const auto parsed = BinaryFuse::Parse(damaged);
    if (parsed.ok()) FalsePositives(*parsed, 1000);
    damaged = bloom_bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
    const auto other = BlockedBloom::Parse(damaged);
    if (other.ok()) FalsePositives(*other, 1000);
  }
  std::string wide = fuse_bytes;
  wide[4] = 13;
  EXPECT_THAT(std::string(BinaryFuse::Parse(wide).status().message()), HasSubstr("bad width"));
}

}  // namespace
}  // namespace varve::index
