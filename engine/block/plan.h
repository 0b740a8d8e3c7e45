#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"

namespace varve::block {

/// A closed interval of times in the unit of a wing: milliseconds for metrics, else nanoseconds.
struct TimeSpan {
  int64_t min = INT64_MIN;
  int64_t max = INT64_MAX;
  bool Contains(int64_t time) const { return min <= time && time <= max; }
  bool Overlaps(const TimeSpan& other) const { return min <= other.max && other.min <= max; }
  friend bool operator==(const TimeSpan&, const TimeSpan&) = default;
};

/// Where blocks go and how they are named.
struct SealTarget {
  std::shared_ptr<io::FileSystem> fs;
  std::string dir;
  std::function<uint64_t()> next_id;
};

/// What a block file and the manifest say beside the facts that writing finds out.
struct SealMeta {
  uint32_t level = 0;
  uint64_t order = 0;  // precedence of the block's rows; 0: its id
  std::vector<uint64_t> sources;
  uint64_t wal_floor = 0;
};

/// Fill in a block's meta from `seal`, and read the precedence back. The opaque bytes of every
/// wing begin with it.
void ApplySealMeta(const SealMeta& seal, uint64_t id, BlockMeta* meta);
uint64_t OrderOf(const BlockMeta& meta);

/// What a planner needs to know of a block. Planners are pure: blocks in, plan out.
struct PlanBlock {
  uint64_t id = 0;
  uint64_t order = 0;  // precedence: smaller wins where samples coincide
  TimeSpan range;
  uint64_t bytes = 0;
  bool has_tombstones = false;
  bool damaged = false;  // could not be merged before: left alone, with its whole window
};

struct PlanOptions {
  int64_t block_range = 2 * 60 * 60 * 1000;  // in the unit of the wing
  uint32_t levels = 5;                       // windows of 1, 3, 9 ... block ranges
  /// Blocks of the smallest window are merged early once there are this many.
  uint32_t early_merge_blocks = 4;
  /// Early merges take only that many neighbours, none larger than the others together: each row is
  /// then rewritten a number of times that grows with the logarithm of the window's bytes. Without
  /// it they take the whole window, which suits windows that get a few blocks.
  bool tiered_early_merges = false;
  /// Merges that would exceed this are cut into smaller ones; a block that is larger is left alone.
  uint64_t merge_bytes_max = UINT64_MAX;
};

/// Returns the index of the window of `level` that holds `time`: windows are aligned to
/// multiples of their length since the epoch.
int64_t WindowOf(int64_t time, uint32_t level, const PlanOptions& options);
/// Returns the times of a window, cut at the ends of int64.
TimeSpan WindowRange(int64_t window, uint32_t level, const PlanOptions& options);

/// Groups the base windows in which samples lie into blocks to be written, in time order: one a
/// window, or coarser where that would make more than `blocks_max`.
std::vector<TimeSpan> PlanSeal(const std::set<int64_t>& base_windows, const PlanOptions& options,
                               size_t blocks_max = 32);

/// Returns the ids of blocks to merge into one, in order of precedence, or nothing.
/// `closed_before`: windows that end before it get no more samples.
///
/// Largest windows first, so that rows are not rewritten for each window on the way. All blocks of
/// a window are taken together, since blocks of one window may overlap and precedence must stay an
/// order. A window is merged when it is closed and has several blocks; one of level 0 also when it
/// has `early_merge_blocks`. A block alone is rewritten for its tombstones only.
/// `everything`: merge what can be merged, closed or not.
std::optional<std::vector<uint64_t>> PlanCompaction(const std::vector<PlanBlock>& blocks,
                                                    int64_t closed_before,
                                                    const PlanOptions& options, bool everything);

/// Returns the ids of blocks that have expired: all samples before `oldest`, or, oldest first,
/// those by which `other_bytes` and the blocks together exceed `bytes_max` (0: unbounded).
std::vector<uint64_t> PlanRetention(const std::vector<PlanBlock>& blocks, int64_t oldest,
                                    uint64_t bytes_max, uint64_t other_bytes);

}  // namespace varve::block
