#include "tools/tracing/jaeger_json.h"

#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "engine/base/strings.h"
#include "tools/otlp/base64.h"
#include "tools/server/json/writer.h"

namespace varve::tracing {
namespace {

struct TraceIdHash {
  size_t operator()(const TraceId& id) const {
    size_t value = 0;
    for (const uint8_t byte : id.bytes) value = value * 0x100000001b3u ^ byte;
    return value;
  }
};

// What JavaScript's numbers hold exactly.
constexpr int64_t kExactMax = int64_t{1} << 53;

void AppendTag(std::string_view key, std::string_view type, std::string_view json_value,
               bool* first, std::string* out) {
  out->append(*first ? "{\"key\":" : ",{\"key\":");
  *first = false;
  json::AppendString(key, out);
  out->append(",\"type\":\"").append(type).append("\",\"value\":").append(json_value);
  out->push_back('}');
}

void AppendStringTag(std::string_view key, std::string_view value, bool* first, std::string* out) {
  std::string text;
  json::AppendString(value, &text);
  AppendTag(key, "string", text, first, out);
}

void AppendAttribute(const AttributeView& attribute, bool* first, std::string* out) {
  const ValueView& value = attribute.value;
  switch (value.type) {
    case ValueType::kBool:
      AppendTag(attribute.key, "bool", value.boolean ? "true" : "false", first, out);
      return;
    case ValueType::kInt: {
      const bool exact = value.integer <= kExactMax && value.integer >= -kExactMax;
      const std::string digits = std::to_string(value.integer);
      AppendTag(attribute.key, "int64", exact ? digits : Concat("\"", digits, "\""), first, out);
      return;
    }
    case ValueType::kDouble: {
      std::string text;
      if (std::isfinite(value.number)) {
        json::AppendFloat(value.number, &text);
      } else {
        text = Concat("\"", ToString(value), "\"");
      }
      AppendTag(attribute.key, "float64", text, first, out);
      return;
    }
    case ValueType::kBytes: {
      std::string text = "\"";
      otlp::EncodeBase64(value.text, &text);
      text.push_back('"');
      AppendTag(attribute.key, "binary", text, first, out);
      return;
    }
    case ValueType::kString:
      AppendStringTag(attribute.key, value.text, first, out);
      return;
    default:
      AppendStringTag(attribute.key, ToString(value), first, out);
  }
}

std::string_view KindText(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal:
      return "internal";
    case SpanKind::kServer:
      return "server";
    case SpanKind::kClient:
      return "client";
    case SpanKind::kProducer:
      return "producer";
    case SpanKind::kConsumer:
      return "consumer";
    default:
      return {};
  }
}

// Floors: the start of a span before 1970 rounds down as any other.
int64_t Micros(int64_t ns) { return ns / 1000 - (ns % 1000 < 0 ? 1 : 0); }

void AppendReference(std::string_view type, const TraceId& trace, const SpanId& span, bool* first,
                     std::string* out) {
  out->append(*first ? "" : ",");
  *first = false;
  out->append(Concat("{\"refType\":\"", type, "\",\"traceID\":\"", JaegerTraceId(trace),
                     "\",\"spanID\":\"", ToString(span), "\"}"));
}

}  // namespace

std::string JaegerTraceId(const TraceId& id) {
  std::string text = ToString(id);
  if (text.starts_with("0000000000000000")) text.erase(0, 16);
  return text;
}

bool ParseJaegerTraceId(std::string_view text, TraceId* out) {
  if (const auto id = ParseTraceId(text)) {
    *out = *id;
    return true;
  }
  std::string bytes;
  if (text.size() > 24 || !otlp::DecodeBase64(text, &bytes)) return false;
  if (bytes.size() != 16 && bytes.size() != 8) return false;
  out->bytes.fill(0);
  std::copy(bytes.begin(), bytes.end(), out->bytes.end() - static_cast<ptrdiff_t>(bytes.size()));
  return true;
}

std::string_view JaegerServiceName(AttributesView resource) {
  const ValueView* const name = FindAttribute(resource, "service.name");
  if (name == nullptr) return "missing-service-name";
  if (name->type != ValueType::kString) return "service-name-wrong-type";
  return name->text.empty() ? "empty-service-name" : name->text;
}

JaegerTraceWriter::JaegerTraceWriter(const SpanBatch& batch, std::vector<uint32_t> spans, bool raw)
    : batch_(batch), spans_(std::move(spans)), raw_(raw), process_of_(batch.resources().size()) {}

uint32_t JaegerTraceWriter::ProcessOf(uint32_t resource) {
  if (process_of_[resource] == 0) {
    processes_.push_back(resource);
    process_of_[resource] = static_cast<uint32_t>(processes_.size());
  }
  return process_of_[resource];
}

void JaegerTraceWriter::WriteSpan(const SpanBatch::Span& span, std::string* out) {
  const SpanBatch::Scope& scope = batch_.scopes()[span.scope];
  out->append(Concat("{\"traceID\":\"", JaegerTraceId(span.trace_id), "\",\"spanID\":\"",
                     ToString(span.span_id), "\","));
  // The low byte is W3C's; Jaeger's own flags have the same lowest bit.
  if ((span.flags & 0xff) != 0) out->append(Concat("\"flags\":", span.flags & 0xff, ","));
  out->append("\"operationName\":");
  json::AppendString(span.name.empty() ? "empty-span-name" : span.name, out);
  out->append(",\"references\":[");
  bool first = true;
  if (!span.parent_id.empty()) {
    AppendReference("CHILD_OF", span.trace_id, span.parent_id, &first, out);
  }
  for (const SpanBatch::Link& link : batch_.links(span)) {
    if (!raw_ && (link.trace_id.empty() || link.span_id.empty())) continue;
    const ValueView* const type =
        FindAttribute(batch_.attributes(link.attributes), "opentracing.ref_type");
    const bool child_of = type != nullptr && type->text == "child_of";
    AppendReference(child_of ? "CHILD_OF" : "FOLLOWS_FROM", link.trace_id, link.span_id, &first,
                    out);
  }
  // A duration is never negative, and what took no time took at least a moment.
  const uint64_t duration_ns =
      span.end_ns > span.start_ns
          ? static_cast<uint64_t>(span.end_ns) - static_cast<uint64_t>(span.start_ns)
          : 0;
  out->append(Concat("],\"startTime\":", Micros(span.start_ns),
                     ",\"duration\":", duration_ns / 1000, ",\"tags\":["));
  first = true;
  if (!scope.name.empty()) AppendStringTag("otel.scope.name", scope.name, &first, out);
  if (!scope.version.empty()) AppendStringTag("otel.scope.version", scope.version, &first, out);
  for (const AttributeView& attribute : batch_.attributes(span.attributes)) {
    AppendAttribute(attribute, &first, out);
  }
  if (const std::string_view kind = KindText(span.kind); !kind.empty()) {
    AppendStringTag("span.kind", kind, &first, out);
  }
  if (span.status == SpanStatus::kOk) AppendStringTag("otel.status_code", "OK", &first, out);
  if (span.status == SpanStatus::kError) {
    AppendStringTag("otel.status_code", "ERROR", &first, out);
    AppendTag("error", "bool", "true", &first, out);
  }
  if (!span.status_message.empty()) {
    AppendStringTag("otel.status_description", span.status_message, &first, out);
  }
  if (!span.trace_state.empty()) AppendStringTag("w3c.tracestate", span.trace_state, &first, out);
  out->append("],\"logs\":[");
  bool first_log = true;
  for (const SpanBatch::Event& event : batch_.events(span)) {
    out->append(
        Concat(first_log ? "" : ",", "{\"timestamp\":", Micros(event.time_ns), ",\"fields\":["));
    first_log = false;
    first = true;
    if (!event.name.empty()) AppendStringTag("event", event.name, &first, out);
    for (const AttributeView& attribute : batch_.attributes(event.attributes)) {
      AppendAttribute(attribute, &first, out);
    }
    out->append("]}");
  }
  out->append(Concat("],\"processID\":\"p", ProcessOf(scope.resource), "\",\"warnings\":null}"));
}

bool JaegerTraceWriter::Next(size_t bytes_hint, std::string* out) {
  if (done_) return false;
  const size_t begin = out->size();
  if (!opened_) {
    opened_ = true;
    out->append("{\"traceID\":\"");
    if (!spans_.empty()) out->append(JaegerTraceId(batch_.spans()[spans_[0]].trace_id));
    out->append("\",\"spans\":[");
  }
  for (; at_ < spans_.size() && out->size() - begin < bytes_hint; ++at_) {
    if (at_ > 0) out->push_back(',');
    WriteSpan(batch_.spans()[spans_[at_]], out);
  }
  if (at_ < spans_.size()) return true;
  out->append("],\"processes\":{");
  for (size_t i = 0; i < processes_.size(); ++i) {
    const AttributesView attributes =
        batch_.attributes(batch_.resources()[processes_[i]].attributes);
    out->append(Concat(i == 0 ? "" : ",", "\"p", i + 1, "\":{\"serviceName\":"));
    json::AppendString(JaegerServiceName(attributes), out);
    out->append(",\"tags\":[");
    bool first = true;
    for (const AttributeView& attribute : attributes) {
      if (attribute.key != "service.name") AppendAttribute(attribute, &first, out);
    }
    out->append("]}");
  }
  out->append("},\"warnings\":null}");
  done_ = true;
  return false;
}

std::vector<TraceSpans> GroupByTrace(const SpanBatch& batch, const std::vector<TraceId>& ids) {
  absl::flat_hash_map<TraceId, size_t, TraceIdHash> places;
  std::vector<TraceSpans> all;
  for (const TraceId& id : ids) {
    if (places.emplace(id, all.size()).second) all.push_back({id, {}});
  }
  for (uint32_t i = 0; i < batch.spans().size(); ++i) {
    const auto found = places.find(batch.spans()[i].trace_id);
    if (found != places.end()) all[found->second].spans.push_back(i);
  }
  std::erase_if(all, [](const TraceSpans& trace) { return trace.spans.empty(); });
  return all;
}

std::vector<TraceSpans> GroupByTrace(const SpanBatch& batch) {
  std::vector<TraceId> ids;
  for (const SpanBatch::Span& span : batch.spans()) {
    if (ids.empty() || ids.back() != span.trace_id) ids.push_back(span.trace_id);
  }
  return GroupByTrace(batch, ids);
}

}  // namespace varve::tracing
