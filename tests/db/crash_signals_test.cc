// The crash test of all three wings at once: they share the manifest, the lock and the directory,
// so a commit of one must leave the others whole. A script appends metrics, logs and spans in
// turn, seals, merges and deletes; it is stopped at every operation that changes the disk, and
// what a crash there can leave is opened and compared with what was acknowledged.

#include <gtest/gtest.h>

#include <cstdio>
#include <random>

#include "engine/base/strings.h"
#include "tests/logs/logs_testing.h"
#include "varve/database.h"

namespace varve::db_testing {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Options CrashOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options = TestOptions(std::move(fs));
  options.block_range = std::chrono::seconds(100);
  options.out_of_order_window = std::chrono::seconds(100);
  return options;
}

/// Everything that is stored, printed.
struct State {
  Contents samples;
  logs_testing::Contents entries;
  std::map<std::string, std::string> spans;  // id of the span -> what it says
  friend bool operator==(const State&, const State&) = default;
};

TraceId TraceOf(int number) {
  TraceId id{};
  id.bytes[0] = 1;
  id.bytes[15] = static_cast<uint8_t>(number);
  return id;
}
SpanId SpanOf(int number) {
  SpanId id{};
  id.bytes[0] = 1;
  id.bytes[6] = static_cast<uint8_t>(number >> 8);
  id.bytes[7] = static_cast<uint8_t>(number);
  return id;
}

State ReadState(const Database& db) {
  State out;
  out.samples = MustReadAll(db);
  out.entries = logs_testing::MustReadAll(db);
  const auto snapshot = db.TakeTraceSnapshot();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  SpanScanSpec spec;
  spec.columns.push_back({Intrinsic::kName, AttributeScope::kAny, ""});
  auto cursor = (*snapshot)->Scan(spec);
  EXPECT_TRUE(cursor.ok()) << cursor.status();
  SpanColumns columns;
  while (true) {
    const auto more = (*cursor)->Next(&columns);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) break;
    for (size_t i = 0; i < columns.size(); ++i) {
      const std::string id = ToString(columns.span_ids[i]);
      EXPECT_FALSE(out.spans.contains(id)) << id;
      out.spans[id] = Concat(ToString(columns.trace_ids[i]), " ", columns.starts_ns[i], " ",
                             columns.columns[0][i].text);
      SpanBatch trace;
      EXPECT_TRUE((*snapshot)->GetTrace(columns.trace_ids[i], &trace).ok());
      const auto& spans = trace.spans();
      EXPECT_TRUE(std::any_of(spans.begin(), spans.end(), [&](const SpanBatch::Span& span) {
        return span.span_id == columns.span_ids[i];
      })) << id;
    }
  }
  return out;
}

struct Ledger {
  State acknowledged;
  State in_flight;
};

/// Runs until an operation fails; returns whether it came to the end.
bool RunScript(Database* db, Ledger* ledger) {
  std::mt19937_64 random(7);
  int64_t now = 1000;  // s
  int serial = 0;
  const auto step = [&](const State& after, auto&& call) {
    ledger->in_flight = after;
    if (!call().ok()) return false;
    ledger->acknowledged = after;
    return true;
  };
  for (int round = 0; round < 8; ++round) {
    now += static_cast<int64_t>(random() % 40);
    {
      WriteBatch batch;
      State after = ledger->acknowledged;
      for (int i = 0; i < 3; ++i) {
        const Labels labels = Series(i);
        const double value = static_cast<double>(random() % 1000);
        batch.AddSample(batch.AddSeries(labels), now * 1000, value);
        after.samples[ToString(LabelsView(labels))].emplace(now * 1000, Bits(value));
      }
      if (!step(after, [&] { return db->Append(batch).status(); })) return false;
    }
    {
      // Two entries of one time: the order of arrival stays.
      LogBatch batch;
      State after = ledger->acknowledged;
      for (int i = 0; i < 4; ++i) {
        const Labels labels = logs_testing::Stream(i % 2);
        const logs_testing::Entry entry{now * kSecond, Concat("entry ", 999 - serial++), {}};
        batch.AddEntry(batch.AddStream(labels), entry.time_ns, batch.Copy(entry.line));
        after.entries[ToString(LabelsView(labels))].push_back(entry);
      }
      if (!step(after, [&] { return db->AppendLogs(batch).status(); })) return false;
    }
    {
      SpanBatch batch;
      State after = ledger->acknowledged;
      const uint32_t scope = batch.AddScope(batch.AddResource({}), "test", "");
      for (int i = 0; i < 3; ++i) {
        SpanBatch::Span span;
        span.scope = scope;
        span.trace_id = TraceOf(round % 3 + i);
        span.span_id = SpanOf(++serial);
        span.name = i == 0 ? "first" : "other";
        span.start_ns = now * kSecond;
        span.end_ns = span.start_ns + 5;
        batch.AddSpan(span, {});
        after.spans[ToString(span.span_id)] =
            Concat(ToString(span.trace_id), " ", span.start_ns, " ", span.name);
      }
      if (!step(after, [&] { return db->AppendSpans(batch).status(); })) return false;
    }
    const auto same = [&](auto&& call) { return step(ledger->acknowledged, call); };
    const std::vector<Matcher> matchers{{MatchType::kEqual, "i", "1"}};
    switch (round % 4) {
      case 1:
        if (!same([&] { return db->Flush(); })) return false;
        break;
      case 2: {
        State after = ledger->acknowledged;
        const TimeRange range{(now - 30) * 1000, now * 1000};
        const std::string key = ToString(LabelsView(Series(1)));
        auto& series = after.samples[key];
        series.erase(series.lower_bound(range.min_ms), series.upper_bound(range.max_ms));
        if (series.empty()) after.samples.erase(key);
        if (!step(after, [&] { return db->DeleteSeries(matchers, range); })) return false;
        const std::string stream = ToString(LabelsView(logs_testing::Stream(1)));
        std::erase_if(after.entries[stream], [&](const logs_testing::Entry& entry) {
          return entry.line.find('7') != std::string::npos;
        });
        if (after.entries[stream].empty()) after.entries.erase(stream);
        const std::vector<LineFilter> filters{{LineFilter::Op::kContains, {"7"}}};
        if (!step(after, [&] { return db->DeleteLogs(matchers, {}, filters, {}); })) return false;
        break;
      }
      case 3:
        if (!same([&] { return round == 3 ? db->Maintain() : db->Compact(); })) return false;
        break;
      default:
        break;
    }
  }
  ledger->in_flight = ledger->acknowledged;
  return db->Close().ok();
}

TEST(CrashSignals, NothingAcknowledgedIsLostInAnyState) {
  uint64_t operations = 0;
  {
    auto fs = std::make_shared<io::MemoryFileSystem>();
    Ledger ledger;
    auto db = MustOpen(CrashOptions(fs));
    ASSERT_TRUE(RunScript(db.get(), &ledger));
    operations = fs->operations();
    EXPECT_GT(db->Stats().compactions, 0u);
    EXPECT_GT(db->Stats().seals, 0u);
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
      const std::string place = Concat("operation ", stop, " ", io::ToString(policy));
      auto db = Database::Open(CrashOptions(fs->Crash(policy, stop)));
      ASSERT_TRUE(db.ok()) << place << ": " << db.status();
      ASSERT_TRUE((*db)->recovery().damage.empty()) << place << ": " << (*db)->recovery().damage[0];
      const State found = ReadState(**db);
      // The call that was cut short is there as a whole or not at all.
      ASSERT_TRUE(found == ledger.acknowledged || found == ledger.in_flight)
          << place << ": " << found.samples.size() << " series, " << found.entries.size()
          << " streams, " << found.spans.size() << " spans; acknowledged "
          << ledger.acknowledged.samples.size() << ", " << ledger.acknowledged.entries.size()
          << ", " << ledger.acknowledged.spans.size();
    }
  }
  std::printf("%llu operations, %llu crash states\n", static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(states));
  EXPECT_GE(states, 1000u);
}

}  // namespace
}  // namespace varve::db_testing
