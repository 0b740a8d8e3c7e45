#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/db/wing_store.h"
#include "engine/logs/block_reader.h"
#include "engine/logs/head.h"
#include "engine/logs/source.h"

namespace varve::db {

/// Logs as WingStore wants them. Times are nanoseconds.
struct LogsWing {
  static constexpr block::Wing kWing = block::Wing::kLogs;
  static constexpr std::string_view kName = "logs";
  static constexpr int64_t kTicksPerMs = 1'000'000;
  static constexpr uint8_t kBatchRecord = static_cast<uint8_t>(logs::WalRecord::kBatch);
  static constexpr uint8_t kEpochRecord = 0;

  using Head = logs::Head;
  static uint64_t Rows(const Head& head) { return head.entries(); }
  static block::TimeSpan Times(const Head& head) {
    return {head.range().min_ns, head.range().max_ns};
  }
  static int64_t NewestTime(const Head& head) { return head.newest_time_ns(); }
  static Status Replay(Head* head, uint8_t type, std::string_view payload);

  // Entries of any age are taken and repeats collapse when read: a head needs no past.
  static void ForgetPrevious(Head*) {}
  static void SealedChanged(Head*) {}

  using Block = logs::LogsBlock;
  using SourcePtr = logs::SourcePtr;
  static Result<std::shared_ptr<const Block>> OpenBlock(io::FileSystem& fs,
                                                        const std::string& path) {
    return Block::Open(fs, path);
  }
  static SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
    return logs::MakeHeadSource(std::move(head));
  }

  struct Deletion {
    std::vector<index::CompiledMatcher> matchers;
    std::shared_ptr<const LogScan> scan;
  };
  using Hidden = logs::HiddenRows;
  static Result<Deletion> CompileDeletion(const std::string& payload);
  static std::optional<Hidden> Hide(const Deletion& deletion, const Block& block);
  static SourcePtr MakeBlockSource(std::shared_ptr<const Block> block, std::vector<Hidden> hidden) {
    return logs::MakeBlockSource(std::move(block), std::move(hidden));
  }

  static Result<std::vector<block::BlockMeta>> Seal(const SourcePtr& head,
                                                    const block::SealMeta& meta,
                                                    const block::PlanOptions& plan,
                                                    const block::SealTarget& target);
  static Result<std::optional<block::BlockMeta>> Merge(const std::vector<SourcePtr>& sources,
                                                       const block::SealMeta& meta,
                                                       const block::SealTarget& target);
};
using LogsStore = WingStore<LogsWing>;
extern template class WingStore<LogsWing>;

/// Retention by selector: how long each stream lives.
class StreamRetention {
 public:
  /// `otherwise_ms`: for streams that no rule matches; 0 keeps for ever. Errors: kInvalidArgument.
  static Result<std::unique_ptr<StreamRetention>> Make(const std::vector<RetentionRule>& rules,
                                                       int64_t otherwise_ms);
  enum class Verdict : uint8_t { kKeep, kDrop, kRewrite };
  /// Says what to do with a block at `now_ns`: rewriting must free a quarter of it.
  Verdict Judge(const logs::LogsBlock& block, int64_t now_ns) const;
  /// Returns the time before which entries of a stream have expired.
  int64_t Cutoff(LabelsView labels, int64_t now_ns) const;

 private:
  struct Rule {
    int32_t priority;
    int64_t keep_ms;
    std::vector<index::CompiledMatcher> matchers;
  };
  std::vector<Rule> rules_;  // the first that matches counts
  int64_t otherwise_ms_ = 0;
};

/// Makes the store of logs. `host` and what it points to outlive it.
std::unique_ptr<LogsStore> MakeLogsStore(const WingHost& host);

}  // namespace varve::db
