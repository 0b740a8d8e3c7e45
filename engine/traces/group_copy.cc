#include "engine/traces/group_copy.h"

#include <algorithm>
#include <utility>

#include "engine/base/hash.h"
#include "engine/base/macros.h"

namespace varve::traces {
namespace {

constexpr uint32_t kUnknown = UINT32_MAX;
constexpr uint32_t kShapeChunks[kFamilies] = {kSpanShapesChunk, kEventShapesChunk,
                                              kLinkShapesChunk};

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
  }
  if (!shapes_.empty()) shapes_[0] = 0;
}

bool GroupCopier::SameCoding(uint32_t column) {
  return from_.columns()[column].coding == ColumnTo(columns_[column]).coding;
}

Result<bool> GroupCopier::ReadShapes(const Block::Group& group, Family family) {
  const auto number = static_cast<size_t>(family);
  Integers& out = family_shapes_[number];
  out.renumbered = false;
  const uint32_t counts[kFamilies] = {group.rows, group.events, group.links};
  VARVE_RETURN_IF_ERROR(from_.Integers(group, kShapeChunks[number], counts[number], &out.values));
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
      if (columns_[c].count++ > 0) continue;
      used_.push_back(c);
      if (!SameCoding(c)) return false;
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
  if (!SameCoding(text_column)) return false;
  if (column.coding != Coding::kDictionary) return true;
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
  for (uint32_t p = 0; p < ids.size(); ++p) {
    if (p > 0 && ids[p] == ids[p - 1]) continue;
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
    VARVE_RETURN_IF_ERROR(Put(group, chunk, chunk, numbers[chunk]));
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
    to.count += columns_[c].count;
    integers.renumbered = false;
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
    const uint32_t count = kTextChunks[t] == kEventNamesChunk   ? group.events
                           : kTextChunks[t] == kLinkStatesChunk ? group.links
                                                                : group.rows;
    VARVE_ASSIGN_OR_RETURN(const bool fits, ReadTexts(group, t, count));
    if (!fits) return false;
  }
  // Names that are in no dictionary would have to be read for the list of operations.
  if (texts_[TextColumn(kNamesChunk)].values.empty()) return false;

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
    ColumnTo(columns_[t]).count += kTextChunks[t] == kEventNamesChunk   ? group.events
                                   : kTextChunks[t] == kLinkStatesChunk ? group.links
                                                                        : group.rows;
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
