// Zipkin and Jaeger formats to spans, and spans to Jaeger's JSON.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "engine/base/strings.h"
#include "tests/otlp/thrift_writer.h"
#include "tests/support/shared_data.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/json_decode.h"
#include "tools/tracing/span_metrics.h"
#include "tools/tracing/wire_formats.h"
#include "tools/tracing/zipkin_model.h"

namespace varve::tracing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using varve::testing::kJaegerExpected;
using varve::testing::ReadFile;
using varve::testing::SharedPath;

std::string JaegerJson(const SpanBatch& batch) {
  std::string json = "[";
  for (const TraceSpans& trace : GroupByTrace(batch)) {
    if (json.size() > 1) json.push_back(',');
    JaegerTraceWriter writer(batch, trace.spans);
    while (writer.Next(100, &json)) {
    }
  }
  return json + "]";
}

const AttributeView* Attribute(const SpanBatch& batch, SpanBatch::Range range,
                               std::string_view key) {
  for (const AttributeView& attribute : batch.attributes(range)) {
    if (attribute.key == key) return &attribute;
  }
  return nullptr;
}
std::string Text(const SpanBatch& batch, SpanBatch::Range range, std::string_view key) {
  const AttributeView* const attribute = Attribute(batch, range, key);
  return attribute == nullptr ? "(none)" : ToString(attribute->value);
}
std::string ServiceOf(const SpanBatch& batch, const SpanBatch::Span& span) {
  return Text(batch, batch.resource_of(span).attributes, "service.name");
}

// --- Zipkin ---

constexpr std::string_view kZipkinV2 = R"([
  {"traceId":"5982fe77008310cc80f1da5e10147517","parentId":"90394f6bcffb5d13","id":"67fae42571535f60",
   "kind":"CLIENT","name":"get","timestamp":1502677917306000,"duration":1200,
   "localEndpoint":{"serviceName":"front","ipv4":"1.2.3.4","port":80},
   "remoteEndpoint":{"serviceName":"back","ipv4":"5.6.7.8","port":9000},
   "annotations":[{"timestamp":1502677917306100,"value":"retry"}],
   "tags":{"http.path":"/api","error":"it broke"},"debug":true},
  {"traceId":"5982fe77008310cc80f1da5e10147517","id":"67fae42571535f60","kind":"SERVER","shared":true,
   "name":"get","timestamp":1502677917306200,"duration":900,"localEndpoint":{"serviceName":"back"},
   "tags":{"error":"false"}},
  {"traceId":"10147517","id":"1","name":"no kind","unknown":{"x":1}}])";

TEST(Zipkin, V2Json) {
  SpanBatch batch;
  const Status status = DecodeZipkinJson(kZipkinV2, &batch);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(batch.spans().size(), 3u);
  const SpanBatch::Span& client = batch.spans()[0];
  EXPECT_EQ(ToString(client.trace_id), "5982fe77008310cc80f1da5e10147517");
  EXPECT_EQ(ToString(client.parent_id), "90394f6bcffb5d13");
  EXPECT_EQ(client.kind, SpanKind::kClient);
  EXPECT_EQ(client.start_ns, 1502677917306000000);
  EXPECT_EQ(client.end_ns - client.start_ns, 1'200'000);
  EXPECT_EQ(client.status, SpanStatus::kError);
  EXPECT_EQ(client.status_message, "it broke");
  EXPECT_EQ(ServiceOf(batch, client), "front");
  EXPECT_EQ(Text(batch, client.attributes, "http.path"), "/api");
  EXPECT_EQ(Text(batch, client.attributes, "peer.service"), "back");
  EXPECT_EQ(Text(batch, client.attributes, "net.peer.port"), "9000");
  EXPECT_EQ(Text(batch, client.attributes, "net.host.ip"), "1.2.3.4");
  ASSERT_EQ(batch.events(client).size(), 1u);
  EXPECT_EQ(batch.events(client)[0].name, "retry");
  // The server's half of a shared span becomes a span of its own, the client's child.
  const SpanBatch::Span& server = batch.spans()[1];
  EXPECT_EQ(server.parent_id, client.span_id);
  EXPECT_EQ(server.span_id, SharedSpanId(client.span_id));
  EXPECT_NE(server.span_id, client.span_id);
  EXPECT_EQ(server.status, SpanStatus::kUnset);
  EXPECT_EQ(batch.spans()[2].kind, SpanKind::kUnspecified);
  EXPECT_EQ(ToString(batch.spans()[2].trace_id), "00000000000000000000000010147517");
}

TEST(Zipkin, BadJsonNamesSpanAndField) {
  const auto error = [](std::string_view json) {
    SpanBatch batch;
    const Status status = DecodeZipkinJson(json, &batch);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << json;
    return std::string(ToStd(status.message()));
  };
  EXPECT_THAT(error(R"({"traceId":"1"})"), HasSubstr("not a list"));
  EXPECT_THAT(error(R"([{"traceId":"1","id":"2"},{"traceId":"xyz","id":"2"}])"),
              HasSubstr("span 1: field \"traceId\""));
  EXPECT_THAT(error(R"([{"traceId":"1","id":"2","tags":{"a":1}}])"), HasSubstr("\"tags\""));
  EXPECT_THAT(error(R"([{"traceId":"1","id":"2","timestamp":"x"}])"), HasSubstr("\"timestamp\""));
  EXPECT_THAT(error("["), HasSubstr("malformed JSON"));
}

TEST(Zipkin, V1JsonSplitsSpansOfBothSides) {
  SpanBatch batch;
  const Status status = DecodeZipkinV1Json(
      R"([{"traceId":"1","id":"2","parentId":"3","name":"get","annotations":[
           {"timestamp":100,"value":"cs","endpoint":{"serviceName":"front","ipv4":"1.1.1.1"}},
           {"timestamp":110,"value":"sr","endpoint":{"serviceName":"back"}},
           {"timestamp":150,"value":"work","endpoint":{"serviceName":"back"}},
           {"timestamp":190,"value":"ss","endpoint":{"serviceName":"back"}},
           {"timestamp":200,"value":"cr","endpoint":{"serviceName":"front"}}],
          "binaryAnnotations":[
           {"key":"http.path","value":"/x","endpoint":{"serviceName":"front"}},
           {"key":"sa","value":true,"endpoint":{"serviceName":"back","ipv4":"2.2.2.2"}},
           {"key":"ca","value":true,"endpoint":{"serviceName":"front","ipv4":"1.1.1.1"}}]},
         {"traceId":"1","id":"4","name":"local","timestamp":120,"duration":5,
          "binaryAnnotations":[{"key":"lc","value":"job","endpoint":{"serviceName":"back"}}]}])",
      &batch);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(batch.spans().size(), 3u);
  const SpanBatch::Span& client = batch.spans()[0];
  EXPECT_EQ(client.kind, SpanKind::kClient);
  EXPECT_EQ(ServiceOf(batch, client), "front");
  EXPECT_EQ(client.start_ns, 100'000);
  EXPECT_EQ(client.end_ns, 200'000);
  EXPECT_EQ(Text(batch, client.attributes, "http.path"), "/x");
  EXPECT_EQ(Text(batch, client.attributes, "peer.service"), "back");
  const SpanBatch::Span& server = batch.spans()[1];
  EXPECT_EQ(server.kind, SpanKind::kServer);
  EXPECT_EQ(ServiceOf(batch, server), "back");
  EXPECT_EQ(server.parent_id, client.span_id);
  EXPECT_EQ(server.start_ns, 110'000);
  EXPECT_EQ(server.end_ns, 190'000);
  EXPECT_EQ(Text(batch, server.attributes, "peer.service"), "front");
  ASSERT_EQ(batch.events(server).size(), 1u);
  EXPECT_EQ(batch.events(server)[0].name, "work");
  EXPECT_EQ(ServiceOf(batch, batch.spans()[2]), "back");
  EXPECT_EQ(batch.spans()[2].kind, SpanKind::kUnspecified);
}

TEST(Zipkin, Protobuf) {
  std::string body;
  {
    const otlp::Submessage span(1, &body);
    otlp::AppendBytesField(1, std::string("\0\0\0\0\0\0\0\1", 8), &body);
    otlp::AppendBytesField(3, std::string("\0\0\0\0\0\0\0\2", 8), &body);
    otlp::AppendVarintField(4, 1, &body);
    otlp::AppendBytesField(5, "get", &body);
    otlp::AppendFixed64Field(6, 100, &body);
    otlp::AppendVarintField(7, 50, &body);
    {
      const otlp::Submessage endpoint(8, &body);
      otlp::AppendBytesField(1, "front", &body);
      otlp::AppendBytesField(2, "\x01\x02\x03\x04", &body);
      otlp::AppendVarintField(4, 80, &body);
    }
    {
      const otlp::Submessage annotation(10, &body);
      otlp::AppendFixed64Field(1, 120, &body);
      otlp::AppendBytesField(2, "retry", &body);
    }
    {
      const otlp::Submessage tag(11, &body);
      otlp::AppendBytesField(1, "k", &body);
      otlp::AppendBytesField(2, "v", &body);
    }
  }
  SpanBatch batch;
  ASSERT_TRUE(DecodeZipkinProtobuf(body, &batch).ok());
  ASSERT_EQ(batch.spans().size(), 1u);
  const SpanBatch::Span& span = batch.spans()[0];
  EXPECT_EQ(ToString(span.trace_id), "00000000000000000000000000000001");
  EXPECT_EQ(span.kind, SpanKind::kClient);
  EXPECT_EQ(span.end_ns, 150'000);
  EXPECT_EQ(ServiceOf(batch, span), "front");
  EXPECT_EQ(Text(batch, span.attributes, "net.host.ip"), "1.2.3.4");
  EXPECT_EQ(Text(batch, span.attributes, "k"), "v");
  EXPECT_EQ(batch.events(span)[0].time_ns, 120'000);
  for (size_t size = 1; size < body.size(); ++size) {
    EXPECT_FALSE(DecodeZipkinProtobuf(std::string_view(body).substr(0, size), &batch).ok());
  }
}

TEST(Zipkin, Fixtures) {
  const auto folder = SharedPath("data/traces/zipkin");
  if (!folder.has_value()) {
    std::printf("skipped: no shared data for Zipkin's fixtures\n");
    return;
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().string());
    std::string json = ReadFile(entry.path().string());
    if (json.find_first_not_of(" \n\r\t") != std::string::npos &&
        json[json.find_first_not_of(" \n\r\t")] == '{') {
      json = Concat("[", json, "]");
    }
    SpanBatch batch;
    const Status status = DecodeZipkinJson(json, &batch);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_GT(batch.spans().size(), 0u);
    for (const SpanBatch::Span& span : batch.spans()) {
      EXPECT_FALSE(span.trace_id.empty());
      EXPECT_FALSE(span.span_id.empty());
    }
    ++files;
  }
  EXPECT_GE(files, 10u);
  const auto captured = SharedPath("data/traces/otlp/explicit-cumulative/api_v2_spans.jsonl.zst");
  ASSERT_TRUE(captured.has_value());
  const std::string lines = ReadFile(*captured);
  for (const std::string_view line : varve::testing::SplitLines(lines)) {
    SpanBatch batch;
    EXPECT_TRUE(DecodeZipkinJson(line, &batch).ok());
  }
}

// --- Jaeger ---

TEST(Jaeger, ThriftOfBothProtocols) {
  const std::string binary = varve::testing::JaegerBatch(varve::testing::BinaryThriftWriter());
  SpanBatch batch;
  Status status = DecodeJaegerThriftBatch(binary, &batch);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(JaegerJson(batch), kJaegerExpected);

  const std::string binary_datagram = varve::testing::BinaryDatagram();
  batch.Clear();
  status = DecodeJaegerAgentBinary(binary_datagram, &batch);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(JaegerJson(batch), kJaegerExpected);

  const std::string compact = varve::testing::JaegerBatch(varve::testing::CompactThriftWriter());
  const std::string datagram = varve::testing::CompactDatagram();
  batch.Clear();
  status = DecodeJaegerAgentCompact(datagram, &batch);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(JaegerJson(batch), kJaegerExpected);

  for (const auto& [bytes, decode] :
       {std::pair{binary, &DecodeJaegerThriftBatch}, std::pair{datagram, &DecodeJaegerAgentCompact},
        std::pair{binary_datagram, &DecodeJaegerAgentBinary}}) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      SpanBatch cut;
      const Status error = decode(std::string_view(bytes).substr(0, size), &cut);
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument) << size;
      EXPECT_THAT(std::string(ToStd(error.message())), HasSubstr("at byte"));
    }
  }
}

TEST(Jaeger, HostileThrift) {
  // Lists that claim more than there is, strings of negative length, nesting without end.
  const auto decode = [](std::string_view bytes) {
    SpanBatch batch;
    const Status status = DecodeJaegerThriftBatch(bytes, &batch);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return std::string(ToStd(status.message()));
  };
  EXPECT_THAT(decode(std::string("\x0f\x00\x02\x0c\x7f\xff\xff\xff", 8)),
              HasSubstr("more elements than bytes"));
  EXPECT_THAT(decode(std::string("\x0c\x00\x01\x0b\x00\x01\xff\xff\xff\xff", 10)),
              HasSubstr("negative length"));
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep.append("\x0c\x00\x63", 3);
  EXPECT_THAT(decode(deep), HasSubstr("nested too deep"));
  EXPECT_THAT(decode(std::string("\x09\x00\x63", 3)), HasSubstr("unknown type"));
}

TEST(Jaeger, ProtobufPostSpans) {
  std::string body;
  {
    const otlp::Submessage batch(1, &body);
    {
      const otlp::Submessage span(1, &body);
      otlp::AppendBytesField(1, std::string("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x11\x22", 16), &body);
      otlp::AppendBytesField(2, std::string("\0\0\0\0\0\0\0\x33", 8), &body);
      otlp::AppendBytesField(3, "op", &body);
      {
        const otlp::Submessage time(6, &body);
        otlp::AppendVarintField(1, 1, &body);
        otlp::AppendVarintField(2, 5000, &body);
      }
      {
        const otlp::Submessage duration(7, &body);
        otlp::AppendVarintField(2, 250'000, &body);
      }
      {
        const otlp::Submessage tag(8, &body);
        otlp::AppendBytesField(1, "error", &body);
        otlp::AppendVarintField(2, 1, &body);
        otlp::AppendVarintField(4, 1, &body);
      }
    }
    const otlp::Submessage process(2, &body);
    otlp::AppendBytesField(1, "api", &body);
  }
  SpanBatch batch;
  ASSERT_TRUE(DecodeJaegerPostSpans(body, &batch).ok());
  ASSERT_EQ(batch.spans().size(), 1u);
  EXPECT_EQ(batch.spans()[0].start_ns, 1'000'005'000);
  EXPECT_EQ(batch.spans()[0].end_ns, 1'000'255'000);
  EXPECT_EQ(batch.spans()[0].status, SpanStatus::kError);
  EXPECT_EQ(ServiceOf(batch, batch.spans()[0]), "api");
}

TEST(Jaeger, JsonIsReadBackAsItWasWritten) {
  SpanBatch batch;
  ASSERT_TRUE(DecodeJaegerJson(kJaegerExpected, &batch).ok());
  EXPECT_EQ(JaegerJson(batch), kJaegerExpected);
  const auto folder = SharedPath("data/traces/jaeger-ui");
  if (!folder.has_value()) {
    std::printf("skipped: no shared data for Jaeger's fixtures\n");
    return;
  }
  size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder)) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().string());
    const std::string json = ReadFile(entry.path().string());
    SpanBatch first;
    const Status status = DecodeJaegerJson(json, &first);
    // Some fixtures of the user interface have ids such as "trace-123".
    if (!status.ok() && json.find("\"trace-") != std::string::npos) {
      EXPECT_THAT(std::string(ToStd(status.message())), HasSubstr("ID\" is malformed"));
      continue;
    }
    ASSERT_TRUE(status.ok()) << status;
    const std::string written = JaegerJson(first);
    SpanBatch second;
    ASSERT_TRUE(DecodeJaegerJson(written, &second).ok());
    EXPECT_EQ(second.spans().size(), first.spans().size());
    // Written in an order of its own, then always in that one; the same parts before and after.
    EXPECT_EQ(JaegerJson(second), written);
    const auto parts = [](const SpanBatch& batch) {
      std::vector<std::string> spans;
      for (const auto& span : batch.spans()) {
        std::string one = Concat(ToString(span.span_id), " ", ServiceOf(batch, span), " ",
                                 span.name, " ", span.start_ns, " ", span.end_ns);
        for (const AttributeView& attribute : batch.attributes(span.attributes)) {
          one += Concat(" ", attribute.key, "=", ToString(attribute.value));
        }
        spans.push_back(std::move(one));
      }
      std::sort(spans.begin(), spans.end());
      return spans;
    };
    EXPECT_EQ(parts(second), parts(first));
    ++files;
  }
  EXPECT_GE(files, 3u);
}

TEST(Jaeger, OtlpFixtureBecomesTheExpectedJson) {
  const auto in = SharedPath(
      "data/traces/jaeger/cmd/jaeger/internal/extension/jaegerquery/internal/fixture/"
      "otlp2jaeger-in.json");
  if (!in.has_value()) {
    std::printf("skipped: no shared data for Jaeger's OTLP fixture\n");
    return;
  }
  const auto out = SharedPath(
      "data/traces/jaeger/cmd/jaeger/internal/extension/jaegerquery/internal/fixture/"
      "otlp2jaeger-out.json");
  std::string wire;
  ASSERT_TRUE(otlp::JsonToWire(ReadFile(*in), otlp::kTraceRequest, &wire).ok());
  SpanBatch batch;
  otlp::DecodeReport report;
  ASSERT_TRUE(otlp::DecodeTraces(wire, &batch, &report).ok());
  // Without the spaces that a pretty printer puts in.
  std::string expected = ReadFile(*out);
  std::erase_if(expected, [](char c) { return c == ' ' || c == '\n'; });
  EXPECT_EQ(Concat("{\"data\":", JaegerJson(batch),
                   ",\"total\":0,\"limit\":0,\"offset\":0,\"errors\":null}"),
            expected);
}

TEST(Jaeger, Repairs) {
  std::string wire;
  ASSERT_TRUE(
      otlp::JsonToWire(
          R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"intValue":"1"}}]},
                      "scopeSpans":[{"spans":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002",
                      "startTimeUnixNano":"5000","endTimeUnixNano":"1000","links":[{}],
                      "attributes":[{"key":"big","value":{"intValue":"9007199254740993"}},
                                    {"key":"inf","value":{"doubleValue":"Infinity"}},
                                    {"key":"list","value":{"arrayValue":{"values":[{"intValue":"1"}]}}}]}]}]}]})",
          otlp::kTraceRequest, &wire)
          .ok());
  SpanBatch batch;
  otlp::DecodeReport report;
  ASSERT_TRUE(otlp::DecodeTraces(wire, &batch, &report).ok());
  const std::string json = JaegerJson(batch);
  EXPECT_THAT(json, HasSubstr("\"operationName\":\"empty-span-name\""));
  EXPECT_THAT(json, HasSubstr("\"serviceName\":\"service-name-wrong-type\""));
  EXPECT_THAT(json, HasSubstr("\"duration\":0"));
  EXPECT_THAT(json, HasSubstr("\"references\":[]"));
  EXPECT_THAT(json, HasSubstr("\"value\":\"9007199254740993\""));
  EXPECT_THAT(json, HasSubstr("\"value\":\"+Inf\""));
  EXPECT_THAT(json, HasSubstr("\"value\":\"[1]\""));
}

TEST(Jaeger, TraceIds) {
  TraceId id;
  EXPECT_TRUE(ParseJaegerTraceId("1f", &id));
  EXPECT_EQ(JaegerTraceId(id), "000000000000001f");
  EXPECT_TRUE(ParseJaegerTraceId("AAAAAAAAAAAAAAAAAAAAHw==", &id));
  EXPECT_EQ(JaegerTraceId(id), "000000000000001f");
  EXPECT_TRUE(ParseJaegerTraceId("5982fe77008310cc80f1da5e10147517", &id));
  EXPECT_EQ(JaegerTraceId(id), "5982fe77008310cc80f1da5e10147517");
  EXPECT_FALSE(ParseJaegerTraceId("xyz!", &id));
  EXPECT_FALSE(ParseJaegerTraceId("", &id));
  EXPECT_FALSE(ParseJaegerTraceId("15982fe77008310cc80f1da5e10147517", &id));
}

// --- Metrics of spans ---

std::map<std::string, double> Dumped(const SpanMetrics& metrics) {
  WriteBatch batch;
  metrics.Dump(1000, &batch);
  std::map<std::string, double> out;
  for (const WriteBatch::Sample& sample : batch.samples()) {
    const LabelsView labels = batch.labels(batch.series()[sample.series]);
    EXPECT_TRUE(IsCanonical(labels));
    out[ToString(labels)] = sample.value;
  }
  return out;
}

void AddSpan(SpanBatch* batch, std::string_view service, uint8_t id, uint8_t parent, SpanKind kind,
             int64_t duration_ms, std::vector<AttributeView> attributes = {},
             SpanStatus status = SpanStatus::kUnset) {
  const AttributeView name[] = {{"service.name", ValueView::String(service)}};
  SpanBatch::Span span;
  span.scope = batch->AddScope(batch->AddResource(name), {}, {});
  span.trace_id.bytes[15] = 1;
  span.span_id.bytes[7] = id;
  span.parent_id.bytes[7] = parent;
  span.name = "op";
  span.kind = kind;
  span.end_ns = duration_ms * 1'000'000;
  span.status = status;
  batch->AddSpan(span, attributes);
}

TEST(SpanMetrics, CallsGraphAndDependencies) {
  SpanMetrics metrics({});
  SpanBatch batch;
  AddSpan(&batch, "front", 1, 0, SpanKind::kServer, 5);
  AddSpan(&batch, "front", 2, 1, SpanKind::kClient, 4);
  metrics.Add(batch, {}, 0);
  batch.Clear();
  AddSpan(&batch, "back", 3, 2, SpanKind::kServer, 3, {}, SpanStatus::kError);
  AddSpan(&batch, "back", 4, 3, SpanKind::kClient, 1, {{"db.system", ValueView::String("pg")}});
  metrics.Add(batch, {}, 0);
  metrics.Expire(20'000);
  auto dumped = Dumped(metrics);
  EXPECT_EQ(
      dumped
          [R"(traces_spanmetrics_calls_total{service="front", span_kind="SPAN_KIND_SERVER", span_name="op", status_code="STATUS_CODE_UNSET"})"],
      1);
  EXPECT_EQ(
      dumped
          [R"(traces_spanmetrics_latency_bucket{le="0.004", service="front", span_kind="SPAN_KIND_SERVER", span_name="op", status_code="STATUS_CODE_UNSET"})"],
      0);
  EXPECT_EQ(
      dumped
          [R"(traces_spanmetrics_latency_bucket{le="0.008", service="front", span_kind="SPAN_KIND_SERVER", span_name="op", status_code="STATUS_CODE_UNSET"})"],
      1);
  EXPECT_EQ(dumped[R"(traces_service_graph_request_total{client="front", server="back"})"], 1);
  EXPECT_EQ(dumped[R"(traces_service_graph_request_failed_total{client="front", server="back"})"],
            1);
  EXPECT_DOUBLE_EQ(
      dumped[R"(traces_service_graph_request_client_seconds_sum{client="front", server="back"})"],
      0.004);
  EXPECT_EQ(
      dumped
          [R"(traces_service_graph_request_total{client="back", connection_type="database", server="pg"})"],
      1);
  EXPECT_EQ(dumped[R"(traces_dependencies_calls_total{child="front", parent="front"})"], 1);
  EXPECT_EQ(dumped[R"(traces_dependencies_calls_total{child="back", parent="front"})"], 1);
  EXPECT_EQ(dumped[R"(traces_dependencies_calls_total{child="back", parent="back"})"], 1);
}

TEST(SpanMetrics, ChildrenBeforeParentsAndRepeats) {
  SpanMetrics metrics({.span_metrics = false, .service_graph = false});
  SpanBatch batch;
  AddSpan(&batch, "back", 3, 2, SpanKind::kServer, 3);
  AddSpan(&batch, "front", 2, 0, SpanKind::kClient, 4);
  metrics.Add(batch, {}, 0);
  metrics.Add(batch, {}, 0);  // the sender heard no answer and sent again
  const auto dependencies = metrics.Dependencies();
  ASSERT_EQ(dependencies.size(), 1u);
  EXPECT_EQ(dependencies[0].parent, "front");
  EXPECT_EQ(dependencies[0].child, "back");
  EXPECT_EQ(dependencies[0].calls, 1u);
}

TEST(SpanMetrics, SeriesAreBounded) {
  SpanMetrics metrics({.series_max = 10, .pairs_max = 10});
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back(Concat("service-", i));
  for (int i = 0; i < 100; ++i) {
    SpanBatch batch;
    AddSpan(&batch, names[static_cast<size_t>(i)], static_cast<uint8_t>(i + 1), 0,
            SpanKind::kClient, 1);
    metrics.Add(batch, {}, 0);
  }
  size_t series = 0;
  for (const auto& [key, value] : Dumped(metrics)) {
    series += key.starts_with("traces_spanmetrics_calls_total") ? 1 : 0;
  }
  EXPECT_LE(series, 30u);
  EXPECT_EQ(metrics.pairs_dropped(), 90u);
  EXPECT_EQ(
      Dumped(metrics)
          [R"(traces_spanmetrics_calls_total{service="other", span_kind="SPAN_KIND_CLIENT", span_name="other", status_code="STATUS_CODE_UNSET"})"],
      80);
}

TEST(SpanMetrics, JaegerNames) {
  SpanMetrics metrics({.jaeger_names = true});
  SpanBatch batch;
  AddSpan(&batch, "front", 1, 0, SpanKind::kServer, 5);
  metrics.Add(batch, {}, 0);
  auto dumped = Dumped(metrics);
  EXPECT_EQ(
      dumped
          [R"(traces_span_metrics_calls_total{service_name="front", span_kind="SPAN_KIND_SERVER", span_name="op", status_code="STATUS_CODE_UNSET"})"],
      1);
  EXPECT_EQ(
      dumped
          [R"(traces_span_metrics_duration_milliseconds_sum{service_name="front", span_kind="SPAN_KIND_SERVER", span_name="op", status_code="STATUS_CODE_UNSET"})"],
      5);
}

}  // namespace
}  // namespace varve::tracing
