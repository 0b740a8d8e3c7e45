#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <thread>

#include "engine/base/strings.h"
#include "tests/exec/synthetic_snapshot.h"
#include "tests/support/memory_snapshot.h"
#include "varve/query.h"
#include "varve/write_batch.h"

namespace varve::query {
namespace {

using ::testing::HasSubstr;
using testing::MakeSyntheticSnapshot;
using testing::SyntheticShape;

std::unique_ptr<Engine> MakeEngine(uint32_t threads, uint32_t tile_series = 128) {
  EngineOptions options;
  options.threads = threads;
  options.tile_series = tile_series;
  return Engine::Make(options);
}

Matrix RangeOrDie(Engine& engine, const std::shared_ptr<const Snapshot>& data,
                  std::string_view query, const QueryRange& range) {
  auto result = engine.Range(data, query, range);
  EXPECT_TRUE(result.ok()) << result.status();
  return result.ok() ? std::get<Matrix>(std::move(result->value)) : Matrix();
}

void ExpectSameBits(const Matrix& a, const Matrix& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_TRUE(a[i].labels == b[i].labels);
    ASSERT_EQ(a[i].times_ms, b[i].times_ms);
    for (size_t k = 0; k < a[i].values.size(); ++k) {
      ASSERT_EQ(std::bit_cast<uint64_t>(a[i].values[k]), std::bit_cast<uint64_t>(b[i].values[k]));
    }
  }
}

constexpr const char* kQueries[] = {
    "requests_total",
    "rate(requests_total[5m])",
    "increase(requests_total[17m])",
    "delta(requests_total[1m])",
    "irate(requests_total[2m])",
    "resets(requests_total[20m])",
    "sum by (job) (rate(requests_total[5m]))",
    "avg(requests_total)",
    "stddev without (path) (requests_total)",
    "sum_over_time(requests_total[5m])",
    "avg_over_time(requests_total[5m])",
    "max_over_time(requests_total[10m])",
    "min_over_time(requests_total[45s])",
    "quantile_over_time(0.3, requests_total[5m])",
    "count_over_time(requests_total[5m])",
    "last_over_time(requests_total[5m])",
    "topk(3, requests_total)",
    "quantile by (instance) (0.5, requests_total)",
    "rate(requests_total[5m]) / on (instance) group_left sum by (instance) "
    "(rate(requests_total[5m]))",
    "max_over_time(rate(requests_total[2m])[10m:30s])",
};

TEST(Engine, ThreadsTilesAndLayoutDoNotChangeBits) {
  SyntheticShape shape;
  shape.targets = 6;
  shape.per_target = 30;
  shape.samples = 500;
  shape.jitter_ms = 40;
  shape.reset_chance = 0.01;
  shape.stale_chance = 0.002;
  const QueryRange range{0, 500 * 15'000, 20'000};
  const auto data = MakeSyntheticSnapshot(shape);
  // The same samples in smaller chunks that promise nothing and share no axis.
  shape.flags = false;
  shape.chunk_samples = 37;
  const auto plain = MakeSyntheticSnapshot(shape);
  const auto one = MakeEngine(1);
  const auto two = MakeEngine(2);
  const auto small = MakeEngine(1, 1);
  for (const char* query : kQueries) {
    SCOPED_TRACE(query);
    const Matrix expected = RangeOrDie(*one, data, query, range);
    ASSERT_FALSE(expected.empty());
    ExpectSameBits(expected, RangeOrDie(*two, data, query, range));
    ExpectSameBits(expected, RangeOrDie(*small, data, query, range));
    ExpectSameBits(expected, RangeOrDie(*one, plain, query, range));
  }
}

TEST(Engine, WindowEdgesSufficeWhereNothingFalls) {
  SyntheticShape shape;
  shape.targets = 2;
  shape.per_target = 5;
  shape.samples = 5000;
  shape.chunk_samples = 1000;
  const auto data = MakeSyntheticSnapshot(shape);
  shape.flags = false;
  const auto plain = MakeSyntheticSnapshot(shape);
  const auto engine = MakeEngine(1);
  for (const char* query :
       {"increase(requests_total[20h])", "rate(requests_total[20h])", "delta(requests_total[20h])",
        "last_over_time(requests_total[20h])", "first_over_time(requests_total[20h])"}) {
    SCOPED_TRACE(query);
    const QueryRange range{5000 * 15'000 - 60'000, 5000 * 15'000, 60'000};
    ExpectSameBits(RangeOrDie(*engine, data, query, range),
                   RangeOrDie(*engine, plain, query, range));
    QueryOptions options;
    options.analyze = true;
    const auto result = engine->Range(data, query, range, options);
    ASSERT_TRUE(result.ok());
    uint64_t edge_only = 0;
    for (const OperatorStats& op : result->statistics.operators) edge_only += op.chunks_edge_only;
    EXPECT_GT(edge_only, 0u);
  }
}

TEST(Engine, LimitsAndBadRequests) {
  const auto data = MakeSyntheticSnapshot({});
  const auto engine = MakeEngine(1);
  const QueryRange range{0, 3'600'000, 15'000};
  struct Case {
    const char* name;
    const char* query;
    QueryRange range;
    uint64_t max_samples;
    StatusCode code;
    const char* message;
  };
  const Case cases[] = {
      {"samples", "requests_total", range, 100, StatusCode::kResourceExhausted, "too many samples"},
      {"window", "sum_over_time(requests_total[1h])", range, 100, StatusCode::kResourceExhausted,
       "too many samples"},
      {"points",
       "vector(1)",
       {0, 86'400'000, 1'000},
       1000,
       StatusCode::kInvalidArgument,
       "exceeded maximum resolution"},
      {"step", "vector(1)", {0, 1, 0}, 1000, StatusCode::kInvalidArgument, "step"},
      {"order", "vector(1)", {10, 1, 1}, 1000, StatusCode::kInvalidArgument, "before start"},
      {"type", "requests_total[5m]", range, 1000, StatusCode::kInvalidArgument,
       "must be Scalar or instant Vector"},
      {"syntax", "sum(", range, 1000, StatusCode::kInvalidArgument, "parse error"},
      {"subquery", "sum_over_time(vector(1)[5000d:1ms])", range, 1000,
       StatusCode::kResourceExhausted, "too many samples"},
      {"matching", "requests_total + on () requests_total", range, 50'000'000,
       StatusCode::kFailedPrecondition, "found duplicate series"},
      {"labels", "label_replace(requests_total, \"path\", \"\", \"\", \"\")", range, 50'000'000,
       StatusCode::kFailedPrecondition, "same labelset"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    QueryOptions options;
    options.max_samples = c.max_samples;
    const auto result = engine->Range(data, c.query, c.range, options);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), c.code) << result.status();
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(c.message));
  }
}

TEST(Engine, StopsWhenCancelledAndWhenLate) {
  SyntheticShape shape;
  shape.targets = 20;
  shape.samples = 2000;
  const auto data = MakeSyntheticSnapshot(shape);
  const auto engine = MakeEngine(2);
  const QueryRange range{0, 2000 * 15'000, 5'000};
  const char* slow = "sum(quantile_over_time(0.5, requests_total[3h]))";
  const auto cancellation = std::make_shared<Cancellation>();
  QueryOptions options;
  options.cancellation = cancellation;
  std::chrono::steady_clock::time_point cancelled_at;
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    cancelled_at = std::chrono::steady_clock::now();
    cancellation->Cancel();
  });
  const auto result = engine->Range(data, slow, range, options);
  const auto returned_at = std::chrono::steady_clock::now();
  killer.join();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kCancelled) << result.status();
  // 200 ms is the promise on an idle machine; a loaded one gets more.
  EXPECT_LT(returned_at - cancelled_at, std::chrono::seconds(5));

  QueryOptions late;
  late.timeout = std::chrono::milliseconds(20);
  const auto timed_out = engine->Range(data, slow, range, late);
  ASSERT_FALSE(timed_out.ok());
  EXPECT_EQ(timed_out.status().code(), StatusCode::kDeadlineExceeded);
}

TEST(Engine, ExplainsAndAnalyzes) {
  const auto data = MakeSyntheticSnapshot({});
  const auto engine = MakeEngine(1);
  const QueryRange range{0, 3'600'000, 60'000};
  const char* query = "sum by (job) (rate(requests_total{job=\"job-1\"}[5m])) * (1 + 1)";
  const auto plan = engine->Explain(query, range);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(*plan, HasSubstr("sum by (job)"));
  EXPECT_THAT(*plan, HasSubstr("rate over 300000ms of {"));
  EXPECT_THAT(*plan, HasSubstr("number 2"));  // folded
  QueryOptions options;
  options.analyze = true;
  const auto result = engine->Range(data, query, range, options);
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(Engine::FormatAnalysis(result->statistics), HasSubstr("samples read"));
  EXPECT_GT(result->statistics.samples_read, 0u);
  EXPECT_GT(result->statistics.total_samples, result->statistics.samples_read);
}

// Prints the plan of a query at one time.
std::string PlanAt(const char* query, int64_t time_ms) {
  const auto plan = MakeEngine(1)->Explain(query, {time_ms, time_ms, 0});
  return plan.ok() ? *plan : std::string(plan.status().message());
}

TEST(Engine, ExplainsQueriesAtOneTime) {
  EXPECT_EQ(PlanAt("up[5m] offset 1m", 0),
            "samples over 300000ms of {__name__=\"up\"} offset 60000ms\n");
  EXPECT_EQ(PlanAt("up[5m:1m]", 3'600'000),
            "points over 300000ms of subquery\n  select {__name__=\"up\"}\n");
  EXPECT_EQ(PlanAt("'a\"b'", 0), "text \"a\\\"b\"\n");
  EXPECT_EQ(PlanAt("sum(rate(up[5m]))", 0),
            "sum, folded in the scan\n  rate over 300000ms of {__name__=\"up\"}\n");
  EXPECT_THAT(PlanAt("up[", 0), HasSubstr("1:4"));
  // A range query still cannot give samples as stored.
  const auto engine = MakeEngine(1);
  const auto range = engine->Explain("up[5m]", {0, 60'000, 1'000});
  ASSERT_FALSE(range.ok());
  EXPECT_THAT(std::string(range.status().message()), HasSubstr("for range query"));
  EXPECT_FALSE(engine->Explain("up", {0, 60'000, 0}).ok());  // several times need a step
}

TEST(Engine, AnalyzesAnswersThatNoOperatorGives) {
  const auto data = MakeSyntheticSnapshot({});
  QueryOptions options;
  options.analyze = true;
  const auto result = MakeEngine(1)->Instant(data, "requests_total[5m]", 3'600'000, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->statistics.operators.size(), 1u);
  const OperatorStats& answer = result->statistics.operators[0];
  EXPECT_THAT(answer.name, HasSubstr("samples over 300000ms of {"));
  EXPECT_EQ(answer.series, std::get<Matrix>(result->value).size());
  EXPECT_GT(answer.points, answer.series);
}

TEST(Engine, AggregationsRunInTheScan) {
  SyntheticShape shape;
  shape.targets = 6;
  shape.per_target = 30;
  shape.samples = 500;
  shape.jitter_ms = 40;
  shape.stale_chance = 0.01;
  const auto data = MakeSyntheticSnapshot(shape);
  const QueryRange range{0, 500 * 15'000, 20'000};
  const auto one = MakeEngine(1);
  const auto four = MakeEngine(4);
  for (const char* leaf :
       {"requests_total", "rate(requests_total[5m])", "last_over_time(requests_total[2m])"}) {
    for (const char* grouping :
         {"", "by (job)", "by (__name__, path)", "by (a, b, c, instance, path)", "without (path)",
          "without (job, instance)", "by (nothing)"}) {
      for (const char* op : {"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"}) {
        const std::string query = Concat(op, " ", grouping, " (", leaf, ")");
        SCOPED_TRACE(query);
        // The same values from a plan with rows between the scan and the aggregation.
        const std::string kept = Concat(op, " ", grouping, " (", leaf, " and ", leaf, ")");
        const Matrix expected = RangeOrDie(*one, data, kept, range);
        ASSERT_FALSE(expected.empty());
        ExpectSameBits(expected, RangeOrDie(*one, data, query, range));
        ExpectSameBits(expected, RangeOrDie(*four, data, query, range));
      }
    }
  }
}

TEST(Engine, SaysWhichAggregationsRunInTheScan) {
  const auto engine = MakeEngine(1);
  const struct {
    const char* query;
    int in_scan;
  } cases[] = {
      {"sum by (job) (rate(m[5m]))", 1},
      {"count({__name__=~\"m.*\"})", 1},
      {"max(max_over_time(sum(m)[1h:1m]))", 1},  // the inner one
      {"avg(last_over_time({job=\"a\"}[5m]))", 1},
      {"sum(quantile_over_time(scalar(count(m)), m[5m]))", 2},
      {"sum(rate({job=\"a\"}[5m]))", 0},           // names may have kept series apart
      {"sum(rate(m[5m])) / max(rate(m[5m]))", 0},  // evaluated once
      {"topk(1, m)", 0},
      {"quantile(0.5, m)", 0},
      {"sum(-m)", 0},
      {"sum(absent_over_time(m[5m]))", 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.query);
    const auto plan = engine->Explain(c.query, {0, 3'600'000, 60'000});
    ASSERT_TRUE(plan.ok()) << plan.status();
    int count = 0;
    for (size_t at = 0; (at = plan->find("folded in the scan", at)) != std::string::npos; ++at) {
      ++count;
    }
    EXPECT_EQ(count, c.in_scan) << *plan;
  }
}

TEST(Engine, SeriesThatOnlyTheirTypeKeptApartAreAnErrorInTheScanToo) {
  testing::MemoryStore store;
  WriteBatch batch;
  for (const char* type : {"counter", "gauge"}) {
    const uint32_t series =
        batch.AddSeries(Labels({{kMetricName, "m_total"}, {"__type__", type}, {"job", "a"}}));
    for (int k = 0; k < 10; ++k) batch.AddSample(series, k * 15'000, k);
  }
  ASSERT_TRUE(store.Append(batch).ok());
  const auto engine = MakeEngine(1);
  const auto result =
      engine->Range(store.TakeSnapshot(), "sum(rate(m_total[1m]))", {60'000, 120'000, 15'000});
  ASSERT_FALSE(result.ok());
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("same labelset"));
  const auto fine = engine->Range(store.TakeSnapshot(), "sum(m_total)", {60'000, 120'000, 15'000});
  EXPECT_TRUE(fine.ok()) << fine.status();
}

TEST(Engine, GivesTheTypesOfInstantQueries) {
  const auto data = MakeSyntheticSnapshot({});
  const auto engine = MakeEngine(1);
  const auto value = [&](std::string_view query) {
    auto result = engine->Instant(data, query, 600'000);
    EXPECT_TRUE(result.ok()) << result.status();
    return std::move(result->value);
  };
  EXPECT_EQ(std::get<Scalar>(value("1 + 2")).value, 3);
  EXPECT_EQ(std::get<StringValue>(value("\"x\"")).value, "x");
  EXPECT_EQ(std::get<Vector>(value("requests_total")).size(), 1000u);
  const Vector top = std::get<Vector>(value("topk(3, requests_total)"));
  ASSERT_EQ(top.size(), 3u);
  EXPECT_GE(top[0].value, top[1].value);
  EXPECT_GE(top[1].value, top[2].value);
  const Matrix matrix = std::get<Matrix>(value("requests_total{path=\"/p1\"}[1m]"));
  ASSERT_EQ(matrix.size(), 10u);
  EXPECT_EQ(matrix[0].values.size(), 4u);
}

}  // namespace
}  // namespace varve::query
