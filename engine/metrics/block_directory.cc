#include "engine/metrics/block_directory.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
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

namespace {

/// Reads a directory section by section, in the order of the steps below.
class DirectoryDecoder {
 public:
  DirectoryDecoder(std::string_view bytes, uint32_t series, uint64_t bulk_bytes,
                   std::string_view file, uint64_t offset)
      : bytes_(bytes),
        in_(bytes),
        series_(series),
        bulk_bytes_(bulk_bytes),
        file_(file),
        offset_(offset) {}

  Status Run() {
    VARVE_RETURN_IF_ERROR(ReadCounts());
    VARVE_RETURN_IF_ERROR(ReadBegins());
    VARVE_RETURN_IF_ERROR(ReadAxisReferences());
    VARVE_RETURN_IF_ERROR(ReadColumnReferences());
    VARVE_RETURN_IF_ERROR(ReadStartReferences());
    VARVE_RETURN_IF_ERROR(ReadAxes());
    VARVE_RETURN_IF_ERROR(ReadColumns());
    VARVE_RETURN_IF_ERROR(ReadLengths(starts_, &d_.starts, "start lengths do not decode"));
    if (!in_.ok() || in_.left() != 0) return Broken("bytes after the chunk directory");
    VARVE_RETURN_IF_ERROR(PlacePieces());
    return CheckOrder();
  }

  BlockDirectory Take() { return std::move(d_); }

 private:
  Status Broken(std::string_view what) const {
    return DataLossError(file_, offset_ + in_.position(), what);
  }

  Status ReadCounts() {
    if (in_.Fixed<uint8_t>() != kVersion) return Broken("unknown version of the chunk directory");
    const uint64_t chunks = in_.Varint();
    axes_ = in_.Varint();
    columns_ = in_.Varint();
    starts_ = in_.Varint();
    // Every piece takes at least a byte. Equal references are nearly free, though.
    const uint64_t pieces_max = std::min(bulk_bytes_, chunks);
    if (!in_.ok() || axes_ > pieces_max || columns_ > pieces_max || starts_ > pieces_max ||
        chunks > (uint64_t{1} << 24) + 64 * bytes_.size() ||
        chunks > std::numeric_limits<uint32_t>::max()) {
      return Broken("impossible counts in the chunk directory");
    }
    chunks_ = chunks;
    return absl::OkStatus();
  }

  /// Reads the next `count` numbers, each of which must be in [low, high].
  bool Read(uint64_t count, int64_t low = std::numeric_limits<int64_t>::min(),
            int64_t high = std::numeric_limits<int64_t>::max()) {
    numbers_.resize(count);
    if (count == 0) return true;
    codec::IntStreamReader stream;
    return stream.Open(&in_, bytes_, static_cast<uint32_t>(count)) &&
           stream.Decode(0, static_cast<uint32_t>(count), numbers_.data()) &&
           std::all_of(numbers_.begin(), numbers_.end(),
                       [&](int64_t v) { return low <= v && v <= high; });
  }

  Status ReadBegins() {
    if (!Read(series_)) return Broken("chunk counts do not decode");
    d_.begins.reserve(size_t{series_} + 1);
    d_.begins.push_back(0);
    for (const int64_t count : numbers_) {
      if (count < 0 || static_cast<uint64_t>(count) > chunks_ - d_.begins.back()) {
        return Broken("a series has more chunks than there are");
      }
      d_.begins.push_back(d_.begins.back() + static_cast<uint32_t>(count));
    }
    if (d_.begins.back() != chunks_) return Broken("chunks without a series");
    return absl::OkStatus();
  }

  Status ReadAxisReferences() {
    if (!Read(chunks_)) return Broken("axis references do not decode");
    d_.chunks.resize(chunks_);
    const AxisGuess guess(d_);
    uint64_t next = 0;
    for (size_t s = 0; s < series_; ++s) {
      for (size_t c = d_.begins[s]; c < d_.begins[s + 1]; ++c) {
        uint64_t axis = next;
        if (numbers_[c] != 0) {
          axis = static_cast<uint64_t>(
              WrapAdd(guess.Of(s, c), UnZigZag(static_cast<uint64_t>(numbers_[c]) - 1)));
          if (axis >= next) return Broken("reference to an axis that is not there yet");
        } else if (next++ == axes_) {
          return Broken("more axes than there are");
        }
        d_.chunks[c].axis = static_cast<uint32_t>(axis);
      }
    }
    if (next != axes_) return Broken("axes without a chunk");
    return absl::OkStatus();
  }

  /// Takes a reference that counts back from `next`, the first of `pieces` not used yet.
  Status Resolve(uint64_t back, size_t pieces, std::string_view name, uint64_t* next,
                 uint32_t* piece) const {
    if (back > *next) return Broken(Concat("reference to ", name, " that is not there"));
    *piece = static_cast<uint32_t>(*next - back);
    if (back == 0 && (*next)++ == pieces) return Broken(Concat("more than there are: ", name));
    return absl::OkStatus();
  }

  Status ReadColumnReferences() {
    if (!Read(chunks_)) return Broken("column references do not decode");
    uint64_t next = 0;
    for (size_t c = 0; c < numbers_.size(); ++c) {
      VARVE_RETURN_IF_ERROR(Resolve(static_cast<uint64_t>(numbers_[c]), columns_, "a column", &next,
                                    &d_.chunks[c].column));
    }
    if (next != columns_) return Broken("columns without a chunk");
    return absl::OkStatus();
  }

  Status ReadStartReferences() {
    if (starts_ == 0) return absl::OkStatus();
    if (!Read(chunks_)) return Broken("start references do not decode");
    d_.chunk_starts.assign(chunks_, BlockDirectory::kNoStarts);
    uint64_t next = 0;
    for (size_t c = 0; c < numbers_.size(); ++c) {
      if (numbers_[c] == 0) continue;
      VARVE_RETURN_IF_ERROR(Resolve(static_cast<uint64_t>(numbers_[c]) - 1, starts_,
                                    "a column of start timestamps", &next, &d_.chunk_starts[c]));
    }
    if (next != starts_) return Broken("start columns without a chunk");
    return absl::OkStatus();
  }

  template <typename Piece>
  Status ReadLengths(uint64_t count, std::vector<Piece>* pieces, std::string_view error) {
    if (!Read(count, 1, kPieceBytesMax)) return Broken(error);
    pieces->resize(count);
    for (size_t i = 0; i < pieces->size(); ++i) {
      (*pieces)[i].bytes = static_cast<uint32_t>(numbers_[i]);
    }
    return absl::OkStatus();
  }

  Status ReadAxes() {
    std::vector<BlockDirectory::Axis>& axes = d_.axes;
    VARVE_RETURN_IF_ERROR(ReadLengths(axes_, &axes, "axis lengths do not decode"));
    if (!Read(axes.size(), 1, kChunkSamplesMax)) return Broken("axis counts do not decode");
    for (size_t i = 0; i < axes.size(); ++i) axes[i].count = static_cast<uint32_t>(numbers_[i]);
    if (!Read(axes.size())) return Broken("axis times do not decode");
    for (size_t i = 0; i < axes.size(); ++i) axes[i].min_time = numbers_[i];
    if (!Read(axes.size())) return Broken("axis spans do not decode");
    for (size_t i = 0; i < axes.size(); ++i) {
      BlockDirectory::Axis& axis = axes[i];
      axis.max_time = WrapAdd(axis.min_time, numbers_[i]);
      if (axis.max_time < axis.min_time || (axis.count == 1) != (axis.max_time == axis.min_time)) {
        return Broken("impossible span of an axis");
      }
    }
    return absl::OkStatus();
  }

  Status ReadColumns() {
    constexpr int64_t kKnownFlags =
        kChunkHasNoNan | kChunkHasNoStale | kChunkNonDecreasing | kChunkConstant;
    VARVE_RETURN_IF_ERROR(ReadLengths(columns_, &d_.columns, "column lengths do not decode"));
    if (!Read(d_.columns.size(), 0, 255)) return Broken("column flags do not decode");
    for (size_t i = 0; i < d_.columns.size(); ++i) {
      const int64_t flags = numbers_[i] & ((1 << kKindShift) - 1);
      if ((flags & ~kKnownFlags) != 0) return Broken("unknown column flags");
      d_.columns[i].kind = static_cast<ChunkKind>(numbers_[i] >> kKindShift);
      d_.columns[i].flags = static_cast<uint8_t>(flags);
    }
    return absl::OkStatus();
  }

  /// Works out the offsets: pieces lie in the order of their first use, which is that of their
  /// numbers.
  Status PlacePieces() {
    uint64_t at = 0;
    uint32_t next_axis = 0;
    uint32_t next_column = 0;
    uint32_t next_starts = 0;
    const auto place = [&at](auto& pieces, uint32_t piece, uint32_t* next) {
      if (piece != *next) return;
      ++*next;
      pieces[piece].offset = at;
      at += pieces[piece].bytes;
    };
    for (size_t c = 0; c < d_.chunks.size(); ++c) {
      place(d_.axes, d_.chunks[c].axis, &next_axis);
      place(d_.columns, d_.chunks[c].column, &next_column);
      const uint32_t starts = d_.starts_of(c);
      if (starts != BlockDirectory::kNoStarts) place(d_.starts, starts, &next_starts);
    }
    if (at != bulk_bytes_) return Broken("the chunks do not fill their section");
    return absl::OkStatus();
  }

  Status CheckOrder() const {
    for (size_t s = 0; s < series_; ++s) {
      for (size_t c = size_t{d_.begins[s]} + 1; c < d_.begins[s + 1]; ++c) {
        if (d_.axes[d_.chunks[c].axis].min_time <= d_.axes[d_.chunks[c - 1].axis].max_time) {
          return Broken("chunks of a series that overlap");
        }
      }
    }
    return absl::OkStatus();
  }

  const std::string_view bytes_;
  ByteReader in_;
  const uint32_t series_;
  const uint64_t bulk_bytes_;
  const std::string_view file_;
  const uint64_t offset_;
  uint64_t chunks_ = 0;
  uint64_t axes_ = 0;
  uint64_t columns_ = 0;
  uint64_t starts_ = 0;
  std::vector<int64_t> numbers_;
  BlockDirectory d_;
};

}  // namespace

Status DecodeDirectory(std::string_view bytes, uint32_t series, uint64_t bulk_bytes,
                       std::string_view file, uint64_t offset, BlockDirectory* out) {
  DirectoryDecoder decoder(bytes, series, bulk_bytes, file, offset);
  VARVE_RETURN_IF_ERROR(decoder.Run());
  *out = decoder.Take();
  return absl::OkStatus();
}

}  // namespace varve::metrics
