#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/span_batch.h"

/// Zipkin's model of a span, and how it becomes OTLP's: what its JSON, protobuf and Thrift have in
/// common.
namespace varve::tracing {

struct ZipkinEndpoint {
  std::string_view service;
  std::string_view ip;  // as text
  int64_t port = 0;
  bool empty() const { return service.empty() && ip.empty() && port == 0; }
};

struct ZipkinSpan {
  TraceId trace_id;
  SpanId id;
  SpanId parent_id;
  SpanKind kind = SpanKind::kUnspecified;
  std::string_view name;
  int64_t timestamp_us = 0;  // 0: unknown
  int64_t duration_us = 0;
  ZipkinEndpoint local;
  ZipkinEndpoint remote;
  std::vector<std::pair<int64_t, std::string_view>> annotations;  // us, value
  std::vector<AttributeView> tags;
  bool debug = false;
  bool shared = false;  // a server's half that carries the id of the client's

  void Clear();
};

/// A version 1 annotation or binary annotation keeps the endpoint of whoever wrote it.
struct ZipkinV1Annotation {
  int64_t time_us = 0;
  std::string_view value;
  ZipkinEndpoint endpoint;
};
struct ZipkinV1Tag {
  std::string_view key;
  ValueView value;
  ZipkinEndpoint endpoint;
};

/// Adds spans of Zipkin's model to a batch: a resource a local service, peer.service and
/// net.peer.* from the remote endpoint, the tag "error" as status, annotations as events.
///
/// Zipkin lets a server use the id of the client's span. Here a span id is unique in its trace, so
/// such a server span gets an id derived from it and becomes the client span's child.
class ZipkinBuilder {
 public:
  explicit ZipkinBuilder(SpanBatch* out) : out_(*out) {}

  void AddSpan(const ZipkinSpan& span);
  /// Splits a version 1 span by the core annotations (cs, cr, sr, ss, ms, mr, sa, ca) that it has:
  /// one that both sides reported becomes two.
  void AddV1Span(const ZipkinSpan& span, const std::vector<ZipkinV1Annotation>& annotations,
                 const std::vector<ZipkinV1Tag>& tags);

 private:
  uint32_t ScopeOf(std::string_view service);

  SpanBatch& out_;
  std::vector<std::pair<std::string_view, uint32_t>> scopes_;  // by service
  std::vector<AttributeView> attributes_;
  ZipkinSpan part_;  // of a version 1 span
};

/// The id of a server span that shares `id` with its client.
SpanId SharedSpanId(const SpanId& id);

}  // namespace varve::tracing
