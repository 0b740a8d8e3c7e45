#include "engine/traces/source.h"

namespace varve::traces {

void FoundRows::Clear() {
  columns.trace_ids.clear();
  columns.span_ids.clear();
  columns.starts_ns.clear();
  columns.durations_ns.clear();
  for (auto& column : columns.columns) column.clear();
  kinds.clear();
  owners.clear();
}

void CopySpan(const SpanBatch& from, const SpanBatch::Span& span, uint32_t scope, SpanBatch* to) {
  SpanBatch::Span copy = span;
  copy.scope = scope;
  to->AddSpan(copy, from.attributes(span.attributes));
  for (const SpanBatch::Event& event : from.events(span)) {
    to->AddEvent(event.time_ns, event.name, from.attributes(event.attributes),
                 event.dropped_attributes);
  }
  for (const SpanBatch::Link& link : from.links(span)) {
    to->AddLink(link, from.attributes(link.attributes));
  }
}

bool BatchRow::Find(AttributesView attributes, std::string_view key, ValueView* value) {
  for (const AttributeView& attribute : attributes) {
    if (attribute.key == key) {
      *value = attribute.value;
      return true;
    }
  }
  return false;
}

ValueView BatchRow::Fact(Intrinsic intrinsic) const {
  switch (intrinsic) {
    case Intrinsic::kTraceId:
      return ValueView::Bytes(BytesOf(span_.trace_id));
    case Intrinsic::kSpanId:
      return ValueView::Bytes(BytesOf(span_.span_id));
    case Intrinsic::kParentId:
      return ValueView::Bytes(span_.parent_id.empty() ? std::string_view()
                                                      : BytesOf(span_.parent_id));
    case Intrinsic::kName:
      return ValueView::String(span_.name);
    case Intrinsic::kServiceName: {
      ValueView value;
      if (!Find(resource().attributes, kServiceNameKey, &value)) return ValueView::String("");
      return value.type == ValueType::kString ? value : ValueView::String("");
    }
    case Intrinsic::kKind:
      return ValueView::Int(static_cast<int64_t>(span_.kind));
    case Intrinsic::kStatus:
      return ValueView::Int(static_cast<int64_t>(span_.status));
    case Intrinsic::kStatusMessage:
      return ValueView::String(span_.status_message);
    case Intrinsic::kStart:
      return ValueView::Int(span_.start_ns);
    case Intrinsic::kDuration:
      return ValueView::Int(DurationOf(span_.start_ns, span_.end_ns));
    case Intrinsic::kScopeName:
      return ValueView::String(source_.GetScope(span_.scope).name);
    case Intrinsic::kScopeVersion:
      return ValueView::String(source_.GetScope(span_.scope).version);
    default:
      return ValueView();
  }
}

ValueView BatchRow::EventFact(size_t i, Intrinsic intrinsic) const {
  const SpanBatch::Event& event = batch_.events(span_)[i];
  if (intrinsic == Intrinsic::kEventName) return ValueView::String(event.name);
  int64_t after = 0;
  if (__builtin_sub_overflow(event.time_ns, span_.start_ns, &after)) {
    after = event.time_ns < span_.start_ns ? INT64_MIN : INT64_MAX;
  }
  return ValueView::Int(after);
}

ValueView BatchRow::LinkFact(size_t i, Intrinsic intrinsic) const {
  const SpanBatch::Link& link = batch_.links(span_)[i];
  return ValueView::Bytes(intrinsic == Intrinsic::kLinkTraceId ? BytesOf(link.trace_id)
                                                               : BytesOf(link.span_id));
}

bool MatchesAll(const CompiledScan& scan, const BatchRow& row) {
  for (const CompiledPredicate& compiled : scan.predicates) {
    const std::string_view key = compiled.predicate.field.key;
    if (!TestRow(row, compiled, key)) return false;
  }
  return true;
}

void AppendFound(const CompiledScan& scan, const SpanBatch::Span& span, const BatchRow& row,
                 FoundRows* out) {
  out->columns.trace_ids.push_back(span.trace_id);
  out->columns.span_ids.push_back(span.span_id);
  out->columns.starts_ns.push_back(span.start_ns);
  out->columns.durations_ns.push_back(DurationOf(span.start_ns, span.end_ns));
  out->kinds.push_back(span.kind);
  for (size_t c = 0; c < scan.spec.columns.size(); ++c) {
    const SpanField& field = scan.spec.columns[c];
    out->columns.columns[c].push_back(FirstValue(row, field, std::string_view(field.key)));
  }
}

}  // namespace varve::traces
