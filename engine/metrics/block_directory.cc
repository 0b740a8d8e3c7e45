#include "engine/metrics/block_directory.h"

#include <algorithm>
#include <limits>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/codec/int_stream.h"

namespace varve::metrics {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint32_t kPieceBytesMax = 1u << 27;
constexpr uint8_t kKindShift = 7;  // in a column's byte; the flags are below

/// Guesses the axis of the next chunk: what the series before had at this place, or else the axis
/// after the one of the chunk before. Neighbours mostly come from one scrape target.
class AxisGuess {
 public:
  explicit AxisGuess(const BlockDirectory& directory) : directory_(directory) {}
  int64_t Of(size_t series, size_t chunk) const {
    const size_t place = chunk - directory_.begins[series];
    if (series > 0 && directory_.begins[series - 1] + place < directory_.begins[series]) {
      return directory_.chunks[directory_.begins[series - 1] + place].axis;
    }
    return chunk == 0 ? 0 : int64_t{directory_.chunks[chunk - 1].axis} + 1;
  }

 private:
  const BlockDirectory& directory_;
};

}  // namespace

std::string EncodeDirectory(const BlockDirectory& d) {
  std::string out;
  out.push_back(static_cast<char>(kVersion));
  PutVarint(&out, d.chunks.size());
  PutVarint(&out, d.axes.size());
  PutVarint(&out, d.columns.size());
  PutVarint(&out, d.starts.size());
  codec::IntStreamEncoder encoder;
  std::vector<int64_t> numbers;
  const auto put = [&] {
    if (!numbers.empty()) encoder.Encode(numbers, &out);
    numbers.clear();
  };
  for (size_t s = 0; s + 1 < d.begins.size(); ++s) {
    numbers.push_back(int64_t{d.begins[s + 1]} - d.begins[s]);
  }
  put();
  // References: 0 is a piece not used before, which is always the next one.
  const AxisGuess guess(d);
  uint32_t next = 0;
  for (size_t s = 0; s + 1 < d.begins.size(); ++s) {
    for (size_t c = d.begins[s]; c < d.begins[s + 1]; ++c) {
      const uint32_t axis = d.chunks[c].axis;
      VARVE_CHECK(axis <= next);
      numbers.push_back(axis == next ? 0 : 1 + static_cast<int64_t>(ZigZag(axis - guess.Of(s, c))));
      if (axis == next) ++next;
    }
  }
  VARVE_CHECK(next == d.axes.size());
  put();
  next = 0;
  for (const auto& chunk : d.chunks) {
    VARVE_CHECK(chunk.column <= next);
    numbers.push_back(int64_t{next} - chunk.column);
    if (chunk.column == next) ++next;
  }
  VARVE_CHECK(next == d.columns.size());
  put();
  if (!d.starts.empty()) {
    next = 0;
    for (const uint32_t starts : d.chunk_starts) {
      if (starts == BlockDirectory::kNoStarts) {
        numbers.push_back(0);
        continue;
      }
      VARVE_CHECK(starts <= next);
      numbers.push_back(int64_t{next} - starts + 1);
      if (starts == next) ++next;
    }
    VARVE_CHECK(next == d.starts.size());
    put();
  }
  for (const auto& axis : d.axes) numbers.push_back(axis.bytes);
  put();
  for (const auto& axis : d.axes) numbers.push_back(axis.count);
  put();
  for (const auto& axis : d.axes) numbers.push_back(axis.min_time);
  put();
  for (const auto& axis : d.axes) numbers.push_back(WrapSub(axis.max_time, axis.min_time));
  put();
  for (const auto& column : d.columns) numbers.push_back(column.bytes);
  put();
  for (const auto& column : d.columns) {
    numbers.push_back(static_cast<uint8_t>(column.kind) << kKindShift | column.flags);
  }
  put();
  for (const auto& starts : d.starts) numbers.push_back(starts.bytes);
  put();
  return out;
}

Status DecodeDirectory(std::string_view bytes, uint32_t series, uint64_t bulk_bytes,
                       std::string_view file, uint64_t offset, BlockDirectory* out) {
  ByteReader in(bytes);
  const auto broken = [&](std::string_view what) {
    return DataLossError(file, offset + in.position(), what);
  };
  if (in.Fixed<uint8_t>() != kVersion) return broken("unknown version of the chunk directory");
  const uint64_t chunks = in.Varint();
  const uint64_t axes = in.Varint();
  const uint64_t columns = in.Varint();
  const uint64_t starts = in.Varint();
  // Every piece takes at least a byte. Equal references are nearly free, though.
  if (!in.ok() || axes > bulk_bytes || columns > bulk_bytes || starts > bulk_bytes ||
      axes > chunks || columns > chunks || starts > chunks ||
      chunks > (uint64_t{1} << 24) + 64 * bytes.size() ||
      chunks > std::numeric_limits<uint32_t>::max()) {
    return broken("impossible counts in the chunk directory");
  }
  BlockDirectory d;
  std::vector<int64_t> numbers;
  const auto read = [&](uint64_t count) {
    numbers.resize(count);
    if (count == 0) return true;
    codec::IntStreamReader stream;
    return stream.Open(&in, bytes, static_cast<uint32_t>(count)) &&
           stream.Decode(0, static_cast<uint32_t>(count), numbers.data());
  };
  if (!read(series)) return broken("chunk counts do not decode");
  d.begins.reserve(size_t{series} + 1);
  d.begins.push_back(0);
  for (const int64_t count : numbers) {
    if (count < 0 || static_cast<uint64_t>(count) > chunks - d.begins.back()) {
      return broken("a series has more chunks than there are");
    }
    d.begins.push_back(d.begins.back() + static_cast<uint32_t>(count));
  }
  if (d.begins.back() != chunks) return broken("chunks without a series");
  if (!read(chunks)) return broken("axis references do not decode");
  d.chunks.resize(chunks);
  const AxisGuess guess(d);
  uint64_t next = 0;
  for (size_t s = 0; s < series; ++s) {
    for (size_t c = d.begins[s]; c < d.begins[s + 1]; ++c) {
      uint64_t axis = next;
      if (numbers[c] != 0) {
        axis = static_cast<uint64_t>(
            WrapAdd(guess.Of(s, c), UnZigZag(static_cast<uint64_t>(numbers[c]) - 1)));
        if (axis >= next) return broken("reference to an axis that is not there yet");
      } else if (next++ == axes) {
        return broken("more axes than there are");
      }
      d.chunks[c].axis = static_cast<uint32_t>(axis);
    }
  }
  if (next != axes) return broken("axes without a chunk");
  if (!read(chunks)) return broken("column references do not decode");
  next = 0;
  for (size_t c = 0; c < chunks; ++c) {
    const auto back = static_cast<uint64_t>(numbers[c]);
    if (back > next) return broken("reference to a column that is not there");
    d.chunks[c].column = static_cast<uint32_t>(next - back);
    if (back == 0 && next++ == columns) return broken("more columns than there are");
  }
  if (next != columns) return broken("columns without a chunk");
  if (starts > 0) {
    if (!read(chunks)) return broken("start references do not decode");
    d.chunk_starts.assign(chunks, BlockDirectory::kNoStarts);
    next = 0;
    for (size_t c = 0; c < chunks; ++c) {
      if (numbers[c] == 0) continue;
      const uint64_t back = static_cast<uint64_t>(numbers[c]) - 1;
      if (back > next) return broken("reference to start timestamps that are not there");
      d.chunk_starts[c] = static_cast<uint32_t>(next - back);
      if (back == 0 && next++ == starts) return broken("more start columns than there are");
    }
    if (next != starts) return broken("start columns without a chunk");
  }
  const auto in_range = [&](int64_t low, int64_t high) {
    return std::all_of(numbers.begin(), numbers.end(),
                       [&](int64_t v) { return low <= v && v <= high; });
  };
  d.axes.resize(axes);
  if (!read(axes) || !in_range(1, kPieceBytesMax)) return broken("axis lengths do not decode");
  for (size_t i = 0; i < axes; ++i) d.axes[i].bytes = static_cast<uint32_t>(numbers[i]);
  if (!read(axes) || !in_range(1, kChunkSamplesMax)) return broken("axis counts do not decode");
  for (size_t i = 0; i < axes; ++i) d.axes[i].count = static_cast<uint32_t>(numbers[i]);
  if (!read(axes)) return broken("axis times do not decode");
  for (size_t i = 0; i < axes; ++i) d.axes[i].min_time = numbers[i];
  if (!read(axes)) return broken("axis spans do not decode");
  for (size_t i = 0; i < axes; ++i) {
    BlockDirectory::Axis& axis = d.axes[i];
    axis.max_time = WrapAdd(axis.min_time, numbers[i]);
    if (axis.max_time < axis.min_time || (axis.count == 1) != (axis.max_time == axis.min_time)) {
      return broken("impossible span of an axis");
    }
  }
  d.columns.resize(columns);
  if (!read(columns) || !in_range(1, kPieceBytesMax)) return broken("column lengths do not decode");
  for (size_t i = 0; i < columns; ++i) d.columns[i].bytes = static_cast<uint32_t>(numbers[i]);
  if (!read(columns) || !in_range(0, 255)) return broken("column flags do not decode");
  constexpr int64_t kKnownFlags =
      kChunkHasNoNan | kChunkHasNoStale | kChunkNonDecreasing | kChunkConstant;
  for (size_t i = 0; i < columns; ++i) {
    const int64_t flags = numbers[i] & ((1 << kKindShift) - 1);
    if ((flags & ~kKnownFlags) != 0) return broken("unknown column flags");
    d.columns[i].kind = static_cast<ChunkKind>(numbers[i] >> kKindShift);
    d.columns[i].flags = static_cast<uint8_t>(flags);
  }
  d.starts.resize(starts);
  if (!read(starts) || !in_range(1, kPieceBytesMax)) return broken("start lengths do not decode");
  for (size_t i = 0; i < starts; ++i) d.starts[i].bytes = static_cast<uint32_t>(numbers[i]);
  if (!in.ok() || in.left() != 0) return broken("bytes after the chunk directory");

  // Pieces lie in the order of their first use, which is that of their numbers.
  uint64_t at = 0;
  uint32_t next_axis = 0;
  uint32_t next_column = 0;
  uint32_t next_starts = 0;
  for (size_t c = 0; c < chunks; ++c) {
    const auto place = [&](auto& pieces, uint32_t piece, uint32_t* next_piece) {
      if (piece != *next_piece) return;
      ++*next_piece;
      pieces[piece].offset = at;
      at += pieces[piece].bytes;
    };
    place(d.axes, d.chunks[c].axis, &next_axis);
    place(d.columns, d.chunks[c].column, &next_column);
    if (const uint32_t piece = d.starts_of(c); piece != BlockDirectory::kNoStarts) {
      place(d.starts, piece, &next_starts);
    }
  }
  if (at != bulk_bytes) return broken("the chunks do not fill their section");
  for (size_t s = 0; s < series; ++s) {
    for (size_t c = size_t{d.begins[s]} + 1; c < d.begins[s + 1]; ++c) {
      if (d.axes[d.chunks[c].axis].min_time <= d.axes[d.chunks[c - 1].axis].max_time) {
        return broken("chunks of a series that overlap");
      }
    }
  }
  *out = std::move(d);
  return absl::OkStatus();
}

}  // namespace varve::metrics
