#pragma once

#include <optional>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/block/plan.h"
#include "engine/logs/source.h"

namespace varve::logs {

/// Writes the entries of `sources` (in order of precedence) that lie in `range` into one block
/// file. Returns nothing, and leaves no file, if there are none. The block is durable but not yet
/// part of any database: that is the manifest's word.
Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    NsRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target);

/// Writes the entries of one head into blocks, one a window (block::PlanSeal), oldest first; the
/// last one carries `meta.wal_floor`.
Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target);

}  // namespace varve::logs
