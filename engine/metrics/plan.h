#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <vector>

#include "varve/scan.h"

namespace varve::metrics {

/// What a planner needs to know of a block. Planners are pure: blocks in, plan out.
struct PlanBlock {
  uint64_t id = 0;
  uint64_t order = 0;  // precedence: smaller wins where samples coincide
  TimeRange range;
  uint64_t bytes = 0;
  bool has_tombstones = false;
  bool damaged = false;  // could not be merged before: left alone, with its whole window
};

struct PlanOptions {
  int64_t block_range_ms = 2 * 60 * 60 * 1000;
  uint32_t levels = 5;  // windows of 1, 3, 9 ... block ranges
  /// Blocks of the smallest window are merged early once there are this many.
  uint32_t early_merge_blocks = 4;
};

/// Returns the index of the window of `level` that holds `time_ms`: windows are aligned to
/// multiples of their length since the epoch.
int64_t WindowOf(int64_t time_ms, uint32_t level, const PlanOptions& options);
/// Returns the times of a window, cut at the ends of int64.
TimeRange WindowRange(int64_t window, uint32_t level, const PlanOptions& options);

/// Groups the base windows in which samples lie into blocks to be written, in time order: one a
/// window, or coarser where that would make more than `blocks_max`.
std::vector<TimeRange> PlanSeal(const std::set<int64_t>& base_windows, const PlanOptions& options,
                                size_t blocks_max = 32);

/// Returns the ids of blocks to merge into one, in order of precedence, or nothing. `closed_ms`:
/// windows that end before it get no more samples.
///
/// Smallest windows first. All blocks of a window are taken together, since blocks of one window
/// may overlap and precedence must stay an order. A window of level 0 is merged when it is closed
/// and has several blocks, or has `early_merge_blocks`; a larger one when it is closed and has
/// blocks of several of its parts. A block alone is rewritten for its tombstones only.
/// `everything`: merge what can be merged, closed or not.
std::optional<std::vector<uint64_t>> PlanCompaction(const std::vector<PlanBlock>& blocks,
                                                    int64_t closed_ms, const PlanOptions& options,
                                                    bool everything);

/// Returns the ids of blocks that have expired: all samples before `oldest_ms`, or, oldest first,
/// those by which `other_bytes` and the blocks together exceed `bytes_max` (0: unbounded).
std::vector<uint64_t> PlanRetention(const std::vector<PlanBlock>& blocks, int64_t oldest_ms,
                                    uint64_t bytes_max, uint64_t other_bytes);

}  // namespace varve::metrics
