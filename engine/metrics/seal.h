#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "engine/metrics/plan.h"
#include "engine/metrics/source.h"

namespace varve::metrics {

/// Where blocks go and how they are named.
struct SealTarget {
  std::shared_ptr<io::FileSystem> fs;
  std::string dir;
  std::function<uint64_t()> next_id;
};

/// What the block file and the manifest say beside the facts that writing finds out.
struct SealMeta {
  uint32_t level = 0;
  uint64_t order = 0;  // precedence of the block's samples; 0: its id
  std::vector<uint64_t> sources;
  uint64_t wal_floor = 0;
  /// Keeps the descriptions of metric families; one block of an edit is enough.
  bool with_metadata = true;
};

/// Writes the samples of `sources` (in order of precedence) that lie in `range` into one block
/// file. Returns nothing, and leaves no file, if there are none. One series is in memory at a
/// time. The block is durable but not yet part of any database: that is the manifest's word.
Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    TimeRange range, const SealMeta& meta,
                                                    const SealTarget& target);

/// Writes the samples of one head into blocks, one a window (PlanSeal), oldest first; `meta.order`
/// is that of all of them and `wal_floor` goes to the last, as BlockMeta asks. Empty if the head
/// has no samples.
Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const SealMeta& meta,
                                               const PlanOptions& options,
                                               const SealTarget& target);

/// Reads the precedence back from a block's meta.
uint64_t OrderOf(const block::BlockMeta& meta);

}  // namespace varve::metrics
