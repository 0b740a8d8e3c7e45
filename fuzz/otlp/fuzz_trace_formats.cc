// Feeds bodies to the decoders of Zipkin's and Jaeger's formats. The first byte chooses one. What
// decodes must be writable as OTLP and as Jaeger's JSON, and read again.

#include <cstdlib>

#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/jaeger_protobuf.h"
#include "tools/tracing/json_decode.h"
#include "tools/tracing/sampling.h"
#include "tools/tracing/span_metrics.h"
#include "tools/tracing/wire_formats.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::tracing;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr Status (*kDecoders[])(std::string_view, SpanBatch*) = {
      DecodeZipkinJson,        DecodeZipkinV1Json,      DecodeZipkinThrift,
      DecodeZipkinProtobuf,    DecodeJaegerThriftBatch, DecodeJaegerAgentCompact,
      DecodeJaegerAgentBinary, DecodeJaegerPostSpans,   DecodeJaegerJson};
  if (data[0] % 16 == 15) {
    const auto strategies = SamplingStrategies::Parse(body);
    if (strategies.ok()) SamplingJson(strategies->Find("x"));
    return 0;
  }
  if (data[0] % 16 == 14) {
    constexpr std::string_view kWhole[] = {"attributes", "filter"};
    std::vector<std::pair<std::string, std::string>> members;
    if (FlattenObject(body, kWhole, &members).ok() && members.size() > body.size()) std::abort();
    return 0;
  }
  SpanBatch batch;
  if (!kDecoders[data[0] % std::size(kDecoders)](body, &batch).ok()) return 0;
  std::string json;
  otlp::TraceWriter(otlp::TraceWriter::Format::kJson, batch).All(&json);
  std::string wire;
  if (!otlp::JsonToWire(json, otlp::kTraceRequest, &wire).ok()) std::abort();
  for (const TraceSpans& trace : GroupByTrace(batch)) {
    std::string jaeger;
    JaegerTraceWriter writer(batch, trace.spans);
    while (writer.Next(64, &jaeger)) {
    }
    SpanBatch again;
    if (!DecodeJaegerJson(jaeger, &again).ok()) std::abort();
    if (again.spans().size() != trace.spans.size()) std::abort();
  }
  for (const SpanBatch::Span& span : batch.spans()) {
    std::string protobuf;
    AppendJaegerSpan(batch, span, &protobuf);
  }
  SpanMetrics metrics({.series_max = 10, .pairs_max = 10});
  metrics.Add(batch, {}, 0);
  metrics.Expire(1'000'000);
  WriteBatch out;
  metrics.Dump(0, &out);
  for (const WriteBatch::Series& series : out.series()) {
    if (!IsCanonical(out.labels(series))) std::abort();
  }
  return 0;
}
