// The cache of results over a real database: nothing that may still change is ever kept.

#include <gtest/gtest.h>

#include <bit>

#include "tests/db/db_testing.h"
#include "varve/query.h"

namespace varve::query {
namespace {

constexpr int64_t kMinute = 60'000;

class ResultCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.out_of_order_window = std::chrono::minutes(10);
    options_.block_range = std::chrono::minutes(20);
    Open();
  }

  void Open() { db_ = db_testing::MustOpen(options_); }
  void Reopen() {
    ASSERT_TRUE(db_->Close().ok());
    db_.reset();
    Open();
  }

  Status Append(std::string_view name, int64_t time_ms, double value) {
    WriteBatch batch;
    batch.AddSample(batch.AddSeries(Labels{{"__name__", name}, {"job", "a"}}), time_ms, value);
    return db_->Append(batch).status();
  }
  void Fill(int64_t begin_ms, int64_t end_ms) {
    for (int64_t t = begin_ms; t < end_ms; t += 15'000) {
      ASSERT_TRUE(Append("m_total", t, static_cast<double>(t) / 100).ok());
      if (t % kMinute == 0) {
        ASSERT_TRUE(Append("g", t, static_cast<double>(t % 7919)).ok());
      }
    }
  }

  /// Asks with and without the cache, which must not be seen; returns how many steps it had.
  uint64_t Ask(std::string_view query, int64_t start_ms, int64_t end_ms) {
    auto snapshot = db_->TakeSnapshot();
    EXPECT_TRUE(snapshot.ok());
    const QueryRange range{start_ms, end_ms, kMinute};
    QueryOptions plain;
    plain.no_cache = true;
    const auto expected = engine_->Range(*snapshot, query, range, plain);
    const auto actual = engine_->Range(*snapshot, query, range);
    EXPECT_TRUE(expected.ok()) << expected.status();
    EXPECT_TRUE(actual.ok()) << actual.status();
    if (!expected.ok() || !actual.ok()) return 0;
    EXPECT_EQ(expected->statistics.cached_steps, 0u);
    const Matrix& a = std::get<Matrix>(expected->value);
    const Matrix& b = std::get<Matrix>(actual->value);
    EXPECT_EQ(a.size(), b.size());
    EXPECT_FALSE(a.empty());
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      EXPECT_TRUE(a[i].labels == b[i].labels);
      EXPECT_EQ(a[i].times_ms, b[i].times_ms);
      for (size_t k = 0; k < std::min(a[i].values.size(), b[i].values.size()); ++k) {
        EXPECT_EQ(std::bit_cast<uint64_t>(a[i].values[k]), std::bit_cast<uint64_t>(b[i].values[k]))
            << query << " at " << a[i].times_ms[k];
      }
    }
    return actual->statistics.cached_steps;
  }

  std::shared_ptr<io::MemoryFileSystem> fs_ = std::make_shared<io::MemoryFileSystem>();
  Options options_ = db_testing::TestOptions(fs_);
  std::unique_ptr<Database> db_;
  std::unique_ptr<Engine> engine_ = [] {
    EngineOptions options;
    options.threads = 1;
    options.result_cache_bytes = 1 << 20;
    return Engine::Make(options);
  }();
};

TEST_F(ResultCacheTest, KeepsStepsThatNothingHasReached) {
  Fill(0, 60 * kMinute);
  EXPECT_EQ(Ask("rate(m_total[5m])", 10 * kMinute, 60 * kMinute), 0u);
  EXPECT_EQ(Ask("rate(m_total[5m])", 10 * kMinute, 60 * kMinute), 51u);
  // A window that moves on, one that starts inside, and steps of another phase.
  EXPECT_EQ(Ask("rate(m_total[5m])", 20 * kMinute, 65 * kMinute), 41u);
  EXPECT_EQ(Ask("rate(m_total[5m])", 49 * kMinute, 55 * kMinute), 7u);
  EXPECT_EQ(Ask("rate(m_total[5m])", 10 * kMinute, 55 * kMinute), 0u);
  EXPECT_EQ(Ask("rate(m_total[5m])", 10 * kMinute + 1, 40 * kMinute), 0u);
  // Another text for the same plan.
  EXPECT_EQ(Ask("rate ( m_total{}[300s] )", 20 * kMinute, 30 * kMinute), 11u);
  // A look ahead is reached sooner by what is appended, a look back later.
  Ask("g offset -5m", 0, 60 * kMinute);
  Ask("g offset 20m", 20 * kMinute, 80 * kMinute);
  Fill(60 * kMinute, 61 * kMinute);
  EXPECT_EQ(Ask("g offset -5m", 0, 60 * kMinute), 55u);
  EXPECT_EQ(Ask("g offset 20m", 20 * kMinute, 80 * kMinute), 60u);
  const ResultCacheStats stats = engine_->result_cache_stats();
  EXPECT_GT(stats.hits, 4u);
  EXPECT_GT(stats.bytes, 0u);
  EXPECT_LE(stats.bytes, 1u << 20);
}

TEST_F(ResultCacheTest, SeesLateData) {
  Fill(0, 60 * kMinute);
  Ask("sum_over_time(g[3m])", 0, 60 * kMinute);
  for (int64_t late = 59; late >= 50; --late) {
    ASSERT_TRUE(Append("g", late * kMinute + 30'000, 1e6).ok()) << late;
    EXPECT_EQ(Ask("sum_over_time(g[3m])", 0, 60 * kMinute), static_cast<uint64_t>(late) + 1);
  }
  EXPECT_FALSE(Append("g", 49 * kMinute + 30'000, 1e6).ok());
  // A refused or repeated sample changes nothing.
  ASSERT_TRUE(Append("g", 50 * kMinute + 30'000, 1e6).ok());
  Ask("sum_over_time(g[3m])", 0, 60 * kMinute);
  // A series that was not there when the answer was kept, as far back as new ones may begin.
  Ask("sum(m_total) or later", 0, 60 * kMinute);
  ASSERT_TRUE(Append("later", 50 * kMinute + 1500, 5).ok());
  EXPECT_EQ(Ask("sum(m_total) or later", 0, 60 * kMinute), 51u);
  Ask("sum_over_time(g[3m])", 0, 60 * kMinute);
  Fill(60 * kMinute, 80 * kMinute);
  EXPECT_EQ(Ask("sum_over_time(g[3m])", 0, 80 * kMinute), 60u);
  EXPECT_EQ(Ask("sum_over_time(g[3m])", 0, 80 * kMinute), 81u);
}

TEST_F(ResultCacheTest, KeepsInstantAnswers) {
  Fill(0, 60 * kMinute);
  // Samples may still come from 50 minutes on.
  const auto ask = [&](std::string_view query, int64_t time_ms) {
    auto snapshot = db_->TakeSnapshot();
    EXPECT_TRUE(snapshot.ok());
    QueryOptions plain;
    plain.no_cache = true;
    const auto expected = engine_->Instant(*snapshot, query, time_ms, plain);
    const auto actual = engine_->Instant(*snapshot, query, time_ms);
    EXPECT_TRUE(expected.ok()) << expected.status();
    EXPECT_TRUE(actual.ok()) << actual.status();
    const auto print = [](const Value& value) {
      std::string out;
      for (const VectorSample& sample : std::get<Vector>(value)) {
        out += ToString(sample.labels) + " " +
               std::to_string(std::bit_cast<uint64_t>(sample.value)) + "\n";
      }
      return out;
    };
    EXPECT_EQ(print(expected->value), print(actual->value)) << query;
    return actual->statistics.cached_steps;
  };
  const char* query = "topk(3, {__name__=~\"g|m_total\"})";
  EXPECT_EQ(ask(query, 40 * kMinute), 0u);
  EXPECT_EQ(ask(query, 40 * kMinute), 1u);
  EXPECT_EQ(ask(query, 40 * kMinute + 1), 0u);
  // What is open is kept when it is asked for again.
  EXPECT_EQ(ask(query, 55 * kMinute), 0u);
  EXPECT_EQ(ask(query, 55 * kMinute), 0u);
  EXPECT_EQ(ask(query, 55 * kMinute), 1u);
  // A range with one step has another key, and a look ahead reaches what is open.
  EXPECT_EQ(Ask("g", 40 * kMinute, 40 * kMinute), 0u);
  EXPECT_EQ(ask("g", 40 * kMinute), 0u);
  EXPECT_EQ(ask("g offset -11m", 40 * kMinute), 0u);
  EXPECT_EQ(ask("g offset -11m", 40 * kMinute), 0u);
  // Late data changes the newer answers only.
  ASSERT_TRUE(Append("g", 54 * kMinute + 30'000, 1e9).ok());
  EXPECT_EQ(ask(query, 40 * kMinute), 1u);
  EXPECT_EQ(ask(query, 55 * kMinute), 0u);
  EXPECT_EQ(ask(query, 55 * kMinute), 1u);
  // Newer samples do not.
  Fill(60 * kMinute, 80 * kMinute);
  EXPECT_EQ(ask(query, 55 * kMinute), 1u);
  // What was there before some late data is not given to who sees it, nor the other way round.
  const auto before = db_->TakeSnapshot();
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(Append("g", 72 * kMinute + 30'000, 1e9).ok());
  for (int i = 0; i < 3; ++i) ask("sum(g)", 73 * kMinute);
  EXPECT_EQ(ask("sum(g)", 73 * kMinute), 1u);
  const auto old = engine_->Instant(*before, "max_over_time(g[2m])", 73 * kMinute);
  ASSERT_TRUE(old.ok());
  for (int i = 0; i < 3; ++i) ask("max_over_time(g[2m])", 73 * kMinute);
  const auto again = engine_->Instant(*before, "max_over_time(g[2m])", 73 * kMinute);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->statistics.cached_steps, 0u);
  EXPECT_EQ(std::get<Vector>(again->value)[0].value, std::get<Vector>(old->value)[0].value);
  EXPECT_EQ(ask("max_over_time(g[2m])", 73 * kMinute), 1u);
  // A deletion reaches everything.
  const Matcher g{MatchType::kEqual, "__name__", "g"};
  ASSERT_TRUE(db_->DeleteSeries(std::span(&g, 1), {}).ok());
  EXPECT_EQ(ask(query, 40 * kMinute), 0u);
}

TEST_F(ResultCacheTest, OlderSnapshotsDoNotSeeNewerAnswers) {
  Fill(0, 60 * kMinute);
  const auto before = db_->TakeSnapshot();
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(Append("g", 55 * kMinute + 30'000, 1e6).ok());
  const char* query = "max_over_time(g[10m])";
  Ask(query, 0, 60 * kMinute);
  const QueryRange range{0, 60 * kMinute, kMinute};
  const auto old = engine_->Range(*before, query, range);
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(old->statistics.cached_steps, 56u);
  EXPECT_LT(std::get<Matrix>(old->value)[0].values.back(), 1e6);
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 61u);  // and do not replace them
}

TEST_F(ResultCacheTest, ForgetsWhatDeletionsAndLoadsChange) {
  Fill(0, 60 * kMinute);
  const char* query = "sum by (job) (g) + 1";
  Ask(query, 0, 60 * kMinute);
  EXPECT_GT(Ask(query, 0, 60 * kMinute), 0u);
  const Matcher matchers[] = {{MatchType::kEqual, "__name__", "g"}};
  ASSERT_TRUE(db_->DeleteSeries(matchers, {20 * kMinute, 30 * kMinute}).ok());
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 0u);
  EXPECT_GT(Ask(query, 0, 60 * kMinute), 0u);
  {
    auto loader = db_->StartBulkLoad();
    ASSERT_TRUE(loader.ok());
    const int64_t times[] = {25 * kMinute, 26 * kMinute};
    const double values[] = {1e9, 2e9};
    ASSERT_TRUE((*loader)->AddSamples(Labels{{"__name__", "g"}, {"job", "b"}}, times, values).ok());
    EXPECT_GT(Ask(query, 0, 60 * kMinute), 0u);  // not visible yet
    ASSERT_TRUE((*loader)->Finish().ok());
  }
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 0u);
  EXPECT_GT(Ask(query, 0, 60 * kMinute), 0u);
}

TEST_F(ResultCacheTest, LivesThroughFlushAndCompactionAndNotThroughRestart) {
  Fill(0, 60 * kMinute);
  const char* query = "max_over_time(g[7m])";
  Ask(query, 0, 60 * kMinute);
  ASSERT_TRUE(db_->Flush().ok());
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 61u);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 61u);
  Reopen();
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 0u);
  EXPECT_EQ(Ask(query, 0, 60 * kMinute), 61u);
}

TEST_F(ResultCacheTest, ForgetsWhatExpires) {
  options_.retention_time = std::chrono::minutes(45);
  Reopen();
  Fill(0, 60 * kMinute);
  Ask("g", 0, 60 * kMinute);
  EXPECT_GT(Ask("g", 0, 60 * kMinute), 0u);
  ASSERT_TRUE(db_->Flush().ok());
  Fill(60 * kMinute, 90 * kMinute);
  ASSERT_TRUE(db_->Maintain().ok());
  ASSERT_GT(db_->Stats().blocks_expired, 0u);
  EXPECT_EQ(Ask("g", 0, 60 * kMinute), 0u);
}

TEST_F(ResultCacheTest, KeepsToItsMemory) {
  Fill(0, 60 * kMinute);
  for (int i = 0; i < 2000; ++i) {
    const std::string query = "g + " + std::to_string(i);
    auto snapshot = db_->TakeSnapshot();
    ASSERT_TRUE(engine_->Range(*snapshot, query, {0, 50 * kMinute, kMinute}).ok());
  }
  const ResultCacheStats stats = engine_->result_cache_stats();
  EXPECT_LE(stats.bytes, 1u << 20);
  EXPECT_GT(stats.evictions, 0u);
  EXPECT_GT(stats.entries, 10u);
  // The newest are still there.
  EXPECT_GT(Ask("g + 1999", 0, 50 * kMinute), 0u);
  EXPECT_EQ(Ask("g + 0", 0, 50 * kMinute), 0u);
}

TEST_F(ResultCacheTest, KeepsTextsWithAnswersThatAreGivenWhole) {
  Fill(0, 60 * kMinute);
  QueryOptions prefer;
  prefer.prefer_text = true;
  const auto ask = [&](int64_t end_ms, const QueryOptions& options = {}) {
    auto result = engine_->Range(*db_->TakeSnapshot(), "g", {0, end_ms, kMinute}, options);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  };
  const auto points = [](const QueryResult& result) {
    const auto* const matrix = std::get_if<Matrix>(&result.value);
    return matrix == nullptr || matrix->empty() ? size_t{0} : (*matrix)[0].values.size();
  };
  EXPECT_EQ(ask(40 * kMinute).text, nullptr);  // evaluated
  const QueryResult again = ask(40 * kMinute, prefer);
  ASSERT_NE(again.text, nullptr);
  EXPECT_EQ(again.text->Get(), nullptr);
  EXPECT_EQ(points(again), 41u);
  const uint64_t before = engine_->result_cache_stats().bytes;
  again.text->Set(std::string(10'000, 'x'));
  EXPECT_EQ(points(ask(40 * kMinute)), 41u);
  EXPECT_GE(engine_->result_cache_stats().bytes, before + 10'000);
  const QueryResult third = ask(40 * kMinute, prefer);
  ASSERT_NE(third.text, nullptr);
  EXPECT_EQ(third.text->Get()->size(), 10'000u);
  EXPECT_EQ(points(third), 0u);
  EXPECT_EQ(third.statistics.cached_steps, 41u);
  // Appends that do not reach the answer leave the text with it; a part or more has none.
  Fill(60 * kMinute, 62 * kMinute);
  EXPECT_EQ(ask(40 * kMinute, prefer).text, third.text);
  EXPECT_EQ(ask(39 * kMinute, prefer).text, nullptr);
  EXPECT_EQ(points(ask(39 * kMinute, prefer)), 40u);
  ASSERT_EQ(ask(40 * kMinute, prefer).text, third.text);
  EXPECT_EQ(points(ask(41 * kMinute, prefer)), 42u);
  EXPECT_EQ(points(ask(40 * kMinute, prefer)), 41u);
  // Late data does.
  const QueryResult late = ask(55 * kMinute, prefer);
  ASSERT_NE(ask(55 * kMinute, prefer).text, nullptr);
  ask(55 * kMinute, prefer).text->Set("old");
  ASSERT_TRUE(Append("g", 54 * kMinute + 30'000, -1).ok());
  const QueryResult fresh = ask(55 * kMinute, prefer);
  EXPECT_EQ(fresh.text, nullptr);
  EXPECT_EQ(points(fresh), 56u);
}

TEST_F(ResultCacheTest, KeepsTextsOfInstantAnswers) {
  Fill(0, 60 * kMinute);
  QueryOptions prefer;
  prefer.prefer_text = true;
  const auto ask = [&] {
    auto result = engine_->Instant(*db_->TakeSnapshot(), "g", 30 * kMinute, prefer);
    EXPECT_TRUE(result.ok()) << result.status();
    return *std::move(result);
  };
  EXPECT_EQ(ask().text, nullptr);
  const QueryResult again = ask();
  ASSERT_NE(again.text, nullptr);
  EXPECT_EQ(std::get<Vector>(again.value).size(), 1u);
  again.text->Set("answer");
  EXPECT_EQ(*ask().text->Get(), "answer");
}

// Texts are counted as the memory of the cache.
TEST_F(ResultCacheTest, TextsDoNotOutgrowTheCache) {
  Fill(0, 60 * kMinute);
  for (int i = 0; i < 40; ++i) {
    const std::string query = "g + " + std::to_string(i);
    for (int asked = 0; asked < 3; ++asked) {
      auto result =
          engine_->Range(*db_->TakeSnapshot(), query, {0, 40 * kMinute, kMinute}, QueryOptions());
      ASSERT_TRUE(result.ok());
      if (asked > 0 && result->text != nullptr) result->text->Set(std::string(60'000, 'x'));
    }
    EXPECT_LE(engine_->result_cache_stats().bytes, 1u << 20);
  }
  EXPECT_GT(engine_->result_cache_stats().evictions, 0u);
  EXPECT_GT(engine_->result_cache_stats().entries, 5u);
}

TEST_F(ResultCacheTest, DoesNotHideSeriesThatTheirTypeKeptApart) {
  // One metric changes its type, another its unit; a third has a type, but only one of it.
  const auto fill = [&](int64_t begin_ms, int64_t end_ms, const char* type, const char* unit) {
    for (int64_t t = begin_ms; t < end_ms; t += kMinute) {
      WriteBatch batch;
      const auto add = [&](const Labels& labels) {
        batch.AddSample(batch.AddSeries(labels), t, 1);
      };
      add(Labels{{"__name__", "changes"}, {"__type__", type}, {"job", "a"}});
      add(Labels{{"__name__", "converts"}, {"__unit__", unit}, {"job", "a"}});
      add(Labels{{"__name__", "stays"}, {"__type__", "gauge"}, {"job", "a"}});
      ASSERT_TRUE(db_->Append(batch).ok());
    }
  };
  fill(0, 30 * kMinute, "gauge", "bytes");
  fill(40 * kMinute, 60 * kMinute, "counter", "bits");
  const auto ask = [&](std::string_view query, int64_t end_ms, bool no_cache) {
    auto snapshot = db_->TakeSnapshot();
    EXPECT_TRUE(snapshot.ok());
    QueryOptions options;
    options.no_cache = no_cache;
    return engine_->Range(*snapshot, query, {0, end_ms, kMinute}, options);
  };
  for (const char* query : {
           "max_over_time(changes[2m])",
           "1 + sum_over_time(converts[2m])",
           "max_over_time(changes[4m:1m])",
           "max_over_time(sum without (job) (changes)[4m:1m])",
           "max_over_time(sum by (__type__) (changes)[4m:1m])",
       }) {
    // The rest of the range knows the newer series only.
    ASSERT_TRUE(ask(query, 36 * kMinute, false).ok()) << query;
    for (const bool no_cache : {true, false}) {
      const auto whole = ask(query, 59 * kMinute, no_cache);
      ASSERT_FALSE(whole.ok()) << query;
      EXPECT_EQ(whole.status().message(), "vector cannot contain metrics with the same labelset")
          << query;
    }
    // The error was for the whole of that range; what was kept of its beginning still holds.
    ASSERT_TRUE(ask(query, 36 * kMinute, false).ok()) << query;
  }
  Ask("max_over_time(stays[2m])", 0, 20 * kMinute);
  EXPECT_EQ(Ask("max_over_time(stays[2m])", 0, 59 * kMinute), 21u);
  // Without a window the answer for a range is the answers for its steps.
  Ask("abs(changes)", 0, 20 * kMinute);
  EXPECT_EQ(Ask("abs(changes)", 0, 59 * kMinute), 21u);
}

TEST_F(ResultCacheTest, LeavesAloneWhatIsMoreThanItsSteps) {
  Fill(0, 60 * kMinute);
  for (const char* query : {
           "{__name__=~\"g|m_total\"}",  // fine, but:
           "sum_over_time({__name__=\"g\"}[1m]) + 0",
           "g @ 3590",
       }) {
    Ask(query, 0, 60 * kMinute);
    EXPECT_GT(Ask(query, 0, 60 * kMinute), 0u) << query;
  }
  for (const char* query : {
           "rate(g[5m])",                            // a note: not a counter by its name
           "last_over_time({__name__=~\"g\"}[1m])",  // two names may clash over the whole range
           "sort(g)",                                // a note
       }) {
    Ask(query, 0, 60 * kMinute);
    EXPECT_EQ(Ask(query, 0, 60 * kMinute), 0u) << query;
  }
  // A fixed time that an append has reached is in every step.
  ASSERT_TRUE(Append("g", 58 * kMinute + 1, 1).ok());
  EXPECT_EQ(Ask("g @ 3590", 0, 60 * kMinute), 0u);
  EXPECT_EQ(Ask("g @ 3590", 0, 60 * kMinute), 61u);
  // Ends of the range are part of the plan.
  Ask("g @ start()", 10 * kMinute, 40 * kMinute);
  EXPECT_EQ(Ask("g @ start()", 11 * kMinute, 40 * kMinute), 0u);
  EXPECT_GT(Ask("g @ start()", 11 * kMinute, 41 * kMinute), 0u);
  EXPECT_EQ(Ask("g * range()", 10 * kMinute, 40 * kMinute), 0u);
  EXPECT_EQ(Ask("g * range()", 10 * kMinute, 41 * kMinute), 0u);
}

}  // namespace
}  // namespace varve::query
