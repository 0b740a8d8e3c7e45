#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/scan.h"
#include "varve/status.h"

namespace varve::metrics {

/// Says which pieces of the bulk section make up the chunks of each series. A piece is stored once
/// and used by any number of chunks: a time axis, a column of values or histograms, a column of
/// start timestamps. Pieces lie in the bulk section in the order in which chunks first use them
/// (per chunk: axis, column, starts), so their offsets need not be stored.
/// Format: engine/docs/format/metrics-block.md, "Directory".
struct BlockDirectory {
  static constexpr uint32_t kNoStarts = 0xffffffff;
  /// A chunk's pieces, as indices.
  struct ChunkEntry {
    uint32_t axis = 0;
    uint32_t column = 0;
  };
  struct Axis {
    uint64_t offset = 0;
    uint32_t bytes = 0;
    uint32_t count = 0;  // of times, 1..kChunkSamplesMax
    int64_t min_time = 0;
    int64_t max_time = 0;
  };
  struct Column {
    uint64_t offset = 0;
    uint32_t bytes = 0;
    ChunkKind kind = ChunkKind::kFloat;
    uint8_t flags = 0;  // ChunkFlag of the values
  };
  struct Starts {
    uint64_t offset = 0;
    uint32_t bytes = 0;
  };

  std::vector<uint32_t> begins;  // of a series' chunks; one more than there are series
  std::vector<ChunkEntry> chunks;
  std::vector<uint32_t> chunk_starts;  // empty if no chunk has start timestamps
  std::vector<Axis> axes;
  std::vector<Column> columns;
  std::vector<Starts> starts;

  uint32_t starts_of(size_t chunk) const {
    return chunk_starts.empty() ? kNoStarts : chunk_starts[chunk];
  }
};

inline constexpr uint32_t kChunkSamplesMax = 1024;

/// Encodes `directory`; its offsets are not looked at. Cost: about 0.3 us a chunk.
std::string EncodeDirectory(const BlockDirectory& directory);

/// Decodes bytes that may be anything, and works out the offsets. Checks that every reference
/// holds, that the chunks of a series ascend without overlap, and that the pieces fill a bulk
/// section of `bulk_bytes`. Errors: kDataLoss with `file` and `offset` + the position inside.
/// Memory is bounded by a multiple of the bytes and 2^24 chunks.
Status DecodeDirectory(std::string_view bytes, uint32_t series, uint64_t bulk_bytes,
                       std::string_view file, uint64_t offset, BlockDirectory* out);

}  // namespace varve::metrics
