// Feeds bodies to the OTLP decoders. The first byte chooses signal and format; what decodes must
// encode and decode again to the same.

#include <cstdlib>

#include "engine/base/any_value.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/logs.h"
#include "tools/otlp/metrics.h"
#include "tools/otlp/traces.h"

namespace varve::otlp {
namespace {

std::string JsonOf(const SpanBatch& batch) {
  std::string json;
  TraceWriter(TraceWriter::Format::kJson, batch).All(&json);
  return json;
}

bool Valid(const SpanBatch& batch, AttributesView attributes) {
  for (const AttributeView& attribute : attributes) {
    if (!ValidateValue(attribute.value, 64)) return false;
  }
  return true;
}

void Traces(std::string_view wire) {
  SpanBatch batch;
  DecodeReport report;
  if (!DecodeTraces(wire, &batch, &report).ok()) return;
  std::string protobuf;
  TraceWriter(TraceWriter::Format::kProtobuf, batch).All(&protobuf);
  SpanBatch second;
  DecodeReport none;
  if (!DecodeTraces(protobuf, &second, &none).ok() || none.rejected != 0) std::abort();
  if (second.spans().size() != batch.spans().size()) std::abort();
  const std::string json = JsonOf(batch);
  if (batch.spans().size() <= 1 && JsonOf(second) != json) std::abort();
  for (const SpanBatch::Span& span : batch.spans()) Valid(batch, batch.attributes(span.attributes));
  // Strings that are not UTF-8 are replaced in JSON, so only that it is understood is certain.
  std::string again;
  if (!JsonToWire(json, kTraceRequest, &again).ok()) std::abort();
}

}  // namespace
}  // namespace varve::otlp

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::otlp;
  if (size == 0) return 0;
  std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string wire;
  const MessageSchema* const schemas[] = {&kTraceRequest, &kMetricRequest, &kLogRequest};
  if ((data[0] & 4) != 0) {
    if (!JsonToWire(body, *schemas[(data[0] & 3) % 3], &wire).ok()) return 0;
    body = wire;
  }
  switch ((data[0] & 3) % 3) {
    case 0:
      Traces(body);
      break;
    case 1: {
      DeltaStreams streams(100);
      for (const Translation translation : {Translation::kUnderscoreEscapingWithSuffixes,
                                            Translation::kNoUtf8EscapingWithSuffixes}) {
        MetricOptions options;
        options.translation = translation;
        options.explicit_as_native = (data[0] & 8) != 0;
        DeltaStreams::Transaction deltas(&streams);
        WriteBatch batch;
        MetricReport report;
        if (!DecodeMetrics(body, options, kMaxTime, &deltas, &batch, &report).ok()) return 0;
        for (const WriteBatch::Series& series : batch.series()) {
          if (!IsCanonical(batch.labels(series))) std::abort();
        }
        for (const WriteBatch::HistogramSample& sample : batch.histograms()) {
          if (!sample.histogram.is_stale() && !Validate(sample.histogram).ok()) std::abort();
        }
        deltas.Commit();
      }
      break;
    }
    default: {
      LogBatch batch;
      if (!DecodeLogs(body, {}, &batch).ok()) return 0;
      for (const LogBatch::Stream& stream : batch.streams()) {
        if (!IsCanonical(batch.labels(stream))) std::abort();
      }
    }
  }
  return 0;
}
