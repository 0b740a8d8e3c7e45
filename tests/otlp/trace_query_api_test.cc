// Tempo's routes, the metrics of spans, correlation and sampling, handler by handler.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/otlp/trace_server_fixture.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/tracing/sampling.h"
#include "tools/tracing/trace_ingest.h"

namespace varve::api {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int64_t kSecond = 1'700'000'000;

/// A trace of three spans of two services, the last one an error.
void AddTrace(Server* server, std::string_view trace, int64_t second) {
  const auto span = [&](std::string_view id, std::string_view parent, int kind, int ms,
                        std::string_view name, bool error) {
    return Concat(R"({"traceId":")", trace, R"(","spanId":")", id, R"(","parentSpanId":")", parent,
                  R"(","name":")", name, R"(","kind":)", kind, R"(,"startTimeUnixNano":")", second,
                  R"(000000000","endTimeUnixNano":")", second * 1'000'000'000 + ms * 1'000'000,
                  R"(","status":{"code":)", error ? 2 : 1,
                  R"(},"attributes":[{"key":"http.status_code","value":{"intValue":)",
                  error ? 500 : 200, "}}]}");
  };
  const auto service = [](std::string_view name, std::string_view spans) {
    return Concat(R"({"resource":{"attributes":[{"key":"service.name","value":{"stringValue":")",
                  name, R"("}}]},"scopeSpans":[{"spans":[)", spans, "]}]}");
  };
  const std::string body = Concat(
      R"({"resourceSpans":[)",
      service("shop", Concat(span("0000000000000001", "", 2, 300, "GET /cart", false), ",",
                             span("0000000000000002", "0000000000000001", 3, 200, "call", false))),
      ",", service("cart", span("0000000000000003", "0000000000000002", 2, 100, "get", true)),
      "]}");
  ASSERT_EQ(server->Post("/v1/traces", body, kJson).status, 200);
}

std::string Url(std::string_view path, std::string_view q) {
  std::string out = Concat(path, path.find('?') == std::string_view::npos ? "?" : "&", "q=");
  for (const char c : q) {
    char hex[4];
    std::snprintf(hex, sizeof hex, "%%%02X", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += hex;
  }
  return out;
}

TEST(TempoApi, Search) {
  Server server;
  const std::string range = Concat("start=", kSecond - 10, "&end=", kSecond + 10);
  EXPECT_THAT(server.Get(Url(Concat("/tempo/api/search?", range), "{}")).body,
              StartsWith(R"({"traces":[],"metrics":{)"));
  AddTrace(&server, kTrace, kSecond);
  AddTrace(&server, "000000000000000000000000000000ff", kSecond + 1);
  const http::Response found =
      server.Get(Url(Concat("/tempo/api/search?", range), "{ .http.status_code = 500 }"));
  ASSERT_EQ(found.status, 200);
  EXPECT_THAT(found.body,
              StartsWith(R"({"traces":[{"traceID":"00000000000000ff","rootServiceName":"shop",)"
                         R"("rootTraceName":"GET /cart","startTimeUnixNano":"1700000001000000000",)"
                         R"("durationMs":300,"spanSet":{"spans":[{"spanID":"0000000000000003",)"
                         R"("name":"get","startTimeUnixNano":"1700000001000000000",)"
                         R"("durationNanos":"100000000","attributes":[{"key":"http.status_code",)"
                         R"("value":{"intValue":"500"}}]}],"matched":1})"));
  EXPECT_THAT(found.body, HasSubstr(R"("serviceStats":{"cart":{"spanCount":1,"errorCount":1},)"
                                    R"("shop":{"spanCount":2}}})"));
  // Pages, newest first; the last one has no cursor.
  const http::Response first =
      server.Get(Url(Concat("/api/search?limit=1&", range), "{ status = error }"));
  EXPECT_THAT(first.body, HasSubstr("00000000000000ff"));
  const std::string mark = R"("nextCursor":")";
  const size_t at = first.body.find(mark);
  ASSERT_NE(at, std::string::npos);
  const std::string cursor = first.body.substr(
      at + mark.size(), first.body.find('"', at + mark.size()) - at - mark.size());
  const http::Response second = server.Get(
      Url(Concat("/api/search?limit=1&cursor=", cursor, "&", range), "{ status = error }"));
  EXPECT_THAT(second.body, HasSubstr(kTrace));
  EXPECT_THAT(second.body, Not(HasSubstr("nextCursor")));
  // The older form, and its times.
  EXPECT_THAT(server.Get(Concat("/tempo/api/search?tags=http.status_code%3D500&", range)).body,
              StartsWith(R"({"traces":[],)"));  // a text never equals a number
  EXPECT_THAT(
      server.Get(Concat("/tempo/api/search?tags=service.name%3Dcart&minDuration=250ms&", range))
          .body,
      HasSubstr(kTrace));
  EXPECT_THAT(
      server.Get(Concat("/tempo/api/search?tags=service.name%3Dcart&minDuration=350ms&", range))
          .body,
      StartsWith(R"({"traces":[],)"));
  EXPECT_EQ(server.Get(Url("/tempo/api/search", "{ .a = }")).status, 400);
  EXPECT_EQ(server.Get("/tempo/api/search?limit=x").status, 400);
  EXPECT_EQ(server.Get("/tempo/api/search?tags=novalue").status, 400);
  EXPECT_EQ(server.Get(Url("/tempo/api/search?cursor=v1-x", "{}")).status, 400);
  EXPECT_EQ(server.Get(Url("/tempo/api/search", "{} | rate()")).status, 400);
}

TEST(TempoApi, TagsAndTheirValues) {
  Server server;
  AddTrace(&server, kTrace, kSecond);
  EXPECT_THAT(server.Get("/tempo/api/search/tags").body, HasSubstr(R"("http.status_code")"));
  EXPECT_THAT(server.Get("/tempo/api/search/tags?scope=resource").body,
              R"({"tagNames":["service.name"]})");
  EXPECT_EQ(server.Get("/tempo/api/search/tags?scope=nonsense").status, 400);
  const http::Response scopes = server.Get("/tempo/api/v2/search/tags");
  EXPECT_THAT(scopes.body,
              StartsWith(R"({"scopes":[{"name":"resource","tags":["service.name"]},)"
                         R"({"name":"span","tags":["http.status_code"]},{"name":"intrinsic",)"));
  EXPECT_EQ(server.Get(Url("/tempo/api/v2/search/tags?scope=span", "{ status = unset }")).body,
            R"({"scopes":[],"metrics":{}})");
  EXPECT_EQ(server.Get("/tempo/api/search/tag/service.name/values").body,
            R"({"tagValues":["cart","shop"]})");
  EXPECT_EQ(server.Get("/tempo/api/v2/search/tag/resource.service.name/values").body,
            R"({"tagValues":[{"type":"string","value":"cart"},{"type":"string","value":"shop"}],)"
            R"("metrics":{}})");
  EXPECT_EQ(server
                .Get(Url("/tempo/api/v2/search/tag/.http.status_code/values",
                         R"({ resource.service.name = "cart" })"))
                .body,
            R"({"tagValues":[{"type":"int","value":"500"}],"metrics":{}})");
  EXPECT_THAT(server.Get("/tempo/api/v2/search/tag/status/values").body,
              HasSubstr(R"({"type":"keyword","value":"error"})"));
  EXPECT_EQ(server.Get(Url("/tempo/api/v2/search/tag/name/values", "{ nonsense")).status, 400);
}

TEST(TempoApi, TracesById) {
  Server server;
  AddTrace(&server, kTrace, kSecond);
  const http::Response v1 = server.Get(Concat("/tempo/api/traces/", kTrace));
  EXPECT_EQ(v1.status, 200);
  EXPECT_THAT(v1.body, StartsWith(R"({"batches":[{"resource":)"));
  const http::Response v2 = server.Get(Concat("/tempo/api/v2/traces/", kTrace));
  EXPECT_THAT(v2.body, StartsWith(R"({"trace":{"resourceSpans":[{"resource":)"));
  EXPECT_THAT(v2.body, ::testing::EndsWith(R"(]},"metrics":{},"status":"COMPLETE"})"));
  EXPECT_EQ(server.Get(Concat("/api/v2/traces/", kTrace)).body, v2.body);
  const http::Response wire =
      server.Get(Concat("/tempo/api/traces/", kTrace), {{"Accept", "application/protobuf"}});
  EXPECT_EQ(wire.headers.Get("Content-Type"), "application/protobuf");
  SpanBatch batch;
  otlp::DecodeReport report;
  ASSERT_TRUE(otlp::DecodeTraces(wire.body, &batch, &report).ok());
  EXPECT_EQ(batch.spans().size(), 3u);
  const http::Response wire2 =
      server.Get(Concat("/tempo/api/v2/traces/", kTrace), {{"Accept", "application/protobuf"}});
  EXPECT_GT(wire2.body.size(), wire.body.size());
  EXPECT_THAT(wire2.body, HasSubstr(wire.body));
  EXPECT_EQ(server.Get("/tempo/api/traces/ff").status, 404);
  EXPECT_EQ(server.Get("/tempo/api/v2/traces/ff").status, 404);
  EXPECT_EQ(server.Get("/tempo/api/traces/nothex").status, 400);
}

TEST(TempoApi, MetricsAndTheRest) {
  Server server;
  AddTrace(&server, kTrace, kSecond);
  const std::string range = Concat("start=", kSecond - 30, "&end=", kSecond + 30, "&step=30");
  const http::Response series = server.Get(
      Url(Concat("/tempo/api/metrics/query_range?", range), "{ } | count_over_time() by (name)"));
  ASSERT_EQ(series.status, 200) << series.body;
  EXPECT_THAT(series.body, StartsWith(R"({"series":[{"labels":[{"key":"name","value":)"));
  EXPECT_THAT(series.body, HasSubstr(R"("promLabels":"{name=\"GET /cart\"}")"));
  EXPECT_THAT(series.body, HasSubstr(Concat(R"({"timestampMs":")", kSecond, R"(000","value":1})")));
  EXPECT_THAT(series.body, HasSubstr(Concat(R"("stringValue":")", kTrace, "\"")));  // an exemplar
  const http::Response instant = server.Get(
      Url(Concat("/tempo/api/metrics/query?", range), "{ status = error } | count_over_time()"));
  ASSERT_EQ(instant.status, 200) << instant.body;
  EXPECT_THAT(instant.body, HasSubstr(R"("value":1})"));
  EXPECT_EQ(server.Get(Url("/tempo/api/metrics/query_range?step=x", "{ } | rate()")).status, 400);
  EXPECT_EQ(server.Get(Url("/tempo/api/metrics/query_range", "{ }")).status, 400);
  EXPECT_EQ(server.Get("/tempo/api/echo").body, "echo");
  EXPECT_EQ(server.Get("/tempo/api/status/buildinfo").status, 200);
  EXPECT_THAT(server.Get("/tempo/api/status/buildinfo").body, HasSubstr("\"version\""));
  EXPECT_EQ(server.Get("/tempo/ready").status, 200);
}

// --- Metrics of spans ---

/// Writes what was counted into the metrics wing, as the server does from time to time.
void Dump(Server* server) {
  WriteBatch batch;
  server->context().ingest.load()->metrics().Dump(server->clock().NowMs(), &batch);
  ASSERT_FALSE(batch.empty());
  WriteOptions write;
  write.partial = true;
  ASSERT_TRUE(server->database().Append(batch, write).ok());
}

TEST(SpanMetricsApi, CallsErrorsLatencies) {
  Server server;
  const int64_t now = server.clock().NowMs();
  EXPECT_EQ(server.Get("/api/metrics/calls").status, 400);
  EXPECT_EQ(server.Get("/api/metrics/nonsense?service=cart").status, 404);
  AddTrace(&server, kTrace, now / 1000);
  Dump(&server);
  server.clock().Advance(std::chrono::minutes(1));
  for (int i = 1; i <= 6; ++i)
    AddTrace(&server, Concat("0000000000000000000000000000000", i), now / 1000);
  Dump(&server);
  const std::string window =
      Concat("&endTs=", now + 60'000, "&lookback=60000&step=60000&ratePer=120000");
  const http::Response calls = server.Get(Concat("/api/metrics/calls?service=cart", window));
  ASSERT_EQ(calls.status, 200) << calls.body;
  EXPECT_THAT(calls.body, StartsWith(R"({"name":"service_call_rate","type":"GAUGE",)"));
  EXPECT_THAT(calls.body, HasSubstr(R"({"name":"service_name","value":"cart"})"));
  // All calls of cart failed; shop's are fine, and a rate of errors is zero, not absent.
  const auto last = [](const std::string& body) {
    const std::string mark = R"("doubleValue":)";
    const size_t at = body.rfind(mark);
    return at == std::string::npos ? -1.0 : std::stod(body.substr(at + mark.size()));
  };
  EXPECT_GT(last(calls.body), 0);
  EXPECT_EQ(last(server.Get(Concat("/api/metrics/errors?service=cart", window)).body), 1);
  EXPECT_EQ(last(server.Get(Concat("/api/metrics/errors?service=shop", window)).body), 0);
  const http::Response latencies = server.Get(
      Concat("/api/metrics/latencies?service=cart&quantile=0.95&groupByOperation=true", window));
  ASSERT_EQ(latencies.status, 200) << latencies.body;
  EXPECT_THAT(latencies.body, HasSubstr("service_operation_latencies"));
  EXPECT_THAT(latencies.body, HasSubstr(R"({"name":"operation","value":"get"})"));
  EXPECT_GT(last(latencies.body), 0);
  EXPECT_EQ(server.Get(Concat("/api/metrics/latencies?service=cart", window)).status, 400);
  EXPECT_EQ(server.Get("/api/metrics/calls?service=cart&step=x").status, 400);
}

// --- Correlation ---

TEST(Correlation, ExemplarsLeadToTheirTraces) {
  Server server;
  AddTrace(&server, kTrace, kSecond);
  const auto point = [](std::string_view value, std::string_view trace) {
    return Concat(R"({"asDouble":)", value, R"(,"timeUnixNano":")", kSecond, R"(000000000",)",
                  R"("exemplars":[{"asDouble":0.25,"timeUnixNano":")", kSecond,
                  R"(000000000","traceId":")", trace, R"(","spanId":"0000000000000001"}]})");
  };
  const auto metric = [](std::string_view name, std::string_view point) {
    return Concat(R"({"name":")", name,
                  R"(","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[)", point,
                  "]}}");
  };
  const std::string body = Concat(
      R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[)", metric("stored", point("7", kTrace)),
      ",", metric("lost", point("8", "000000000000000000000000000000aa")), "]}]}]}");
  ASSERT_EQ(server.Post("/v1/metrics", body, kJson).status, 200);
  const std::string range = Concat("&start=", kSecond - 60, "&end=", kSecond + 60);
  const http::Response found =
      server.Get(Concat("/api/v1/correlate/exemplars?query=stored_total", range));
  ASSERT_EQ(found.status, 200) << found.body;
  EXPECT_THAT(found.body, HasSubstr(Concat(R"("traceID":")", kTrace,
                                           R"(","stored":true,"rootServiceName":"shop",)"
                                           R"("rootTraceName":"GET /cart")")));
  EXPECT_THAT(found.body, HasSubstr(R"("spanCount":3)"));
  const http::Response lost =
      server.Get(Concat("/api/v1/correlate/exemplars?query=lost_total", range));
  EXPECT_THAT(lost.body, HasSubstr(R"("stored":false})"));
  EXPECT_EQ(server.Get("/api/v1/correlate/exemplars?query=%7B").status, 400);
}

TEST(Correlation, SpansLeadToTheMetricsOfTheirService) {
  Server server;
  const int64_t now = server.clock().NowMs();
  AddTrace(&server, kTrace, now / 1000);
  Dump(&server);
  const std::string path = Concat("/api/v1/correlate/traces/", kTrace, "/spans/");
  const http::Response found = server.Get(Concat(path, "0000000000000003/metrics"));
  ASSERT_EQ(found.status, 200) << found.body;
  EXPECT_THAT(found.body, HasSubstr(R"("service":"cart")"));
  EXPECT_THAT(found.body, HasSubstr("traces_spanmetrics_calls_total"));
  EXPECT_THAT(found.body, Not(HasSubstr(R"("service":"shop")")));
  EXPECT_EQ(server.Get(Concat(path, "00000000000000ff/metrics")).status, 404);
  EXPECT_EQ(server.Get(Concat(path, "xyz/metrics")).status, 400);
  EXPECT_EQ(server.Get(Concat(path, "0000000000000003/metrics?around=x")).status, 400);
}

TEST(Correlation, LogsOfATrace) {
  Server server;
  AddTrace(&server, kTrace, kSecond);
  const std::string body = Concat(
      R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":")", kSecond,
      R"(000000000","body":{"stringValue":"by id"},"traceId":")", kTrace, R"("},{"timeUnixNano":")",
      kSecond + 1, R"(000000000","body":{"stringValue":"in the text: )", kTrace,
      R"("}},{"timeUnixNano":")", kSecond,
      R"(000000000","body":{"stringValue":"another"},"traceId":"000000000000000000000000000000aa"}]}]}]})");
  ASSERT_EQ(server.Post("/v1/logs", body, kJson).status, 200);
  const http::Response found = server.Get(Concat("/api/v1/correlate/traces/", kTrace, "/logs"));
  ASSERT_EQ(found.status, 200);
  EXPECT_LT(found.body.find("by id"), found.body.find("in the text"));
  EXPECT_THAT(found.body, HasSubstr("in the text"));
  EXPECT_THAT(found.body, Not(HasSubstr("another")));
  EXPECT_EQ(server.Get("/api/v1/correlate/traces/xyz/logs").status, 400);
}

// --- What means harm ---

TEST(Pathological, ATraceOfAMillionSpans) {
  Server server;
  const AttributeView name[] = {{"service.name", ValueView::String("deep")}};
  constexpr uint32_t kSpans = 1'000'000;
  constexpr uint32_t kAtOnce = 100'000;
  SpanBatch batch;
  std::string body;
  for (uint32_t begin = 1; begin <= kSpans; begin += kAtOnce) {
    batch.Clear();
    const uint32_t scope = batch.AddScope(batch.AddResource(name), {}, {});
    for (uint32_t i = begin; i < begin + kAtOnce; ++i) {
      SpanBatch::Span span;
      span.scope = scope;
      span.trace_id.bytes[0] = 7;
      for (int byte = 0; byte < 4; ++byte) {
        span.span_id.bytes[static_cast<size_t>(7 - byte)] = static_cast<uint8_t>(i >> (8 * byte));
        span.parent_id.bytes[static_cast<size_t>(7 - byte)] =
            static_cast<uint8_t>((i - 1) >> (8 * byte));
      }
      span.name = "step";
      span.start_ns = kSecond * 1'000'000'000 + i;
      span.end_ns = span.start_ns + 10;
      batch.AddSpan(span, {});
    }
    body.clear();
    otlp::TraceWriter(otlp::TraceWriter::Format::kProtobuf, batch).All(&body);
    ASSERT_EQ(server.Post("/v1/traces", body, kProtobuf).status, 200);
  }
  const auto check = [&](const char* state) {
    SCOPED_TRACE(state);
    const http::Response trace = server.Get("/tempo/api/traces/07000000000000000000000000000000",
                                            {{"Accept", "application/protobuf"}});
    ASSERT_EQ(trace.status, 200);
    SpanBatch read;
    otlp::DecodeReport report;
    ASSERT_TRUE(otlp::DecodeTraces(trace.body, &read, &report).ok());
    ASSERT_EQ(read.spans().size(), kSpans);
    const http::Response found =
        server.Get(Url(Concat("/tempo/api/search?start=", kSecond - 1, "&end=", kSecond + 1),
                       R"({ name = "step" } | count() > 999999)"));
    ASSERT_EQ(found.status, 200) << found.body;
    EXPECT_THAT(found.body, HasSubstr(R"("matched":1000000)"));
  };
  check("head");
  ASSERT_TRUE(server.database().Compact().ok());
  check("compacted");
  const auto damage = server.database().Verify();
  ASSERT_TRUE(damage.ok());
  EXPECT_TRUE(damage->empty());
}

TEST(Pathological, IdsOfZeroOrOfTheWrongLength) {
  Server server;
  const auto wire = [](std::string_view trace, std::string_view span) {
    std::string body;
    {
      const otlp::Submessage resource_spans(1, &body);
      const otlp::Submessage scope_spans(2, &body);
      const otlp::Submessage message(2, &body);
      otlp::AppendBytesField(1, trace, &body);
      otlp::AppendBytesField(2, span, &body);
    }  // only now the lengths are written
    return body;
  };
  const std::string zero(16, '\0');
  const std::string good(16, '\x21');
  for (const auto& [trace, span] :
       {std::pair{zero, std::string(8, '\1')}, std::pair{good, std::string(8, '\0')},
        std::pair{good.substr(1), std::string(8, '\1')},
        std::pair{good + "x", std::string(8, '\1')}, std::pair{good, std::string(7, '\1')},
        std::pair{std::string(), std::string()}}) {
    const http::Response response = server.Post("/v1/traces", wire(trace, span), kProtobuf);
    // Refused as a body, or span by span with a message: never stored, never silent.
    EXPECT_TRUE(response.status == 400 || (response.status == 200 && !response.body.empty()))
        << response.status;
  }
  EXPECT_EQ(server.Get("/api/traces/21212121212121212121212121212121").status, 404);
  // The same body with ids as they should be is stored.
  EXPECT_EQ(
      server.Post("/v1/traces", wire(std::string(16, '\x22'), std::string(8, '\1')), kProtobuf)
          .status,
      200);
  EXPECT_EQ(server.Get("/api/traces/22222222222222222222222222222222").status, 200);
  for (const std::string_view id : {"xyz", "5b8efff798038103d269b633813fc60", ""}) {
    const http::Response response =
        server.Post("/v1/traces", OneSpan(id, "0000000000000001"), kJson);
    EXPECT_TRUE(response.status == 400 || response.body.find("rejectedSpans") != std::string::npos)
        << id << response.body;
  }
  EXPECT_THAT(server.Get("/api/services").body, Not(HasSubstr("shop")));
}

// --- Sampling ---

TEST(SamplingFile, IsReadAgainWhenItChanges) {
  const std::string path = ::testing::TempDir() + "varve_sampling_" + std::to_string(getpid());
  const auto write = [&](std::string_view text) { std::ofstream(path) << text; };
  EXPECT_FALSE(tracing::SamplingFile::Open(path).ok());
  write(R"({"service_strategies":[{"service":"A","type":"probabilistic","param":0.5}]})");
  const auto file = tracing::SamplingFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->Find("A").rate, 0.5);
  EXPECT_EQ((*file)->Find("B").rate, 0.001);
  write(R"({"service_strategies":[{"service":"A","type":"ratelimiting","param":7}]})");
  EXPECT_TRUE((*file)->Reload().ok());
  EXPECT_TRUE((*file)->Find("A").rate_limiting);
  EXPECT_EQ((*file)->Find("A").rate, 7);
  // What cannot be used changes nothing.
  write("{");
  EXPECT_FALSE((*file)->Reload().ok());
  EXPECT_EQ((*file)->Find("A").rate, 7);
  std::filesystem::remove(path);
  EXPECT_FALSE((*file)->Reload().ok());
  EXPECT_EQ((*file)->Find("A").rate, 7);
}

}  // namespace
}  // namespace varve::api
