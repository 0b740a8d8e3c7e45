#include "engine/block/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/base/coding.h"
#include "engine/base/macros.h"

namespace varve::block {
namespace {

/// Saturates instead of overflowing: a window larger than time itself holds everything.
int64_t WindowLength(uint32_t level, const PlanOptions& options) {
  int64_t length = options.block_range;
  for (uint32_t i = 0; i < level; ++i) {
    if (length > INT64_MAX / 3) return INT64_MAX;
    length *= 3;
  }
  return length;
}

bool FitsWindow(const TimeSpan& range, uint32_t level, const PlanOptions& options) {
  return WindowOf(range.min, level, options) == WindowOf(range.max, level, options);
}

/// Returns the first neighbours in order of precedence that are together small enough: all, if
/// there is no bound; fewer than two, if none are.
std::vector<uint64_t> IdsByOrder(std::vector<const PlanBlock*> blocks, uint64_t bytes_max) {
  std::sort(blocks.begin(), blocks.end(),
            [](const PlanBlock* a, const PlanBlock* b) { return a->order < b->order; });
  std::vector<uint64_t> ids;
  uint64_t bytes = 0;
  for (const PlanBlock* block : blocks) {
    if (block->bytes > bytes_max - std::min(bytes, bytes_max)) {
      if (ids.size() >= 2) break;
      ids.clear();
      bytes = 0;
      if (block->bytes > bytes_max) continue;
    }
    ids.push_back(block->id);
    bytes += block->bytes;
  }
  return ids;
}

/// Finds neighbours in order of precedence of which none is larger than the others together.
std::vector<uint64_t> EarlyTier(std::vector<const PlanBlock*> blocks, uint32_t count) {
  std::sort(blocks.begin(), blocks.end(),
            [](const PlanBlock* a, const PlanBlock* b) { return a->order < b->order; });
  if (count < 2 || blocks.size() < count) return {};
  // The newest first: those are the small ones.
  for (size_t begin = blocks.size() - count + 1; begin-- > 0;) {
    uint64_t sum = 0;
    uint64_t largest = 0;
    std::vector<uint64_t> ids;
    for (size_t i = begin; i < begin + count; ++i) {
      sum += blocks[i]->bytes;
      largest = std::max(largest, blocks[i]->bytes);
      ids.push_back(blocks[i]->id);
    }
    if (largest <= sum - largest) return ids;
  }
  return {};
}

}  // namespace

void ApplySealMeta(const SealMeta& seal, uint64_t id, BlockMeta* meta) {
  meta->id = id;
  meta->level = seal.level;
  meta->sources = seal.sources;
  meta->wal_floor = seal.wal_floor;
  meta->opaque.clear();
  PutVarint(&meta->opaque, seal.order == 0 ? id : seal.order);
}

uint64_t OrderOf(const BlockMeta& meta) {
  ByteReader in(meta.opaque);
  const uint64_t order = in.Varint();
  return in.ok() ? order : meta.id;
}

int64_t WindowOf(int64_t time, uint32_t level, const PlanOptions& options) {
  const int64_t length = WindowLength(level, options);
  VARVE_CHECK(length > 0);
  const int64_t quotient = time / length;
  return time % length < 0 ? quotient - 1 : quotient;
}

TimeSpan WindowRange(int64_t window, uint32_t level, const PlanOptions& options) {
  const int64_t length = WindowLength(level, options);
  TimeSpan range;
  if (__builtin_mul_overflow(window, length, &range.min)) {
    range.min = window < 0 ? INT64_MIN : INT64_MAX;
  }
  if (__builtin_add_overflow(range.min, length - 1, &range.max)) range.max = INT64_MAX;
  // The first window of all time begins before int64 does.
  if (window < 0 && range.min == INT64_MIN) {
    int64_t next = 0;
    if (!__builtin_mul_overflow(window + 1, length, &next)) range.max = next - 1;
  }
  return range;
}

std::vector<TimeSpan> PlanSeal(const std::set<int64_t>& base_windows, const PlanOptions& options,
                               size_t blocks_max) {
  std::vector<TimeSpan> out;
  for (uint32_t level = 0; level < options.levels; ++level) {
    std::set<int64_t> windows;
    for (const int64_t base : base_windows) {
      windows.insert(WindowOf(WindowRange(base, 0, options).max, level, options));
    }
    if (windows.size() > blocks_max && level + 1 < options.levels) continue;
    for (const int64_t window : windows) out.push_back(WindowRange(window, level, options));
    break;
  }
  if (out.size() > blocks_max) {
    // Samples are strewn over ages; neighbours share a block.
    const size_t group = (out.size() + blocks_max - 1) / blocks_max;
    std::vector<TimeSpan> grouped;
    for (size_t i = 0; i < out.size(); i += group) {
      grouped.push_back({out[i].min, out[std::min(i + group, out.size()) - 1].max});
    }
    out = std::move(grouped);
  }
  return out;
}

std::optional<std::vector<uint64_t>> PlanCompaction(const std::vector<PlanBlock>& blocks,
                                                    int64_t closed_before,
                                                    const PlanOptions& options, bool everything) {
  for (uint32_t level = options.levels; level-- > 0;) {
    std::map<int64_t, std::vector<const PlanBlock*>> windows;
    for (const PlanBlock& block : blocks) {
      if (!FitsWindow(block.range, level, options)) continue;
      windows[WindowOf(block.range.min, level, options)].push_back(&block);
    }
    for (const auto& [window, members] : windows) {
      if (members.size() < 2) continue;
      const TimeSpan range = WindowRange(window, level, options);
      // A block that reaches over the window's edge may overlap its members: its precedence
      // among them could not be kept by merging around it.
      const bool entangled = std::any_of(blocks.begin(), blocks.end(), [&](const PlanBlock& b) {
        return b.range.Overlaps(range) && !FitsWindow(b.range, level, options);
      });
      const bool damaged = std::any_of(members.begin(), members.end(),
                                       [](const PlanBlock* b) { return b->damaged; });
      if (entangled || damaged) continue;
      const bool closed = range.max < closed_before;
      if (level == 0 && options.tiered_early_merges && !closed && !everything) {
        std::vector<uint64_t> tier = EarlyTier(members, options.early_merge_blocks);
        if (!tier.empty()) return tier;
        continue;
      }
      const bool many = level == 0 && members.size() >= options.early_merge_blocks;
      if (!closed && !many && !everything) continue;
      std::vector<uint64_t> ids = IdsByOrder(members, options.merge_bytes_max);
      if (ids.size() >= 2) return ids;
    }
  }
  for (const PlanBlock& block : blocks) {
    if (block.has_tombstones && !block.damaged) return std::vector<uint64_t>{block.id};
  }
  return std::nullopt;
}

std::vector<uint64_t> PlanRetention(const std::vector<PlanBlock>& blocks, int64_t oldest,
                                    uint64_t bytes_max, uint64_t other_bytes) {
  std::vector<const PlanBlock*> by_age;
  for (const PlanBlock& block : blocks) by_age.push_back(&block);
  std::sort(by_age.begin(), by_age.end(), [](const PlanBlock* a, const PlanBlock* b) {
    return std::tie(a->range.max, a->order) < std::tie(b->range.max, b->order);
  });
  uint64_t bytes = other_bytes;
  for (const PlanBlock* block : by_age) bytes += block->bytes;
  std::vector<uint64_t> expired;
  for (const PlanBlock* block : by_age) {
    const bool too_old = block->range.max < oldest;
    const bool too_much = bytes_max > 0 && bytes > bytes_max;
    if (!too_old && !too_much) continue;
    expired.push_back(block->id);
    bytes -= block->bytes;
  }
  return expired;
}

}  // namespace varve::block
