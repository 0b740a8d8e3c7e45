// What a user who gives up, a deadline and the budgets of bytes and lines do to a query that would
// run for long: each ends it soon, and says why.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "varve/database.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1'700'000'000 * kSecond;
constexpr uint32_t kThreads = 2;

/// What a query may still need once it is cancelled.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kSecondsMax = 2;  // checks slow it down
#else
constexpr double kSecondsMax = 0.2;
#endif

/// CPU time of the whole process: a busy machine does not make it longer.
double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/// Eight times what a server takes by default.
constexpr size_t kLineBytes = 2 << 20;

/// Puts what `piece` gives for 0, 1, 2... together to a line of about `bytes`.
std::string Repeat(const std::function<std::string(size_t)>& piece, size_t bytes = kLineBytes) {
  std::string out;
  for (size_t i = 0; out.size() < bytes; ++i) out += piece(i);
  return out;
}

std::unique_ptr<Database> NewDatabase() {
  Options options;
  options.dir = "/db";
  options.background_threads = 0;
  options.file_system = std::make_shared<io::MemoryFileSystem>();
  auto opened = Database::Open(options);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return *std::move(opened);
}

/// Appends `count` entries with this line to {app="x"}.
void Append(Database& db, std::string_view line, int count) {
  for (int i = 0; i < count; ++i) {
    LogBatch batch;
    const std::vector<LabelView> labels{{"app", "x"}};
    batch.AddEntry(batch.AddStream(labels), kStart + i, line);
    const auto appended = db.AppendLogs(batch);
    ASSERT_TRUE(appended.ok()) << appended.status();
  }
}

Result<LogQueryResult> Ask(const Database& db, std::string_view query,
                           const LogQueryOptions& options = {}) {
  LogEngineOptions engine_options;
  engine_options.threads = kThreads;
  engine_options.memory_bytes_max = uint64_t{4} << 30;
  LogQueryRange range;
  range.start_ns = kStart;
  range.end_ns = kStart + 3600 * kSecond;
  range.step_ns = kSecond;
  return LogEngine::Make(engine_options)->Range(*db.TakeLogSnapshot(), query, range, options);
}

/// Cancels `query` a while after it began. It must end with that, and soon: within 200 ms, which is
/// told by the CPU time that all threads together need for it, at the best of some tries.
void ExpectCancelled(const Database& db, const std::string& query, int after_ms = 40) {
  SCOPED_TRACE(query.substr(0, 100));
  double best = 1e9;
  for (int tries = 0; tries < 6 && best > kSecondsMax; ++tries) {
    const auto cancellation = std::make_shared<Cancellation>();
    LogQueryOptions options;
    options.cancellation = cancellation;
    double cancelled = 0;
    std::thread canceller([&] {
      std::this_thread::sleep_for(milliseconds(after_ms >> tries));
      cancelled = CpuSeconds();
      cancellation->Cancel();
    });
    const auto result = Ask(db, query, options);
    const double ended = CpuSeconds();
    canceller.join();
    if (result.ok()) continue;  // a fast machine
    ASSERT_EQ(result.status().code(), StatusCode::kCancelled) << result.status();
    best = std::min(best, ended - cancelled);
  }
  EXPECT_LT(best, kSecondsMax);
}

TEST(LogQLCancellation, HugeJsonLines) {
  const auto piece = [](std::string_view text) {
    return [text](size_t) { return std::string(text); };
  };
  const std::pair<std::string_view, std::string> lines[] = {
      {"wide", Concat("{", Repeat([](size_t i) { return Concat("\"key", i, "\":\"v", i, "\","); }),
                      "\"z\":1}")},
      {"deep", Concat(Repeat(piece("{\"a\":")), "1", std::string(kLineBytes / 5 + 1, '}'))},
      {"deep and cut off", Repeat(piece("{\"a\":"))},
      {"wide and nested", Concat("{", Repeat([](size_t i) {
                                   return Concat("\"k", i, "\":{\"a\":{\"b\":[", i,
                                                 ",[1,2,{}]],\"c\":\"\\u00e9\"}},");
                                 }),
                                 "\"z\":1}")},
      {"one text of escapes", Concat("{\"a\":\"", Repeat(piece("\\u00e9\\n")), "\"}")},
      {"an array", Concat("[", Repeat(piece("[],")), "1]")},
  };
  for (const auto& [what, line] : lines) {
    SCOPED_TRACE(what);
    const auto db = NewDatabase();
    Append(*db, line, 100);
    for (const char* query :
         {"{app=\"x\"} | json | z=`none`", "count_over_time({app=\"x\"} | json [5m])",
          "sum by (a) (count_over_time({app=\"x\"} | json a=`key7.b[0]`, b=`a.a.a` [5m]))",
          "{app=\"x\"} | unpack | z=`none`"}) {
      ExpectCancelled(*db, query);
    }
  }
}

TEST(LogQLCancellation, StagesOverHugeLines) {
  const auto db = NewDatabase();
  Append(*db, Repeat([](size_t i) { return Concat("key", i, "=\"\x1b[31mv ", i, "\x1b[0m\" "); }),
         400);
  std::string captures;
  for (int i = 0; i < 100; ++i) captures += Concat("<c", i, ">=");
  std::string paths = "a0=`key0`";
  for (int i = 1; i < 1000; ++i) paths += Concat(",a", i, "=`key", i * 7, "`");
  std::string heavy;
  for (int i = 0; i < 20; ++i) heavy += "{{ __line__ | lower | upper | title | trunc 3 }}";
  for (const std::string& query : {
           std::string("{app=\"x\"} | logfmt | key1=`none`"),
           std::string("{app=\"x\"} | logfmt --strict --keep-empty | key1=`none`"),
           Concat("{app=\"x\"} | logfmt ", paths, " | a0=`none`"),
           Concat("{app=\"x\"} | json ", paths, " | a0=`none`"),
           Concat("{app=\"x\"} | pattern `", captures, "<_>` | c0=`none`"),
           Concat("count_over_time({app=\"x\"} | pattern `<a>never<b>` | a=`none` [5m])"),
           std::string("{app=\"x\"} |> `<_>key1<_>key2<_>nowhere<_>`"),
           std::string("{app=\"x\"} | regexp `(?P<a>key[0-9]+).*(?P<b>nowhere)` | a=`none`"),
           std::string("{app=\"x\"} | decolorize | line_format `{{__line__}}` |= `nowhere`"),
           Concat("{app=\"x\"} | line_format `", heavy, "` |= `nowhere`"),
           Concat("count_over_time({app=\"x\"} | label_format a=`", heavy, "` [5m])"),
           std::string("{app=\"x\"} | line_format `{{regexReplaceAll \"[0-9]+\" __line__ \"n\"}}`"
                       " |= `nowhere`"),
           std::string("{app=\"x\"} | line_format `{{__line__ | replace \"k\" \"kk\" | b64enc}}`"
                       " |= `nowhere`"),
           std::string("{app=\"x\"} |= ip(`10.0.0.0/8`)"),
           // The store drops each entry: none reaches a stage.
           std::string("{app=\"x\"} | level=`none`"),
       }) {
    ExpectCancelled(*db, query);
  }
}

// The first scan of a page of the head makes the page's filter: once for a page, but of all its
// text.
TEST(LogQLCancellation, FilterOfAHugePage) {
  const auto words = [](size_t i) { return Concat("word", i * 2654435761, "ends "); };
  const auto ids = [](size_t i) { return Concat("id", i * 2654435761, "a", i, i % 64 ? "" : " "); };
  const auto one_id = [](size_t i) { return std::to_string(i * 2654435761) + "a"; };
  for (const std::function<std::string(size_t)>& piece :
       {std::function<std::string(size_t)>(words), {ids}, {one_id}}) {
    const auto db = NewDatabase();
    Append(*db, Repeat(piece, 16 << 20), 1);
    ExpectCancelled(*db, "{app=\"x\"} |= `nowhere at all`");
  }
}

/// Entries that give 50,000 series.
std::unique_ptr<Database> ManySeries() {
  auto db = NewDatabase();
  LogBatch batch;
  const std::vector<LabelView> labels{{"app", "x"}};
  const uint32_t stream = batch.AddStream(labels);
  for (int i = 0; i < 200'000; ++i) {
    batch.AddEntry(stream, kStart + i * (kSecond / 100),
                   batch.Copy(Concat("n=", i % 50'000, " v=", i)));
  }
  EXPECT_TRUE(db->AppendLogs(batch).ok());
  return db;
}

TEST(LogQLCancellation, VectorsOfManySeries) {
  const auto db = ManySeries();
  const std::string each = "count_over_time({app=\"x\"} | logfmt | keep n [10m])";
  for (const std::string& query :
       {each, Concat("sort_desc(sum by (n) (", each, "))"), Concat("topk(10, ", each, ")"),
        Concat("quantile(0.9, ", each, ")"), Concat("count(", each, " > on(n) ", each, ")"),
        Concat("label_replace(", each, ", \"a\", \"$1\", \"n\", \"(.*)\")")}) {
    // While entries are read, and while series are.
    for (const int after_ms : {40, 600}) ExpectCancelled(*db, query, after_ms);
  }
}

TEST(LogQLBudgets, SayWhatWasTooMuch) {
  const auto db = ManySeries();
  const auto fails = [&](std::string_view query, const LogQueryOptions& options, StatusCode code,
                         std::string_view text) {
    const Status status = Ask(*db, query, options).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(ToStd(status.message()).find(text), std::string_view::npos) << status;
  };
  LogQueryOptions options;
  options.timeout = milliseconds(20);
  fails("topk(10, count_over_time({app=\"x\"} | logfmt | keep n [10m]))", options,
        StatusCode::kDeadlineExceeded, "timed out");
  options = {};
  options.max_query_bytes_read = 1000;
  for (const char* query :
       {"{app=\"x\"} |~ `v=1$`", "count_over_time({app=\"x\"} | logfmt [5m])"}) {
    fails(query, options, StatusCode::kResourceExhausted, "bytes");
  }
  options = {};
  options.max_query_series = 100;
  fails("count_over_time({app=\"x\"} | logfmt | keep n [10m])", options,
        StatusCode::kResourceExhausted,
        "maximum number of series (100) reached for a single query");
}

}  // namespace
}  // namespace varve::query
