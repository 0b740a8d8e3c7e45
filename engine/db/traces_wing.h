#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/db/wing_store.h"
#include "engine/traces/block_reader.h"
#include "engine/traces/head.h"
#include "engine/traces/source.h"

namespace varve::db {

/// Traces as WingStore wants them. Times are nanoseconds, starts of spans.
struct TracesWing {
  static constexpr block::Wing kWing = block::Wing::kTraces;
  static constexpr std::string_view kName = "traces";
  static constexpr int64_t kTicksPerMs = 1'000'000;
  static constexpr uint8_t kBatchRecord = static_cast<uint8_t>(traces::WalRecord::kBatch);
  static constexpr uint8_t kEpochRecord = 0;

  using Head = traces::Head;
  static uint64_t Rows(const Head& head) { return head.rows(); }
  /// When the head's spans came: a span may be of any age, and its start says nothing of when a
  /// head has served its time.
  static block::TimeSpan Times(const Head& head) { return head.arrivals(); }
  static int64_t NewestTime(const Head& head) { return head.newest_time_ns(); }
  static Status Replay(Head* head, uint8_t type, std::string_view payload);

  static void ForgetPrevious(Head*) {}
  static void SealedChanged(Head*) {}

  using Block = traces::TraceBlock;
  using SourcePtr = traces::SourcePtr;
  static Result<std::shared_ptr<const Block>> OpenBlock(io::FileSystem& fs,
                                                        const std::string& path) {
    return Block::Open(fs, path);
  }
  static SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
    return traces::MakeHeadSource(std::move(head));
  }

  /// There are no deletions of spans.
  struct Deletion {};
  struct Hidden {};
  static Result<Deletion> CompileDeletion(const std::string&) { return Deletion(); }
  static std::optional<Hidden> Hide(const Deletion&, const Block&) { return std::nullopt; }
  static SourcePtr MakeBlockSource(std::shared_ptr<const Block> block, std::vector<Hidden>) {
    return block;
  }

  static Result<std::vector<block::BlockMeta>> Seal(const SourcePtr& head,
                                                    const block::SealMeta& meta,
                                                    const block::PlanOptions& plan,
                                                    const block::SealTarget& target);
  static Result<std::optional<block::BlockMeta>> Merge(const std::vector<SourcePtr>& sources,
                                                       const block::SealMeta& meta,
                                                       const block::SealTarget& target);
};
using TracesStore = WingStore<TracesWing>;
extern template class WingStore<TracesWing>;

/// Makes the store of traces. `host` and what it points to outlive it.
std::unique_ptr<TracesStore> MakeTracesStore(const WingHost& host);

}  // namespace varve::db
