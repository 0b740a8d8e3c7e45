// The APIs of traces and OTLP over a real store, handler by handler.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <set>

#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tests/support/shared_data.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/receiver.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/http/coding.h"
#include "tools/server/http/url.h"
#include "tools/server/traces/grpc_api.h"
#include "tools/server/traces/trace_common.h"
#include "tools/server/traces/trace_server.h"
#include "tools/tracing/sampling.h"
#include "varve/database.h"

namespace varve::api {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using varve::testing::ReadFile;
using varve::testing::SharedPath;

std::string Gzip(std::string_view bytes) {
  const auto encoder = http::Encoder::Make(http::Coding::kGzip);
  std::string out;
  EXPECT_TRUE(encoder->Write(bytes, true, &out).ok());
  return out;
}

// --- OTLP's duties ---

TEST(OtlpHttp, ContentTypesAreEchoedExactly) {
  Server server;
  http::Response response = server.Post("/v1/traces", OneSpan(kTrace, "0000000000000001"), kJson);
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
  EXPECT_EQ(response.body, R"({"partialSuccess":{}})");
  response = server.Post("/v1/traces", "", "application/x-protobuf; charset=utf-8");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/x-protobuf");
  EXPECT_EQ(response.body, "");
  // An empty request succeeds, for every signal.
  for (const std::string_view path :
       {"/v1/traces", "/v1/metrics", "/v1/logs", "/api/v1/otlp/v1/metrics", "/otlp/v1/traces"}) {
    EXPECT_EQ(server.Post(path, "", kProtobuf).status, 200) << path;
    EXPECT_EQ(server.Post(path, "{}", "Application/JSON; charset=utf-8").status, 200) << path;
  }
  // Loki's own answers as Loki does.
  response = server.Post("/otlp/v1/logs", "", kProtobuf);
  EXPECT_EQ(response.status, 204);
  EXPECT_FALSE(response.headers.Has("Content-Type"));
  EXPECT_EQ(response.body, "");
}

TEST(OtlpHttp, ErrorsAreStatusMessagesInTheFormatOfTheRequest) {
  Server server;
  http::Response response = server.Post("/v1/traces", "{", kJson);
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
  EXPECT_THAT(response.body, StartsWith(R"({"code":3,"message":"malformed JSON)"));
  response = server.Post("/v1/metrics", "\xff", kProtobuf);
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/x-protobuf");
  EXPECT_THAT(response.body, StartsWith(std::string("\x08\x03\x12", 3)));
  response = server.Post("/v1/logs", "", "text/plain");
  EXPECT_EQ(response.status, 415);
  EXPECT_THAT(std::string(response.headers.Get("Content-Type")), StartsWith("text/plain"));
  EXPECT_EQ(server.Post("/v1/logs", "", "").status, 415);
  EXPECT_EQ(server.Get("/v1/traces").status, 405);
}

TEST(OtlpHttp, Compression) {
  Server server;
  const std::string body = OneSpan(kTrace, "0000000000000002");
  EXPECT_EQ(server.Post("/v1/traces", Gzip(body), kJson, {{"Content-Encoding", "gzip"}}).status,
            200);
  const auto zstd = http::Encoder::Make(http::Coding::kZstd);
  std::string packed;
  ASSERT_TRUE(zstd->Write(body, true, &packed).ok());
  EXPECT_EQ(server.Post("/v1/traces", packed, kJson, {{"Content-Encoding", "zstd"}}).status, 200);
  EXPECT_EQ(server.Post("/v1/traces", body, kJson, {{"Content-Encoding", "br"}}).status, 415);
  EXPECT_EQ(server.Post("/v1/traces", "x", kJson, {{"Content-Encoding", "gzip"}}).status, 400);
  // A bomb: small as sent, too large unpacked.
  const std::string bomb = Gzip(std::string(64u << 20, ' '));
  http::Response response = server.Post("/v1/traces", bomb, kJson, {{"Content-Encoding", "gzip"}});
  EXPECT_EQ(response.status, 413);
  EXPECT_THAT(response.body, StartsWith(R"({"code":8,)"));
}

TEST(OtlpHttp, PartialSuccess) {
  Server server;
  const http::Response response = server.Post(
      "/v1/traces",
      R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"x"},{"traceId":"00000000000000000000000000000001","spanId":"0000000000000001"}]}]}]})",
      kJson);
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body,
              StartsWith(R"({"partialSuccess":{"rejectedSpans":"1","errorMessage":")"));
  EXPECT_EQ(server.Get("/api/traces/1").status, 200);
}

TEST(OtlpHttp, AStoreThatCannotWriteIsRetried) {
  Server server;
  ASSERT_TRUE(server.database().Close().ok());
  http::Response response = server.Post("/v1/traces", OneSpan(kTrace, "0000000000000001"), kJson);
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.headers.Has("Retry-After"));
  EXPECT_THAT(response.body, StartsWith(R"({"code":14,)"));
  response = server.Post("/api/v2/spans", R"([{"traceId":"1","id":"2"}])", kJson);
  EXPECT_EQ(response.status, 503);
  std::string answer;
  const rpc::Methods methods = TraceMethods(&server.context());
  std::string wire;
  ASSERT_TRUE(
      otlp::JsonToWire(OneSpan(kTrace, "0000000000000001"), otlp::kTraceRequest, &wire).ok());
  const rpc::CallStatus status =
      methods.at("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
          .unary(wire, &answer);
  EXPECT_EQ(status.code, rpc::Code::kUnavailable);
}

// --- Other receivers ---

TEST(Receivers, ZipkinAndThrift) {
  Server server;
  EXPECT_EQ(
      server
          .Post("/api/v2/spans",
                R"([{"traceId":"a1","id":"2","name":"z","localEndpoint":{"serviceName":"zip"}}])",
                kJson)
          .status,
      202);
  EXPECT_THAT(server.Get("/api/traces/a1").body, HasSubstr("\"serviceName\":\"zip\""));
  EXPECT_EQ(server.Post("/api/v1/spans", R"([{"traceId":"a2","id":"2","name":"z"}])", kJson).status,
            202);
  EXPECT_EQ(server.Post("/api/v2/spans", "[", kJson).status, 400);
  EXPECT_EQ(server.Post("/api/v2/spans", R"([{"name":"no ids"}])", kJson).status, 400);
  EXPECT_EQ(server.Post("/api/v2/spans", "", "text/plain").status, 415);
  EXPECT_EQ(server.Post("/api/v2/spans", "", kProtobuf).status, 202);
  EXPECT_EQ(server.Post("/api/traces", std::string(1, '\0'), "application/x-thrift").status, 202);
  EXPECT_EQ(server.Post("/api/traces", "\xff", "application/vnd.apache.thrift.binary").status, 400);
  EXPECT_EQ(server.Post("/api/traces", "{}", kJson).status, 415);
}

// --- Jaeger ---

/// Stores a trace of two spans: the cart's is a child of the shop's.
void StoreShopAndCart(Server& server) {
  ASSERT_EQ(server.Post("/v1/traces", OneSpan(kTrace, "0000000000000001"), kJson).status, 200);
  ASSERT_EQ(server
                .Post("/v1/traces", OneSpan(kTrace, "0000000000000002", "cart", "0000000000000001"),
                      kJson)
                .status,
            200);
}

TEST(JaegerApi, ServicesOperationsAndTraces) {
  Server server;
  EXPECT_EQ(server.Get("/api/services").body,
            R"({"data":[],"total":0,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(server.Get("/api/v3/services").body, R"({"services":[]})");
  StoreShopAndCart(server);
  EXPECT_EQ(server.Get("/api/services").body,
            R"({"data":["cart","shop"],"total":2,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(server.Get("/api/v3/services").body, R"({"services":["cart","shop"]})");
  EXPECT_EQ(server.Get("/api/services/shop/operations").body,
            R"({"data":["op"],"total":1,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(
      server.Get("/api/operations?service=shop&spanKind=server").body,
      R"({"data":[{"name":"op","spanKind":"server"}],"total":1,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(server.Get("/api/operations?service=shop&spanKind=client").body,
            R"({"data":[],"total":0,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(server.Get("/api/operations").status, 400);
  EXPECT_EQ(server.Get("/api/v3/operations?service=shop").body,
            R"({"operations":[{"name":"op","spanKind":"server"}]})");

  http::Response trace = server.Get(Concat("/api/traces/", kTrace));
  EXPECT_EQ(trace.status, 200);
  EXPECT_THAT(trace.body,
              StartsWith(R"({"data":[{"traceID":"5b8efff798038103d269b633813fc60c","spans":[{)"));
  EXPECT_THAT(
      trace.body,
      HasSubstr(
          R"("references":[{"refType":"CHILD_OF","traceID":"5b8efff798038103d269b633813fc60c","spanID":"0000000000000001"}])"));
  EXPECT_THAT(
      trace.body,
      ::testing::EndsWith(R"("warnings":null}],"total":0,"limit":0,"offset":0,"errors":null})"));
  EXPECT_THAT(server.Get(Concat("/api/v3/traces/", kTrace)).body,
              StartsWith(R"({"result":{"resourceSpans":[{"resource":)"));
  // Several by id; those that are missing are errors beside the data.
  http::Response several = server.Get(Concat("/api/traces?traceID=", kTrace, "&traceID=ff"));
  EXPECT_EQ(several.status, 200);
  EXPECT_THAT(
      several.body,
      HasSubstr(R"("errors":[{"code":404,"msg":"trace not found","traceID":"00000000000000ff"}])"));
  // Empty answers of both generations.
  EXPECT_EQ(server.Get("/api/traces/ff").status, 404);
  EXPECT_EQ(
      server.Get("/api/traces/ff").body,
      R"({"data":null,"total":0,"limit":0,"offset":0,"errors":[{"code":404,"msg":"trace not found"}]})");
  EXPECT_EQ(server.Get("/api/traces/xyz").status, 400);
  EXPECT_EQ(server.Get("/api/v3/traces/ff").status, 404);
  EXPECT_THAT(server.Get("/api/v3/traces/ff").body, StartsWith(R"({"error":{"httpCode":404,)"));
  EXPECT_EQ(server.Get("/api/v3/traces/xyz").status, 400);

  EXPECT_EQ(server.Get("/api/dependencies?endTs=9999999999999999&lookback=9999999999999999").status,
            200);
  EXPECT_EQ(
      server.Get("/api/dependencies").body,
      R"({"data":[{"parent":"shop","child":"cart","callCount":1}],"total":0,"limit":0,"offset":0,"errors":null})");
  EXPECT_EQ(server.Get("/api/dependencies?service=nobody").body,
            R"({"data":[],"total":0,"limit":0,"offset":0,"errors":null})");
}

TEST(JaegerApi, BadSearches) {
  Server server;
  for (const std::string_view query :
       {"/api/traces", "/api/traces?service=", "/api/traces?service=a&start=x",
        "/api/traces?service=a&limit=x", "/api/traces?service=a&minDuration=5",
        "/api/traces?service=a&minDuration=5s&maxDuration=1s", "/api/traces?service=a&tag=nocolon",
        "/api/traces?service=a&tags=%7B", "/api/traces?service=a&tags=%5B%5D",
        "/api/traces?traceID=xyz"}) {
    const http::Response response = server.Get(query);
    EXPECT_EQ(response.status, 400) << query;
    EXPECT_THAT(response.body, HasSubstr(R"("errors":[{"code":400,"msg":)")) << query;
  }
  for (const std::string_view query :
       {"/api/v3/traces", "/api/v3/traces?query.serviceName=a",
        "/api/v3/traces?query.startTimeMin=x&query.startTimeMax=y"}) {
    EXPECT_EQ(server.Get(query).status, 400) << query;
  }
  EXPECT_EQ(server
                .Get("/api/v3/"
                     "traces?query.startTimeMin=2020-01-01T00:00:00Z&query.start_time_max=2020-01-"
                     "01T00:00:00Z&query.filter=%7B%7D")
                .status,
            400);
}

TEST(JaegerApi, StructuredFilters) {
  Server server;
  for (int i = 1; i <= 300; ++i) {
    const std::string id = Concat(std::string(29, 'a'), 100 + i);
    ASSERT_EQ(server
                  .Post("/v1/traces",
                        OneSpan(id, "0000000000000001", i % 100 == 0 ? "rare" : "common"), kJson)
                  .status,
              200);
  }
  const std::string range =
      "query.startTimeMin=2023-11-14T00:00:00Z&query.startTimeMax=2023-11-15T00:00:00Z";
  const auto search = [&](std::string_view filter, std::string_view more = "") {
    return server.Get(Concat("/api/v3/trace-summaries?", range,
                             "&query.filter=", http::PercentEncode(filter), more));
  };
  const auto count = [](const http::Response& response) {
    size_t traces = 0;
    for (size_t at = response.body.find("\"traceId\""); at != std::string::npos;
         at = response.body.find("\"traceId\"", at + 1)) {
      ++traces;
    }
    return traces;
  };
  constexpr std::string_view kRare =
      R"({"op":"eq","args":[{"field":{"level":"resource","name":"service"}},{"scalar":{"value":"rare"}}]})";
  EXPECT_EQ(count(search(kRare)), 3u);
  // No part of this can be left to the store: every page of candidates is looked through.
  const std::string not_common =
      R"({"op":"not","args":[{"call":{"op":"eq","args":[{"attr":{"key":"service.name"}},{"scalar":{"value":"common"}}]}}]})";
  EXPECT_EQ(count(search(not_common)), 3u);
  EXPECT_EQ(count(search(not_common, "&query.searchDepth=2")), 2u);
  // Page by page: each trace once, and an end.
  std::string token;
  size_t pages = 0;
  std::set<std::string> seen;
  do {
    const http::Response page = search(
        not_common,
        Concat("&query.pagination.pageSize=1",
               token.empty() ? "" : "&query.pagination.pageToken=", http::PercentEncode(token)));
    ASSERT_EQ(page.status, 200) << page.body;
    const size_t id = page.body.find("\"traceId\":\"");
    if (id != std::string::npos) {
      EXPECT_TRUE(seen.insert(page.body.substr(id, 45)).second);
    }
    const size_t next = page.body.find("\"nextPageToken\":\"");
    token = next == std::string::npos
                ? ""
                : page.body.substr(next + 17, page.body.find('"', next + 17) - next - 17);
  } while (!token.empty() && ++pages < 10);
  EXPECT_EQ(seen.size(), 3u);
  EXPECT_EQ(search(kRare, "&query.serviceName=rare").status, 400);
  EXPECT_EQ(search(kRare, "&query.searchDepth=1&query.pagination.pageSize=1").status, 400);
  EXPECT_EQ(search(R"({"op":"eq"})").status, 400);
  EXPECT_EQ(server.Get(Concat("/api/v3/traces?", range, "&query.pagination.pageSize=1")).status,
            400);
  EXPECT_THAT(server.Get("/api/v3/capabilities").body, HasSubstr("\"fulltext\""));
}

TEST(JaegerApi, SearchesByPost) {
  Server server;
  ASSERT_EQ(server.Post("/v1/traces", OneSpan(kTrace, "0000000000000001"), kJson).status, 200);
  const std::string times =
      R"("startTimeMin":"2023-11-14T00:00:00Z","start_time_max":"2023-11-15T00:00:00Z")";
  const auto body = [&](std::string_view more) {
    return Concat(R"({"query":{)", times, more, "}}");
  };
  const std::string by_get = server
                                 .Get(
                                     "/api/v3/traces?query.startTimeMin=2023-11-14T00:00:00Z&query."
                                     "startTimeMax=2023-11-15T00:00:00Z&query.serviceName=shop")
                                 .body;
  const http::Response by_post =
      server.Post("/api/v3/traces", body(R"(,"serviceName":"shop","searchDepth":5)"), kJson);
  EXPECT_EQ(by_post.status, 200);
  EXPECT_EQ(by_post.body, by_get);
  for (const auto& [more, status] :
       {std::pair{R"(,"durationMin":"0.1s","durationMax":"1s","rawTraces":true)", 200},
        std::pair{R"(,"durationMin":"1s")", 404},
        std::pair{R"(,"attributes":{"service.name":"shop"})", 200},
        std::pair{R"(,"attributes":{"service.name":"cart"})", 404},
        std::pair{R"(,"filter":{"op":"exists","args":[{"attr":{"key":"service.name"}}]})", 200},
        std::pair{R"(,"filter":{"op":"exists","args":[{"attr":{"key":"nothing"}}]})", 404},
        std::pair{R"(,"serviceName":null)", 200}, std::pair{R"(,"searchDepth":"x")", 400},
        std::pair{R"(,"filter":{})", 400}}) {
    EXPECT_EQ(server.Post("/api/v3/traces", body(more), kJson).status, status) << more;
  }
  const http::Response page =
      server.Post("/api/v3/trace-summaries", body(R"(,"pagination":{"pageSize":1})"), kJson);
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.body, HasSubstr(Concat(R"("traceId":")", kTrace)));
  for (const std::string_view bad : {"", "[]", "{", R"({"query":{"a":{"b":{"c":{"d":{}}}}}})"}) {
    EXPECT_EQ(server.Post("/api/v3/traces", std::string(bad), kJson).status, 400) << bad;
  }
}

TEST(JaegerApi, DependenciesOfBothGenerations) {
  Server server;
  StoreShopAndCart(server);
  EXPECT_THAT(server.Get("/api/dependencies").body,
              StartsWith(R"({"data":[{"parent":"shop","child":"cart","callCount":1}],)"));
  EXPECT_EQ(
      server
          .Get("/api/v3/dependencies?startTime=2020-01-01T00:00:00Z&end_time=2100-01-01T00:00:"
               "00Z")
          .body,
      R"({"dependencies":[{"parent":"shop","child":"cart","callCount":"1"}]})");
  EXPECT_EQ(server.Get("/api/v3/dependencies?startTime=2020-01-01T00:00:00Z").status, 400);
}

TEST(JaegerApi, Transform) {
  Server server;
  const http::Response response =
      server.Post("/api/transform", OneSpan(kTrace, "0000000000000001"), kJson);
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, StartsWith(R"({"data":[{"traceID":")"));
  EXPECT_EQ(server.Post("/api/transform", "{", kJson).status, 400);
}

TEST(JaegerApi, ArchivedTracesOutliveRetention) {
  Server server;
  const std::string other(32, '7');
  ASSERT_EQ(server.Post("/v1/traces", OneSpan(kTrace, "0000000000000001"), kJson).status, 200);
  ASSERT_EQ(server.Post("/v1/traces", OneSpan(other, "0000000000000001"), kJson).status, 200);
  const std::string archive = Concat("/api/archive/", kTrace);
  const std::string by_id = Concat("/api/traces/", kTrace);
  EXPECT_EQ(server.Post("/api/archive/ff", "", kJson).status, 404);
  EXPECT_EQ(server.Post("/api/archive/xyz", "", kJson).status, 400);
  EXPECT_EQ(server.Get(archive).status, 404);
  const std::string before = server.Get(by_id).body;
  EXPECT_EQ(server.Post(archive, "", kJson).body,
            R"({"data":[],"total":0,"limit":0,"offset":0,"errors":[]})");
  EXPECT_EQ(server.Get(archive).body, before);
  // What is in both places shows once; what has come since, too.
  EXPECT_EQ(server.Get(by_id).body, before);
  ASSERT_EQ(server
                .Post("/v1/traces", OneSpan(kTrace, "0000000000000002", "cart", "0000000000000001"),
                      kJson)
                .status,
            200);
  const std::string both = server.Get(by_id).body;
  EXPECT_THAT(both, HasSubstr("\"cart\""));
  EXPECT_EQ(server.Get(archive).body, before);
  EXPECT_EQ(server.Post(archive, "", kJson).status, 200);
  EXPECT_EQ(server.Get(archive).body, both);

  // Everything expires; the archive keeps its copy, also across restarts.
  server.SetRetention(std::chrono::hours(1));
  server.Restart();
  ASSERT_EQ(server.Get(Concat("/api/traces/", other)).status, 200);
  SpanBatch batch;
  SpanBatch::Span now;
  now.scope = batch.AddScope(batch.AddResource({}), {}, {});
  now.trace_id.bytes[0] = now.span_id.bytes[0] = 1;
  now.start_ns = now.end_ns = server.clock().NowMs() * 1'000'000;
  batch.AddSpan(now, {});
  ASSERT_TRUE(server.database().Flush().ok());
  ASSERT_TRUE(server.database().AppendSpans(batch).ok());
  ASSERT_TRUE(server.database().Compact().ok());
  EXPECT_EQ(server.Get(Concat("/api/traces/", other)).status, 404);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(server.Get(by_id).body, both);
    EXPECT_EQ(server.Get(archive).body, both);
    EXPECT_EQ(server.Get(Concat("/api/v3/traces/", kTrace)).status, 200);
    EXPECT_EQ(server.Get(Concat("/tempo/api/traces/", kTrace)).status, 200);
    EXPECT_THAT(server.Get(Concat("/api/traces?traceID=", kTrace, "&traceID=ff")).body,
                HasSubstr("\"cart\""));
    EXPECT_EQ(server.Post(archive, "", kJson).status, 200);  // archived already
    server.Restart();
  }
}

TEST(JaegerApi, Sampling) {
  Server server;
  EXPECT_EQ(server.Get("/sampling?service=x").body,
            R"({"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.001}})");
  EXPECT_EQ(server.Get("/sampling").status, 400);
  EXPECT_EQ(server.Get("/sampling?service=a&service=b").status, 400);
  const auto strategies = tracing::SamplingStrategies::Parse(
      R"({"default_strategy":{"type":"probabilistic","param":0.2,"operation_strategies":[{"operation":"/health","type":"probabilistic","param":0.1}]},
          "service_strategies":[{"service":"A","type":"probabilistic","param":1.0},{"service":"B","type":"ratelimiting","param":3},
            {"service":"C","type":"ratelimiting","param":5,"operation_strategies":[{"operation":"op","type":"probabilistic","param":0.3},{"operation":"x","type":"ratelimiting","param":3}]}]})");
  ASSERT_TRUE(strategies.ok());
  EXPECT_EQ(
      tracing::SamplingJson(strategies->Find("A")),
      R"({"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1},"operationSampling":{"defaultSamplingProbability":1,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"/health","probabilisticSampling":{"samplingRate":0.1}}]}})");
  EXPECT_THAT(
      tracing::SamplingJson(strategies->Find("B")),
      HasSubstr(
          R"("rateLimitingSampling":{"maxTracesPerSecond":3},"operationSampling":{"defaultSamplingProbability":0.2)"));
  EXPECT_THAT(
      tracing::SamplingJson(strategies->Find("C")),
      HasSubstr(
          R"("defaultSamplingProbability":0.001,"defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[{"operation":"op","probabilisticSampling":{"samplingRate":0.3}},{"operation":"/health",)"));
  EXPECT_FALSE(tracing::SamplingStrategies::Parse("\"nonsense\"").ok());
  EXPECT_FALSE(tracing::SamplingStrategies::Parse(R"({"service_strategies":{}})").ok());
}

// --- gRPC methods, without the transport ---

TEST(GrpcMethods, ExportAndRead) {
  Server server;
  const rpc::Methods methods = TraceMethods(&server.context());
  std::string wire;
  ASSERT_TRUE(
      otlp::JsonToWire(OneSpan(kTrace, "0000000000000001"), otlp::kTraceRequest, &wire).ok());
  std::string answer;
  EXPECT_EQ(methods.at("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                .unary(wire, &answer)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(answer, "");
  EXPECT_EQ(methods.at("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
                .unary("", &answer)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(methods.at("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
                .unary("\xff", &answer)
                .code,
            rpc::Code::kInvalidArgument);
  for (const std::string_view service :
       {"/jaeger.api_v2.QueryService/", "/jaeger.api_v3.QueryService/",
        "/jaeger.storage.v2.TraceReader/"}) {
    std::string services;
    EXPECT_EQ(methods.at(Concat(service, "GetServices")).unary("", &services).code, rpc::Code::kOk);
    EXPECT_EQ(services, "\x0a\x04shop");
  }
  // Calls between services; the storage's reader answers as the query services do.
  ASSERT_EQ(server
                .Post("/v1/traces", OneSpan(kTrace, "0000000000000002", "cart", "0000000000000001"),
                      kJson)
                .status,
            200);
  for (const std::string_view service :
       {"/jaeger.api_v2.QueryService/", "/jaeger.api_v3.QueryService/",
        "/jaeger.storage.v2.DependencyReader/"}) {
    std::string links;
    EXPECT_EQ(methods.at(Concat(service, "GetDependencies")).unary("", &links).code,
              rpc::Code::kOk);
    EXPECT_EQ(links,
              "\x0a\x0e\x0a\x04shop\x12\x04"
              "cart\x18\x01");
  }
  // Storage: operations with kinds as words; traces by id, unknown ones passed over.
  std::string operations;
  EXPECT_EQ(methods.at("/jaeger.storage.v2.TraceReader/GetOperations")
                .unary("\x0a\x04shop", &operations)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(operations, "\x0a\x0c\x0a\x02op\x12\x06server");
  std::string id;
  for (size_t i = 0; i < kTrace.size(); i += 2) {
    id.push_back(static_cast<char>(std::stoi(std::string(kTrace.substr(i, 2)), nullptr, 16)));
  }
  const std::string unknown(16, '\x01');
  const std::string request = Concat("\x0a\x12\x0a\x10", unknown, "\x0a\x12\x0a\x10", id);
  std::vector<std::string> messages;
  const auto collect = [&](std::string message) {
    messages.push_back(std::move(message));
    return true;
  };
  EXPECT_EQ(methods.at("/jaeger.storage.v2.TraceReader/GetTraces").stream(request, collect).code,
            rpc::Code::kOk);
  ASSERT_EQ(messages.size(), 1u);
  SpanBatch batch;
  otlp::DecodeReport report;
  ASSERT_TRUE(otlp::DecodeTraces(messages[0], &batch, &report).ok());
  ASSERT_EQ(batch.spans().size(), 2u);
  EXPECT_EQ(ToString(batch.spans()[0].trace_id), kTrace);
  messages.clear();
  EXPECT_EQ(methods.at("/jaeger.api_v2.QueryService/GetTrace")
                .stream(Concat("\x0a\x10", id), collect)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(messages.size(), 1u);
  EXPECT_EQ(methods.at("/jaeger.api_v2.QueryService/GetTrace")
                .stream(Concat("\x0a\x10", unknown), collect)
                .code,
            rpc::Code::kNotFound);
  EXPECT_EQ(methods.at("/jaeger.api_v3.QueryService/GetTrace")
                .stream(Concat("\x0a\x20", kTrace), collect)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(methods.at("/jaeger.api_v2.QueryService/GetTrace").stream("\x0a\x02zz", collect).code,
            rpc::Code::kInvalidArgument);

  // Searches of the storage API: ids with their times, summaries with ids of bytes, filters.
  const auto with_query = [](std::string_view query) {
    std::string out;
    otlp::AppendBytesField(1, query, &out);
    return out;
  };
  std::string ids;
  EXPECT_EQ(methods.at("/jaeger.storage.v2.TraceReader/FindTraceIDs")
                .unary(with_query("\x0a\x04shop"), &ids)
                .code,
            rpc::Code::kOk);
  // 1,700,000,000 s and, at the end, 250,000,000 ns.
  EXPECT_EQ(ids, Concat("\x0a\x27\x0a\x10", id, "\x12\x06\x08\x80\xe2\xcf\xaa\x06",
                        "\x1a\x0b\x08\x80\xe2\xcf\xaa\x06\x10\x80\xe5\x9a\x77"));
  messages.clear();
  EXPECT_EQ(methods.at("/jaeger.storage.v2.TraceReader/FindTraceSummaries")
                .stream(with_query("\x0a\x04shop"), collect)
                .code,
            rpc::Code::kOk);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_THAT(messages[0], HasSubstr(Concat("\x0a\x10", id, "\x12\x04shop\x1a\x02op")));
  std::string filter;  // exists(resource attribute service.name), as the packages number it
  otlp::AppendBytesField(1, "exists", &filter);
  otlp::AppendBytesField(2, "\x0a\x18\x0a\x0cservice.name\x12\x08resource", &filter);
  for (const auto& [method, field] : {std::pair{"/jaeger.storage.v2.TraceReader/FindTraces", 9},
                                      std::pair{"/jaeger.api_v3.QueryService/FindTraces", 10}}) {
    messages.clear();
    std::string query;
    otlp::AppendBytesField(static_cast<uint32_t>(field), filter, &query);
    EXPECT_EQ(methods.at(method).stream(with_query(query), collect).code, rpc::Code::kOk);
    EXPECT_EQ(messages.size(), 1u) << method;
    query.clear();
    otlp::AppendBytesField(static_cast<uint32_t>(field), "\x0a\x04nope", &query);
    EXPECT_EQ(methods.at(method).stream(with_query(query), collect).code,
              rpc::Code::kInvalidArgument)
        << method;
  }
  std::string capabilities;
  EXPECT_EQ(
      methods.at("/jaeger.storage.v2.Capabilities/GetCapabilities").unary("", &capabilities).code,
      rpc::Code::kOk);
  EXPECT_THAT(capabilities, HasSubstr("\x0a\x04span"));
  EXPECT_THAT(capabilities, HasSubstr("\x12\x06not_in"));
  std::string empty;
  EXPECT_EQ(methods.at("/jaeger.api_v2.QueryService/ArchiveTrace")
                .unary(Concat("\x0a\x10", id), &empty)
                .code,
            rpc::Code::kOk);
  EXPECT_EQ(methods.at("/jaeger.api_v2.QueryService/ArchiveTrace")
                .unary(Concat("\x0a\x10", unknown), &empty)
                .code,
            rpc::Code::kNotFound);
  EXPECT_EQ(server.Get(Concat("/api/archive/", kTrace)).status, 200);
}

// --- What means harm ---

TEST(Pathological, HugeTraceLargeAttributesAndOddTimes) {
  Server server;
  // One trace of 100,000 spans, a chain as deep as it is long.
  SpanBatch batch;
  const AttributeView name[] = {{"service.name", ValueView::String("deep")}};
  const uint32_t scope = batch.AddScope(batch.AddResource(name), {}, {});
  constexpr uint32_t kSpans = 100'000;
  const auto flush = [&] {
    std::string body;
    otlp::TraceWriter(otlp::TraceWriter::Format::kProtobuf, batch).All(&body);
    EXPECT_EQ(server.Post("/v1/traces", body, kProtobuf).status, 200);
  };
  for (uint32_t i = 1; i <= kSpans; ++i) {
    SpanBatch::Span span;
    span.scope = scope;
    span.trace_id.bytes[0] = 7;
    for (int byte = 0; byte < 4; ++byte) {
      span.span_id.bytes[static_cast<size_t>(7 - byte)] = static_cast<uint8_t>(i >> (8 * byte));
      span.parent_id.bytes[static_cast<size_t>(7 - byte)] =
          static_cast<uint8_t>((i - 1) >> (8 * byte));
    }
    span.name = "step";
    span.start_ns = 1'700'000'000'000'000'000 + i;
    span.end_ns = span.start_ns + 10;
    batch.AddSpan(span, {});
  }
  flush();
  const std::string id = "07000000000000000000000000000000";
  const http::Response trace = server.Get(Concat("/api/traces/", id));
  EXPECT_EQ(trace.status, 200);
  size_t count = 0;
  for (size_t at = trace.body.find("\"operationName\""); at != std::string::npos;
       at = trace.body.find("\"operationName\"", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, kSpans);

  // An attribute of 1 MB, a span that ends years before it starts, one from the year 2262.
  batch.Clear();
  const std::string large(1 << 20, 'x');
  const AttributeView attributes[] = {{"large", ValueView::String(large)}};
  SpanBatch::Span span;
  span.scope = batch.AddScope(batch.AddResource(name), {}, {});
  span.trace_id.bytes[0] = 8;
  span.span_id.bytes[0] = 1;
  span.start_ns = 1'700'000'000'000'000'000;
  span.end_ns = 1'500'000'000'000'000'000;
  batch.AddSpan(span, attributes);
  span.span_id.bytes[0] = 2;
  span.start_ns = span.end_ns = std::numeric_limits<int64_t>::max();
  batch.AddSpan(span, {});
  flush();
  const http::Response odd = server.Get("/api/traces/08000000000000000000000000000000");
  EXPECT_EQ(odd.status, 200);
  EXPECT_THAT(odd.body, HasSubstr(large));
  EXPECT_THAT(odd.body, HasSubstr("\"duration\":0"));
  EXPECT_THAT(odd.body, HasSubstr("\"startTime\":9223372036854775"));

  // A value nested 10,000 deep is refused by name, its neighbour stored.
  std::string value;
  for (int i = 0; i < 10'000; ++i) {
    std::string element;
    otlp::AppendBytesField(1, value, &element);
    value.clear();
    otlp::AppendBytesField(5, element, &value);
  }
  std::string body;
  {
    const otlp::Submessage resource_spans(1, &body);
    const otlp::Submessage scope_spans(2, &body);
    for (const char last : {'\x01', '\x02'}) {
      const otlp::Submessage message(2, &body);
      otlp::AppendBytesField(1, std::string(15, '\x09') + last, &body);
      otlp::AppendBytesField(2, std::string(8, '\x09'), &body);
      if (last == '\x02') continue;
      const otlp::Submessage attribute(9, &body);
      otlp::AppendBytesField(1, "deep", &body);
      otlp::AppendBytesField(2, value, &body);
    }
  }
  const http::Response deep = server.Post("/v1/traces", body, kProtobuf);
  EXPECT_EQ(deep.status, 200);
  EXPECT_THAT(deep.body, HasSubstr("invalid attribute"));
  EXPECT_EQ(server.Get("/api/traces/09090909090909090909090909090901").status, 404);
  EXPECT_EQ(server.Get("/api/traces/09090909090909090909090909090902").status, 200);
  // The store is unharmed.
  ASSERT_TRUE(server.database().Compact().ok());
  const auto damage = server.database().Verify();
  ASSERT_TRUE(damage.ok());
  EXPECT_TRUE(damage->empty());
  EXPECT_EQ(server.Get(Concat("/api/traces/", id)).body.size(), trace.body.size());
}

// --- Jaeger's storage tests ---

TEST(JaegerStorage, QueriesReturnExactlyTheNamedTraces) {
  const auto folder = SharedPath("data/traces/jaeger/internal/storage/integration/fixtures");
  if (!folder.has_value()) {
    std::printf("skipped: no shared data for Jaeger's storage fixtures\n");
    return;
  }
  Server server;
  if (server.context().engine == nullptr) {
    std::printf("skipped: this build has no trace search\n");
    return;
  }
  // Small JSON readers of our own would be more than the fixtures are worth: the files are regular.
  const std::string queries = ReadFile(*folder + "/queries.json");
  const auto field = [](std::string_view object, std::string_view key) {
    const size_t at = object.find(Concat("\"", key, "\":"));
    EXPECT_NE(at, std::string_view::npos) << key;
    std::string_view rest = object.substr(at + key.size() + 3);
    rest.remove_prefix(rest.find_first_not_of(" \n"));
    if (rest[0] == '"') return rest.substr(1, rest.find('"', 1) - 1);
    if (rest[0] == '{') return rest.substr(0, rest.find('}') + 1);
    if (rest[0] == '[') return rest.substr(0, rest.find(']') + 1);
    return rest.substr(0, rest.find_first_of(",\n"));
  };
  struct Case {
    std::string caption;
    std::string url;
    std::string v3_url;
    std::vector<std::string> ids;
  };
  std::vector<Case> cases;
  const auto encode = [](std::string_view text) {
    std::string out;
    for (const char c : text) {
      char hex[4];
      std::snprintf(hex, sizeof(hex), "%%%02X",
                    static_cast<unsigned>(static_cast<unsigned char>(c)));
      out += hex;
    }
    return out;
  };
  for (size_t at = queries.find("\"Caption\""); at != std::string::npos;) {
    const size_t next = queries.find("\"Caption\"", at + 1);
    const std::string_view object = std::string_view(queries).substr(at, next - at);
    Case& one = cases.emplace_back();
    one.caption = field(object, "Caption");
    const std::string service(field(object, "ServiceName"));
    const std::string operation(field(object, "OperationName"));
    std::string tags(field(object, "Tags"));
    const int64_t start = *ParseRfc3339Ns(field(object, "StartTimeMin"));
    const int64_t end = *ParseRfc3339Ns(field(object, "StartTimeMax"));
    const std::string min(field(object, "DurationMin"));
    const std::string max(field(object, "DurationMax"));
    if (tags == "null") tags.clear();
    one.url =
        Concat("/api/traces?service=", service, "&operation=", operation, "&start=", start / 1000,
               "&end=", end / 1000, "&limit=1000&minDuration=", min, "ns&maxDuration=", max, "ns",
               tags.empty() ? "" : Concat("&tags=", encode(tags)));
    one.v3_url =
        Concat("/api/v3/traces?query.serviceName=", service, "&query.operationName=", operation,
               "&query.startTimeMin=", field(object, "StartTimeMin"),
               "&query.startTimeMax=", field(object, "StartTimeMax"), "&query.durationMin=", min,
               "ns&query.durationMax=", max, "ns&query.searchDepth=1000",
               tags.empty() ? "" : Concat("&query.attributes=", encode(tags)));
    const std::string_view fixtures = field(object, "ExpectedFixtures");
    for (size_t quote = fixtures.find('"'); quote != std::string_view::npos;) {
      const size_t close = fixtures.find('"', quote + 1);
      const std::string name(fixtures.substr(quote + 1, close - quote - 1));
      const std::string json = ReadFile(Concat(*folder, "/traces/", name, ".json"));
      std::string wire;
      ASSERT_TRUE(otlp::JsonToWire(json, otlp::kTraceRequest, &wire).ok());
      SpanBatch batch;
      otlp::DecodeReport report;
      ASSERT_TRUE(otlp::DecodeTraces(wire, &batch, &report).ok());
      one.ids.push_back(tracing::JaegerTraceId(batch.spans()[0].trace_id));
      ASSERT_EQ(server.Post("/v1/traces", wire, kProtobuf).status, 200);
      quote = fixtures.find('"', close + 1);
    }
    std::ranges::sort(one.ids);
    at = next;
  }
  EXPECT_EQ(cases.size(), 25u);
  const auto check = [&] {
    for (const Case& one : cases) {
      SCOPED_TRACE(one.caption);
      const http::Response response = server.Get(one.url);
      ASSERT_EQ(response.status, 200) << response.body;
      std::vector<std::string> found;
      const std::string_view mark = "{\"traceID\":\"";
      for (size_t at = response.body.find(mark); at != std::string::npos;
           at = response.body.find(mark, at + 1)) {
        // Traces have spans next, spans have other fields.
        const size_t begin = at + mark.size();
        const size_t end = response.body.find('"', begin);
        if (response.body.compare(end, 10, "\",\"spans\":") == 0) {
          found.push_back(response.body.substr(begin, end - begin));
        }
      }
      std::ranges::sort(found);
      EXPECT_EQ(found, one.ids);
      EXPECT_EQ(server.Get(one.v3_url).status, 200);
    }
  };
  check();
  ASSERT_TRUE(server.database().Compact().ok());
  check();
}

// --- Parameters ---

TEST(TraceParameters, Durations) {
  EXPECT_EQ(ParseGoDuration("0"), 0);
  EXPECT_EQ(ParseGoDuration("1h2m3.5s"), 3723'500'000'000);
  EXPECT_EQ(ParseGoDuration("250ms"), 250'000'000);
  EXPECT_EQ(ParseGoDuration("10us"), 10'000);
  EXPECT_EQ(ParseGoDuration("10\xc2\xb5s"), 10'000);
  EXPECT_EQ(ParseGoDuration("-1s"), -1'000'000'000);
  EXPECT_EQ(ParseGoDuration("1.5"), std::nullopt);
  EXPECT_EQ(ParseGoDuration(""), std::nullopt);
  EXPECT_EQ(ParseGoDuration("1e3s"), std::nullopt);
  EXPECT_EQ(ParseGoDuration("99999999999h"), std::nullopt);
  EXPECT_EQ(ParseRfc3339Ns("2017-01-26T16:46:31.639875123Z"), 1485449191639875123);
  EXPECT_EQ(ParseRfc3339Ns("2017-01-26T17:46:31.5+01:00"), 1485449191500000000);
  EXPECT_EQ(ParseRfc3339Ns("yesterday"), std::nullopt);
  EXPECT_EQ(FormatRfc3339Ns(1485449191500000000), "2017-01-26T16:46:31.5Z");
}

}  // namespace
}  // namespace varve::api
