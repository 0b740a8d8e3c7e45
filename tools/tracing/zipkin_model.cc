#include "tools/tracing/zipkin_model.h"

#include <algorithm>
#include <cstring>

#include "tools/tracing/jaeger_model.h"

namespace varve::tracing {

void ZipkinSpan::Clear() {
  trace_id = {};
  id = parent_id = {};
  kind = SpanKind::kUnspecified;
  name = {};
  timestamp_us = duration_us = 0;
  local = remote = {};
  annotations.clear();
  tags.clear();
  debug = shared = false;
}

SpanId SharedSpanId(const SpanId& id) {
  uint64_t bits;
  std::memcpy(&bits, id.bytes.data(), 8);
  // Invertible, so that two ids never meet; zero is no id.
  bits ^= 0x5bd1e9955bd1e995u;
  bits *= 0x9e3779b97f4a7c15u;
  bits ^= bits >> 32;
  if (bits == 0) bits = 1;
  SpanId out;
  std::memcpy(out.bytes.data(), &bits, 8);
  return out;
}

uint32_t ZipkinBuilder::ScopeOf(std::string_view service) {
  // Bodies hold few services; with many, looking at the newest bounds the cost.
  for (size_t i = scopes_.size(); i > 0 && scopes_.size() - i < 64; --i) {
    if (scopes_[i - 1].first == service) return scopes_[i - 1].second;
  }
  const AttributeView name[] = {{"service.name", ValueView::String(service)}};
  const uint32_t resource =
      out_.AddResource(service.empty() ? AttributesView() : AttributesView(name));
  const uint32_t scope = out_.AddScope(resource, {}, {});
  scopes_.emplace_back(service, scope);
  return scope;
}

void ZipkinBuilder::AddSpan(const ZipkinSpan& span) {
  SpanBatch::Span out;
  out.scope = ScopeOf(span.local.service);
  out.trace_id = span.trace_id;
  out.span_id = span.id;
  out.parent_id = span.parent_id;
  if (span.shared && span.kind == SpanKind::kServer) {
    out.span_id = SharedSpanId(span.id);
    out.parent_id = span.id;
  }
  out.name = span.name;
  out.kind = span.kind;
  int64_t start_us = span.timestamp_us;
  int64_t end_us = AddClamped(start_us, std::max<int64_t>(span.duration_us, 0));
  if (start_us == 0 && !span.annotations.empty()) {
    const auto [first, last] = std::ranges::minmax_element(span.annotations);
    start_us = first->first;
    end_us = last->first;
  }
  out.start_ns = MicrosToNs(start_us);
  out.end_ns = MicrosToNs(end_us);

  attributes_.clear();
  for (const AttributeView& tag : span.tags) {
    if (tag.key == "error") {
      out.status = SpanStatus::kError;
      if (tag.value.type == ValueType::kString && tag.value.text == "false") {
        out.status = SpanStatus::kUnset;
      } else if (tag.value.type == ValueType::kString && tag.value.text != "true") {
        out.status_message = tag.value.text;
      }
      continue;
    }
    attributes_.push_back(tag);
  }
  const auto text = [&](std::string_view key, std::string_view value) {
    if (!value.empty()) attributes_.push_back({key, ValueView::String(value)});
  };
  const auto number = [&](std::string_view key, int64_t value) {
    if (value != 0) attributes_.push_back({key, ValueView::Int(value)});
  };
  text("net.host.ip", span.local.ip);
  number("net.host.port", span.local.port);
  text("peer.service", span.remote.service);
  text("net.peer.ip", span.remote.ip);
  number("net.peer.port", span.remote.port);
  if (span.debug) attributes_.push_back({"zipkin.debug", ValueView::Bool(true)});
  out_.AddSpan(out, attributes_);
  for (const auto& [time_us, value] : span.annotations) {
    out_.AddEvent(MicrosToNs(time_us), value, {});
  }
}

void ZipkinBuilder::AddV1Span(const ZipkinSpan& span,
                              const std::vector<ZipkinV1Annotation>& annotations,
                              const std::vector<ZipkinV1Tag>& tags) {
  struct Side {
    SpanKind kind;
    std::string_view begin;
    std::string_view end;
    const ZipkinV1Annotation* first = nullptr;
    const ZipkinV1Annotation* last = nullptr;
  };
  Side sides[] = {{SpanKind::kClient, "cs", "cr"},
                  {SpanKind::kServer, "sr", "ss"},
                  {SpanKind::kProducer, "ms", ""},
                  {SpanKind::kConsumer, "mr", ""}};
  const auto side_of = [&](std::string_view value) -> Side* {
    if (value.size() != 2) return nullptr;
    for (Side& side : sides) {
      if (value == side.begin || value == side.end) return &side;
    }
    return nullptr;
  };
  for (const ZipkinV1Annotation& annotation : annotations) {
    if (Side* const side = side_of(annotation.value)) {
      (annotation.value == side->begin ? side->first : side->last) = &annotation;
    }
  }
  const auto endpoint_of = [](const Side& side) {
    return side.first != nullptr  ? side.first->endpoint
           : side.last != nullptr ? side.last->endpoint
                                  : ZipkinEndpoint{};
  };
  size_t count = 0;
  for (const Side& side : sides) count += side.first != nullptr || side.last != nullptr ? 1 : 0;
  const bool both = (sides[0].first != nullptr || sides[0].last != nullptr) &&
                    (sides[1].first != nullptr || sides[1].last != nullptr);

  const auto emit = [&](const Side* side) {
    part_ = span;
    part_.tags.clear();
    part_.annotations.clear();
    if (side != nullptr) {
      part_.kind = side->kind;
      part_.local = endpoint_of(*side);
      if (side->first != nullptr && (part_.timestamp_us == 0 || both)) {
        part_.timestamp_us = side->first->time_us;
        part_.duration_us = 0;
      }
      if (side->first != nullptr && side->last != nullptr && part_.duration_us == 0) {
        part_.duration_us = side->last->time_us - side->first->time_us;
      }
      // The server's half of a span that both reported, or of one that says nothing of the client
      // and has its caller's id.
      part_.shared = both && side->kind == SpanKind::kServer;
    }
    const auto is_ours = [&](const ZipkinEndpoint& endpoint) {
      return !both || endpoint.service.empty() || endpoint.service == part_.local.service;
    };
    if (side == nullptr) {
      // A local span: whoever wrote an annotation or tag is where it ran.
      for (const ZipkinV1Annotation& annotation : annotations) {
        if (part_.local.empty()) part_.local = annotation.endpoint;
      }
      for (const ZipkinV1Tag& tag : tags) {
        if (part_.local.empty() && tag.key != "sa" && tag.key != "ca") part_.local = tag.endpoint;
      }
    }
    for (const ZipkinV1Annotation& annotation : annotations) {
      if (side_of(annotation.value) != nullptr || !is_ours(annotation.endpoint)) continue;
      part_.annotations.emplace_back(annotation.time_us, annotation.value);
    }
    for (const ZipkinV1Tag& tag : tags) {
      // Addresses: the server's as the client saw it, and the other way round.
      if (tag.key == "sa" || tag.key == "ca" || tag.key == "ma") {
        const bool names_peer =
            tag.key == "ma" ||
            (tag.key == "sa") == (side == nullptr || side->kind != SpanKind::kServer);
        if (names_peer) part_.remote = tag.endpoint;
        continue;
      }
      if (is_ours(tag.endpoint)) part_.tags.push_back({tag.key, tag.value});
    }
    AddSpan(part_);
  };
  if (count == 0) {
    emit(nullptr);
    return;
  }
  for (const Side& side : sides) {
    if (side.first != nullptr || side.last != nullptr) emit(&side);
  }
}

}  // namespace varve::tracing
