#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace varve::index {

/// Constants of the serialised label index, version 1. Spec: engine/docs/format/label-index.md;
/// change both or neither.
inline constexpr uint32_t kLabelIndexMagic = 0x31494c56;  // "VLI1"

enum class StreamCodec : uint8_t { kRaw = 0, kZstd = 1 };

/// The streams, in the order in which they are stored.
enum Stream : size_t {
  kStreamNames,         // label names, the sizes of their dictionaries and columns
  kStreamShapes,        // the distinct sets of label names that series have
  kStreamValueLengths,  // shared and own bytes of each value
  kStreamValueBytes,    // the own bytes
  kStreamSeriesShapes,  // the shape of each series
  kStreamColumns,       // the values of each name, series after series
  kStreamCount,
};

/// Bounds what a reader expands, by the bytes it was given: the streams together, and the strings.
/// A writer whose data is more repetitive than that compresses less.
inline constexpr uint64_t ExpansionMax(uint64_t stored_bytes) {
  return (uint64_t{64} << 20) + 1024 * stored_bytes;
}

/// Bytes that hold any number below `count`.
inline constexpr uint8_t BytesFor(uint64_t count) {
  return count <= 0x100 ? 1 : count <= 0x10000 ? 2 : count <= 0x1000000 ? 3 : 4;
}

}  // namespace varve::index
