// Stops a script at every operation and opens what each kind of crash could leave.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/strings.h"
#include "tests/wal/wal_testing.h"

namespace varve::wal {
namespace {

/// What the script knows when the world stops.
struct Ledger {
  std::vector<std::string> appended;  // by LSN - 1
  size_t written = 0;                 // acknowledged by WaitWritten
  size_t durable = 0;                 // acknowledged by WaitDurable
  uint64_t floor = 1;                 // committed before RemoveBefore
  size_t below_floor = 0;             // records that the floor gives up
};

/// Appends in groups, with waits of both kinds, rotation, removal and a reopen.
void RunScript(const std::shared_ptr<io::MemoryFileSystem>& fs, Ledger* ledger) {
  for (int session = 0; session < 2; ++session) {
    WalOptions options = TestOptions();
    options.segment_bytes_max = 2500;
    options.first_segment = ledger->floor;
    options.preallocate_bytes = 1024;
    Opened log = OpenLog(fs, options);
    if (!log.status.ok()) return;
    // Records and marks share the numbering: keep the ledger in step with it.
    while (ledger->appended.size() < log.report.last_lsn) ledger->appended.push_back("");
    for (int i = 0; i < 14; ++i) {
      const std::string payload = Concat(session, "/", NumberedPayload(i));
      const auto lsn = log.wal->Append(1, payload);
      if (!lsn.ok()) return;
      ledger->appended.resize(*lsn);
      ledger->appended[*lsn - 1] = payload;
      if (i % 5 == 1 && log.wal->WaitWritten(*lsn).ok()) ledger->written = *lsn;
      if (i % 4 == 3 && log.wal->WaitDurable(*lsn).ok()) {
        ledger->durable = *lsn;
        ledger->written = std::max<size_t>(ledger->written, *lsn);
      }
      if (i == 9) {
        const auto segment = log.wal->Rotate();
        if (!segment.ok()) return;
        ledger->durable = ledger->written = *lsn;
        if (session == 1) {
          ledger->floor = *segment;
          ledger->below_floor = *lsn;
          if (!log.wal->RemoveBefore(*segment).ok()) return;
        }
      }
    }
    if (!log.wal->Close().ok()) return;
    ledger->durable = ledger->written = log.wal->appended_lsn();
    ledger->appended.resize(log.wal->appended_lsn());
  }
}

void CheckState(const std::shared_ptr<io::MemoryFileSystem>& fs, const Ledger& ledger,
                size_t must_have, uint64_t* checks) {
  WalOptions options = TestOptions();
  options.first_segment = ledger.floor;
  Opened log = OpenLog(fs, options);
  ASSERT_TRUE(log.status.ok()) << log.status;
  for (const Status& damage : log.report.damage) ADD_FAILURE() << damage;
  Lsn next = ledger.below_floor + 1;
  for (const Entry& entry : log.entries) {
    // Marks leave empty places in the ledger; everything else comes in order, without holes.
    while (next < entry.lsn && next <= ledger.appended.size() &&
           ledger.appended[next - 1].empty()) {
      ++next;
    }
    ASSERT_EQ(entry.lsn, next);
    ASSERT_LE(entry.lsn, ledger.appended.size());
    ASSERT_EQ(entry.payload, ledger.appended[entry.lsn - 1]);
    ++next;
  }
  while (next <= must_have && ledger.appended[next - 1].empty()) ++next;
  ASSERT_GT(next, must_have) << "an acknowledged record is gone";
  // It goes on working: a new record is durable at once, and is there after one more crash.
  const auto lsn = log.wal->Append(1, "after");
  ASSERT_TRUE(lsn.ok() && log.wal->WaitDurable(*lsn).ok());
  Opened again = OpenLog(fs->Crash(io::CrashPolicy::kDropUnsynced, 1), options);
  ASSERT_TRUE(again.status.ok());
  ASSERT_TRUE(again.report.damage.empty());
  ASSERT_EQ(again.entries.size(), log.entries.size() + 1);
  ASSERT_EQ(again.entries.back().payload, "after");
  ++*checks;
}

TEST(WalCrash, AtEveryOperation) {
  uint64_t operations = 0;
  {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    RunScript(fs, &ledger);
    operations = fs->operations();
    EXPECT_EQ(ledger.floor, 4u);
  }
  uint64_t checks = 0;
  for (uint64_t stop = 0; stop <= operations; ++stop) {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    fs->StopAfter(stop);
    Ledger ledger;
    RunScript(fs, &ledger);
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      const bool random = policy == io::CrashPolicy::kPrefix || policy == io::CrashPolicy::kReorder;
      const uint64_t seeds = random ? 12 : policy == io::CrashPolicy::kGarbageTail ? 3 : 1;
      for (uint64_t seed = 0; seed < seeds; ++seed) {
        SCOPED_TRACE(Concat("stop ", stop, ", ", io::ToString(policy), ", seed ", seed));
        const bool killed = policy == io::CrashPolicy::kKeepAll;
        CheckState(fs->Crash(policy, seed), ledger, killed ? ledger.written : ledger.durable,
                   &checks);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  RecordProperty("states", static_cast<int>(checks));
  EXPECT_GT(checks, 1000u);
}

// A crash while a crash is being recovered from.
TEST(WalCrash, DuringRecovery) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  fs->StopAfter(40);
  Ledger ledger;
  RunScript(fs, &ledger);
  uint64_t checks = 0;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      for (uint64_t stop = 0; stop < 12; ++stop) {
        auto first = fs->Crash(policy, seed);
        first->StopAfter(stop);
        WalOptions options = TestOptions();
        options.first_segment = ledger.floor;
        OpenLog(first, options);
        for (const io::CrashPolicy second : io::kAllCrashPolicies) {
          SCOPED_TRACE(Concat(io::ToString(policy), ", seed ", seed, ", stop ", stop, ", then ",
                              io::ToString(second)));
          const bool killed = policy == io::CrashPolicy::kKeepAll;
          CheckState(
              first->Crash(second, seed), ledger,
              killed && second == io::CrashPolicy::kKeepAll ? ledger.written : ledger.durable,
              &checks);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
  EXPECT_EQ(checks, 10u * 6 * 12 * 6);
}

}  // namespace
}  // namespace varve::wal
