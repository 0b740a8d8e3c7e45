#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/base/any_value.h"
#include "tools/otlp/base64.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/json/writer.h"

namespace varve::otlp {
namespace {

constexpr int kValueDepthMax = 64;

template <typename Id>
std::string_view BytesOf(const Id& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

// --- JSON ---

template <typename Id>
void AppendHex(const Id& id, std::string* out) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const uint8_t byte : id.bytes) {
    out->push_back(kHex[byte >> 4]);
    out->push_back(kHex[byte & 15]);
  }
}

void AppendValue(const ValueView& value, int depth, std::string* out) {
  out->push_back('{');
  switch (value.type) {
    case ValueType::kEmpty:
      break;
    case ValueType::kString:
      out->append("\"stringValue\":");
      json::AppendString(value.text, out);
      break;
    case ValueType::kBool:
      out->append(value.boolean ? "\"boolValue\":true" : "\"boolValue\":false");
      break;
    case ValueType::kInt:
      out->append("\"intValue\":\"").append(std::to_string(value.integer)).push_back('"');
      break;
    case ValueType::kDouble:
      out->append("\"doubleValue\":");
      if (std::isnan(value.number)) {
        out->append("\"NaN\"");
      } else if (std::isinf(value.number)) {
        out->append(value.number < 0 ? "\"-Infinity\"" : "\"Infinity\"");
      } else {
        json::AppendFloat(value.number, out);
      }
      break;
    case ValueType::kBytes:
      out->append("\"bytesValue\":\"");
      EncodeBase64(value.text, out);
      out->push_back('"');
      break;
    case ValueType::kArray: {
      if (depth == 0) break;
      out->append("\"arrayValue\":{\"values\":[");
      std::string_view wire = value.text;
      ValueView element;
      bool malformed = false;
      for (bool first = true; NextElement(&wire, &element, &malformed); first = false) {
        if (!first) out->push_back(',');
        AppendValue(element, depth - 1, out);
      }
      out->append("]}");
      break;
    }
    case ValueType::kMap: {
      if (depth == 0) break;
      out->append("\"kvlistValue\":{\"values\":[");
      std::string_view wire = value.text;
      AttributeView entry;
      bool malformed = false;
      for (bool first = true; NextEntry(&wire, &entry, &malformed); first = false) {
        out->append(first ? "{\"key\":" : ",{\"key\":");
        json::AppendString(entry.key, out);
        out->append(",\"value\":");
        AppendValue(entry.value, depth - 1, out);
        out->push_back('}');
      }
      out->append("]}");
      break;
    }
  }
  out->push_back('}');
}

// Writes the members of an object; knows whether a comma is due.
class Members {
 public:
  explicit Members(std::string* out) : out_(out) { out_->push_back('{'); }
  ~Members() { out_->push_back('}'); }
  Members(const Members&) = delete;
  Members& operator=(const Members&) = delete;

  std::string* Key(std::string_view key) {
    if (!first_) out_->push_back(',');
    first_ = false;
    out_->push_back('"');
    out_->append(key).append("\":");
    return out_;
  }
  void Text(std::string_view key, std::string_view text) {
    if (!text.empty()) json::AppendString(text, Key(key));
  }
  void Number(std::string_view key, uint64_t number) {
    if (number != 0) Key(key)->append(std::to_string(number));
  }
  void Time(std::string_view key, int64_t ns) {
    Key(key)->push_back('"');
    out_->append(std::to_string(ns)).push_back('"');
  }
  template <typename Id>
  void Hex(std::string_view key, const Id& id) {
    Key(key)->push_back('"');
    AppendHex(id, out_);
    out_->push_back('"');
  }
  template <typename Id>
  void Base64(std::string_view key, const Id& id) {
    Key(key)->push_back('"');
    EncodeBase64(BytesOf(id), out_);
    out_->push_back('"');
  }
  template <typename Id>
  void AnyId(std::string_view key, const Id& id, bool base64) {
    if (base64) {
      Base64(key, id);
    } else {
      Hex(key, id);
    }
  }
  void Attributes(AttributesView attributes) {
    if (attributes.empty()) return;
    Key("attributes")->push_back('[');
    for (size_t i = 0; i < attributes.size(); ++i) {
      out_->append(i == 0 ? "{\"key\":" : ",{\"key\":");
      json::AppendString(attributes[i].key, out_);
      out_->append(",\"value\":");
      AppendValue(attributes[i].value, kValueDepthMax, out_);
      out_->push_back('}');
    }
    out_->push_back(']');
  }

 private:
  std::string* out_;
  bool first_ = true;
};

void WriteJsonResource(const SpanBatch& batch, const SpanBatch::Resource& resource,
                       std::string* out) {
  Members members(out);
  members.Attributes(batch.attributes(resource.attributes));
  members.Number("droppedAttributesCount", resource.dropped_attributes);
}

void WriteJsonScope(const SpanBatch& batch, const SpanBatch::Scope& scope, std::string* out) {
  Members members(out);
  members.Text("name", scope.name);
  members.Text("version", scope.version);
  members.Attributes(batch.attributes(scope.attributes));
  members.Number("droppedAttributesCount", scope.dropped_attributes);
}

// --- Protobuf ---

void AppendAttributes(uint32_t field, AttributesView attributes, std::string* out) {
  for (const AttributeView& attribute : attributes) {
    const Submessage message(field, out);
    EncodeKeyValue(attribute, out);
  }
}

void AppendSpanWire(const SpanBatch& batch, const SpanBatch::Span& span, std::string* out) {
  const Submessage message(2, out);
  AppendBytesField(1, BytesOf(span.trace_id), out);
  AppendBytesField(2, BytesOf(span.span_id), out);
  AppendTextUnlessEmpty(3, span.trace_state, out);
  if (!span.parent_id.empty()) AppendBytesField(4, BytesOf(span.parent_id), out);
  AppendTextUnlessEmpty(5, span.name, out);
  AppendVarintUnlessZero(6, static_cast<uint64_t>(span.kind), out);
  AppendFixed64Field(7, static_cast<uint64_t>(span.start_ns), out);
  AppendFixed64Field(8, static_cast<uint64_t>(span.end_ns), out);
  AppendAttributes(9, batch.attributes(span.attributes), out);
  AppendVarintUnlessZero(10, span.dropped_attributes, out);
  for (const SpanBatch::Event& event : batch.events(span)) {
    const Submessage inner(11, out);
    AppendFixed64Field(1, static_cast<uint64_t>(event.time_ns), out);
    AppendTextUnlessEmpty(2, event.name, out);
    AppendAttributes(3, batch.attributes(event.attributes), out);
    AppendVarintUnlessZero(4, event.dropped_attributes, out);
  }
  AppendVarintUnlessZero(12, span.dropped_events, out);
  for (const SpanBatch::Link& link : batch.links(span)) {
    const Submessage inner(13, out);
    AppendBytesField(1, BytesOf(link.trace_id), out);
    AppendBytesField(2, BytesOf(link.span_id), out);
    AppendTextUnlessEmpty(3, link.trace_state, out);
    AppendAttributes(4, batch.attributes(link.attributes), out);
    AppendVarintUnlessZero(5, link.dropped_attributes, out);
    if (link.flags != 0) AppendFixed32Field(6, link.flags, out);
  }
  AppendVarintUnlessZero(14, span.dropped_links, out);
  if (span.status != SpanStatus::kUnset || !span.status_message.empty()) {
    const Submessage inner(15, out);
    AppendTextUnlessEmpty(2, span.status_message, out);
    AppendVarintUnlessZero(3, static_cast<uint64_t>(span.status), out);
  }
  if (span.flags != 0) AppendFixed32Field(16, span.flags, out);
}

std::vector<uint32_t> AllOf(const SpanBatch& batch) {
  std::vector<uint32_t> spans(batch.spans().size());
  std::iota(spans.begin(), spans.end(), 0);
  return spans;
}

// Spans in one ResourceSpans of protobuf: its length stands in front, so it must stand in memory.
constexpr size_t kWireSpansMax = 1024;
constexpr size_t kWireBytesMax = 1 << 20;

}  // namespace

void AppendJsonValue(const ValueView& value, std::string* out) {
  AppendValue(value, kValueDepthMax, out);
}

TraceWriter::TraceWriter(Format format, const SpanBatch& batch)
    : TraceWriter(format, batch, AllOf(batch)) {}

TraceWriter::TraceWriter(Format format, const SpanBatch& batch, std::vector<uint32_t> spans)
    : format_(format), batch_(batch), spans_(std::move(spans)) {
  std::ranges::stable_sort(spans_, [&](uint32_t a, uint32_t b) {
    const uint32_t x = batch.spans()[a].scope;
    const uint32_t y = batch.spans()[b].scope;
    const uint32_t rx = batch.scopes()[x].resource;
    const uint32_t ry = batch.scopes()[y].resource;
    return rx != ry ? rx < ry : x < y;
  });
}

void TraceWriter::WriteJsonSpan(const SpanBatch::Span& span, std::string* out) {
  Members members(out);
  const bool tempo = format_ == Format::kTempo;
  members.AnyId("traceId", span.trace_id, tempo);
  members.AnyId("spanId", span.span_id, tempo);
  members.Text("traceState", span.trace_state);
  if (!span.parent_id.empty()) members.AnyId("parentSpanId", span.parent_id, tempo);
  members.Number("flags", span.flags);
  members.Text("name", span.name);
  if (tempo) {
    constexpr std::string_view kKinds[] = {"",
                                           "SPAN_KIND_INTERNAL",
                                           "SPAN_KIND_SERVER",
                                           "SPAN_KIND_CLIENT",
                                           "SPAN_KIND_PRODUCER",
                                           "SPAN_KIND_CONSUMER"};
    members.Text("kind", kKinds[static_cast<size_t>(span.kind)]);
  } else {
    members.Number("kind", static_cast<uint64_t>(span.kind));
  }
  members.Time("startTimeUnixNano", span.start_ns);
  members.Time("endTimeUnixNano", span.end_ns);
  members.Attributes(batch_.attributes(span.attributes));
  members.Number("droppedAttributesCount", span.dropped_attributes);
  if (span.events.count != 0) {
    members.Key("events")->push_back('[');
    bool first = true;
    for (const SpanBatch::Event& event : batch_.events(span)) {
      if (!first) out->push_back(',');
      first = false;
      Members inner(out);
      inner.Time("timeUnixNano", event.time_ns);
      inner.Text("name", event.name);
      inner.Attributes(batch_.attributes(event.attributes));
      inner.Number("droppedAttributesCount", event.dropped_attributes);
    }
    out->push_back(']');
  }
  members.Number("droppedEventsCount", span.dropped_events);
  if (span.links.count != 0) {
    members.Key("links")->push_back('[');
    bool first = true;
    for (const SpanBatch::Link& link : batch_.links(span)) {
      if (!first) out->push_back(',');
      first = false;
      Members inner(out);
      inner.AnyId("traceId", link.trace_id, tempo);
      inner.AnyId("spanId", link.span_id, tempo);
      inner.Text("traceState", link.trace_state);
      inner.Attributes(batch_.attributes(link.attributes));
      inner.Number("droppedAttributesCount", link.dropped_attributes);
      inner.Number("flags", link.flags);
    }
    out->push_back(']');
  }
  members.Number("droppedLinksCount", span.dropped_links);
  members.Key("status");
  Members status(out);
  status.Text("message", span.status_message);
  if (tempo) {
    constexpr std::string_view kCodes[] = {"", "STATUS_CODE_OK", "STATUS_CODE_ERROR"};
    status.Text("code", kCodes[static_cast<size_t>(span.status)]);
  } else {
    status.Number("code", static_cast<uint64_t>(span.status));
  }
}

bool TraceWriter::Next(size_t bytes_hint, std::string* out) {
  if (done_) return false;
  const size_t begin = out->size();
  if (format_ == Format::kProtobuf) {
    while (at_ < spans_.size() && out->size() - begin < bytes_hint) NextResourceWire(out);
    done_ = at_ == spans_.size();
    return !done_;
  }
  if (!opened_) {
    opened_ = true;
    out->append("{\"resourceSpans\":[");
  }
  const auto scope_at = [&](size_t i) { return batch_.spans()[spans_[i]].scope; };
  const auto resource_at = [&](size_t i) { return batch_.scopes()[scope_at(i)].resource; };
  // A scope's and a resource's schema URL are written behind its spans.
  const auto close_scope = [&](size_t i) {
    out->push_back(']');
    const std::string_view url = batch_.scopes()[scope_at(i)].schema_url;
    if (!url.empty()) {
      out->append(",\"schemaUrl\":");
      json::AppendString(url, out);
    }
    out->push_back('}');
  };
  const auto close_resource = [&](size_t i) {
    out->push_back(']');
    const std::string_view url = batch_.resources()[resource_at(i)].schema_url;
    if (!url.empty()) {
      out->append(",\"schemaUrl\":");
      json::AppendString(url, out);
    }
    out->push_back('}');
  };
  while (at_ < spans_.size() && out->size() - begin < bytes_hint) {
    const bool new_resource = at_ == 0 || resource_at(at_) != resource_at(at_ - 1);
    const bool new_scope = new_resource || scope_at(at_) != scope_at(at_ - 1);
    if (new_scope && at_ > 0) close_scope(at_ - 1);
    if (new_resource) {
      if (at_ > 0) {
        close_resource(at_ - 1);
        out->push_back(',');
      }
      out->append("{\"resource\":");
      WriteJsonResource(batch_, batch_.resources()[resource_at(at_)], out);
      out->append(",\"scopeSpans\":[");
    }
    if (new_scope) {
      if (!new_resource) out->push_back(',');
      out->append("{\"scope\":");
      WriteJsonScope(batch_, batch_.scopes()[scope_at(at_)], out);
      out->append(",\"spans\":[");
    } else {
      out->push_back(',');
    }
    WriteJsonSpan(batch_.spans()[spans_[at_]], out);
    ++at_;
  }
  if (at_ < spans_.size()) return true;
  if (at_ > 0) {
    close_scope(at_ - 1);
    close_resource(at_ - 1);
  }
  out->append("]}");
  done_ = true;
  return false;
}

void TraceWriter::NextResourceWire(std::string* out) {
  const auto scope_at = [&](size_t i) { return batch_.spans()[spans_[i]].scope; };
  const uint32_t resource_index = batch_.scopes()[scope_at(at_)].resource;
  const SpanBatch::Resource& resource = batch_.resources()[resource_index];
  const size_t end = std::min(spans_.size(), at_ + kWireSpansMax);
  const size_t begin = out->size();
  const auto full = [&] { return out->size() - begin >= kWireBytesMax; };
  const Submessage resource_spans(1, out);
  {
    const Submessage message(1, out);
    AppendAttributes(1, batch_.attributes(resource.attributes), out);
    AppendVarintUnlessZero(2, resource.dropped_attributes, out);
  }
  for (bool first = true;
       at_ < end && batch_.scopes()[scope_at(at_)].resource == resource_index && (first || !full());
       first = false) {
    const uint32_t scope_index = scope_at(at_);
    const SpanBatch::Scope& scope = batch_.scopes()[scope_index];
    const Submessage scope_spans(2, out);
    {
      const Submessage message(1, out);
      AppendTextUnlessEmpty(1, scope.name, out);
      AppendTextUnlessEmpty(2, scope.version, out);
      AppendAttributes(3, batch_.attributes(scope.attributes), out);
      AppendVarintUnlessZero(4, scope.dropped_attributes, out);
    }
    do {
      AppendSpanWire(batch_, batch_.spans()[spans_[at_]], out);
      ++at_;
    } while (at_ < end && scope_at(at_) == scope_index && !full());
    AppendTextUnlessEmpty(3, scope.schema_url, out);
  }
  AppendTextUnlessEmpty(3, resource.schema_url, out);
}

}  // namespace varve::otlp
