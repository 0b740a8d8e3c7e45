#include "engine/traces/group_copy.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/base/hash.h"
#include "engine/base/macros.h"

namespace varve::traces {
namespace {

constexpr uint32_t kUnknown = UINT32_MAX;
constexpr uint32_t kShapeChunks[kFamilies] = {kSpanShapesChunk, kEventShapesChunk,
                                              kLinkShapesChunk};

/// How many texts of one of kTextChunks a group has.
uint32_t TextsOf(const Block::Group& group, uint32_t text_column) {
  switch (kTextChunks[text_column]) {
    case kEventNamesChunk:
      return group.events;
    case kLinkStatesChunk:
      return group.links;
    default:
      return group.rows;
  }
}

}  // namespace

GroupCopier::GroupCopier(const Block& from, TraceBlockWriter* to,
                         std::function<uint32_t(uint32_t)> scope)
    : from_(from),
      to_(to),
      scope_(std::move(scope)),
      columns_(from.columns().size()),
      shapes_(from.shape_count(), kUnknown) {
  for (uint32_t c = 0; c < columns_.size(); ++c) {
    const Block::Column& column = from_.columns()[c];
    columns_[c].number = column.text_chunk != 0
                             ? to_->text_columns_[column.text_chunk]
                             : to_->ColumnOf(column.family, from_.key(column.key), column.type);
    if (column.count > 0 && (From(c) == Coding::kCold) != (To(c) == Coding::kCold)) {
      recodes_[static_cast<size_t>(column.family)] = true;
    }
  }
  if (!shapes_.empty()) shapes_[0] = 0;
}

Result<bool> GroupCopier::ReadShapes(const Block::Group& group, Family family) {
  const auto number = static_cast<size_t>(family);
  Integers& out = family_shapes_[number];
  out.renumbered = false;
  const uint32_t counts[kFamilies] = {group.rows, group.events, group.links};
  VARVE_RETURN_IF_ERROR(from_.Integers(group, kShapeChunks[number], counts[number], &out.values));
  if (recodes_[number]) old_shapes_[number] = out.values;
  int64_t last = 0;  // runs of one shape are the rule
  uint32_t mapped = 0;
  for (int64_t& shape : out.values) {
    if (shape != last) {
      if (shape < 0 || shape >= from_.shape_count()) {
        return from_.Damage(group, "traces: no such shape");
      }
      last = shape;
      uint32_t& known = shapes_[static_cast<size_t>(shape)];
      if (known == kUnknown) {
        std::vector<uint32_t> columns;
        for (const uint32_t c : from_.shape(static_cast<uint32_t>(shape))) {
          columns.push_back(columns_[c].number);
        }
        // A set whose columns stand beside its values names them by the old block's numbers.
        known = columns.empty() ? kInlineShape : to_->ShapeOf(columns);
      }
      mapped = known;
      if (mapped == kInlineShape) return false;
    }
    if (shape == 0) continue;
    for (const uint32_t c : from_.shape(static_cast<uint32_t>(shape))) {
      if (columns_[c].count++ == 0) used_.push_back(c);
    }
    if (shape != mapped) {
      shape = mapped;
      out.renumbered = true;
    }
  }
  return true;
}

Status GroupCopier::Renumber(const Block::Group& group, uint32_t column, Integers* places) {
  Mapped& mapped = columns_[column];
  TraceBlockWriter::Column& to = ColumnTo(mapped);
  VARVE_ASSIGN_OR_RETURN(const Block::Dictionary* dictionary, from_.DictionaryOf(column));
  if (mapped.places.empty()) {
    for (const std::string_view value : dictionary->values) {
      const auto at = to.places.find(value);
      VARVE_CHECK(at != to.places.end());  // the survey took them all
      mapped.places.push_back(at->second);
    }
  }
  places->renumbered = false;
  for (int64_t& place : places->values) {
    if (place < 0 || static_cast<uint64_t>(place) >= mapped.places.size()) {
      return from_.Damage(group, "traces: no such text in the dictionary");
    }
    const uint32_t known = mapped.places[static_cast<size_t>(place)];
    if (known != place) {
      place = known;
      places->renumbered = true;
    }
    to_->IndexPlace(&to, known);
  }
  return absl::OkStatus();
}

Result<bool> GroupCopier::ReadTexts(const Block::Group& group, uint32_t text_column,
                                    uint32_t count) {
  Integers& out = texts_[text_column];
  out.values.clear();
  out.renumbered = false;
  if (count == 0) return true;
  const Block::Column& column = from_.columns()[text_column];
  // Names that are in no dictionary would have to be read for the list of operations.
  if (column.text_chunk == kNamesChunk && To(text_column) != Coding::kDictionary) return false;
  if (column.coding != Coding::kDictionary || To(text_column) != Coding::kDictionary) return true;
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, from_.ChunkBytes(group, column.chunk));
  if (!bytes.empty()) {
    VARVE_RETURN_IF_ERROR(from_.Integers(group, column.chunk, count, &out.values));
    return true;
  }
  // All are empty: their place is the empty text's, which comes first.
  VARVE_ASSIGN_OR_RETURN(const Block::Dictionary* dictionary, from_.DictionaryOf(text_column));
  if (dictionary->values.empty() || !dictionary->values[0].empty()) {
    return from_.Damage(group, "traces: texts are missing");
  }
  out.values.assign(count, 0);
  return true;
}

Status GroupCopier::ReadScopes(const Block::Group& group) {
  VARVE_RETURN_IF_ERROR(from_.Integers(group, kScopesChunk, group.rows, &scopes_.values));
  VARVE_RETURN_IF_ERROR(from_.Integers(group, kKindsChunk, group.rows, &kinds_));
  scopes_.renumbered = false;
  int64_t last = -1;
  uint32_t mapped = 0;
  for (uint32_t r = 0; r < group.rows; ++r) {
    int64_t& scope = scopes_.values[r];
    if (scope < 0 || scope >= from_.scope_count() || kinds_[r] < 0 || (kinds_[r] & 15) > 5 ||
        kinds_[r] >> 4 > 2) {
      return from_.Damage(group, "traces: a span makes no sense");
    }
    if (scope != last) {
      last = scope;
      mapped = scope_(static_cast<uint32_t>(scope));
    }
    if (mapped != scope) {
      scope = mapped;
      scopes_.renumbered = true;
    }
  }
  return absl::OkStatus();
}

Status GroupCopier::RecodeTexts(const Block::Group& group, uint32_t column, uint32_t count) {
  TraceBlockWriter::Column& to = ColumnTo(columns_[column]);
  std::vector<std::string_view> texts;
  std::vector<std::string> owners;
  owners.reserve(1);
  VARVE_RETURN_IF_ERROR(
      from_.Texts(group, from_.columns()[column], count, {0, count}, &texts, &owners));
  for (const std::string_view text : texts) to_->AddText(&to, text);
  return to_->PutColumn(&to);
}

Status GroupCopier::ReadValues(const Block::Group& group, uint32_t column) {
  const Block::Column& from = from_.columns()[column];
  Mapped& mapped = columns_[column];
  mapped.values.clear();
  mapped.next = 0;
  if (from.coding == Coding::kIntegers) {
    std::vector<int64_t> integers;
    VARVE_RETURN_IF_ERROR(from_.Integers(group, from.chunk, mapped.count, &integers));
    for (const int64_t bits : integers) {
      mapped.values.push_back(from.type == ValueType::kBool ? ValueView::Bool(bits != 0)
                              : from.type == ValueType::kDouble
                                  ? ValueView::Double(std::bit_cast<double>(bits))
                                  : ValueView::Int(bits));
    }
    return absl::OkStatus();
  }
  std::vector<std::string_view> texts;
  VARVE_RETURN_IF_ERROR(
      from_.Texts(group, from, mapped.count, {0, mapped.count}, &texts, &texts_kept_));
  for (const std::string_view text : texts) {
    ValueView& value = mapped.values.emplace_back();
    value.type = from.type;
    value.text = text;
  }
  return absl::OkStatus();
}

Status GroupCopier::RecodeRareValues(const Block::Group& group, uint32_t family) {
  texts_kept_.clear();
  texts_kept_.reserve(used_.size() + 1);  // views into them stay
  for (const uint32_t c : used_) {
    if (static_cast<uint32_t>(from_.columns()[c].family) == family && To(c) == Coding::kCold &&
        From(c) != Coding::kCold) {
      VARVE_RETURN_IF_ERROR(ReadValues(group, c));
    }
  }
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                         from_.ChunkBytes(group, kSpanColdChunk + family));
  std::string_view rare;
  if (!bytes.empty()) {
    ByteReader in(bytes);
    const uint64_t raw = in.Varint();
    std::string& inflated = texts_kept_.emplace_back();
    if (!in.ok() || !Inflate(in.Bytes(in.left()), raw, &inflated)) {
      return from_.Damage(group, "traces: rare values do not inflate");
    }
    rare = inflated;
  }
  ByteReader in(rare);
  std::string* out = &to_->families_[family].cold;
  for (const int64_t shape : old_shapes_[family]) {
    for (const uint32_t c : from_.shape(static_cast<uint32_t>(shape))) {
      TraceBlockWriter::Column& to = ColumnTo(columns_[c]);
      ValueView value;
      if (From(c) == Coding::kCold) {
        if (!ReadValue(&in, from_.columns()[c].type, &value)) {
          return from_.Damage(group, "traces: rare values do not parse");
        }
      } else if (to.coding == Coding::kCold) {
        value = columns_[c].values[columns_[c].next++];
      } else {
        continue;
      }
      if (to.coding == Coding::kCold) {
        ++to.count;
        to_->PutCold(value, out);
      } else {
        to_->AddValue(&to, value);
      }
    }
  }
  return to_->PutColdValues(family);
}

void GroupCopier::NoteOperations() {
  const auto number = static_cast<uint32_t>(to_->groups_.size());
  const std::vector<int64_t>& names = texts_[TextColumn(kNamesChunk)].values;
  for (size_t r = 0; r < names.size(); ++r) {
    const auto scope = static_cast<size_t>(scopes_.values[r]);
    std::vector<uint32_t>& groups = to_->scope_groups_[scope];
    if (groups.empty() || groups.back() != number) groups.push_back(number);
    if (r == 0 || kinds_[r] != kinds_[r - 1]) {
      std::vector<uint32_t>& same = to_->kind_groups_[kinds_[r]];
      if (same.empty() || same.back() != number) same.push_back(number);
    }
    to_->AddOperation(to_->scope_services_[scope], static_cast<uint32_t>(names[r]),
                      static_cast<SpanKind>(kinds_[r] & 15));
  }
}

Status GroupCopier::NoteTraces(const Block::Group& group) {
  std::vector<TraceId> ids;
  std::vector<uint32_t> begins;
  VARVE_RETURN_IF_ERROR(from_.Pieces(group, &ids, &begins));
  for (uint32_t p = 0; p < ids.size(); ++p) {  // each a trace
    to_->trace_hashes_.push_back({Hash64(BytesOf(ids[p])), to_->pieces_ + p});
  }
  to_->pieces_ += group.pieces;
  return absl::OkStatus();
}

Status GroupCopier::Put(const Block::Group& group, uint32_t chunk, uint32_t as,
                        const Integers* integers) {
  if (integers == nullptr || !integers->renumbered) {
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, from_.ChunkBytes(group, chunk));
    return to_->PutChunk(as, bytes);
  }
  scratch_.clear();
  to_->encoder_.Encode(integers->values, &scratch_);
  return to_->PutChunk(as, scratch_);
}

Status GroupCopier::PutFixedChunks(const Block::Group& group) {
  // What was left out (no shapes, none but empty texts) is never renumbered.
  std::array<const Integers*, kAttributeChunks> numbers{};
  numbers[kScopesChunk] = &scopes_;
  for (uint32_t f = 0; f < kFamilies; ++f) numbers[kShapeChunks[f]] = &family_shapes_[f];
  for (uint32_t t = 0; t < kTextChunks.size(); ++t) numbers[kTextChunks[t]] = &texts_[t];
  for (uint32_t chunk = 0; chunk < kAttributeChunks; ++chunk) {
    const uint32_t text_column = TextColumn(chunk);
    const bool is_text = kTextChunks[text_column] == chunk;
    const uint32_t family = chunk - kSpanColdChunk;
    if (is_text && From(text_column) != To(text_column) && TextsOf(group, text_column) > 0) {
      VARVE_RETURN_IF_ERROR(RecodeTexts(group, text_column, TextsOf(group, text_column)));
    } else if (family < kFamilies && recodes_[family]) {
      VARVE_RETURN_IF_ERROR(RecodeRareValues(group, family));
    } else {
      VARVE_RETURN_IF_ERROR(Put(group, chunk, chunk, numbers[chunk]));
    }
  }
  return absl::OkStatus();
}

Status GroupCopier::PutColumns(const Block::Group& group) {
  std::sort(used_.begin(), used_.end(),
            [&](uint32_t a, uint32_t b) { return columns_[a].number < columns_[b].number; });
  Integers integers;
  for (const uint32_t c : used_) {
    const Block::Column& column = from_.columns()[c];
    TraceBlockWriter::Column& to = ColumnTo(columns_[c]);
    integers.renumbered = false;
    if (column.coding == Coding::kCold && to.coding != Coding::kCold) {
      VARVE_RETURN_IF_ERROR(to_->PutColumn(&to));  // RecodeRareValues gathered it
      continue;
    }
    if (to.coding == Coding::kCold && recodes_[static_cast<size_t>(column.family)]) continue;
    if (column.coding != to.coding) {
      VARVE_RETURN_IF_ERROR(RecodeTexts(group, c, columns_[c].count));
      continue;
    }
    to.count += columns_[c].count;
    if (column.coding == Coding::kCold || column.coding == Coding::kNothing) continue;
    if (column.coding == Coding::kDictionary) {
      VARVE_RETURN_IF_ERROR(
          from_.Integers(group, column.chunk, columns_[c].count, &integers.values));
      VARVE_RETURN_IF_ERROR(Renumber(group, c, &integers));
    } else if (column.coding == Coding::kIntegers && to.integers_indexed) {
      VARVE_RETURN_IF_ERROR(
          from_.Integers(group, column.chunk, columns_[c].count, &integers.values));
      for (const int64_t value : integers.values) to_->IndexInteger(&to, value);
      to.last_group = kUnknown;
    }
    VARVE_RETURN_IF_ERROR(Put(group, column.chunk, to.chunk, &integers));
  }
  return absl::OkStatus();
}

Result<bool> GroupCopier::Add(uint32_t number) {
  const Block::Group& group = from_.groups()[number];
  for (const uint32_t c : used_) columns_[c].count = 0;
  used_.clear();
  // First all that may say no.
  for (const Family family : {Family::kSpan, Family::kEvent, Family::kLink}) {
    VARVE_ASSIGN_OR_RETURN(const bool fits, ReadShapes(group, family));
    if (!fits) return false;
  }
  for (uint32_t t = 0; t < kTextChunks.size(); ++t) {
    VARVE_ASSIGN_OR_RETURN(const bool fits, ReadTexts(group, t, TextsOf(group, t)));
    if (!fits) return false;
  }

  VARVE_RETURN_IF_ERROR(to_->CloseGroup());
  TraceBlockWriter::GroupEntry& entry = to_->group_;
  entry.rows = group.rows;
  entry.pieces = group.pieces;
  entry.events = group.events;
  entry.links = group.links;
  entry.min_start = group.min_start;
  entry.max_start = group.max_start;
  entry.min_duration = group.min_duration;
  entry.max_duration = group.max_duration;
  entry.offset = to_->file_->section_offset();
  VARVE_RETURN_IF_ERROR(ReadScopes(group));
  for (uint32_t t = 0; t < kTextChunks.size(); ++t) {
    if (From(t) == To(t)) ColumnTo(columns_[t]).count += TextsOf(group, t);
    if (!texts_[t].values.empty()) VARVE_RETURN_IF_ERROR(Renumber(group, t, &texts_[t]));
  }
  NoteOperations();
  VARVE_RETURN_IF_ERROR(NoteTraces(group));
  VARVE_RETURN_IF_ERROR(PutFixedChunks(group));
  VARVE_RETURN_IF_ERROR(PutColumns(group));
  to_->EndGroup();
  return true;
}

}  // namespace varve::traces
