// The log as its callers see it when nothing goes wrong.

#include "engine/wal/wal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "engine/base/strings.h"
#include "tests/wal/wal_testing.h"

namespace varve::wal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Wal, AnEmptyLogReplaysNothing) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  ASSERT_TRUE(log.status.ok()) << log.status;
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_TRUE(log.report.clean());
  EXPECT_EQ(log.wal->appended_lsn(), 0u);
  EXPECT_TRUE(log.wal->Sync().ok());
  EXPECT_EQ(log.wal->syncs(), 0u);
}

TEST(Wal, ReplaysWhatWasAppended) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    EXPECT_EQ(MustAppend(*log.wal, "one", 1), 1u);
    const std::string_view pieces[] = {"t", "", "wo", "!"};
    EXPECT_EQ(*log.wal->Append(2, pieces), 2u);
    EXPECT_EQ(MustAppend(*log.wal, "", 255), 3u);
    EXPECT_EQ(MustAppend(*log.wal, std::string("\0\0\0\0\0\0\0\0", 8), 3), 4u);
    EXPECT_TRUE(log.wal->Close().ok());
    EXPECT_EQ(log.wal->Append(1, "late").status().code(), StatusCode::kFailedPrecondition);
  }
  for (int round = 0; round < 3; ++round) {
    Opened log = OpenLog(fs);
    EXPECT_TRUE(log.report.clean());
    EXPECT_EQ(log.report.tail_bytes_cut, 0u);
    EXPECT_EQ(log.report.records, 4u);
    EXPECT_EQ(log.report.payload_bytes, 3u + 4 + 8);
    EXPECT_THAT(log.entries, ElementsAre(Entry{1, 1, "one"}, Entry{2, 2, "two!"}, Entry{255, 3, ""},
                                         Entry{3, 4, std::string("\0\0\0\0\0\0\0\0", 8)}));
    // The empty segments of these sessions take the place of each other.
    EXPECT_THAT(*fs->List(kDir), SizeIs(2));
  }
}

TEST(Wal, GoesOnNumberingAfterReopen) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Lsn last = 0;
  for (int session = 0; session < 5; ++session) {
    Opened log = OpenLog(fs);
    EXPECT_EQ(log.entries.size(), static_cast<size_t>(session * 3));
    EXPECT_EQ(log.report.last_lsn, last);
    for (int i = 0; i < 3; ++i) {
      const Lsn lsn = MustAppend(*log.wal, Concat(session, ".", i));
      EXPECT_GT(lsn, last);
      last = lsn;
    }
    EXPECT_TRUE(log.wal->Sync().ok());
    EXPECT_TRUE(log.wal->Close().ok());
    last = log.wal->appended_lsn();
  }
}

TEST(Wal, RejectsTypeZeroAndHugePayloads) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  EXPECT_EQ(log.wal->Append(0, "x").status().code(), StatusCode::kInvalidArgument);
  const std::string half(kPayloadBytesMax / 2, 'x');
  const std::string_view pieces[] = {half, half, "!"};
  EXPECT_EQ(log.wal->Append(1, pieces).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(log.wal->WaitDurable(1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(log.wal->WaitWritten(1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(*log.wal->Append(1, std::span(pieces, 2)), 1u);
  EXPECT_TRUE(log.wal->Sync().ok());
  log.wal.reset();
  log = OpenLog(fs);
  ASSERT_THAT(log.entries, SizeIs(1));
  EXPECT_EQ(log.entries[0].payload, half + half);
}

TEST(Wal, RotateAndRemove) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  EXPECT_EQ(*log.wal->Rotate(), 1u) << "an empty segment is used as it is";
  MustAppend(*log.wal, "a");
  EXPECT_EQ(*log.wal->Rotate(), 2u);
  EXPECT_EQ(*log.wal->Rotate(), 2u);
  MustAppend(*log.wal, "b");
  const uint64_t floor = *log.wal->Rotate();
  EXPECT_EQ(floor, 3u);
  MustAppend(*log.wal, "c");
  EXPECT_THAT(*fs->List(kDir), ElementsAre("000001.wal", "000002.wal", "000003.wal"));
  const uint64_t before = log.wal->bytes();
  EXPECT_TRUE(log.wal->RemoveBefore(floor).ok());
  EXPECT_LT(log.wal->bytes(), before);
  EXPECT_THAT(*fs->List(kDir), ElementsAre("000003.wal"));
  // Never the segment that is open.
  EXPECT_TRUE(log.wal->RemoveBefore(99).ok());
  EXPECT_THAT(*fs->List(kDir), ElementsAre("000003.wal"));
  EXPECT_TRUE(log.wal->Close().ok());
  log.wal.reset();

  WalOptions options = TestOptions();
  options.first_segment = floor;
  log = OpenLog(fs, options);
  EXPECT_TRUE(log.report.clean());
  EXPECT_THAT(Payloads(log), ElementsAre("c"));
}

TEST(Wal, RotateMakesEverythingDurable) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  MustAppend(*log.wal, "a");
  MustAppend(*log.wal, "b");
  ASSERT_TRUE(log.wal->Rotate().ok());
  Opened after = OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 0));
  EXPECT_THAT(Payloads(after), ElementsAre("a", "b"));
  EXPECT_TRUE(after.report.clean());
}

TEST(Wal, SegmentsBelowTheFloorAreIgnoredAndRemoved) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  for (const char* payload : {"a", "b", "c"}) {
    MustAppend(*log.wal, payload);
    ASSERT_TRUE(log.wal->Rotate().ok());
  }
  log.wal.reset();
  WalOptions options = TestOptions();
  options.first_segment = 3;
  log = OpenLog(fs, options);
  EXPECT_THAT(Payloads(log), ElementsAre("c"));
  EXPECT_TRUE(log.report.clean());
  EXPECT_THAT(*fs->List(kDir), ElementsAre("000003.wal", "000004.wal"));
}

TEST(Wal, AFloorPastEverythingStartsThere) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  WalOptions options = TestOptions();
  options.first_segment = 7;
  Opened log = OpenLog(fs, options);
  MustAppend(*log.wal, "x");
  EXPECT_TRUE(log.wal->Sync().ok());
  EXPECT_THAT(*fs->List(kDir), ElementsAre("000007.wal"));
  EXPECT_TRUE(log.report.clean());
}

TEST(Wal, StartsSegmentsByItself) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  WalOptions options = TestOptions();
  options.segment_bytes_max = 1000;
  std::vector<std::string> expected;
  {
    Opened log = OpenLog(fs, options);
    for (int i = 0; i < 50; ++i) {
      expected.push_back(std::string(100, 'a') + std::to_string(i));
      MustAppend(*log.wal, expected.back());
      if (i % 7 == 0) {
        EXPECT_TRUE(log.wal->Sync().ok());
      }
    }
    expected.push_back(std::string(5000, 'z'));
    MustAppend(*log.wal, expected.back());
  }
  const std::vector<std::string> names = *fs->List(kDir);
  EXPECT_GT(names.size(), 7u);
  for (const std::string& name : names) {
    const uint64_t size = *fs->FileSize(io::JoinPath(kDir, name));
    EXPECT_TRUE(size <= 1000 + 32 || size > 5000) << size;
  }
  Opened log = OpenLog(fs, options);
  EXPECT_EQ(Payloads(log), expected);
  EXPECT_TRUE(log.report.clean());
}

TEST(Wal, ReadOnlyChangesNothing) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  WalOptions options = TestOptions();
  options.read_only = true;
  EXPECT_TRUE(OpenLog(fs, options).status.ok());
  EXPECT_THAT(fs->AllFiles(), IsEmpty());
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, "a");
    MustAppend(*log.wal, "b");
  }
  ASSERT_TRUE(fs->FlipBit("wal/metrics/000001.wal", 96 * 8).ok());
  const uint64_t operations = fs->operations();
  Opened log = OpenLog(fs, options);
  ASSERT_TRUE(log.status.ok());
  EXPECT_THAT(Payloads(log), ElementsAre("b"));
  EXPECT_THAT(log.report.damage, SizeIs(1));
  EXPECT_EQ(log.wal->Append(1, "x").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(log.wal->Rotate().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(log.wal->RemoveBefore(9).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(log.wal->Close().ok());
  EXPECT_EQ(fs->operations(), operations);
}

TEST(Wal, UnknownTypesAreSkippedOrRefused) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, "known", 1);
    MustAppend(*log.wal, "skippable", 2 | kSkippableBit);
    MustAppend(*log.wal, "known", 1);
  }
  const auto knows_one = [](uint8_t type, Lsn, std::string_view) {
    return type == 1 ? Status() : MakeStatus(StatusCode::kUnimplemented, "no such type");
  };
  WalReplayReport report;
  EXPECT_TRUE(Wal::Open(fs, kDir, TestOptions(), knows_one, &report).ok());
  EXPECT_EQ(report.records, 2u);
  EXPECT_EQ(report.records_skipped, 1u);
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, "required", 3);
  }
  EXPECT_EQ(Wal::Open(fs, kDir, TestOptions(), knows_one, &report).status().code(),
            StatusCode::kUnimplemented);
}

TEST(Wal, ReplayErrorsOfTheCaller) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    for (const char* payload : {"a", "bad", "c"}) MustAppend(*log.wal, payload);
  }
  std::vector<std::string> got;
  WalReplayReport report;
  const auto open = [&](StatusCode code) {
    got.clear();
    report = WalReplayReport();
    return Wal::Open(
               fs, kDir, TestOptions(),
               [&](uint8_t, Lsn, std::string_view payload) {
                 if (payload == "bad") return MakeStatus(code, "cannot decode");
                 got.emplace_back(payload);
                 return Status();
               },
               &report)
        .status();
  };
  EXPECT_TRUE(open(StatusCode::kDataLoss).ok());
  EXPECT_THAT(got, ElementsAre("a", "c"));
  ASSERT_THAT(report.damage, SizeIs(1));
  EXPECT_EQ(FilePlaceOf(report.damage[0])->file, "wal/metrics/000001.wal");
  EXPECT_EQ(FilePlaceOf(report.damage[0])->offset, 96u + 40);
  EXPECT_THAT(report.quarantined, ElementsAre("quarantine/metrics-000001.wal"));
  EXPECT_EQ(open(StatusCode::kResourceExhausted).code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(got, ElementsAre("a"));
}

TEST(Wal, GroupCommitSharesSyncs) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  fs->SetSyncDelay(std::chrono::milliseconds(2));
  Opened log = OpenLog(fs);
  constexpr int kThreads = 64;
  constexpr int kAppends = 200;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&log, t] {
      for (int i = 0; i < kAppends; ++i) {
        const Lsn lsn = MustAppend(*log.wal, Concat(t, ".", i));
        ASSERT_TRUE(log.wal->WaitDurable(lsn).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(log.wal->appends(), static_cast<uint64_t>(kThreads * kAppends));
  // At best one sync serves all threads: 200 of them. Two groups that take turns need twice that.
  EXPECT_LT(log.wal->syncs(), 1000u);
  RecordProperty("syncs", static_cast<int>(log.wal->syncs()));

  Opened after = OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 0));
  EXPECT_EQ(after.entries.size(), static_cast<size_t>(kThreads * kAppends));
  std::vector<int> next(kThreads, 0);
  for (const Entry& entry : after.entries) {
    const int thread = std::stoi(entry.payload);
    const int i = std::stoi(entry.payload.substr(entry.payload.find('.') + 1));
    EXPECT_EQ(i, next[thread]++) << "records of one thread out of order";
  }
}

TEST(Wal, NoDurableWaiterNoSync) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(log.wal->WaitWritten(MustAppend(*log.wal, NumberedPayload(i))).ok());
  }
  EXPECT_EQ(log.wal->syncs(), 0u);
  EXPECT_EQ(OpenLog(fs->Crash(io::CrashPolicy::kKeepAll, 0)).entries.size(), 100u);
  EXPECT_EQ(OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 0)).entries.size(), 0u);
}

TEST(Wal, AppendWritesByItselfWhenMuchWaits) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  for (int i = 0; i < 40; ++i) MustAppend(*log.wal, std::string(1 << 20, 'x'));
  EXPECT_GT(fs->bytes_used(), 20u << 20);
}

// Appends, waits of both kinds, rotation and removal from many threads; small enough for TSan.
TEST(Wal, StressWithRotation) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  fs->SetSyncDelay(std::chrono::microseconds(100));
  WalOptions options = TestOptions();
  options.segment_bytes_max = 20'000;
  Opened log = OpenLog(fs, options);
  constexpr int kThreads = 8;
  constexpr int kAppends = 150;
  std::atomic<bool> done = false;
  std::thread rotator([&] {
    while (!done) {
      EXPECT_TRUE(log.wal->Rotate().ok());
      EXPECT_TRUE(log.wal->RemoveBefore(1).ok());
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&log, t] {
      std::mt19937_64 random(t);
      for (int i = 0; i < kAppends; ++i) {
        const Lsn lsn = MustAppend(*log.wal, Concat(t, ".", i, NumberedPayload(random() % 50)));
        switch (random() % 3) {
          case 0:
            EXPECT_TRUE(log.wal->WaitWritten(lsn).ok());
            break;
          case 1:
            EXPECT_TRUE(log.wal->WaitDurable(lsn).ok());
            break;
          default:
            EXPECT_GE(log.wal->bytes() + log.wal->syncs() + log.wal->appended_lsn(), lsn);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  done = true;
  rotator.join();
  EXPECT_TRUE(log.wal->Sync().ok());
  Opened after = OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 0), options);
  EXPECT_EQ(after.entries.size(), static_cast<size_t>(kThreads * kAppends));
  EXPECT_TRUE(after.report.clean());
  for (size_t i = 0; i < after.entries.size(); ++i) EXPECT_EQ(after.entries[i].lsn, i + 1);
}

TEST(Wal, WorksOnTheRealFileSystem) {
  std::string dir = testing::TempDir() + "varve-wal-XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  auto fs = io::PosixFileSystem();
  WalOptions options;
  options.segment_bytes_max = 3 << 20;
  const auto open = [&](std::vector<std::string>* got, WalReplayReport* report) {
    auto wal = Wal::Open(
        fs, dir + "/wal", options,
        [got](uint8_t, Lsn, std::string_view payload) {
          got->emplace_back(payload);
          return Status();
        },
        report);
    EXPECT_TRUE(wal.ok()) << wal.status();
    return std::move(*wal);
  };
  std::vector<std::string> expected, got;
  WalReplayReport report;
  auto wal = open(&got, &report);
  for (int i = 0; i < 200; ++i) {
    expected.push_back(std::string(50'000, static_cast<char>('a' + i % 26)) + std::to_string(i));
    MustAppend(*wal, expected.back());
    if (i % 50 == 0) {
      EXPECT_TRUE(wal->Sync().ok());
    }
  }
  EXPECT_TRUE(wal->WaitWritten(200).ok());
  // Opened while the other one lives, as after kill -9: preallocated zeros are still there.
  WalReplayReport killed;
  WalOptions read_only = options;
  options.read_only = true;
  open(&got, &killed);
  EXPECT_EQ(got, expected);
  EXPECT_TRUE(killed.clean());
  options.read_only = false;
  EXPECT_TRUE(wal->Close().ok());
  got.clear();
  wal = open(&got, &report);
  EXPECT_EQ(got, expected);
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.tail_bytes_cut, 0u);
  wal.reset();
  EXPECT_TRUE(fs->RemoveAll(dir).ok());
}

}  // namespace
}  // namespace varve::wal
