#include "query/traces/trace_table.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/traces/context.h"

namespace varve::query {
namespace {

using traceql::Field;
using traceql::FieldKind;

/// Subtracts times; what does not fit is the nearest number that does.
int64_t Difference(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_sub_overflow(a, b, &out)) return a < b ? INT64_MIN : INT64_MAX;
  return out;
}
int64_t DurationOf(const SpanBatch::Span& span) {
  return std::max<int64_t>(0, Difference(span.end_ns, span.start_ns));
}

uint64_t KeyOf(const SpanId& id) {
  uint64_t key = 0;
  std::memcpy(&key, id.bytes.data(), sizeof key);
  return key;
}

SpanId SpanIdOf(std::string_view bytes) {
  SpanId id;
  if (bytes.size() == id.bytes.size()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

std::string_view HexOf(std::string_view bytes, Arena* arena) {
  static constexpr char kHex[] = "0123456789abcdef";
  char* out = arena->Allocate(2 * bytes.size());
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    out[2 * i] = kHex[byte >> 4];
    out[2 * i + 1] = kHex[byte & 15];
  }
  return {out, 2 * bytes.size()};
}

template <typename Id>
Val IdVal(const Id& id, Arena* bytes) {
  return Val::String(
      HexOf({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()}, bytes));
}

constexpr uint64_t kBytesPerRow = sizeof(TraceTable::Row) + 64;

}  // namespace

void FieldValues(const SpanBatch& batch, const SpanBatch::Span& span, const Field& field,
                 Arena* bytes, Vals* out) {
  const auto& scope = batch.scopes()[span.scope];
  const SpanBatch::Range resource = batch.resource_of(span).attributes;
  const auto find = [&](SpanBatch::Range attributes, std::string_view key) {
    const ValueView* value = FindAttribute(batch.attributes(attributes), key);
    if (value != nullptr && value->type != ValueType::kEmpty) {
      out->push_back(Val::Of(FieldKind::kAttribute, *value));
    }
  };
  switch (field.kind) {
    case FieldKind::kAttribute:
      break;
    case FieldKind::kDuration:
      return out->push_back(Val::Int(DurationOf(span), Val::Type::kDuration));
    case FieldKind::kName:
      return out->push_back(Val::String(span.name));
    case FieldKind::kStatus:
      return out->push_back(Val::Int(static_cast<int64_t>(span.status), Val::Type::kStatus));
    case FieldKind::kStatusMessage:
      return out->push_back(Val::String(span.status_message));
    case FieldKind::kSpanKind:
      return out->push_back(Val::Int(static_cast<int64_t>(span.kind), Val::Type::kKind));
    case FieldKind::kSpanId:
      return out->push_back(IdVal(span.span_id, bytes));
    case FieldKind::kParentId:
      if (!span.parent_id.empty()) out->push_back(IdVal(span.parent_id, bytes));
      return;
    case FieldKind::kTraceId:
      return out->push_back(IdVal(span.trace_id, bytes));
    case FieldKind::kScopeName:
      return out->push_back(Val::String(scope.name));
    case FieldKind::kScopeVersion:
      return out->push_back(Val::String(scope.version));
    case FieldKind::kEventName:
      for (const auto& event : batch.events(span)) out->push_back(Val::String(event.name));
      return;
    case FieldKind::kEventTime:
      for (const auto& event : batch.events(span)) {
        out->push_back(Val::Int(Difference(event.time_ns, span.start_ns), Val::Type::kDuration));
      }
      return;
    case FieldKind::kLinkTraceId:
      for (const auto& link : batch.links(span)) out->push_back(IdVal(link.trace_id, bytes));
      return;
    case FieldKind::kLinkSpanId:
      for (const auto& link : batch.links(span)) out->push_back(IdVal(link.span_id, bytes));
      return;
    case FieldKind::kStart:
      return out->push_back(Val::Int(span.start_ns));
    case FieldKind::kServiceName: {
      const ValueView* name = FindAttribute(batch.attributes(resource), "service.name");
      const bool is_text = name != nullptr && name->type == ValueType::kString;
      return out->push_back(Val::String(is_text ? name->text : std::string_view()));
    }
    default:
      return;  // of the trace: TraceTable has it
  }
  const auto wanted = [&](AttributeScope at) {
    return field.scope == at || (field.scope == AttributeScope::kAny && out->empty());
  };
  if (wanted(AttributeScope::kSpan)) find(span.attributes, field.key);
  if (wanted(AttributeScope::kResource)) find(resource, field.key);
  if (wanted(AttributeScope::kInstrumentation)) find(scope.attributes, field.key);
  if (wanted(AttributeScope::kEvent)) {
    for (const auto& event : batch.events(span)) find(event.attributes, field.key);
  }
  if (wanted(AttributeScope::kLink)) {
    for (const auto& link : batch.links(span)) find(link.attributes, field.key);
  }
}

void TraceTable::Clear(const TraceId& id) {
  id_ = id;
  rows_.clear();
  bytes_.Clear();
  begin_.assign(program_.fields().size(), {});
  values_.assign(program_.fields().size(), {});
}

Status TraceTable::FromBatch(const TraceId& id, const SpanBatch& batch, QueryContext& context) {
  Clear(id);
  Charge charge(context);
  const auto& fields = program_.fields();
  Vals found;
  Field service;
  service.kind = FieldKind::kServiceName;
  for (const SpanBatch::Span& span : batch.spans()) {
    if (span.trace_id != id) continue;
    Row row;
    row.id = span.span_id;
    row.parent_id = span.parent_id;
    row.start_ns = span.start_ns;
    row.duration_ns = DurationOf(span);
    row.name = span.name;
    row.kind = span.kind;
    row.status = span.status;
    row.status_message = span.status_message;
    found.clear();
    FieldValues(batch, span, service, &bytes_, &found);
    row.service = found[0].text;
    rows_.push_back(row);
    for (size_t s = 0; s < fields.size(); ++s) {
      begin_[s].push_back(static_cast<uint32_t>(values_[s].size()));
      found.clear();
      FieldValues(batch, span, fields[s], &bytes_, &found);
      values_[s].insert(values_[s].end(), found.begin(), found.end());
    }
    if (rows_.size() % 4096 == 0) {
      VARVE_RETURN_IF_ERROR(context.Poll());
      VARVE_RETURN_IF_ERROR(charge.Add(4096 * (kBytesPerRow + 36 * fields.size())));
    }
  }
  for (size_t s = 0; s < fields.size(); ++s) {
    begin_[s].push_back(static_cast<uint32_t>(values_[s].size()));
  }
  Finish();
  return absl::OkStatus();
}

Status TraceTable::FromScan(const TraceSnapshot& snapshot, const TraceId& id, QueryContext& context,
                            SpanScanStats* stats) {
  Clear(id);
  Charge charge(context);
  const auto& fields = program_.fields();
  SpanScanSpec spec;
  SpanPredicate same;
  same.field.intrinsic = Intrinsic::kTraceId;
  same.op = SpanPredicate::Op::kEqual;
  same.value = std::string(id.bytes.begin(), id.bytes.end());
  spec.predicates.push_back(std::move(same));
  spec.threads = context.threads();
  const auto add = [&](Intrinsic intrinsic) {
    SpanField field;
    field.intrinsic = intrinsic;
    spec.columns.push_back(std::move(field));
  };
  for (const Intrinsic intrinsic : {Intrinsic::kParentId, Intrinsic::kName, Intrinsic::kServiceName,
                                    Intrinsic::kKind, Intrinsic::kStatus}) {
    add(intrinsic);
  }
  constexpr size_t kFixed = 5;
  std::vector<size_t> column(fields.size(), 0);  // 0: of the trace
  for (size_t s = 0; s < fields.size(); ++s) {
    if (fields[s].kind >= FieldKind::kChildCount) continue;
    column[s] = spec.columns.size();
    spec.columns.push_back(traceql::ToSpanField(fields[s]));
  }
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<SpanCursor> cursor, snapshot.Scan(spec));
  SpanColumns batch;
  // Neighbours often share their texts.
  absl::flat_hash_map<std::string_view, std::string_view> kept;
  const auto keep = [&](std::string_view text) {
    if (text.empty()) return std::string_view();
    const auto found = kept.find(text);
    if (found != kept.end()) return found->second;
    const std::string_view copy = bytes_.Copy(text);
    kept.emplace(copy, copy);
    return copy;
  };
  for (;;) {
    VARVE_RETURN_IF_ERROR(context.Poll());
    VARVE_ASSIGN_OR_RETURN(const bool more, cursor->Next(&batch));
    if (!more) break;
    VARVE_RETURN_IF_ERROR(charge.Add(batch.size() * (kBytesPerRow + 36 * fields.size())));
    for (size_t r = 0; r < batch.size(); ++r) {
      Row row;
      row.id = batch.span_ids[r];
      row.parent_id = SpanIdOf(batch.columns[0][r].text);
      row.start_ns = batch.starts_ns[r];
      row.duration_ns = batch.durations_ns[r];
      row.name = keep(batch.columns[1][r].text);
      row.service = keep(batch.columns[2][r].text);
      row.kind = static_cast<SpanKind>(batch.columns[3][r].integer);
      row.status = static_cast<SpanStatus>(batch.columns[4][r].integer);
      rows_.push_back(row);
      for (size_t s = 0; s < fields.size(); ++s) {
        begin_[s].push_back(static_cast<uint32_t>(values_[s].size()));
        if (column[s] < kFixed) continue;
        Val value = Val::Of(fields[s].kind, batch.columns[column[s]][r]);
        switch (fields[s].kind) {
          case FieldKind::kSpanId:
          case FieldKind::kTraceId:
          case FieldKind::kParentId:
            if (value.text.empty()) continue;
            value = Val::String(HexOf(value.text, &bytes_));
            break;
          default:
            if (value.is_nil()) continue;
            if (!value.text.empty()) value.text = keep(value.text);
        }
        values_[s].push_back(value);
      }
    }
  }
  for (size_t s = 0; s < fields.size(); ++s) {
    begin_[s].push_back(static_cast<uint32_t>(values_[s].size()));
  }
  stats->Add(cursor->stats());
  Finish();
  return absl::OkStatus();
}

void TraceTable::Finish() {
  source_.resize(rows_.size());
  std::iota(source_.begin(), source_.end(), 0);
  const auto before = [&](uint32_t a, uint32_t b) {
    // Client and server may share an id (Zipkin).
    return std::tie(rows_[a].start_ns, rows_[a].id, rows_[a].kind) <
           std::tie(rows_[b].start_ns, rows_[b].id, rows_[b].kind);
  };
  if (!std::is_sorted(source_.begin(), source_.end(), before)) {
    std::stable_sort(source_.begin(), source_.end(), before);
    std::vector<Row> sorted;
    sorted.reserve(rows_.size());
    for (const uint32_t r : source_) sorted.push_back(rows_[r]);
    rows_ = std::move(sorted);
  }
  FindStructure();
}

void TraceTable::FindStructure() {
  const uint32_t n = size();
  absl::flat_hash_map<uint64_t, uint32_t> by_id;
  by_id.reserve(n);
  start_ns_ = n == 0 ? 0 : rows_[0].start_ns;
  end_ns_ = start_ns_;
  for (uint32_t i = 0; i < n; ++i) {
    by_id.emplace(KeyOf(rows_[i].id), i);
    int64_t end = 0;
    if (__builtin_add_overflow(rows_[i].start_ns, rows_[i].duration_ns, &end)) end = kMaxTime;
    end_ns_ = std::max(end_ns_, end);
  }
  parents_.assign(n, kNoParent);
  children_.assign(n, 0);
  // Children of row i in row order: a chain of siblings.
  std::vector<int32_t> first(n, -1);
  std::vector<int32_t> next(n, -1);
  for (uint32_t i = n; i-- > 0;) {
    if (rows_[i].parent_id.empty()) continue;
    const auto found = by_id.find(KeyOf(rows_[i].parent_id));
    if (found == by_id.end()) {
      parents_[i] = kOrphan;
      continue;
    }
    const uint32_t parent = found->second;
    parents_[i] = static_cast<int32_t>(parent);
    ++children_[parent];
    next[i] = first[parent];
    first[parent] = static_cast<int32_t>(i);
  }
  root_ = n;
  root_found_ = false;
  for (uint32_t i = 0; i < n && !root_found_; ++i) {
    if (parents_[i] == kNoParent) {
      root_ = i;
      root_found_ = true;
    } else if (parents_[i] == kOrphan && root_ == n) {
      root_ = i;
    }
  }
  left_.assign(n, 0);
  right_.assign(n, 0);
  set_parent_.assign(n, 0);
  preorder_.clear();
  int32_t counter = 0;
  std::vector<uint32_t> path;
  for (const int32_t kind : {kNoParent, kOrphan}) {
    for (uint32_t top = 0; top < n; ++top) {
      if (parents_[top] != kind) continue;
      set_parent_[top] = kind == kNoParent ? -1 : 0;
      path.assign(1, top);
      left_[top] = ++counter;
      preorder_.push_back(top);
      while (!path.empty()) {
        const uint32_t at = path.back();
        const int32_t child = first[at];
        if (child < 0) {
          right_[at] = ++counter;
          path.pop_back();
          continue;
        }
        first[at] = next[child];  // consumed
        left_[child] = ++counter;
        set_parent_[child] = left_[at];
        preorder_.push_back(static_cast<uint32_t>(child));
        path.push_back(static_cast<uint32_t>(child));
      }
    }
  }
}

void TraceTable::Get(uint32_t slot, uint32_t row, Vals* out) const {
  out->clear();
  if (program_.fields()[slot].of_parent) {
    if (parents_[row] < 0) return;
    row = static_cast<uint32_t>(parents_[row]);
  }
  GetOwn(slot, row, out);
}

void TraceTable::GetOwn(uint32_t slot, uint32_t row, Vals* out) const {
  switch (program_.fields()[slot].kind) {
    case FieldKind::kChildCount:
      return out->push_back(Val::Int(children_[row]));
    case FieldKind::kNestedSetLeft:
      return out->push_back(Val::Int(left_[row]));
    case FieldKind::kNestedSetRight:
      return out->push_back(Val::Int(right_[row]));
    case FieldKind::kNestedSetParent:
      return out->push_back(Val::Int(set_parent_[row]));
    case FieldKind::kRootName:
      if (root_found_) out->push_back(Val::String(rows_[root_].name));
      return;
    case FieldKind::kRootServiceName:
      if (root_found_) out->push_back(Val::String(rows_[root_].service));
      return;
    case FieldKind::kTraceDuration:
      return out->push_back(Val::Int(Difference(end_ns_, start_ns_), Val::Type::kDuration));
    default:
      break;
  }
  const uint32_t source = source_[row];
  const auto& begin = begin_[slot];
  const auto& values = values_[slot];
  out->insert(out->end(), values.begin() + begin[source], values.begin() + begin[source + 1]);
}

TraceSummary Summarize(const TraceTable& table) {
  TraceSummary out;
  out.id = table.id();
  out.start_ns = table.start_ns();
  out.end_ns = table.end_ns();
  out.duration_ns = Difference(out.end_ns, out.start_ns);
  out.spans = table.size();
  out.root_found = table.root_found();
  if (table.root() < table.size()) {
    out.root_service = table.row(table.root()).service;
    out.root_name = table.row(table.root()).name;
  }
  std::map<std::string_view, ServiceSummary> services;
  for (uint32_t i = 0; i < table.size(); ++i) {
    const bool error = table.row(i).status == SpanStatus::kError;
    ServiceSummary& service = services[table.row(i).service];
    ++service.spans;
    service.errors += error;
    out.errors += error;
    out.orphans += table.parent(i) == TraceTable::kOrphan;
  }
  for (auto& [name, service] : services) {
    service.service = name;
    out.services.push_back(std::move(service));
  }
  return out;
}

}  // namespace varve::query
