// Flips every bit of every file of a small database: each flip is repaired, or named, or the file
// is quarantined, or the query fails. Never a crash, never silently another answer.

#include <gtest/gtest.h>

#include <cstdio>

#include "engine/base/strings.h"
#include "tests/db/db_testing.h"

namespace varve::db_testing {
namespace {

TEST(Damage, EveryBitFlipIsNoticedOrHarmless) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Options options = TestOptions(fs);
  {
    auto db = MustOpen(options);
    for (int t = 0; t < 6; ++t) {
      WriteBatch batch;
      for (int i = 0; i < 2; ++i) {
        batch.AddSample(batch.AddSeries(Series(i)), 1000 + t * 1000 + i, t * 1.5);
      }
      ASSERT_TRUE(db->Append(batch).ok());
      if (t == 3) {
        ASSERT_TRUE(db->Flush().ok());
      }
    }
    ASSERT_TRUE(db->Close().ok());
  }
  Contents expected;
  {
    auto db = MustOpen(TestOptions(fs->Crash(io::CrashPolicy::kKeepAll, 1)));
    expected = MustReadAll(*db);
  }
  ASSERT_EQ(expected.size(), 2u);
  uint64_t flips = 0, harmless = 0, reported = 0, failed = 0;
  for (const std::string& path : fs->AllFiles()) {
    if (path.ends_with("LOCK")) continue;
    const uint64_t size = *fs->FileSize(path);
    for (uint64_t bit = 0; bit < size * 8; ++bit) {
      auto copy = fs->Crash(io::CrashPolicy::kKeepAll, 1);
      ASSERT_TRUE(copy->FlipBit(path, bit).ok());
      ++flips;
      auto db = Database::Open(TestOptions(copy));
      ASSERT_TRUE(db.ok()) << path << " bit " << bit << ": " << db.status();
      auto snapshot = (*db)->TakeSnapshot();
      ASSERT_TRUE(snapshot.ok());
      const auto found = ReadAll(**snapshot);
      const bool said = !(*db)->recovery().clean();
      if (!found.ok()) {
        ++failed;
        EXPECT_EQ(found.status().code(), StatusCode::kDataLoss) << found.status();
        EXPECT_TRUE(FilePlaceOf(found.status()).has_value()) << found.status();
      } else if (*found == expected) {
        ++harmless;
        if (said) ++reported;
      } else {
        ++reported;
        ASSERT_TRUE(said) << path << " bit " << bit << ": another answer, and nothing said";
        // What is left is part of what was there: damage takes away, it never invents.
        for (const auto& [labels, samples] : *found) {
          const auto series = expected.find(labels);
          ASSERT_NE(series, expected.end()) << path << " bit " << bit;
          for (const auto& [time, bits] : samples) {
            const auto sample = series->second.find(time);
            ASSERT_TRUE(sample != series->second.end() && sample->second == bits)
                << path << " bit " << bit;
          }
        }
      }
    }
  }
  std::printf("%llu flips: %llu answered the same, %llu reported, %llu failed the query\n",
              static_cast<unsigned long long>(flips), static_cast<unsigned long long>(harmless),
              static_cast<unsigned long long>(reported), static_cast<unsigned long long>(failed));
  EXPECT_GT(flips, 5000u);
  EXPECT_GT(reported, 0u);
}

TEST(Damage, TruncatedAndForeignFilesAreNamed) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    auto db = MustOpen(TestOptions(fs));
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(Series(1)), 1000, 1);
    ASSERT_TRUE(db->Append(batch).ok());
    ASSERT_TRUE(db->Flush().ok());
    ASSERT_TRUE(db->Close().ok());
  }
  std::string block_path;
  for (const std::string& path : fs->AllFiles()) {
    if (path.ends_with(".varve")) block_path = path;
  }
  ASSERT_FALSE(block_path.empty());
  const std::string bytes = *fs->ReadFile(block_path, 1 << 20);
  for (size_t size = 0; size < bytes.size(); size += 7) {
    auto copy = fs->Crash(io::CrashPolicy::kKeepAll, 1);
    ASSERT_TRUE(copy->Put(block_path, std::string_view(bytes).substr(0, size)).ok());
    auto db = Database::Open(TestOptions(copy));
    ASSERT_TRUE(db.ok()) << size << ": " << db.status();
    EXPECT_FALSE((*db)->recovery().clean()) << size;
    EXPECT_EQ((*db)->recovery().quarantined.size(), 1u) << size;
    EXPECT_TRUE(MustReadAll(**db).empty());
  }
  auto copy = fs->Crash(io::CrashPolicy::kKeepAll, 1);
  ASSERT_TRUE(copy->Remove(block_path).ok());
  auto db = MustOpen(TestOptions(copy));
  EXPECT_FALSE(db->recovery().clean());
}

}  // namespace
}  // namespace varve::db_testing
