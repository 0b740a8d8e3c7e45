// The bytes of format version 1: today's writer makes them, today's reader reads them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/golden.h"
#include "tests/wal/wal_testing.h"

namespace varve::wal {
namespace {

using ::testing::ElementsAre;

constexpr char kFirst[] = "wal/metrics/000001.wal";
constexpr char kSecond[] = "wal/metrics/000002.wal";

TEST(WalGolden, Version1) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  WalOptions options = TestOptions();
  options.fixed_tag = 0x1122334455667700;
  {
    Opened log = OpenLog(fs, options);
    ASSERT_TRUE(log.status.ok());
    ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "hello", 1)).ok());
    MustAppend(*log.wal, "skippable", 2 | kSkippableBit);
    MustAppend(*log.wal, "", 3);
    ASSERT_TRUE(log.wal->Rotate().ok());
    MustAppend(*log.wal, "in the second segment", 1);
    ASSERT_TRUE(log.wal->Close().ok());
  }
  auto old = std::make_shared<io::MemoryFileSystem>();
  for (const auto& [path, golden] : {std::pair(kFirst, "tests/wal/golden/v1-000001.hex"),
                                     std::pair(kSecond, "tests/wal/golden/v1-000002.hex")}) {
    ASSERT_TRUE(
        old->Put(path, testing_golden::CheckGolden(golden, *fs->ReadFile(path, 1 << 20))).ok());
  }
  Opened log = OpenLog(old);
  EXPECT_TRUE(log.report.clean());
  EXPECT_EQ(log.report.tail_bytes_cut, 0u);
  EXPECT_THAT(log.entries,
              ElementsAre(Entry{1, 1, "hello"}, Entry{2 | kSkippableBit, 2, "skippable"},
                          Entry{3, 3, ""}, Entry{1, 4, "in the second segment"}));
  EXPECT_EQ(log.report.last_lsn, 5u) << "the closing mark is a record too";
}

TEST(WalGolden, TheFormatPageQuotesIt) {
  testing_golden::CheckDocument("engine/docs/format/wal.md", {"tests/wal/golden/v1-000001.hex"});
}

}  // namespace
}  // namespace varve::wal
