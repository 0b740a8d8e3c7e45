#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/block/plan.h"
#include "engine/io/file_system.h"
#include "engine/metrics/source.h"

namespace varve::metrics {

/// Writes the samples of `sources` (in order of precedence) that lie in `range` into one block
/// file. Returns nothing, and leaves no file, if there are none. One series is in memory at a
/// time. The block is durable but not yet part of any database: that is the manifest's word.
/// `with_metadata`: keeps the descriptions of metric families; one block of an edit is enough.
Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    TimeRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target,
                                                    bool with_metadata = true);

/// Writes the samples of one head into blocks, one a window (PlanSeal), oldest first; `meta.order`
/// is that of all of them and `wal_floor` goes to the last, as BlockMeta asks. Empty if the head
/// has no samples.
Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target);

}  // namespace varve::metrics
