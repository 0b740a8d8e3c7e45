#include "engine/db/block_set.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/metrics/seal.h"
#include "engine/metrics/tombstone.h"

namespace varve::db {

Result<std::shared_ptr<const BlockSet>> BlockSet::Make(
    std::vector<std::shared_ptr<const metrics::MetricsBlock>> blocks,
    const block::ManifestState& state) {
  auto out = std::make_shared<BlockSet>();
  std::sort(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) {
    const uint64_t first = metrics::OrderOf(a->meta());
    const uint64_t second = metrics::OrderOf(b->meta());
    return std::pair(first, a->meta().id) < std::pair(second, b->meta().id);
  });
  out->blocks_ = std::move(blocks);

  struct Compiled {
    const block::Tombstone* tombstone;
    TimeRange range;
    std::vector<index::CompiledMatcher> matchers;
  };
  std::vector<Compiled> deletions;
  for (const auto& [key, tombstone] : state.tombstones) {
    if (tombstone.wing != block::Wing::kMetrics) continue;
    VARVE_ASSIGN_OR_RETURN(metrics::Deletion deletion, metrics::DecodeDeletion(tombstone.payload));
    VARVE_ASSIGN_OR_RETURN(auto matchers, index::CompileMatchers(deletion.matchers));
    deletions.push_back({&tombstone, deletion.range, std::move(matchers)});
    out->tombstones_.push_back(tombstone.id);
  }
  for (const auto& block : out->blocks_) {
    Entry entry;
    entry.block = block;
    std::vector<metrics::HiddenRange> hidden;
    for (const Compiled& deletion : deletions) {
      if (block->meta().id > deletion.tombstone->up_to_block) continue;
      if (!deletion.range.Overlaps(block->range())) continue;
      index::Postings series = block->labels().Select(deletion.matchers);
      if (series.empty()) continue;
      hidden.push_back({std::move(series), deletion.range});
      entry.tombstones.push_back(deletion.tombstone->id);
    }
    entry.source = metrics::MakeBlockSource(block, std::move(hidden));
    out->entries_.push_back(std::move(entry));
  }
  return std::shared_ptr<const BlockSet>(std::move(out));
}

std::vector<metrics::SourcePtr> BlockSet::sources() const {
  std::vector<metrics::SourcePtr> out;
  for (const Entry& entry : entries_) out.push_back(entry.source);
  return out;
}

const BlockSet::Entry& BlockSet::Find(uint64_t id) const {
  const auto at = std::find_if(entries_.begin(), entries_.end(),
                               [id](const Entry& entry) { return entry.block->meta().id == id; });
  VARVE_CHECK(at != entries_.end());
  return *at;
}

TimeRange BlockSet::range() const {
  TimeRange all{kMaxTime, kMinTime};
  for (const auto& block : blocks_) {
    all.min_ms = std::min(all.min_ms, block->range().min_ms);
    all.max_ms = std::max(all.max_ms, block->range().max_ms);
  }
  return all;
}

std::vector<metrics::PlanBlock> BlockSet::ForPlanner() const {
  std::vector<metrics::PlanBlock> out;
  for (const Entry& entry : entries_) {
    const block::BlockMeta& meta = entry.block->meta();
    out.push_back({meta.id, metrics::OrderOf(meta), entry.block->range(), meta.bytes,
                   !entry.tombstones.empty(), false});
  }
  return out;
}

std::vector<std::pair<block::Wing, uint64_t>> BlockSet::UnusedTombstones(
    const std::vector<uint64_t>& without) const {
  std::vector<std::pair<block::Wing, uint64_t>> out;
  for (const uint64_t tombstone : tombstones_) {
    const bool used = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
      const uint64_t id = entry.block->meta().id;
      return std::find(without.begin(), without.end(), id) == without.end() &&
             std::find(entry.tombstones.begin(), entry.tombstones.end(), tombstone) !=
                 entry.tombstones.end();
    });
    if (!used) out.emplace_back(block::Wing::kMetrics, tombstone);
  }
  return out;
}

}  // namespace varve::db
