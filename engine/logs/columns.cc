#include "engine/logs/columns.h"

#include <algorithm>
#include <numeric>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/codec/int_stream.h"
#include "engine/logs/block_format.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

constexpr int kMetadataLevel = 3;

}  // namespace

void EncodeTimes(std::span<const int64_t> times, std::string* out) {
  const int64_t base = times.front();
  uint64_t divisor = 0;
  for (const int64_t time : times) {
    const int64_t from = WrapSub(time, base);
    divisor =
        std::gcd(divisor, from < 0 ? -static_cast<uint64_t>(from) : static_cast<uint64_t>(from));
    if (divisor == 1) break;
  }
  // A divisor past int64 can only come from one difference of half of all time.
  if (divisor == 0 || divisor > static_cast<uint64_t>(INT64_MAX)) divisor = 1;
  PutSigned(out, base);
  PutVarint(out, divisor);
  std::vector<int64_t> quotients(times.size());
  for (size_t i = 0; i < times.size(); ++i) {
    quotients[i] = WrapSub(times[i], base) / static_cast<int64_t>(divisor);
  }
  codec::IntStreamEncoder().Encode(quotients, out);
}

Status DecodeTimes(std::string_view bytes, uint32_t count, std::vector<int64_t>* out) {
  ByteReader in(bytes);
  const int64_t base = in.Signed();
  const uint64_t divisor = in.Varint();
  codec::IntStreamReader stream;
  if (count == 0 || !stream.Open(&in, bytes, count) || !in.ok() || in.left() != 0) {
    return DataLossError("times", 0, "bad stream");
  }
  out->resize(count);
  if (!stream.Decode(0, count, out->data())) return DataLossError("times", 0, "bad stream");
  for (int64_t& time : *out) {
    time =
        static_cast<int64_t>(static_cast<uint64_t>(time) * divisor + static_cast<uint64_t>(base));
  }
  return absl::OkStatus();
}

void MetadataColumns::Clear() {
  columns_.clear();
  by_name_.clear();
  rows_ = 0;
}

MetadataColumns::Column* MetadataColumns::ColumnOf(std::string_view name, size_t place) {
  // Rows tend to have the same names in the same places.
  if (place < columns_.size() && columns_[place].name == name) return &columns_[place];
  const auto [at, added] =
      by_name_.try_emplace(std::string(name), static_cast<uint32_t>(columns_.size()));
  if (added) columns_.emplace_back().name = std::string(name);
  return &columns_[at->second];
}

void MetadataColumns::Add(LabelsView metadata) {
  for (size_t i = 0; i < metadata.size(); ++i) {
    const std::string_view value = metadata[i].value;
    Column& column = *ColumnOf(metadata[i].name, i);
    const bool again = !column.rows.empty() && column.rows.back() != 0 &&
                       column.values[column.rows.back() - 1] == value;
    uint32_t number = again ? column.rows.back() : 0;
    if (!again) {
      auto known = column.index.find(value);
      if (known == column.index.end()) {
        column.values.emplace_back(value);
        known =
            column.index.emplace(std::string(value), static_cast<uint32_t>(column.values.size()))
                .first;
      }
      number = known->second;
    }
    column.rows.resize(rows_);
    column.rows.push_back(number);
  }
  ++rows_;
}

std::vector<std::string_view> MetadataColumns::names() const {
  std::vector<std::string_view> out;
  for (const Column& column : columns_) out.push_back(column.name);
  return out;
}

void MetadataColumns::Encode(std::span<const uint32_t> name_numbers, std::string* out) const {
  std::vector<size_t> order(columns_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return name_numbers[a] < name_numbers[b]; });
  std::string raw;
  PutVarint(&raw, columns_.size());
  for (const size_t i : order) {
    const Column& column = columns_[i];
    PutVarint(&raw, name_numbers[i]);
    PutVarint(&raw, column.values.size());
    for (const std::string& value : column.values) PutVarint(&raw, value.size());
    for (const std::string& value : column.values) raw.append(value);
    for (uint32_t row = 0; row < rows_; ++row) {
      PutVarint(&raw, row < column.rows.size() ? column.rows[row] : 0);
    }
  }
  PutZstdPage(raw, kMetadataLevel, out);
}

void MetadataColumns::AddKeys(std::vector<uint64_t>* keys) const {
  for (const Column& column : columns_) {
    for (const std::string& value : column.values) {
      keys->push_back(MetadataKey(column.name, value));
    }
  }
}

Status DecodeMetadata(std::string_view bytes, uint32_t count,
                      std::span<const std::string_view> names, Rows* rows) {
  const auto malformed = [](std::string_view what) { return DataLossError("metadata", 0, what); };
  rows->metadata.clear();
  rows->metadata_begin.clear();
  VARVE_RETURN_IF_ERROR(GetZstdPage(bytes, kGroupRawBytesMax, &rows->metadata_text));
  ByteReader in(rows->metadata_text);
  struct Column {
    std::string_view name;
    std::vector<std::string_view> values;
    std::vector<uint32_t> rows;
  };
  const uint64_t column_count = in.Count(2 + count);
  std::vector<Column> columns(column_count);
  uint64_t last = 0;
  for (size_t c = 0; c < columns.size(); ++c) {
    const uint64_t name = in.Varint();
    if (name >= names.size() || (c > 0 && name <= last)) return malformed("bad name");
    last = name;
    columns[c].name = names[name];
    const uint64_t values = in.Count(1);
    std::vector<uint64_t> sizes(values);
    for (uint64_t& size : sizes) size = in.Varint();
    columns[c].values.reserve(values);
    for (const uint64_t size : sizes) columns[c].values.push_back(in.Bytes(size));
    columns[c].rows.resize(count);
    for (uint32_t& row : columns[c].rows) {
      const uint64_t value = in.Varint();
      if (value > values) in.Fail();
      row = static_cast<uint32_t>(value);
    }
    if (!in.ok()) return malformed("bad column");
  }
  if (!in.ok() || in.left() != 0) return malformed("does not end");
  rows->metadata_begin.reserve(count + 1);
  for (uint32_t row = 0; row < count; ++row) {
    rows->metadata_begin.push_back(static_cast<uint32_t>(rows->metadata.size()));
    for (const Column& column : columns) {
      if (column.rows[row] != 0) {
        rows->metadata.push_back({column.name, column.values[column.rows[row] - 1]});
      }
    }
  }
  rows->metadata_begin.push_back(static_cast<uint32_t>(rows->metadata.size()));
  return absl::OkStatus();
}

}  // namespace varve::logs
