#include "tests/support/memory_trace_snapshot.h"

#include <re2/re2.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "engine/base/any_value.h"
#include "engine/base/macros.h"
#include "engine/base/stray_bytes.h"

namespace varve::testing {
namespace {

using Span = SpanBatch::Span;

template <typename Id>
ValueView IdValue(const Id& id) {
  if (id.empty()) return ValueView::Bytes({});
  return ValueView::Bytes({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
}

/// Tests one scalar value.
bool ValueMatches(const ValueView& value, const SpanPredicate& predicate, const re2::RE2* regex) {
  using Op = SpanPredicate::Op;
  if (value.type == ValueType::kEmpty) return false;
  if (predicate.op == Op::kExists) return true;
  if (predicate.op == Op::kTextEqual) {
    return ToString(value) == std::get<std::string>(predicate.value);
  }
  if (predicate.op == Op::kRegex || predicate.op == Op::kNotRegex) {
    if (value.type != ValueType::kString) return false;
    const bool matches = AcceptsText(value.text, [&](std::string_view text) {
      return re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *regex);
    });
    return matches == (predicate.op == Op::kRegex);
  }
  int order = 2;  // neither equal nor ordered
  const auto compare = [&](auto a, auto b) { order = a < b ? -1 : a > b ? 1 : a == b ? 0 : 2; };
  // Ids are bytes; bytes of attributes never equal a string.
  const bool text_like =
      value.type == ValueType::kString ||
      (value.type == ValueType::kBytes && predicate.field.intrinsic != Intrinsic::kNone);
  if (const auto* b = std::get_if<bool>(&predicate.value)) {
    if (value.type == ValueType::kBool) compare(value.boolean, *b);
  } else if (const auto* i = std::get_if<int64_t>(&predicate.value)) {
    if (value.type == ValueType::kInt) compare(value.integer, *i);
    if (value.type == ValueType::kDouble) compare(value.number, static_cast<double>(*i));
  } else if (const auto* d = std::get_if<double>(&predicate.value)) {
    if (value.type == ValueType::kInt) compare(static_cast<double>(value.integer), *d);
    if (value.type == ValueType::kDouble) compare(value.number, *d);
  } else if (const auto* s = std::get_if<std::string>(&predicate.value)) {
    if (text_like) compare(value.text, std::string_view(*s));
  }
  switch (predicate.op) {
    case Op::kEqual:
      return order == 0;
    case Op::kNotEqual:
      return order != 0;
    case Op::kLess:
      return order == -1;
    case Op::kLessEqual:
      return order == -1 || order == 0;
    case Op::kGreater:
      return order == 1;
    case Op::kGreaterEqual:
      return order == 1 || order == 0;
    default:
      return false;
  }
}

bool Matches(const SpanBatch& batch, const Span& span, const SpanPredicate& predicate,
             const re2::RE2* regex) {
  std::vector<ValueView> values;
  FieldValues(batch, span, predicate.field, &values);
  if (predicate.op == SpanPredicate::Op::kNotExists) return values.empty();
  for (const ValueView& value : values) {
    const bool whole = value.type != ValueType::kArray ||
                       predicate.op == SpanPredicate::Op::kExists ||
                       predicate.op == SpanPredicate::Op::kTextEqual;
    if (whole && ValueMatches(value, predicate, regex)) return true;
    if (value.type != ValueType::kArray) continue;
    std::string_view wire = value.text;
    ValueView element;
    bool malformed = false;
    while (NextElement(&wire, &element, &malformed)) {
      if (ValueMatches(element, predicate, regex)) return true;
    }
  }
  return false;
}

int64_t Difference(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_sub_overflow(a, b, &out)) return a < b ? INT64_MIN : INT64_MAX;
  return out;
}
int64_t DurationOf(const Span& span) {
  return std::max<int64_t>(0, Difference(span.end_ns, span.start_ns));
}

/// What snapshots share.
struct Data {
  SpanBatch spans;
  std::vector<std::vector<uint32_t>> blocks;  // indexes of spans, in the order they are read
  std::map<TraceId, std::vector<uint32_t>> traces;
  size_t batch_rows = 1000;
};

class Cursor final : public SpanCursor {
 public:
  Cursor(std::shared_ptr<const Data> data, SpanScanSpec spec,
         std::vector<std::unique_ptr<re2::RE2>> regexes)
      : data_(std::move(data)), spec_(std::move(spec)), regexes_(std::move(regexes)) {
    for (const auto& block : data_->blocks) order_.push_back(&block);
    std::sort(order_.begin(), order_.end(),
              [&](const auto* a, const auto* b) { return Edge(*a) > Edge(*b); });
    if (!spec_.newest_first) std::reverse(order_.begin(), order_.end());
    stats_.blocks = order_.size();
  }

  Result<bool> Next(SpanColumns* out) override {
    out->trace_ids.clear();
    out->span_ids.clear();
    out->starts_ns.clear();
    out->durations_ns.clear();
    out->columns.resize(spec_.columns.size());
    for (auto& column : out->columns) column.clear();
    std::vector<ValueView> values;
    while (block_ < order_.size() && out->size() < data_->batch_rows) {
      if (row_ == order_[block_]->size()) {
        ++block_;
        row_ = 0;
        continue;
      }
      const Span& span = data_->spans.spans()[(*order_[block_])[row_++]];
      ++stats_.spans;
      if (!spec_.range.Contains(span.start_ns)) continue;
      bool keep = true;
      for (size_t i = 0; keep && i < spec_.predicates.size(); ++i) {
        keep = Matches(data_->spans, span, spec_.predicates[i], regexes_[i].get());
      }
      if (!keep) continue;
      ++stats_.spans_matched;
      out->trace_ids.push_back(span.trace_id);
      out->span_ids.push_back(span.span_id);
      out->starts_ns.push_back(span.start_ns);
      out->durations_ns.push_back(DurationOf(span));
      for (size_t c = 0; c < spec_.columns.size(); ++c) {
        FieldValues(data_->spans, span, spec_.columns[c], &values);
        out->columns[c].push_back(values.empty() ? ValueView() : values[0]);
      }
    }
    // What is left of the current block counts whole.
    out->bound_ns = spec_.newest_first ? kMinTime : kMaxTime;
    for (size_t b = block_; b < order_.size(); ++b) {
      const int64_t edge = Edge(*order_[b]);
      out->bound_ns =
          spec_.newest_first ? std::max(out->bound_ns, edge) : std::min(out->bound_ns, edge);
    }
    return out->size() > 0;
  }

  const SpanScanStats& stats() const override { return stats_; }

 private:
  int64_t Edge(const std::vector<uint32_t>& block) const {
    int64_t edge = spec_.newest_first ? kMinTime : kMaxTime;
    for (const uint32_t i : block) {
      const int64_t start = data_->spans.spans()[i].start_ns;
      edge = spec_.newest_first ? std::max(edge, start) : std::min(edge, start);
    }
    return edge;
  }

  std::shared_ptr<const Data> data_;
  const SpanScanSpec spec_;
  std::vector<std::unique_ptr<re2::RE2>> regexes_;
  std::vector<const std::vector<uint32_t>*> order_;
  size_t block_ = 0;
  size_t row_ = 0;
  SpanScanStats stats_;
};

class MemoryTraceSnapshot final : public TraceSnapshot {
 public:
  explicit MemoryTraceSnapshot(std::shared_ptr<const Data> data) : data_(std::move(data)) {}

  Status GetTrace(const TraceId& id, SpanBatch* out) const override {
    return GetTraces({&id, 1}, 0, out);
  }
  Status GetTraces(std::span<const TraceId> ids, size_t spans_max, SpanBatch* out) const override {
    for (const TraceId& id : ids) {
      const auto found = data_->traces.find(id);
      if (found == data_->traces.end()) continue;
      size_t count = 0;
      for (const uint32_t i : found->second) {
        if (spans_max != 0 && count++ == spans_max) break;
        CopySpan(data_->spans, data_->spans.spans()[i], out);
      }
    }
    return absl::OkStatus();
  }

  Result<std::unique_ptr<SpanCursor>> Scan(const SpanScanSpec& spec) const override {
    std::vector<std::unique_ptr<re2::RE2>> regexes;
    for (const SpanPredicate& predicate : spec.predicates) {
      regexes.push_back(nullptr);
      if (predicate.op != SpanPredicate::Op::kRegex &&
          predicate.op != SpanPredicate::Op::kNotRegex) {
        continue;
      }
      re2::RE2::Options options;
      options.set_log_errors(false);
      options.set_dot_nl(true);
      options.set_encoding(re2::RE2::Options::EncodingUTF8);
      regexes.back() = std::make_unique<re2::RE2>(std::get<std::string>(predicate.value), options);
      if (!regexes.back()->ok()) {
        return MakeStatus(StatusCode::kInvalidArgument, regexes.back()->error());
      }
    }
    return std::make_unique<Cursor>(data_, spec, std::move(regexes));
  }

  Result<LookupResult> Services(NsRange range) const override {
    std::set<std::string> found;
    for (const Span& span : data_->spans.spans()) {
      if (range.Contains(span.start_ns)) found.insert(ServiceOf(span));
    }
    found.erase("");
    LookupResult out;
    out.values.assign(found.begin(), found.end());
    return out;
  }
  Result<std::vector<Operation>> Operations(std::string_view service,
                                            NsRange range) const override {
    std::set<Operation> found;
    for (const Span& span : data_->spans.spans()) {
      if (!range.Contains(span.start_ns)) continue;
      if (!service.empty() && ServiceOf(span) != service) continue;
      found.insert({std::string(span.name), span.kind});
    }
    return std::vector<Operation>(found.begin(), found.end());
  }
  Result<std::vector<TagName>> TagNames(AttributeScope scope, NsRange range) const override {
    std::map<std::pair<AttributeScope, std::string>, uint32_t> found;
    const SpanBatch& batch = data_->spans;
    const auto add = [&](AttributeScope at, SpanBatch::Range attributes) {
      if (scope != AttributeScope::kAny && scope != at) return;
      for (const AttributeView& attribute : batch.attributes(attributes)) {
        found[{at, std::string(attribute.key)}] |= 1u
                                                   << static_cast<uint32_t>(attribute.value.type);
      }
    };
    for (const Span& span : batch.spans()) {
      if (!range.Contains(span.start_ns)) continue;
      add(AttributeScope::kSpan, span.attributes);
      add(AttributeScope::kResource, batch.resource_of(span).attributes);
      add(AttributeScope::kInstrumentation, batch.scopes()[span.scope].attributes);
      for (const auto& event : batch.events(span)) add(AttributeScope::kEvent, event.attributes);
      for (const auto& link : batch.links(span)) add(AttributeScope::kLink, link.attributes);
    }
    std::vector<TagName> out;
    for (const auto& [key, types] : found) out.push_back({key.first, key.second, types});
    return out;
  }
  Result<std::vector<TagValue>> TagValues(const SpanField& field, NsRange range,
                                          size_t limit) const override {
    std::set<TagValue> found;
    std::vector<ValueView> values;
    for (const Span& span : data_->spans.spans()) {
      if (!range.Contains(span.start_ns)) continue;
      FieldValues(data_->spans, span, field, &values);
      for (const ValueView& value : values) found.insert({value.type, ToString(value)});
    }
    std::vector<TagValue> out(found.begin(), found.end());
    if (limit != 0 && out.size() > limit) out.resize(limit);
    return out;
  }
  NsRange time_range() const override {
    NsRange range{kMaxTime, kMinTime};
    for (const Span& span : data_->spans.spans()) {
      range.min_ns = std::min(range.min_ns, span.start_ns);
      range.max_ns = std::max(range.max_ns, span.start_ns);
    }
    return range;
  }

 private:
  std::string ServiceOf(const Span& span) const {
    std::vector<ValueView> values;
    FieldValues(data_->spans, span, {Intrinsic::kServiceName, AttributeScope::kAny, ""}, &values);
    return std::string(values[0].text);
  }

  std::shared_ptr<const Data> data_;
};

/// Copies attributes, bytes included.
std::vector<AttributeView> CopyAttributes(AttributesView attributes, SpanBatch* to) {
  std::vector<AttributeView> out;
  for (AttributeView attribute : attributes) {
    attribute.key = to->Copy(attribute.key);
    attribute.value.text = to->Copy(attribute.value.text);
    out.push_back(attribute);
  }
  return out;
}

}  // namespace

void FieldValues(const SpanBatch& batch, const Span& span, const SpanField& field,
                 std::vector<ValueView>* out) {
  out->clear();
  const auto& scope = batch.scopes()[span.scope];
  const SpanBatch::Range resource = batch.resource_of(span).attributes;
  const auto find = [&](SpanBatch::Range attributes) {
    const ValueView* value = FindAttribute(batch.attributes(attributes), field.key);
    if (value != nullptr && value->type != ValueType::kEmpty) out->push_back(*value);
  };
  switch (field.intrinsic) {
    case Intrinsic::kNone:
      break;
    case Intrinsic::kTraceId:
      return out->push_back(IdValue(span.trace_id));
    case Intrinsic::kSpanId:
      return out->push_back(IdValue(span.span_id));
    case Intrinsic::kParentId:
      return out->push_back(IdValue(span.parent_id));
    case Intrinsic::kName:
      return out->push_back(ValueView::String(span.name));
    case Intrinsic::kServiceName: {
      const ValueView* name = FindAttribute(batch.attributes(resource), "service.name");
      const bool is_text = name != nullptr && name->type == ValueType::kString;
      return out->push_back(ValueView::String(is_text ? name->text : std::string_view()));
    }
    case Intrinsic::kKind:
      return out->push_back(ValueView::Int(static_cast<int64_t>(span.kind)));
    case Intrinsic::kStatus:
      return out->push_back(ValueView::Int(static_cast<int64_t>(span.status)));
    case Intrinsic::kStatusMessage:
      return out->push_back(ValueView::String(span.status_message));
    case Intrinsic::kStart:
      return out->push_back(ValueView::Int(span.start_ns));
    case Intrinsic::kDuration:
      return out->push_back(ValueView::Int(DurationOf(span)));
    case Intrinsic::kScopeName:
      return out->push_back(ValueView::String(scope.name));
    case Intrinsic::kScopeVersion:
      return out->push_back(ValueView::String(scope.version));
    case Intrinsic::kEventName:
    case Intrinsic::kEventTime:
      for (const auto& event : batch.events(span)) {
        out->push_back(field.intrinsic == Intrinsic::kEventName
                           ? ValueView::String(event.name)
                           : ValueView::Int(Difference(event.time_ns, span.start_ns)));
      }
      return;
    case Intrinsic::kLinkTraceId:
      for (const auto& link : batch.links(span)) out->push_back(IdValue(link.trace_id));
      return;
    case Intrinsic::kLinkSpanId:
      for (const auto& link : batch.links(span)) out->push_back(IdValue(link.span_id));
      return;
  }
  const auto wanted = [&](AttributeScope at) {
    return field.scope == at || (field.scope == AttributeScope::kAny && out->empty());
  };
  if (wanted(AttributeScope::kSpan)) find(span.attributes);
  if (wanted(AttributeScope::kResource)) find(resource);
  if (wanted(AttributeScope::kInstrumentation)) find(scope.attributes);
  if (wanted(AttributeScope::kEvent)) {
    for (const auto& event : batch.events(span)) find(event.attributes);
  }
  if (wanted(AttributeScope::kLink)) {
    for (const auto& link : batch.links(span)) find(link.attributes);
  }
}

void CopySpan(const SpanBatch& from, const Span& span, SpanBatch* to) {
  const auto& scope = from.scopes()[span.scope];
  const auto& resource = from.resource_of(span);
  const uint32_t new_resource =
      to->AddResource(CopyAttributes(from.attributes(resource.attributes), to),
                      to->Copy(resource.schema_url), resource.dropped_attributes);
  Span copy = span;
  copy.scope = to->AddScope(new_resource, to->Copy(scope.name), to->Copy(scope.version),
                            CopyAttributes(from.attributes(scope.attributes), to),
                            to->Copy(scope.schema_url), scope.dropped_attributes);
  copy.name = to->Copy(span.name);
  copy.trace_state = to->Copy(span.trace_state);
  copy.status_message = to->Copy(span.status_message);
  to->AddSpan(copy, CopyAttributes(from.attributes(span.attributes), to));
  for (const auto& event : from.events(span)) {
    to->AddEvent(event.time_ns, to->Copy(event.name),
                 CopyAttributes(from.attributes(event.attributes), to), event.dropped_attributes);
  }
  for (SpanBatch::Link link : from.links(span)) {
    link.trace_state = to->Copy(link.trace_state);
    to->AddLink(link, CopyAttributes(from.attributes(link.attributes), to));
  }
}

void CopySpans(const SpanBatch& from, SpanBatch* to) {
  for (const Span& span : from.spans()) CopySpan(from, span, to);
}

MemoryTraceStore::MemoryTraceStore(const Options& options) : options_(options) {}
MemoryTraceStore::~MemoryTraceStore() = default;

void MemoryTraceStore::Append(const SpanBatch& batch) { CopySpans(batch, &spans_); }

std::shared_ptr<const TraceSnapshot> MemoryTraceStore::TakeSnapshot() const {
  auto data = std::make_shared<Data>();
  data->batch_rows = std::max<size_t>(1, options_.batch_rows);
  std::set<std::pair<TraceId, SpanId>> seen;
  for (const Span& span : spans_.spans()) {
    if (seen.emplace(span.trace_id, span.span_id).second) CopySpan(spans_, span, &data->spans);
  }
  const auto& spans = data->spans.spans();
  const size_t block_spans = options_.block_spans == 0 ? spans.size() : options_.block_spans;
  for (uint32_t i = 0; i < spans.size(); ++i) {
    if (i % block_spans == 0) data->blocks.emplace_back();
    data->blocks.back().push_back(i);
    data->traces[spans[i].trace_id].push_back(i);
  }
  for (auto& [id, rows] : data->traces) {
    std::sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(spans[a].start_ns, spans[a].span_id) <
             std::pair(spans[b].start_ns, spans[b].span_id);
    });
  }
  uint64_t state = options_.seed;
  for (auto& block : data->blocks) {
    for (size_t i = block.size(); options_.seed != 0 && i > 1; --i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      std::swap(block[i - 1], block[(state >> 33) % i]);
    }
  }
  return std::make_shared<MemoryTraceSnapshot>(std::move(data));
}

}  // namespace varve::testing
