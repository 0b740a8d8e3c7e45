// Stops a script of log ingest, seal, compaction and deletion at every operation that changes the
// disk, and opens what a crash there can leave; then flips every bit of every file of a small
// database. What was acknowledged is there, batches are whole, damage is named.

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "engine/base/strings.h"
#include "tests/logs/logs_testing.h"

namespace varve::logs_testing {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Options CrashOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options = TestOptions(std::move(fs));
  options.block_range = std::chrono::seconds(100);
  options.out_of_order_window = std::chrono::seconds(10);
  return options;
}

struct Ledger {
  Contents acknowledged;
  Contents in_flight;
};

void Add(Contents* contents, const std::string& key, const Entry& entry) {
  std::vector<Entry>& entries = (*contents)[key];
  const auto at =
      std::upper_bound(entries.begin(), entries.end(), entry.time_ns,
                       [](int64_t time, const Entry& other) { return time < other.time_ns; });
  entries.insert(at, entry);
}

/// Runs until an operation fails; returns whether it came to the end.
bool RunScript(Database* db, Ledger* ledger) {
  std::mt19937_64 random(42);
  int64_t now = 1000 * kSecond;
  int serial = 0;
  const auto step = [&](const Contents& after, auto&& call) {
    ledger->in_flight = after;
    if (!call().ok()) return false;
    ledger->acknowledged = after;
    return true;
  };
  for (int round = 0; round < 8; ++round) {
    for (int n = 0; n < 3; ++n) {
      LogBatch batch;
      Contents after = ledger->acknowledged;
      for (int i = 0; i < 3; ++i) {
        now += static_cast<int64_t>(random() % 9) * kSecond;
        const Labels labels = Stream(static_cast<int>(random() % 4));
        Entry entry{random() % 4 == 0 ? now - 40 * kSecond : now,
                    Concat("entry ", serial++, " of round ", round),
                    {}};
        batch.AddEntry(batch.AddStream(labels), entry.time_ns, batch.Copy(entry.line));
        Add(&after, ToString(LabelsView(labels)), entry);
      }
      if (!step(after, [&] { return db->AppendLogs(batch).status(); })) return false;
    }
    const auto same = [&](auto&& call) { return step(ledger->acknowledged, call); };
    if (round % 4 == 1 && !same([&] { return db->Flush(); })) return false;
    if (round % 4 == 3 && !same([&] { return db->Compact(); })) return false;
    if (round % 4 == 2) {
      Contents after = ledger->acknowledged;
      const NsRange range{now - 60 * kSecond, now - 10 * kSecond};
      const std::string key = ToString(LabelsView(Stream(2)));
      if (after.contains(key)) {
        std::erase_if(after[key],
                      [&](const Entry& entry) { return range.Contains(entry.time_ns); });
        if (after[key].empty()) after.erase(key);
      }
      const std::vector<Matcher> matchers{{MatchType::kEqual, "i", "2"}};
      if (!step(after, [&] { return db->DeleteLogs(matchers, range, {}, {}); })) return false;
    }
  }
  ledger->in_flight = ledger->acknowledged;
  return db->Close().ok();
}

TEST(Crash, NothingAcknowledgedIsLostInAnyState) {
  uint64_t operations = 0;
  {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    auto db = MustOpen(CrashOptions(fs));
    ASSERT_TRUE(RunScript(db.get(), &ledger));
    operations = fs->operations();
    EXPECT_GT(db->Stats().compactions, 0u);
  }
  uint64_t states = 0;
  for (uint64_t stop = 0; stop <= operations; ++stop) {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    {
      fs->StopAfter(stop);
      auto db = Database::Open(CrashOptions(fs));
      if (db.ok()) RunScript(db->get(), &ledger);
    }
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      ++states;
      auto left = fs->Crash(policy, stop);
      auto db = Database::Open(CrashOptions(left));
      ASSERT_TRUE(db.ok()) << "operation " << stop << " " << io::ToString(policy) << ": "
                           << db.status();
      ASSERT_TRUE((*db)->recovery().damage.empty())
          << "operation " << stop << " " << io::ToString(policy) << ": "
          << (*db)->recovery().damage[0];
      const Contents found = MustReadAll(**db);
      ASSERT_TRUE(found == ledger.acknowledged || found == ledger.in_flight)
          << "operation " << stop << " " << io::ToString(policy);
    }
  }
  std::printf("%llu operations, %llu crash states\n", static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(states));
  EXPECT_GE(states, 500u);
}

TEST(Damage, EveryBitFlipIsNoticedOrHarmless) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  {
    auto db = MustOpen(TestOptions(fs));
    for (int t = 0; t < 6; ++t) {
      LogBatch batch;
      for (int i = 0; i < 4; ++i) {
        const std::vector<LabelView> metadata{{"id", "abc"}};
        batch.AddEntry(batch.AddStream(Stream(i % 2)), (1000 + t) * kSecond + i,
                       batch.Copy(Concat("request ", t * 10 + i, " took ", i, " ms")),
                       i == 1 ? LabelsView(metadata) : LabelsView());
      }
      ASSERT_TRUE(db->AppendLogs(batch).ok());
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
  uint64_t flips = 0, reported = 0, failed = 0;
  for (const std::string& path : fs->AllFiles()) {
    // Files of other wings have tests of their own.
    if (!path.ends_with(".varve") && path.find("wal/logs") == std::string::npos) continue;
    const uint64_t size = *fs->FileSize(path);
    for (uint64_t bit = 0; bit < size * 8; bit += 1) {
      auto copy = fs->Crash(io::CrashPolicy::kKeepAll, 1);
      ASSERT_TRUE(copy->FlipBit(path, bit).ok());
      ++flips;
      auto db = Database::Open(TestOptions(copy));
      ASSERT_TRUE(db.ok()) << path << " bit " << bit << ": " << db.status();
      auto snapshot = (*db)->TakeLogSnapshot();
      ASSERT_TRUE(snapshot.ok());
      const auto found = ReadAll(**snapshot);
      if (!found.ok()) {
        ++failed;
        EXPECT_EQ(found.status().code(), StatusCode::kDataLoss) << found.status();
        EXPECT_TRUE(FilePlaceOf(found.status()).has_value()) << found.status();
      } else if (*found != expected) {
        ++reported;
        ASSERT_FALSE((*db)->recovery().clean())
            << path << " bit " << bit << ": another answer, and nothing said";
        for (const auto& [labels, entries] : *found) {
          const auto stream = expected.find(labels);
          ASSERT_NE(stream, expected.end()) << path << " bit " << bit;
          for (const Entry& entry : entries) {
            ASSERT_NE(std::find(stream->second.begin(), stream->second.end(), entry),
                      stream->second.end())
                << path << " bit " << bit;
          }
        }
      }
    }
  }
  std::printf("%llu flips: %llu reported, %llu failed the query\n",
              static_cast<unsigned long long>(flips), static_cast<unsigned long long>(reported),
              static_cast<unsigned long long>(failed));
  EXPECT_GT(flips, 3000u);
  EXPECT_GT(reported, 0u);
}

}  // namespace
}  // namespace varve::logs_testing
