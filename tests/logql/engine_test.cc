#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/io/memory_file_system.h"
#include "varve/database.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1'700'000'000 * kSecond;

class LogQLEngine : public ::testing::Test {
 protected:
  LogQLEngine() {
    Options options;
    options.dir = "/db";
    options.background_threads = 0;
    options.file_system = std::make_shared<io::MemoryFileSystem>();
    auto opened = Database::Open(options);
    if (opened.ok()) db_ = *std::move(opened);
  }

  /// Appends `count` entries a second apart to each of three streams.
  void Fill(int count) {
    LogBatch batch;
    for (const char* pod : {"a", "b", "c"}) {
      const std::vector<LabelView> labels = {{"app", "x"}, {"pod", pod}};
      const uint32_t stream = batch.AddStream(labels);
      for (int i = 0; i < count; ++i) {
        const std::string line =
            "level=" + std::string(i % 3 == 0 ? "error" : "info") + " n=" + std::to_string(i);
        batch.AddEntry(stream, kStart + i * kSecond, batch.Copy(line));
      }
    }
    ASSERT_TRUE(db_->AppendLogs(batch).ok());
  }

  Result<LogQueryResult> Range(std::string_view text, const LogQueryOptions& options = {},
                               uint32_t limit = 100, LogEngineOptions engine_options = {}) {
    engine_options.threads = 2;
    const auto engine = LogEngine::Make(engine_options);
    LogQueryRange range;
    range.start_ns = kStart;
    range.end_ns = kStart + 600 * kSecond;
    range.step_ns = 60 * kSecond;
    range.limit = limit;
    return engine->Range(*db_->TakeLogSnapshot(), text, range, options);
  }
  std::string Values(std::string_view text) {
    const auto result = Range(text);
    if (!result.ok())
      return std::string(result.status().message().data(), result.status().message().size());
    std::string out;
    for (const Series& series : std::get<Matrix>(result->value)) {
      out += ToString(series.labels.view());
      for (size_t i = 0; i < std::min<size_t>(series.values.size(), 3); ++i) {
        out += " " + std::to_string(series.values[i]).substr(0, 5);
      }
      out += "; ";
    }
    return out;
  }

  std::unique_ptr<Database> db_;
};

TEST_F(LogQLEngine, MetricsHaveLokisSemantics) {
  Fill(300);
  EXPECT_EQ(Values("sum by (level) (count_over_time({app=\"x\"} | logfmt [1m]))"),
            "{level=\"error\"} 3.000 60.00 60.00; {level=\"info\"} 120.0 120.0 120.0; ");
  EXPECT_EQ(Values("sum(rate({app=\"x\"}[1m])) / 0"), "{} nan nan nan; ");
  EXPECT_EQ(Values("vector(7) % vector(0)"), "{} nan nan nan; ");
  EXPECT_EQ(Values("-2^2"), "{} 4.000 4.000 4.000; ");
  EXPECT_EQ(Values("absent_over_time({app=\"none\", x=~\"y.*\"}[1m])"),
            "{app=\"none\"} 1.000 1.000 1.000; ");
  EXPECT_EQ(Values("count(max_over_time({app=\"x\"} | logfmt | unwrap n [1m]))"),
            "{} 3.000 6.000 6.000; ");
  EXPECT_EQ(Values("sum(count_over_time({app=\"x\"} | json [1m])) by (level)").substr(0, 31),
            "pipeline error: 'JSONParserErr'");
  // Nothing needs a label: the parser looks at nothing, so that nothing is wrong.
  EXPECT_EQ(Values("sum(count_over_time({app=\"x\"} | json [1m]))"), "{} 3.000 180.0 180.0; ");
  // Beyond Loki. Steps of a subquery are multiples of their length: the first is 40 s into the
  // data.
  EXPECT_EQ(Values("max_over_time(sum(count_over_time({app=\"x\"}[1m]))[2m:1m])"),
            "{} 123.0 180.0 180.0; ");
  EXPECT_EQ(Values("group(rate({app=\"x\"}[1m]))"), "{} 1.000 1.000 1.000; ");
}

TEST_F(LogQLEngine, NewestAndOldestEntriesComeFirst) {
  Fill(300);
  for (const bool sealed : {false, true}) {
    if (sealed) {
      ASSERT_TRUE(db_->Compact().ok());
    }
    const auto result = Range("{app=\"x\"} |= `error` | logfmt", {}, 5);
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<int64_t> times;
    for (const LogStream& stream : std::get<Streams>(result->value)) {
      EXPECT_EQ(stream.stream.size(), 2u);
      EXPECT_EQ(stream.parsed.size(), 2u);
      for (const LogEntry& entry : stream.entries)
        times.push_back((entry.time_ns - kStart) / kSecond);
    }
    std::sort(times.begin(), times.end());
    EXPECT_EQ(times, (std::vector<int64_t>{294, 294, 297, 297, 297}));
  }
}

TEST_F(LogQLEngine, LimitsAreKept) {
  Fill(200);
  const auto code = [](const Result<LogQueryResult>& result) { return result.status().code(); };
  EXPECT_EQ(code(Range("{app=\"x\"}", {}, 6000)), StatusCode::kInvalidArgument);
  LogQueryOptions options;
  options.max_query_series = 10;
  const char* many = "count_over_time({app=\"x\"} | logfmt [1m])";
  EXPECT_EQ(code(Range(many, options)), StatusCode::kResourceExhausted);
  options.partial_series = true;
  const auto partial = Range(many, options);
  ASSERT_TRUE(partial.ok()) << partial.status();
  EXPECT_EQ(std::get<Matrix>(partial->value).size(), 10u);
  EXPECT_EQ(partial->warnings.size(), 1u);
  options = {};
  options.max_query_bytes_read = 100;
  EXPECT_EQ(code(Range("{app=\"x\"} |~ `n=1`", options)), StatusCode::kResourceExhausted);
  LogEngineOptions small;
  small.max_samples = 50;
  EXPECT_EQ(code(Range(many, {}, 100, small)), StatusCode::kResourceExhausted);
  options = {};
  auto cancellation = std::make_shared<Cancellation>();
  cancellation->Cancel();
  options.cancellation = cancellation;
  EXPECT_EQ(code(Range("{app=\"x\"}", options)), StatusCode::kCancelled);
}

TEST_F(LogQLEngine, ExplainsAndAnalyzes) {
  Fill(50);
  LogQueryOptions options;
  options.analyze = true;
  const auto result =
      Range("sum by (level) (count_over_time({app=\"x\"} |= `n=4` | logfmt [1m]))", options);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::string text = LogEngine::FormatAnalysis(result->statistics);
  EXPECT_NE(text.find("store filter: line contains \"n=4\""), std::string::npos) << text;
  EXPECT_NE(text.find("extract only: level"), std::string::npos) << text;
  EXPECT_EQ(result->statistics.samples, 33u);
  EXPECT_EQ(result->statistics.streams, 3u);
  const auto plan = LogEngine::Make({})->Explain("{app=\"x\"} | json | level=`error`");
  ASSERT_TRUE(plan.ok());
  EXPECT_NE(plan->find("log query {app=\"x\"}"), std::string::npos);
}

TEST(LogQLStreams, BothEncodings) {
  Streams streams(2);
  streams[0].stream = {{"a", "1"}};
  streams[0].metadata = {{"m", "x"}};
  streams[0].entries = {{3, "c"}, {1, "a"}};
  streams[1].stream = {{"a", "1"}};
  streams[1].parsed = {{"p", ""}};
  streams[1].entries = {{2, "b"}};
  const auto folded = GroupStreams(streams, false, true);
  ASSERT_EQ(folded.size(), 2u);
  EXPECT_EQ(ToString(folded[1].labels), "{a=\"1\", p=\"\"}");
  const auto categorized = GroupStreams(streams, true, true);
  ASSERT_EQ(categorized.size(), 1u);
  ASSERT_EQ(categorized[0].items.size(), 3u);
  EXPECT_EQ(categorized[0].items[1].stream, 1u);
}

}  // namespace
}  // namespace varve::query
