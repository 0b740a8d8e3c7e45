#include "varve/database.h"

#include <gtest/gtest.h>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tests/traces/span_model.h"

namespace varve::traces {
namespace {

Options TestOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options;
  options.dir = "db";
  options.background_threads = 0;
  options.file_system = std::move(fs);
  return options;
}

void CheckModel(const Database& db, const SpanModel& model, std::mt19937_64* random) {
  const auto snapshot = db.TakeTraceSnapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  model.Check(**snapshot, random);
}

TEST(TracesDatabase, SpansSurviveReopening) {
  std::mt19937_64 random(1);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  SpanModel model;
  for (int round = 0; round < 3; ++round) {
    auto db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    EXPECT_TRUE((*db)->recovery().clean());
    EXPECT_EQ((*db)->recovery().wal_spans, model.spans());
    CheckModel(**db, model, &random);
    SpanBatch batch;
    AddRandomSpans(&random, 300, {}, &batch);
    const auto result = (*db)->AppendSpans(batch);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    model.Add(batch);
    CheckModel(**db, model, &random);
    EXPECT_EQ((*db)->Stats().head_spans, model.spans());
    const auto damage = (*db)->Verify();
    ASSERT_TRUE(damage.ok());
    EXPECT_TRUE(damage->empty());
  }
}

TEST(TracesDatabase, FlushedCompactedReopenedBackedUp) {
  std::mt19937_64 random(2);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  SpanModel model;
  RandomSpanOptions spans;
  for (int round = 0; round < 4; ++round) {
    auto db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    EXPECT_TRUE((*db)->recovery().clean());
    CheckModel(**db, model, &random);
    for (int i = 0; i < 3; ++i) {
      SpanBatch batch;
      AddRandomSpans(&random, 150, spans, &batch);
      ASSERT_TRUE((*db)->AppendSpans(batch).ok());
      model.Add(batch);
      const Status status = i == 0 ? (*db)->Flush() : i == 1 ? (*db)->Maintain() : absl::OkStatus();
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    CheckModel(**db, model, &random);
    if (round % 2 == 1) {
      ASSERT_TRUE((*db)->Compact().ok());
      CheckModel(**db, model, &random);
    }
    const auto damage = (*db)->Verify();
    ASSERT_TRUE(damage.ok());
    EXPECT_TRUE(damage->empty());
  }
  auto db = Database::Open(TestOptions(fs));
  ASSERT_TRUE(db.ok());
  ASSERT_TRUE((*db)->Backup("copy").ok());
  Options copy = TestOptions(fs);
  copy.dir = "copy";
  auto other = Database::Open(copy);
  ASSERT_TRUE(other.ok()) << other.status().ToString();
  CheckModel(**other, model, &random);
  uint64_t stored = 0;
  for (const BlockStats& block : (*other)->Stats().blocks) {
    EXPECT_EQ(block.wing, "traces");
    stored += block.samples;
  }
  EXPECT_GE(stored, model.spans());
}

/// Appends, flushes and compacts until the file system crashes at operation `crash_at`; what
/// AppendSpans acknowledged must be there afterwards, whole.
TEST(TracesDatabase, WhatWasAcknowledgedSurvivesEveryCrash) {
  for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
    for (uint64_t crash_at = 5; crash_at < 150; crash_at += 7) {
      SCOPED_TRACE(Concat(io::ToString(policy), " at ", crash_at));
      std::mt19937_64 random(crash_at);
      auto fs = std::make_shared<io::MemoryFileSystem>();
      fs->StopAfter(crash_at);
      std::vector<SpanBatch> batches(6);
      size_t acknowledged = 0;
      {
        auto db = Database::Open(TestOptions(fs));
        for (size_t i = 0; db.ok() && i < batches.size(); ++i) {
          AddRandomSpans(&random, 25, {}, &batches[i]);
          if (!(*db)->AppendSpans(batches[i]).ok()) break;
          acknowledged = i + 1;
          if (i % 2 == 1) (*db)->Flush().IgnoreError();
          if (i == 4) (*db)->Compact().IgnoreError();
        }
      }
      auto db = Database::Open(TestOptions(fs->Crash(policy, crash_at)));
      ASSERT_TRUE(db.ok()) << db.status().ToString();
      EXPECT_TRUE((*db)->recovery().damage.empty());
      const auto snapshot = (*db)->TakeTraceSnapshot();
      ASSERT_TRUE(snapshot.ok());
      // A prefix of the batches that has at least the acknowledged ones.
      SpanModel model;
      for (size_t i = 0; i < acknowledged; ++i) model.Add(batches[i]);
      size_t found = 0;
      SpanScanSpec everything;
      auto cursor = (*snapshot)->Scan(everything);
      ASSERT_TRUE(cursor.ok());
      SpanColumns columns;
      while (true) {
        const auto more = (*cursor)->Next(&columns);
        ASSERT_TRUE(more.ok()) << more.status().ToString();
        if (!*more) break;
        found += columns.size();
      }
      size_t batches_there = acknowledged;
      while (model.spans() < found && batches_there < batches.size()) {
        model.Add(batches[batches_there++]);
      }
      ASSERT_EQ(found, model.spans());
      for (const TraceId& id : model.traces()) {
        SpanBatch out;
        ASSERT_TRUE((*snapshot)->GetTrace(id, &out).ok());
        ASSERT_FALSE(out.empty());
      }
    }
  }
}

TEST(TracesDatabase, DamagedBlockGoesToQuarantineTheRestStays) {
  std::mt19937_64 random(7);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  SpanModel first;
  {
    auto db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok());
    RandomSpanOptions options;
    options.rare_things = false;
    options.span_ns = 1'000'000'000;
    SpanBatch batch;
    AddRandomSpans(&random, 100, options, &batch);
    ASSERT_TRUE((*db)->AppendSpans(batch).ok());
    ASSERT_TRUE((*db)->Flush().ok());
    SpanBatch other;
    options.start_ns += int64_t{30} * 86400 * 1'000'000'000;
    AddRandomSpans(&random, 100, options, &other);
    ASSERT_TRUE((*db)->AppendSpans(other).ok());
    ASSERT_TRUE((*db)->Flush().ok());
  }
  const auto names = fs->List("db/blocks");
  ASSERT_TRUE(names.ok());
  ASSERT_EQ(names->size(), 2u);
  const std::string path = io::JoinPath("db/blocks", (*names)[0]);
  auto bytes = fs->ReadFile(path, 1u << 30);
  ASSERT_TRUE(bytes.ok());
  (*bytes)[bytes->size() - 100] = static_cast<char>((*bytes)[bytes->size() - 100] ^ 1);
  ASSERT_TRUE(io::WriteFileAtomically(*fs, path, *bytes).ok());
  auto db = Database::Open(TestOptions(fs));
  ASSERT_TRUE(db.ok()) << db.status().ToString();
  EXPECT_FALSE((*db)->recovery().clean());
  EXPECT_EQ((*db)->recovery().quarantined.size(), 1u);
  const auto snapshot = (*db)->TakeTraceSnapshot();
  ASSERT_TRUE(snapshot.ok());
  EXPECT_FALSE((*snapshot)->time_range().empty());
}

/// Errors are kept for ever, debug spans a day, the rest a week; a trace goes or stays whole, also
/// when the span that decides is in another block.
TEST(TracesDatabase, RetentionRulesKeepWholeTraces) {
  constexpr int64_t kDay = int64_t{86400} * 1'000'000'000;
  constexpr int64_t kNow = 20'000 * kDay;
  auto fs = std::make_shared<io::MemoryFileSystem>();
  auto clock = std::make_shared<ManualClock>(kNow / 1'000'000);
  Options options = TestOptions(fs);
  options.clock = clock;
  options.retention_time = std::chrono::hours(1);
  options.trace_retention_time = std::chrono::hours(7 * 24);
  options.trace_retention_rules = {
      {{{MatchType::kEqual, "status", "error"}}, std::chrono::milliseconds(0), 2},
      {{{MatchType::kRegex, "level", "debug|trace"}}, std::chrono::hours(24), 1}};
  auto db = Database::Open(options);
  ASSERT_TRUE(db.ok()) << db.status().ToString();
  const auto append = [&](uint64_t trace, uint64_t span, int64_t start, bool error,
                          const char* level) {
    SpanBatch batch;
    const AttributeView attribute{"level", ValueView::String(level)};
    batch.AddResource({&attribute, 1});
    batch.AddScope(0, "", "");
    SpanBatch::Span made;
    made.trace_id = TraceIdOf(trace);
    made.span_id = SpanIdOf(span);
    made.start_ns = made.end_ns = start;
    made.status = error ? SpanStatus::kError : SpanStatus::kUnset;
    batch.AddSpan(made, {});
    ASSERT_TRUE((*db)->AppendSpans(batch).ok());
  };
  append(1, 1, kNow - 3 * kDay, false, "info");
  append(2, 2, kNow - 3 * kDay, false, "debug");
  append(3, 3, kNow - 3 * kDay, true, "debug");
  append(4, 4, kNow - 3 * kDay, false, "trace");
  append(9, 9, kNow, false, "info");
  ASSERT_TRUE((*db)->Flush().ok());
  append(4, 5, kNow - 1, true, "info");  // makes trace 4 one with an error, while in the head
  const auto spans_of = [&](uint64_t trace) {
    const auto snapshot = (*db)->TakeTraceSnapshot();
    SpanBatch out;
    EXPECT_TRUE(snapshot.ok() && (*snapshot)->GetTrace(TraceIdOf(trace), &out).ok());
    return out.spans().size();
  };
  ASSERT_TRUE((*db)->Maintain().ok());
  EXPECT_EQ(spans_of(1), 1u);
  EXPECT_EQ(spans_of(2), 0u);
  EXPECT_EQ(spans_of(3), 1u);
  EXPECT_EQ(spans_of(4), 2u);
  clock->Advance(std::chrono::hours(6 * 24));
  append(9, 10, kNow + 6 * kDay, false, "info");
  ASSERT_TRUE((*db)->Maintain().ok());
  EXPECT_EQ(spans_of(1), 0u);
  EXPECT_EQ(spans_of(3), 1u);
  EXPECT_EQ(spans_of(4), 2u);
  EXPECT_EQ(spans_of(9), 2u);
}

/// One span from the far past and one from the far future do not make a thousand blocks.
TEST(TracesDatabase, ClockSkewOfYearsIsBounded) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  auto db = Database::Open(TestOptions(fs));
  ASSERT_TRUE(db.ok());
  SpanBatch batch;
  batch.AddResource({});
  batch.AddScope(0, "", "");
  std::mt19937_64 random(3);
  for (uint32_t i = 0; i < 2000; ++i) {
    SpanBatch::Span span;
    span.trace_id = TraceIdOf(i);
    span.span_id = SpanIdOf(i);
    span.start_ns = static_cast<int64_t>(random());
    span.end_ns = static_cast<int64_t>(random());
    batch.AddSpan(span, {});
  }
  ASSERT_TRUE((*db)->AppendSpans(batch).ok());
  SpanModel model;
  ASSERT_TRUE((*db)->Flush().ok());
  EXPECT_LE((*db)->Stats().blocks.size(), 32u);
  ASSERT_TRUE((*db)->Compact().ok());
  const auto snapshot = (*db)->TakeTraceSnapshot();
  ASSERT_TRUE(snapshot.ok());
  SpanBatch out;
  for (uint32_t i = 0; i < 2000; i += 37) {
    out.Clear();
    ASSERT_TRUE((*snapshot)->GetTrace(TraceIdOf(i), &out).ok());
    ASSERT_EQ(out.spans().size(), 1u);
    EXPECT_EQ(out.spans()[0].start_ns, batch.spans()[i].start_ns);
    EXPECT_EQ(out.spans()[0].end_ns, batch.spans()[i].end_ns);
  }
}

}  // namespace
}  // namespace varve::traces
