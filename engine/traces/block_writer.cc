#include "engine/traces/block_writer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/index/filters.h"
#include "engine/index/postings.h"

namespace varve::traces {
namespace {

constexpr uint32_t kNoColumn = UINT32_MAX;
constexpr size_t kFilterValuesMin = 64;

uint64_t Load64(const SpanId& id) {
  uint64_t out = 0;
  std::memcpy(&out, id.bytes.data(), sizeof out);
  return out;
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}
bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return HexDigit(c) >= 0; });
}
bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < 36; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : HexDigit(text[i]) < 0) return false;
  }
  return true;
}
void PutHex(std::string_view text, std::string* out) {
  int high = -1;
  for (const char c : text) {
    const int digit = HexDigit(c);
    if (digit < 0) continue;  // dashes
    if (high < 0) {
      high = digit;
    } else {
      out->push_back(static_cast<char>(high << 4 | digit));
      high = -1;
    }
  }
}

void PutPostings(const std::vector<uint32_t>& groups, std::string* out) {
  std::string bytes;
  index::Postings::FromSorted(groups).AppendTo(&bytes);
  PutString(out, bytes);
}

}  // namespace

Result<std::unique_ptr<TraceBlockWriter>> TraceBlockWriter::Create(const block::SealTarget& target,
                                                                   uint64_t id, Survey* survey,
                                                                   uint64_t fixed_tag) {
  std::unique_ptr<TraceBlockWriter> out(new TraceBlockWriter(survey));
  VARVE_ASSIGN_OR_RETURN(out->file_, block::BlockWriter::Create(target.fs, target.dir, id,
                                                                block::Wing::kTraces, fixed_tag));
  out->PlanColumns();
  VARVE_RETURN_IF_ERROR(out->file_->BeginPagedSection(kSpansSection, 0, kCodecRaw));
  return out;
}

/// Decides which columns there are and how each is coded.
void TraceBlockWriter::PlanColumns() {
  std::map<ColumnName, ColumnFacts>& facts = survey_->columns();
  for (const uint32_t chunk : kTextChunks) {
    ColumnName name;
    name.text_chunk = chunk;
    facts.try_emplace(name);
  }
  // Values of rare keys share one chunk: a column costs about a hundred bytes a group.
  const uint64_t hot_min = std::max<uint64_t>(16, survey_->spans / 512);
  std::vector<uint64_t> counts;
  for (const auto& [name, fact] : facts) {
    if (name.text_chunk == 0 && fact.count >= hot_min) counts.push_back(fact.count);
  }
  uint64_t hot_count = hot_min;
  if (counts.size() > kHotColumnsMax) {
    std::nth_element(counts.begin(), counts.begin() + kHotColumnsMax, counts.end(),
                     std::greater<>());
    hot_count = counts[kHotColumnsMax] + 1;
  }
  const auto add = [this](const ColumnName& name, Coding coding, uint32_t chunk) {
    Column& column = columns_.emplace_back();
    column.name = name;
    column.coding = coding;
    column.chunk = chunk;
    return &column;
  };
  const auto fill = [](Column* column, ColumnFacts* fact) {
    uint64_t bytes = 0;
    for (const std::string_view value : fact->values) bytes += value.size() + 1;
    const uint64_t distinct = fact->values.size();
    if (fact->plain || distinct > kDictionaryValuesMax || bytes > kDictionaryBytesMax ||
        (distinct > 256 && distinct > fact->count / 2)) {
      column->coding = Coding::kPlain;
    } else {
      column->values.assign(fact->values.begin(), fact->values.end());
      column->groups.resize(distinct);
      column->places.reserve(distinct);
      for (uint32_t i = 0; i < distinct; ++i) column->places.emplace(column->values[i], i);
    }
    fact->values.clear();
  };
  for (const uint32_t chunk : kTextChunks) {
    ColumnName name;
    name.text_chunk = chunk;
    text_columns_[chunk] = static_cast<uint32_t>(columns_.size());
    fill(add(name, Coding::kDictionary, chunk), &facts[name]);
  }
  for (auto& [name, fact] : facts) {
    if (name.text_chunk != 0) continue;
    const auto number = static_cast<uint32_t>(columns_.size());
    const uint32_t chunk = kAttributeChunks + number;
    if (name.type == ValueType::kEmpty) {
      add(name, Coding::kNothing, chunk);
    } else if (fact.count < hot_count) {
      add(name, Coding::kCold, chunk);
    } else if (IsTextType(name.type)) {
      fill(add(name, Coding::kDictionary, chunk), &fact);
    } else {
      Column* column = add(name, Coding::kIntegers, chunk);
      column->integers_indexed = name.type != ValueType::kDouble;
    }
    auto [at, fresh] = column_numbers_.try_emplace(name.key);
    if (fresh) at->second.fill(kNoColumn);
    at->second[static_cast<size_t>(name.family) * 8 + static_cast<size_t>(name.type)] = number;
    KeyOf(name.key);
  }
  shape_numbers_.emplace("", 0);
}

uint32_t TraceBlockWriter::KeyOf(std::string_view key) {
  const auto [at, fresh] = key_numbers_.try_emplace(key, static_cast<uint32_t>(keys_.size()));
  if (fresh) keys_.push_back(key);
  return at->second;
}

uint32_t TraceBlockWriter::ColumnOf(Family family, std::string_view key, ValueType type) {
  const auto at = column_numbers_.find(key);
  VARVE_CHECK(at != column_numbers_.end());
  const uint32_t number = at->second[static_cast<size_t>(family) * 8 + static_cast<size_t>(type)];
  VARVE_CHECK(number != kNoColumn);
  return number;
}

// --- Resources and scopes ---

void TraceBlockWriter::EncodeAttributes(AttributesView attributes, std::string* out) {
  PutVarint(out, attributes.size());
  for (const AttributeView& attribute : attributes) {
    PutString(out, attribute.key);
    out->push_back(static_cast<char>(attribute.value.type));
    PutCold(attribute.value, out);
  }
}

uint32_t TraceBlockWriter::AddResource(const ResourceView& resource) {
  std::string bytes;
  PutString(&bytes, resource.schema_url);
  PutVarint(&bytes, resource.dropped_attributes);
  EncodeAttributes(resource.attributes, &bytes);
  const auto [at, fresh] =
      resource_numbers_.try_emplace(bytes, static_cast<uint32_t>(resource_services_.size()));
  if (fresh) {
    resource_bytes_ += bytes;
    const ValueView* service = FindAttribute(resource.attributes, kServiceNameKey);
    const bool text = service != nullptr && service->type == ValueType::kString;
    const auto [number, new_service] = service_numbers_.try_emplace(
        text ? std::string(service->text) : "", static_cast<uint32_t>(services_.size()));
    if (new_service) services_.push_back(number->first);
    resource_services_.push_back(number->second);
  }
  return at->second;
}

uint32_t TraceBlockWriter::AddScope(const ScopeView& scope, uint32_t resource) {
  std::string bytes;
  PutVarint(&bytes, resource);
  PutString(&bytes, scope.name);
  PutString(&bytes, scope.version);
  PutString(&bytes, scope.schema_url);
  PutVarint(&bytes, scope.dropped_attributes);
  EncodeAttributes(scope.attributes, &bytes);
  const auto [at, fresh] =
      scope_numbers_.try_emplace(bytes, static_cast<uint32_t>(scope_services_.size()));
  if (fresh) {
    scope_bytes_ += bytes;
    scope_services_.push_back(resource_services_[resource]);
    scope_groups_.emplace_back();
  }
  return at->second;
}

// --- Spans ---

void TraceBlockWriter::PutCold(const ValueView& value, std::string* out) {
  switch (value.type) {
    case ValueType::kEmpty:
      return;
    case ValueType::kBool:
      out->push_back(value.boolean ? 1 : 0);
      return;
    case ValueType::kInt:
      return PutSigned(out, value.integer);
    case ValueType::kDouble:
      return PutDouble(out, value.number);
    default:
      return PutString(out, value.text);
  }
}

void TraceBlockWriter::AddText(Column* column, std::string_view text) {
  ++column->count;
  if (column->coding == Coding::kPlain) {
    column->integers.push_back(static_cast<int64_t>(text.size()));
    column->bytes += text;
    group_bytes_ += text.size();
    return;
  }
  uint32_t place = column->last_place;
  if (place == UINT32_MAX || column->last_text != text) {
    const auto at = column->places.find(text);
    VARVE_CHECK(at != column->places.end());
    place = at->second;
    column->last_text = column->values[place];
    column->last_place = place;
  }
  column->integers.push_back(place);
  IndexPlace(column, place);
}

void TraceBlockWriter::IndexPlace(Column* column, uint32_t place) {
  std::vector<uint32_t>& groups = column->groups[place];
  const auto group = static_cast<uint32_t>(groups_.size());
  if (groups.empty() || groups.back() != group) groups.push_back(group);
}

void TraceBlockWriter::AddInteger(Column* column, int64_t value) {
  ++column->count;
  column->integers.push_back(value);
  IndexInteger(column, value);
}

void TraceBlockWriter::IndexInteger(Column* column, int64_t value) {
  if (!column->integers_indexed) return;
  const auto group = static_cast<uint32_t>(groups_.size());
  if (column->last_group == group && column->last_integer == value) return;
  column->last_group = group;
  column->last_integer = value;
  std::vector<uint32_t>& groups = column->integer_groups[value];
  if (groups.empty() || groups.back() != group) groups.push_back(group);
  if (column->integer_groups.size() > kPostingsValuesMax) {
    column->integers_indexed = false;
    column->integer_groups.clear();
  }
}

void TraceBlockWriter::AddValue(Column* column, const ValueView& value) {
  switch (value.type) {
    case ValueType::kEmpty:
      ++column->count;
      return;
    case ValueType::kBool:
      return AddInteger(column, value.boolean ? 1 : 0);
    case ValueType::kInt:
      return AddInteger(column, value.integer);
    case ValueType::kDouble:
      return AddInteger(column, std::bit_cast<int64_t>(value.number));
    default:
      return AddText(column, value.text);
  }
}

uint32_t TraceBlockWriter::ShapeOf(std::span<const uint32_t> columns) {
  if (columns.size() > kShapeAttributesMax) return kInlineShape;
  const std::string_view key(reinterpret_cast<const char*>(columns.data()), columns.size_bytes());
  const auto found = shape_numbers_.find(key);
  if (found != shape_numbers_.end()) return found->second;
  if (shapes_ >= kShapesMax) return kInlineShape;
  shape_numbers_.emplace(std::string(key), shapes_);
  PutVarint(&shape_bytes_, columns.size());
  for (const uint32_t number : columns) PutVarint(&shape_bytes_, number);
  return shapes_++;
}

void TraceBlockWriter::AddAttributes(Family family, AttributesView attributes) {
  FamilyState& state = families_[static_cast<size_t>(family)];
  if (attributes.empty()) {
    state.shapes.Add(0);
    return;
  }
  set_columns_.clear();
  for (size_t i = 0; i < attributes.size(); ++i) {
    const AttributeView& attribute = attributes[i];
    uint32_t number = kNoColumn;
    if (i < state.last_columns.size()) {
      const ColumnName& name = columns_[state.last_columns[i]].name;
      if (name.type == attribute.value.type && name.key == attribute.key) {
        number = state.last_columns[i];
      }
    }
    if (number == kNoColumn) number = ColumnOf(family, attribute.key, attribute.value.type);
    set_columns_.push_back(number);
  }
  state.last_columns = set_columns_;
  const uint32_t shape = ShapeOf(set_columns_);
  state.shapes.Add(shape);
  const size_t cold_before = state.cold.size();
  if (shape == kInlineShape) {
    inline_shapes_ = true;
    PutVarint(&state.cold, set_columns_.size());
    for (const uint32_t number : set_columns_) PutVarint(&state.cold, number);
  }
  for (size_t i = 0; i < attributes.size(); ++i) {
    Column& column = columns_[set_columns_[i]];
    const ValueView& value = attributes[i].value;
    if (shape == kInlineShape || column.coding == Coding::kCold) {
      ++column.count;
      PutCold(value, &state.cold);
      continue;
    }
    AddValue(&column, value);
  }
  group_bytes_ += state.cold.size() - cold_before + 16 * attributes.size();
}

Status TraceBlockWriter::AddTrace(const SpanBatch& spans, std::span<const uint32_t> order,
                                  std::span<const uint32_t> scopes) {
  VARVE_RETURN_IF_ERROR(failed_);
  if (order.empty()) return absl::OkStatus();
  const TraceId& id = spans.spans()[order[0]].trace_id;
  trace_hashes_.push_back({Hash64(BytesOf(id)), pieces_});
  while (!order.empty()) {
    // A trace that fits stays whole; a huge one is cut.
    const size_t piece = order.size() <= 2 * kGroupRows ? order.size() : kGroupRows;
    failed_ = AddPiece(spans, order.first(piece), scopes);
    VARVE_RETURN_IF_ERROR(failed_);
    order = order.subspan(piece);
  }
  return absl::OkStatus();
}

Status TraceBlockWriter::AddPiece(const SpanBatch& spans, std::span<const uint32_t> order,
                                  std::span<const uint32_t> scopes) {
  const auto group = static_cast<uint32_t>(groups_.size());
  parent_places_.clear();
  for (uint32_t i = 0; i < order.size(); ++i) {
    parent_places_.try_emplace(Load64(spans.spans()[order[i]].span_id), i);
  }
  trace_ids_ += BytesOf(spans.spans()[order[0]].trace_id);
  piece_rows_.push_back(0);
  for (uint32_t i = 0; i < order.size(); ++i) {
    if (GroupBytes() > kGroupBytes && piece_rows_.back() > 0) {
      // Texts fill the group before the piece ends: the rest is a piece of its own.
      ++pieces_;
      VARVE_RETURN_IF_ERROR(CloseGroup());
      return AddPiece(spans, order.subspan(i), scopes);
    }
    const SpanBatch::Span& span = spans.spans()[order[i]];
    ++piece_rows_.back();
    span_ids_ += BytesOf(span.span_id);
    int64_t parent = 0;
    if (!span.parent_id.empty()) {
      const auto at = parent_places_.find(Load64(span.parent_id));
      // A parent behind a cut that is still to come may land in another group.
      if (at != parent_places_.end() && at->second <= i) {
        parent = static_cast<int64_t>(i - at->second) + 2;
      } else {
        parent = 1;
        external_parents_ += BytesOf(span.parent_id);
      }
    }
    parents_.push_back(parent);
    starts_.push_back(span.start_ns);
    durations_.push_back(WrapSub(span.end_ns, span.start_ns));
    const uint32_t scope = scopes[order[i]];
    scopes_.push_back(scope);
    if (scope_groups_[scope].empty() || scope_groups_[scope].back() != group) {
      scope_groups_[scope].push_back(group);
    }
    const int64_t kind = static_cast<int64_t>(span.kind) | static_cast<int64_t>(span.status) << 4;
    if (kinds_.empty() || kinds_.back() != kind) {
      std::vector<uint32_t>& groups = kind_groups_[kind];
      if (groups.empty() || groups.back() != group) groups.push_back(group);
    }
    kinds_.push_back(kind);
    AddText(&columns_[text_columns_[kNamesChunk]], span.name);
    AddText(&columns_[text_columns_[kTraceStatesChunk]], span.trace_state);
    AddText(&columns_[text_columns_[kStatusMessagesChunk]], span.status_message);
    flags_.Add(span.flags);
    dropped_attributes_.Add(span.dropped_attributes);
    dropped_events_.Add(span.dropped_events);
    dropped_links_.Add(span.dropped_links);
    AddAttributes(Family::kSpan, spans.attributes(span.attributes));
    event_counts_.Add(span.events.count);
    for (const SpanBatch::Event& event : spans.events(span)) {
      event_times_.push_back(WrapSub(event.time_ns, span.start_ns));
      AddText(&columns_[text_columns_[kEventNamesChunk]], event.name);
      event_dropped_.Add(event.dropped_attributes);
      AddAttributes(Family::kEvent, spans.attributes(event.attributes));
    }
    link_counts_.Add(span.links.count);
    for (const SpanBatch::Link& link : spans.links(span)) {
      link_ids_ += BytesOf(link.trace_id);
      link_ids_ += BytesOf(link.span_id);
      AddText(&columns_[text_columns_[kLinkStatesChunk]], link.trace_state);
      link_dropped_.Add(link.dropped_attributes);
      link_flags_.Add(link.flags);
      AddAttributes(Family::kLink, spans.attributes(link.attributes));
    }
    const int64_t duration = DurationOf(span.start_ns, span.end_ns);
    if (starts_.size() == 1) {
      group_.min_start = group_.max_start = span.start_ns;
      group_.min_duration = group_.max_duration = duration;
    }
    group_.min_start = std::min(group_.min_start, span.start_ns);
    group_.max_start = std::max(group_.max_start, span.start_ns);
    group_.min_duration = std::min(group_.min_duration, duration);
    group_.max_duration = std::max(group_.max_duration, duration);
    AddOperation(scope_services_[scope], span.name, span.kind);
  }
  ++pieces_;
  if (starts_.size() >= kGroupRows || GroupBytes() > kGroupBytes) return CloseGroup();
  return absl::OkStatus();
}

void TraceBlockWriter::AddOperation(uint32_t service, std::string_view name, SpanKind kind) {
  const Column& names = columns_[text_columns_[kNamesChunk]];
  if (names.coding != Coding::kDictionary) {
    if (operations_.size() < kOperationsMax) {
      operations_.insert({service, std::string(name), static_cast<uint8_t>(kind)});
    }
    return;
  }
  AddOperation(service, names.last_place, kind);  // the name was just added
}

void TraceBlockWriter::AddOperation(uint32_t service, uint32_t name_place, SpanKind kind) {
  const uint64_t operation =
      uint64_t{service} << 32 | uint64_t{name_place} << 8 | static_cast<uint64_t>(kind);
  uint64_t& recent = recent_operations_[(operation ^ operation >> 8 ^ operation >> 32) & 255];
  if (recent == operation) return;
  recent = operation;
  if (operation_places_.size() < kOperationsMax) operation_places_.insert(operation);
}

uint64_t TraceBlockWriter::GroupBytes() const {
  return group_bytes_ + event_counts_.size() * 8 + link_ids_.size() + event_times_.size() * 16;
}

// --- Groups ---

Status TraceBlockWriter::PutChunk(uint32_t chunk, std::string_view bytes) {
  if (bytes.empty()) return absl::OkStatus();
  group_.chunks.push_back({chunk, bytes.size()});
  return file_->Append(bytes);
}

Status TraceBlockWriter::PutIntegers(uint32_t chunk, std::vector<int64_t>* values) {
  scratch_.clear();
  if (!values->empty()) encoder_.Encode(*values, &scratch_);
  values->clear();
  return PutChunk(chunk, scratch_);
}
Status TraceBlockWriter::PutIntegers(uint32_t chunk, MostlyZeros* values) {
  VARVE_RETURN_IF_ERROR(PutIntegers(chunk, &values->values()));
  values->Clear();
  return absl::OkStatus();
}

void TraceBlockWriter::EncodePlain(Column* column, std::string* out) {
  std::string filter_bytes;
  const std::vector<int64_t>& lengths = column->integers;
  std::vector<std::string_view> texts;
  size_t at = 0;
  for (const int64_t length : lengths) {
    texts.push_back(std::string_view(column->bytes).substr(at, static_cast<size_t>(length)));
    at += static_cast<size_t>(length);
  }
  const size_t first = texts[0].size();
  const bool one_length = std::all_of(texts.begin(), texts.end(),
                                      [first](std::string_view t) { return t.size() == first; });
  const bool uuid = one_length && std::all_of(texts.begin(), texts.end(), IsUuid);
  const bool hex = !uuid && one_length && first >= 2 && first % 2 == 0 && first <= 64 &&
                   std::all_of(texts.begin(), texts.end(), IsHex);
  if (column->name.type == ValueType::kString && texts.size() >= kFilterValuesMin) {
    std::vector<uint64_t> hashes;
    for (const std::string_view text : texts) hashes.push_back(Hash64(text));
    const auto filter = index::BinaryFuse::Build(std::move(hashes), 8);
    if (filter.ok()) filter->AppendTo(&filter_bytes);
  }
  if (uuid || hex) {
    out->push_back(static_cast<char>(uuid ? TextMode::kUuid : TextMode::kHex));
    PutString(out, filter_bytes);
    PutVarint(out, first);
    for (const std::string_view text : texts) PutHex(text, out);
  } else {
    std::string frame;
    Compress(column->bytes, &frame);
    const bool smaller = frame.size() < column->bytes.size();
    out->push_back(static_cast<char>(smaller ? TextMode::kZstd : TextMode::kRaw));
    PutString(out, filter_bytes);
    encoder_.Encode(lengths, out);
    PutString(out, smaller ? std::string_view(frame) : std::string_view(column->bytes));
  }
}

Status TraceBlockWriter::PutColumn(Column* column) {
  if (column->integers.empty()) return absl::OkStatus();
  scratch_.clear();
  bool skip = false;
  if (column->coding == Coding::kPlain) {
    EncodePlain(column, &scratch_);
  } else {
    // Texts that are nearly always empty: nothing is written where all of them are.
    skip = column->name.text_chunk != 0 &&
           std::all_of(column->integers.begin(), column->integers.end(),
                       [&](int64_t place) { return column->values[place].empty(); });
    if (!skip) encoder_.Encode(column->integers, &scratch_);
  }
  column->integers.clear();
  column->bytes.clear();
  column->last_group = UINT32_MAX;
  return PutChunk(column->chunk, scratch_);
}

Status TraceBlockWriter::PutColdValues(uint32_t family) {
  std::string& cold = families_[family].cold;
  if (cold.empty()) return absl::OkStatus();
  scratch_.clear();
  PutVarint(&scratch_, cold.size());
  Compress(cold, &scratch_);
  cold.clear();
  return PutChunk(kSpanColdChunk + family, scratch_);
}

Status TraceBlockWriter::CloseGroup() {
  if (starts_.empty()) return absl::OkStatus();
  group_.rows = static_cast<uint32_t>(starts_.size());
  group_.pieces = static_cast<uint32_t>(piece_rows_.size());
  group_.events = static_cast<uint32_t>(event_times_.size());
  group_.links = static_cast<uint32_t>(link_flags_.size());
  group_.offset = file_->section_offset();
  encoder_.Encode(piece_rows_, &trace_ids_);
  VARVE_RETURN_IF_ERROR(PutChunk(kTraceIdsChunk, trace_ids_));
  VARVE_RETURN_IF_ERROR(PutChunk(kSpanIdsChunk, span_ids_));
  scratch_.clear();
  encoder_.Encode(parents_, &scratch_);
  scratch_ += external_parents_;
  VARVE_RETURN_IF_ERROR(PutChunk(kParentsChunk, scratch_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kStartsChunk, &starts_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kDurationsChunk, &durations_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kScopesChunk, &scopes_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kKindsChunk, &kinds_));
  VARVE_RETURN_IF_ERROR(PutColumn(&columns_[text_columns_[kNamesChunk]]));
  VARVE_RETURN_IF_ERROR(PutIntegers(kFlagsChunk, &flags_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kDroppedAttributesChunk, &dropped_attributes_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kDroppedEventsChunk, &dropped_events_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kDroppedLinksChunk, &dropped_links_));
  VARVE_RETURN_IF_ERROR(PutColumn(&columns_[text_columns_[kTraceStatesChunk]]));
  VARVE_RETURN_IF_ERROR(PutColumn(&columns_[text_columns_[kStatusMessagesChunk]]));
  const auto shapes = [this](Family family) {
    return &families_[static_cast<size_t>(family)].shapes;
  };
  VARVE_RETURN_IF_ERROR(PutIntegers(kSpanShapesChunk, shapes(Family::kSpan)));
  VARVE_RETURN_IF_ERROR(PutIntegers(kEventCountsChunk, &event_counts_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kEventTimesChunk, &event_times_));
  VARVE_RETURN_IF_ERROR(PutColumn(&columns_[text_columns_[kEventNamesChunk]]));
  VARVE_RETURN_IF_ERROR(PutIntegers(kEventDroppedChunk, &event_dropped_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kEventShapesChunk, shapes(Family::kEvent)));
  VARVE_RETURN_IF_ERROR(PutIntegers(kLinkCountsChunk, &link_counts_));
  VARVE_RETURN_IF_ERROR(PutChunk(kLinkIdsChunk, link_ids_));
  VARVE_RETURN_IF_ERROR(PutColumn(&columns_[text_columns_[kLinkStatesChunk]]));
  VARVE_RETURN_IF_ERROR(PutIntegers(kLinkDroppedChunk, &link_dropped_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kLinkFlagsChunk, &link_flags_));
  VARVE_RETURN_IF_ERROR(PutIntegers(kLinkShapesChunk, shapes(Family::kLink)));
  for (uint32_t f = 0; f < kFamilies; ++f) VARVE_RETURN_IF_ERROR(PutColdValues(f));
  for (size_t c = kTextChunks.size(); c < columns_.size(); ++c) {
    VARVE_RETURN_IF_ERROR(PutColumn(&columns_[c]));
  }
  EndGroup();
  trace_ids_.clear();
  span_ids_.clear();
  external_parents_.clear();
  link_ids_.clear();
  piece_rows_.clear();
  parents_.clear();
  return absl::OkStatus();
}

void TraceBlockWriter::EndGroup() {
  rows_ += group_.rows;
  min_start_ = std::min(min_start_, group_.min_start);
  max_start_ = std::max(max_start_, group_.max_start);
  groups_.push_back(std::move(group_));
  group_ = GroupEntry{};
  group_bytes_ = 0;
}

// --- The rest of the file ---

Status TraceBlockWriter::PutSection(block::SectionType type, std::string_view bytes,
                                    uint64_t items) {
  std::string packed;
  PutVarint(&packed, bytes.size());
  Compress(bytes, &packed);
  return file_->AddSection(type, 0, kCodecZstd, packed, bytes.size(), items);
}

Status TraceBlockWriter::WriteIndexes() {
  std::string bytes;
  PutVarint(&bytes, keys_.size());
  for (const std::string_view key : keys_) PutString(&bytes, key);
  PutVarint(&bytes, resource_services_.size());
  bytes += resource_bytes_;
  PutVarint(&bytes, scope_services_.size());
  bytes += scope_bytes_;
  VARVE_RETURN_IF_ERROR(PutSection(kResourcesSection, bytes, scope_services_.size()));

  bytes.assign(1, inline_shapes_ ? 1 : 0);
  PutVarint(&bytes, shapes_ - 2);
  bytes += shape_bytes_;
  VARVE_RETURN_IF_ERROR(PutSection(kShapesSection, bytes, shapes_ - 2));

  // Dictionaries and postings; the columns section says where each begins.
  std::string columns;
  std::string dictionaries;
  std::string postings;
  std::string part;
  uint64_t dictionary_raw = 0;
  for (const std::vector<uint32_t>& groups : scope_groups_) PutPostings(groups, &postings);
  PutVarint(&columns, postings.size());
  part.clear();
  PutVarint(&part, kind_groups_.size());
  for (const auto& [kind, groups] : kind_groups_) {
    PutSigned(&part, kind);
    PutPostings(groups, &part);
  }
  postings += part;
  PutVarint(&columns, part.size());
  PutVarint(&columns, columns_.size());
  for (Column& column : columns_) {
    columns.push_back(static_cast<char>(column.name.family));
    columns.push_back(static_cast<char>(column.name.type));
    columns.push_back(static_cast<char>(column.coding));
    if (column.name.text_chunk == 0) PutVarint(&columns, KeyOf(column.name.key));
    PutVarint(&columns, column.count);
    if (column.coding == Coding::kDictionary) {
      std::string values;
      for (const std::string_view value : column.values) PutString(&values, value);
      std::string frame;
      Compress(values, &frame);
      PutVarint(&columns, column.values.size());
      PutVarint(&columns, values.size());
      PutVarint(&columns, frame.size());
      dictionaries += frame;
      dictionary_raw += values.size();
    }
    part.clear();
    if (column.coding == Coding::kDictionary && column.values.size() <= kPostingsValuesMax) {
      for (const std::vector<uint32_t>& groups : column.groups) PutPostings(groups, &part);
    }
    if (column.coding == Coding::kIntegers && column.integers_indexed) {
      std::map<int64_t, std::vector<uint32_t>> sorted(column.integer_groups.begin(),
                                                      column.integer_groups.end());
      PutVarint(&part, sorted.size());
      for (const auto& [value, groups] : sorted) {
        PutSigned(&part, value);
        PutPostings(groups, &part);
      }
    }
    PutVarint(&columns, part.size());
    postings += part;
  }
  VARVE_RETURN_IF_ERROR(PutSection(kColumnsSection, columns, columns_.size()));
  const auto paged = [this](block::SectionType type, uint8_t codec, std::string_view content,
                            uint64_t raw) -> Status {
    VARVE_RETURN_IF_ERROR(file_->BeginPagedSection(type, 0, codec));
    VARVE_RETURN_IF_ERROR(file_->Append(content));
    return file_->EndPagedSection(raw, 0);
  };
  VARVE_RETURN_IF_ERROR(paged(kDictionariesSection, kCodecZstd, dictionaries, dictionary_raw));
  VARVE_RETURN_IF_ERROR(paged(kPostingsSection, kCodecRaw, postings, 0));

  bytes.clear();
  PutVarint(&bytes, groups_.size());
  int64_t before = 0;
  for (const GroupEntry& group : groups_) {
    PutVarint(&bytes, group.rows);
    PutVarint(&bytes, group.pieces);
    PutVarint(&bytes, group.events);
    PutVarint(&bytes, group.links);
    PutSigned(&bytes, WrapSub(group.min_start, before));
    PutSigned(&bytes, WrapSub(group.max_start, group.min_start));
    PutVarint(&bytes, static_cast<uint64_t>(group.min_duration));
    PutVarint(&bytes, static_cast<uint64_t>(group.max_duration));
    PutVarint(&bytes, group.chunks.size());
    uint32_t last = 0;
    for (const auto& [chunk, size] : group.chunks) {
      PutVarint(&bytes, chunk - last);
      PutVarint(&bytes, size);
      last = chunk;
    }
    before = group.min_start;
  }
  VARVE_RETURN_IF_ERROR(PutSection(kGroupsSection, bytes, groups_.size()));

  bytes.clear();
  for (const uint64_t operation : operation_places_) {
    const std::string_view name =
        columns_[text_columns_[kNamesChunk]].values[operation >> 8 & 0xffffff];
    operations_.insert({static_cast<uint32_t>(operation >> 32), std::string(name),
                        static_cast<uint8_t>(operation)});
  }
  PutVarint(&bytes, services_.size());
  for (const std::string& service : services_) PutString(&bytes, service);
  PutVarint(&bytes, operations_.size());
  for (const auto& [service, name, kind] : operations_) {
    PutVarint(&bytes, service);
    PutString(&bytes, name);
    bytes.push_back(static_cast<char>(kind));
  }
  return PutSection(kOperationsSection, bytes, operations_.size());
}

Status TraceBlockWriter::WriteTraceTable() {
  std::vector<uint64_t> hashes;
  for (const auto& [hash, piece] : trace_hashes_) hashes.push_back(hash);
  std::string bytes;
  // A filter that cannot be made is left out; the table alone decides then.
  const auto filter = index::BinaryFuse::Build(std::move(hashes), 8);
  if (filter.ok()) {
    filter->AppendTo(&bytes);
    VARVE_RETURN_IF_ERROR(file_->AddSection(kTraceFilterSection, block::kSkippable, kCodecRaw,
                                            bytes, 0, trace_hashes_.size()));
  }
  const uint64_t buckets = trace_hashes_.size() / kTraceBucketPieces + 1;
  const auto bucket_of = [buckets](uint64_t hash) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(hash) * buckets) >> 64);
  };
  std::sort(trace_hashes_.begin(), trace_hashes_.end());
  bytes.clear();
  PutFixed(&bytes, static_cast<uint32_t>(buckets));
  PutFixed(&bytes, static_cast<uint32_t>(trace_hashes_.size()));
  size_t at = 0;
  for (uint64_t bucket = 0; bucket < buckets; ++bucket) {
    while (at < trace_hashes_.size() && bucket_of(trace_hashes_[at].first) <= bucket) ++at;
    PutFixed(&bytes, static_cast<uint32_t>(at));
  }
  for (const auto& [hash, piece] : trace_hashes_) PutFixed(&bytes, piece);
  for (const auto& [hash, piece] : trace_hashes_) PutFixed(&bytes, static_cast<uint16_t>(hash));
  return file_->AddSection(kTraceTableSection, 0, kCodecRaw, bytes, 0, trace_hashes_.size());
}

Result<block::BlockMeta> TraceBlockWriter::Finish(block::BlockMeta meta) {
  VARVE_RETURN_IF_ERROR(failed_);
  VARVE_RETURN_IF_ERROR(CloseGroup());
  VARVE_RETURN_IF_ERROR(file_->EndPagedSection(0, rows_));
  VARVE_RETURN_IF_ERROR(WriteIndexes());
  VARVE_RETURN_IF_ERROR(WriteTraceTable());
  meta.min_time = min_start_;
  meta.max_time = max_start_;
  meta.rows = rows_;
  meta.series = trace_hashes_.size();
  return file_->Finish(std::move(meta));
}

}  // namespace varve::traces
