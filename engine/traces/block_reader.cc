#include "engine/traces/block_reader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/traces/block_impl.h"

namespace varve::traces {
namespace {

uint64_t NextSerial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

/// Keeps the groups decoded last, of all blocks: neighbouring traces are read one after the other.
class GroupCache {
 public:
  static GroupCache& Instance() {
    static GroupCache& cache = *new GroupCache();  // outlives every block
    return cache;
  }
  std::shared_ptr<const DecodedGroup> Find(uint64_t block, uint32_t group) {
    absl::MutexLock lock(&mutex_);
    for (Slot& slot : slots_) {
      if (slot.block == block && slot.group == group && slot.rows != nullptr) {
        slot.used = ++clock_;
        return slot.rows;
      }
    }
    return nullptr;
  }
  /// Decides whether to decode a whole group, of which `rows` rows are wanted: where it is here
  /// already, and where single traces of it were read so often of late that it would have paid.
  bool WorthDecoding(uint64_t block, uint32_t group, uint32_t rows, uint32_t group_rows) {
    absl::MutexLock lock(&mutex_);
    for (const Slot& slot : slots_) {
      if (slot.block == block && slot.group == group && slot.rows != nullptr) return true;
    }
    Readings* oldest = &readings_[0];
    for (Readings& one : readings_) {
      if (one.block == block && one.group == group) {
        oldest = &one;
        break;
      }
      if (one.used < oldest->used) oldest = &one;
    }
    if (oldest->block != block || oldest->group != group) *oldest = {block, group, 0, 0};
    oldest->used = ++clock_;
    // A reading costs its rows and about a sixteenth of the group besides.
    oldest->cost += rows + group_rows / 16;
    return oldest->cost >= group_rows;
  }
  void Put(uint64_t block, uint32_t group, std::shared_ptr<const DecodedGroup> rows) {
    absl::MutexLock lock(&mutex_);
    Slot& slot = *std::min_element(slots_.begin(), slots_.end(),
                                   [](const Slot& a, const Slot& b) { return a.used < b.used; });
    slot = {block, group, ++clock_, std::move(rows)};
  }
  void Forget(uint64_t block) {
    absl::MutexLock lock(&mutex_);
    for (Slot& slot : slots_) {
      if (slot.block == block) slot = Slot();
    }
  }

 private:
  struct Slot {
    uint64_t block = 0;
    uint32_t group = 0;
    uint64_t used = 0;
    std::shared_ptr<const DecodedGroup> rows;
  };
  struct Readings {
    uint64_t block = 0;
    uint32_t group = 0;
    uint64_t used = 0;
    uint64_t cost = 0;
  };
  absl::Mutex mutex_;
  uint64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;
  std::array<Slot, 24> slots_ ABSL_GUARDED_BY(mutex_);
  std::array<Readings, 48> readings_ ABSL_GUARDED_BY(mutex_);
};

template <typename T>
T LoadAt(std::string_view bytes, size_t index) {
  T out{};
  std::memcpy(&out, bytes.data() + index * sizeof(T), sizeof(T));
  return out;
}

constexpr char kHexDigits[] = "0123456789abcdef";

void AppendHex(std::string_view bytes, std::string* out) {
  for (const char c : bytes) {
    out->push_back(kHexDigits[static_cast<uint8_t>(c) >> 4]);
    out->push_back(kHexDigits[static_cast<uint8_t>(c) & 15]);
  }
}

bool KnownValueType(uint8_t type) { return type <= static_cast<uint8_t>(ValueType::kMap); }

}  // namespace

bool ReadValue(ByteReader* in, ValueType type, ValueView* out) {
  switch (type) {
    case ValueType::kEmpty:
      *out = ValueView();
      break;
    case ValueType::kBool:
      *out = ValueView::Bool(in->Fixed<uint8_t>() != 0);
      break;
    case ValueType::kInt:
      *out = ValueView::Int(in->Signed());
      break;
    case ValueType::kDouble:
      *out = ValueView::Double(in->Double());
      break;
    default:
      *out = ValueView();
      out->type = type;
      out->text = in->String();
  }
  return in->ok();
}

uint32_t TextColumn(uint32_t chunk) {
  for (uint32_t i = 0; i < kTextChunks.size(); ++i) {
    if (kTextChunks[i] == chunk) return i;
  }
  return 0;
}

// --- Opening ---

Block::~Block() { GroupCache::Instance().Forget(serial_); }

Status Block::SectionDamage(block::SectionType type, std::string_view what) const {
  const block::SectionInfo* info = file_->Find(type);
  return DataLossError(file_->path(), info == nullptr ? 0 : info->offset, what);
}

Status Block::Damage(const Group& group, std::string_view what) const {
  return DataLossError(file_->path(), spans_offset_ + group.offset, what);
}

Result<std::string> Block::UnpackSection(block::SectionType type) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(type));
  ByteReader in(bytes);
  const uint64_t raw = in.Varint();
  std::string out;
  if (!in.ok() || !Inflate(in.Bytes(in.left()), raw, &out)) {
    return SectionDamage(type, "traces: section does not inflate");
  }
  return out;
}

Status Block::Init(std::shared_ptr<const block::BlockReader> file) {
  file_ = std::move(file);
  serial_ = NextSerial();
  const block::SectionType known[] = {kResourcesSection,    kShapesSection,      kColumnsSection,
                                      kDictionariesSection, kPostingsSection,    kGroupsSection,
                                      kSpansSection,        kTraceFilterSection, kTraceTableSection,
                                      kOperationsSection};
  VARVE_RETURN_IF_ERROR(file_->CheckKnown(known));
  VARVE_ASSIGN_OR_RETURN(spans_section_, file_->Paged(kSpansSection));
  VARVE_ASSIGN_OR_RETURN(dictionaries_section_, file_->Paged(kDictionariesSection));
  VARVE_ASSIGN_OR_RETURN(postings_section_, file_->Paged(kPostingsSection));
  spans_offset_ = file_->Find(kSpansSection)->offset;
  VARVE_RETURN_IF_ERROR(OpenResources());
  VARVE_RETURN_IF_ERROR(OpenColumns());
  VARVE_RETURN_IF_ERROR(OpenShapes());
  VARVE_RETURN_IF_ERROR(OpenGroups());
  VARVE_RETURN_IF_ERROR(OpenTraceTable());
  return OpenOperations();
}

Status Block::ReadAttributes(ByteReader* in, std::vector<AttributeView>* out) const {
  const uint64_t count = in->Count(2);
  for (uint64_t i = 0; i < count && in->ok(); ++i) {
    AttributeView attribute;
    attribute.key = in->String();
    const auto type = in->Fixed<uint8_t>();
    if (!KnownValueType(type) || !ReadValue(in, static_cast<ValueType>(type), &attribute.value)) {
      return SectionDamage(kResourcesSection, "traces: attribute of a resource or scope");
    }
    out->push_back(attribute);
  }
  return absl::OkStatus();
}

Status Block::OpenResources() {
  VARVE_ASSIGN_OR_RETURN(resource_bytes_, UnpackSection(kResourcesSection));
  ByteReader in(resource_bytes_);
  const uint64_t keys = in.Count();
  for (uint64_t i = 0; i < keys && in.ok(); ++i) keys_.push_back(in.String());
  const uint64_t resources = in.Count(3);
  for (uint64_t i = 0; i < resources && in.ok(); ++i) {
    ResourceView resource;
    resource.schema_url = in.String();
    resource.dropped_attributes = static_cast<uint32_t>(in.Varint());
    std::vector<AttributeView>& attributes = scope_attributes_.emplace_back();
    VARVE_RETURN_IF_ERROR(ReadAttributes(&in, &attributes));
    resource.attributes = attributes;
    resources_.push_back(resource);
  }
  const uint64_t scopes = in.Count(6);
  for (uint64_t i = 0; i < scopes && in.ok(); ++i) {
    ScopeView scope;
    const uint64_t resource = in.Varint();
    if (resource >= resources_.size()) in.Fail();
    scope.resource = static_cast<uint32_t>(resource);
    scope.name = in.String();
    scope.version = in.String();
    scope.schema_url = in.String();
    scope.dropped_attributes = static_cast<uint32_t>(in.Varint());
    std::vector<AttributeView>& attributes = scope_attributes_.emplace_back();
    VARVE_RETURN_IF_ERROR(ReadAttributes(&in, &attributes));
    scope.attributes = attributes;
    scopes_.push_back(scope);
  }
  if (!in.ok() || in.left() != 0) {
    return SectionDamage(kResourcesSection, "traces: resources do not parse");
  }
  return absl::OkStatus();
}

Status Block::OpenColumns() {
  VARVE_ASSIGN_OR_RETURN(const std::string bytes, UnpackSection(kColumnsSection));
  ByteReader in(bytes);
  scope_postings_bytes_ = in.Varint();
  kind_postings_bytes_ = in.Varint();
  uint64_t postings = 0;
  uint64_t dictionary = 0;
  const auto take = [&in](uint64_t* at, uint64_t bytes, uint64_t limit) {
    if (bytes > limit || *at > limit - bytes) in.Fail();
    const uint64_t offset = *at;
    if (in.ok()) *at += bytes;
    return offset;
  };
  take(&postings, scope_postings_bytes_, postings_section_->size());
  take(&postings, kind_postings_bytes_, postings_section_->size());
  const uint64_t count = in.Count(5);
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    Column column;
    const auto family = in.Fixed<uint8_t>();
    const auto type = in.Fixed<uint8_t>();
    const auto coding = in.Fixed<uint8_t>();
    if (family >= kFamilies || !KnownValueType(type) ||
        coding > static_cast<uint8_t>(Coding::kNothing)) {
      in.Fail();
      break;
    }
    column.family = static_cast<Family>(family);
    column.type = static_cast<ValueType>(type);
    column.coding = static_cast<Coding>(coding);
    if (i < kTextChunks.size()) {
      column.text_chunk = column.chunk = kTextChunks[i];
    } else {
      const uint64_t key = in.Varint();
      if (key >= keys_.size()) in.Fail();
      column.key = static_cast<uint32_t>(key);
      column.chunk = kAttributeChunks + static_cast<uint32_t>(i);
    }
    const bool text = column.text_chunk != 0 || IsTextType(column.type);
    const bool fits = column.coding == Coding::kCold ? column.text_chunk == 0
                      : text
                          ? column.coding == Coding::kDictionary || column.coding == Coding::kPlain
                      : column.type == ValueType::kEmpty ? column.coding == Coding::kNothing
                                                         : column.coding == Coding::kIntegers;
    if (!fits) in.Fail();
    column.count = in.Varint();
    if (column.coding == Coding::kDictionary) {
      const uint64_t values = in.Varint();
      column.dictionary_raw = in.Varint();
      column.dictionary_bytes = in.Varint();
      if (values > kDictionaryValuesMax || values > column.dictionary_raw) in.Fail();
      column.values = static_cast<uint32_t>(values);
      column.dictionary_offset =
          take(&dictionary, column.dictionary_bytes, dictionaries_section_->size());
    }
    column.postings_bytes = in.Varint();
    column.postings_offset = take(&postings, column.postings_bytes, postings_section_->size());
    columns_.push_back(column);
  }
  if (!in.ok() || in.left() != 0 || columns_.size() < kTextChunks.size()) {
    return SectionDamage(kColumnsSection, "traces: columns do not parse");
  }
  dictionaries_ = std::make_unique<LazyDictionary[]>(columns_.size());
  return absl::OkStatus();
}

Status Block::OpenShapes() {
  VARVE_ASSIGN_OR_RETURN(const std::string bytes, UnpackSection(kShapesSection));
  ByteReader in(bytes);
  has_inline_shapes_ = in.Fixed<uint8_t>() != 0;
  const uint64_t shapes = in.Count();
  shape_begins_.assign(3, 0);  // the empty and the inline shape
  for (uint64_t i = 0; i < shapes && in.ok(); ++i) {
    const uint64_t count = in.Count();
    for (uint64_t j = 0; j < count && in.ok(); ++j) {
      const uint64_t column = in.Varint();
      if (column < kTextChunks.size() || column >= columns_.size()) in.Fail();
      shape_columns_.push_back(static_cast<uint32_t>(column));
    }
    shape_begins_.push_back(static_cast<uint32_t>(shape_columns_.size()));
  }
  if (!in.ok() || in.left() != 0) {
    return SectionDamage(kShapesSection, "traces: shapes do not parse");
  }
  return absl::OkStatus();
}

Status Block::OpenGroups() {
  VARVE_ASSIGN_OR_RETURN(const std::string bytes, UnpackSection(kGroupsSection));
  ByteReader in(bytes);
  const uint64_t count = in.Count(10);
  int64_t before = 0;
  uint64_t offset = 0;
  uint64_t rows = 0;
  uint64_t pieces = 0;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    Group group;
    const uint64_t sizes[4] = {in.Varint(), in.Varint(), in.Varint(), in.Varint()};
    if (sizes[0] == 0 || sizes[0] > kGroupRowsMax || sizes[1] == 0 || sizes[1] > sizes[0] ||
        sizes[2] > kGroupEventsMax || sizes[3] > kGroupEventsMax) {
      in.Fail();
    }
    group.rows = static_cast<uint32_t>(sizes[0]);
    group.pieces = static_cast<uint32_t>(sizes[1]);
    group.events = static_cast<uint32_t>(sizes[2]);
    group.links = static_cast<uint32_t>(sizes[3]);
    group.first_piece = static_cast<uint32_t>(pieces);
    group.min_start = WrapAdd(before, in.Signed());
    group.max_start = WrapAdd(group.min_start, in.Signed());
    group.min_duration = static_cast<int64_t>(in.Varint());
    group.max_duration = static_cast<int64_t>(in.Varint());
    if (group.max_start < group.min_start || group.min_duration < 0 ||
        group.max_duration < group.min_duration) {
      in.Fail();
    }
    group.offset = offset;
    group.chunks_begin = static_cast<uint32_t>(chunks_.size());
    const uint64_t chunks = in.Count(2);
    uint64_t last = 0;
    for (uint64_t c = 0; c < chunks && in.ok(); ++c) {
      const uint64_t step = in.Varint();
      const uint64_t size = in.Varint();
      last += step;
      if ((c > 0 && step == 0) || step > UINT32_MAX || last >= kAttributeChunks + columns_.size() ||
          size == 0 || size > spans_section_->size() - offset) {
        in.Fail();
        break;
      }
      offset += size;
      chunks_.push_back({static_cast<uint32_t>(last), offset});
    }
    group.chunks_end = static_cast<uint32_t>(chunks_.size());
    rows += group.rows;
    pieces += group.pieces;
    before = group.min_start;
    groups_.push_back(group);
  }
  if (!in.ok() || in.left() != 0 || rows != meta().rows || pieces > UINT32_MAX) {
    return SectionDamage(kGroupsSection, "traces: groups do not parse");
  }
  pieces_ = static_cast<uint32_t>(pieces);
  return absl::OkStatus();
}

Status Block::OpenTraceTable() {
  if (file_->Find(kTraceFilterSection) != nullptr) {
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(kTraceFilterSection));
    auto filter = index::BinaryFuse::Parse(bytes);
    if (!filter.ok()) return SectionDamage(kTraceFilterSection, "traces: filter does not parse");
    filter_ = std::move(*filter);
  }
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(kTraceTableSection));
  ByteReader in(bytes);
  buckets_ = in.Fixed<uint32_t>();
  table_entries_ = in.Fixed<uint32_t>();
  bucket_ends_ = in.Bytes(uint64_t{buckets_} * 4);
  table_pieces_ = in.Bytes(uint64_t{table_entries_} * 4);
  table_hashes_ = in.Bytes(uint64_t{table_entries_} * 2);
  if (!in.ok() || in.left() != 0 || buckets_ == 0) {
    return SectionDamage(kTraceTableSection, "traces: table does not parse");
  }
  uint32_t before = 0;
  for (uint32_t i = 0; i < buckets_; ++i) {
    const auto end = LoadAt<uint32_t>(bucket_ends_, i);
    if (end < before || end > table_entries_) {
      return SectionDamage(kTraceTableSection, "traces: table is out of order");
    }
    before = end;
  }
  for (uint32_t i = 0; i < table_entries_; ++i) {
    if (LoadAt<uint32_t>(table_pieces_, i) >= pieces_) {
      return SectionDamage(kTraceTableSection, "traces: table names no piece");
    }
  }
  return absl::OkStatus();
}

Status Block::OpenOperations() {
  VARVE_ASSIGN_OR_RETURN(operation_bytes_, UnpackSection(kOperationsSection));
  ByteReader in(operation_bytes_);
  const uint64_t services = in.Count();
  for (uint64_t i = 0; i < services && in.ok(); ++i) operations_.services.push_back(in.String());
  const uint64_t entries = in.Count(3);
  for (uint64_t i = 0; i < entries && in.ok(); ++i) {
    const uint64_t service = in.Varint();
    const std::string_view name = in.String();
    const auto kind = in.Fixed<uint8_t>();
    if (service >= operations_.services.size() || kind > 5) in.Fail();
    operations_.entries.push_back(
        {static_cast<uint32_t>(service), name, static_cast<SpanKind>(kind)});
  }
  if (!in.ok() || in.left() != 0) {
    return SectionDamage(kOperationsSection, "traces: operations do not parse");
  }
  return absl::OkStatus();
}

// --- Chunks ---

Result<std::string_view> Block::ChunkBytes(const Group& group, uint32_t chunk) const {
  const auto begin = chunks_.begin() + group.chunks_begin;
  const auto end = chunks_.begin() + group.chunks_end;
  const auto at = std::lower_bound(begin, end, chunk,
                                   [](const auto& entry, uint32_t c) { return entry.first < c; });
  if (at == end || at->first != chunk) return std::string_view();
  const uint64_t offset = at == begin ? group.offset : std::prev(at)->second;
  return spans_section_->Read(offset, at->second - offset);
}

Status Block::Integers(const Group& group, uint32_t chunk, uint32_t count, Rows rows,
                       std::vector<int64_t>* out) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, chunk));
  if (bytes.empty()) {
    out->assign(rows.size(), 0);
    return absl::OkStatus();
  }
  if (count == 0) return Damage(group, "traces: integers for no rows");
  ByteReader in(bytes);
  codec::IntStreamReader stream;
  out->resize(rows.size());
  if (!stream.Open(&in, bytes, count) || !in.ok() ||
      !stream.Decode(rows.begin, rows.end, out->data())) {
    return Damage(group, "traces: integers do not decode");
  }
  return absl::OkStatus();
}

Status Block::IntegersAt(const Group& group, uint32_t chunk, uint32_t count,
                         std::span<const uint32_t> places, std::vector<int64_t>* out) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, chunk));
  if (bytes.empty()) {
    out->assign(count, 0);
    return absl::OkStatus();
  }
  if (count == 0) return Damage(group, "traces: integers for no rows");
  ByteReader in(bytes);
  codec::IntStreamReader stream;
  out->resize(count);
  if (!stream.Open(&in, bytes, count) || !in.ok() || !stream.DecodeAt(places, out->data())) {
    return Damage(group, "traces: integers do not decode");
  }
  return absl::OkStatus();
}

Result<const Block::Dictionary*> Block::DictionaryOf(uint32_t number) const {
  LazyDictionary& lazy = dictionaries_[number];
  std::call_once(lazy.once, [&] {
    const Column& column = columns_[number];
    const auto read = [&]() -> Status {
      VARVE_ASSIGN_OR_RETURN(
          const std::string_view frame,
          dictionaries_section_->Read(column.dictionary_offset, column.dictionary_bytes));
      if (!Inflate(frame, column.dictionary_raw, &lazy.dictionary.raw)) {
        return SectionDamage(kDictionariesSection, "traces: dictionary does not inflate");
      }
      ByteReader in(lazy.dictionary.raw);
      for (uint32_t i = 0; i < column.values; ++i) lazy.dictionary.values.push_back(in.String());
      if (!in.ok() || in.left() != 0) {
        return SectionDamage(kDictionariesSection, "traces: dictionary does not parse");
      }
      return absl::OkStatus();
    };
    lazy.status = read();
  });
  VARVE_RETURN_IF_ERROR(lazy.status);
  return &lazy.dictionary;
}

Status Block::Texts(const Group& group, const Column& column, uint32_t count, Rows rows,
                    std::vector<std::string_view>* out, std::vector<std::string>* owners) const {
  out->clear();
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, column.chunk));
  if (bytes.empty()) {
    if (count > 0 && column.text_chunk == 0) return Damage(group, "traces: texts are missing");
    out->resize(rows.size());
    return absl::OkStatus();
  }
  if (count == 0) return Damage(group, "traces: texts for no rows");
  std::vector<int64_t> integers;
  if (column.coding == Coding::kDictionary) {
    VARVE_RETURN_IF_ERROR(Integers(group, column.chunk, count, rows, &integers));
    VARVE_ASSIGN_OR_RETURN(const Dictionary* dictionary,
                           DictionaryOf(static_cast<uint32_t>(&column - columns_.data())));
    out->reserve(rows.size());
    for (const int64_t place : integers) {
      if (place < 0 || static_cast<uint64_t>(place) >= dictionary->values.size()) {
        return Damage(group, "traces: no such text in the dictionary");
      }
      out->push_back(dictionary->values[static_cast<size_t>(place)]);
    }
    return absl::OkStatus();
  }
  ByteReader in(bytes);
  const auto mode = static_cast<TextMode>(in.Fixed<uint8_t>());
  in.String();  // the filter
  if (mode == TextMode::kHex || mode == TextMode::kUuid) {
    const uint64_t length = in.Varint();
    const bool uuid = mode == TextMode::kUuid;
    if (uuid ? length != 36 : length < 2 || length % 2 != 0 || length > 64) in.Fail();
    const uint64_t packed = uuid ? 16 : length / 2;
    const std::string_view all = in.Bytes(packed * count);
    if (!in.ok()) return Damage(group, "traces: packed texts end early");
    std::string& text = owners->emplace_back();
    text.reserve(length * rows.size());
    for (uint32_t i = rows.begin; i < rows.end; ++i) {
      const std::string_view one = all.substr(i * packed, packed);
      if (!uuid) {
        AppendHex(one, &text);
        continue;
      }
      AppendHex(one.substr(0, 4), &text);
      for (const size_t at : {4, 6, 8}) {
        text.push_back('-');
        AppendHex(one.substr(at, 2), &text);
      }
      text.push_back('-');
      AppendHex(one.substr(10), &text);
    }
    for (uint32_t i = 0; i < rows.size(); ++i) {
      out->push_back(std::string_view(text).substr(i * length, length));
    }
    return absl::OkStatus();
  }
  if (mode != TextMode::kRaw && mode != TextMode::kZstd) {
    return Damage(group, "traces: unknown coding of texts");
  }
  codec::IntStreamReader stream;
  integers.resize(count);
  if (!stream.Open(&in, bytes, count) || !in.ok() || !stream.Decode(0, count, integers.data())) {
    return Damage(group, "traces: lengths of texts do not decode");
  }
  uint64_t total = 0;
  for (const int64_t length : integers) {
    if (length < 0 || static_cast<uint64_t>(length) > kRawBytesMax - total) {
      return Damage(group, "traces: lengths of texts make no sense");
    }
    total += static_cast<uint64_t>(length);
  }
  std::string_view content = in.String();
  if (mode == TextMode::kZstd) {
    std::string& text = owners->emplace_back();
    if (!in.ok() || !Inflate(content, total, &text)) {
      return Damage(group, "traces: texts do not inflate");
    }
    content = text;
  } else if (!in.ok() || content.size() != total) {
    return Damage(group, "traces: texts end early");
  }
  out->reserve(rows.size());
  uint64_t at = 0;
  for (uint32_t i = 0; i < rows.end; ++i) {
    const auto length = static_cast<size_t>(integers[i]);
    if (i >= rows.begin) out->push_back(content.substr(at, length));
    at += length;
  }
  return absl::OkStatus();
}

Result<std::vector<index::Postings>> Block::ParsePostings(uint64_t offset, uint64_t bytes,
                                                          uint64_t count) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view all, postings_section_->Read(offset, bytes));
  ByteReader in(all);
  std::vector<index::Postings> out;
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    auto set = index::Postings::Parse(in.String(), static_cast<uint32_t>(groups_.size()));
    if (!set.ok()) in.Fail();
    if (set.ok()) out.push_back(std::move(*set));
  }
  if (!in.ok() || in.left() != 0) {
    return SectionDamage(kPostingsSection, "traces: postings do not parse");
  }
  return out;
}

Result<std::vector<std::pair<int64_t, index::Postings>>> Block::ParseKeyedPostings(
    uint64_t offset, uint64_t bytes) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view all, postings_section_->Read(offset, bytes));
  ByteReader in(all);
  std::vector<std::pair<int64_t, index::Postings>> out;
  const uint64_t count = in.Count(2);
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    const int64_t value = in.Signed();
    auto set = index::Postings::Parse(in.String(), static_cast<uint32_t>(groups_.size()));
    if (!set.ok()) in.Fail();
    if (set.ok()) out.emplace_back(value, std::move(*set));
  }
  if (!in.ok() || in.left() != 0) {
    return SectionDamage(kPostingsSection, "traces: postings do not parse");
  }
  return out;
}

Result<std::vector<index::Postings>> Block::DictionaryPostings(uint32_t number) const {
  const Column& column = columns_[number];
  if (column.postings_bytes == 0) return std::vector<index::Postings>();
  return ParsePostings(column.postings_offset, column.postings_bytes, column.values);
}
Result<std::vector<std::pair<int64_t, index::Postings>>> Block::IntegerPostings(
    uint32_t number) const {
  const Column& column = columns_[number];
  if (column.postings_bytes == 0) return std::vector<std::pair<int64_t, index::Postings>>();
  return ParseKeyedPostings(column.postings_offset, column.postings_bytes);
}
Result<std::vector<index::Postings>> Block::ScopePostings() const {
  return ParsePostings(0, scope_postings_bytes_, scopes_.size());
}
Result<std::vector<std::pair<int64_t, index::Postings>>> Block::KindPostings() const {
  return ParseKeyedPostings(scope_postings_bytes_, kind_postings_bytes_);
}

Result<bool> Block::MayHaveText(const Group& group, const Column& column,
                                std::string_view text) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, column.chunk));
  if (bytes.empty()) return column.text_chunk != 0;
  if (column.coding != Coding::kPlain) return true;
  ByteReader in(bytes);
  in.Fixed<uint8_t>();
  const std::string_view filter_bytes = in.String();
  if (!in.ok()) return Damage(group, "traces: filter of texts");
  if (filter_bytes.empty()) return true;
  const auto filter = index::BinaryFuse::Parse(filter_bytes);
  if (!filter.ok()) return Damage(group, "traces: filter of texts does not parse");
  return filter->MayContain(Hash64(text));
}

// --- Groups ---

Status Block::Pieces(const Group& group, std::vector<TraceId>* ids,
                     std::vector<uint32_t>* begins) const {
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, kTraceIdsChunk));
  const uint64_t ids_bytes = uint64_t{group.pieces} * 16;
  if (bytes.size() <= ids_bytes) return Damage(group, "traces: trace ids end early");
  ids->resize(group.pieces);
  std::memcpy(ids->data(), bytes.data(), ids_bytes);
  const std::string_view rest = bytes.substr(ids_bytes);
  ByteReader in(rest);
  codec::IntStreamReader stream;
  std::vector<int64_t> rows(group.pieces);
  if (!stream.Open(&in, rest, group.pieces) || !in.ok() ||
      !stream.Decode(0, group.pieces, rows.data())) {
    return Damage(group, "traces: rows of traces do not decode");
  }
  begins->assign(1, 0);
  for (const int64_t count : rows) {
    if (count <= 0 || count > group.rows - begins->back()) {
      return Damage(group, "traces: rows of traces make no sense");
    }
    begins->push_back(begins->back() + static_cast<uint32_t>(count));
  }
  if (begins->back() != group.rows) return Damage(group, "traces: rows without a trace");
  return absl::OkStatus();
}

namespace {

/// The attributes of one family of a group, decoded column by column, handed out set by set.
class AttributeReader {
 public:
  AttributeReader(const Block& block, const Block::Group& group, Family family)
      : block_(block), group_(group), family_(family) {}

  /// Decodes sets [range.begin, range.end) of `sets`.
  Status Open(uint32_t sets, Block::Rows range, uint64_t* attributes_left,
              std::vector<std::string>* owners) {
    static constexpr uint32_t kShapeChunks[] = {kSpanShapesChunk, kEventShapesChunk,
                                                kLinkShapesChunk};
    const auto family = static_cast<uint32_t>(family_);
    VARVE_RETURN_IF_ERROR(block_.Integers(group_, kShapeChunks[family], sets, &shapes_));
    // Of each shape, the sets before the range, in it, and behind it.
    std::vector<std::array<uint32_t, 3>> uses(block_.shape_count());
    for (uint32_t i = 0; i < sets; ++i) {
      const int64_t shape = shapes_[i];
      if (shape < 0 || shape >= block_.shape_count()) {
        return block_.Damage(group_, "traces: no such shape");
      }
      ++uses[static_cast<size_t>(shape)][i < range.begin ? 0 : i < range.end ? 1 : 2];
    }
    columns_.resize(block_.columns().size());
    std::vector<uint32_t> used;
    for (uint32_t s = 0; s < uses.size(); ++s) {
      const auto [before, inside, behind] = uses[s];
      const uint64_t all = uint64_t{before} + inside + behind;
      if (all == 0) continue;
      const std::span<const uint32_t> shape = block_.shape(s);
      if (shape.size() * all > *attributes_left) {
        return block_.Damage(group_, "traces: too many attributes");
      }
      *attributes_left -= shape.size() * all;
      for (const uint32_t column : shape) {
        Values& values = columns_[column];
        if (values.range.size() == 0 && inside > 0) used.push_back(column);
        values.count += static_cast<uint32_t>(all);
        values.range.begin += before;
        values.range.end += before + inside;
      }
    }
    for (const uint32_t number : used) {
      const Block::Column& column = block_.columns()[number];
      Values& values = columns_[number];
      if (column.coding == Coding::kIntegers) {
        VARVE_RETURN_IF_ERROR(
            block_.Integers(group_, column.chunk, values.count, values.range, &values.integers));
      } else if (column.coding == Coding::kDictionary || column.coding == Coding::kPlain) {
        VARVE_RETURN_IF_ERROR(
            block_.Texts(group_, column, values.count, values.range, &values.texts, owners));
      }
    }
    VARVE_ASSIGN_OR_RETURN(const std::string_view cold,
                           block_.ChunkBytes(group_, kSpanColdChunk + family));
    std::string_view content;
    if (!cold.empty()) {
      ByteReader in(cold);
      const uint64_t raw = in.Varint();
      std::string& inflated = owners->emplace_back();
      if (!in.ok() || !Inflate(in.Bytes(in.left()), raw, &inflated)) {
        return block_.Damage(group_, "traces: rare values do not inflate");
      }
      content = inflated;
    }
    cold_ = ByteReader(content);
    attributes_left_ = attributes_left;
    // Rare values stand one behind the other, so those of earlier sets are walked over.
    for (; at_ < range.begin; ++at_) {
      if (!content.empty()) VARVE_RETURN_IF_ERROR(SkipCold(static_cast<uint32_t>(shapes_[at_])));
    }
    return absl::OkStatus();
  }

  /// Replaces `out` by the attributes of the next set.
  Status Next(std::vector<AttributeView>* out) {
    out->clear();
    const auto shape = static_cast<uint32_t>(shapes_[at_++]);
    if (shape == 0) return absl::OkStatus();
    std::span<const uint32_t> columns = block_.shape(shape);
    const bool own = shape == kInlineShape;
    if (own) {
      VARVE_RETURN_IF_ERROR(ReadInlineColumns());
      columns = inline_columns_;
    }
    for (const uint32_t number : columns) {
      const Block::Column& column = block_.columns()[number];
      AttributeView attribute;
      attribute.key = block_.key(column.key);
      if (own || column.coding == Coding::kCold) {
        if (!ReadValue(&cold_, column.type, &attribute.value)) return Fault();
        out->push_back(attribute);
        continue;
      }
      Values& values = columns_[number];
      switch (column.type) {
        case ValueType::kEmpty:
          break;
        case ValueType::kBool:
          attribute.value = ValueView::Bool(values.integers[values.at++] != 0);
          break;
        case ValueType::kInt:
          attribute.value = ValueView::Int(values.integers[values.at++]);
          break;
        case ValueType::kDouble:
          attribute.value = ValueView::Double(std::bit_cast<double>(values.integers[values.at++]));
          break;
        default:
          attribute.value.type = column.type;
          attribute.value.text = values.texts[values.at++];
      }
      out->push_back(attribute);
    }
    return absl::OkStatus();
  }

 private:
  struct Values {
    uint32_t count = 0;  // in the whole group
    Block::Rows range;   // those decoded
    uint32_t at = 0;
    std::vector<int64_t> integers;
    std::vector<std::string_view> texts;
  };
  Status ReadInlineColumns() {
    inline_columns_.clear();
    const uint64_t count = cold_.Count();
    if (count > *attributes_left_) return Fault();
    *attributes_left_ -= count;
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t column = cold_.Varint();
      if (column < kTextChunks.size() || column >= block_.columns().size()) return Fault();
      inline_columns_.push_back(static_cast<uint32_t>(column));
    }
    return absl::OkStatus();
  }
  Status SkipCold(uint32_t shape) {
    std::span<const uint32_t> columns = block_.shape(shape);
    const bool own = shape == kInlineShape;
    if (own) {
      VARVE_RETURN_IF_ERROR(ReadInlineColumns());
      columns = inline_columns_;
    }
    ValueView value;
    for (const uint32_t number : columns) {
      const Block::Column& column = block_.columns()[number];
      if (!own && column.coding != Coding::kCold) continue;
      if (!ReadValue(&cold_, column.type, &value)) return Fault();
    }
    return absl::OkStatus();
  }
  Status Fault() const { return block_.Damage(group_, "traces: rare values do not parse"); }

  const Block& block_;
  const Block::Group& group_;
  const Family family_;
  std::vector<int64_t> shapes_;
  std::vector<Values> columns_;
  ByteReader cold_{std::string_view()};
  uint64_t* attributes_left_ = nullptr;
  std::vector<uint32_t> inline_columns_;
  size_t at_ = 0;
};

/// Decodes neighbouring pieces of a group into rows. All columns are read from the first row that
/// is wanted.
class PieceDecoder {
 public:
  PieceDecoder(const Block& block, const Block::Group& group, std::span<const TraceId> ids,
               std::span<const uint32_t> begins, DecodedGroup* out)
      : block_(block),
        group_(group),
        ids_(ids),
        begins_(begins),
        rows_{begins.front(), begins.back()},
        out_(*out),
        span_attributes_(block, group, Family::kSpan),
        event_attributes_(block, group, Family::kEvent),
        link_attributes_(block, group, Family::kLink) {}

  Status Decode() {
    VARVE_RETURN_IF_ERROR(OpenIds());
    VARVE_RETURN_IF_ERROR(OpenNumbers());
    VARVE_RETURN_IF_ERROR(OpenTexts());
    VARVE_RETURN_IF_ERROR(OpenAttributes());
    for (uint32_t piece = 0; piece < ids_.size(); ++piece) {
      const uint32_t begin = begins_[piece] - rows_.begin;
      for (uint32_t row = begin; row < begins_[piece + 1] - rows_.begin; ++row) {
        VARVE_RETURN_IF_ERROR(AddSpan(ids_[piece], begin, row));
      }
    }
    const bool whole = rows_.size() == group_.rows;
    if (whole && (event_ != group_.events || link_ != group_.links || parent_bytes_.left() != 0)) {
      return Damage("traces: events, links or parents without a span");
    }
    return absl::OkStatus();
  }

 private:
  using Integers = std::vector<int64_t>;
  using Texts = std::vector<std::string_view>;

  Status Damage(std::string_view what) const { return block_.Damage(group_, what); }

  // --- Columns ---

  Status OpenIds() {
    VARVE_ASSIGN_OR_RETURN(span_ids_, block_.ChunkBytes(group_, kSpanIdsChunk));
    if (span_ids_.size() != uint64_t{group_.rows} * 8) return Damage("traces: span ids");
    span_ids_.remove_prefix(size_t{rows_.begin} * 8);
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, block_.ChunkBytes(group_, kParentsChunk));
    parent_bytes_ = ByteReader(bytes);
    codec::IntStreamReader stream;
    parents_.resize(rows_.end);
    if (!stream.Open(&parent_bytes_, bytes, group_.rows) || !parent_bytes_.ok() ||
        !stream.Decode(0, rows_.end, parents_.data())) {
      return Damage("traces: parents do not decode");
    }
    // Parents that are written out stand in the order of rows.
    const auto first = parents_.begin() + rows_.begin;
    parent_bytes_.Bytes(8 * static_cast<uint64_t>(std::count(parents_.begin(), first, int64_t{1})));
    parents_.erase(parents_.begin(), first);
    return absl::OkStatus();
  }

  Status OpenNumbers() {
    for (const auto& [chunk, column] :
         {std::pair{kStartsChunk, &starts_}, std::pair{kDurationsChunk, &durations_},
          std::pair{kScopesChunk, &scopes_}, std::pair{kKindsChunk, &kinds_},
          std::pair{kFlagsChunk, &flags_}, std::pair{kDroppedAttributesChunk, &dropped_attributes_},
          std::pair{kDroppedEventsChunk, &dropped_events_},
          std::pair{kDroppedLinksChunk, &dropped_links_}}) {
      VARVE_RETURN_IF_ERROR(block_.Integers(group_, chunk, group_.rows, rows_, column));
    }
    VARVE_RETURN_IF_ERROR(CountedRows(kEventCountsChunk, group_.events, &event_counts_, &events_));
    VARVE_RETURN_IF_ERROR(CountedRows(kLinkCountsChunk, group_.links, &link_counts_, &links_));
    for (const auto& [chunk, column] : {std::pair{kEventTimesChunk, &event_times_},
                                        std::pair{kEventDroppedChunk, &event_dropped_}}) {
      VARVE_RETURN_IF_ERROR(block_.Integers(group_, chunk, group_.events, events_, column));
    }
    for (const auto& [chunk, column] :
         {std::pair{kLinkDroppedChunk, &link_dropped_}, std::pair{kLinkFlagsChunk, &link_flags_}}) {
      VARVE_RETURN_IF_ERROR(block_.Integers(group_, chunk, group_.links, links_, column));
    }
    VARVE_ASSIGN_OR_RETURN(link_ids_, block_.ChunkBytes(group_, kLinkIdsChunk));
    if (link_ids_.size() != uint64_t{group_.links} * 24) return Damage("traces: link ids");
    link_ids_.remove_prefix(size_t{links_.begin} * 24);
    return absl::OkStatus();
  }

  // Reads how many of `total` events (links) each row has, and which ones they are.
  Status CountedRows(uint32_t chunk, uint32_t total, Integers* counts, Block::Rows* counted) const {
    VARVE_RETURN_IF_ERROR(block_.Integers(group_, chunk, group_.rows, {0, rows_.end}, counts));
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rows_.end; ++r) {
      if (r == rows_.begin) counted->begin = static_cast<uint32_t>(sum);
      const int64_t count = (*counts)[r];
      if (count < 0 || static_cast<uint64_t>(count) > total - sum) {
        return Damage("traces: a span makes no sense");
      }
      sum += static_cast<uint64_t>(count);
    }
    counted->end = static_cast<uint32_t>(sum);
    counts->erase(counts->begin(), counts->begin() + rows_.begin);
    return absl::OkStatus();
  }

  Status OpenTexts() {
    // Views into inflated texts survive moves of the strings: those are long, or stay where they
    // are.
    out_.texts.reserve(block_.columns().size() + 8);
    const auto open = [&](uint32_t chunk, uint32_t count, Block::Rows range, Texts* to) {
      return block_.Texts(group_, block_.columns()[TextColumn(chunk)], count, range, to,
                          &out_.texts);
    };
    VARVE_RETURN_IF_ERROR(open(kNamesChunk, group_.rows, rows_, &names_));
    VARVE_RETURN_IF_ERROR(open(kTraceStatesChunk, group_.rows, rows_, &states_));
    VARVE_RETURN_IF_ERROR(open(kStatusMessagesChunk, group_.rows, rows_, &messages_));
    VARVE_RETURN_IF_ERROR(open(kEventNamesChunk, group_.events, events_, &event_names_));
    return open(kLinkStatesChunk, group_.links, links_, &link_states_);
  }

  Status OpenAttributes() {
    VARVE_RETURN_IF_ERROR(
        span_attributes_.Open(group_.rows, rows_, &attributes_left_, &out_.texts));
    VARVE_RETURN_IF_ERROR(
        event_attributes_.Open(group_.events, events_, &attributes_left_, &out_.texts));
    return link_attributes_.Open(group_.links, links_, &attributes_left_, &out_.texts);
  }

  // --- Rows ---

  static bool IsSmall(int64_t value) { return value >= 0 && value <= UINT32_MAX; }

  // Adds row `r` of a piece that begins at row `piece`.
  Status AddSpan(const TraceId& trace_id, uint32_t piece, uint32_t r) {
    if (scopes_[r] < 0 || scopes_[r] >= block_.scope_count() || kinds_[r] < 0 ||
        (kinds_[r] & 15) > 5 || kinds_[r] >> 4 > 2 || !IsSmall(flags_[r]) ||
        !IsSmall(dropped_attributes_[r]) || !IsSmall(dropped_events_[r]) ||
        !IsSmall(dropped_links_[r])) {
      return Damage("traces: a span makes no sense");
    }
    SpanBatch::Span span;
    span.scope = static_cast<uint32_t>(scopes_[r]);
    span.trace_id = trace_id;
    std::memcpy(span.span_id.bytes.data(), span_ids_.data() + size_t{r} * 8, 8);
    if (parents_[r] == 1) {
      span.parent_id = parent_bytes_.Fixed<SpanId>();
      if (!parent_bytes_.ok()) return Damage("traces: parents end early");
    } else if (parents_[r] != 0) {
      const int64_t back = parents_[r] - 2;
      if (back < 0 || back > r - piece) return Damage("traces: no such parent");
      std::memcpy(span.parent_id.bytes.data(),
                  span_ids_.data() + (size_t{r} - static_cast<size_t>(back)) * 8, 8);
    }
    span.trace_state = states_[r];
    span.flags = static_cast<uint32_t>(flags_[r]);
    span.name = names_[r];
    span.kind = static_cast<SpanKind>(kinds_[r] & 15);
    span.status = static_cast<SpanStatus>(kinds_[r] >> 4);
    span.start_ns = starts_[r];
    span.end_ns = WrapAdd(starts_[r], durations_[r]);
    span.status_message = messages_[r];
    span.dropped_attributes = static_cast<uint32_t>(dropped_attributes_[r]);
    span.dropped_events = static_cast<uint32_t>(dropped_events_[r]);
    span.dropped_links = static_cast<uint32_t>(dropped_links_[r]);
    VARVE_RETURN_IF_ERROR(span_attributes_.Next(&attributes_));
    out_.rows.AddSpan(span, attributes_);
    for (int64_t e = 0; e < event_counts_[r]; ++e) {
      VARVE_RETURN_IF_ERROR(AddEvent(span.start_ns));
    }
    for (int64_t l = 0; l < link_counts_[r]; ++l) VARVE_RETURN_IF_ERROR(AddLink());
    return absl::OkStatus();
  }

  Status AddEvent(int64_t start_ns) {
    const uint64_t event = event_++;
    if (!IsSmall(event_dropped_[event])) return Damage("traces: an event makes no sense");
    VARVE_RETURN_IF_ERROR(event_attributes_.Next(&attributes_));
    out_.rows.AddEvent(WrapAdd(start_ns, event_times_[event]), event_names_[event], attributes_,
                       static_cast<uint32_t>(event_dropped_[event]));
    return absl::OkStatus();
  }

  Status AddLink() {
    const uint64_t at = link_++;
    if (!IsSmall(link_dropped_[at]) || !IsSmall(link_flags_[at])) {
      return Damage("traces: a link makes no sense");
    }
    SpanBatch::Link link;
    std::memcpy(link.trace_id.bytes.data(), link_ids_.data() + at * 24, 16);
    std::memcpy(link.span_id.bytes.data(), link_ids_.data() + at * 24 + 16, 8);
    link.trace_state = link_states_[at];
    link.dropped_attributes = static_cast<uint32_t>(link_dropped_[at]);
    link.flags = static_cast<uint32_t>(link_flags_[at]);
    VARVE_RETURN_IF_ERROR(link_attributes_.Next(&attributes_));
    out_.rows.AddLink(link, attributes_);
    return absl::OkStatus();
  }

  const Block& block_;
  const Block::Group& group_;
  const std::span<const TraceId> ids_;
  const std::span<const uint32_t> begins_;
  const Block::Rows rows_;
  DecodedGroup& out_;

  std::string_view span_ids_, link_ids_;
  ByteReader parent_bytes_{std::string_view()};
  Integers parents_, starts_, durations_, scopes_, kinds_, flags_;
  Integers dropped_attributes_, dropped_events_, dropped_links_;
  Integers event_counts_, event_times_, event_dropped_;
  Integers link_counts_, link_dropped_, link_flags_;
  Block::Rows events_, links_;
  Texts names_, states_, messages_, event_names_, link_states_;
  uint64_t attributes_left_ = kGroupAttributesMax;
  AttributeReader span_attributes_, event_attributes_, link_attributes_;
  std::vector<AttributeView> attributes_;
  uint64_t event_ = 0;  // of events_, the next one
  uint64_t link_ = 0;
};

}  // namespace

Result<std::shared_ptr<DecodedGroup>> Block::DecodeGroup(uint32_t number) const {
  auto out = std::make_shared<DecodedGroup>();
  std::vector<TraceId> ids;
  VARVE_RETURN_IF_ERROR(Pieces(groups_[number], &ids, &out->piece_begins));
  VARVE_RETURN_IF_ERROR(DecodePieces(number, ids, out->piece_begins, out.get()));
  return out;
}

Status Block::DecodePieces(uint32_t number, std::span<const TraceId> ids,
                           std::span<const uint32_t> begins, DecodedGroup* out) const {
  return PieceDecoder(*this, groups_[number], ids, begins, out).Decode();
}

Result<std::shared_ptr<const DecodedGroup>> Block::LoadGroup(uint32_t number) const {
  if (auto known = GroupCache::Instance().Find(serial_, number)) return known;
  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const DecodedGroup> made, DecodeGroup(number));
  GroupCache::Instance().Put(serial_, number, made);
  return made;
}

// --- Traces ---

uint32_t Block::GroupOfPiece(uint32_t piece) const {
  const auto behind =
      std::upper_bound(groups_.begin(), groups_.end(), piece,
                       [](uint32_t p, const Group& group) { return p < group.first_piece; });
  return static_cast<uint32_t>(behind - groups_.begin()) - 1;
}

Result<std::optional<uint32_t>> Block::FindTrace(const TraceId& id) const {
  const uint64_t hash = Hash64(BytesOf(id));
  if (filter_.has_value() && !filter_->MayContain(hash)) return std::optional<uint32_t>();
  const auto bucket =
      static_cast<uint32_t>((static_cast<unsigned __int128>(hash) * buckets_) >> 64);
  const uint32_t begin = bucket == 0 ? 0 : LoadAt<uint32_t>(bucket_ends_, bucket - 1);
  const uint32_t end = LoadAt<uint32_t>(bucket_ends_, bucket);
  for (uint32_t i = begin; i < end; ++i) {
    if (LoadAt<uint16_t>(table_hashes_, i) != static_cast<uint16_t>(hash)) continue;
    const auto piece = LoadAt<uint32_t>(table_pieces_, i);
    const Group& group = groups_[GroupOfPiece(piece)];
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, ChunkBytes(group, kTraceIdsChunk));
    const uint64_t at = uint64_t{piece - group.first_piece} * 16;
    if (bytes.size() < at + 16) return Damage(group, "traces: trace ids end early");
    if (bytes.substr(at, 16) == BytesOf(id)) return std::optional<uint32_t>(piece);
  }
  return std::optional<uint32_t>();
}

bool Block::MayHaveTrace(const TraceId& id) const {
  return !filter_.has_value() || filter_->MayContain(Hash64(BytesOf(id)));
}

template <typename F>
Status Block::ForPieces(const TraceId& id, F&& f) const {
  VARVE_ASSIGN_OR_RETURN(const std::optional<uint32_t> first, FindTrace(id));
  if (!first.has_value()) return absl::OkStatus();
  std::vector<TraceId> ids;
  std::vector<uint32_t> begins;
  uint32_t piece = *first;
  // Pieces of one trace lie one behind the other.
  for (uint32_t g = GroupOfPiece(piece); g < groups_.size(); ++g) {
    const Group& group = groups_[g];
    VARVE_RETURN_IF_ERROR(Pieces(group, &ids, &begins));
    for (uint32_t p = piece - group.first_piece; p < group.pieces; ++p, ++piece) {
      if (ids[p] != id) return absl::OkStatus();
      VARVE_RETURN_IF_ERROR(f(g, begins[p], begins[p + 1]));
    }
  }
  return absl::OkStatus();
}

Status Block::ReadTrace(const TraceId& id, SpanBatch* out) const {
  return ForPieces(id, [&](uint32_t group, uint32_t begin, uint32_t end) -> Status {
    std::shared_ptr<const DecodedGroup> decoded;
    if (GroupCache::Instance().WorthDecoding(serial_, group, end - begin, groups_[group].rows)) {
      VARVE_ASSIGN_OR_RETURN(decoded, LoadGroup(group));
    } else {
      auto piece = std::make_shared<DecodedGroup>();
      VARVE_RETURN_IF_ERROR(
          DecodePieces(group, std::span(&id, 1), std::array{begin, end}, piece.get()));
      decoded = std::move(piece);
      end -= begin;
      begin = 0;
    }
    for (uint32_t r = begin; r < end; ++r) {
      const SpanBatch::Span& span = decoded->rows.spans()[r];
      CopySpan(decoded->rows, span, span.scope, out);
    }
    out->Keep(std::move(decoded));
    return absl::OkStatus();
  });
}

Status Block::ReadSpanKeys(const TraceId& id, std::vector<std::pair<SpanId, SpanKind>>* out) const {
  return ForPieces(id, [&](uint32_t g, uint32_t begin, uint32_t end) -> Status {
    const Group& group = groups_[g];
    VARVE_ASSIGN_OR_RETURN(const std::string_view span_ids, ChunkBytes(group, kSpanIdsChunk));
    if (span_ids.size() != uint64_t{group.rows} * 8) return Damage(group, "traces: span ids");
    std::vector<int64_t> kinds;
    VARVE_RETURN_IF_ERROR(Integers(group, kKindsChunk, group.rows, &kinds));
    for (uint32_t r = begin; r < end; ++r) {
      SpanId span;
      std::memcpy(span.bytes.data(), span_ids.data() + size_t{r} * 8, 8);
      out->push_back({span, static_cast<SpanKind>(kinds[r] & 15)});
    }
    return absl::OkStatus();
  });
}

Result<std::vector<TracePiece>> Block::ListTraces(NsRange range) const {
  std::vector<TracePiece> out;
  std::vector<TraceId> ids;
  std::vector<uint32_t> begins;
  std::vector<int64_t> starts;
  for (const Group& group : groups_) {
    if (!range.Overlaps({group.min_start, group.max_start})) continue;
    VARVE_RETURN_IF_ERROR(Pieces(group, &ids, &begins));
    VARVE_RETURN_IF_ERROR(Integers(group, kStartsChunk, group.rows, &starts));
    for (uint32_t p = 0; p < group.pieces; ++p) {
      out.push_back({ids[p], starts[begins[p]], group.first_piece + p});
    }
  }
  return out;
}

Status Block::ReadPiece(uint64_t token, NsRange range, SpanBatch* out) const {
  const auto piece = static_cast<uint32_t>(token);
  const uint32_t g = GroupOfPiece(piece);
  VARVE_ASSIGN_OR_RETURN(auto decoded, LoadGroup(g));
  const uint32_t p = piece - groups_[g].first_piece;
  for (uint32_t r = decoded->piece_begins[p]; r < decoded->piece_begins[p + 1]; ++r) {
    const SpanBatch::Span& span = decoded->rows.spans()[r];
    if (range.Contains(span.start_ns)) CopySpan(decoded->rows, span, span.scope, out);
  }
  out->Keep(std::move(decoded));
  return absl::OkStatus();
}

// --- What occurs ---

Status Block::AddServices(std::set<std::string>* out) const {
  for (const std::string_view service : operations_.services) {
    if (!service.empty()) out->emplace(service);
  }
  return absl::OkStatus();
}

Status Block::AddOperations(std::string_view service, std::set<Operation>* out) const {
  for (const auto& entry : operations_.entries) {
    if (!service.empty() && operations_.services[entry.service] != service) continue;
    out->insert(Operation{std::string(entry.name), entry.kind});
  }
  return absl::OkStatus();
}

Status Block::AddTagNames(AttributeScope scope, TagNameMap* out) const {
  const auto add = [&](AttributeScope at, std::string_view key, ValueType type) {
    if (scope != AttributeScope::kAny && scope != at) return;
    (*out)[{at, std::string(key)}] |= 1u << static_cast<uint32_t>(type);
  };
  static constexpr AttributeScope kScopes[] = {AttributeScope::kSpan, AttributeScope::kEvent,
                                               AttributeScope::kLink};
  for (const Column& column : columns_) {
    if (column.text_chunk != 0 || column.count == 0) continue;
    add(kScopes[static_cast<size_t>(column.family)], keys_[column.key], column.type);
  }
  for (const ResourceView& resource : resources_) {
    for (const AttributeView& attribute : resource.attributes) {
      add(AttributeScope::kResource, attribute.key, attribute.value.type);
    }
  }
  for (const ScopeView& one : scopes_) {
    for (const AttributeView& attribute : one.attributes) {
      add(AttributeScope::kInstrumentation, attribute.key, attribute.value.type);
    }
  }
  return absl::OkStatus();
}

Result<bool> Block::AddTagValues(const SpanField& field, size_t limit,
                                 std::set<TraceSnapshot::TagValue>* out) const {
  const auto add = [&](const ValueView& value) {
    if (out->size() < limit) out->insert({value.type, ToString(value)});
  };
  const auto add_dictionary = [&](uint32_t number) -> Result<bool> {
    const Column& column = columns_[number];
    if (column.coding != Coding::kDictionary) return false;
    VARVE_ASSIGN_OR_RETURN(const Dictionary* dictionary, DictionaryOf(number));
    VARVE_ASSIGN_OR_RETURN(const auto postings, DictionaryPostings(number));
    for (size_t i = 0; i < dictionary->values.size(); ++i) {
      // Values whose spans have all gone are in the dictionary still.
      if (!postings.empty() && postings[i].empty()) continue;
      ValueView value;
      value.type = column.type;
      value.text = dictionary->values[i];
      add(value);
    }
    return true;
  };
  switch (field.intrinsic) {
    case Intrinsic::kName:
      return add_dictionary(TextColumn(kNamesChunk));
    case Intrinsic::kServiceName:
      for (const std::string_view service : operations_.services) add(ValueView::String(service));
      return true;
    case Intrinsic::kNone:
      break;
    default:
      return false;
  }
  if (field.scope == AttributeScope::kResource) {
    for (const ResourceView& resource : resources_) {
      const ValueView* value = FindAttribute(resource.attributes, field.key);
      if (value != nullptr) add(*value);
    }
    return true;
  }
  if (field.scope == AttributeScope::kInstrumentation) {
    for (const ScopeView& scope : scopes_) {
      const ValueView* value = FindAttribute(scope.attributes, field.key);
      if (value != nullptr) add(*value);
    }
    return true;
  }
  if (field.scope == AttributeScope::kAny) {
    bool complete = true;
    for (const AttributeScope scope :
         {AttributeScope::kResource, AttributeScope::kInstrumentation, AttributeScope::kSpan,
          AttributeScope::kEvent, AttributeScope::kLink}) {
      SpanField one = field;
      one.scope = scope;
      VARVE_ASSIGN_OR_RETURN(const bool done, AddTagValues(one, limit, out));
      complete = complete && done;
    }
    return complete;
  }
  const Family family = field.scope == AttributeScope::kSpan    ? Family::kSpan
                        : field.scope == AttributeScope::kEvent ? Family::kEvent
                                                                : Family::kLink;
  if (has_inline_shapes_) return false;
  for (uint32_t c = kTextChunks.size(); c < columns_.size(); ++c) {
    const Column& column = columns_[c];
    if (column.family != family || keys_[column.key] != field.key || column.count == 0) continue;
    if (column.coding == Coding::kDictionary) {
      VARVE_RETURN_IF_ERROR(add_dictionary(c).status());
      continue;
    }
    if (column.coding != Coding::kIntegers || column.type == ValueType::kDouble) return false;
    VARVE_ASSIGN_OR_RETURN(const auto postings, IntegerPostings(c));
    if (postings.empty()) return false;
    for (const auto& [value, groups] : postings) {
      add(column.type == ValueType::kBool ? ValueView::Bool(value != 0) : ValueView::Int(value));
    }
  }
  return true;
}

Status Block::AddSurvey(NsRange, Survey* out) const {
  out->spans += spans();
  for (uint32_t c = 0; c < columns_.size(); ++c) {
    const Column& column = columns_[c];
    ColumnName name;
    if (column.text_chunk != 0) {
      name.text_chunk = column.text_chunk;
    } else {
      name.family = column.family;
      name.type = column.type;
      name.key = keys_[column.key];
    }
    ColumnFacts& facts = out->columns()[name];
    facts.count += column.count;
    if (column.coding == Coding::kDictionary) {
      VARVE_ASSIGN_OR_RETURN(const Dictionary* dictionary, DictionaryOf(c));
      if (!facts.plain) facts.values.insert(dictionary->values.begin(), dictionary->values.end());
    } else {
      facts.plain = true;
    }
    if (facts.values.size() > kDictionaryValuesMax) facts.plain = true;
    if (facts.plain) facts.values.clear();
  }
  return absl::OkStatus();
}

// --- The whole file ---

BlockStats Block::Stats() const {
  BlockStats out;
  out.id = meta().id;
  out.file = file_->path();
  out.wing = "traces";
  out.level = meta().level;
  out.range = {meta().min_time / 1'000'000, meta().max_time / 1'000'000};
  out.series = meta().series;
  out.samples = meta().rows;
  out.bytes = file_->file_bytes();
  static constexpr std::pair<block::SectionType, const char*> kNames[] = {
      {kResourcesSection, "resources"},
      {kShapesSection, "shapes"},
      {kColumnsSection, "columns"},
      {kDictionariesSection, "dictionaries"},
      {kPostingsSection, "postings"},
      {kGroupsSection, "groups"},
      {kSpansSection, "spans"},
      {kTraceFilterSection, "trace filter"},
      {kTraceTableSection, "trace table"},
      {kOperationsSection, "operations"}};
  for (const auto& [type, name] : kNames) {
    const block::SectionInfo* info = file_->Find(type);
    if (info == nullptr) continue;
    out.sections.push_back({name, info->stored_bytes(), info->raw_bytes, info->items});
  }
  static constexpr const char* kChunkNames[] = {
      "trace ids",      "span ids",      "parents",        "starts",          "durations",
      "scopes",         "kinds",         "names",          "flags",           "dropped attributes",
      "dropped events", "dropped links", "trace states",   "status messages", "span shapes",
      "event counts",   "event times",   "event names",    "event dropped",   "event shapes",
      "link counts",    "link ids",      "link states",    "link dropped",    "link flags",
      "link shapes",    "cold of spans", "cold of events", "cold of links"};
  std::map<std::string, SectionStats> chunks;
  for (const Group& group : groups_) {
    uint64_t before = group.offset;
    for (uint32_t c = group.chunks_begin; c < group.chunks_end; ++c) {
      const uint32_t chunk = chunks_[c].first;
      const std::string name =
          chunk < std::size(kChunkNames)
              ? std::string(kChunkNames[chunk])
              : Concat("attribute ", chunk >= kAttributeChunks
                                         ? keys_[columns_[chunk - kAttributeChunks].key]
                                         : std::string_view());
      SectionStats& stats = chunks[name];
      stats.name = name;
      stats.bytes += chunks_[c].second - before;
      stats.items += group.rows;
      before = chunks_[c].second;
    }
  }
  for (auto& [name, stats] : chunks) out.codecs.push_back(std::move(stats));
  return out;
}

std::vector<Status> Block::VerifyAll() const {
  std::vector<Status> out = file_->VerifyAll();
  if (!out.empty()) return out;
  const auto note = [&out](const Status& status) {
    if (!status.ok()) out.push_back(status);
  };
  for (uint32_t c = 0; c < columns_.size(); ++c) {
    if (columns_[c].coding == Coding::kDictionary) {
      note(DictionaryOf(c).status());
      note(DictionaryPostings(c).status());
    } else if (columns_[c].coding == Coding::kIntegers) {
      note(IntegerPostings(c).status());
    }
  }
  note(ScopePostings().status());
  note(KindPostings().status());
  for (uint32_t g = 0; g < groups_.size(); ++g) note(DecodeGroup(g).status());
  return out;
}

Result<std::shared_ptr<const TraceBlock>> TraceBlock::Open(io::FileSystem& fs,
                                                           const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const block::BlockReader> file,
                         block::BlockReader::Open(fs, path));
  if (file->meta().wing != block::Wing::kTraces) {
    return DataLossError(path, 0, "not a block of traces");
  }
  auto out = std::make_shared<Block>();
  VARVE_RETURN_IF_ERROR(out->Init(std::move(file)));
  return std::shared_ptr<const TraceBlock>(std::move(out));
}

}  // namespace varve::traces
