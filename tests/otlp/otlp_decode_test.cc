// OTLP bodies to batches: JSON against protobuf, captured bodies, the rules of metrics and logs,
// and input that means harm.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"
#include "tests/support/shared_data.h"
#include "tools/otlp/base64.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/logs.h"
#include "tools/otlp/metrics.h"
#include "tools/otlp/receiver.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"

namespace varve::otlp {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string WireOf(std::string_view json, const MessageSchema& schema = kTraceRequest) {
  std::string wire;
  const Status status = JsonToWire(json, schema, &wire);
  EXPECT_TRUE(status.ok()) << status << " " << json.substr(0, 200);
  return wire;
}

std::string JsonOf(const SpanBatch& batch) {
  std::string json;
  TraceWriter(TraceWriter::Format::kJson, batch).All(&json);
  return json;
}
std::string ProtobufOf(const SpanBatch& batch) {
  std::string wire;
  TraceWriter(TraceWriter::Format::kProtobuf, batch).All(&wire);
  return wire;
}

Status ErrorOfJson(std::string_view json, const MessageSchema& schema = kTraceRequest) {
  std::string wire;
  return JsonToWire(json, schema, &wire);
}

// One span with everything that a span can have.
constexpr std::string_view kFullTrace =
    R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},)"
    R"({"key":"n","value":{"intValue":"-9223372036854775808"}}],"droppedAttributesCount":1},)"
    R"("scopeSpans":[{"scope":{"name":"lib","version":"1.2","attributes":[{"key":"a","value":{"boolValue":true}}],"droppedAttributesCount":2},)"
    R"("spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","traceState":"a=b","parentSpanId":"eee19b7ec3c1b173",)"
    R"("flags":257,"name":"GET /","kind":2,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000001",)"
    R"("attributes":[{"key":"d","value":{"doubleValue":0.5}},{"key":"nan","value":{"doubleValue":"NaN"}},)"
    R"({"key":"inf","value":{"doubleValue":"-Infinity"}},{"key":"bytes","value":{"bytesValue":"AQIDBA=="}},{"key":"empty","value":{}},)"
    R"({"key":"list","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"1"},{"arrayValue":{"values":[]}}]}}},)"
    R"({"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"kvlistValue":{"values":[{"key":"deep","value":{"boolValue":false}}]}}}]}}}],)"
    R"("droppedAttributesCount":3,"events":[{"timeUnixNano":"1544712660500000000","name":"e","attributes":[{"key":"x","value":{"stringValue":"y"}}],"droppedAttributesCount":4}],)"
    R"("droppedEventsCount":5,"links":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002","traceState":"s","attributes":[{"key":"l","value":{"intValue":"7"}}],"droppedAttributesCount":6,"flags":1}],)"
    R"("droppedLinksCount":7,"status":{"message":"bad","code":2}}],"schemaUrl":"https://scope"}],"schemaUrl":"https://resource"}]})";

TEST(OtlpTraces, EveryFieldSurvivesBothFormats) {
  const std::string wire = WireOf(kFullTrace);
  SpanBatch batch;
  DecodeReport report;
  ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
  ASSERT_EQ(batch.spans().size(), 1u);
  const SpanBatch::Span& span = batch.spans()[0];
  EXPECT_EQ(ToString(span.trace_id), "5b8efff798038103d269b633813fc60c");
  EXPECT_EQ(span.kind, SpanKind::kServer);
  EXPECT_EQ(span.end_ns - span.start_ns, 1'000'000'001);
  EXPECT_EQ(span.status, SpanStatus::kError);
  EXPECT_EQ(span.dropped_links, 7u);
  EXPECT_EQ(batch.resource_of(span).schema_url, "https://resource");
  EXPECT_EQ(ToString(batch.attributes(span.attributes)[5].value), R"(["x",1,[]])");
  EXPECT_EQ(JsonOf(batch), kFullTrace);
  // Protobuf written and read again says the same.
  const std::string again = ProtobufOf(batch);
  SpanBatch second;
  ASSERT_TRUE(DecodeTraces(again, &second, &report).ok());
  EXPECT_EQ(JsonOf(second), kFullTrace);
}

TEST(OtlpTraces, JsonSpellings) {
  // Upper-case ids, numbers as strings and strings as numbers, unknown fields, nulls.
  const std::string wire = WireOf(
      R"({"unknown":{"a":[1]},"resourceSpans":[{"resource":null,"scopeSpans":[{"spans":[
          {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","name":"n",
           "kind":"3","startTimeUnixNano":1544712660000000000,"endTimeUnixNano":1544712661e9,
           "parentSpanId":"","futureField":true,"status":null,
           "attributes":[{"key":"i","value":{"intValue":42}},{"key":"d","value":{"doubleValue":"1.5"}},
                         {"key":"w","value":{"doubleValue":2}}]}]}]}]})");
  SpanBatch batch;
  DecodeReport report;
  ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
  ASSERT_EQ(batch.spans().size(), 1u);
  const SpanBatch::Span& span = batch.spans()[0];
  EXPECT_EQ(ToString(span.span_id), "eee19b7ec3c1b174");
  EXPECT_EQ(span.kind, SpanKind::kClient);
  EXPECT_EQ(span.end_ns - span.start_ns, 1'000'000'000);
  EXPECT_TRUE(span.parent_id.empty());
  EXPECT_EQ(batch.attributes(span.attributes)[0].value, ValueView::Int(42));
  EXPECT_EQ(batch.attributes(span.attributes)[1].value, ValueView::Double(1.5));
  EXPECT_EQ(batch.attributes(span.attributes)[2].value, ValueView::Double(2));
}

TEST(OtlpTraces, JsonErrorsNameThePlace) {
  const auto message = [](std::string_view json) {
    const Status status = ErrorOfJson(json);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << json;
    return std::string(ToStd(status.message()));
  };
  EXPECT_THAT(message(R"({"resourceSpans":[{"scopeSpans":[{"spans":[{},{"traceId":"xyz"}]}]}]})"),
              HasSubstr("resourceSpans[0].scopeSpans[0].spans[1].traceId"));
  EXPECT_THAT(message(R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SERVER"}]}]}]})"),
              HasSubstr("spans[0].kind: not an integer"));
  EXPECT_THAT(message(R"({"resourceSpans":{}})"), HasSubstr("resourceSpans: not an array"));
  EXPECT_THAT(message(R"([])"), HasSubstr("its root: not an object"));
  EXPECT_THAT(message(R"({"resourceSpans":[)"), HasSubstr("malformed JSON"));
  EXPECT_THAT(message("{\"a\":\"\xff\"}"), HasSubstr("malformed JSON"));
  EXPECT_THAT(message(""), HasSubstr("malformed JSON"));
}

TEST(OtlpTraces, NestingIsBounded) {
  std::string json = R"({"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":)";
  constexpr int kDepth = 10'000;
  for (int i = 0; i < kDepth; ++i) json += R"({"arrayValue":{"values":[)";
  for (int i = 0; i < kDepth; ++i) json += "]}}";
  json += "}]}}]}";
  EXPECT_EQ(ErrorOfJson(json).code(), StatusCode::kResourceExhausted);
  // On the wire a value is only delimited here; whoever looks inside has a bound of its own.
  std::string value;
  for (int i = 0; i < kDepth; ++i) {
    std::string element;
    AppendBytesField(1, value, &element);
    std::string outer;
    AppendBytesField(5, element, &outer);
    value = std::move(outer);
  }
  std::string attribute;
  AppendBytesField(1, "a", &attribute);
  AppendBytesField(2, value, &attribute);
  std::string wire;
  {
    const Submessage resource_spans(1, &wire);
    const Submessage resource(1, &wire);
    AppendBytesField(1, attribute, &wire);
  }
  SpanBatch batch;
  DecodeReport report;
  ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
  ASSERT_EQ(batch.resources().size(), 1u);
  EXPECT_FALSE(ValidateValue(batch.attributes(batch.resources()[0].attributes)[0].value, 64));
}

TEST(OtlpTraces, Ids) {
  SpanBatch batch;
  DecodeReport report;
  // Zero and missing ids: the rest is kept.
  const std::string wire = WireOf(
      R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"no ids"},
         {"traceId":"00000000000000000000000000000000","spanId":"0000000000000001","name":"zero"},
         {"traceId":"00000000000000000000000000000001","spanId":"0000000000000001","name":"good"}]}]}]})");
  ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
  EXPECT_EQ(report.rejected, 2u);
  EXPECT_THAT(report.message, HasSubstr("\"no ids\" has no trace id"));
  ASSERT_EQ(batch.spans().size(), 1u);
  EXPECT_EQ(batch.spans()[0].name, "good");
  // Wrong length: the body is malformed.
  const std::string bad = WireOf(
      R"({"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102","spanId":"0000000000000001"}]}]}]})");
  const Status status = DecodeTraces(bad, &batch, &report);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ToStd(status.message())), HasSubstr("id of 2 bytes instead of 16"));
}

TEST(OtlpTraces, EveryCutIsAnErrorOrFewerSpans) {
  const std::string wire = WireOf(kFullTrace);
  for (size_t size = 1; size < wire.size(); ++size) {
    SpanBatch batch;
    DecodeReport report;
    const Status status = DecodeTraces(std::string_view(wire).substr(0, size), &batch, &report);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << size;
  }
}

TEST(OtlpTraces, EmptyMessagesDoNotBecomeMemory) {
  // 20 MB of empty spans and of empty events: the first are refused one by one, the second stop at
  // the bound.
  std::string spans;
  for (int i = 0; i < 1'000'000; ++i) spans.append("\x12\x00", 2);
  std::string scope_spans;
  AppendBytesField(2, spans, &scope_spans);
  std::string wire;
  AppendBytesField(1, scope_spans, &wire);
  SpanBatch batch;
  DecodeReport report;
  ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
  EXPECT_EQ(report.rejected, 1'000'000u);
  EXPECT_TRUE(batch.empty());

  std::string span;
  for (int i = 0; i < 7'000'000; ++i) span.append("\x5a\x00", 2);
  scope_spans.clear();
  AppendBytesField(2, span, &scope_spans);
  std::string resource_spans;
  AppendBytesField(2, scope_spans, &resource_spans);
  wire.clear();
  AppendBytesField(1, resource_spans, &wire);
  EXPECT_EQ(DecodeTraces(wire, &batch, &report).code(), StatusCode::kInvalidArgument);
}

TEST(OtlpTraces, TrainTicketRoundTrip) {
  const auto path = varve::testing::SharedPath(
      "data/traces/trainticket/trainticket-2023-01-29.otlp-traces.jsonl.zst");
  if (!path.has_value()) {
    std::printf("skipped: no shared data for the TrainTicket traces\n");
    return;
  }
  const std::string text = varve::testing::ReadFile(*path);
  size_t spans = 0;
  size_t line_number = 0;
  for (const std::string_view line : varve::testing::SplitLines(text)) {
    const std::string wire = WireOf(line);
    SpanBatch batch;
    DecodeReport report;
    ASSERT_TRUE(DecodeTraces(wire, &batch, &report).ok());
    ASSERT_EQ(report.rejected, 0u);
    spans += batch.spans().size();
    if (line_number++ % 8 != 0) continue;
    // What is written is read as the same, by either format.
    const std::string json = JsonOf(batch);
    SpanBatch second;
    const std::string json_wire = WireOf(json);
    ASSERT_TRUE(DecodeTraces(json_wire, &second, &report).ok());
    ASSERT_EQ(JsonOf(second), json);
    const std::string protobuf = ProtobufOf(batch);
    SpanBatch third;
    ASSERT_TRUE(DecodeTraces(protobuf, &third, &report).ok());
    ASSERT_EQ(JsonOf(third), json);
  }
  EXPECT_EQ(spans, 328'848u);
}

// --- Captured bodies ---

// Frames: 8 bytes of time and 4 of length, big-endian, then the body.
std::vector<std::string_view> Frames(std::string_view bytes) {
  std::vector<std::string_view> frames;
  while (bytes.size() >= 12) {
    size_t size = 0;
    for (int i = 8; i < 12; ++i)
      size = size << 8 | static_cast<uint8_t>(bytes[static_cast<size_t>(i)]);
    frames.push_back(bytes.substr(12, size));
    bytes.remove_prefix(12 + size);
  }
  return frames;
}

TEST(OtlpCaptured, AllBodiesAreAccepted) {
  if (!varve::testing::SharedPath("data/traces/otlp").has_value()) {
    std::printf("skipped: no shared data for captured OTLP bodies\n");
    return;
  }
  struct Capture {
    std::string_view file;
    Signal signal;
  };
  const Capture captures[] = {
      {"explicit-cumulative/v1_traces", Signal::kTraces},
      {"explicit-cumulative/v1_metrics", Signal::kMetrics},
      {"delta-with-logs/v1_traces", Signal::kTraces},
      {"delta-with-logs/v1_metrics", Signal::kMetrics},
      {"delta-with-logs/v1_logs", Signal::kLogs},
  };
  const auto accept = [](Signal signal, std::string_view wire) -> size_t {
    if (signal == Signal::kTraces) {
      SpanBatch batch;
      DecodeReport report;
      const Status status = DecodeTraces(wire, &batch, &report);
      EXPECT_TRUE(status.ok()) << status;
      EXPECT_EQ(report.rejected, 0u);
      return batch.spans().size();
    }
    if (signal == Signal::kLogs) {
      LogBatch batch;
      const Status status = DecodeLogs(wire, {}, &batch);
      EXPECT_TRUE(status.ok()) << status;
      return batch.entries().size();
    }
    WriteBatch batch;
    MetricReport report;
    DeltaStreams streams;
    DeltaStreams::Transaction deltas(&streams);
    const Status status = DecodeMetrics(wire, {}, kMaxTime, &deltas, &batch, &report);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(report.rejected, 0u) << report.message;
    for (const WriteBatch::Series& series : batch.series()) {
      EXPECT_TRUE(IsCanonical(batch.labels(series)));
    }
    return report.points;
  };
  for (const auto& [file, signal] : captures) {
    SCOPED_TRACE(file);
    size_t items = 0;
    const auto json_path =
        varve::testing::SharedPath(Concat("data/traces/otlp/", file, ".jsonl.zst"));
    ASSERT_TRUE(json_path.has_value());
    const std::string json = varve::testing::ReadFile(*json_path);
    for (const std::string_view line : varve::testing::SplitLines(json)) {
      items += accept(signal, WireOf(line, signal == Signal::kTraces    ? kTraceRequest
                                           : signal == Signal::kMetrics ? kMetricRequest
                                                                        : kLogRequest));
    }
    EXPECT_GT(items, 0u);
    size_t wire_items = 0;
    const auto wire_path =
        varve::testing::SharedPath(Concat("data/traces/otlp/", file, ".pb.framed.zst"));
    ASSERT_TRUE(wire_path.has_value());
    const std::string framed = varve::testing::ReadFile(*wire_path);
    for (const std::string_view frame : Frames(framed)) wire_items += accept(signal, frame);
    EXPECT_GT(wire_items, 0u);
  }
}

// --- Logs ---

TEST(OtlpLogs, LokiRules) {
  const std::string wire = WireOf(
      R"({"resourceLogs":[{"resource":{"attributes":[
          {"key":"service.name","value":{"stringValue":"api"}},
          {"key":"k8s.pod.name","value":{"stringValue":"api-1"}},
          {"key":"host.name","value":{"stringValue":"h"}},
          {"key":"nested","value":{"kvlistValue":{"values":[{"key":"a.b","value":{"intValue":"1"}}]}}}]},
         "scopeLogs":[{"scope":{"name":"lib","version":"2"},"logRecords":[
          {"timeUnixNano":"1000","observedTimeUnixNano":"2000","severityNumber":17,"severityText":"ERROR",
           "body":{"stringValue":"it broke"},"flags":1,"eventName":"ev",
           "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
           "attributes":[{"key":"http..status","value":{"intValue":"500"}},{"key":"1st","value":{"boolValue":true}},
                         {"key":"host.name","value":{"stringValue":"mine"}}]},
          {"observedTimeUnixNano":"3000","body":{"kvlistValue":{"values":[{"key":"m","value":{"stringValue":"x"}}]}}},
          {"body":{}}]}]},
        {"resource":{"attributes":[{"key":"container.name","value":{"stringValue":"c"}}]},
         "scopeLogs":[{"logRecords":[{"timeUnixNano":"5"}]}]},
        {"scopeLogs":[{"logRecords":[{"timeUnixNano":"6"}]}]}]})",
      kLogRequest);
  LogBatch batch;
  LogOptions options;
  options.now_ns = 77;
  options.detect_level = [](LabelsView stream, LabelsView metadata, std::string_view line) {
    EXPECT_FALSE(stream.empty());
    return FindLabel(metadata, "severity_text") == "ERROR" ? std::string_view("error")
                                                           : std::string_view();
  };
  ASSERT_TRUE(DecodeLogs(wire, options, &batch).ok());
  ASSERT_EQ(batch.streams().size(), 3u);
  EXPECT_EQ(ToString(batch.labels(batch.streams()[0])),
            R"({k8s_pod_name="api-1", service_name="api"})");
  EXPECT_EQ(ToString(batch.labels(batch.streams()[1])),
            R"({container_name="c", service_name="c"})");
  EXPECT_EQ(ToString(batch.labels(batch.streams()[2])), R"({service_name="unknown_service"})");
  ASSERT_EQ(batch.entries().size(), 5u);
  EXPECT_EQ(batch.entries()[0].line, "it broke");
  EXPECT_EQ(batch.entries()[0].time_ns, 1000);
  EXPECT_EQ(
      ToString(batch.metadata(batch.entries()[0])),
      R"({detected_level="error", event_name="ev", flags="1", host_name="mine", http_status="500", )"
      R"(key_1st="true", nested_a_b="1", observed_timestamp="2000", scope_name="lib", scope_version="2", )"
      R"(severity_number="17", severity_text="ERROR", span_id="eee19b7ec3c1b174", )"
      R"(trace_id="5b8efff798038103d269b633813fc60c"})");
  EXPECT_EQ(batch.entries()[1].time_ns, 3000);
  EXPECT_EQ(batch.entries()[1].line, R"({"m":"x"})");
  EXPECT_EQ(batch.entries()[2].time_ns, 77);
  EXPECT_EQ(batch.entries()[2].line, "");
}

// --- Metrics ---

TEST(OtlpMetrics, Names) {
  struct Case {
    std::string_view name;
    std::string_view unit;
    NameKind kind;
    std::string_view with;
    std::string_view utf8;
    std::string_view without;
  };
  const Case cases[] = {
      {"http.server.duration", "ms", NameKind::kOther, "http_server_duration_milliseconds",
       "http.server.duration_milliseconds", "http_server_duration"},
      {"system.network.io", "By", NameKind::kCounter, "system_network_io_bytes_total",
       "system.network.io_bytes_total", "system_network_io"},
      {"requests_total", "1", NameKind::kCounter, "requests_total", "requests_total",
       "requests_total"},
      {"disk.usage", "1", NameKind::kGauge, "disk_usage_ratio", "disk.usage_ratio", "disk_usage"},
      {"speed", "m/s", NameKind::kGauge, "speed_meters_per_second", "speed_meters_per_second",
       "speed"},
      {"cpu.time.seconds", "s", NameKind::kCounter, "cpu_time_seconds_total",
       "cpu.time_seconds_total", "cpu_time_seconds"},
      {"packets", "{packets}", NameKind::kCounter, "packets_total", "packets_total", "packets"},
      {"2xx.count", "", NameKind::kGauge, "_2xx_count", "2xx.count", "_2xx_count"},
      {"a..b__c", "", NameKind::kGauge, "a_b_c", "a..b__c", "a_b__c"},
      {"rate", "By/min", NameKind::kGauge, "rate_bytes_per_min", "rate_bytes_per_min", "rate"},
      {"x", "/s", NameKind::kGauge, "x_per_second", "x_per_second", "x"},
      {"odd", "foo.bar", NameKind::kGauge, "odd_foo_bar", "odd_foo.bar", "odd"},
  };
  for (const Case& c : cases) {
    using enum Translation;
    EXPECT_EQ(MetricName(c.name, c.unit, c.kind, kUnderscoreEscapingWithSuffixes), c.with);
    EXPECT_EQ(MetricName(c.name, c.unit, c.kind, kNoUtf8EscapingWithSuffixes), c.utf8);
    EXPECT_EQ(MetricName(c.name, c.unit, c.kind, kUnderscoreEscapingWithoutSuffixes), c.without);
    EXPECT_EQ(MetricName(c.name, c.unit, c.kind, kNoTranslation), c.name);
  }
  EXPECT_EQ(LabelName("http.method", Translation::kUnderscoreEscapingWithSuffixes), "http_method");
  EXPECT_EQ(LabelName("1st", Translation::kUnderscoreEscapingWithSuffixes), "key_1st");
  EXPECT_EQ(LabelName("_x", Translation::kUnderscoreEscapingWithSuffixes), "key_x");
  EXPECT_EQ(LabelName("http.method", Translation::kNoTranslation), "http.method");
}

// The rows of a batch as lines "series value @time", sorted.
std::vector<std::string> Lines(const WriteBatch& batch) {
  std::vector<std::string> lines;
  const auto series = [&](uint32_t index) { return ToString(batch.labels(batch.series()[index])); };
  for (const WriteBatch::Sample& sample : batch.samples()) {
    lines.push_back(Concat(
        series(sample.series), " ",
        IsStaleNan(sample.value) ? std::string("stale") : ToString(ValueView::Double(sample.value)),
        " @", sample.time_ms));
  }
  std::ranges::sort(lines);
  return lines;
}

struct Decoded {
  WriteBatch batch;
  MetricReport report;
};
Decoded DecodeJson(std::string_view json, const MetricOptions& options = {},
                   DeltaStreams* streams = nullptr) {
  DeltaStreams own;
  Decoded decoded;
  DeltaStreams::Transaction deltas(streams != nullptr ? streams : &own);
  const std::string wire = WireOf(json, kMetricRequest);
  const Status status =
      DecodeMetrics(wire, options, 1'000'000'000, &deltas, &decoded.batch, &decoded.report);
  EXPECT_TRUE(status.ok()) << status;
  deltas.Commit();
  return decoded;
}

std::string Metrics(std::string_view metrics, std::string_view resource = "") {
  return Concat(R"({"resourceMetrics":[{"resource":{"attributes":[)", resource,
                R"(]},"scopeMetrics":[{"scope":{"name":"lib","version":"3"},"metrics":[)", metrics,
                "]}]}]}");
}

TEST(OtlpMetrics, NumbersAndResource) {
  const std::string json = Metrics(
      R"({"name":"temp","unit":"Cel","description":"d","gauge":{"dataPoints":[
           {"timeUnixNano":"5000000","asDouble":20.5,"attributes":[{"key":"room","value":{"stringValue":"a"}}]},
           {"timeUnixNano":"6000000","flags":1,"attributes":[{"key":"room","value":{"stringValue":"b"}}]}]}},
         {"name":"jobs","sum":{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[
           {"startTimeUnixNano":"1000000","timeUnixNano":"5000000","asInt":"7",
            "attributes":[{"key":"a.b","value":{"stringValue":"1"}},{"key":"a_b","value":{"stringValue":"2"}}],
            "exemplars":[{"timeUnixNano":"4000000","asInt":"3","traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
                          "filteredAttributes":[{"key":"f","value":{"stringValue":"g"}}]}]}]}},
         {"name":"open","sum":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"5000000","asInt":"-2"}]}})",
      R"({"key":"service.name","value":{"stringValue":"s"}},{"key":"service.namespace","value":{"stringValue":"n"}},
         {"key":"service.instance.id","value":{"stringValue":"i"}},{"key":"host.name","value":{"stringValue":"h"}})");
  const Decoded plain = DecodeJson(json);
  EXPECT_EQ(plain.report.points, 4u);
  EXPECT_EQ(plain.report.rejected, 0u);
  EXPECT_THAT(Lines(plain.batch),
              ElementsAre(R"(jobs_total{a_b="1;2", instance="i", job="n/s"} 7 @5)",
                          R"(open{instance="i", job="n/s"} -2 @5)",
                          R"(target_info{host_name="h", instance="i", job="n/s"} 1 @5)",
                          R"(target_info{host_name="h", instance="i", job="n/s"} 1 @6)",
                          R"(temp_celsius{instance="i", job="n/s", room="a"} 20.5 @5)",
                          R"(temp_celsius{instance="i", job="n/s", room="b"} stale @6)"));
  ASSERT_EQ(plain.batch.exemplars().size(), 1u);
  EXPECT_EQ(ToString(plain.batch.exemplars()[0].exemplar.labels),
            R"({f="g", span_id="eee19b7ec3c1b174", trace_id="5b8efff798038103d269b633813fc60c"})");
  EXPECT_EQ(plain.batch.metadata()[0].family, "temp_celsius");
  EXPECT_EQ(plain.batch.metadata()[0].metadata.type, MetricType::kGauge);
  EXPECT_EQ(plain.batch.metadata()[1].metadata.type, MetricType::kCounter);

  MetricOptions promoting;
  promoting.translation = Translation::kNoTranslation;
  promoting.promote_attributes = {"host.name"};
  promoting.promote_scope = true;
  EXPECT_THAT(
      Lines(DecodeJson(json, promoting).batch)[1],
      R"(open{"host.name"="h", instance="i", job="n/s", otel_scope_name="lib", otel_scope_version="3"} -2 @5)");
}

TEST(OtlpMetrics, ExplicitHistogram) {
  const std::string json = Metrics(
      R"({"name":"h","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
          {"timeUnixNano":"5000000","count":"6","sum":9.5,"bucketCounts":["1","2","3"],"explicitBounds":[0.5,10],
           "exemplars":[{"timeUnixNano":"1","asDouble":7},{"timeUnixNano":"1","asDouble":0.25},{"timeUnixNano":"1","asDouble":70}]},
          {"timeUnixNano":"5000000","count":"6","bucketCounts":["1","2"],"explicitBounds":[0.5,10]}]}})");
  const Decoded classic = DecodeJson(json);
  EXPECT_EQ(classic.report.rejected, 1u);
  EXPECT_THAT(classic.report.message, HasSubstr("2 buckets with 2 bounds"));
  EXPECT_THAT(Lines(classic.batch),
              ElementsAre(R"(h_seconds_bucket{le="+Inf"} 6 @5)",
                          R"(h_seconds_bucket{le="0.5"} 1 @5)", R"(h_seconds_bucket{le="10"} 3 @5)",
                          R"(h_seconds_count 6 @5)", R"(h_seconds_sum 9.5 @5)"));
  std::map<std::string, double> exemplars;
  for (const auto& exemplar : classic.batch.exemplars()) {
    const auto& series = classic.batch.series()[exemplar.series];
    exemplars[std::string(FindLabel(classic.batch.labels(series), "le"))] = exemplar.exemplar.value;
  }
  EXPECT_EQ(exemplars, (std::map<std::string, double>{{"0.5", 0.25}, {"10", 7}, {"+Inf", 70}}));

  MetricOptions native;
  native.explicit_as_native = true;
  const Decoded custom = DecodeJson(json, native);
  ASSERT_EQ(custom.batch.histograms().size(), 1u);
  const Histogram& histogram = custom.batch.histograms()[0].histogram;
  EXPECT_EQ(histogram.schema, kCustomBucketsSchema);
  EXPECT_THAT(histogram.custom_values, ElementsAre(0.5, 10));
  EXPECT_THAT(histogram.positive_spans, ElementsAre(BucketSpan{0, 3}));
  EXPECT_THAT(histogram.positive_deltas, ElementsAre(1, 1, 1));
}

TEST(OtlpMetrics, ExponentialHistogram) {
  const auto point = [](int scale, std::string_view positive, std::string_view rest = "") {
    return Metrics(Concat(
        R"({"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"5000000","scale":)",
        scale, R"(,"zeroCount":"2","positive":)", positive, rest, "}]}}"));
  };
  const Decoded plain =
      DecodeJson(point(3, R"({"offset":-2,"bucketCounts":["1","0","3","0","0","0","2"]})",
                       R"(,"count":"8","sum":4)"));
  EXPECT_EQ(plain.report.rejected, 0u) << plain.report.message;
  ASSERT_EQ(plain.batch.histograms().size(), 1u);
  const Histogram& histogram = plain.batch.histograms()[0].histogram;
  EXPECT_EQ(histogram.schema, 3);
  EXPECT_EQ(histogram.zero_count, 2u);
  // Bucket -2 of OTLP is -1 of Prometheus; one empty bucket is bridged, three are a new span.
  EXPECT_THAT(histogram.positive_spans, ElementsAre(BucketSpan{-1, 3}, BucketSpan{3, 1}));
  EXPECT_THAT(histogram.positive_deltas, ElementsAre(1, -1, 3, -1));
  EXPECT_TRUE(Validate(histogram).ok());

  const Decoded fine = DecodeJson(point(
      10, R"({"offset":-3,"bucketCounts":["1","1","1","1","1","1"]})", R"(,"count":"8","sum":4)"));
  ASSERT_EQ(fine.batch.histograms().size(), 1u);
  EXPECT_EQ(fine.batch.histograms()[0].histogram.schema, 8);
  // -3..2 by four: -1 (three of them) and 0 (three).
  EXPECT_THAT(fine.batch.histograms()[0].histogram.positive_spans, ElementsAre(BucketSpan{0, 2}));
  EXPECT_THAT(fine.batch.histograms()[0].histogram.positive_deltas, ElementsAre(3, 0));

  const Decoded coarse = DecodeJson(point(-5, R"({"offset":0,"bucketCounts":["1"]})"));
  EXPECT_EQ(coarse.report.rejected, 1u);
  EXPECT_THAT(coarse.report.message, HasSubstr("scale -5"));
}

TEST(OtlpMetrics, Summary) {
  const Decoded decoded = DecodeJson(Metrics(
      R"({"name":"s","summary":{"dataPoints":[{"timeUnixNano":"5000000","count":"3","sum":6,
          "quantileValues":[{"quantile":0.5,"value":1},{"quantile":0.99,"value":"NaN"}]}]}})"));
  EXPECT_THAT(Lines(decoded.batch),
              ElementsAre(R"(s_count 3 @5)", R"(s_sum 6 @5)", R"(s{quantile="0.5"} 1 @5)",
                          R"(s{quantile="0.99"} NaN @5)"));
}

TEST(OtlpMetrics, DeltaBecomesCumulative) {
  DeltaStreams streams;
  const auto sum = [&](int64_t time_ms, int value) {
    return DecodeJson(
        Metrics(Concat(
            R"({"name":"c","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"startTimeUnixNano":")",
            (time_ms - 10) * 1'000'000, R"(","timeUnixNano":")", time_ms * 1'000'000,
            R"(","asInt":")", value, R"("}]}})")),
        {}, &streams);
  };
  EXPECT_THAT(Lines(sum(100, 3).batch), ElementsAre("c_total 3 @100"));
  const Decoded second = sum(110, 4);
  EXPECT_THAT(Lines(second.batch), ElementsAre("c_total 7 @110"));
  EXPECT_EQ(second.batch.samples()[0].start_ms, 90);
  // A repeat adds nothing.
  const Decoded repeat = sum(110, 4);
  EXPECT_TRUE(repeat.batch.samples().empty());
  EXPECT_EQ(repeat.report.rejected, 1u);
  EXPECT_THAT(Lines(sum(120, 1).batch), ElementsAre("c_total 8 @120"));
  EXPECT_EQ(streams.size(), 1u);

  const auto histogram = [&](int64_t time_ms, std::string_view counts, int count) {
    return DecodeJson(
        Metrics(Concat(
            R"({"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":")",
            time_ms * 1'000'000, R"(","count":")", count, R"(","sum":1,"bucketCounts":)", counts,
            R"(,"explicitBounds":[1]}]}})")),
        {}, &streams);
  };
  histogram(100, R"(["1","2"])", 3);
  EXPECT_THAT(Lines(histogram(110, R"(["10","20"])", 30).batch),
              ElementsAre(R"(h_bucket{le="+Inf"} 33 @110)", R"(h_bucket{le="1"} 11 @110)",
                          R"(h_count 33 @110)", R"(h_sum 2 @110)"));

  const auto exponential = [&](int64_t time_ms, int scale, int offset) {
    return DecodeJson(
        Metrics(Concat(
            R"({"name":"e","exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":")",
            time_ms * 1'000'000, R"(","count":"1","sum":2,"scale":)", scale,
            R"(,"positive":{"offset":)", offset, R"(,"bucketCounts":["1"]}}]}})")),
        {}, &streams);
  };
  exponential(100, 4, 5);
  const Decoded merged = exponential(110, 3, 4);
  ASSERT_EQ(merged.batch.histograms().size(), 1u);
  EXPECT_EQ(merged.batch.histograms()[0].histogram.schema, 3);
  EXPECT_EQ(merged.batch.histograms()[0].histogram.count, 2u);
  EXPECT_EQ(merged.batch.histograms()[0].histogram.sum, 4);
  EXPECT_THAT(merged.batch.histograms()[0].histogram.positive_spans, ElementsAre(BucketSpan{3, 3}));
}

TEST(OtlpMetrics, AFailedAppendLeavesDeltasAlone) {
  DeltaStreams streams;
  const std::string wire = WireOf(
      Metrics(
          R"({"name":"c","sum":{"isMonotonic":true,"aggregationTemporality":1,"dataPoints":[{"timeUnixNano":"5000000","asInt":"3"}]}})"),
      kMetricRequest);
  for (int attempt = 0; attempt < 3; ++attempt) {
    DeltaStreams::Transaction deltas(&streams);
    WriteBatch batch;
    MetricReport report;
    ASSERT_TRUE(DecodeMetrics(wire, {}, kMaxTime, &deltas, &batch, &report).ok());
    EXPECT_THAT(Lines(batch), ElementsAre("c_total 3 @5"));
    // No Commit: the store has refused.
  }
  EXPECT_EQ(streams.size(), 0u);
}

TEST(OtlpMetrics, DeltaStreamsAreBounded) {
  DeltaStreams streams(2);
  const Decoded decoded =
      DecodeJson(Metrics(
                     R"({"name":"c","sum":{"aggregationTemporality":1,"dataPoints":[
             {"timeUnixNano":"5000000","asInt":"3","attributes":[{"key":"a","value":{"stringValue":"1"}}]},
             {"timeUnixNano":"5000000","asInt":"3","attributes":[{"key":"a","value":{"stringValue":"2"}}]},
             {"timeUnixNano":"5000000","asInt":"3","attributes":[{"key":"a","value":{"stringValue":"3"}}]}]}})"),
                 {}, &streams);
  EXPECT_EQ(decoded.report.rejected, 1u);
  EXPECT_THAT(decoded.report.message, HasSubstr("too many streams"));
}

TEST(OtlpMetrics, FutureAndUnknownTemporality) {
  const Decoded future = DecodeJson(Metrics(
      R"({"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"9000000000000000000","asInt":"1"}]}})"));
  EXPECT_EQ(future.report.rejected, 1u);
  EXPECT_TRUE(future.batch.samples().empty());
  const Decoded unknown = DecodeJson(Metrics(
      R"({"name":"g","sum":{"aggregationTemporality":0,"dataPoints":[{"timeUnixNano":"1000000","asInt":"1"}]}})"));
  EXPECT_EQ(unknown.report.rejected, 1u);
  EXPECT_THAT(unknown.report.message, HasSubstr("temporality"));
}

// --- Answers ---

TEST(OtlpAnswers, Bodies) {
  EXPECT_EQ(ResponseBody(Signal::kTraces, BodyFormat::kProtobuf, 0, ""), "");
  EXPECT_EQ(ResponseBody(Signal::kTraces, BodyFormat::kJson, 0, ""), R"({"partialSuccess":{}})");
  EXPECT_EQ(ResponseBody(Signal::kLogs, BodyFormat::kJson, 2, "x"),
            R"({"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"x"}})");
  EXPECT_EQ(ResponseBody(Signal::kTraces, BodyFormat::kProtobuf, 2, "x"),
            std::string("\x0a\x05\x08\x02\x12\x01x", 7));
  EXPECT_EQ(StatusBody(BodyFormat::kJson, 3, "bad"), R"({"code":3,"message":"bad"})");
  EXPECT_EQ(StatusBody(BodyFormat::kProtobuf, 3, "bad"), std::string("\x08\x03\x12\x03"
                                                                     "bad",
                                                                     7));
  EXPECT_THAT(StatusBody(BodyFormat::kProtobuf, 8, "full", 1), HasSubstr("google.rpc.RetryInfo"));
}

TEST(OtlpBase64, RoundTrip) {
  for (const std::string_view bytes : {"", "a", "ab", "abc", "abcd", "\xff\xfe\xfd"}) {
    std::string text;
    EncodeBase64(bytes, &text);
    std::string again;
    EXPECT_TRUE(DecodeBase64(text, &again)) << text;
    EXPECT_EQ(again, bytes);
  }
  std::string out;
  EXPECT_TRUE(DecodeBase64("-_8", &out));
  EXPECT_EQ(out, "\xfb\xff");
  EXPECT_FALSE(DecodeBase64("a", &out));
  EXPECT_FALSE(DecodeBase64("ab!d", &out));
}

}  // namespace
}  // namespace varve::otlp
