#include "engine/metrics/head.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "engine/metrics/chunk_merge.h"
#include "engine/metrics/source.h"

namespace varve::metrics {
namespace {

constexpr int64_t kMinute = 60 * 1000;

HeadOptions SomeOptions(int64_t window_ms = 30 * kMinute) {
  HeadOptions options;
  options.out_of_order_window_ms = window_ms;
  options.block_range_ms = 120 * kMinute;
  return options;
}

class HeadTest : public testing::Test {
 protected:
  std::shared_ptr<Head> head_ =
      std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  std::vector<std::string> log_;
  Status log_status_;

  Result<AppendResult> Append(const WriteBatch& batch, bool partial = false) {
    return Append(*head_, batch, partial);
  }
  Result<AppendResult> Append(Head& head, const WriteBatch& batch, bool partial = false) {
    WriteOptions options;
    options.partial = partial;
    return head.Append(batch, options, [this](std::span<const std::string_view> pieces) {
      if (!log_status_.ok()) return log_status_;
      std::string record;
      for (const std::string_view piece : pieces) record.append(piece);
      log_.push_back(record);
      return absl::OkStatus();
    });
  }
  Status AppendOne(const Labels& labels, int64_t time, double value) {
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(labels), time, value);
    return Append(batch).status();
  }
  static std::map<int64_t, double> Read(const Source& source, const Labels& labels) {
    std::vector<LabelView> own;
    const auto all = source.Select({}, TimeRange{});
    EXPECT_TRUE(all.ok());
    std::map<int64_t, double> out;
    for (const uint32_t series : *all) {
      source.GetLabels(series, &own);
      if (CompareLabels(own, labels) != 0) continue;
      std::vector<Chunk> chunks;
      EXPECT_TRUE(source.GetChunks(series, TimeRange{}, &chunks).ok());
      int64_t last = kMinTime;
      for (const Chunk& chunk : chunks) {
        SampleRun run;
        EXPECT_TRUE(DecodeChunk(chunk, &run).ok());
        EXPECT_EQ(run.times.back(), chunk.max_time_ms);
        for (size_t i = 0; i < run.size(); ++i) {
          EXPECT_GT(run.times[i], last);
          last = run.times[i];
          out[last] = chunk.kind == ChunkKind::kFloat ? run.values[i] : run.histograms[i].sum;
        }
      }
    }
    return out;
  }
  std::map<int64_t, double> Read(const Labels& labels) const {
    return Read(*MakeHeadSource(head_), labels);
  }
};

const Labels kUp{{"__name__", "up"}, {"job", "a"}};

TEST_F(HeadTest, PrometheusRulesForOneSeries) {
  EXPECT_TRUE(AppendOne(kUp, 1000, 1).ok());
  EXPECT_TRUE(AppendOne(kUp, 1000, 1).ok());  // an exact repeat is fine
  EXPECT_EQ(log_.size(), 1u);                 // and not logged
  EXPECT_EQ(AppendOne(kUp, 1000, 2).code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(AppendOne(kUp, 500, 7).ok());  // late, inside the window
  EXPECT_TRUE(AppendOne(kUp, 40 * kMinute, 3).ok());
  EXPECT_EQ(AppendOne(kUp, 1500, 3).code(), StatusCode::kOutOfRange);
  EXPECT_EQ(Read(kUp), (std::map<int64_t, double>{{500, 7}, {1000, 1}, {40 * kMinute, 3}}));
}

TEST_F(HeadTest, WithoutAWindowLateIsOutOfOrder) {
  head_ = std::make_shared<Head>(1, SomeOptions(0), kMinTime, SealedSamples{}, nullptr);
  EXPECT_TRUE(AppendOne(kUp, 1000, 1).ok());
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(kUp), 999, 1);
  const auto result = Append(batch, true);
  ASSERT_TRUE(result.ok());
  ASSERT_EQ(result->rejections.size(), 1u);
  EXPECT_EQ(result->rejections[0].reason, RejectReason::kOutOfOrder);
  EXPECT_TRUE(AppendOne(kUp, 300 * kMinute, 1).ok());
  // A new series far behind the newest sample is out of bounds.
  WriteBatch old;
  old.AddSample(old.AddSeries(Labels{{"__name__", "other"}}), 1000, 1);
  const auto bounds = Append(old, true);
  ASSERT_EQ(bounds->rejections.size(), 1u);
  EXPECT_EQ(bounds->rejections[0].reason, RejectReason::kOutOfBounds);
}

TEST_F(HeadTest, AWholeBatchIsRejectedForOneBadRow) {
  WriteBatch batch;
  const uint32_t up = batch.AddSeries(kUp);
  const uint32_t down = batch.AddSeries(Labels{{"__name__", "down"}});
  batch.AddSample(up, 1000, 1);
  batch.AddSample(down, 1000, 1);
  batch.AddSample(up, 1000, 2);
  EXPECT_EQ(Append(batch).status().code(), StatusCode::kAlreadyExists);
  EXPECT_TRUE(log_.empty());
  EXPECT_TRUE(Read(kUp).empty());
  const auto partial = Append(batch, true);
  ASSERT_TRUE(partial.ok());
  EXPECT_EQ(partial->samples, 2u);
  EXPECT_EQ(partial->rejected, 1u);
  EXPECT_EQ(partial->rejections[0].index, 2u);
  EXPECT_EQ(Read(kUp).size(), 1u);
}

TEST_F(HeadTest, BadLabelsAreRejectedByName) {
  WriteBatch batch;
  const LabelView repeated[] = {{"a", "1"}, {"a", "2"}};
  batch.AddSample(batch.AddSeries(LabelsView(repeated)), 1, 1);
  batch.AddSample(batch.AddSeries(Labels{}), 1, 1);
  batch.AddSample(batch.AddSeries(kUp), 1, 1);
  EXPECT_EQ(Append(batch).status().code(), StatusCode::kInvalidArgument);
  const auto partial = Append(batch, true);
  ASSERT_TRUE(partial.ok());
  EXPECT_EQ(partial->samples, 1u);
  EXPECT_EQ(partial->rejected, 2u);
  ASSERT_EQ(partial->rejections.size(), 2u);
  EXPECT_EQ(partial->rejections[0].row, Rejection::Row::kSeries);
  EXPECT_EQ(partial->refs[0], 0u);
  EXPECT_NE(partial->refs[2], 0u);
}

TEST_F(HeadTest, ReferencesReplaceLabelsUntilTheyAreStale) {
  WriteBatch batch;
  batch.AddSample(batch.AddSeries(kUp), 1, 1);
  const auto first = Append(batch);
  ASSERT_TRUE(first.ok());
  batch.Clear();
  batch.AddSample(batch.AddSeries(first->refs[0]), 2, 2);
  ASSERT_TRUE(Append(batch).ok());
  EXPECT_EQ(Read(kUp).size(), 2u);

  auto next = std::make_shared<Head>(2, SomeOptions(), 2, SealedSamples{}, head_);
  const auto stale = Append(*next, batch);
  ASSERT_TRUE(stale.ok());
  EXPECT_TRUE(stale->stale_refs);
  EXPECT_EQ(stale->refs[0], 0u);
  EXPECT_EQ(next->samples(), 0u);
}

TEST_F(HeadTest, TheNextHeadRemembersTheNewestSamples) {
  ASSERT_TRUE(AppendOne(kUp, 1000, 1).ok());
  for (const bool forget : {false, true}) {
    SealedSamples sealed;
    sealed.newest_time_ms = [] { return int64_t{1000}; };
    sealed.find = [](LabelsView, int64_t) {
      return NewestSample{1000, std::bit_cast<uint64_t>(1.0), ChunkKind::kFloat, true};
    };
    auto next = forget ? std::make_shared<Head>(2, SomeOptions(), 1000, sealed, nullptr)
                       : std::make_shared<Head>(2, SomeOptions(), 1000, SealedSamples{}, head_);
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(kUp), 1000, 5);
    EXPECT_EQ(Append(*next, batch).status().code(), StatusCode::kAlreadyExists);
    batch.Clear();
    batch.AddSample(batch.AddSeries(kUp), 1000, 1);
    EXPECT_TRUE(Append(*next, batch).ok());
    EXPECT_EQ(next->samples(), 0u);
    batch.Clear();
    batch.AddSample(batch.AddSeries(kUp), 900, 9);
    batch.AddSample(0, 1100, 11);
    EXPECT_TRUE(Append(*next, batch).ok());
    EXPECT_EQ(Read(*MakeHeadSource(next), kUp), (std::map<int64_t, double>{{900, 9}, {1100, 11}}));
  }
}

TEST_F(HeadTest, NothingChangesWhenTheLogRefuses) {
  log_status_ = MakeStatus(StatusCode::kResourceExhausted, "disk full");
  EXPECT_EQ(AppendOne(kUp, 1, 1).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(Read(kUp).empty());
  log_status_ = absl::OkStatus();
  ASSERT_TRUE(AppendOne(kUp, 1, 1).ok());
  // The definition must be in the record that made it, not in the one that was refused.
  auto replayed = std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  for (const std::string& record : log_) ASSERT_TRUE(replayed->ReplayBatch(record).ok());
  EXPECT_EQ(Read(*MakeHeadSource(replayed), kUp), (std::map<int64_t, double>{{1, 1}}));
}

TEST_F(HeadTest, ReplayRebuildsTheSameSeries) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 500; ++i) {
    WriteBatch batch;
    for (int j = 0; j < 5; ++j) {
      const uint32_t series =
          batch.AddSeries(Labels{{"__name__", "m"}, {"n", std::to_string(random() % 7)}});
      batch.AddSample(series, i * 1000 - static_cast<int64_t>(random() % 100000),
                      static_cast<double>(random() % 5), random() % 10 == 0 ? 77 : kNoStartTime);
    }
    ASSERT_TRUE(Append(batch, true).ok());
  }
  auto replayed = std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  for (const std::string& record : log_) ASSERT_TRUE(replayed->ReplayBatch(record).ok());
  EXPECT_EQ(replayed->samples(), head_->samples());
  EXPECT_EQ(replayed->newest_time_ms(), head_->newest_time_ms());
  for (int n = 0; n < 7; ++n) {
    const Labels labels{{"__name__", "m"}, {"n", std::to_string(n)}};
    EXPECT_EQ(Read(*MakeHeadSource(replayed), labels), Read(labels));
  }
}

TEST_F(HeadTest, ReplayOfDamageIsAnErrorNotACrash) {
  ASSERT_TRUE(AppendOne(kUp, 1, 1).ok());
  ASSERT_TRUE(AppendOne(kUp, 2, 2).ok());
  auto replayed = std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  // The definition is in the first record only.
  EXPECT_EQ(replayed->ReplayBatch(log_[1]).code(), StatusCode::kDataLoss);
  EXPECT_EQ(replayed->ReplayBatch("\xff\xff").code(), StatusCode::kDataLoss);
}

TEST_F(HeadTest, SnapshotsDoNotSeeLaterAppends) {
  std::mt19937_64 random(17);
  const Labels labels[] = {Labels{{"s", "0"}}, Labels{{"s", "1"}}, Labels{{"s", "2"}}};
  struct Pinned {
    SourcePtr source;
    std::map<int64_t, double> expected[3];
  };
  std::vector<Pinned> pinned;
  std::map<int64_t, double> model[3];
  int64_t now = 0;
  for (int i = 0; i < 3000; ++i) {
    const size_t s = random() % 3;
    now += static_cast<int64_t>(random() % 2000);
    const int64_t time = random() % 4 == 0 ? now - static_cast<int64_t>(random() % 50000) : now;
    const double value = static_cast<double>(random() % 100);
    if (AppendOne(labels[s], time, value).ok()) model[s].emplace(time, value);
    if (random() % 40 == 0) {
      pinned.push_back({MakeHeadSource(head_), {model[0], model[1], model[2]}});
    }
    if (!pinned.empty() && random() % 60 == 0)
      pinned.erase(pinned.begin() + random() % pinned.size());
    if (i % 100 == 0) {
      for (const Pinned& pin : pinned) {
        for (size_t k = 0; k < 3; ++k)
          ASSERT_EQ(Read(*pin.source, labels[k]), pin.expected[k]) << i;
      }
    }
  }
  EXPECT_FALSE(pinned.empty());
  for (size_t k = 0; k < 3; ++k) EXPECT_EQ(Read(labels[k]), model[k]);
}

TEST_F(HeadTest, StaleMarkersFollowTheKindOfTheSeries) {
  WriteBatch batch;
  const uint32_t series = batch.AddSeries(kUp);
  Histogram h;
  h.count = 1;
  h.sum = 2;
  h.positive_spans = {{0, 1}};
  h.positive_deltas = {1};
  batch.AddHistogram(series, 1000, h);
  ASSERT_TRUE(Append(batch).ok());
  ASSERT_TRUE(AppendOne(kUp, 2000, StaleNan()).ok());
  std::vector<Chunk> chunks;
  const SourcePtr source = MakeHeadSource(head_);
  ASSERT_TRUE(source->GetChunks(0, TimeRange{}, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].kind, ChunkKind::kHistogram);
  std::vector<Histogram> histograms;
  ASSERT_TRUE(chunks[0].DecodeHistograms(&histograms).ok());
  ASSERT_EQ(histograms.size(), 2u);
  EXPECT_TRUE(histograms[1].is_stale());
}

TEST_F(HeadTest, AnotherHistogramAtTheNewestTimeIsADuplicate) {
  Histogram h;
  h.count = 3;
  h.sum = 2;
  h.positive_spans = {{0, 2}};
  h.positive_deltas = {1, 1};
  const auto append = [&](const Histogram& histogram) {
    WriteBatch batch;
    batch.AddHistogram(batch.AddSeries(kUp), 1000, histogram);
    return Append(batch).status();
  };
  ASSERT_TRUE(append(h).ok());
  EXPECT_TRUE(append(h).ok());  // a repeat
  Histogram same = h;
  same.reset_hint = CounterResetHint::kNotReset;
  same.positive_spans = {{-1, 3}};  // spells out an empty bucket
  same.positive_deltas = {0, 1, 1};
  EXPECT_TRUE(append(same).ok());
  // The same sum in other buckets, elsewhere, or counted in another way.
  Histogram other = h;
  other.positive_deltas = {2, -1};
  EXPECT_EQ(append(other).code(), StatusCode::kAlreadyExists);
  other = h;
  other.positive_spans = {{1, 2}};
  EXPECT_EQ(append(other).code(), StatusCode::kAlreadyExists);
  other = h;
  std::swap(other.positive_spans, other.negative_spans);
  std::swap(other.positive_deltas, other.negative_deltas);
  EXPECT_EQ(append(other).code(), StatusCode::kAlreadyExists);
  other = h;
  other.schema = 1;
  EXPECT_EQ(append(other).code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(append(Histogram()).code(), StatusCode::kAlreadyExists);
  // And after replay.
  auto replayed = std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  for (const std::string& record : log_) ASSERT_TRUE(replayed->ReplayBatch(record).ok());
  EXPECT_EQ(replayed->samples(), 1u);
  WriteBatch batch;
  batch.AddHistogram(batch.AddSeries(kUp), 1000, same);
  EXPECT_TRUE(Append(*replayed, batch).ok());
  EXPECT_EQ(replayed->samples(), 1u);
}

TEST_F(HeadTest, KindsAlternateInTimeOrder) {
  for (int i = 0; i < 10; ++i) {
    WriteBatch batch;
    const uint32_t series = batch.AddSeries(kUp);
    Histogram h;
    h.sum = i;
    if (i % 2 == 0) {
      batch.AddSample(series, i * 1000, i);
    } else {
      batch.AddHistogram(series, i * 1000, h);
    }
    ASSERT_TRUE(Append(batch).ok());
  }
  std::map<int64_t, double> expected;
  for (int i = 0; i < 10; ++i) expected[i * 1000] = i;
  EXPECT_EQ(Read(kUp), expected);
}

TEST_F(HeadTest, ExemplarsAndMetadata) {
  WriteBatch batch;
  const uint32_t series = batch.AddSeries(kUp);
  batch.AddSample(series, 1000, 1);
  batch.AddExemplar(series, {Labels{{"trace_id", "x"}}, 3, 900, true});
  batch.AddExemplar(series, {Labels{{"trace_id", std::string(200, 'x')}}, 3, 901, true});
  batch.AddMetadata("up", {MetricType::kGauge, "is it up", ""});
  batch.AddMetadata("up", {MetricType::kGauge, "is it up", ""});
  const auto result = Append(batch);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->exemplars, 1u);
  EXPECT_EQ(result->exemplars_rejected, 1u);
  EXPECT_EQ(head_->AllMetadata().at("up").size(), 1u);
  auto replayed = std::make_shared<Head>(1, SomeOptions(), kMinTime, SealedSamples{}, nullptr);
  for (const std::string& record : log_) ASSERT_TRUE(replayed->ReplayBatch(record).ok());
  EXPECT_EQ(replayed->exemplar_count(), 1u);
  EXPECT_EQ(replayed->AllMetadata().at("up")[0].help, "is it up");
}

TEST_F(HeadTest, RangesNarrowWhatIsReturned) {
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(AppendOne(kUp, i * 1000, i).ok());
  const SourcePtr source = MakeHeadSource(head_);
  std::vector<Chunk> chunks;
  ASSERT_TRUE(source->GetChunks(0, {500'000, 501'000}, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_TRUE(chunks[0].has(kChunkNonDecreasing));
  EXPECT_TRUE(source->Select({}, {2'000'000, 3'000'000})->empty());
  std::vector<double> some(3);
  ASSERT_TRUE(chunks[0].DecodeValues(10, some).ok());
  EXPECT_EQ(some[2] - some[0], 2);
}

}  // namespace
}  // namespace varve::metrics
