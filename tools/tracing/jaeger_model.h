#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/span_batch.h"

/// Jaeger's own model of a span, and how it becomes OTLP's: what Thrift, protobuf and JSON of
/// Jaeger have in common.
namespace varve::tracing {

struct JaegerReference {
  TraceId trace_id;
  SpanId span_id;
  bool child_of = true;  // else follows-from
};

struct JaegerLog {
  int64_t time_ns = 0;
  uint32_t fields_begin = 0;  // into JaegerSpan::fields
  uint32_t fields_count = 0;
};

struct JaegerSpan {
  TraceId trace_id;
  SpanId span_id;
  SpanId parent_id;  // of old clients; newer ones send references
  std::string_view operation;
  uint32_t flags = 0;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
  std::vector<JaegerReference> references;
  std::vector<AttributeView> tags;
  std::vector<JaegerLog> logs;
  std::vector<AttributeView> fields;  // of all logs

  void Clear();
};

/// Adds spans of Jaeger's model to a batch. The parent is the first child-of reference into the
/// same trace, all others are links; span.kind, error, otel.status_code and _description,
/// otel.scope.* and w3c.tracestate become what they stand for; the log field "event" names the
/// event.
class JaegerBuilder {
 public:
  explicit JaegerBuilder(SpanBatch* out) : out_(*out) {}

  /// Adds a process and returns its index. Bytes are borrowed by the batch.
  uint32_t AddProcess(std::string_view service, std::span<const AttributeView> tags);
  void AddSpan(uint32_t process, const JaegerSpan& span);

 private:
  struct Scope {
    std::string_view name;
    std::string_view version;
    uint32_t index;
  };
  SpanBatch& out_;
  std::vector<std::pair<uint32_t, std::vector<Scope>>> processes_;  // resource, its scopes
  std::vector<AttributeView> attributes_;
};

/// Reads a kind as Jaeger and Zipkin spell it, in any case; kUnspecified for other words.
SpanKind ParseKind(std::string_view text);
/// Adds with a bound: times of clients with a broken clock must not wrap around.
int64_t AddClamped(int64_t a, int64_t b);
/// Unix microseconds to nanoseconds; what does not fit stops at the outermost times.
int64_t MicrosToNs(int64_t micros);

}  // namespace varve::tracing
