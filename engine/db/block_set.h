#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/macros.h"
#include "engine/block/manifest.h"
#include "engine/block/plan.h"
#include "varve/status.h"

namespace varve::db {

/// The blocks of one wing at one moment, with what deletions hide in each. Immutable; snapshots
/// share it. `W` is a wing as WingStore asks.
template <typename W>
class BlockSet {
 public:
  using BlockPtr = std::shared_ptr<const typename W::Block>;
  struct Entry {
    BlockPtr block;
    typename W::SourcePtr source;
    std::vector<uint64_t> tombstones;  // that hide something in it
  };

  /// Orders blocks by precedence and resolves the tombstones of `state`. Errors: kDataLoss for a
  /// tombstone that makes no sense.
  static Result<std::shared_ptr<const BlockSet>> Make(std::vector<BlockPtr> blocks,
                                                      const block::ManifestState& state) {
    auto out = std::make_shared<BlockSet>();
    std::sort(blocks.begin(), blocks.end(), [](const BlockPtr& a, const BlockPtr& b) {
      return std::pair(block::OrderOf(a->meta()), a->meta().id) <
             std::pair(block::OrderOf(b->meta()), b->meta().id);
    });
    struct Deletion {
      const block::Tombstone* tombstone;
      typename W::Deletion compiled;
    };
    std::vector<Deletion> deletions;
    for (const auto& [key, tombstone] : state.tombstones) {
      if (tombstone.wing != W::kWing) continue;
      VARVE_ASSIGN_OR_RETURN(auto compiled, W::CompileDeletion(tombstone.payload));
      deletions.push_back({&tombstone, std::move(compiled)});
      out->tombstones_.push_back(tombstone.id);
    }
    for (BlockPtr& block : blocks) {
      Entry entry;
      std::vector<typename W::Hidden> hidden;
      for (const Deletion& deletion : deletions) {
        if (block->meta().id > deletion.tombstone->up_to_block) continue;
        std::optional<typename W::Hidden> hides = W::Hide(deletion.compiled, *block);
        if (!hides.has_value()) continue;
        hidden.push_back(std::move(*hides));
        entry.tombstones.push_back(deletion.tombstone->id);
      }
      entry.source = W::MakeBlockSource(block, std::move(hidden));
      out->newest_time_ = std::max(out->newest_time_, block->meta().max_time);
      entry.block = std::move(block);
      out->entries_.push_back(std::move(entry));
    }
    return std::shared_ptr<const BlockSet>(std::move(out));
  }

  /// In order of precedence.
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<typename W::SourcePtr> sources() const {
    std::vector<typename W::SourcePtr> out;
    for (const Entry& entry : entries_) out.push_back(entry.source);
    return out;
  }
  /// Returns nullptr if there is no block `id`.
  const Entry* Find(uint64_t id) const {
    const auto at = std::find_if(entries_.begin(), entries_.end(),
                                 [id](const Entry& entry) { return entry.block->meta().id == id; });
    return at == entries_.end() ? nullptr : &*at;
  }
  /// The newest time of all blocks; INT64_MIN if there are none.
  int64_t newest_time() const { return newest_time_; }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Entry& entry : entries_) sum += entry.block->meta().bytes;
    return sum;
  }
  std::vector<block::PlanBlock> ForPlanner() const {
    std::vector<block::PlanBlock> out;
    for (const Entry& entry : entries_) {
      const block::BlockMeta& meta = entry.block->meta();
      out.push_back({meta.id,
                     block::OrderOf(meta),
                     {meta.min_time, meta.max_time},
                     meta.bytes,
                     !entry.tombstones.empty(),
                     false});
    }
    return out;
  }
  /// Returns the tombstones that hide nothing once the blocks `without` are gone.
  std::vector<std::pair<block::Wing, uint64_t>> UnusedTombstones(
      const std::vector<uint64_t>& without) const {
    std::vector<std::pair<block::Wing, uint64_t>> out;
    for (const uint64_t tombstone : tombstones_) {
      const bool used = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
        const uint64_t id = entry.block->meta().id;
        return std::find(without.begin(), without.end(), id) == without.end() &&
               std::find(entry.tombstones.begin(), entry.tombstones.end(), tombstone) !=
                   entry.tombstones.end();
      });
      if (!used) out.emplace_back(W::kWing, tombstone);
    }
    return out;
  }

 private:
  std::vector<Entry> entries_;
  std::vector<uint64_t> tombstones_;
  int64_t newest_time_ = INT64_MIN;
};

}  // namespace varve::db
