// Random operations against a std::map, with the seed in every message.

#include <gtest/gtest.h>

#include <random>

#include "engine/base/strings.h"
#include "tests/db/db_testing.h"

namespace varve::db_testing {
namespace {

void RunModel(uint64_t seed) {
  SCOPED_TRACE(Concat("seed ", seed));
  std::mt19937_64 random(seed);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Options options = TestOptions(fs);
  options.block_range = std::chrono::milliseconds(100'000 + random() % 1'000'000);
  options.out_of_order_window = std::chrono::milliseconds(random() % 3 == 0 ? 0 : 500'000);
  auto db = MustOpen(options);
  Contents model;
  struct Pinned {
    std::shared_ptr<const Snapshot> snapshot;
    Contents contents;
  };
  std::vector<Pinned> pinned;
  int64_t now = 1'000'000;
  uint64_t judged = 0;
  for (int step = 0; step < 300; ++step) {
    switch (random() % 24) {
      case 0:
        ASSERT_TRUE(db->Flush().ok());
        break;
      case 1:
        ASSERT_TRUE(db->Compact().ok());
        break;
      case 2:
        ASSERT_TRUE(db->Maintain().ok());
        break;
      case 3:
        pinned.clear();
        ASSERT_TRUE(db->Close().ok());
        db = MustOpen(options);
        ASSERT_TRUE(db->recovery().clean());
        break;
      case 4: {
        const std::vector<Matcher> matchers{
            {random() % 2 == 0 ? MatchType::kEqual : MatchType::kNotEqual, "i",
             std::to_string(random() % 6)}};
        const int64_t begin = now - static_cast<int64_t>(random() % 800'000);
        const TimeRange range{begin, begin + static_cast<int64_t>(random() % 300'000)};
        ASSERT_TRUE(db->DeleteSeries(matchers, range).ok());
        for (int i = 0; i < 6; ++i) {
          const bool equal = std::to_string(i) == matchers[0].value;
          if (equal != (matchers[0].type == MatchType::kEqual)) continue;
          const auto series = model.find(ToString(LabelsView(Series(i))));
          if (series == model.end()) continue;
          series->second.erase(series->second.lower_bound(range.min_ms),
                               series->second.upper_bound(range.max_ms));
          if (series->second.empty()) model.erase(series);
        }
        break;
      }
      case 5:
        pinned.push_back({*db->TakeSnapshot(), model});
        break;
      case 6:
        if (!pinned.empty()) pinned.erase(pinned.begin() + random() % pinned.size());
        break;
      default: {
        WriteBatch batch;
        struct Row {
          std::string labels;
          int64_t time;
          double value;
        };
        std::vector<Row> rows;
        for (size_t n = 0; n < 1 + random() % 20; ++n) {
          const int i = static_cast<int>(random() % 6);
          now += static_cast<int64_t>(random() % 5000);
          int64_t time = random() % 5 == 0 ? now - static_cast<int64_t>(random() % 600'000) : now;
          const auto stored = model.find(ToString(LabelsView(Series(i))));
          if (stored != model.end() && random() % 6 == 0) time = stored->second.rbegin()->first;
          const double value = random() % 9 == 0 ? StaleNan() : static_cast<double>(random() % 50);
          batch.AddSample(batch.AddSeries(Series(i)), time, value);
          rows.push_back({ToString(LabelsView(Series(i))), time, value});
        }
        WriteOptions write;
        write.partial = true;
        const auto result = db->Append(batch, write);
        ASSERT_TRUE(result.ok()) << result.status();
        ASSERT_EQ(result->rejections.size(), result->rejected);
        std::vector<bool> rejected(rows.size());
        for (const Rejection& rejection : result->rejections) rejected[rejection.index] = true;
        for (size_t r = 0; r < rows.size(); ++r) {
          // Wherever the newest sample of a series is stored, and whichever process stored it:
          // another value at its time is refused, and the same value is taken.
          const auto stored = model.find(rows[r].labels);
          if (stored != model.end() && stored->second.rbegin()->first == rows[r].time &&
              rows[r].time >= now - options.block_range.count() / 2) {
            ++judged;
            const bool same = stored->second.rbegin()->second == Bits(rows[r].value);
            ASSERT_EQ(rejected[r], !same)
                << "step " << step << " " << rows[r].labels << " at " << rows[r].time;
          }
          if (!rejected[r]) model[rows[r].labels].emplace(rows[r].time, Bits(rows[r].value));
        }
      }
    }
    if (step % 10 == 9) {
      ASSERT_EQ(MustReadAll(*db), model) << "step " << step;
      for (const Pinned& pin : pinned) {
        auto contents = ReadAll(*pin.snapshot);
        ASSERT_TRUE(contents.ok());
        ASSERT_EQ(*contents, pin.contents) << "step " << step;
      }
      const int64_t begin = now - static_cast<int64_t>(random() % 900'000);
      const TimeRange range{begin, begin + static_cast<int64_t>(random() % 400'000)};
      Contents expected;
      for (const auto& [labels, samples] : model) {
        for (const auto& [time, bits] : samples) {
          if (range.Contains(time)) expected[labels][time] = bits;
        }
      }
      ASSERT_EQ(MustReadAll(*db, {}, range), expected) << "step " << step;
    }
  }
  EXPECT_TRUE(db->Verify()->empty());
  EXPECT_GT(judged, 50u);
}

TEST(Model, RandomOperationsEqualAMap) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    RunModel(seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace varve::db_testing
