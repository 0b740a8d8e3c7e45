#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve::tracing {

/// Prints a trace id as Jaeger does: 16 digits when the high half is zero, else 32.
std::string JaegerTraceId(const TraceId& id);
/// Reads a trace id as Jaeger's API takes it: 1 to 32 hex digits, or base64 of 8 or 16 bytes.
bool ParseJaegerTraceId(std::string_view text, TraceId* out);

/// Returns the service of a resource as Jaeger shows it: repaired where it is missing, empty or no
/// string.
std::string_view JaegerServiceName(AttributesView resource);

/// Writes one trace in Jaeger's legacy JSON, piece by piece:
/// {"traceID","spans":[...],"processes":{"p1":...},"warnings":null}.
class JaegerTraceWriter {
 public:
  /// Writes the spans with the given indices, all of one trace, in that order. `batch` must outlive
  /// it. Links without ids are left out, unless `raw`.
  JaegerTraceWriter(const SpanBatch& batch, std::vector<uint32_t> spans, bool raw = false);
  /// Appends at least `bytes_hint` bytes unless the end comes first; false once nothing follows.
  bool Next(size_t bytes_hint, std::string* out);

 private:
  void WriteSpan(const SpanBatch::Span& span, std::string* out);
  uint32_t ProcessOf(uint32_t resource);

  const SpanBatch& batch_;
  const std::vector<uint32_t> spans_;
  const bool raw_;
  size_t at_ = 0;
  bool opened_ = false;
  bool done_ = false;
  std::vector<uint32_t> process_of_;  // by resource; 0: none yet
  std::vector<uint32_t> processes_;   // resources, p1 first
};

/// Groups the spans of a batch by trace: traces in the order of `ids` (those that are not there are
/// left out), spans in the order of the batch.
struct TraceSpans {
  TraceId id;
  std::vector<uint32_t> spans;
};
std::vector<TraceSpans> GroupByTrace(const SpanBatch& batch, const std::vector<TraceId>& ids);
/// The same for all traces, in the order in which they first appear.
std::vector<TraceSpans> GroupByTrace(const SpanBatch& batch);

/// Reads traces in Jaeger's legacy JSON: an answer {"data":[...]}, an array of traces, or of spans
/// that carry their process, or one of either. Everything is copied into `out`. Errors:
/// kInvalidArgument that names the place.
Status DecodeJaegerJson(std::string_view json, SpanBatch* out);

}  // namespace varve::tracing
