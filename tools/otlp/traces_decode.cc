#include "engine/base/strings.h"
#include "tools/otlp/decode_common.h"
#include "tools/otlp/traces.h"

namespace varve::otlp {
namespace {

class TraceDecoder {
 public:
  TraceDecoder(SpanBatch* out, DecodeReport* report, WireFault* fault)
      : out_(*out), report_(*report), fault_(fault) {}

  bool Request(std::string_view wire) {
    return ForEachMessage(wire, fault_, "ExportTraceServiceRequest", 1,
                          [&](std::string_view message) { return ResourceSpans(message); });
  }

 private:
  bool ResourceSpans(std::string_view wire) {
    resource_.Clear();
    std::string_view schema_url;
    if (!ReadLevel(wire, fault_, "ResourceSpans", &schema_url, [&](std::string_view bytes) {
          return ReadResource(bytes, fault_, &resource_);
        })) {
      return false;
    }
    WireReader level(wire, fault_, "ResourceSpans");
    if (!Count(resource_.attributes.size() + 1, level)) return false;
    const uint32_t resource =
        out_.AddResource(resource_.attributes, schema_url, resource_.dropped_attributes);
    return ForEachMessage(wire, fault_, "ResourceSpans", 2,
                          [&](std::string_view message) { return ScopeSpans(message, resource); });
  }

  bool ScopeSpans(std::string_view wire, uint32_t resource) {
    scope_.Clear();
    std::string_view schema_url;
    if (!ReadLevel(wire, fault_, "ScopeSpans", &schema_url,
                   [&](std::string_view bytes) { return ReadScope(bytes, fault_, &scope_); })) {
      return false;
    }
    WireReader level(wire, fault_, "ScopeSpans");
    if (!Count(scope_.attributes.size() + 1, level)) return false;
    const uint32_t scope = out_.AddScope(resource, scope_.name, scope_.version, scope_.attributes,
                                         schema_url, scope_.dropped_attributes);
    return ForEachMessage(wire, fault_, "ScopeSpans", 2,
                          [&](std::string_view message) { return Span(message, scope); });
  }

  bool Span(std::string_view wire, uint32_t scope) {
    SpanBatch::Span span;
    span.scope = scope;
    attributes_.clear();
    events_.clear();
    links_.clear();
    WireReader reader(wire, fault_, "Span");
    while (reader.Next()) {
      std::string_view message;
      uint64_t number;
      switch (reader.field()) {
        case 1:
          if (!ReadId(&reader, &span.trace_id)) return false;
          break;
        case 2:
          if (!ReadId(&reader, &span.span_id)) return false;
          break;
        case 3:
          if (!reader.Bytes(&span.trace_state)) return false;
          break;
        case 4:
          if (!ReadId(&reader, &span.parent_id)) return false;
          break;
        case 5:
          if (!reader.Bytes(&span.name)) return false;
          break;
        case 6:
          if (!reader.Varint(&number)) return false;
          span.kind = number <= 5 ? static_cast<SpanKind>(number) : SpanKind::kUnspecified;
          break;
        case 7:
          if (!reader.Fixed64(&number)) return false;
          span.start_ns = TimeOf(number);
          break;
        case 8:
          if (!reader.Fixed64(&number)) return false;
          span.end_ns = TimeOf(number);
          break;
        case 9:
          if (!reader.Bytes(&message) || !Count(1, reader) ||
              !ReadAttribute(message, fault_, &attributes_.emplace_back())) {
            return false;
          }
          break;
        case 10:
          if (!reader.Uint32(&span.dropped_attributes)) return false;
          break;
        case 11:
          if (!reader.Bytes(&message) || !Count(1, reader)) return false;
          events_.push_back(message);
          break;
        case 12:
          if (!reader.Uint32(&span.dropped_events)) return false;
          break;
        case 13:
          if (!reader.Bytes(&message) || !Count(1, reader)) return false;
          links_.push_back(message);
          break;
        case 14:
          if (!reader.Uint32(&span.dropped_links)) return false;
          break;
        case 15:
          if (!reader.Bytes(&message) || !SpanStatus(message, &span)) return false;
          break;
        case 16:
          if (!reader.Fixed32(&span.flags)) return false;
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    if (!fault_->ok()) return false;
    if (span.trace_id.empty() || span.span_id.empty()) {
      if (report_.rejected++ == 0) {
        report_.message = Concat("span \"", span.name.substr(0, 100), "\" has no ",
                                 span.trace_id.empty() ? "trace id" : "span id");
      }
      return true;
    }
    if (!Count(1, reader)) return false;
    out_.AddSpan(span, attributes_);
    for (const std::string_view event : events_) {
      if (!Event(event)) return false;
    }
    for (const std::string_view link : links_) {
      if (!Link(link)) return false;
    }
    return true;
  }

  bool SpanStatus(std::string_view wire, SpanBatch::Span* span) {
    WireReader reader(wire, fault_, "Status");
    while (reader.Next()) {
      uint64_t code;
      switch (reader.field()) {
        case 2:
          if (!reader.Bytes(&span->status_message)) return false;
          break;
        case 3:
          if (!reader.Varint(&code)) return false;
          span->status = code <= 2 ? static_cast<varve::SpanStatus>(code) : SpanStatus::kUnset;
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    return fault_->ok();
  }

  bool Event(std::string_view wire) {
    SpanBatch::Event event;
    attributes_.clear();
    WireReader reader(wire, fault_, "Event");
    while (reader.Next()) {
      std::string_view message;
      uint64_t time;
      switch (reader.field()) {
        case 1:
          if (!reader.Fixed64(&time)) return false;
          event.time_ns = TimeOf(time);
          break;
        case 2:
          if (!reader.Bytes(&event.name)) return false;
          break;
        case 3:
          if (!reader.Bytes(&message) || !Count(1, reader) ||
              !ReadAttribute(message, fault_, &attributes_.emplace_back())) {
            return false;
          }
          break;
        case 4:
          if (!reader.Uint32(&event.dropped_attributes)) return false;
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    if (!fault_->ok()) return false;
    out_.AddEvent(event.time_ns, event.name, attributes_, event.dropped_attributes);
    return true;
  }

  bool Link(std::string_view wire) {
    SpanBatch::Link link;
    attributes_.clear();
    WireReader reader(wire, fault_, "Link");
    while (reader.Next()) {
      std::string_view message;
      switch (reader.field()) {
        case 1:
          if (!ReadId(&reader, &link.trace_id)) return false;
          break;
        case 2:
          if (!ReadId(&reader, &link.span_id)) return false;
          break;
        case 3:
          if (!reader.Bytes(&link.trace_state)) return false;
          break;
        case 4:
          if (!reader.Bytes(&message) || !Count(1, reader) ||
              !ReadAttribute(message, fault_, &attributes_.emplace_back())) {
            return false;
          }
          break;
        case 5:
          if (!reader.Uint32(&link.dropped_attributes)) return false;
          break;
        case 6:
          if (!reader.Fixed32(&link.flags)) return false;
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    if (!fault_->ok()) return false;
    out_.AddLink(link, attributes_);
    return true;
  }

  bool Count(size_t elements, WireReader& reader) {
    elements_ += elements;
    if (elements_ <= kElementsMax) [[likely]]
      return true;
    return reader.Fail(Concat("more than ", kElementsMax, " spans, attributes, events and links"));
  }

  SpanBatch& out_;
  DecodeReport& report_;
  WireFault* const fault_;
  size_t elements_ = 0;
  ResourceParts resource_;
  ScopeParts scope_;
  std::vector<AttributeView> attributes_;
  std::vector<std::string_view> events_;
  std::vector<std::string_view> links_;
};

}  // namespace

Status DecodeTraces(std::string_view wire, SpanBatch* out, DecodeReport* report) {
  WireFault fault;
  fault.body = wire.data();
  TraceDecoder decoder(out, report, &fault);
  if (decoder.Request(wire)) return absl::OkStatus();
  return StatusOf(fault);
}

}  // namespace varve::otlp
