#include "tools/tracing/jaeger_model.h"

#include <limits>

#include "engine/base/strings.h"

namespace varve::tracing {
namespace {

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

}  // namespace

void JaegerSpan::Clear() {
  trace_id = {};
  span_id = {};
  parent_id = {};
  operation = {};
  flags = 0;
  start_ns = duration_ns = 0;
  references.clear();
  tags.clear();
  logs.clear();
  fields.clear();
}

SpanKind ParseKind(std::string_view text) {
  if (EqualsIgnoreCase(text, "server")) return SpanKind::kServer;
  if (EqualsIgnoreCase(text, "client")) return SpanKind::kClient;
  if (EqualsIgnoreCase(text, "producer")) return SpanKind::kProducer;
  if (EqualsIgnoreCase(text, "consumer")) return SpanKind::kConsumer;
  if (EqualsIgnoreCase(text, "internal")) return SpanKind::kInternal;
  return SpanKind::kUnspecified;
}

int64_t AddClamped(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a > 0 ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
}

int64_t MicrosToNs(int64_t micros) {
  int64_t ns = 0;
  if (!__builtin_mul_overflow(micros, int64_t{1000}, &ns)) return ns;
  return micros > 0 ? std::numeric_limits<int64_t>::max() : std::numeric_limits<int64_t>::min();
}

uint32_t JaegerBuilder::AddProcess(std::string_view service, std::span<const AttributeView> tags) {
  attributes_.clear();
  attributes_.push_back({"service.name", ValueView::String(service)});
  attributes_.insert(attributes_.end(), tags.begin(), tags.end());
  processes_.emplace_back(out_.AddResource(attributes_), std::vector<Scope>());
  return static_cast<uint32_t>(processes_.size() - 1);
}

void JaegerBuilder::AddSpan(uint32_t process, const JaegerSpan& span) {
  SpanBatch::Span out;
  out.trace_id = span.trace_id;
  out.span_id = span.span_id;
  out.parent_id = span.parent_id;
  out.name = span.operation;
  out.flags = span.flags & 0xff;
  out.start_ns = span.start_ns;
  out.end_ns = AddClamped(span.start_ns, span.duration_ns > 0 ? span.duration_ns : 0);

  std::string_view scope_name;
  std::string_view scope_version;
  attributes_.clear();
  bool error = false;
  for (const AttributeView& tag : span.tags) {
    const bool is_text = tag.value.type == ValueType::kString;
    if (tag.key == "span.kind" && is_text && ParseKind(tag.value.text) != SpanKind::kUnspecified) {
      out.kind = ParseKind(tag.value.text);
    } else if (tag.key == "otel.status_code" && is_text && tag.value.text == "OK") {
      out.status = SpanStatus::kOk;
    } else if (tag.key == "otel.status_code" && is_text && tag.value.text == "ERROR") {
      error = true;
    } else if (tag.key == "otel.status_description" && is_text) {
      out.status_message = tag.value.text;
    } else if (tag.key == "error" && ((tag.value.type == ValueType::kBool && tag.value.boolean) ||
                                      (is_text && tag.value.text == "true"))) {
      error = true;
    } else if (tag.key == "w3c.tracestate" && is_text) {
      out.trace_state = tag.value.text;
    } else if ((tag.key == "otel.scope.name" || tag.key == "otel.library.name") && is_text) {
      scope_name = tag.value.text;
    } else if ((tag.key == "otel.scope.version" || tag.key == "otel.library.version") && is_text) {
      scope_version = tag.value.text;
    } else {
      attributes_.push_back(tag);
    }
  }
  if (error) out.status = SpanStatus::kError;

  std::vector<Scope>& scopes = processes_[process].second;
  bool found = false;
  // The newest are likely; and hostile input with a scope a span stays linear.
  for (size_t i = scopes.size(); i > 0 && scopes.size() - i < 16 && !found; --i) {
    if (scopes[i - 1].name == scope_name && scopes[i - 1].version == scope_version) {
      out.scope = scopes[i - 1].index;
      found = true;
    }
  }
  if (!found) {
    out.scope = out_.AddScope(processes_[process].first, scope_name, scope_version);
    scopes.push_back({scope_name, scope_version, out.scope});
  }

  const JaegerReference* parent = nullptr;
  if (out.parent_id.empty()) {
    for (const JaegerReference& reference : span.references) {
      if (reference.child_of && reference.trace_id == span.trace_id && !reference.span_id.empty()) {
        parent = &reference;
        out.parent_id = reference.span_id;
        break;
      }
    }
  }
  out_.AddSpan(out, attributes_);
  for (const JaegerLog& log : span.logs) {
    std::string_view name;
    attributes_.clear();
    for (uint32_t i = 0; i < log.fields_count; ++i) {
      const AttributeView& field = span.fields[log.fields_begin + i];
      if (field.key == "event" && field.value.type == ValueType::kString && name.empty()) {
        name = field.value.text;
      } else {
        attributes_.push_back(field);
      }
    }
    out_.AddEvent(log.time_ns, name, attributes_);
  }
  for (const JaegerReference& reference : span.references) {
    const bool same_as_parent = reference.child_of && reference.trace_id == span.trace_id &&
                                reference.span_id == out.parent_id;
    if (&reference == parent || same_as_parent) continue;
    SpanBatch::Link link;
    link.trace_id = reference.trace_id;
    link.span_id = reference.span_id;
    const AttributeView child_of[] = {{"opentracing.ref_type", ValueView::String("child_of")}};
    out_.AddLink(link, reference.child_of ? AttributesView(child_of) : AttributesView());
  }
}

}  // namespace varve::tracing
