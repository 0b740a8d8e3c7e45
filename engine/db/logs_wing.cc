#include "engine/db/logs_wing.h"

#include <algorithm>
#include <utility>

#include "engine/db/wing_store_impl.h"
#include "engine/logs/seal.h"
#include "engine/logs/tombstone.h"

namespace varve::db {

template class WingStore<LogsWing>;

namespace {
/// Larger blocks are not merged any more: rewriting them would cost more than it saves.
constexpr uint64_t kMergeBytesMax = 512ull << 20;
}  // namespace

Status LogsWing::Replay(Head* head, uint8_t type, std::string_view payload) {
  if (type == kBatchRecord) return head->Replay(payload);
  return MakeStatus(StatusCode::kUnimplemented, Concat("logs WAL record of type ", type));
}

Result<LogsWing::Deletion> LogsWing::CompileDeletion(const std::string& payload) {
  VARVE_ASSIGN_OR_RETURN(const logs::Deletion deletion, logs::DecodeDeletion(payload));
  Deletion out;
  VARVE_ASSIGN_OR_RETURN(out.matchers, index::CompileMatchers(deletion.matchers));
  LogScanSpec spec;
  spec.range = deletion.range;
  spec.line_filters = deletion.filters;
  spec.metadata = deletion.metadata;
  VARVE_ASSIGN_OR_RETURN(out.scan, CompileLogScan(spec));
  return out;
}

std::optional<LogsWing::Hidden> LogsWing::Hide(const Deletion& deletion, const Block& block) {
  if (!deletion.scan->spec().range.Overlaps(block.range())) return std::nullopt;
  index::Postings streams = block.labels().Select(deletion.matchers);
  if (streams.empty()) return std::nullopt;
  return Hidden{std::move(streams), deletion.scan};
}

Result<std::vector<block::BlockMeta>> LogsWing::Seal(const SourcePtr& head,
                                                     const block::SealMeta& meta,
                                                     const block::PlanOptions& plan,
                                                     const block::SealTarget& target) {
  return logs::SealHead(head, meta, plan, target);
}

Result<std::optional<block::BlockMeta>> LogsWing::Merge(const std::vector<SourcePtr>& sources,
                                                        const block::SealMeta& meta,
                                                        const block::SealTarget& target) {
  return logs::WriteMerged(sources, NsRange{}, meta, target);
}

std::unique_ptr<LogsStore> MakeLogsStore(const WingHost& host) {
  const Options& options = *host.options;
  WingSettings settings;
  const int64_t range_ms = std::max<int64_t>(1, options.block_range.count());
  if (__builtin_mul_overflow(range_ms, LogsWing::kTicksPerMs, &settings.plan.block_range)) {
    settings.plan.block_range = INT64_MAX;
  }
  settings.plan.levels = std::max<uint32_t>(1, options.block_levels);
  settings.plan.merge_bytes_max = kMergeBytesMax;
  if (__builtin_mul_overflow(options.out_of_order_window.count(), LogsWing::kTicksPerMs,
                             &settings.lateness)) {
    settings.lateness = INT64_MAX;
  }
  settings.head_bytes_max = options.head_bytes_max;
  settings.wal_bytes_max = options.wal_bytes_max;
  const Limits limits = options.limits;
  return std::make_unique<LogsStore>(
      host, settings,
      [limits](int64_t newest_time, const std::shared_ptr<const logs::Head>& previous) {
        const uint32_t id = previous == nullptr ? 1 : previous->id() + 1;
        return std::make_shared<logs::Head>(id, limits, newest_time);
      });
}

}  // namespace varve::db
