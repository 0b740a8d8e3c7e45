#include "varve/database.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/base/clock.h"
#include "tests/db/db_testing.h"

namespace varve::db_testing {
namespace {

constexpr int64_t kHour = 3600 * 1000;

class DatabaseTest : public testing::Test {
 protected:
  std::shared_ptr<io::MemoryFileSystem> fs_ = std::make_shared<io::MemoryFileSystem>();
  Options options_ = TestOptions(fs_);
  std::unique_ptr<Database> db_ = MustOpen(options_);
  Contents model_;

  void Reopen() {
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
    db_ = MustOpen(options_);
    ASSERT_NE(db_, nullptr);
  }
  Status Append(const Labels& labels, int64_t time, double value) {
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(labels), time, value);
    Status status = db_->Append(batch).status();
    if (status.ok()) model_[ToString(labels)].emplace(time, Bits(value));
    return status;
  }
};

TEST_F(DatabaseTest, KeepsSamplesThroughFlushCompactionAndRestart) {
  for (int t = 0; t < 400; ++t) {
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(Append(Series(i), t * 60'000, t * i).ok());
  }
  EXPECT_EQ(MustReadAll(*db_), model_);
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
  EXPECT_EQ(db_->Stats().head_samples, 0u);
  EXPECT_EQ(db_->Stats().blocks.size(), 4u);  // 400 minutes are four windows of two hours
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), model_);
  EXPECT_TRUE(db_->recovery().clean());
  EXPECT_EQ(db_->recovery().wal_samples, 0u);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(db_->Stats().blocks.size(), 1u);
  EXPECT_EQ(MustReadAll(*db_), model_);
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), model_);
  EXPECT_TRUE(db_->Verify()->empty());
}

TEST_F(DatabaseTest, ReplaysTheLogAfterRestartAndAcrossEpochs) {
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(Append(Series(i + round), round * 1000 + i, i).ok());
    }
    if (round == 2) {
      ASSERT_TRUE(db_->Flush().ok());
    }
    Reopen();
    EXPECT_EQ(MustReadAll(*db_), model_) << round;
  }
}

TEST_F(DatabaseTest, LateSamplesMergeWithSealedOnes) {
  for (int t = 0; t < 100; ++t) ASSERT_TRUE(Append(Series(1), t * 10'000, t).ok());
  ASSERT_TRUE(db_->Flush().ok());
  for (int t = 0; t < 99; ++t) ASSERT_TRUE(Append(Series(1), t * 10'000 + 5'000, -t).ok());
  // The same time again: what was stored first wins, sealed or not.
  WriteBatch again;
  again.AddSample(again.AddSeries(Series(1)), 50'000, 777);
  EXPECT_TRUE(db_->Append(again).ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(db_->Stats().blocks.size(), 1u);
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, DuplicateRulesSurviveTheFlush) {
  ASSERT_TRUE(Append(Series(1), 1000, 1).ok());
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(Append(Series(1), 1000, 2).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(Append(Series(1), 1000, 1).ok());
  EXPECT_EQ(db_->Stats().head_samples, 0u);
}

/// However a sample came into a block, and whatever happened to the block since, the next sample of
/// its series is judged by it.
TEST_F(DatabaseTest, SealedSamplesJudgeTheNext) {
  Histogram h;
  h.count = 3;
  h.sum = 4.5;
  h.positive_spans = {{0, 2}};
  h.positive_deltas = {1, 1};
  Histogram other = h;  // the same count and sum
  other.positive_deltas = {2, -1};
  Histogram spelled = h;  // the same sample, with an empty bucket spelled out
  spelled.positive_spans = {{0, 3}};
  spelled.positive_deltas = {1, 1, -2};
  const auto append_histogram = [&](int64_t time, const Histogram& histogram) {
    WriteBatch batch;
    batch.AddHistogram(batch.AddSeries(Series(9, "h")), time, histogram);
    return db_->Append(batch).status().code();
  };
  for (const int64_t window_ms : {int64_t{0}, 30 * int64_t{60'000}}) {
    SCOPED_TRACE(window_ms);
    db_.reset();
    fs_ = std::make_shared<io::MemoryFileSystem>();
    options_ = TestOptions(fs_);
    options_.out_of_order_window = std::chrono::milliseconds(window_ms);
    db_ = MustOpen(options_);
    model_.clear();
    ASSERT_TRUE(Append(Series(1), 1000, 1).ok());
    ASSERT_TRUE(Append(Series(1), 2000, 2).ok());
    ASSERT_TRUE(Append(Series(2), 1000, StaleNan()).ok());
    ASSERT_TRUE(Append(Series(3), 9000, 1).ok());  // blocks reach beyond the others' newest
    ASSERT_EQ(append_histogram(2000, h), StatusCode::kOk);
    model_[ToString(LabelsView(Series(9, "h")))].emplace(2000, Bits(h.sum));
    const auto check = [&](std::string_view when) {
      SCOPED_TRACE(when);
      EXPECT_EQ(Append(Series(1), 2000, 3).code(), StatusCode::kAlreadyExists);
      EXPECT_TRUE(Append(Series(1), 2000, 2).ok());
      EXPECT_TRUE(Append(Series(2), 1000, StaleNan()).ok());
      EXPECT_EQ(Append(Series(2), 1000, 1).code(), StatusCode::kAlreadyExists);
      EXPECT_EQ(append_histogram(2000, other), StatusCode::kAlreadyExists);
      EXPECT_EQ(append_histogram(2000, spelled), StatusCode::kOk);
      EXPECT_EQ(Append(Series(9, "h"), 2000, 4.5).code(), StatusCode::kAlreadyExists);
      if (window_ms == 0) {
        EXPECT_EQ(Append(Series(1), 1500, 1).code(), StatusCode::kOutOfRange);
        EXPECT_EQ(append_histogram(1500, h), StatusCode::kOutOfRange);
      }
      EXPECT_EQ(MustReadAll(*db_), model_);
    };
    check("in the head");
    ASSERT_TRUE(db_->Flush().ok());
    check("flushed");
    Reopen();
    check("flushed and reopened");
    ASSERT_TRUE(db_->Compact().ok());
    Reopen();
    check("compacted and reopened");
    // A head without the series in between does not make it forgotten.
    ASSERT_TRUE(Append(Series(4), 9500, 1).ok());
    ASSERT_TRUE(db_->Flush().ok());
    ASSERT_TRUE(Append(Series(4), 9600, 1).ok());
    ASSERT_TRUE(db_->Flush().ok());
    check("two heads later");
    // The log tells of a late sample only; the block has newer ones.
    if (window_ms > 0) {
      ASSERT_TRUE(Append(Series(1), 500, 7).ok());
      Reopen();
      check("late one replayed");
    }
    ASSERT_TRUE(Append(Series(1), 9700, 5).ok());
    EXPECT_EQ(Append(Series(1), 9700, 6).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(MustReadAll(*db_), model_);
    Reopen();
    EXPECT_EQ(Append(Series(1), 9700, 6).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(MustReadAll(*db_), model_);
  }
}

TEST_F(DatabaseTest, ADeletedSampleMayBeWrittenAgainAndALoadedOneNot) {
  ASSERT_TRUE(Append(Series(1), 1000, 1).ok());
  ASSERT_TRUE(Append(Series(1), 2000, 2).ok());
  ASSERT_TRUE(Append(Series(2), 2000, 2).ok());
  for (const bool reopen : {false, true}) {
    SCOPED_TRACE(reopen);
    const std::vector<Matcher> one{{MatchType::kEqual, "i", "1"}};
    ASSERT_TRUE(db_->DeleteSeries(one, {1500, 3000}).ok());
    model_[ToString(LabelsView(Series(1)))].erase(2000);
    if (reopen) Reopen();
    EXPECT_EQ(Append(Series(1), 1000, 7).code(), StatusCode::kAlreadyExists);
    EXPECT_EQ(Append(Series(2), 2000, 7).code(), StatusCode::kAlreadyExists);
    ASSERT_TRUE(Append(Series(1), 2000, 3 + reopen).ok());
    EXPECT_EQ(MustReadAll(*db_), model_);
  }
  auto loader = *db_->StartBulkLoad();
  ASSERT_TRUE(
      loader->AddSamples(Series(2), std::vector<int64_t>{2500, 2600}, std::vector<double>{5, 6})
          .ok());
  ASSERT_TRUE(loader->Finish().ok());
  model_[ToString(LabelsView(Series(2)))].emplace(2500, Bits(5));
  model_[ToString(LabelsView(Series(2)))].emplace(2600, Bits(6));
  EXPECT_EQ(Append(Series(2), 2600, 7).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(Append(Series(2), 2600, 6).ok());
  EXPECT_TRUE(Append(Series(2), 2700, 6).ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, SnapshotsStandStill) {
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(Append(Series(1), t * 1000, t).ok());
  auto snapshot = *db_->TakeSnapshot();
  const Contents then = model_;
  for (int t = 50; t < 90; ++t) ASSERT_TRUE(Append(Series(1), t * 1000, t).ok());
  ASSERT_TRUE(Append(Series(2), 89'000, 1).ok());
  EXPECT_EQ(*ReadAll(*snapshot), then);
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(*ReadAll(*snapshot), then);
  ASSERT_TRUE(Append(Series(3), 90'000, 1).ok());
  ASSERT_TRUE(
      db_->DeleteSeries(std::vector<Matcher>{{MatchType::kEqual, "__name__", "m"}}, {}).ok());
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(*ReadAll(*snapshot), then);
  EXPECT_TRUE(MustReadAll(*db_).empty());
  snapshot.reset();
}

TEST_F(DatabaseTest, DeletionHidesAtOnceAndCompactionRemoves) {
  for (int t = 0; t < 100; ++t) {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(Append(Series(i), t * 1000, t + i).ok());
  }
  const std::vector<Matcher> one{{MatchType::kRegex, "i", "1|2"}};
  ASSERT_TRUE(db_->DeleteSeries(one, {20'000, 29'999}).ok());
  for (int i = 1; i <= 2; ++i) {
    auto& series = model_[ToString(LabelsView(Series(i)))];
    series.erase(series.lower_bound(20'000), series.upper_bound(29'999));
  }
  EXPECT_EQ(MustReadAll(*db_), model_);
  const std::vector<Matcher> all_of_3{{MatchType::kEqual, "i", "3"}};
  ASSERT_TRUE(db_->DeleteSeries(all_of_3, {}).ok());
  model_.erase(ToString(LabelsView(Series(3))));
  EXPECT_EQ(MustReadAll(*db_), model_);
  const auto values = (*db_->TakeSnapshot())->LabelValues("i", {}, {}, {});
  EXPECT_EQ(values->values, (std::vector<std::string>{"0", "1", "2"}));
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), model_);
  // What comes later is not deleted.
  ASSERT_TRUE(Append(Series(3), 99'500, 5).ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
  EXPECT_EQ(db_->Stats().tombstones, 2u);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(db_->Stats().tombstones, 0u);
  EXPECT_EQ(MustReadAll(*db_), model_);
  EXPECT_EQ(db_->DeleteSeries({}, {}).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(db_->DeleteSeries(std::vector<Matcher>{{MatchType::kRegex, "i", "("}}, {}).code(),
            StatusCode::kInvalidArgument);
}

TEST_F(DatabaseTest, RetentionByTimeDropsWholeBlocks) {
  options_.retention_time = std::chrono::hours(10);
  Reopen();
  for (int h = 0; h < 40; ++h) ASSERT_TRUE(Append(Series(1), h * kHour, h).ok());
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_TRUE(db_->Maintain().ok());
  const Contents left = MustReadAll(*db_);
  const auto& series = left.at(ToString(LabelsView(Series(1))));
  EXPECT_GE(series.begin()->first, 29 * kHour - 2 * kHour);
  EXPECT_LE(series.begin()->first, 29 * kHour);
  EXPECT_EQ(series.rbegin()->first, 39 * kHour);
  EXPECT_GT(db_->Stats().blocks_expired, 0u);
}

TEST_F(DatabaseTest, RetentionIsNotFooledByTheClockOrOneFutureSample) {
  auto clock = std::make_shared<ManualClock>(40 * kHour);
  options_.clock = clock;
  options_.retention_time = std::chrono::hours(10);
  Reopen();
  for (int h = 30; h < 40; ++h) ASSERT_TRUE(Append(Series(1), h * kHour, h).ok());
  ASSERT_TRUE(db_->Flush().ok());
  clock->Advance(std::chrono::hours(24 * 3650));
  ASSERT_TRUE(db_->Maintain().ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
  clock->Advance(-std::chrono::hours(24 * 3650));
  ASSERT_TRUE(Append(Series(2), 1'000'000 * kHour, 1).ok());
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_TRUE(db_->Maintain().ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, RetentionBySizeDropsTheOldest) {
  options_.retention_bytes = 1;
  Reopen();
  for (int h = 0; h < 10; ++h) ASSERT_TRUE(Append(Series(1), h * kHour, h).ok());
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_TRUE(db_->Maintain().ok());
  EXPECT_TRUE(MustReadAll(*db_).empty());
}

TEST_F(DatabaseTest, TheHeadSealsItselfWhenDue) {
  for (int m = 0; m < 200; ++m) ASSERT_TRUE(Append(Series(1), m * 60'000, m).ok());
  EXPECT_EQ(db_->Stats().blocks.size(), 0u);
  ASSERT_TRUE(db_->Maintain().ok());
  EXPECT_GT(db_->Stats().blocks.size(), 0u);
  EXPECT_EQ(db_->Stats().head_samples, 0u);
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, BackupOpensLikeAnyDatabase) {
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(Append(Series(t % 3), t * 1000, t).ok());
  ASSERT_TRUE(db_->Backup("copy").ok());
  EXPECT_EQ(db_->Backup("copy").code(), StatusCode::kAlreadyExists);
  ASSERT_TRUE(Append(Series(9), 60'000, 1).ok());
  Options copy = options_;
  copy.dir = "copy";
  auto other = MustOpen(copy);
  model_.erase(ToString(LabelsView(Series(9))));
  EXPECT_EQ(MustReadAll(*other), model_);
  EXPECT_TRUE(other->recovery().clean());
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(Series(1)), 70'000, 1);
  EXPECT_TRUE(other->Append(batch).ok());
}

TEST_F(DatabaseTest, BackupWithoutHeadsHasTheBlocksOnly) {
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(Append(Series(t % 3), t * 1000, t).ok());
  ASSERT_TRUE(db_->Flush().ok());
  const auto sealed = model_;
  const uint64_t blocks = db_->Stats().blocks.size();
  for (int t = 50; t < 80; ++t) ASSERT_TRUE(Append(Series(t % 5), t * 1000, t).ok());
  ASSERT_TRUE(db_->Backup("copy", {.skip_heads = true}).ok());
  EXPECT_EQ(db_->Backup("copy", {.skip_heads = true}).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(db_->Stats().blocks.size(), blocks);  // nothing was sealed for it
  EXPECT_EQ(db_->Stats().head_samples, 30u);
  Options copy = options_;
  copy.dir = "copy";
  auto other = MustOpen(copy);
  EXPECT_EQ(MustReadAll(*other), sealed);
  EXPECT_TRUE(other->recovery().clean());
  // The copy takes what it lacks, and keeps it.
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(Series(1)), 70'000, 1);
  ASSERT_TRUE(other->Append(batch).ok());
  const auto more = MustReadAll(*other);
  ASSERT_TRUE(other->Close().ok());
  other = MustOpen(copy);
  EXPECT_EQ(MustReadAll(*other), more);
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, BulkLoadIsVisibleAllAtOnce) {
  auto loader = *db_->StartBulkLoad();
  std::vector<int64_t> times;
  std::vector<double> values;
  for (int t = 0; t < 1000; ++t) {
    times.push_back(t * 60'000);
    values.push_back(t);
  }
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(loader->AddSamples(Series(i), times, values).ok());
    for (int t = 0; t < 1000; ++t) model_[ToString(LabelsView(Series(i)))][times[t]] = Bits(t);
  }
  EXPECT_EQ(
      loader->AddSamples(Series(1), std::vector<int64_t>{5, 5}, std::vector<double>{1, 1}).code(),
      StatusCode::kInvalidArgument);
  EXPECT_TRUE(MustReadAll(*db_).empty());
  ASSERT_TRUE(loader->Finish().ok());
  EXPECT_EQ(loader->Finish().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(MustReadAll(*db_), model_);
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), model_);
  {
    auto abandoned = *db_->StartBulkLoad();
    ASSERT_TRUE(abandoned->AddSamples(Series(7), times, values).ok());
  }
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, SamplesStrewnOverAgesStayFew) {
  auto loader = *db_->StartBulkLoad();
  std::vector<int64_t> times{kMinTime, kMinTime + 1};
  for (int i = 0; i < 500; ++i) times.push_back(i * 1000 * kHour);
  times.push_back(kMaxTime - 1);
  times.push_back(kMaxTime);
  std::vector<double> values(times.size(), 1.5);
  ASSERT_TRUE(loader->AddSamples(Series(1), times, values).ok());
  ASSERT_TRUE(loader->Finish().ok());
  EXPECT_LE(db_->Stats().blocks.size(), 32u);
  for (const int64_t time : times) model_[ToString(LabelsView(Series(1)))][time] = Bits(1.5);
  EXPECT_EQ(MustReadAll(*db_), model_);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, HistogramsExemplarsAndMetadataSurviveEverything) {
  Histogram h;
  h.count = 3;
  h.sum = 4.5;
  h.positive_spans = {{0, 2}};
  h.positive_deltas = {1, 1};
  WriteBatch batch;
  const uint32_t series = batch.AddSeries(Series(1));
  for (int t = 1; t <= 20; ++t) {
    h.sum = t;
    batch.AddHistogram(series, t * 1000, h, t > 10 ? 500 : kNoStartTime);
  }
  batch.AddExemplar(series, {Labels{{"trace_id", "abc"}}, 1, 5000, true});
  batch.AddMetadata("m", {MetricType::kHistogram, "some help", "seconds"});
  ASSERT_TRUE(db_->Append(batch).ok());
  const auto check = [&] {
    auto snapshot = *db_->TakeSnapshot();
    auto set = *snapshot->Select({}, {});
    ASSERT_EQ(set->size(), 1u);
    std::vector<Chunk> chunks;
    ASSERT_TRUE(set->GetChunks(0, {}, &chunks).ok());
    std::vector<Histogram> all;
    std::vector<int64_t> starts;
    for (const Chunk& chunk : chunks) {
      std::vector<Histogram> part;
      ASSERT_TRUE(chunk.DecodeHistograms(&part).ok());
      all.insert(all.end(), part.begin(), part.end());
      std::vector<int64_t> own(chunk.count);
      ASSERT_TRUE(chunk.DecodeStartTimes(own).ok());
      starts.insert(starts.end(), own.begin(), own.end());
    }
    ASSERT_EQ(all.size(), 20u);
    for (int t = 1; t <= 20; ++t) {
      h.sum = t;
      EXPECT_TRUE(BitEqual(all[t - 1], h)) << t;
      EXPECT_EQ(starts[t - 1], t > 10 ? 500 : 0);
    }
    const auto exemplars = snapshot->Exemplars({}, {});
    ASSERT_TRUE(exemplars.ok());
    ASSERT_EQ(exemplars->size(), 1u);
    EXPECT_EQ((*exemplars)[0].exemplars[0].labels.Get("trace_id"), "abc");
    EXPECT_EQ(snapshot->FamilyMetadata().at("m")[0].help, "some help");
  };
  check();
  Reopen();
  check();
  ASSERT_TRUE(db_->Flush().ok());
  check();
  batch.Clear();
  batch.AddSample(batch.AddSeries(Series(2)), 1000, 1);
  ASSERT_TRUE(db_->Append(batch).ok());
  ASSERT_TRUE(db_->DeleteSeries(std::vector<Matcher>{{MatchType::kEqual, "i", "2"}}, {}).ok());
  ASSERT_TRUE(db_->Compact().ok());
  Reopen();
  check();
}

TEST_F(DatabaseTest, LookupsFollowMatchersTimeAndLimits) {
  ASSERT_TRUE(Append(Labels{{"__name__", "a"}, {"job", "x"}}, 1000, 1).ok());
  ASSERT_TRUE(db_->Flush().ok());
  ASSERT_TRUE(Append(Labels{{"__name__", "b"}, {"job", "y"}, {"zone", "1"}}, 600'000, 1).ok());
  auto snapshot = *db_->TakeSnapshot();
  using Strings = std::vector<std::string>;
  EXPECT_EQ(snapshot->LabelNames({}, {}, {})->values, (Strings{"__name__", "job", "zone"}));
  EXPECT_EQ(snapshot->LabelNames({}, {0, 2000}, {})->values, (Strings{"__name__", "job"}));
  EXPECT_EQ(snapshot->LabelValues("job", {}, {}, {})->values, (Strings{"x", "y"}));
  const std::vector<Matcher> b{{MatchType::kEqual, "__name__", "b"}};
  EXPECT_EQ(snapshot->LabelValues("job", b, {}, {})->values, (Strings{"y"}));
  const auto limited = snapshot->LabelValues("job", {}, {}, {1});
  EXPECT_EQ(limited->values, (Strings{"x"}));
  EXPECT_TRUE(limited->truncated);
  const auto stats = snapshot->CardinalityStats(10);
  ASSERT_TRUE(stats.ok());
  EXPECT_EQ(stats->series, 2u);
  EXPECT_EQ(stats->series_by_metric.size(), 2u);
  EXPECT_EQ(snapshot->time_range(), (TimeRange{1000, 600'000}));
}

TEST_F(DatabaseTest, OneProcessHoldsTheDirectory) {
  EXPECT_EQ(Database::Open(options_).status().code(), StatusCode::kFailedPrecondition);
  Options reader = options_;
  reader.read_only = true;
  ASSERT_TRUE(Append(Series(1), 1000, 1).ok());
  auto other = Database::Open(reader);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_EQ(MustReadAll(**other), model_);
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(Series(1)), 2000, 1);
  EXPECT_EQ((*other)->Append(batch).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ((*other)->Flush().code(), StatusCode::kFailedPrecondition);
  Options missing = options_;
  missing.dir = "nowhere";
  missing.create_if_missing = false;
  EXPECT_EQ(Database::Open(missing).status().code(), StatusCode::kNotFound);
}

TEST_F(DatabaseTest, AClosedDatabaseSaysSo) {
  ASSERT_TRUE(db_->Close().ok());
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(Series(1)), 2000, 1);
  EXPECT_EQ(db_->Append(batch).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(db_->TakeSnapshot().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(db_->Flush().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(db_->Compact().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(db_->StartBulkLoad().status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(db_->Close().ok());
}

TEST_F(DatabaseTest, AFullDiskRefusesWritesKeepsReadsAndResumes) {
  for (int t = 0; t < 50; ++t) ASSERT_TRUE(Append(Series(1), t * 1000, t).ok());
  fs_->SetCapacity(fs_->bytes_used() + 100);
  Status status;
  int t = 50;
  // Long labels, so that the room that the log has reserved is soon used up.
  const auto wide = [](int i) {
    return Labels{{"__name__", "m"}, {"i", std::to_string(i) + std::string(8000, 'x')}};
  };
  for (; t < 5000 && status.ok(); ++t) status = Append(wide(t), t * 1000, t);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(Append(wide(t + i), (t + i) * 1000, 1).code(), StatusCode::kResourceExhausted);
  }
  EXPECT_FALSE(db_->Stats().read_only);
  // All acknowledged samples are there; the refused batch may be.
  Contents now = MustReadAll(*db_);
  for (const auto& [labels, samples] : model_) {
    for (const auto& [time, bits] : samples) EXPECT_EQ(now[labels][time], bits);
  }
  fs_->SetCapacity(io::kForever);
  ASSERT_TRUE(Append(Series(1), (t + 10) * 1000, 1).ok());
  now = MustReadAll(*db_);
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), now);
  for (const auto& [labels, samples] : model_) {
    for (const auto& [time, bits] : samples) EXPECT_EQ(now[labels][time], bits);
  }
}

TEST_F(DatabaseTest, AFailedSyncMakesTheStoreReadOnly) {
  ASSERT_TRUE(Append(Series(1), 1000, 1).ok());
  fs_->Inject({.kinds = io::kOpSync, .path_contains = "wal"});
  EXPECT_FALSE(Append(Series(1), 2000, 2).ok());
  EXPECT_EQ(Append(Series(1), 3000, 3).code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(db_->Stats().read_only);
  EXPECT_GE(MustReadAll(*db_).size(), 1u);
  fs_->ClearFaults();
  db_.reset();
  db_ = MustOpen(options_);
  EXPECT_TRUE(Append(Series(1), 4000, 4).ok());
  EXPECT_EQ(MustReadAll(*db_).at(ToString(LabelsView(Series(1)))).count(1000), 1u);
}

TEST_F(DatabaseTest, ManyWritersShareSyncs) {
  fs_->SetSyncDelay(std::chrono::microseconds(1000));
  const uint64_t before = db_->Stats().wal_syncs;
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int w = 0; w < 16; ++w) {
    threads.emplace_back([&, w] {
      for (int t = 0; t < 100; ++t) {
        WriteBatch batch;
        batch.AddSample(batch.AddSeries(Series(w)), t * 1000, t);
        if (!db_->Append(batch).ok()) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_LT(db_->Stats().wal_syncs - before, 800u);
  Contents all = MustReadAll(*db_);
  EXPECT_EQ(all.size(), 16u);
  for (const auto& [labels, samples] : all) EXPECT_EQ(samples.size(), 100u);
}

TEST_F(DatabaseTest, ReadersWritersAndMaintenanceAtOnce) {
  std::atomic<bool> stop = false;
  std::atomic<int> written = 0;
  std::vector<std::thread> threads;
  for (int w = 0; w < 3; ++w) {
    threads.emplace_back([&, w] {
      for (int t = 0; t < 400; ++t) {
        WriteBatch batch;
        const uint32_t a = batch.AddSeries(Series(w, "left"));
        const uint32_t b = batch.AddSeries(Series(w, "right"));
        batch.AddSample(a, t * 1000, t);
        batch.AddSample(b, t * 1000, t);
        WriteOptions options;
        options.partial = true;
        if (db_->Append(batch, options).ok()) ++written;
      }
    });
  }
  threads.emplace_back([&] {
    while (!stop) {
      db_->Flush().IgnoreError();
      db_->Compact().IgnoreError();
    }
  });
  for (int i = 0; i < 60; ++i) {
    auto snapshot = *db_->TakeSnapshot();
    const auto first = ReadAll(*snapshot);
    const auto second = ReadAll(*snapshot);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_EQ(*first, *second);
    // A batch is in or out as a whole: both series of a writer have the same times.
    for (int w = 0; w < 3; ++w) {
      const auto left = first->find(ToString(LabelsView(Series(w, "left"))));
      const auto right = first->find(ToString(LabelsView(Series(w, "right"))));
      ASSERT_EQ(left == first->end(), right == first->end());
      if (left != first->end()) {
        EXPECT_EQ(left->second, right->second);
      }
    }
  }
  for (int w = 0; w < 3; ++w) threads[w].join();
  stop = true;
  threads.back().join();
  EXPECT_EQ(written, 1200);
  const Contents all = MustReadAll(*db_);
  EXPECT_EQ(all.size(), 6u);
  for (const auto& [labels, samples] : all) EXPECT_EQ(samples.size(), 400u);
}

TEST_F(DatabaseTest, BackgroundThreadsSealAndClose) {
  options_.background_threads = 2;
  options_.head_bytes_max = 10'000;
  Reopen();
  for (int t = 0; t < 3000; ++t) ASSERT_TRUE(Append(Series(t % 50), t * 100, t).ok());
  for (int i = 0; i < 200 && db_->Stats().seals == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_GT(db_->Stats().seals, 0u);
  EXPECT_TRUE(db_->Stats().background_error.ok()) << db_->Stats().background_error;
  EXPECT_EQ(MustReadAll(*db_), model_);
  Reopen();
  EXPECT_EQ(MustReadAll(*db_), model_);
}

TEST_F(DatabaseTest, ProcessCrashDurabilityNeedsNoSync) {
  const uint64_t before = db_->Stats().wal_syncs;
  WriteOptions options;
  options.durability = Durability::kProcessCrash;
  for (int t = 0; t < 100; ++t) {
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(Series(1)), t * 1000, t);
    ASSERT_TRUE(db_->Append(batch, options).ok());
  }
  EXPECT_LE(db_->Stats().wal_syncs - before, 5u);
  Options after_kill = options_;
  after_kill.file_system = fs_->Crash(io::CrashPolicy::kKeepAll, 1);
  auto recovered = MustOpen(after_kill);
  EXPECT_EQ(MustReadAll(*recovered).begin()->second.size(), 100u);
}

}  // namespace
}  // namespace varve::db_testing
