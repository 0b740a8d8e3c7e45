#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/block/plan.h"
#include "engine/traces/source.h"

namespace varve::traces {

/// Says whether a trace is kept.
using KeepFn = std::function<bool(const TraceId&)>;

/// Writes the spans of `sources` (in order of precedence) that start in `range` into one block
/// file, a trace's spans together, without traces that `keep` (if any) does not want. Returns
/// nothing, and leaves no file, if there are none. The block is durable but not yet part of any
/// database: that is the manifest's word.
Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    NsRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target,
                                                    const KeepFn& keep = nullptr);

/// Writes the spans of one head into blocks, one a window (PlanSeal), oldest first; `meta.order`
/// is that of all of them, floor and sources go to the last, as BlockMeta asks. Empty if the head
/// has no spans.
Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target);

}  // namespace varve::traces
