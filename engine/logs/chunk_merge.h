#pragma once

#include <cstdint>
#include <vector>

#include "varve/log_scan.h"

namespace varve::logs {

/// One chunk of a stream among those of all sources.
struct MergePiece {
  LogChunk chunk;
  uint32_t source = 0;   // earlier ones come first where times are equal
  bool ordered = false;  // its source's chunks need no merging among themselves
};

/// Turns `pieces`, in order of precedence, into chunks in time order that do not overlap. What
/// overlaps is merged when it is read: entries by time, then precedence, exact duplicates once.
/// Large overlaps are cut into slices of time, so that memory stays bounded.
void MergeChunks(std::vector<MergePiece> pieces, std::vector<LogChunk>* out);

}  // namespace varve::logs
