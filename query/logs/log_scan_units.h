#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "query/exec/context.h"
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

/// All that a selector and a pipeline make a snapshot read.
struct ScanPlan {
  std::unique_ptr<StreamSet> set;
  std::shared_ptr<const LogScan> scan;
  std::vector<ScanUnit> units;
  /// Labels of stream i; views into the snapshot.
  std::vector<std::vector<LabelView>> streams;
};
/// Selects streams, lists their chunks and compiles what the store shall do. `unread` says what is
/// wanted of lines whose bytes no stage reads.
Result<ScanPlan> PlanScan(LogContext& context, std::span<const Matcher> matchers,
                          const Pipeline& pipeline, NsRange range,
                          LogScanSpec::Lines unread = LogScanSpec::Lines::kNone);

}  // namespace varve::query
