#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/db/wing_store.h"
#include "engine/metrics/block_reader.h"
#include "engine/metrics/head.h"
#include "engine/metrics/source.h"

namespace varve::db {

/// Metrics as WingStore wants them. Times are milliseconds.
struct MetricsWing {
  static constexpr block::Wing kWing = block::Wing::kMetrics;
  static constexpr std::string_view kName = "metrics";
  static constexpr int64_t kTicksPerMs = 1;
  static constexpr uint8_t kBatchRecord = static_cast<uint8_t>(metrics::WalRecord::kBatch);
  static constexpr uint8_t kEpochRecord = static_cast<uint8_t>(metrics::WalRecord::kEpoch);

  using Head = metrics::Head;
  static uint64_t Rows(const Head& head) { return head.samples(); }
  static block::TimeSpan Times(const Head& head) {
    return {head.range().min_ms, head.range().max_ms};
  }
  static int64_t NewestTime(const Head& head) { return head.newest_time_ms(); }
  static Status Replay(Head* head, uint8_t type, std::string_view payload);

  static void ForgetPrevious(Head* head) { head->ForgetPrevious(); }
  static void SealedChanged(Head* head) { head->SealedChanged(); }

  using Block = metrics::MetricsBlock;
  using SourcePtr = metrics::SourcePtr;
  static Result<std::shared_ptr<const Block>> OpenBlock(io::FileSystem& fs,
                                                        const std::string& path) {
    return Block::Open(fs, path);
  }
  static SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
    return metrics::MakeHeadSource(std::move(head));
  }

  struct Deletion {
    TimeRange range;
    std::vector<index::CompiledMatcher> matchers;
  };
  using Hidden = metrics::HiddenRange;
  static Result<Deletion> CompileDeletion(const std::string& payload);
  static std::optional<Hidden> Hide(const Deletion& deletion, const Block& block);
  static SourcePtr MakeBlockSource(std::shared_ptr<const Block> block, std::vector<Hidden> hidden) {
    return metrics::MakeBlockSource(std::move(block), std::move(hidden));
  }

  static Result<std::vector<block::BlockMeta>> Seal(const SourcePtr& head,
                                                    const block::SealMeta& meta,
                                                    const block::PlanOptions& plan,
                                                    const block::SealTarget& target);
  static Result<std::optional<block::BlockMeta>> Merge(const std::vector<SourcePtr>& sources,
                                                       const block::SealMeta& meta,
                                                       const block::SealTarget& target);
};
using MetricsStore = WingStore<MetricsWing>;
extern template class WingStore<MetricsWing>;

/// Makes the store of metrics. `host` and what it points to outlive it.
std::unique_ptr<MetricsStore> MakeMetricsStore(const WingHost& host);
metrics::HeadOptions MetricsHeadOptions(const Options& options);

/// Gathers loaded series in a head of its own and seals it whenever it is full. `store` outlives
/// it.
std::unique_ptr<BulkLoader> MakeBulkLoader(MetricsStore* store, const WingHost& host);

}  // namespace varve::db
