#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "engine/base/strings.h"
#include "query/lang/traceql/parse.h"
#include "query/traces/span_series.h"
#include "tests/support/memory_trace_snapshot.h"
#include "varve/traceql.h"

namespace varve::query {
namespace {

using testing::MemoryTraceStore;

std::string Repeat(std::string_view text, size_t count) {
  std::string out;
  out.reserve(text.size() * count);
  for (size_t i = 0; i < count; ++i) out.append(text);
  return out;
}

SpanId IdOf(uint64_t n) {
  SpanId id;
  for (int i = 7; i >= 0; --i, n >>= 8) id.bytes[i] = static_cast<uint8_t>(n);
  return id;
}

/// One trace of `count` spans, each the child of the one before.
std::shared_ptr<const TraceSnapshot> Chain(size_t count) {
  SpanBatch batch;
  const uint32_t scope = batch.AddScope(batch.AddResource({}), "", "");
  for (size_t i = 0; i < count; ++i) {
    SpanBatch::Span span;
    span.scope = scope;
    span.trace_id.bytes[15] = 1;
    span.span_id = IdOf(i + 1);
    if (i > 0) span.parent_id = IdOf(i);
    span.name = i == 0 ? "top" : i + 1 == count ? "bottom" : "middle";
    span.start_ns = static_cast<int64_t>(i);
    span.end_ns = span.start_ns + 10;
    batch.AddSpan(span, {});
  }
  MemoryTraceStore store({.batch_rows = 4096});
  store.Append(batch);
  return store.TakeSnapshot();
}

TEST(TraceQLLimits, HostileTextsAreRefusedAtOnce) {
  const std::string deep(100'000, '(');
  const struct {
    std::string text;
    std::string_view message;
  } cases[] = {
      {deep, "nested more than 256 levels"},
      {"{" + deep, "nested more than 256 levels"},
      {"{" + std::string(100'000, '!') + ".a}", "nested more than 256 levels"},
      {"{" + std::string(100'000, '-') + "1 = 1}", "nested more than 256 levels"},
      {"{1" + Repeat("^1", 40'000) + " = 1}", "nested more than 256 levels"},
      {"{.a" + Repeat(" && .a", 15'000) + "}", "chains more than 2048 operators"},
      {"{}" + Repeat(">{}", 30'000), "chains more than 2048 operators"},
      {"{}" + Repeat("|{}", 30'000), "chains more than 2048 operators"},
      {"{} with" + deep, "nested more than 256 levels"},
      {"{ .a =~ \"" + std::string(1 << 20, 'x') + "\" }", "more than the limit of 131072"},
      {"{ .a =~ \"" + Repeat("(a{1000}){1000}", 10) + "\" }", "invalid regex"},
      {std::string(100'000, '\0'), "unexpected character"},
      {std::string(100'000, '"'), "syntax error"},
  };
  const auto engine = TraceEngine::Make({});
  for (const auto& one : cases) {
    const auto parsed = engine->Parse(one.text);
    ASSERT_FALSE(parsed.ok()) << one.text.substr(0, 40);
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find(ToAbsl(one.message)), absl::string_view::npos)
        << parsed.status().ToString().substr(0, 300);
    EXPECT_TRUE(TextPlaceOf(parsed.status()).has_value());
  }
  // What lies within the limits works.
  EXPECT_TRUE(engine->Parse("{.a = 1" + Repeat(" || .a = -1", 1000) + "}").ok());
  EXPECT_TRUE(engine->Parse("{" + std::string(200, '(') + ".a" + std::string(200, ')') + "}").ok());
}

TEST(TraceQLLimits, CaretShowsThePlace) {
  const auto engine = TraceEngine::Make({});
  const std::string text = "{ name = \"x\" }\n  | count() >> 2";
  const auto parsed = engine->Parse(text);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(
      TraceEngine::RenderError(text, parsed.status()),
      "invalid TraceQL query: parse error at line 2, col 5: numbers cannot be combined by >>: "
      "count() >> 2\n"
      "  | count() >> 2\n"
      "    ^");
}

TEST(TraceQLLimits, ChainOfSpansNeedsNoStack) {
  const auto snapshot = Chain(200'000);
  const auto engine = TraceEngine::Make({});
  TraceSearch search;
  const auto found =
      engine->Search(*snapshot, "{ name = \"top\" } >> { name = \"bottom\" }", search, {});
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  ASSERT_EQ(found->traces.size(), 1u);
  EXPECT_EQ(found->traces[0].spans, 200'000u);
  EXPECT_EQ(found->traces[0].spansets[0].matched, 1u);
}

TEST(TraceQLLimits, BudgetsHold) {
  const auto snapshot = Chain(50'000);
  const auto small = TraceEngine::Make({.memory_bytes_max = 1 << 20});
  for (const std::string_view text : {"{ name = \"top\" }", "{ .missing = nil }"}) {
    const auto found = small->Search(*snapshot, text, {}, {});
    EXPECT_EQ(found.status().code(), StatusCode::kResourceExhausted) << text;
  }
  const auto few = TraceEngine::Make({.series_max = 100});
  const auto series = few->MetricsInstant(*snapshot, "{ } | rate() by (span:id)", -1, 1000, {});
  EXPECT_EQ(series.status().code(), StatusCode::kResourceExhausted);
  const auto engine = TraceEngine::Make({});
  TraceSearch search;
  search.limit = 0xffffffff;
  EXPECT_EQ(engine->Search(*snapshot, "{ }", search, {}).status().code(),
            StatusCode::kInvalidArgument);
  search.limit = 1;
  search.spans_per_spanset = 0xffffffff;
  EXPECT_EQ(engine->Search(*snapshot, "{ }", search, {}).status().code(),
            StatusCode::kInvalidArgument);
  for (const int64_t time : {INT64_MIN, INT64_MAX}) {
    EXPECT_FALSE(engine->MetricsInstant(*snapshot, "{ } | rate()", 0, time, {}).ok());
    EXPECT_FALSE(engine->MetricsRange(*snapshot, "{ } | rate()", {time, time, 1}, {}).ok());
    EXPECT_FALSE(engine->MetricsRange(*snapshot, "{ } | rate()", {0, 1, time}, {}).ok());
  }
  EXPECT_TRUE(
      engine->MetricsRange(*snapshot, "{ } | rate()", {0, 1, INT64_MAX / 5'000'000}, {}).ok());
}

TEST(TraceQLLimits, CancellationAndDeadline) {
  const auto snapshot = Chain(10);
  const auto engine = TraceEngine::Make({});
  auto cancellation = std::make_shared<Cancellation>();
  cancellation->Cancel();
  TraceQueryOptions options;
  options.cancellation = cancellation;
  EXPECT_EQ(engine->Search(*snapshot, "{ }", {}, options).status().code(), StatusCode::kCancelled);
  EXPECT_EQ(engine->MetricsInstant(*snapshot, "{ } | rate()", 0, 1, options).status().code(),
            StatusCode::kCancelled);
  options = {};
  options.timeout = std::chrono::milliseconds(-1);
  EXPECT_TRUE(engine->Search(*snapshot, "{ }", {}, options).ok());  // none
}

TEST(TraceQLLimits, CursorsAreChecked) {
  const auto snapshot = Chain(3);
  const auto engine = TraceEngine::Make({});
  for (const std::string_view cursor :
       {"x", "v1-", "v1-zzzzzzzzzzzzzzzz-00000000000000000000000000000001",
        "v2-0000000000000000-00000000000000000000000000000001"}) {
    TraceSearch search;
    search.cursor = cursor;
    EXPECT_EQ(engine->Search(*snapshot, "{ }", search, {}).status().code(),
              StatusCode::kInvalidArgument)
        << cursor;
  }
}

TEST(TraceQLLimits, Summaries) {
  const auto snapshot = Chain(5);
  const auto engine = TraceEngine::Make({});
  TraceId known;
  known.bytes[15] = 1;
  TraceId unknown;
  unknown.bytes[15] = 2;
  const TraceId ids[] = {unknown, known};
  const auto found = engine->Summaries(*snapshot, ids, {});
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].id, known);
  EXPECT_EQ((*found)[0].root_name, "top");
  EXPECT_EQ((*found)[0].spans, 5u);
}

// Sums do not depend on the order of what is added, and are rounded once.
TEST(ExactSumTest, OrderDoesNotMatter) {
  const double values[] = {1e16, 1, -1e16, 1e-9, 3.5, 1e16, 0.1, -1e16, 0.2};
  ExactSum forward;
  ExactSum backward;
  for (size_t i = 0; i < 9; ++i) {
    forward.Add(values[i]);
    backward.Add(values[8 - i]);
  }
  EXPECT_EQ(forward.Total(), backward.Total());
  EXPECT_DOUBLE_EQ(forward.Total(), 4.800000001);
  ExactSum mixed;
  mixed.AddWhole(INT64_MAX);
  mixed.AddWhole(INT64_MAX);
  mixed.Add(-18446744073709551616.0);
  EXPECT_EQ(mixed.Total(), -2);
  ExactSum time;
  time.AddNanoseconds(1'500'000'000);
  EXPECT_EQ(time.Total(), 1.5);
  time.Add(0.25);
  EXPECT_EQ(time.Total(), 1.75);
}

TEST(Log2BucketTest, Edges) {
  const auto integer = [](int64_t value) { return Log2Bucket(Val::Int(value)); };
  EXPECT_EQ(integer(0), std::nullopt);
  EXPECT_EQ(integer(-5), std::nullopt);
  EXPECT_EQ(integer(1), 1.0);
  EXPECT_EQ(integer(2), 2.0);
  EXPECT_EQ(integer(3), 4.0);
  EXPECT_EQ(integer(4), 4.0);
  EXPECT_EQ(integer(5), 8.0);
  EXPECT_EQ(integer(INT64_MAX), 9223372036854775808.0);
  EXPECT_EQ(Log2Bucket(Val::Double(0.75)), 1.0);
  EXPECT_EQ(Log2Bucket(Val::Double(0.5)), 0.5);
  EXPECT_EQ(Log2Bucket(Val::Double(-1)), std::nullopt);
  EXPECT_EQ(Log2Bucket(Val::String("x")), std::nullopt);
}

}  // namespace
}  // namespace varve::query
