#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "query/exec/context.h"
#include "query/exec/operator.h"
#include "query/logs/stages.h"
#include "varve/log_scan.h"
#include "varve/logql.h"

namespace varve::query {

/// What the parts of one running LogQL query share.
struct LogContext {
  LogContext(ExecContext& e, const LogEngineOptions& o) : exec(e), options(o) {}

  ExecContext& exec;
  const LogEngineOptions& options;
  std::shared_ptr<const LogSnapshot> snapshot;
  std::string_view text;
  uint64_t bytes_read_max = 0;  // 0: unbounded
  TemplateLimits template_limits;
  bool analyze = false;  // count what each stage does
  /// With `analyze`: the stages of a log query, or of the range aggregations by their operators.
  std::vector<LogStageStats> stages;
  std::vector<std::pair<const Operator*, std::vector<LogStageStats>>> operator_stages;

  std::atomic<uint64_t> bytes_read{0};
  std::atomic<uint64_t> streams{0};
  std::atomic<uint64_t> chunks{0};
  std::atomic<uint64_t> rows{0};     // out of scans, into pipelines
  std::atomic<uint64_t> samples{0};  // out of pipelines

  /// Adds what a read did, and checks the budget of bytes.
  Status AddScan(const LogScanStats& stats);
  LogScanStats scan_stats() const {
    absl::MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  mutable absl::Mutex mutex_;
  LogScanStats stats_ ABSL_GUARDED_BY(mutex_);
};

/// A chunk to read. Units are ordered by stream, then by time.
struct ScanUnit {
  uint32_t stream = 0;
  LogChunk chunk;
};

/// Says when a thread that takes entries through a pipeline looks whether the query was cancelled:
/// often enough for huge lines and slow stages, seldom enough for short ones.
class PollPace {
 public:
  explicit PollPace(const Pipeline& pipeline) : slow_(pipeline.slow()) {}
  bool Due(size_t line_bytes) {
    work_ += slow_ ? kWork : kEntryWork + line_bytes;
    if (work_ < kWork) return false;
    work_ = 0;
    return true;
  }

 private:
  static constexpr size_t kWork = 256 << 10;
  static constexpr size_t kEntryWork = 1024;
  const bool slow_;
  size_t work_ = 0;
};

/// What the threads of one scan did together, for `explain analyze`.
struct ScanCounts {
  LogScanStats scan;
  std::vector<StageCount> stages;
  void Add(const LogScanStats& stats, const EntryContext* entry);
};

/// All that a selector and a pipeline make a snapshot read.
struct ScanPlan {
  std::unique_ptr<StreamSet> set;
  std::shared_ptr<const LogScan> scan;
  std::vector<ScanUnit> units;
  /// Labels of stream i; views into the snapshot.
  std::vector<std::vector<LabelView>> streams;
  /// With LogContext::analyze: raw sizes of the lines in range, of those in streams that match, and
  /// of those that are to be read.
  uint64_t stored_bytes = 0;
  uint64_t selected_bytes = 0;
  uint64_t listed_bytes = 0;
};
/// Selects streams, lists their chunks and compiles what the store shall do. `unread` says what is
/// wanted of lines whose bytes no stage reads.
Result<ScanPlan> PlanScan(LogContext& context, std::span<const Matcher> matchers,
                          const Pipeline& pipeline, NsRange range,
                          LogScanSpec::Lines unread = LogScanSpec::Lines::kNone);

/// Lists a scan, what each filter of it spared, and the stages of its pipeline, for `explain
/// analyze`.
std::vector<LogStageStats> StagesOf(const ScanPlan& plan, const Pipeline& pipeline,
                                    const ScanCounts& counts, uint32_t depth);

}  // namespace varve::query
