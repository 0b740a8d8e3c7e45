#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/block/manifest.h"
#include "engine/metrics/block_reader.h"
#include "engine/metrics/plan.h"
#include "engine/metrics/source.h"
#include "varve/status.h"

namespace varve::db {

/// The metrics blocks of a database at one moment, with what deletions hide in each. Immutable;
/// snapshots share it.
class BlockSet {
 public:
  struct Entry {
    std::shared_ptr<const metrics::MetricsBlock> block;
    metrics::SourcePtr source;
    std::vector<uint64_t> tombstones;  // that hide something in it
  };

  /// Orders blocks by precedence and resolves the tombstones of `state`. Errors: kDataLoss for a
  /// tombstone that makes no sense.
  static Result<std::shared_ptr<const BlockSet>> Make(
      std::vector<std::shared_ptr<const metrics::MetricsBlock>> blocks,
      const block::ManifestState& state);

  const std::vector<std::shared_ptr<const metrics::MetricsBlock>>& blocks() const {
    return blocks_;
  }
  std::vector<metrics::SourcePtr> sources() const;
  /// Precondition: there is a block `id`.
  const Entry& Find(uint64_t id) const;
  /// The times of all blocks; min > max if there are none.
  TimeRange range() const;
  std::vector<metrics::PlanBlock> ForPlanner() const;
  /// Returns the tombstones that hide nothing once the blocks `without` are gone.
  std::vector<std::pair<block::Wing, uint64_t>> UnusedTombstones(
      const std::vector<uint64_t>& without) const;

 private:
  std::vector<std::shared_ptr<const metrics::MetricsBlock>> blocks_;
  std::vector<Entry> entries_;  // like blocks_
  std::vector<uint64_t> tombstones_;
};

}  // namespace varve::db
