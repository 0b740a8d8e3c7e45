#include "tools/tracing/jaeger_protobuf.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "tools/otlp/wire_writer.h"
#include "tools/tracing/jaeger_json.h"

namespace varve::tracing {
namespace {

using namespace otlp;  // NOLINT(google-build-using-namespace): the writers of wire format

template <typename Id>
std::string_view BytesOf(const Id& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

void AppendNanos(uint32_t field, int64_t ns, std::string* out) {
  const Submessage message(field, out);
  int64_t seconds = ns / 1'000'000'000;
  int64_t nanos = ns % 1'000'000'000;
  if (nanos < 0) {
    nanos += 1'000'000'000;
    --seconds;
  }
  AppendVarintUnlessZero(1, static_cast<uint64_t>(seconds), out);
  AppendVarintUnlessZero(2, static_cast<uint64_t>(nanos), out);
}

void AppendTag(uint32_t field, std::string_view key, const ValueView& value, std::string* out) {
  const Submessage message(field, out);
  AppendTextUnlessEmpty(1, key, out);
  switch (value.type) {
    case ValueType::kBool:
      AppendVarintField(2, 1, out);
      AppendVarintUnlessZero(4, value.boolean ? 1 : 0, out);
      return;
    case ValueType::kInt:
      AppendVarintField(2, 2, out);
      AppendVarintUnlessZero(5, static_cast<uint64_t>(value.integer), out);
      return;
    case ValueType::kDouble:
      AppendVarintField(2, 3, out);
      AppendDoubleField(6, value.number, out);
      return;
    case ValueType::kBytes:
      AppendVarintField(2, 4, out);
      AppendTextUnlessEmpty(7, value.text, out);
      return;
    case ValueType::kString:
      AppendTextUnlessEmpty(3, value.text, out);
      return;
    default:
      AppendTextUnlessEmpty(3, ToString(value), out);
  }
}

void AppendText(uint32_t field, std::string_view key, std::string_view text, std::string* out) {
  AppendTag(field, key, ValueView::String(text), out);
}

void AppendReference(const TraceId& trace, const SpanId& span, bool child_of, std::string* out) {
  const Submessage message(4, out);
  AppendBytesField(1, BytesOf(trace), out);
  AppendBytesField(2, BytesOf(span), out);
  if (!child_of) AppendVarintField(3, 1, out);
}

}  // namespace

void AppendJaegerSpan(const SpanBatch& batch, const SpanBatch::Span& span, std::string* out) {
  AppendBytesField(1, BytesOf(span.trace_id), out);
  AppendBytesField(2, BytesOf(span.span_id), out);
  AppendTextUnlessEmpty(3, span.name, out);
  if (!span.parent_id.empty()) AppendReference(span.trace_id, span.parent_id, true, out);
  for (const SpanBatch::Link& link : batch.links(span)) {
    const ValueView* const type =
        FindAttribute(batch.attributes(link.attributes), "opentracing.ref_type");
    AppendReference(link.trace_id, link.span_id, type != nullptr && type->text == "child_of", out);
  }
  AppendVarintUnlessZero(5, span.flags & 0xff, out);
  AppendNanos(6, span.start_ns, out);
  int64_t duration_ns = 0;
  if (__builtin_sub_overflow(span.end_ns, span.start_ns, &duration_ns)) {
    duration_ns = span.end_ns > 0 ? std::numeric_limits<int64_t>::max() : 0;
  }
  AppendNanos(7, std::max<int64_t>(duration_ns, 0), out);
  const SpanBatch::Scope& scope = batch.scopes()[span.scope];
  if (!scope.name.empty()) AppendText(8, "otel.scope.name", scope.name, out);
  if (!scope.version.empty()) AppendText(8, "otel.scope.version", scope.version, out);
  for (const AttributeView& attribute : batch.attributes(span.attributes)) {
    AppendTag(8, attribute.key, attribute.value, out);
  }
  constexpr std::string_view kKinds[] = {"",       "internal", "server",
                                         "client", "producer", "consumer"};
  if (span.kind != SpanKind::kUnspecified) {
    AppendText(8, "span.kind", kKinds[static_cast<size_t>(span.kind)], out);
  }
  if (span.status == SpanStatus::kOk) AppendText(8, "otel.status_code", "OK", out);
  if (span.status == SpanStatus::kError) {
    AppendText(8, "otel.status_code", "ERROR", out);
    AppendTag(8, "error", ValueView::Bool(true), out);
  }
  if (!span.status_message.empty()) {
    AppendText(8, "otel.status_description", span.status_message, out);
  }
  if (!span.trace_state.empty()) AppendText(8, "w3c.tracestate", span.trace_state, out);
  for (const SpanBatch::Event& event : batch.events(span)) {
    const Submessage log(9, out);
    AppendNanos(1, event.time_ns, out);
    if (!event.name.empty()) AppendText(2, "event", event.name, out);
    for (const AttributeView& attribute : batch.attributes(event.attributes)) {
      AppendTag(2, attribute.key, attribute.value, out);
    }
  }
  const AttributesView resource = batch.attributes(batch.resource_of(span).attributes);
  const Submessage process(10, out);
  AppendBytesField(1, JaegerServiceName(resource), out);
  for (const AttributeView& attribute : resource) {
    if (attribute.key != "service.name") AppendTag(2, attribute.key, attribute.value, out);
  }
}

}  // namespace varve::tracing
