#include "engine/db/traces_wing.h"

#include <algorithm>
#include <utility>

#include "engine/db/wing_store_impl.h"
#include "engine/traces/seal.h"

namespace varve::db {

template class WingStore<TracesWing>;

Status TracesWing::Replay(Head* head, uint8_t type, std::string_view payload) {
  if (type == kBatchRecord) return head->Replay(payload);
  return MakeStatus(StatusCode::kUnimplemented, Concat("traces WAL record of type ", type));
}

Result<std::vector<block::BlockMeta>> TracesWing::Seal(const SourcePtr& head,
                                                       const block::SealMeta& meta,
                                                       const block::PlanOptions& plan,
                                                       const block::SealTarget& target) {
  return traces::SealHead(head, meta, plan, target);
}

Result<std::optional<block::BlockMeta>> TracesWing::Merge(const std::vector<SourcePtr>& sources,
                                                          const block::SealMeta& meta,
                                                          const block::SealTarget& target) {
  return traces::WriteMerged(sources, NsRange{}, meta, target);
}

std::unique_ptr<TracesStore> MakeTracesStore(const WingHost& host) {
  const Options& options = *host.options;
  WingSettings settings;
  const int64_t range_ms =
      std::clamp<int64_t>(options.block_range.count(), 1, INT64_MAX / TracesWing::kTicksPerMs);
  const int64_t late_ms = std::clamp<int64_t>(options.out_of_order_window.count(), 0,
                                              INT64_MAX / TracesWing::kTicksPerMs);
  settings.plan.block_range = range_ms * TracesWing::kTicksPerMs;
  settings.plan.tiered_early_merges = true;
  settings.plan.levels = std::max<uint32_t>(1, options.block_levels);
  settings.lateness = late_ms * TracesWing::kTicksPerMs;
  settings.head_bytes_max = options.head_bytes_max;
  settings.wal_bytes_max = options.wal_bytes_max;
  return std::make_unique<TracesStore>(
      host, settings,
      [limits = options.limits, clock = host.clock](int64_t newest_time,
                                                    const std::shared_ptr<const traces::Head>&) {
        return std::make_shared<traces::Head>(limits, newest_time, clock);
      });
}

}  // namespace varve::db
