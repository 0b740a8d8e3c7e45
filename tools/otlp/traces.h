#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve::otlp {

/// What of a body did not become spans.
struct DecodeReport {
  uint64_t rejected = 0;  // spans without a trace or span id
  std::string message;    // why, for the first
};

/// Decodes an ExportTraceServiceRequest (TracesData is the same on the wire) and adds its spans to
/// `out`, which borrows from `wire`. Spans whose ids are zero or missing are counted, not added.
/// Errors: kInvalidArgument with field and byte offset for bytes that are not the message, ids of
/// wrong length included; `out` then holds part of them. Cost: about 0.4 us a span.
Status DecodeTraces(std::string_view wire, SpanBatch* out, DecodeReport* report);

/// Writes spans as OTLP: resource by resource, scope by scope, spans in the order of the batch.
/// Pull it piece by piece, so that a trace of any size never stands in memory a second time.
class TraceWriter {
 public:
  enum class Format : uint8_t {
    kJson,      // {"resourceSpans":[...]}
    kTempo,     // the same as Tempo prints protobuf: ids in base64, names of enums
    kProtobuf,  // TracesData, or any message with resource_spans = 1
  };
  /// Writes the spans with the given indices, or all. `batch` must outlive it.
  TraceWriter(Format format, const SpanBatch& batch);
  TraceWriter(Format format, const SpanBatch& batch, std::vector<uint32_t> spans);
  /// Appends at least `bytes_hint` bytes unless the end comes first; false once nothing follows.
  bool Next(size_t bytes_hint, std::string* out);
  /// Appends everything.
  void All(std::string* out) {
    while (Next(size_t{1} << 20, out)) {
    }
  }

 private:
  void WriteJsonSpan(const SpanBatch::Span& span, std::string* out);
  void NextResourceWire(std::string* out);

  const Format format_;
  const SpanBatch& batch_;
  std::vector<uint32_t> spans_;  // by resource, then scope
  size_t at_ = 0;
  bool opened_ = false;
  bool done_ = false;
};

/// Appends an attribute's value as OTLP's JSON: {"stringValue":"x"}. Nested deeper than 64: {}.
void AppendJsonValue(const ValueView& value, std::string* out);

}  // namespace varve::otlp
