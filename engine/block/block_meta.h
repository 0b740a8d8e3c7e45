#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

namespace varve::block {

/// Names the part of the engine that a block, a WAL floor or a tombstone belongs to. The core only
/// compares these; values live on disk: add, never renumber.
enum class Wing : uint8_t { kMetrics = 1, kLogs = 2, kTraces = 3 };

/// Holds what the manifest knows of a block. The same bytes stand in the block file, so that a lost
/// manifest can be rebuilt from blocks alone.
struct BlockMeta {
  uint64_t id = 0;  // unique in a database, never reused for a committed block
  Wing wing = Wing::kMetrics;
  uint32_t level = 0;
  int64_t min_time = 0;  // unit of the wing; both ends belong to the block
  int64_t max_time = 0;
  uint64_t bytes = 0;   // of the whole file; filled in by BlockWriter::Finish
  uint64_t rows = 0;    // samples, entries, spans
  uint64_t series = 0;  // series, streams, traces
  /// The blocks that this edit replaces, and the first WAL segment still needed after it (0: says
  /// nothing). When an edit makes several blocks, only the one finished last carries these two:
  /// whoever finds it may then conclude that the whole edit reached the disk.
  std::vector<uint64_t> sources;
  uint64_t wal_floor = 0;
  std::string opaque;  // of the wing; at most kOpaqueBytesMax

  friend bool operator==(const BlockMeta&, const BlockMeta&) = default;
};
inline constexpr uint64_t kOpaqueBytesMax = 1u << 20;
inline constexpr uint64_t kSourcesMax = 1u << 20;

/// Encode and decode the bytes of engine/docs/format/manifest.md, "Block meta". Decoding fails with
/// kInvalidArgument; the caller knows the file.
void EncodeBlockMeta(const BlockMeta& meta, std::string* out);
Result<BlockMeta> DecodeBlockMeta(std::string_view bytes);

/// Name block files: 123 -> "000123.varve". BlockIdOfFile returns 0 for any other name.
std::string BlockFileName(uint64_t id);
uint64_t BlockIdOfFile(std::string_view name);

}  // namespace varve::block
