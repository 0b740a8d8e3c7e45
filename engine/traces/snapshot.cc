#include "engine/traces/snapshot.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/coding.h"
#include "engine/base/macros.h"

namespace varve::traces {
namespace {

constexpr size_t kTagValuesMax = 10'000;          // when a caller sets no limit
constexpr uint64_t kTagValueScanMax = 2'000'000;  // spans looked at for values of rare keys

struct SpanKey {
  TraceId trace;
  SpanId span;
  SpanKind kind;
  friend bool operator==(const SpanKey&, const SpanKey&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const SpanKey& k) {
    return H::combine(std::move(h), BytesOf(k.trace)[15], BytesOf(k.trace)[7],
                      absl::string_view(BytesOf(k.span).data(), 8), static_cast<uint8_t>(k.kind));
  }
};

/// Reads units of all sources in order of time and hides what an earlier source has, too.
class Cursor final : public SpanCursor {
 public:
  static constexpr size_t kBatchRowsMax = 4096;

  Cursor(std::vector<SourcePtr> sources, std::shared_ptr<const CompiledScan> scan)
      : sources_(std::move(sources)), scan_(std::move(scan)) {}

  Status Start() {
    for (size_t s = 0; s < sources_.size(); ++s) {
      if (sources_[s]->spans() == 0) {
        scans_.push_back(nullptr);
        continue;
      }
      if (!sources_[s]->range().Overlaps(scan_->spec.range)) {
        ++stats_.blocks;
        ++stats_.blocks_skipped;
        scans_.push_back(nullptr);
        continue;
      }
      VARVE_ASSIGN_OR_RETURN(auto scan, sources_[s]->StartScan(scan_, &stats_));
      for (size_t u = 0; u < scan->units().size(); ++u) {
        order_.push_back({s, u, scan->units()[u]});
      }
      scans_.push_back(std::move(scan));
    }
    const bool newest = scan_->spec.newest_first;
    std::sort(order_.begin(), order_.end(), [newest](const Place& a, const Place& b) {
      if (newest) {
        if (a.unit.max_start_ns != b.unit.max_start_ns) {
          return a.unit.max_start_ns > b.unit.max_start_ns;
        }
      } else if (a.unit.min_start_ns != b.unit.min_start_ns) {
        return a.unit.min_start_ns < b.unit.min_start_ns;
      }
      return std::tie(a.source, a.index) < std::tie(b.source, b.index);
    });
    return absl::OkStatus();
  }

  Result<bool> Next(SpanColumns* out) override {
    while (true) {
      while (current_ < ready_.size()) {
        Reading& reading = ready_[current_];
        VARVE_RETURN_IF_ERROR(reading.status);
        if (handed_ < reading.found.columns.size()) {
          Hand(&reading.found.columns, next_ - ready_.size() + current_ + 1, out);
          return true;
        }
        ++current_;
        handed_ = 0;
      }
      if (next_ == order_.size()) {
        out->trace_ids.clear();
        out->span_ids.clear();
        out->starts_ns.clear();
        out->durations_ns.clear();
        out->columns.assign(scan_->spec.columns.size(), {});
        out->bound_ns = scan_->spec.newest_first ? kMinTime : kMaxTime;
        return false;
      }
      ReadAhead();
    }
  }
  const SpanScanStats& stats() const override { return stats_; }

 private:
  struct Place {
    size_t source;
    size_t index;
    Unit unit;
  };
  /// What one unit has.
  struct Reading {
    FoundRows found;
    SpanScanStats stats;
    Status status;
  };

  /// Replaces ready_ by the units that follow.
  void ReadAhead() {
    ScanThreads* threads = scan_->spec.threads;
    const uint32_t most = threads == nullptr ? 1 : 4 * std::max(1u, threads->count());
    const auto count = static_cast<uint32_t>(std::min<size_t>(ahead_, order_.size() - next_));
    ahead_ = std::min(2 * ahead_, most);
    ready_.resize(count);
    const auto read = [&](uint32_t i) {
      Reading& reading = ready_[i];
      reading.found.Clear();
      reading.stats = SpanScanStats();
      const Place& place = order_[next_ + i];
      // Only kinds tell repeats apart, and nothing is before the first source.
      reading.found.with_kinds = place.source > 0;
      reading.status = scans_[place.source]->Read(place.index, &reading.found, &reading.stats);
      if (reading.status.ok()) reading.status = HideRepeats(place.source, &reading.found);
      reading.stats.spans_matched += reading.found.columns.size();
    };
    if (count == 1) {
      read(0);
    } else {
      threads->Run(count, read);
    }
    for (const Reading& reading : ready_) stats_.Add(reading.stats);
    next_ += count;
    current_ = 0;
    handed_ = 0;
  }

  /// Moves the next rows of `from` to `out`; `next` is the place in order_ behind their unit.
  void Hand(SpanColumns* from, size_t next, SpanColumns* out) {
    const bool newest = scan_->spec.newest_first;
    const int64_t none = newest ? kMinTime : kMaxTime;
    const int64_t after = next == order_.size() ? none
                          : newest              ? order_[next].unit.max_start_ns
                                                : order_[next].unit.min_start_ns;
    if (handed_ == 0 && from->size() <= kBatchRowsMax) {
      std::swap(*out, *from);
      out->bound_ns = after;
      ++current_;
      return;
    }
    const size_t end = std::min(from->size(), handed_ + kBatchRowsMax);
    const auto slice = [&](const auto& column, auto* to) {
      to->assign(column.begin() + static_cast<ptrdiff_t>(handed_),
                 column.begin() + static_cast<ptrdiff_t>(end));
    };
    slice(from->trace_ids, &out->trace_ids);
    slice(from->span_ids, &out->span_ids);
    slice(from->starts_ns, &out->starts_ns);
    slice(from->durations_ns, &out->durations_ns);
    out->columns.resize(from->columns.size());
    for (size_t c = 0; c < from->columns.size(); ++c) slice(from->columns[c], &out->columns[c]);
    handed_ = end;
    out->bound_ns = after;
    // Rows of this unit that are still to come count, too.
    for (size_t i = end; i < from->size(); ++i) {
      out->bound_ns = newest ? std::max(out->bound_ns, from->starts_ns[i])
                             : std::min(out->bound_ns, from->starts_ns[i]);
    }
  }

  /// Drops rows that a source before `source` has, too. Costs one filter probe a trace and source
  /// where there are none.
  Status HideRepeats(size_t source, FoundRows* found) const {
    if (source == 0) return absl::OkStatus();
    SpanColumns& columns = found->columns;
    std::vector<bool> hidden;
    std::vector<std::pair<SpanId, SpanKind>> earlier;
    for (size_t i = 0; i < columns.size(); ++i) {
      const TraceId& id = columns.trace_ids[i];
      if (i == 0 || id != columns.trace_ids[i - 1]) {
        earlier.clear();
        for (size_t s = 0; s < source; ++s) {
          if (sources_[s]->spans() > 0 && sources_[s]->MayHaveTrace(id)) {
            VARVE_RETURN_IF_ERROR(sources_[s]->ReadSpanKeys(id, &earlier));
          }
        }
        std::sort(earlier.begin(), earlier.end());
      }
      if (earlier.empty()) continue;
      if (std::binary_search(earlier.begin(), earlier.end(),
                             std::pair(columns.span_ids[i], found->kinds[i]))) {
        if (hidden.empty()) hidden.resize(columns.size());
        hidden[i] = true;
      }
    }
    if (hidden.empty()) return absl::OkStatus();
    const auto compact = [&hidden](auto* column) {
      size_t kept = 0;
      for (size_t i = 0; i < hidden.size(); ++i) {
        if (!hidden[i]) (*column)[kept++] = (*column)[i];
      }
      column->resize(kept);
    };
    compact(&columns.trace_ids);
    compact(&columns.span_ids);
    compact(&columns.starts_ns);
    compact(&columns.durations_ns);
    for (auto& column : columns.columns) compact(&column);
    compact(&found->kinds);
    return absl::OkStatus();
  }

  const std::vector<SourcePtr> sources_;
  const std::shared_ptr<const CompiledScan> scan_;
  std::vector<std::unique_ptr<SourceScan>> scans_;
  std::vector<Place> order_;
  size_t next_ = 0;     // in order_: the first that was not read
  uint32_t ahead_ = 1;  // units to read next time
  std::vector<Reading> ready_;
  size_t current_ = 0;  // in ready_
  size_t handed_ = 0;   // rows of that one
  SpanScanStats stats_;
};

class SnapshotImpl final : public TraceSnapshot {
 public:
  explicit SnapshotImpl(std::vector<SourcePtr> sources) : sources_(std::move(sources)) {}

  Status GetTrace(const TraceId& id, SpanBatch* out) const override {
    return GetTraces(std::span(&id, 1), 0, out);
  }
  Status GetTraces(std::span<const TraceId> ids, size_t spans_max, SpanBatch* out) const override {
    for (const SourcePtr& source : sources_) out->Keep(source);
    SpanGatherer gatherer(sources_, out);
    for (const TraceId& id : ids) VARVE_RETURN_IF_ERROR(gatherer.AddTrace(id, spans_max));
    return absl::OkStatus();
  }

  Result<std::unique_ptr<SpanCursor>> Scan(const SpanScanSpec& spec) const override {
    VARVE_ASSIGN_OR_RETURN(auto scan, CompiledScan::Make(spec));
    auto cursor = std::make_unique<Cursor>(sources_, std::move(scan));
    VARVE_RETURN_IF_ERROR(cursor->Start());
    return std::unique_ptr<SpanCursor>(std::move(cursor));
  }

  Result<LookupResult> Services(NsRange range) const override {
    std::set<std::string> found;
    VARVE_RETURN_IF_ERROR(
        ForEach(range, [&](const Source& source) { return source.AddServices(&found); }));
    LookupResult out;
    out.values.assign(found.begin(), found.end());
    return out;
  }
  Result<std::vector<Operation>> Operations(std::string_view service,
                                            NsRange range) const override {
    std::set<Operation> found;
    VARVE_RETURN_IF_ERROR(ForEach(
        range, [&](const Source& source) { return source.AddOperations(service, &found); }));
    return std::vector<Operation>(found.begin(), found.end());
  }
  Result<std::vector<TagName>> TagNames(AttributeScope scope, NsRange range) const override {
    TagNameMap found;
    VARVE_RETURN_IF_ERROR(
        ForEach(range, [&](const Source& source) { return source.AddTagNames(scope, &found); }));
    std::vector<TagName> out;
    for (const auto& [name, types] : found) out.push_back({name.first, name.second, types});
    return out;
  }

  Result<std::vector<TagValue>> TagValues(const SpanField& field, NsRange range,
                                          size_t limit) const override {
    if (limit == 0 || limit > kTagValuesMax) limit = kTagValuesMax;
    std::set<TagValue> found;
    std::vector<SourcePtr> rest;
    for (const SourcePtr& source : sources_) {
      if (source->spans() == 0 || !source->range().Overlaps(range)) continue;
      VARVE_ASSIGN_OR_RETURN(const bool done, source->AddTagValues(field, limit, &found));
      if (!done) rest.push_back(source);
    }
    SpanScanSpec spec;
    spec.range = range;
    spec.columns = {field};
    spec.predicates.push_back({field, SpanPredicate::Op::kExists, {}});
    VARVE_ASSIGN_OR_RETURN(auto scan, CompiledScan::Make(spec));
    Cursor cursor(std::move(rest), std::move(scan));
    VARVE_RETURN_IF_ERROR(cursor.Start());
    SpanColumns columns;
    absl::flat_hash_set<std::string> seen;
    while (found.size() < limit && cursor.stats().spans < kTagValueScanMax) {
      VARVE_ASSIGN_OR_RETURN(const bool more, cursor.Next(&columns));
      if (!more) break;
      for (const ValueView& value : columns.columns[0]) {
        if (found.size() >= limit) break;
        std::string text = value.type == ValueType::kBytes && field.intrinsic != Intrinsic::kNone
                               ? HexOf(value.text)
                               : ToString(value);
        std::string known = text;
        known.push_back(static_cast<char>(value.type));
        if (!seen.insert(std::move(known)).second) continue;
        found.insert(TagValue{value.type, std::move(text)});
      }
    }
    while (found.size() > limit) found.erase(std::prev(found.end()));
    return std::vector<TagValue>(found.begin(), found.end());
  }

  NsRange time_range() const override {
    NsRange out{kMaxTime, kMinTime};
    for (const SourcePtr& source : sources_) {
      if (source->spans() == 0) continue;
      out.min_ns = std::min(out.min_ns, source->range().min_ns);
      out.max_ns = std::max(out.max_ns, source->range().max_ns);
    }
    return out;
  }

 private:
  static std::string HexOf(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
      out.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
      out.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
    }
    return out;
  }
  template <typename F>
  Status ForEach(NsRange range, F f) const {
    for (const SourcePtr& source : sources_) {
      if (source->spans() == 0 || !source->range().Overlaps(range)) continue;
      VARVE_RETURN_IF_ERROR(f(*source));
    }
    return absl::OkStatus();
  }

  const std::vector<SourcePtr> sources_;
};

}  // namespace

SpanGatherer::SpanGatherer(const std::vector<SourcePtr>& sources, SpanBatch* out)
    : sources_(sources), out_(out), scopes_(sources.size()) {}

std::string SpanGatherer::ContentOf(AttributesView attributes, std::string_view rest,
                                    uint32_t dropped) const {
  std::string out;
  PutFixed(&out, dropped);
  PutString(&out, rest);
  for (const AttributeView& attribute : attributes) {
    PutString(&out, attribute.key);
    out.push_back(static_cast<char>(attribute.value.type));
    PutFixed(&out, attribute.value.type == ValueType::kBool
                       ? static_cast<int64_t>(attribute.value.boolean)
                       : attribute.value.integer);
    PutString(&out, attribute.value.text);
  }
  return out;
}

uint32_t SpanGatherer::ScopeOf(size_t source, uint32_t scope) {
  const auto [known, fresh] = scopes_[source].try_emplace(scope, 0);
  if (!fresh) return known->second;
  const ScopeView from = sources_[source]->GetScope(scope);
  const ResourceView resource = sources_[source]->GetResource(from.resource);
  const auto [resource_at, new_resource] = resource_contents_.try_emplace(
      ContentOf(resource.attributes, resource.schema_url, resource.dropped_attributes), 0);
  if (new_resource) {
    resource_at->second =
        out_->AddResource(resource.attributes, resource.schema_url, resource.dropped_attributes);
  }
  std::string rest;
  PutFixed(&rest, resource_at->second);
  PutString(&rest, from.name);
  PutString(&rest, from.version);
  PutString(&rest, from.schema_url);
  const auto [scope_at, new_scope] =
      scope_contents_.try_emplace(ContentOf(from.attributes, rest, from.dropped_attributes), 0);
  if (new_scope) {
    scope_at->second = out_->AddScope(resource_at->second, from.name, from.version, from.attributes,
                                      from.schema_url, from.dropped_attributes);
  }
  known->second = scope_at->second;
  return known->second;
}

Status SpanGatherer::AddTrace(const TraceId& id, size_t spans_max) {
  // Only the texts of raw_ are borrowed from it, and those live in the sources or in owners that
  // move on with them.
  raw_ = SpanBatch();
  std::vector<std::pair<size_t, size_t>> ends;  // source, end of its spans in raw_
  for (size_t s = 0; s < sources_.size(); ++s) {
    if (sources_[s]->spans() == 0 || !sources_[s]->MayHaveTrace(id)) continue;
    const size_t before = raw_.spans().size();
    VARVE_RETURN_IF_ERROR(sources_[s]->ReadTrace(id, &raw_));
    if (raw_.spans().size() > before) ends.push_back({s, raw_.spans().size()});
  }
  std::vector<uint32_t> order(raw_.spans().size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  const std::vector<SpanBatch::Span>& spans = raw_.spans();
  // Repeats first: they may differ in start.
  absl::flat_hash_set<SpanKey> seen;
  if (order.size() > 1) {
    std::erase_if(order, [&](uint32_t i) {
      return !seen.insert(SpanKey{spans[i].trace_id, spans[i].span_id, spans[i].kind}).second;
    });
  }
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::tie(spans[a].start_ns, spans[a].span_id, spans[a].kind) <
           std::tie(spans[b].start_ns, spans[b].span_id, spans[b].kind);
  });
  if (spans_max > 0 && order.size() > spans_max) order.resize(spans_max);
  for (const uint32_t i : order) {
    size_t source = 0;
    for (const auto& [s, end] : ends) {
      source = s;
      if (i < end) break;
    }
    CopySpan(raw_, spans[i], ScopeOf(source, spans[i].scope), out_);
  }
  auto kept = std::make_shared<SpanBatch>(std::move(raw_));
  out_->Keep(kept);
  raw_ = SpanBatch();
  return absl::OkStatus();
}

std::shared_ptr<const TraceSnapshot> MakeSnapshot(std::vector<SourcePtr> sources) {
  return std::make_shared<SnapshotImpl>(std::move(sources));
}

}  // namespace varve::traces
