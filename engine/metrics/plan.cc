#include "engine/metrics/plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/base/macros.h"

namespace varve::metrics {
namespace {

/// Saturates instead of overflowing: a window larger than time itself holds everything.
int64_t WindowLength(uint32_t level, const PlanOptions& options) {
  int64_t length = options.block_range_ms;
  for (uint32_t i = 0; i < level; ++i) {
    if (length > kMaxTime / 3) return kMaxTime;
    length *= 3;
  }
  return length;
}

bool FitsWindow(const TimeRange& range, uint32_t level, const PlanOptions& options) {
  return WindowOf(range.min_ms, level, options) == WindowOf(range.max_ms, level, options);
}

std::vector<uint64_t> IdsByOrder(std::vector<const PlanBlock*> blocks) {
  std::sort(blocks.begin(), blocks.end(),
            [](const PlanBlock* a, const PlanBlock* b) { return a->order < b->order; });
  std::vector<uint64_t> ids;
  for (const PlanBlock* block : blocks) ids.push_back(block->id);
  return ids;
}

}  // namespace

int64_t WindowOf(int64_t time_ms, uint32_t level, const PlanOptions& options) {
  const int64_t length = WindowLength(level, options);
  VARVE_CHECK(length > 0);
  const int64_t quotient = time_ms / length;
  return time_ms % length < 0 ? quotient - 1 : quotient;
}

TimeRange WindowRange(int64_t window, uint32_t level, const PlanOptions& options) {
  const int64_t length = WindowLength(level, options);
  TimeRange range;
  if (__builtin_mul_overflow(window, length, &range.min_ms)) {
    range.min_ms = window < 0 ? kMinTime : kMaxTime;
  }
  if (__builtin_add_overflow(range.min_ms, length - 1, &range.max_ms)) range.max_ms = kMaxTime;
  // The first window of all time begins before int64 does.
  if (window < 0 && range.min_ms == kMinTime) {
    int64_t next = 0;
    if (!__builtin_mul_overflow(window + 1, length, &next)) range.max_ms = next - 1;
  }
  return range;
}

std::vector<TimeRange> PlanSeal(const std::set<int64_t>& base_windows, const PlanOptions& options,
                                size_t blocks_max) {
  std::vector<TimeRange> out;
  for (uint32_t level = 0; level < options.levels; ++level) {
    std::set<int64_t> windows;
    for (const int64_t base : base_windows) {
      windows.insert(WindowOf(WindowRange(base, 0, options).max_ms, level, options));
    }
    if (windows.size() > blocks_max && level + 1 < options.levels) continue;
    for (const int64_t window : windows) out.push_back(WindowRange(window, level, options));
    break;
  }
  if (out.size() > blocks_max) {
    // Samples are strewn over ages; neighbours share a block.
    const size_t group = (out.size() + blocks_max - 1) / blocks_max;
    std::vector<TimeRange> grouped;
    for (size_t i = 0; i < out.size(); i += group) {
      grouped.push_back({out[i].min_ms, out[std::min(i + group, out.size()) - 1].max_ms});
    }
    out = std::move(grouped);
  }
  return out;
}

std::optional<std::vector<uint64_t>> PlanCompaction(const std::vector<PlanBlock>& blocks,
                                                    int64_t closed_ms, const PlanOptions& options,
                                                    bool everything) {
  for (uint32_t level = 0; level < options.levels; ++level) {
    std::map<int64_t, std::vector<const PlanBlock*>> windows;
    for (const PlanBlock& block : blocks) {
      if (!FitsWindow(block.range, level, options)) continue;
      windows[WindowOf(block.range.min_ms, level, options)].push_back(&block);
    }
    for (const auto& [window, members] : windows) {
      if (members.size() < 2) continue;
      const TimeRange range = WindowRange(window, level, options);
      // A block that reaches over the window's edge may overlap its members: its precedence
      // among them could not be kept by merging around it.
      const bool entangled = std::any_of(blocks.begin(), blocks.end(), [&](const PlanBlock& b) {
        return b.range.Overlaps(range) && !FitsWindow(b.range, level, options);
      });
      const bool damaged = std::any_of(members.begin(), members.end(),
                                       [](const PlanBlock* b) { return b->damaged; });
      if (entangled || damaged) continue;
      const bool closed = range.max_ms < closed_ms;
      const bool many = level == 0 && members.size() >= options.early_merge_blocks;
      if (closed || many || everything) return IdsByOrder(members);
    }
  }
  for (const PlanBlock& block : blocks) {
    if (block.has_tombstones && !block.damaged) return std::vector<uint64_t>{block.id};
  }
  return std::nullopt;
}

std::vector<uint64_t> PlanRetention(const std::vector<PlanBlock>& blocks, int64_t oldest_ms,
                                    uint64_t bytes_max, uint64_t other_bytes) {
  std::vector<const PlanBlock*> by_age;
  for (const PlanBlock& block : blocks) by_age.push_back(&block);
  std::sort(by_age.begin(), by_age.end(), [](const PlanBlock* a, const PlanBlock* b) {
    return std::tie(a->range.max_ms, a->order) < std::tie(b->range.max_ms, b->order);
  });
  uint64_t bytes = other_bytes;
  for (const PlanBlock* block : by_age) bytes += block->bytes;
  std::vector<uint64_t> expired;
  for (const PlanBlock* block : by_age) {
    const bool too_old = block->range.max_ms < oldest_ms;
    const bool too_much = bytes_max > 0 && bytes > bytes_max;
    if (!too_old && !too_much) continue;
    expired.push_back(block->id);
    bytes -= block->bytes;
  }
  return expired;
}

}  // namespace varve::metrics
