// Full disks, failing syncs, damage.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>

#include "engine/base/strings.h"
#include "engine/io/record_log.h"
#include "tests/wal/wal_testing.h"

namespace varve::wal {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kFirst[] = "wal/metrics/000001.wal";

WalOptions NoPreallocation() {
  WalOptions options = TestOptions();
  options.preallocate_bytes = 0;
  return options;
}

TEST(WalFullDisk, RefusesAndResumesByItself) {
  for (const uint64_t preallocate : {uint64_t{0}, uint64_t{1} << 20}) {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    WalOptions options = TestOptions();
    options.preallocate_bytes = preallocate;
    Opened log = OpenLog(fs, options);
    MustAppend(*log.wal, "first");
    ASSERT_TRUE(log.wal->Sync().ok());
    fs->SetCapacity(fs->bytes_used() + 100);
    if (preallocate > 0) {
      // What was allocated ahead is used first.
      const Lsn big = MustAppend(*log.wal, std::string((1 << 20) - 300, 'x'));
      ASSERT_TRUE(log.wal->WaitDurable(big).ok());
    }
    const std::string payload(1000, 'y');
    const Lsn stuck = MustAppend(*log.wal, payload);
    EXPECT_EQ(log.wal->WaitWritten(stuck).code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(log.wal->WaitDurable(stuck).code(), StatusCode::kResourceExhausted);
    EXPECT_TRUE(log.wal->pending_on_full_disk());
    EXPECT_FALSE(log.wal->failed());
    // What was durable before still is.
    EXPECT_TRUE(log.wal->WaitDurable(stuck - 1).ok());
    EXPECT_EQ(log.wal->Append(1, "refused").status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(log.wal->appended_lsn(), stuck);
    EXPECT_EQ(log.wal->Rotate().status().code(), StatusCode::kResourceExhausted);

    fs->SetCapacity(io::kForever);
    const Lsn next = MustAppend(*log.wal, "next");
    EXPECT_EQ(next, stuck + 1);
    EXPECT_FALSE(log.wal->pending_on_full_disk());
    EXPECT_TRUE(log.wal->WaitDurable(next).ok());
    Opened after = OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 1), options);
    EXPECT_TRUE(after.report.clean());
    const std::vector<std::string> got = Payloads(after);
    EXPECT_EQ(got.front(), "first");
    EXPECT_EQ(got[got.size() - 2], payload);
    EXPECT_EQ(got.back(), "next");
  }
}

TEST(WalFullDisk, AWaiterAloneResumesToo) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs, NoPreallocation());
  fs->SetCapacity(fs->bytes_used());
  const Lsn lsn = MustAppend(*log.wal, "x");
  EXPECT_EQ(log.wal->WaitDurable(lsn).code(), StatusCode::kResourceExhausted);
  fs->SetCapacity(io::kForever);
  EXPECT_TRUE(log.wal->WaitDurable(lsn).ok());
  EXPECT_FALSE(log.wal->pending_on_full_disk());
}

TEST(WalFullDisk, WrittenRecordsBecomeDurableThoughLaterOnesDoNotFit) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs, NoPreallocation());
  const Lsn first = MustAppend(*log.wal, "fits");
  ASSERT_TRUE(log.wal->WaitWritten(first).ok());
  fs->SetCapacity(fs->bytes_used());
  const Lsn second = MustAppend(*log.wal, "does not");
  EXPECT_TRUE(log.wal->WaitDurable(first).ok());
  EXPECT_EQ(log.wal->WaitDurable(second).code(), StatusCode::kResourceExhausted);
}

TEST(WalFullDisk, OpensOnAFullDisk) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, "a");
  }
  fs->SetCapacity(fs->bytes_used());
  Opened log = OpenLog(fs, NoPreallocation());
  ASSERT_TRUE(log.status.ok()) << log.status;
  EXPECT_THAT(Payloads(log), ElementsAre("a"));
  EXPECT_EQ(log.wal->Append(1, "b").status().code(), StatusCode::kResourceExhausted);
  fs->SetCapacity(io::kForever);
  EXPECT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "b")).ok());
  log.wal.reset();
  EXPECT_THAT(Payloads(OpenLog(fs)), ElementsAre("a", "b"));
}

TEST(WalFullDisk, RotationWaitsForRoom) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs, NoPreallocation());
  ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "a")).ok());
  fs->SetCapacity(fs->bytes_used() + 50);
  EXPECT_EQ(log.wal->Rotate().status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(log.wal->Append(1, "refused").status().code(), StatusCode::kResourceExhausted);
  fs->SetCapacity(io::kForever);
  EXPECT_EQ(*log.wal->Rotate(), 2u);
  MustAppend(*log.wal, "b");
  EXPECT_TRUE(log.wal->Close().ok());
  Opened after = OpenLog(fs);
  EXPECT_THAT(Payloads(after), ElementsAre("a", "b"));
  EXPECT_TRUE(after.report.clean());
}

TEST(WalFullDisk, EveryCrashWhileFullKeepsAPrefix) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs, NoPreallocation());
  ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "a")).ok());
  fs->SetCapacity(fs->bytes_used() + 60);
  MustAppend(*log.wal, "bb");
  MustAppend(*log.wal, "ccc");
  EXPECT_FALSE(log.wal->Sync().ok());
  for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Opened after = OpenLog(fs->Crash(policy, seed));
      ASSERT_TRUE(after.status.ok());
      const std::vector<std::string> got = Payloads(after);
      ASSERT_GE(got.size(), 1u);
      ASSERT_LE(got.size(), 3u);
      const std::vector<std::string> all = {"a", "bb", "ccc"};
      EXPECT_TRUE(std::equal(got.begin(), got.end(), all.begin()));
      EXPECT_THAT(after.report.damage, IsEmpty());
    }
  }
}

struct FailingCall {
  const char* name;
  uint32_t kinds;
};

TEST(WalFailure, AFailedSyncIsForGood) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Opened log = OpenLog(fs);
  const Lsn good = MustAppend(*log.wal, "good");
  ASSERT_TRUE(log.wal->WaitDurable(good).ok());
  for (const StatusCode code : {StatusCode::kUnavailable, StatusCode::kResourceExhausted}) {
    fs->Inject({.kinds = io::kOpSync, .code = code});
  }
  const Lsn lost = MustAppend(*log.wal, "lost");
  EXPECT_EQ(log.wal->WaitDurable(lost).code(), StatusCode::kUnavailable);
  EXPECT_TRUE(log.wal->failed());
  fs->ClearFaults();
  EXPECT_EQ(log.wal->WaitDurable(lost).code(), StatusCode::kUnavailable);
  EXPECT_EQ(log.wal->Append(1, "x").status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(log.wal->Rotate().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(log.wal->WaitDurable(good).ok());
  log.wal.reset();
  EXPECT_THAT(Payloads(OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 0))), ElementsAre("good"));
  // Reopened, it writes again.
  Opened again = OpenLog(fs);
  EXPECT_THAT(Payloads(again), ElementsAre("good", "lost"));
  EXPECT_TRUE(again.wal->WaitDurable(MustAppend(*again.wal, "new")).ok());
}

TEST(WalFailure, EveryCallThatFailsOnceIsReportedOrHarmless) {
  // Fails the n-th call of each kind during a script; whatever was acknowledged must be there.
  constexpr FailingCall kCalls[] = {
      {"write", io::kOpWrite},       {"sync", io::kOpSync},     {"dir sync", io::kOpSyncDir},
      {"truncate", io::kOpTruncate}, {"create", io::kOpCreate}, {"preallocate", io::kOpPreallocate},
      {"remove", io::kOpRemove}};
  for (const FailingCall& call : kCalls) {
    for (const StatusCode code : {StatusCode::kUnavailable, StatusCode::kResourceExhausted}) {
      for (uint64_t n = 0; n < 12; ++n) {
        SCOPED_TRACE(Concat(call.name, " number ", n, " code ", static_cast<int>(code)));
        auto fs = std::make_shared<io::MemoryFileSystem>();
        {
          Opened log = OpenLog(fs);
        }
        fs->Inject({.kinds = call.kinds, .skip = n, .code = code});
        WalOptions options = TestOptions();
        options.segment_bytes_max = 700;
        std::vector<std::string> acked;
        std::vector<std::string> all;
        Opened log = OpenLog(fs, options);
        if (log.status.ok()) {
          for (int i = 0; i < 12; ++i) {
            const auto lsn = log.wal->Append(1, NumberedPayload(i));
            if (!lsn.ok()) continue;
            all.push_back(NumberedPayload(i));
            if (log.wal->WaitDurable(*lsn).ok()) acked = all;
          }
          log.wal.reset();
        }
        fs->ClearFaults();
        for (const io::CrashPolicy policy :
             {io::CrashPolicy::kDropUnsynced, io::CrashPolicy::kKeepAll}) {
          Opened after = OpenLog(fs->Crash(policy, n), options);
          ASSERT_TRUE(after.status.ok()) << after.status;
          const std::vector<std::string> got = Payloads(after);
          ASSERT_GE(got.size(), acked.size());
          ASSERT_LE(got.size(), all.size());
          for (size_t i = 0; i < got.size(); ++i) ASSERT_EQ(got[i], all[i]);
          EXPECT_THAT(after.report.damage, IsEmpty());
        }
      }
    }
  }
}

TEST(WalFailure, AllWaitersLearnOfAFailedSync) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  fs->SetSyncDelay(std::chrono::milliseconds(1));
  Opened log = OpenLog(fs);
  fs->Inject({.kinds = io::kOpSync, .skip = 5, .times = io::kForever});
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        const auto lsn = log.wal->Append(1, "x");
        if (!lsn.ok() || !log.wal->WaitDurable(*lsn).ok()) {
          ++failed;
          return;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 16);
}

TEST(WalDamage, TornTailIsCutAndCounted) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs, NoPreallocation());
    MustAppend(*log.wal, "aaaaaaaa");
    MustAppend(*log.wal, "bbbbbbbb");
    ASSERT_TRUE(log.wal->WaitWritten(2).ok());
    fs = fs->Crash(io::CrashPolicy::kKeepAll, 0);
  }
  const std::string whole = *fs->ReadFile(kFirst, 1 << 20);
  ASSERT_EQ(whole.size(), 96u + 2 * 40);
  for (size_t cut = 0; cut <= whole.size(); ++cut) {
    auto torn = std::make_shared<io::MemoryFileSystem>();
    ASSERT_TRUE(torn->Put(kFirst, whole.substr(0, cut)).ok());
    Opened log = OpenLog(torn);
    ASSERT_TRUE(log.status.ok());
    const size_t records = cut < 96 + 40 ? 0 : cut < 96 + 80 ? 1 : 2;
    EXPECT_THAT(log.entries, SizeIs(records)) << cut;
    EXPECT_TRUE(log.report.clean()) << cut;
    EXPECT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "new")).ok());
    log.wal.reset();
    log = OpenLog(torn);
    EXPECT_THAT(log.entries, SizeIs(records + 1)) << cut;
    EXPECT_TRUE(log.report.clean()) << cut;
    EXPECT_EQ(log.report.tail_bytes_cut, 0u) << cut;
  }
}

TEST(WalDamage, InTheMiddleIsReportedKeptAndSteppedOver) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    for (const char* payload : {"aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"}) {
      ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, payload)).ok());
    }
  }
  ASSERT_TRUE(fs->Corrupt(kFirst, 96 + 40 + 32, "X").ok());
  const std::string damaged = *fs->ReadFile(kFirst, 1 << 20);
  Opened log = OpenLog(fs);
  ASSERT_TRUE(log.status.ok());
  EXPECT_THAT(Payloads(log), ElementsAre("aaaaaaaa", "cccccccc", "dddddddd"));
  ASSERT_THAT(log.report.damage, SizeIs(1));
  EXPECT_EQ(log.report.damage[0].code(), StatusCode::kDataLoss);
  EXPECT_EQ(FilePlaceOf(log.report.damage[0])->file, kFirst);
  EXPECT_EQ(FilePlaceOf(log.report.damage[0])->offset, 96u + 40);
  EXPECT_THAT(log.report.quarantined, ElementsAre("quarantine/metrics-000001.wal"));
  EXPECT_EQ(*fs->ReadFile("quarantine/metrics-000001.wal", 1 << 20), damaged);
  EXPECT_EQ(log.report.tail_bytes_cut, 0u);
  // Opened again it says the same, and keeps the same bytes once.
  log.wal.reset();
  log = OpenLog(fs);
  EXPECT_THAT(log.report.damage, SizeIs(1));
  EXPECT_THAT(*fs->List("quarantine"), ElementsAre("metrics-000001.wal"));
}

TEST(WalDamage, ALostHeaderLosesOnlyItsRecord) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, NumberedPayload(i))).ok());
    }
  }
  // The header of the 4th record, zeroed as a bad sector would be.
  uint64_t offset = 96;
  for (int i = 0; i < 3; ++i) offset += io::RecordBytes(NumberedPayload(i).size());
  ASSERT_TRUE(fs->Corrupt(kFirst, offset, std::string(32, '\0')).ok());
  Opened log = OpenLog(fs);
  EXPECT_THAT(log.entries, SizeIs(9));
  ASSERT_THAT(log.report.damage, SizeIs(1));
  EXPECT_EQ(FilePlaceOf(log.report.damage[0])->offset, offset);
}

TEST(WalDamage, APayloadThatLooksLikeRecordsIsNeverReplayed) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  std::string forged;
  {
    // A log of one's own, to copy its records out of.
    auto other = std::make_shared<io::MemoryFileSystem>();
    Opened log = OpenLog(other);
    MustAppend(*log.wal, "forged!!");
    MustAppend(*log.wal, "forged!!");
    ASSERT_TRUE(log.wal->Sync().ok());
    forged = *other->ReadFile(kFirst, 1 << 22);
    forged = forged.substr(96, 80);
  }
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, forged + forged);
    MustAppend(*log.wal, "after");
  }
  ASSERT_TRUE(fs->FlipBit(kFirst, 96 * 8).ok());
  Opened log = OpenLog(fs);
  EXPECT_THAT(Payloads(log), ElementsAre("after"));
  EXPECT_THAT(log.report.damage, SizeIs(1));
}

TEST(WalDamage, AHoleInUnsyncedWritesCutsWhatFollows) {
  // Sectors of one write may reach the disk in any order: the second record is there and the first
  // is not. Nothing of it was acknowledged, and replaying only the second would not be a prefix.
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    ASSERT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "acked")).ok());
    MustAppend(*log.wal, "hole");
    MustAppend(*log.wal, "behind");
    ASSERT_TRUE(log.wal->WaitWritten(3).ok());
    fs = fs->Crash(io::CrashPolicy::kKeepAll, 0);
  }
  ASSERT_TRUE(fs->Corrupt(kFirst, 96 + 40, std::string(40, '\0')).ok());
  Opened log = OpenLog(fs);
  EXPECT_THAT(Payloads(log), ElementsAre("acked"));
  EXPECT_THAT(log.report.damage, IsEmpty());
  EXPECT_EQ(log.report.tail_records_cut, 1u);
  EXPECT_GT(log.report.tail_bytes_cut, 40u);
  // It cannot be told from damage with certainty, so the bytes are kept.
  EXPECT_THAT(log.report.quarantined, ElementsAre("quarantine/metrics-000001.wal"));
  log.wal.reset();
  EXPECT_TRUE(OpenLog(fs).report.clean());
}

TEST(WalDamage, MissingSegmentsAndTails) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    for (int i = 0; i < 8; ++i) {
      MustAppend(*log.wal, Concat(i));
      if (i % 2 == 1) {
        ASSERT_TRUE(log.wal->Rotate().ok());
      }
    }
  }
  {
    auto gap = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(gap->Remove("wal/metrics/000002.wal").ok());
    Opened log = OpenLog(gap);
    EXPECT_THAT(Payloads(log), ElementsAre("0", "1", "4", "5", "6", "7"));
    EXPECT_FALSE(log.report.damage.empty());
  }
  {
    auto first = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(first->Remove(kFirst).ok());
    Opened log = OpenLog(first);
    EXPECT_THAT(Payloads(log), ElementsAre("2", "3", "4", "5", "6", "7"));
    EXPECT_FALSE(log.report.damage.empty());
    log.wal.reset();
    WalOptions unknown_floor = TestOptions();
    unknown_floor.first_segment = 0;
    EXPECT_TRUE(OpenLog(first, unknown_floor).report.damage.empty());
  }
  {
    auto shorter = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    auto file = shorter->OpenForWrite("wal/metrics/000002.wal");
    ASSERT_TRUE((*file)->Truncate(96 + 40).ok());
    Opened log = OpenLog(shorter);
    EXPECT_THAT(Payloads(log), ElementsAre("0", "1", "2", "4", "5", "6", "7"));
    ASSERT_THAT(log.report.damage, SizeIs(1));
    EXPECT_THAT(std::string(log.report.damage[0].message()), HasSubstr("record"));
  }
}

TEST(WalDamage, ADamagedFileHeaderIsReadFromItsCopy) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    MustAppend(*log.wal, "a");
  }
  const std::string whole = *fs->ReadFile(kFirst, 1 << 20);
  for (const uint64_t copy : {0u, 48u}) {
    auto damaged = std::make_shared<io::MemoryFileSystem>();
    ASSERT_TRUE(damaged->Put(kFirst, whole).ok());
    ASSERT_TRUE(damaged->Corrupt(kFirst, copy, std::string(48, 'x')).ok());
    Opened log = OpenLog(damaged);
    EXPECT_THAT(Payloads(log), ElementsAre("a"));
    ASSERT_THAT(log.report.damage, SizeIs(1));
    EXPECT_EQ(FilePlaceOf(log.report.damage[0])->offset, copy);
  }
  ASSERT_TRUE(fs->Corrupt(kFirst, 0, std::string(96, 'x')).ok());
  Opened log = OpenLog(fs);
  ASSERT_TRUE(log.status.ok());
  EXPECT_THAT(log.entries, IsEmpty());
  EXPECT_THAT(log.report.damage, SizeIs(1));
  EXPECT_THAT(log.report.quarantined, SizeIs(1));
  EXPECT_TRUE(log.wal->WaitDurable(MustAppend(*log.wal, "b")).ok());
  EXPECT_TRUE(*fs->Exists(kFirst)) << "nothing is deleted for being damaged";
}

TEST(WalDamage, LaterVersionsAreRefused) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  const std::string header = io::EncodeLogHeader("VARVEWL1", {2, 1, 77, 1});
  ASSERT_TRUE(fs->Put(kFirst, header).ok());
  EXPECT_EQ(OpenLog(fs).status.code(), StatusCode::kUnimplemented);
}

TEST(WalDamage, NamesThatAreNoSegmentsAreLeftAlone) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  const std::vector<std::string> names = {
      "wal/metrics/1.wal",     "wal/metrics/000000.wal", "wal/metrics/0000001.wal",
      "wal/metrics/notes.txt", "wal/metrics/00000x.wal", "wal/metrics/99999999999999999999.wal"};
  for (const std::string& name : names) ASSERT_TRUE(fs->Put(name, "?").ok());
  Opened log = OpenLog(fs);
  EXPECT_TRUE(log.status.ok());
  EXPECT_TRUE(log.report.clean());
  for (const std::string& name : names) EXPECT_TRUE(*fs->Exists(name));
}

// Flips every single bit of a closed log of two segments: what is replayed is what was appended,
// less records of which the report tells.
TEST(WalDamage, EverySingleBitFlipIsRepairedOrReported) {
  std::map<Lsn, std::string> appended;
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    Opened log = OpenLog(fs);
    for (int i = 0; i < 12; ++i) {
      const std::string payload = std::string(static_cast<size_t>(i * 5 % 23), 'p') + Concat(i);
      const Lsn lsn = MustAppend(*log.wal, payload);
      appended[lsn] = payload;
      if (i % 3 == 0) {
        ASSERT_TRUE(log.wal->Sync().ok());
      }
      if (i == 6) {
        ASSERT_TRUE(log.wal->Rotate().ok());
      }
    }
  }
  uint64_t flips = 0, reported = 0, cut = 0;
  for (const std::string& path : fs->AllFiles()) {
    const uint64_t bits = *fs->FileSize(path) * 8;
    for (uint64_t bit = 0; bit < bits; ++bit) {
      auto rotten = fs->Crash(io::CrashPolicy::kKeepAll, 0);
      ASSERT_TRUE(rotten->FlipBit(path, bit).ok());
      Opened log = OpenLog(rotten);
      SCOPED_TRACE(Concat(path, " bit ", bit));
      ASSERT_TRUE(log.status.ok()) << log.status;
      Lsn last = 0;
      for (const Entry& entry : log.entries) {
        ASSERT_GT(entry.lsn, last);
        last = entry.lsn;
        ASSERT_EQ(entry.payload, appended.at(entry.lsn));
      }
      if (log.entries.size() != appended.size()) {
        ASSERT_GE(log.entries.size() + 1, appended.size()) << "one flip costs one record at most";
        ASSERT_FALSE(log.report.damage.empty());
      }
      ++flips;
      if (!log.report.damage.empty()) {
        ++reported;
        ASSERT_FALSE(log.report.quarantined.empty());
      } else {
        // Only the closing mark may go unreported: nothing was in it.
        ASSERT_GT(log.report.tail_bytes_cut, 0u);
        ++cut;
      }
    }
  }
  RecordProperty("flips", static_cast<int>(flips));
  EXPECT_EQ(reported + cut, flips);
  EXPECT_EQ(cut, 32u * 8) << "the mark";
}

}  // namespace
}  // namespace varve::wal
