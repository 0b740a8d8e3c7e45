#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/c/include/varve.h"
#include "varve/labels.h"
#include "varve/status.h"

/// Columns in Arrow's memory layout, and how they leave as an Arrow C stream. No Arrow library is
/// needed on either side. (Arrow columnar format 1.4; C data interface; C stream interface.)
namespace varve::arrow {

/// A column's type, as the C data interface spells it, for example "g" for float64.
struct Field {
  std::string name;
  std::string format;
  bool nullable = false;
  std::vector<Field> children;
  std::shared_ptr<const Field> dictionary;  // of dictionary-encoded columns: the values' type
};

Field Int64(std::string name);
Field Uint64(std::string name);
Field Int32(std::string name);
Field Float64(std::string name);
Field Bool(std::string name);
Field Utf8(std::string name);
Field Binary(std::string name);
/// Unix time in UTC.
Field TimestampMs(std::string name);
Field TimestampNs(std::string name);
/// Texts by int32 index into a dictionary.
Field Dictionary(std::string name);
/// From text to text, keys sorted.
Field Map(std::string name);
Field Struct(std::string name, std::vector<Field> children);
Field List(std::string name, Field item);
Field Nullable(Field field);

/// Bytes that somebody owns.
struct Buffer {
  const void* data = nullptr;
  std::shared_ptr<const void> owner;
};
template <typename T>
Buffer MakeBuffer(std::vector<T> values) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  const void* data = owner->data();
  return {data, std::move(owner)};
}
Buffer MakeBuffer(std::string bytes);

/// A column's content. Immutable once shared.
struct Array {
  int64_t length = 0;
  int64_t null_count = 0;
  int64_t offset = 0;
  std::vector<Buffer> buffers;  // as the layout of its type says; validity first, may be null
  std::vector<std::shared_ptr<const Array>> children;
  std::shared_ptr<const Array> dictionary;
};
using ArrayPtr = std::shared_ptr<const Array>;

/// Returns rows [begin, begin + length) without copying.
ArrayPtr Slice(const ArrayPtr& array, int64_t begin, int64_t length);
/// Makes a fixed-width column without nulls over `values`, which `owner` keeps alive.
ArrayPtr Fixed(int64_t length, const void* values, std::shared_ptr<const void> owner);
template <typename T>
ArrayPtr Fixed(std::vector<T> values) {
  const auto length = static_cast<int64_t>(values.size());
  Buffer buffer = MakeBuffer(std::move(values));
  return Fixed(length, buffer.data, buffer.owner);
}

/// Collects texts, bytes or nulls. Appending past 2 GiB of bytes is the caller's mistake: it checks
/// bytes() and ends the batch before.
class TextBuilder {
 public:
  /// Appends text; bytes that are not UTF-8 become U+FFFD, because Arrow's texts must be valid.
  void Append(std::string_view text);
  void AppendNull();
  size_t size() const { return offsets_.size() - 1; }
  size_t bytes() const { return bytes_.size(); }
  ArrayPtr Finish();

 private:
  std::vector<int32_t> offsets_{0};
  std::string bytes_;
  std::vector<bool> valid_;
  int64_t nulls_ = 0;
};

/// Collects label sets and the like as a map column.
class MapBuilder {
 public:
  void Add(std::string_view key, std::string_view value);
  /// Ends the row.
  void EndRow();
  void Append(LabelsView labels);
  size_t bytes() const { return keys_.bytes() + values_.bytes(); }
  ArrayPtr Finish();

 private:
  std::vector<int32_t> offsets_{0};
  TextBuilder keys_;
  TextBuilder values_;
};

/// Appends `text`, with U+FFFD for every byte that is not part of a well-formed character.
void AppendValidUtf8(std::string_view text, std::string* out);

/// Packs a validity bitmap; null buffer when everything is valid.
Buffer MakeValidity(const std::vector<bool>& valid);

/// Produces record batches. Used by one thread at a time.
class Source {
 public:
  virtual ~Source() = default;
  virtual const std::vector<Field>& fields() const = 0;
  /// Fills `columns` with one array a field, all of one length > 0; false: no more rows.
  virtual Result<bool> Next(std::vector<ArrayPtr>* columns) = 0;
};

/// Hands `source` over to a C stream.
void ExportStream(std::unique_ptr<Source> source, ArrowArrayStream* out);

}  // namespace varve::arrow
