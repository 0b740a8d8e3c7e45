// The same samples in several places (the head, blocks and a head, one block, after a restart): any
// query over them gives the same bits, the same notes and the same error.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <random>

#include "engine/base/strings.h"
#include "tests/db/db_testing.h"
#include "tests/exec/random_query.h"
#include "varve/database.h"

namespace varve::testing {
namespace {

/// The rows of `batch` with times in [begin, end).
WriteBatch Part(const WriteBatch& batch, int64_t begin_ms, int64_t end_ms) {
  WriteBatch out;
  for (const auto& series : batch.series()) out.AddSeries(batch.labels(series));
  for (const auto& row : batch.samples()) {
    if (begin_ms <= row.time_ms && row.time_ms < end_ms) {
      out.AddSample(row.series, row.time_ms, row.value, row.start_ms);
    }
  }
  for (const auto& row : batch.histograms()) {
    if (begin_ms <= row.time_ms && row.time_ms < end_ms) {
      out.AddHistogram(row.series, row.time_ms, row.histogram, row.start_ms);
    }
  }
  return out;
}

/// Puts samples into a database step by step and tells each time where they are.
class Places {
 public:
  explicit Places(const WriteBatch& batch) : batch_(batch) { Open(); }

  void Run(const std::function<void(std::string_view, std::shared_ptr<const Snapshot>)>& visit) {
    const auto at = [&](std::string_view what) {
      auto snapshot = db_->TakeSnapshot();
      ASSERT_TRUE(snapshot.ok()) << snapshot.status();
      visit(what, *std::move(snapshot));
    };
    int64_t end = 0;
    for (const auto& row : batch_.samples()) end = std::max(end, row.time_ms + 1);
    for (const auto& row : batch_.histograms()) end = std::max(end, row.time_ms + 1);
    Append(0, end);
    at("head");
    Reopen();
    at("head, replayed");
    ASSERT_TRUE(db_->Flush().ok());
    at("block");
    Begin();
    Append(0, end / 3);
    ASSERT_TRUE(db_->Flush().ok());
    Append(end / 3, end * 2 / 3);
    ASSERT_TRUE(db_->Flush().ok());
    Append(end * 2 / 3, end);
    at("blocks and head");
    ASSERT_TRUE(db_->Flush().ok());
    at("blocks");
    ASSERT_TRUE(db_->Compact().ok());
    at("compacted");
    Reopen();
    at("compacted, opened again");
    Begin();
    // The middle comes late.
    Append(0, end / 3);
    Append(end * 2 / 3, end);
    Append(end / 3, end * 2 / 3);
    at("head with late samples");
    ASSERT_TRUE(db_->Flush().ok());
    at("block with late samples");
  }

 private:
  void Open() { db_ = db_testing::MustOpen(db_testing::TestOptions(files_)); }
  void Reopen() {
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
    Open();
  }
  void Begin() {
    db_.reset();
    files_ = std::make_shared<io::MemoryFileSystem>();
    Open();
  }
  void Append(int64_t begin_ms, int64_t end_ms) {
    const WriteBatch part = Part(batch_, begin_ms, end_ms);
    if (part.empty()) return;
    const auto status = db_->Append(part).status();
    ASSERT_TRUE(status.ok()) << status;
  }

  const WriteBatch& batch_;
  std::shared_ptr<io::MemoryFileSystem> files_ = std::make_shared<io::MemoryFileSystem>();
  std::unique_ptr<Database> db_;
};

TEST(RandomQueries, PlacesDoNotMatter) {
  const char* given = std::getenv("VARVE_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20251128;
  std::mt19937_64 random(seed);
  query::EngineOptions options;
  options.timeout = std::chrono::milliseconds(0);
  options.max_samples = 200'000;
  options.threads = 1;
  const auto engine = query::Engine::Make(options);
  const auto bytes = [&](size_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(random());
    return out;
  };
  size_t asked = 0;
  size_t answered = 0;
  for (int round = 0; round < 40; ++round) {
    const std::string data = bytes(1200);
    Choices choices(data);
    const WriteBatch batch = RandomBatch(choices);
    struct Question {
      std::string text;
      query::QueryRange range;  // a step of 0: an instant query
      std::optional<Result<query::QueryResult>> expected;
    };
    std::vector<Question> questions;
    for (int i = 0; i < 40; ++i) {
      const std::string drawn = bytes(60);
      Choices of_query(drawn);
      const int64_t start = static_cast<int64_t>(of_query.Below(100)) * 1000;
      const int64_t step = i % 4 == 0 ? 0 : 1000 * (1 + of_query.Below(40));
      const int64_t end = start + step * of_query.Below(70);
      questions.push_back({RandomQuery(of_query), {start, end, step}, std::nullopt});
    }
    Places(batch).Run([&](std::string_view place, const std::shared_ptr<const Snapshot>& snapshot) {
      for (Question& question : questions) {
        // An instant query is asked as a range of one step, so that series come in one order.
        query::QueryRange range = question.range;
        range.step_ms = std::max<int64_t>(range.step_ms, 1);
        Result<query::QueryResult> actual = engine->Range(snapshot, question.text, range);
        ++asked;
        if (!question.expected.has_value()) {
          answered += actual.ok() && !std::get<query::Matrix>(actual->value).empty();
          question.expected = std::move(actual);
          continue;
        }
        const auto difference = Difference(*question.expected, actual);
        ASSERT_FALSE(difference.has_value())
            << question.text << " over [" << range.start_ms << ", " << range.end_ms << "] by "
            << range.step_ms << ", " << place << ": " << *difference << " (round " << round
            << ", VARVE_SEED=" << seed << ")";
      }
    });
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(answered * 9, asked / 5) << "too few queries found anything";
}

}  // namespace
}  // namespace varve::testing
