#include "tools/tracing/span_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "engine/base/strings.h"
#include "tests/support/filter_cover.h"
#include "tools/otlp/wire_writer.h"
#include "varve/traceql.h"

namespace varve::tracing {
namespace {

using ::testing::HasSubstr;

/// One span with something on every level; two events, of which each has half of a pair.
class OneSpan {
 public:
  OneSpan() {
    const AttributeView resource[] = {{"service.name", ValueView::String("shop")},
                                      {"both", ValueView::String("resource")}};
    const AttributeView scope[] = {{"tier", ValueView::String("lib")}};
    const AttributeView span[] = {{"code", ValueView::Int(500)},
                                  {"text", ValueView::String("500")},
                                  {"ratio", ValueView::Double(2.5)},
                                  {"flag", ValueView::Bool(true)},
                                  {"both", ValueView::String("span")},
                                  {"wait", ValueView::String("2s")},
                                  {"bytes", ValueView::Bytes("x")},
                                  {"message", ValueView::String("Could not Connect, host db-1")}};
    const AttributeView first[] = {{"type", ValueView::String("Timeout")}};
    const AttributeView second[] = {{"level", ValueView::String("high")}};
    SpanBatch::Span one;
    one.scope = batch.AddScope(batch.AddResource(resource, "r-url"), "lib", "1.0", scope);
    one.trace_id.bytes[15] = 1;
    one.span_id.bytes[7] = 2;
    one.name = "GET /cart";
    one.kind = SpanKind::kServer;
    one.status = SpanStatus::kError;
    one.start_ns = 1'700'000'000'000'000'000;
    one.end_ns = one.start_ns + 3'000'000'000;
    batch.AddSpan(one, span);
    batch.AddEvent(one.start_ns + 1'000'000, "exception", first);
    batch.AddEvent(one.start_ns + 2'000'000, "retry", second);
    SpanBatch::Link link;
    link.trace_id.bytes[15] = 9;
    batch.AddLink(link, {});
  }
  SpanBatch batch;
};

std::string Attr(std::string_view key, std::string_view level = "") {
  return Concat(R"({"attr":{"key":")", key, "\"",
                level.empty() ? "" : Concat(R"(,"level":")", level, "\""), "}}");
}
std::string Field(std::string_view level, std::string_view name) {
  return Concat(R"({"field":{"level":")", level, R"(","name":")", name, "\"}}");
}
std::string Value(std::string_view value, std::string_view type = "") {
  return Concat(R"({"scalar":{"value":")", value, R"(","type":")", type, "\"}}");
}
std::string List(std::string_view values, std::string_view type = "") {
  return Concat(R"({"list":{"values":[)", values, R"(],"type":")", type, "\"}}");
}
std::string Call(std::string_view op, std::string_view args) {
  return Concat(R"({"op":")", op, R"(","args":[)", args, "]}");
}
std::string Nested(const std::string& call) { return Concat(R"({"call":)", call, "}"); }

TEST(SpanFilter, Operators) {
  const OneSpan data;
  const auto engine = query::TraceEngine::Make({});
  const struct {
    std::string filter;
    bool matches;
  } kCases[] = {
      // Constants without a type are what the attribute is.
      {Call("eq", Attr("code") + "," + Value("500")), true},
      {Call("eq", Attr("text") + "," + Value("500")), true},
      {Call("eq", Attr("ratio") + "," + Value("2.50")), true},
      {Call("eq", Attr("flag") + "," + Value("true")), true},
      {Call("eq", Value("500") + "," + Attr("code")), true},
      // One with a type is of that type.
      {Call("eq", Attr("code") + "," + Value("500", "int")), true},
      {Call("eq", Attr("code") + "," + Value("500", "double")), false},
      {Call("eq", Attr("code") + "," + Value("500", "string")), false},
      {Call("eq", Attr("text") + "," + Value("500", "string")), true},
      {Call("eq", Attr("flag") + "," + Value("true", "bool")), true},
      // Nothing there satisfies no leaf, negated ones included.
      {Call("ne", Attr("none") + "," + Value("1")), false},
      {Call("not", Nested(Call("eq", Attr("none") + "," + Value("1")))), true},
      {Call("ne", Attr("code") + "," + Value("501")), true},
      {Call("ne", Attr("bytes") + "," + Value("x")), true},
      // Of several values one is enough, and a negated leaf wants none.
      {Call("eq", Attr("both") + "," + Value("resource")), true},
      {Call("eq", Attr("both", "span") + "," + Value("resource")), false},
      {Call("ne", Attr("both") + "," + Value("resource")), false},
      {Call("gt", Attr("code") + "," + Value("499.5")), true},
      {Call("lt", Attr("code") + "," + Value("500")), false},
      {Call("lte", Attr("code") + "," + Value("500")), true},
      {Call("gt", Value("501") + "," + Attr("code")), true},
      {Call("gte", Attr("text") + "," + Value("5")), true},
      {Call("regex", Attr("message") + "," + Value("not C.*t")), true},
      {Call("regex", Attr("message") + "," + Value("not c")), false},
      {Call("regex", Field("span", "kind") + "," + Value("serv")), true},
      {Call("exists", Attr("bytes")), true},
      {Call("exists", Attr("none")), false},
      {Call("exists", Field("span", "parentSpanID")), false},
      {Call("in", Attr("code") + "," + List(R"("1","500")")), true},
      {Call("in", Attr("code") + "," + List(R"("500")", "string")), false},
      {Call("not_in", Attr("code") + "," + List(R"("1","2")")), true},
      {Call("not_in", Attr("none") + "," + List(R"("1")")), false},
      {Call("in", Field("span", "kind") + "," + List(R"("client","server")")), true},
      {Call("phrase", Attr("message") + "," + List(R"("NOT","connect")")), true},
      {Call("phrase", Attr("message") + "," + List(R"("connect","not")")), false},
      {Call("fulltext", Attr("message") + "," + List(R"("connect","not","db")")), true},
      {Call("fulltext", Attr("message") + "," + List(R"("connec")")), false},
      // Fields.
      {Call("eq", Field("resource", "service") + "," + Value("shop")), true},
      {Call("eq", Field("resource", "schemaURL") + "," + Value("r-url")), true},
      {Call("eq", Field("scope", "version") + "," + Value("1.0")), true},
      {Call("eq", Field("span", "name") + "," + Value("GET /cart")), true},
      {Call("eq", Field("span", "status") + "," + Value("error")), true},
      {Call("ne", Field("span", "status") + "," + Value("ok")), true},
      {Call("eq", Field("span", "spanID") + "," + Value("0000000000000002")), true},
      {Call("eq", Field("span", "traceID") + "," + Value("nonsense")), false},
      {Call("gt", Field("span", "duration") + "," + Value("2s")), true},
      {Call("lt", Field("span", "duration") + "," + Value("2s")), false},
      {Call("gt", Field("span", "duration") + "," + Attr("wait")), true},
      {Call("gte", Field("span", "startTime") + "," + Value("2023-11-14T22:13:20Z")), true},
      {Call("gt", Field("span", "endTime") + "," + Field("span", "startTime")), true},
      {Call("eq", Field("link", "traceID") + "," + Value("00000000000000000000000000000009")),
       true},
      {Call("eq", Field("event", "timeSinceStart") + "," + Value("2ms")), true},
      {Call("eq", Attr("tier", "scope") + "," + Value("lib")), true},
      // `some` is about one event, a conjunction about any.
      {Call("and", Nested(Call("eq", Field("event", "name") + "," + Value("exception"))) + "," +
                       Nested(Call("eq", Attr("level", "event") + "," + Value("high")))),
       true},
      {Call("some",
            R"({"nested":{"level":"event"}},)" +
                Nested(Call("and",
                            Nested(Call("eq", Field("event", "name") + "," + Value("exception"))) +
                                "," +
                                Nested(Call("eq", Attr("level", "event") + "," + Value("high")))))),
       false},
      {Call("some",
            R"({"nested":{"level":"event"}},)" +
                Nested(Call(
                    "and",
                    Nested(Call("eq", Field("event", "name") + "," + Value("exception"))) + "," +
                        Nested(Call("eq", Attr("type", "event") + "," + Value("Timeout")))))),
       true},
      {Call("or", Nested(Call("eq", Attr("none") + "," + Value("1"))) + "," +
                      Nested(Call("exists", Attr("code", "span")))),
       true},
  };
  for (const auto& one : kCases) {
    const auto filter = SpanFilter::FromJson(one.filter);
    ASSERT_TRUE(filter.ok()) << one.filter << "\n" << filter.status();
    EXPECT_EQ(filter->Matches(data.batch, data.batch.spans()[0]), one.matches) << one.filter;
    // What the store is asked for is TraceQL.
    const std::string superset = filter->Superset();
    if (!superset.empty()) {
      const auto parsed = engine->Parse(Concat("{ ", superset, " }"));
      EXPECT_TRUE(parsed.ok()) << superset << "\n" << parsed.status();
    }
  }
}

TEST(SpanFilter, WhatTheStoreIsAskedForCoversTheFilter) {
  const testing::FilterCover cover;
  constexpr int kFilters = 3000;
  int valid = 0;
  int narrowing = 0;  // it says something, and some but not all spans satisfy it
  for (int seed = 0; seed < kFilters; ++seed) {
    testing::Choices choices(static_cast<uint64_t>(seed));
    const std::string json = testing::RandomFilter(choices);
    const auto filter = SpanFilter::FromJson(json);
    if (!filter.ok()) continue;
    ++valid;
    const std::string missing = cover.Missing(*filter);
    ASSERT_EQ(missing, "") << "seed " << seed << ": " << json;
    const size_t taken = cover.Taken(*filter);
    narrowing += !filter->Superset().empty() && taken > 0 && taken < 300 ? 1 : 0;
  }
  EXPECT_GT(valid, kFilters / 2);
  EXPECT_GT(narrowing, valid / 5);
}

TEST(SpanFilter, WhatIsNotUnderstoodIsRefused) {
  std::string deep = Call("exists", Attr("a"));
  for (int i = 0; i < 20; ++i) deep = Call("not", Nested(deep));
  const struct {
    std::string filter;
    std::string_view message;
  } kCases[] = {
      {"", "malformed filter"},
      {"[]", "a call is an object"},
      {R"({"op":"eq","args":[],"more":1})", "unknown member \"more\""},
      {Call("near", Attr("a") + "," + Value("1")), "unknown operator \"near\""},
      {Call("eq", Attr("a")), "takes 2 arguments"},
      {Call("and", Nested(Call("exists", Attr("a")))), "takes at least 2 arguments"},
      {Call("and", Attr("a") + "," + Attr("b")), "a predicate must be a call"},
      {Call("eq", Value("1") + "," + Value("1")), "two constants"},
      {Call("eq", Attr("a", "planet") + "," + Value("1")), "unknown level \"planet\""},
      {Call("eq", Field("span", "colour") + "," + Value("1")), "unknown field span.colour"},
      {Call("eq", Field("span", "kind") + "," + Value("banana")), "never \"banana\""},
      {Call("gt", Field("span", "kind") + "," + Value("server")), "no order"},
      {Call("gt", Attr("a") + "," + Value("true", "bool")), "no order"},
      {Call("gt", Field("span", "duration") + "," + Value("2")), "not a duration"},
      {Call("gt", Field("span", "duration") + "," + Value("2s", "int")), "holds no int"},
      {Call("gt", Field("span", "startTime") + "," + Value("now")), "RFC 3339"},
      {Call("eq", Field("span", "duration") + "," + Field("span", "name")), "different kinds"},
      {Call("eq", Attr("a") + "," + Value("x", "int")), "not of type int"},
      {Call("eq", Attr("a") + "," + Value("x", "date")), "unknown type"},
      {Call("in", Attr("a") + "," + List("")), "list is empty"},
      {Call("regex", Attr("a") + "," + Value("^x")), "anchors"},
      {Call("regex", Attr("a") + "," + Value("(?i)x")), "inline flags"},
      {Call("regex", Attr("a") + "," + Value("x*?")), "lazy"},
      {Call("regex", Attr("a") + "," + Value("(x")), "missing"},
      {Call("regex", Field("span", "duration") + "," + Value("x")), "no text"},
      {Call("some", R"({"nested":{"level":"span"}},)" + Nested(Call("exists", Attr("a")))),
       "no several"},
      {Call("phrase", Attr("a") + "," + List(R"("two words")")), "not one word"},
      {Call("phrase", Field("span", "name") + "," + List(R"("a")")), "an attribute"},
      {deep, "nests calls more than 20 deep"},
  };
  for (const auto& one : kCases) {
    const auto filter = SpanFilter::FromJson(one.filter);
    EXPECT_EQ(filter.status().code(), StatusCode::kInvalidArgument) << one.filter;
    EXPECT_THAT(std::string(ToStd(filter.status().message())), HasSubstr(std::string(one.message)))
        << one.filter;
  }
  for (const std::string_view wire : {std::string_view("\xff"), std::string_view("\x1a\x00", 2),
                                      std::string_view("\x12\x00", 2)}) {
    EXPECT_FALSE(SpanFilter::FromProtobuf(wire).ok());
  }
}

}  // namespace
}  // namespace varve::tracing
