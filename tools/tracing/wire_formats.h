#pragma once

#include <string_view>

#include "varve/span_batch.h"
#include "varve/status.h"

/// Spans in Thrift and protobuf. Batches borrow from the bytes they are decoded from. Errors:
/// kInvalidArgument with the byte offset; `out` then holds part of the spans.
namespace varve::tracing {

/// Decodes a jaeger.thrift Batch in the binary protocol: the body of POST /api/traces at 14268.
Status DecodeJaegerThriftBatch(std::string_view bytes, SpanBatch* out);
/// Decodes a message to a Jaeger agent, emitBatch or emitZipkinBatch: a datagram.
Status DecodeJaegerAgentCompact(std::string_view bytes, SpanBatch* out);
Status DecodeJaegerAgentBinary(std::string_view bytes, SpanBatch* out);
/// Decodes a list of Zipkin version 1 spans in the binary protocol.
Status DecodeZipkinThrift(std::string_view bytes, SpanBatch* out);

/// Decodes zipkin.proto3.ListOfSpans.
Status DecodeZipkinProtobuf(std::string_view bytes, SpanBatch* out);
/// Decodes jaeger.api_v2.PostSpansRequest.
Status DecodeJaegerPostSpans(std::string_view bytes, SpanBatch* out);

}  // namespace varve::tracing
