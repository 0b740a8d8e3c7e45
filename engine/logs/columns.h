#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "engine/logs/rows.h"
#include "varve/status.h"

namespace varve::logs {

/// Encode and decode the columns of a row group beside its lines. Spec:
/// engine/docs/format/logs-block.md, "Times" and "Metadata". Decoding is safe on any bytes.

/// Appends `times`, at least one: the greatest common divisor of their differences, then an
/// integer stream of the quotients.
void EncodeTimes(std::span<const int64_t> times, std::string* out);
/// Replaces `out` by `count` times. Errors: kDataLoss.
Status DecodeTimes(std::string_view bytes, uint32_t count, std::vector<int64_t>* out);

/// Collects the metadata of a row group: a dictionary of values for each name.
class MetadataColumns {
 public:
  void Clear();
  /// Adds the next row.
  void Add(LabelsView metadata);
  bool empty() const { return columns_.empty(); }
  /// The names, in order of first use; EncodeColumns wants their numbers in the same order.
  std::vector<std::string_view> names() const;
  void Encode(std::span<const uint32_t> name_numbers, std::string* out) const;
  /// Appends MetadataKey of every value.
  void AddKeys(std::vector<uint64_t>* keys) const;

 private:
  struct Column {
    std::string name;
    std::vector<std::string> values;  // in order of first use
    StringMap<uint32_t> index;        // of values, each with its number: place + 1
    std::vector<uint32_t> rows;       // numbers of values; 0: absent
  };
  /// Finds or makes the column of a name that is in the given place of its row.
  Column* ColumnOf(std::string_view name, size_t place);

  std::vector<Column> columns_;
  StringMap<uint32_t> by_name_;
  uint32_t rows_ = 0;
};

/// Hashes a pair of metadata, for filters.
uint64_t MetadataKey(std::string_view name, std::string_view value);

/// Fills the metadata of `rows` for `count` rows; names point into `names`, values into
/// rows->metadata_text. Errors: kDataLoss.
Status DecodeMetadata(std::string_view bytes, uint32_t count,
                      std::span<const std::string_view> names, Rows* rows);

}  // namespace varve::logs
