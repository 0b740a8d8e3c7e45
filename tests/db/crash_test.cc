// Stops a script of ingest, seal, compaction, retention and deletion at every operation that
// changes the disk, makes the states that a crash there can leave, and opens them: what was
// acknowledged is there, batches are whole, and opening always succeeds.

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "engine/base/strings.h"
#include "tests/db/db_testing.h"

namespace varve::db_testing {
namespace {

constexpr int64_t kRange = 100'000;
constexpr int64_t kRetention = 3 * kRange;

Options CrashOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options = TestOptions(std::move(fs));
  options.block_range = std::chrono::milliseconds(kRange);
  options.out_of_order_window = std::chrono::milliseconds(kRange);
  options.retention_time = std::chrono::milliseconds(kRetention);
  return options;
}

/// What may be found after a crash: the state that was acknowledged, or the one after the call
/// that was cut short.
struct Ledger {
  Contents acknowledged;
  Contents in_flight;
  int64_t newest = kMinTime;
};

class Script {
 public:
  Script(Database* db, Ledger* ledger) : db_(db), ledger_(ledger) {}

  /// Runs until an operation fails; returns whether it came to the end.
  bool Run() {
    std::mt19937_64 random(42);
    int64_t now = 10 * kRange;
    for (int round = 0; round < 12; ++round) {
      for (int n = 0; n < 4; ++n) {
        WriteBatch batch;
        Contents after = ledger_->acknowledged;
        for (int i = 0; i < 3; ++i) {
          now += 1 + static_cast<int64_t>(random() % 9000);
          const int64_t time = random() % 4 == 0 ? now - 40'000 : now;
          const double value = static_cast<double>(random() % 1000);
          const Labels labels = Series(static_cast<int>(random() % 5));
          batch.AddSample(batch.AddSeries(labels), time, value);
          after[ToString(LabelsView(labels))].emplace(time, Bits(value));
        }
        ledger_->newest = std::max(ledger_->newest, now);
        if (!Step(after, [&] { return db_->Append(batch).status(); })) return false;
      }
      const auto same = [&](auto&& call) { return Step(ledger_->acknowledged, call); };
      switch (round % 6) {
        case 1:
          if (!same([&] { return db_->Flush(); })) return false;
          break;
        case 2: {
          Contents after = ledger_->acknowledged;
          const TimeRange range{now - 60'000, now - 10'000};
          auto& series = after[ToString(LabelsView(Series(2)))];
          series.erase(series.lower_bound(range.min_ms), series.upper_bound(range.max_ms));
          if (series.empty()) after.erase(ToString(LabelsView(Series(2))));
          const std::vector<Matcher> matchers{{MatchType::kEqual, "i", "2"}};
          if (!Step(after, [&] { return db_->DeleteSeries(matchers, range); })) return false;
          break;
        }
        case 3:
          if (!same([&] { return db_->Maintain(); })) return false;
          break;
        case 4:
          if (!same([&] { return db_->Compact(); })) return false;
          break;
        default:
          break;
      }
    }
    return same_close();
  }

 private:
  bool same_close() {
    ledger_->in_flight = ledger_->acknowledged;
    return db_->Close().ok();
  }
  template <typename F>
  bool Step(const Contents& after, F&& call) {
    ledger_->in_flight = after;
    const Status status = call();
    if (!status.ok()) return false;
    ledger_->acknowledged = after;
    return true;
  }

  Database* db_;
  Ledger* ledger_;
};

/// Drops what retention may have taken: it goes by whole blocks, which reach one range further.
Contents Recent(const Contents& all, int64_t newest) {
  Contents out;
  for (const auto& [labels, samples] : all) {
    for (const auto& [time, bits] : samples) {
      if (newest == kMinTime || time >= newest - kRetention) out[labels][time] = bits;
    }
  }
  return out;
}

std::string Describe(const Contents& contents) {
  std::string out;
  for (const auto& [labels, samples] : contents) {
    out += labels + ":";
    for (const auto& [time, bits] : samples) {
      out += Concat(" ", time, "=", static_cast<int64_t>(std::bit_cast<double>(bits)));
    }
    out += "\n";
  }
  return out;
}

TEST(Crash, NothingAcknowledgedIsLostInAnyState) {
  uint64_t operations = 0;
  {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    auto db = MustOpen(CrashOptions(fs));
    ASSERT_TRUE(Script(db.get(), &ledger).Run());
    operations = fs->operations();
    EXPECT_GT(db->Stats().compactions, 0u);
    EXPECT_GT(db->Stats().seals, 0u);
    EXPECT_GT(db->Stats().blocks_expired, 0u);
  }
  const uint64_t seeds = std::max<uint64_t>(1, (6000 + operations * 6 - 1) / (operations * 6));
  uint64_t states = 0;
  uint64_t conflicts = 0;
  for (uint64_t stop = 0; stop <= operations; ++stop) {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    {
      fs->StopAfter(stop);
      auto db = Database::Open(CrashOptions(fs));
      if (db.ok()) {
        Script(db->get(), &ledger).Run();
        // The process dies here: nothing more reaches the disk.
      }
    }
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      for (uint64_t seed = 0; seed < seeds; ++seed) {
        ++states;
        auto left = fs->Crash(policy, stop * 1000 + seed);
        auto db = Database::Open(CrashOptions(left));
        ASSERT_TRUE(db.ok()) << "operation " << stop << " " << io::ToString(policy) << " seed "
                             << seed << ": " << db.status();
        ASSERT_TRUE((*db)->recovery().damage.empty())
            << "operation " << stop << " " << io::ToString(policy) << " seed " << seed << ": "
            << (*db)->recovery().damage[0];
        const Contents found = Recent(MustReadAll(**db), ledger.newest);
        const Contents before = Recent(ledger.acknowledged, ledger.newest);
        const Contents after = Recent(ledger.in_flight, ledger.newest);
        ASSERT_TRUE(found == before || found == after)
            << "operation " << stop << " " << io::ToString(policy) << " seed " << seed
            << "\nfound\n"
            << Describe(found) << "before\n"
            << Describe(before) << "after\n"
            << Describe(after);
        if (seed == 0) {
          // And life goes on: write, seal, reopen.
          // What is newest of its series was not forgotten, whether the log has it or a block.
          WriteBatch batch;
          for (const auto& [labels, samples] : MustReadAll(**db)) {
            const auto& [time, bits] = *samples.rbegin();
            if (time < ledger.newest - kRange / 2) continue;  // older than what is accepted at all
            for (int i = 0; i < 5; ++i) {
              if (ToString(LabelsView(Series(i))) != labels) continue;
              batch.Clear();
              batch.AddSample(batch.AddSeries(Series(i)), time, std::bit_cast<double>(bits) + 1);
              ASSERT_EQ((*db)->Append(batch).status().code(), StatusCode::kAlreadyExists)
                  << "operation " << stop << " " << io::ToString(policy) << " " << labels;
              ++conflicts;
            }
          }
          batch.Clear();
          batch.AddSample(batch.AddSeries(Series(77)), 100 * kRange, 7);
          ASSERT_TRUE((*db)->Append(batch).ok());
          ASSERT_TRUE((*db)->Flush().ok());
          db->reset();
          auto again = MustOpen(CrashOptions(left));
          ASSERT_TRUE(again->recovery().clean());
          Contents more = MustReadAll(*again);
          ASSERT_EQ(more.count(ToString(LabelsView(Series(77)))), 1u);
        }
      }
    }
  }
  std::printf("%llu operations, %llu crash states\n", static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(states));
  EXPECT_GE(states, 5000u);
  EXPECT_GE(conflicts, 1000u);
}

TEST(Crash, RecoveryItselfMayCrash) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Ledger ledger;
  fs->StopAfter(150);
  {
    auto db = Database::Open(CrashOptions(fs));
    ASSERT_TRUE(db.ok());
    Script(db->get(), &ledger).Run();
  }
  for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
    for (uint64_t second = 0; second < 30; ++second) {
      auto once = fs->Crash(policy, second);
      once->StopAfter(second);
      Database::Open(CrashOptions(once)).status().IgnoreError();
      auto twice = once->Crash(policy, second + 1);
      auto db = Database::Open(CrashOptions(twice));
      ASSERT_TRUE(db.ok()) << db.status();
      const Contents found = Recent(MustReadAll(**db), ledger.newest);
      ASSERT_TRUE(found == Recent(ledger.acknowledged, ledger.newest) ||
                  found == Recent(ledger.in_flight, ledger.newest))
          << io::ToString(policy) << " " << second;
    }
  }
}

TEST(Crash, EveryFailingCallIsAnErrorAndNotALoss) {
  uint64_t operations = 0;
  {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    auto db = MustOpen(CrashOptions(fs));
    ASSERT_TRUE(Script(db.get(), &ledger).Run());
    operations = fs->operations();
  }
  for (const StatusCode code : {StatusCode::kUnavailable, StatusCode::kResourceExhausted}) {
    for (uint64_t skip = 0; skip < operations; skip += 3) {
      auto fs = std::make_shared<io::MemoryFileSystem>();
      Ledger ledger;
      fs->Inject({.skip = skip, .times = 1, .code = code});
      {
        auto db = Database::Open(CrashOptions(fs));
        if (db.ok()) Script(db->get(), &ledger).Run();
      }
      fs->ClearFaults();
      auto left = fs->Crash(io::CrashPolicy::kKeepAll, 1);
      auto db = Database::Open(CrashOptions(left));
      ASSERT_TRUE(db.ok()) << "call " << skip << ": " << db.status();
      const Contents found = Recent(MustReadAll(**db), ledger.newest);
      ASSERT_TRUE(found == Recent(ledger.acknowledged, ledger.newest) ||
                  found == Recent(ledger.in_flight, ledger.newest))
          << "call " << skip << " code " << static_cast<int>(code);
    }
  }
}

}  // namespace
}  // namespace varve::db_testing
