#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/macros.h"
#include "engine/traces/head.h"

namespace varve::traces {
namespace {

/// Names an attribute key in one head: its number, Head::kNone if no span has it.
struct HeadKey {
  uint32_t number = Head::kNone;
};

class HeadRowAccess {
 public:
  HeadRowAccess(const Head& head, const HeadRow& row) : head_(head), row_(row) {}

  bool SpanAttribute(HeadKey key, ValueView* value) const {
    return Find(row_.attributes, key, value);
  }
  bool ResourceAttribute(HeadKey key, ValueView* value) const {
    return Find(resource().attributes, key, value);
  }
  bool ScopeAttribute(HeadKey key, ValueView* value) const {
    return Find(head_.scope(row_.scope).attributes, key, value);
  }
  size_t events() const { return row_.event_count; }
  size_t links() const { return row_.link_count; }
  bool EventAttribute(size_t i, HeadKey key, ValueView* value) const {
    return Find(row_.events[i].attributes, key, value);
  }
  bool LinkAttribute(size_t i, HeadKey key, ValueView* value) const {
    return Find(row_.links[i].attributes, key, value);
  }
  ValueView Fact(Intrinsic intrinsic) const {
    switch (intrinsic) {
      case Intrinsic::kTraceId:
        return ValueView::Bytes(BytesOf(row_.trace_id));
      case Intrinsic::kSpanId:
        return ValueView::Bytes(BytesOf(row_.span_id));
      case Intrinsic::kParentId:
        return ValueView::Bytes(row_.parent_id.empty() ? std::string_view()
                                                       : BytesOf(row_.parent_id));
      case Intrinsic::kName:
        return ValueView::String(head_.string(row_.name));
      case Intrinsic::kServiceName:
        return ValueView::String(head_.string(resource().service));
      case Intrinsic::kKind:
        return ValueView::Int(static_cast<int64_t>(row_.kind));
      case Intrinsic::kStatus:
        return ValueView::Int(static_cast<int64_t>(row_.status));
      case Intrinsic::kStatusMessage:
        return ValueView::String(head_.string(row_.status_message));
      case Intrinsic::kStart:
        return ValueView::Int(row_.start_ns);
      case Intrinsic::kDuration:
        return ValueView::Int(DurationOf(row_.start_ns, row_.end_ns));
      case Intrinsic::kScopeName:
        return ValueView::String(head_.string(head_.scope(row_.scope).name));
      case Intrinsic::kScopeVersion:
        return ValueView::String(head_.string(head_.scope(row_.scope).version));
      default:
        return ValueView();
    }
  }
  ValueView EventFact(size_t i, Intrinsic intrinsic) const {
    const HeadEvent& event = row_.events[i];
    if (intrinsic == Intrinsic::kEventName) return ValueView::String(head_.string(event.name));
    int64_t after = 0;
    if (__builtin_sub_overflow(event.time_ns, row_.start_ns, &after)) {
      after = event.time_ns < row_.start_ns ? INT64_MIN : INT64_MAX;
    }
    return ValueView::Int(after);
  }
  ValueView LinkFact(size_t i, Intrinsic intrinsic) const {
    const HeadLink& link = row_.links[i];
    return ValueView::Bytes(intrinsic == Intrinsic::kLinkTraceId ? BytesOf(link.trace_id)
                                                                 : BytesOf(link.span_id));
  }

 private:
  bool Find(const HeadAttributes& attributes, HeadKey key, ValueView* value) const {
    for (const HeadAttribute& attribute : attributes.view()) {
      if (attribute.key == key.number) {
        *value = head_.ValueOf(attribute);
        return true;
      }
    }
    return false;
  }
  const HeadResource& resource() const { return head_.resource(head_.scope(row_.scope).resource); }

  const Head& head_;
  const HeadRow& row_;
};

/// Adds a row as a span whose scope is the head's number.
class RowReader {
 public:
  explicit RowReader(const Head& head) : head_(head) {}
  void Read(const HeadRow& row, SpanBatch* out) {
    SpanBatch::Span span;
    span.scope = row.scope;
    span.trace_id = row.trace_id;
    span.span_id = row.span_id;
    span.parent_id = row.parent_id;
    span.trace_state = head_.string(row.trace_state);
    span.flags = row.flags;
    span.name = head_.string(row.name);
    span.kind = row.kind;
    span.start_ns = row.start_ns;
    span.end_ns = row.end_ns;
    span.status = row.status;
    span.status_message = head_.string(row.status_message);
    span.dropped_attributes = row.dropped_attributes;
    span.dropped_events = row.dropped_events;
    span.dropped_links = row.dropped_links;
    out->AddSpan(span, Decode(row.attributes));
    for (const HeadEvent& event : std::span(row.events, row.event_count)) {
      out->AddEvent(event.time_ns, head_.string(event.name), Decode(event.attributes),
                    event.dropped_attributes);
    }
    for (const HeadLink& link : std::span(row.links, row.link_count)) {
      SpanBatch::Link made;
      made.trace_id = link.trace_id;
      made.span_id = link.span_id;
      made.trace_state = head_.string(link.trace_state);
      made.dropped_attributes = link.dropped_attributes;
      made.flags = link.flags;
      out->AddLink(made, Decode(link.attributes));
    }
  }

 private:
  AttributesView Decode(const HeadAttributes& attributes) {
    attributes_.clear();
    for (const HeadAttribute& attribute : attributes.view()) {
      attributes_.push_back({head_.key(attribute.key), head_.ValueOf(attribute)});
    }
    return attributes_;
  }

  const Head& head_;
  std::vector<AttributeView> attributes_;
};

class HeadScan final : public SourceScan {
 public:
  HeadScan(std::shared_ptr<const Head> head, uint32_t rows,
           std::shared_ptr<const CompiledScan> scan)
      : head_(std::move(head)), scan_(std::move(scan)) {
    const std::vector<Unit> all = head_->Units(rows);
    for (uint32_t i = 0; i < all.size(); ++i) {
      const NsRange range{all[i].min_start_ns, all[i].max_start_ns};
      if (!range.Overlaps(scan_->spec.range)) continue;
      units_.push_back(all[i]);
      begins_.push_back(i * Head::kUnitRows);
    }
    for (const CompiledPredicate& compiled : scan_->predicates) {
      predicate_keys_.push_back(KeyOf(compiled.predicate.field));
    }
    for (const SpanField& field : scan_->spec.columns) column_keys_.push_back(KeyOf(field));
  }

  const std::vector<Unit>& units() const override { return units_; }

  Status Read(size_t i, FoundRows* out, SpanScanStats* stats) const override {
    stats->spans += units_[i].rows;
    out->columns.columns.resize(scan_->spec.columns.size());
    for (uint32_t r = begins_[i]; r < begins_[i] + units_[i].rows; ++r) {
      const HeadRow& row = head_->row(r);
      if (!scan_->spec.range.Contains(row.start_ns)) continue;
      const HeadRowAccess access(*head_, row);
      bool matches = true;
      for (size_t p = 0; p < scan_->predicates.size() && matches; ++p) {
        matches = TestRow(access, scan_->predicates[p], predicate_keys_[p]);
      }
      if (!matches) continue;
      out->columns.trace_ids.push_back(row.trace_id);
      out->columns.span_ids.push_back(row.span_id);
      out->columns.starts_ns.push_back(row.start_ns);
      out->columns.durations_ns.push_back(DurationOf(row.start_ns, row.end_ns));
      out->kinds.push_back(row.kind);
      for (size_t c = 0; c < column_keys_.size(); ++c) {
        out->columns.columns[c].push_back(
            FirstValue(access, scan_->spec.columns[c], column_keys_[c]));
      }
    }
    return absl::OkStatus();
  }

 private:
  HeadKey KeyOf(const SpanField& field) const {
    return {field.intrinsic == Intrinsic::kNone ? head_->FindKey(field.key) : Head::kNone};
  }

  const std::shared_ptr<const Head> head_;
  const std::shared_ptr<const CompiledScan> scan_;
  std::vector<Unit> units_;
  std::vector<uint32_t> begins_;
  std::vector<HeadKey> predicate_keys_, column_keys_;
};

class HeadSource final : public Source {
 public:
  explicit HeadSource(std::shared_ptr<const Head> head)
      : head_(std::move(head)), rows_(head_->rows()) {
    // Spans of later appends may widen the head's own range; a wider range only costs time.
    range_ = head_->range();
    scopes_ = head_->scope_count();
  }

  uint64_t spans() const override { return rows_; }
  NsRange range() const override { return rows_ == 0 ? NsRange{INT64_MAX, INT64_MIN} : range_; }
  uint32_t scope_count() const override { return scopes_; }
  ScopeView GetScope(uint32_t scope) const override {
    const HeadScope& from = head_->scope(scope);
    return {from.resource,
            head_->string(from.name),
            head_->string(from.version),
            AttributesView(from.decoded),
            head_->string(from.schema_url),
            from.dropped_attributes};
  }
  ResourceView GetResource(uint32_t resource) const override {
    const HeadResource& from = head_->resource(resource);
    return {AttributesView(from.decoded), head_->string(from.schema_url), from.dropped_attributes};
  }

  bool MayHaveTrace(const TraceId& id) const override { return FirstRow(id) != Head::kNone; }
  Status ReadTrace(const TraceId& id, SpanBatch* out) const override {
    return ReadChain(FirstRow(id), NsRange{}, out);
  }
  Status ReadSpanKeys(const TraceId& id,
                      std::vector<std::pair<SpanId, SpanKind>>* out) const override {
    for (uint32_t r = FirstRow(id); r != Head::kNone; r = head_->row(r).previous) {
      out->push_back({head_->row(r).span_id, head_->row(r).kind});
    }
    return absl::OkStatus();
  }

  Result<std::unique_ptr<SourceScan>> StartScan(std::shared_ptr<const CompiledScan> scan,
                                                SpanScanStats*) const override {
    return std::make_unique<HeadScan>(head_, rows_, std::move(scan));
  }

  Status AddServices(std::set<std::string>* out) const override {
    head_->AddServices(out);
    return absl::OkStatus();
  }
  Status AddOperations(std::string_view service, std::set<Operation>* out) const override {
    head_->AddOperations(service, out);
    return absl::OkStatus();
  }
  Status AddTagNames(AttributeScope scope, TagNameMap* out) const override {
    head_->AddTagNames(scope, out);
    return absl::OkStatus();
  }
  Result<bool> AddTagValues(const SpanField&, size_t,
                            std::set<TraceSnapshot::TagValue>*) const override {
    return false;
  }

  bool MayRepeatSpans() const override { return head_->may_repeat_spans(); }
  Status AddSurvey(NsRange range, Survey* out) const override {
    struct Facts {
      uint64_t count = 0;
      bool plain = false;
      absl::flat_hash_set<uint32_t> values;
      uint32_t recents[64];  // in `values` for certain
      Facts() { std::fill(std::begin(recents), std::end(recents), Head::kNone); }
      void AddText(uint32_t text) {
        ++count;
        uint32_t& recent = recents[text % std::size(recents)];
        if (plain || text == recent) return;
        recent = text;
        values.insert(text);
        if (values.size() > kDictionaryValuesMax) {
          plain = true;
          values.clear();
        }
      }
    };
    Facts texts[kAttributeChunks];
    absl::flat_hash_map<uint64_t, Facts> columns;
    const auto add = [&](Family family, const HeadAttributes& attributes) {
      for (const HeadAttribute& attribute : attributes.view()) {
        Facts& facts = columns[uint64_t{attribute.key} << 8 | static_cast<uint64_t>(family) << 4 |
                               static_cast<uint64_t>(attribute.type)];
        if (IsTextType(attribute.type)) {
          facts.AddText(static_cast<uint32_t>(attribute.bits));
        } else {
          ++facts.count;
        }
      }
    };
    const std::vector<Unit> units = head_->Units(rows_);
    for (uint32_t r = 0; r < rows_; ++r) {
      const Unit& unit = units[r / Head::kUnitRows];
      if (r % Head::kUnitRows == 0 && !range.Overlaps({unit.min_start_ns, unit.max_start_ns})) {
        r += unit.rows - 1;
        continue;
      }
      const HeadRow& row = head_->row(r);
      if (!range.Contains(row.start_ns)) continue;
      ++out->spans;
      texts[kNamesChunk].AddText(row.name);
      texts[kTraceStatesChunk].AddText(row.trace_state);
      texts[kStatusMessagesChunk].AddText(row.status_message);
      add(Family::kSpan, row.attributes);
      for (const HeadEvent& event : std::span(row.events, row.event_count)) {
        texts[kEventNamesChunk].AddText(event.name);
        add(Family::kEvent, event.attributes);
      }
      for (const HeadLink& link : std::span(row.links, row.link_count)) {
        texts[kLinkStatesChunk].AddText(link.trace_state);
        add(Family::kLink, link.attributes);
      }
    }
    const auto give = [&](const ColumnName& name, const Facts& facts) {
      ColumnFacts& to = out->columns()[name];
      to.count += facts.count;
      to.plain = to.plain || facts.plain;
      if (to.plain) return;
      for (const uint32_t text : facts.values) to.values.insert(head_->string(text));
    };
    for (const uint32_t chunk : kTextChunks) {
      ColumnName name;
      name.text_chunk = chunk;
      give(name, texts[chunk]);
    }
    for (const auto& [code, facts] : columns) {
      ColumnName name;
      name.family = static_cast<Family>(code >> 4 & 15);
      name.type = static_cast<ValueType>(code & 15);
      name.key = head_->key(static_cast<uint32_t>(code >> 8));
      give(name, facts);
    }
    return absl::OkStatus();
  }

  Result<std::vector<TracePiece>> ListTraces(NsRange range) const override {
    // A head is listed once for each window that it is sealed into: the chains of rows are walked
    // the first time, and then only those of traces that lie across a border.
    std::call_once(extents_once_, [this] {
      for (const uint32_t newest : head_->LastRows()) {
        const uint32_t first = Pinned(newest);
        if (first == Head::kNone) continue;
        Extent& extent = extents_.emplace_back(Extent{first, {INT64_MAX, INT64_MIN}});
        for (uint32_t r = first; r != Head::kNone; r = head_->row(r).previous) {
          const int64_t own = head_->row(r).start_ns;
          extent.range.min_ns = std::min(extent.range.min_ns, own);
          extent.range.max_ns = std::max(extent.range.max_ns, own);
        }
      }
    });
    std::vector<TracePiece> out;
    for (const Extent& extent : extents_) {
      if (!extent.range.Overlaps(range)) continue;
      int64_t start = extent.range.min_ns;
      if (!range.Contains(extent.range.min_ns)) {
        start = INT64_MAX;
        bool any = false;
        for (uint32_t r = extent.row; r != Head::kNone; r = head_->row(r).previous) {
          const int64_t own = head_->row(r).start_ns;
          if (!range.Contains(own)) continue;
          any = true;
          start = std::min(start, own);
        }
        if (!any) continue;
      }
      out.push_back({head_->row(extent.row).trace_id, start, extent.row});
    }
    std::sort(out.begin(), out.end(), [](const TracePiece& a, const TracePiece& b) {
      return a.start_ns != b.start_ns ? a.start_ns < b.start_ns : a.id < b.id;
    });
    return out;
  }
  Status ReadPiece(uint64_t token, NsRange range, SpanBatch* out) const override {
    return ReadChain(static_cast<uint32_t>(token), range, out);
  }

 private:
  uint32_t Pinned(uint32_t row) const {
    while (row != Head::kNone && row >= rows_) row = head_->row(row).previous;
    return row;
  }
  uint32_t FirstRow(const TraceId& id) const { return Pinned(head_->LastRowOf(id)); }
  Status ReadChain(uint32_t row, NsRange range, SpanBatch* out) const {
    RowReader reader(*head_);
    for (; row != Head::kNone; row = head_->row(row).previous) {
      if (range.Contains(head_->row(row).start_ns)) reader.Read(head_->row(row), out);
    }
    return absl::OkStatus();
  }

  /// A trace here: its newest row, and when its spans start.
  struct Extent {
    uint32_t row;
    NsRange range;
  };

  const std::shared_ptr<const Head> head_;
  const uint32_t rows_;
  mutable std::once_flag extents_once_;
  mutable std::vector<Extent> extents_;
  NsRange range_;
  uint32_t scopes_ = 0;
};

}  // namespace

SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
  return std::make_shared<HeadSource>(std::move(head));
}

}  // namespace varve::traces
