#include "bindings/core/arrow.h"

#include <cerrno>
#include <cstring>
#include <exception>

namespace varve::arrow {
namespace {

Field Plain(std::string name, const char* format) {
  Field out;
  out.name = std::move(name);
  out.format = format;
  return out;
}

// --- Schemas ---

struct SchemaOwner {
  std::string format;
  std::string name;
  std::vector<ArrowSchema> children;
  std::vector<ArrowSchema*> child_pointers;
  ArrowSchema dictionary{};
};

void ReleaseSchema(ArrowSchema* schema) {
  auto* const owner = static_cast<SchemaOwner*>(schema->private_data);
  for (ArrowSchema& child : owner->children) {
    if (child.release != nullptr) child.release(&child);
  }
  if (owner->dictionary.release != nullptr) owner->dictionary.release(&owner->dictionary);
  delete owner;
  schema->release = nullptr;
}

void ExportSchema(const Field& field, ArrowSchema* out) {
  auto owner = std::make_unique<SchemaOwner>();
  owner->format = field.format;
  owner->name = field.name;
  owner->children.resize(field.children.size());
  for (size_t i = 0; i < field.children.size(); ++i) {
    ExportSchema(field.children[i], &owner->children[i]);
    owner->child_pointers.push_back(&owner->children[i]);
  }
  if (field.dictionary != nullptr) ExportSchema(*field.dictionary, &owner->dictionary);
  std::memset(out, 0, sizeof(*out));
  out->format = owner->format.c_str();
  out->name = owner->name.c_str();
  out->flags = (field.nullable ? ARROW_FLAG_NULLABLE : 0) |
               (field.format == "+m" ? ARROW_FLAG_MAP_KEYS_SORTED : 0);
  out->n_children = static_cast<int64_t>(owner->children.size());
  out->children = owner->child_pointers.data();
  if (field.dictionary != nullptr) out->dictionary = &owner->dictionary;
  out->release = &ReleaseSchema;
  out->private_data = owner.release();
}

// --- Arrays ---

struct ArrayOwner {
  ArrayPtr array;
  std::vector<const void*> buffers;
  std::vector<ArrowArray> children;
  std::vector<ArrowArray*> child_pointers;
  ArrowArray dictionary{};
};

void ReleaseArray(ArrowArray* array) {
  auto* const owner = static_cast<ArrayOwner*>(array->private_data);
  for (ArrowArray& child : owner->children) {
    if (child.release != nullptr) child.release(&child);
  }
  if (owner->dictionary.release != nullptr) owner->dictionary.release(&owner->dictionary);
  delete owner;
  array->release = nullptr;
}

void ExportArray(const ArrayPtr& array, ArrowArray* out) {
  auto owner = std::make_unique<ArrayOwner>();
  owner->array = array;
  for (const Buffer& buffer : array->buffers) owner->buffers.push_back(buffer.data);
  owner->children.resize(array->children.size());
  for (size_t i = 0; i < array->children.size(); ++i) {
    ExportArray(array->children[i], &owner->children[i]);
    owner->child_pointers.push_back(&owner->children[i]);
  }
  if (array->dictionary != nullptr) ExportArray(array->dictionary, &owner->dictionary);
  std::memset(out, 0, sizeof(*out));
  out->length = array->length;
  out->null_count = array->null_count;
  out->offset = array->offset;
  out->n_buffers = static_cast<int64_t>(owner->buffers.size());
  out->n_children = static_cast<int64_t>(owner->children.size());
  out->buffers = owner->buffers.data();
  out->children = owner->child_pointers.data();
  if (array->dictionary != nullptr) out->dictionary = &owner->dictionary;
  out->release = &ReleaseArray;
  out->private_data = owner.release();
}

// --- Streams ---

struct StreamOwner {
  std::unique_ptr<Source> source;
  std::string error;
};

int ErrnoOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
      return EINVAL;
    case StatusCode::kResourceExhausted:
      return ENOMEM;
    case StatusCode::kCancelled:
    case StatusCode::kDeadlineExceeded:
      return ECANCELED;
    default:
      return EIO;
  }
}

StreamOwner* OwnerOf(ArrowArrayStream* stream) {
  return static_cast<StreamOwner*>(stream->private_data);
}

// Runs `work`, which returns an errno, and keeps exceptions on this side.
template <typename Work>
int Guarded(ArrowArrayStream* stream, const Work& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    OwnerOf(stream)->error = error.what();
    return ENOMEM;
  }
}

int StreamSchema(ArrowArrayStream* stream, ArrowSchema* out) {
  return Guarded(stream, [&] {
    ExportSchema(Struct("", OwnerOf(stream)->source->fields()), out);
    return 0;
  });
}

int StreamNext(ArrowArrayStream* stream, ArrowArray* out) {
  return Guarded(stream, [&] {
    StreamOwner& owner = *OwnerOf(stream);
    std::vector<ArrayPtr> columns;
    const Result<bool> more = owner.source->Next(&columns);
    if (!more.ok()) {
      owner.error.assign(more.status().message().data(), more.status().message().size());
      return ErrnoOf(more.status());
    }
    if (!*more) {
      std::memset(out, 0, sizeof(*out));
      return 0;
    }
    auto batch = std::make_shared<Array>();
    batch->length = columns.empty() ? 0 : columns.front()->length;
    batch->buffers.resize(1);
    batch->children = std::move(columns);
    ExportArray(batch, out);
    return 0;
  });
}

const char* StreamError(ArrowArrayStream* stream) {
  const std::string& error = OwnerOf(stream)->error;
  return error.empty() ? nullptr : error.c_str();
}

void StreamRelease(ArrowArrayStream* stream) {
  delete OwnerOf(stream);
  stream->release = nullptr;
}

}  // namespace

Field Int64(std::string name) { return Plain(std::move(name), "l"); }
Field Uint64(std::string name) { return Plain(std::move(name), "L"); }
Field Int32(std::string name) { return Plain(std::move(name), "i"); }
Field Float64(std::string name) { return Plain(std::move(name), "g"); }
Field Bool(std::string name) { return Plain(std::move(name), "b"); }
Field Utf8(std::string name) { return Plain(std::move(name), "u"); }
Field Binary(std::string name) { return Plain(std::move(name), "z"); }
Field TimestampMs(std::string name) { return Plain(std::move(name), "tsm:UTC"); }
Field TimestampNs(std::string name) { return Plain(std::move(name), "tsn:UTC"); }
Field Dictionary(std::string name) {
  Field out = Plain(std::move(name), "i");
  out.dictionary = std::make_shared<const Field>(Utf8(""));
  return out;
}
Field Map(std::string name) {
  Field out = Plain(std::move(name), "+m");
  out.children.push_back(Struct("entries", {Utf8("key"), Nullable(Utf8("value"))}));
  return out;
}
Field Struct(std::string name, std::vector<Field> children) {
  Field out = Plain(std::move(name), "+s");
  out.children = std::move(children);
  return out;
}
Field List(std::string name, Field item) {
  Field out = Plain(std::move(name), "+l");
  out.children.push_back(std::move(item));
  return out;
}
Field Nullable(Field field) {
  field.nullable = true;
  return field;
}

Buffer MakeBuffer(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  const void* data = owner->data();
  return {data, std::move(owner)};
}

Buffer MakeValidity(const std::vector<bool>& valid) {
  std::string bits((valid.size() + 7) / 8, '\0');
  for (size_t i = 0; i < valid.size(); ++i) {
    if (valid[i]) bits[i / 8] = static_cast<char>(bits[i / 8] | (1 << (i % 8)));
  }
  return MakeBuffer(std::move(bits));
}

ArrayPtr Slice(const ArrayPtr& array, int64_t begin, int64_t length) {
  auto out = std::make_shared<Array>(*array);
  out->offset += begin;
  out->length = length;
  if (out->null_count != 0) out->null_count = -1;  // the reader counts
  return out;
}

ArrayPtr Fixed(int64_t length, const void* values, std::shared_ptr<const void> owner) {
  auto out = std::make_shared<Array>();
  out->length = length;
  out->buffers = {Buffer{}, Buffer{values, std::move(owner)}};
  return out;
}

namespace {

// Returns the length of the well-formed character that `text` begins with, or 0. (Unicode 15,
// table 3-7.)
size_t CharacterLength(std::string_view text) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = at(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xc2 && first <= 0xdf   ? 2
                        : first >= 0xe0 && first <= 0xef ? 3
                        : first >= 0xf0 && first <= 0xf4 ? 4
                                                         : 0;
  if (length == 0 || text.size() < length) return 0;
  const uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (at(1) < low || at(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

void AppendValidUtf8(std::string_view text, std::string* out) {
  size_t begin = 0;  // of what is good and not yet written
  for (size_t i = 0; i < text.size();) {
    const size_t length = CharacterLength(text.substr(i));
    if (length != 0) {
      i += length;
      continue;
    }
    out->append(text.substr(begin, i - begin)).append("\xef\xbf\xbd");
    begin = ++i;
  }
  out->append(text.substr(begin));
}

void TextBuilder::Append(std::string_view text) {
  AppendValidUtf8(text, &bytes_);
  offsets_.push_back(static_cast<int32_t>(bytes_.size()));
  valid_.push_back(true);
}

void TextBuilder::AppendNull() {
  offsets_.push_back(static_cast<int32_t>(bytes_.size()));
  valid_.push_back(false);
  ++nulls_;
}

ArrayPtr TextBuilder::Finish() {
  auto out = std::make_shared<Array>();
  out->length = static_cast<int64_t>(size());
  out->null_count = nulls_;
  out->buffers = {nulls_ == 0 ? Buffer{} : MakeValidity(valid_), MakeBuffer(std::move(offsets_)),
                  MakeBuffer(std::move(bytes_))};
  *this = TextBuilder();
  return out;
}

void MapBuilder::Add(std::string_view key, std::string_view value) {
  keys_.Append(key);
  values_.Append(value);
}

void MapBuilder::EndRow() { offsets_.push_back(static_cast<int32_t>(keys_.size())); }

void MapBuilder::Append(LabelsView labels) {
  for (const LabelView& label : labels) Add(label.name, label.value);
  EndRow();
}

ArrayPtr MapBuilder::Finish() {
  auto entries = std::make_shared<Array>();
  entries->length = static_cast<int64_t>(keys_.size());
  entries->buffers.resize(1);
  entries->children = {keys_.Finish(), values_.Finish()};
  auto out = std::make_shared<Array>();
  out->length = static_cast<int64_t>(offsets_.size()) - 1;
  out->buffers = {Buffer{}, MakeBuffer(std::move(offsets_))};
  out->children = {std::move(entries)};
  *this = MapBuilder();
  return out;
}

void ExportStream(std::unique_ptr<Source> source, ArrowArrayStream* out) {
  auto owner = std::make_unique<StreamOwner>();
  owner->source = std::move(source);
  out->get_schema = &StreamSchema;
  out->get_next = &StreamNext;
  out->get_last_error = &StreamError;
  out->release = &StreamRelease;
  out->private_data = owner.release();
}

}  // namespace varve::arrow
