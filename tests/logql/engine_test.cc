#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
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
  EXPECT_NE(plan->find("reject while parsing: level"), std::string::npos) << *plan;
}

/// Returns the stage whose name begins so.
const LogStageStats* FindStage(const LogStatistics& statistics, std::string_view name) {
  for (const LogStageStats& stage : statistics.stages) {
    if (std::string_view(stage.name).starts_with(name)) return &stage;
  }
  return nullptr;
}

TEST_F(LogQLEngine, AnalysisCountsEntriesOfEachStage) {
  Fill(50);
  LogQueryOptions options;
  options.analyze = true;
  // 4 and 40 to 49 in each of three streams; of them 42, 45 and 48 are errors, 48 is above 45.
  const auto logs = Range(
      "{app=\"x\"} |= `n=4` | logfmt | level=`error` | n > 45 | line_format `{{.n}}`", options);
  ASSERT_TRUE(logs.ok()) << logs.status();
  const auto rows = [&](const Result<LogQueryResult>& result, std::string_view name) {
    const LogStageStats* stage = FindStage(result->statistics, name);
    return stage == nullptr
               ? std::string("no such stage")
               : std::to_string(stage->rows_in) + " " + std::to_string(stage->rows_out);
  };
  EXPECT_EQ(rows(logs, "log query"), "33 3");
  EXPECT_EQ(rows(logs, "scan"), "150 33");
  // The parser applies the filters behind it.
  EXPECT_EQ(rows(logs, "| logfmt"), "33 3");
  EXPECT_EQ(rows(logs, "| level"), "3 3");
  EXPECT_EQ(rows(logs, "| n>45"), "3 3");
  EXPECT_EQ(rows(logs, "| line_format"), "3 3");
  EXPECT_EQ(logs->statistics.entries_returned, 3u);
  const std::string text = LogEngine::FormatAnalysis(logs->statistics);
  EXPECT_NE(text.find("[entries in 33, out 3]"), std::string::npos) << text;

  const auto metric = Range(
      "sum(sum_over_time({app=\"x\"} | logfmt | level=`error` | unwrap n | n < 10 [1m]))", options);
  ASSERT_TRUE(metric.ok()) << metric.status();
  EXPECT_EQ(rows(metric, "scan"), "150 150");
  EXPECT_EQ(rows(metric, "| logfmt"), "150 12");
  EXPECT_EQ(rows(metric, "| level"), "12 12");
  EXPECT_EQ(rows(metric, "| unwrap"), "12 12");
  EXPECT_EQ(rows(metric, "| n<10"), "12 12");
  // Nothing is counted, and nothing listed, unless asked for.
  EXPECT_TRUE(Range("{app=\"x\"} | logfmt")->statistics.stages.empty());
}

TEST_F(LogQLEngine, AnalysisSaysWhatEachFilterSpared) {
  Fill(50);
  LogBatch batch;
  const std::vector<LabelView> labels = {{"app", "y"}};
  const std::vector<LabelView> metadata = {{"trace", "t1"}};
  const uint32_t stream = batch.AddStream(labels);
  uint64_t bytes = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string line = "request r" + std::to_string(100000 + i * 7919) +
                             "abcdefgh of user number" + std::to_string(i % 10) + " " +
                             std::string(500, static_cast<char>('a' + i % 20));
    bytes += line.size();
    batch.AddEntry(stream, kStart + i * kSecond / 8, batch.Copy(line), metadata);
  }
  ASSERT_TRUE(db_->AppendLogs(batch).ok());
  ASSERT_TRUE(db_->Compact().ok());
  LogQueryOptions options;
  options.analyze = true;
  const auto stage = [&](const char* query, std::string_view name) {
    const auto result = Range(query, options);
    EXPECT_TRUE(result.ok()) << result.status();
    const LogStageStats* found = FindStage(result->statistics, name);
    EXPECT_NE(found, nullptr) << query << "\n" << LogEngine::FormatAnalysis(result->statistics);
    return found == nullptr ? LogStageStats() : *found;
  };
  EXPECT_EQ(stage("{app=\"x\"}", "skipped by stream selector").bytes_skipped, bytes);
  EXPECT_EQ(stage("{app=\"y\"} |= ` nowordofthese `", "skipped by word").bytes_skipped, bytes);
  EXPECT_EQ(stage("{app=\"y\"} |= `q0123456789abcdefg`", "skipped by id").bytes_skipped, bytes);
  EXPECT_EQ(stage("{app=\"y\"} | trace=`other`", "skipped by metadata").bytes_skipped, bytes);
  const LogStageStats time = stage("count_over_time({app=\"y\"}[1s])", "scan");
  EXPECT_LE(time.rows_out, 3000u);
}

/// A query that would take hours ends soon after it is cancelled: readers look between entries when
/// one entry is long work.
TEST_F(LogQLEngine, CancellationIsSeenWithinAChunk) {
  Fill(20'000);
  ASSERT_TRUE(db_->Compact().ok());
  for (const char* query :
       {"count_over_time({app=\"x\"} | label_format a=`{{repeat 1000000 \"x\" | trunc 3}}` [10m])",
        "{app=\"x\"} | label_format a=`{{repeat 1000000 \"x\" | trunc 3}}` | a=`b`"}) {
    const auto cancellation = std::make_shared<Cancellation>();
    LogQueryOptions options;
    options.cancellation = cancellation;
    std::chrono::steady_clock::time_point cancelled;
    std::thread canceller([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      cancelled = std::chrono::steady_clock::now();
      cancellation->Cancel();
    });
    LogEngineOptions engine_options;
    engine_options.max_query_length = {};
    const auto result = Range(query, options, 100, engine_options);
    const auto ended = std::chrono::steady_clock::now();
    canceller.join();
    ASSERT_EQ(result.status().code(), StatusCode::kCancelled) << query << result.status();
    // 200 ms on a machine that does nothing else.
    EXPECT_LT(ended - cancelled, std::chrono::seconds(2)) << query;
  }
}

/// The same where the store tests lines against an expression that its automaton does not help.
TEST_F(LogQLEngine, CancellationIsSeenWhileTheStoreTestsLines) {
  LogBatch batch;
  const std::vector<LabelView> labels{{"app", "x"}};
  const uint32_t stream = batch.AddStream(LabelsView(labels));
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string line;
    while (line.size() < 2000) line.push_back(random() % 2 == 0 ? 'a' : 'b');
    batch.AddEntry(stream, kStart + i, batch.Copy(line));
  }
  ASSERT_TRUE(db_->AppendLogs(batch).ok());
  for (const bool sealed : {false, true}) {
    if (sealed) {
      ASSERT_TRUE(db_->Compact().ok());
    }
    for (const char* query :
         {"{app=\"x\"} |~ `(a|b)*a(a|b){1000}z`", "{app=\"x\"} !~ `(a|b)*a(a|b){1000}z`",
          "count_over_time({app=\"x\"} |~ `(a|b)*a(a|b){1000}z` [5m])",
          "{app=\"x\"} | regexp `(?P<n>(a|b)*a(a|b){900})z` | n!=\"\""}) {
      const auto cancellation = std::make_shared<Cancellation>();
      LogQueryOptions options;
      options.cancellation = cancellation;
      std::chrono::steady_clock::time_point cancelled;
      std::thread canceller([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        cancelled = std::chrono::steady_clock::now();
        cancellation->Cancel();
      });
      const auto result = Range(query, options);
      const auto ended = std::chrono::steady_clock::now();
      canceller.join();
      ASSERT_EQ(result.status().code(), StatusCode::kCancelled) << query << result.status();
      // 200 ms on a machine that does nothing else.
      EXPECT_LT(ended - cancelled, std::chrono::seconds(2)) << query;
    }
  }
}

/// RE2 cannot be interrupted, so what would take it long over one line is refused: by the size of
/// the expression, or when it meets a line that is too long for it.
TEST_F(LogQLEngine, CatastrophicExpressionsAreRefused) {
  LogBatch batch;
  const std::vector<LabelView> labels{{"app", "x"}};
  const uint32_t stream = batch.AddStream(LabelsView(labels));
  std::string line;
  std::mt19937 random(1);
  while (line.size() < 200'000) line.push_back(random() % 2 == 0 ? 'a' : 'b');
  std::string alternatives = "never";
  for (int i = 0; i < 2000; ++i) alternatives += Concat("|id-", i * 7919 % 100000, "-x");
  batch.AddEntry(stream, kStart, line);
  batch.AddEntry(stream, kStart + 1, "a short line of words");
  ASSERT_TRUE(db_->AppendLogs(batch).ok());
  const auto repeat = [](std::string_view text, int count) {
    std::string out;
    for (int i = 0; i < count; ++i) out += text;
    return out;
  };
  // Chains of states that all stay alive, and one whose automaton has 2^1000 states.
  const std::string wide = repeat("a.*", 9000) + "z";
  const std::string late = "(a|b)*a(a|b){1000}z";
  for (const bool sealed : {false, true}) {
    if (sealed) {
      ASSERT_TRUE(db_->Compact().ok());
    }
    const std::pair<std::string, std::string_view> refused[] = {
        {Concat("{app=\"x\"} |~ `", repeat("a?", 60'000), "z`"), "too large"},
        {Concat("{app=\"x\"} |~ `", repeat("a.*", 40'000), "z`"), "too large"},
        {Concat("{app=~`", repeat("a?", 60'000), "z`}"), "too large"},
        {Concat("{app=\"x\"} | regexp `(?P<n>", repeat("b?", 60'000), "z)`"), "too large"},
        {Concat("{app=\"x\"} | line_format `{{regexReplaceAll \"", repeat("a?", 60'000),
                "z\" __line__ \"\"}}` | __error__!=\"\""),
         ""},
        {Concat("{app=\"x\"} |~ `", repeat("(a|b)?", 4000), "[^ab]`"), "too many steps"},
        {Concat("{app=\"x\"} |~ `", wide, "`"), "too many steps"},
        {Concat("{app=\"x\"} |~ `", late, "`"), "too many steps"},
        {Concat("{app=\"x\"} !~ `", late, "`"), "too many steps"},
        {Concat("{app=\"x\"} | line_format `{{__line__}}` |~ `", late, "`"), "too many steps"},
        {Concat("{app=\"x\"} | regexp `(?P<n>", late, ")`"), "too many steps"},
        {Concat("{app=\"x\"} | label_format l=`{{__line__}}` | l=~`", late, "`"), "too many steps"},
        {Concat("count_over_time({app=\"x\"} | label_format l=`{{__line__}}` | drop l=~`", late,
                "` [5m])"),
         "too many steps"},
    };
    for (const auto& [query, why] : refused) {
      SCOPED_TRACE(query.substr(0, 120));
      const auto begin = std::chrono::steady_clock::now();
      const auto result = Range(query);
      // A machine that does nothing else needs a tenth of that.
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
      if (why.empty()) {
        ASSERT_TRUE(result.ok()) << result.status();
        EXPECT_EQ(std::get<Streams>(result->value).at(0).entries.size(), 2u);
        continue;
      }
      ASSERT_EQ(result.status().code(), StatusCode::kInvalidArgument) << result.status();
      EXPECT_NE(ToStd(result.status().message()).find(why), std::string::npos) << result.status();
      EXPECT_LT(result.status().message().size(), 1000u);
    }
    // What people may write still runs on the long line.
    for (const std::string& query : {
             Concat("{app=\"x\"} |~ `", alternatives, "`"),
             std::string("{app=\"x\"} |~ `(a+b+)+c`"),
             std::string("{app=\"x\"} |~ `(.*)(.*)(.*)(.*)[^ab]q`"),
             std::string("{app=\"x\"} | regexp `(?P<n>(a|b)+?c)(?P<m>\\S+ \\S+)` | n!=``"),
         }) {
      const auto result = Range(query);
      ASSERT_TRUE(result.ok()) << query.substr(0, 100) << result.status();
      EXPECT_TRUE(std::get<Streams>(result->value).empty()) << query.substr(0, 100);
    }
  }
}

TEST_F(LogQLEngine, ThinningNeedsNoMemoryForWhatItDrops) {
  // 60,000 entries, of which one a minute stays.
  Fill(20'000);
  LogEngineOptions options;
  options.threads = 2;
  options.memory_bytes_max = 3 << 20;
  const auto engine = LogEngine::Make(options);
  for (const LogDirection direction : {LogDirection::kBackward, LogDirection::kForward}) {
    LogQueryRange range;
    range.start_ns = kStart;
    range.end_ns = kStart + 20'000 * kSecond;
    range.interval_ns = 60 * kSecond;
    range.limit = 1000;
    range.direction = direction;
    const auto result = engine->Range(*db_->TakeLogSnapshot(), "{app=\"x\",pod=\"a\"}", range);
    ASSERT_TRUE(result.ok()) << result.status();
    std::vector<int64_t> times;
    for (const LogStream& stream : std::get<Streams>(result->value)) {
      for (const LogEntry& entry : stream.entries)
        times.push_back((entry.time_ns - kStart) / kSecond);
    }
    ASSERT_EQ(times.size(), 334u);
    const bool backward = direction == LogDirection::kBackward;
    for (size_t i = 0; i < times.size(); ++i) {
      const auto at = static_cast<int64_t>(i) * 60;
      ASSERT_EQ(times[i], backward ? 19'999 - at : at);
    }
  }
}

TEST_F(LogQLEngine, AbsenceOfManySeriesNeedsNoMemory) {
  Fill(20'000);
  LogEngineOptions options;
  options.threads = 2;
  options.memory_bytes_max = 1 << 20;
  const auto engine = LogEngine::Make(options);
  LogQueryRange range;
  range.start_ns = kStart;
  range.end_ns = kStart + 30'000 * kSecond;
  range.step_ns = 1000 * kSecond;
  const auto result =
      engine->Range(*db_->TakeLogSnapshot(), "absent_over_time({app=\"x\"} | logfmt [5m])", range);
  ASSERT_TRUE(result.ok()) << result.status();
  const Matrix& matrix = std::get<Matrix>(result->value);
  ASSERT_EQ(matrix.size(), 1u);
  EXPECT_EQ(matrix[0].times_ms.front(), (kStart + 21'000 * kSecond) / 1'000'000);
  EXPECT_EQ(matrix[0].times_ms.size(), 10u);
  // The same entries do need memory where their labels count.
  EXPECT_EQ(
      engine->Range(*db_->TakeLogSnapshot(), "count_over_time({app=\"x\"} | logfmt [5m])", range)
          .status()
          .code(),
      StatusCode::kResourceExhausted);
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
