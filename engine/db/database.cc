#include "varve/database.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/scheduler.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/manifest.h"
#include "engine/db/logs_wing.h"
#include "engine/db/metrics_wing.h"
#include "engine/db/traces_wing.h"
#include "engine/io/file_system.h"
#include "engine/logs/seal.h"
#include "engine/logs/snapshot.h"
#include "engine/logs/tombstone.h"
#include "engine/metrics/snapshot.h"
#include "engine/metrics/tombstone.h"
#include "engine/traces/retention.h"
#include "engine/traces/seal.h"
#include "engine/traces/snapshot.h"

namespace varve {
namespace {

using block::Manifest;
using block::ManifestEdit;
using block::ManifestState;

constexpr std::chrono::milliseconds kMaintenancePeriod{1000};

Status Closed() { return MakeStatus(StatusCode::kFailedPrecondition, "database is closed"); }

/// Owns what the wings share: directory lock, manifest, background thread, reports. The life of
/// rows is db::WingStore's.
template <typename Blocks, typename Stats>
void AddBlockStats(const Blocks& blocks, std::vector<Stats>* out) {
  for (const auto& entry : blocks.entries()) out->push_back(entry.block->Stats());
}

class DatabaseImpl final : public Database {
 public:
  explicit DatabaseImpl(const Options& options)
      : options_(options),
        fs_(options.file_system ? options.file_system : io::PosixFileSystem()),
        clock_(options.clock ? options.clock : Clock::Real()) {}
  ~DatabaseImpl() override { Close().IgnoreError(); }

  Status Init();

  using Database::Append;
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions& options) override;
  using Database::AppendLogs;
  Result<LogAppendResult> AppendLogs(const LogBatch& batch, const WriteOptions& options) override;
  using Database::AppendSpans;
  Result<SpanAppendResult> AppendSpans(const SpanBatch& batch,
                                       const WriteOptions& options) override;
  Status Sync() override;
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const override;
  Result<std::shared_ptr<const LogSnapshot>> TakeLogSnapshot() const override;
  Result<std::shared_ptr<const TraceSnapshot>> TakeTraceSnapshot() const override;
  Result<std::unique_ptr<BulkLoader>> StartBulkLoad() override;
  Status DeleteSeries(std::span<const Matcher> matchers, TimeRange range) override;
  Status DeleteLogs(std::span<const Matcher> matchers, NsRange range,
                    std::span<const LineFilter> filters,
                    std::span<const Matcher> metadata) override;
  Status Flush() override;
  Status Compact() override;
  Status Maintain() override;
  Status Backup(const std::string& dir, const BackupOptions& options) override;
  Result<std::vector<Status>> Verify() override;
  DatabaseStats Stats() const override;
  const RecoveryReport& recovery() const override { return recovery_; }
  Status Close() override;

 private:
  /// Runs `use` on the store of each wing until one fails. Every step that all wings take goes
  /// through here: a new wing is one more line.
  template <typename F>
  Status ForEachWing(F&& use) const {
    VARVE_RETURN_IF_ERROR(use(*metrics_));
    VARVE_RETURN_IF_ERROR(use(*logs_));
    VARVE_RETURN_IF_ERROR(use(*traces_));
    return absl::OkStatus();
  }

  std::string blocks_dir() const { return host_.blocks_dir(); }
  std::string quarantine_dir() const { return host_.quarantine_dir(); }
  Status OpenWings(const block::ManifestReport& report);
  Status RemoveLeftovers(const block::ManifestReport& report);
  Status CheckWritable() const;
  Status Expire();
  int64_t KeepMs(block::Wing wing) const;
  Status ExpireTracesByRules();
  Status ExpireLogsByRules();
  Status BackupLocked(const std::string& dir);
  uint64_t DiskBytes() const;
  Status NoteBackground(Status status);

  const Options options_;
  const std::shared_ptr<io::FileSystem> fs_;
  const std::shared_ptr<Clock> clock_;
  RecoveryReport recovery_;
  std::unique_ptr<io::FileLock> lock_;
  std::unique_ptr<Manifest> manifest_;
  db::WingHost host_;
  std::unique_ptr<db::MetricsStore> metrics_;
  std::unique_ptr<db::LogsStore> logs_;
  std::unique_ptr<db::TracesStore> traces_;
  std::unique_ptr<traces::TraceRetention> trace_rules_;  // null without rules
  std::unique_ptr<db::StreamRetention> log_rules_;       // likewise
  std::unique_ptr<Scheduler> scheduler_;
  std::atomic<bool> closed_{false};
  bool opened_ = false;

  mutable absl::Mutex error_mutex_;
  Status background_error_ ABSL_GUARDED_BY(error_mutex_);

  std::atomic<uint64_t> samples_appended_{0}, samples_rejected_{0}, series_created_{0};
  std::atomic<uint64_t> entries_appended_{0}, entries_rejected_{0};
  std::atomic<uint64_t> spans_appended_{0}, spans_rejected_{0};
  std::atomic<uint64_t> expired_{0};
};

// --- Opening ---

Status DatabaseImpl::Init() {
  const std::chrono::nanoseconds started = clock_->Monotonic();
  host_.options = &options_;
  host_.fs = fs_;
  host_.clock = clock_;
  host_.closed = &closed_;
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(options_.dir));
  if (!exists) {
    if (!options_.create_if_missing || options_.read_only) {
      return MakeStatus(StatusCode::kNotFound, Concat(options_.dir, ": no such directory"));
    }
    VARVE_RETURN_IF_ERROR(fs_->MakeDirs(options_.dir));
  }
  if (!options_.read_only) {
    VARVE_ASSIGN_OR_RETURN(lock_, fs_->Lock(io::JoinPath(options_.dir, "LOCK")));
    VARVE_RETURN_IF_ERROR(fs_->MakeDirs(blocks_dir()));
    VARVE_RETURN_IF_ERROR(fs_->MakeDirs(quarantine_dir()));
  }
  block::ManifestOptions manifest_options;
  manifest_options.read_only = options_.read_only;
  block::ManifestReport report;
  VARVE_ASSIGN_OR_RETURN(manifest_, Manifest::Open(fs_, options_.dir, manifest_options, &report));
  recovery_.damage = report.damage;
  recovery_.quarantined = report.quarantined;
  host_.manifest = manifest_.get();
  const bool background = !options_.read_only && options_.background_threads > 0;
  if (background) {
    host_.request_maintenance = [this](bool urgent) {
      if (urgent) {
        Maintain().IgnoreError();
      } else {
        scheduler_->Submit([this] { Maintain().IgnoreError(); });
      }
    };
  }
  metrics_ = db::MakeMetricsStore(host_);
  logs_ = db::MakeLogsStore(host_);
  traces_ = db::MakeTracesStore(host_);
  if (!options_.log_retention_rules.empty()) {
    VARVE_ASSIGN_OR_RETURN(log_rules_, db::StreamRetention::Make(options_.log_retention_rules,
                                                                 KeepMs(block::Wing::kLogs)));
  }
  if (!options_.trace_retention_rules.empty()) {
    VARVE_ASSIGN_OR_RETURN(
        trace_rules_,
        traces::TraceRetention::Make(options_.trace_retention_rules, KeepMs(block::Wing::kTraces)));
  }
  VARVE_RETURN_IF_ERROR(OpenWings(report));
  opened_ = true;
  recovery_.elapsed = clock_->Monotonic() - started;

  if (background) {
    scheduler_ = Scheduler::Threads(options_.background_threads);
    scheduler_->Every(kMaintenancePeriod, [this] { Maintain().IgnoreError(); });
    scheduler_->Every(options_.sync_interval, [this] {
      if (closed_) return;
      NoteBackground(ForEachWing([](auto& wing) { return wing.Sync(); })).IgnoreError();
    });
  }
  return absl::OkStatus();
}

Status DatabaseImpl::OpenWings(const block::ManifestReport& report) {
  ManifestEdit drop;
  VARVE_RETURN_IF_ERROR(
      ForEachWing([&](auto& wing) { return wing.OpenBlocks(&recovery_, &drop); }));
  if (!drop.remove_blocks.empty()) {
    const Status status = manifest_->Commit(drop);
    // On a full disk the next open finds the same again.
    if (!status.ok() && status.code() != StatusCode::kResourceExhausted) return status;
  }
  if (!options_.read_only && report.clean()) VARVE_RETURN_IF_ERROR(RemoveLeftovers(report));
  VARVE_RETURN_IF_ERROR(ForEachWing([&](auto& wing) { return wing.OpenWal(&recovery_); }));
  for (const auto& head : metrics_->heads()) recovery_.wal_samples += head->replayed_samples();
  for (const auto& head : logs_->heads()) recovery_.wal_log_entries += head->replayed_entries();
  for (const auto& head : traces_->heads()) recovery_.wal_spans += head->rows();
  return absl::OkStatus();
}

Status DatabaseImpl::RemoveLeftovers(const block::ManifestReport& report) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<std::string> leftovers,
                         block::ListLeftoverBlocks(*fs_, options_.dir, manifest_->state()));
  for (const std::string& name : leftovers) {
    const std::string path = io::JoinPath(blocks_dir(), name);
    if (report.tail_bytes_cut > 0 && block::BlockIdOfFile(name) != 0) {
      const std::string kept = io::JoinPath(quarantine_dir(), name);
      fs_->Rename(path, kept).IgnoreError();
    } else {
      fs_->Remove(path).IgnoreError();
    }
  }
  return absl::OkStatus();
}

// --- Writing ---

Status DatabaseImpl::CheckWritable() const {
  return ForEachWing([](auto& wing) { return wing.CheckWritable(); });
}

Result<AppendResult> DatabaseImpl::Append(const WriteBatch& batch, const WriteOptions& options) {
  AppendResult result;
  VARVE_RETURN_IF_ERROR(metrics_->Append(
      options.durability, [&](metrics::Head& head, const db::LogFn& log) -> Result<bool> {
        const uint64_t series_before = head.series_count();
        auto appended = head.Append(batch, options, log);
        series_created_ += head.series_count() - series_before;
        if (!appended.ok()) {
          samples_rejected_ += batch.samples().size() + batch.histograms().size();
          return appended.status();
        }
        result = std::move(*appended);
        return !result.stale_refs;
      }));
  samples_appended_ += result.samples + result.histograms;
  samples_rejected_ += result.rejected;
  return result;
}

Result<LogAppendResult> DatabaseImpl::AppendLogs(const LogBatch& batch,
                                                 const WriteOptions& options) {
  VARVE_RETURN_IF_ERROR(logs_->CheckWritable());
  auto prepared = logs::PreparedBatch::Make(batch, options_.limits, options);
  if (!prepared.ok()) {
    entries_rejected_ += batch.entries().size();
    return prepared.status();
  }
  LogAppendResult result;
  VARVE_RETURN_IF_ERROR(logs_->Append(
      options.durability, [&](logs::Head& head, const db::LogFn& log) -> Result<bool> {
        VARVE_ASSIGN_OR_RETURN(result, head.Append(&*prepared, log));
        return !result.stale_refs;
      }));
  entries_appended_ += result.entries;
  entries_rejected_ += result.rejected;
  return result;
}

Result<SpanAppendResult> DatabaseImpl::AppendSpans(const SpanBatch& batch,
                                                   const WriteOptions& options) {
  SpanAppendResult result;
  VARVE_RETURN_IF_ERROR(traces_->Append(
      options.durability, [&](traces::Head& head, const db::LogFn& log) -> Result<bool> {
        auto appended = head.Append(batch, options, log);
        if (!appended.ok()) {
          spans_rejected_ += batch.spans().size();
          return appended.status();
        }
        result = std::move(*appended);
        return true;
      }));
  spans_appended_ += result.spans;
  spans_rejected_ += result.rejected;
  return result;
}

Status DatabaseImpl::Sync() {
  if (closed_) return Closed();
  return ForEachWing([](auto& wing) { return wing.Sync(); });
}

// --- Reading ---

Result<std::shared_ptr<const Snapshot>> DatabaseImpl::TakeSnapshot() const {
  if (closed_) return Closed();
  Stability stability;
  std::shared_ptr<const metrics::AppendTimes> appended;
  auto sources = metrics_->TakeSources([&](const metrics::Head& active, uint64_t epoch) {
    appended = active.append_times();
    stability = {active.settled_before_ms(), epoch, appended->count()};
  });
  return metrics::MakeSnapshot(std::move(sources), stability, std::move(appended));
}

Result<std::shared_ptr<const LogSnapshot>> DatabaseImpl::TakeLogSnapshot() const {
  if (closed_) return Closed();
  return logs::MakeSnapshot(logs_->TakeSources());
}

Result<std::shared_ptr<const TraceSnapshot>> DatabaseImpl::TakeTraceSnapshot() const {
  if (closed_) return Closed();
  return traces::MakeSnapshot(traces_->TakeSources());
}

// --- Sealing, merging, expiring ---

Status DatabaseImpl::Expire() {
  // Sizes are shared: the oldest blocks go first, whatever wing they are of. Times become
  // milliseconds for that.
  std::vector<block::PlanBlock> all;
  std::vector<uint64_t> expired;
  uint64_t other = manifest_->bytes();
  VARVE_RETURN_IF_ERROR(ForEachWing([&](auto& wing) -> Status {
    int64_t keep_ms = KeepMs(wing.kWing);
    // Rules weigh traces and streams one by one, below.
    if (wing.kWing == block::Wing::kTraces && trace_rules_ != nullptr) keep_ms = 0;
    if (wing.kWing == block::Wing::kLogs && log_rules_ != nullptr) keep_ms = 0;
    const int64_t ticks = std::decay_t<decltype(wing)>::kTicksPerMs;
    int64_t oldest_ms = kMinTime;
    if (keep_ms > 0) {
      // The earlier of the clock and the newest row: neither a clock that jumps ahead nor one row
      // from the future may empty the store.
      const int64_t newest_ms = wing.newest_time() / ticks;
      const int64_t now_ms = std::min(clock_->NowMs(), newest_ms);
      if (__builtin_sub_overflow(now_ms, keep_ms, &oldest_ms)) oldest_ms = kMinTime;
    }
    std::vector<block::PlanBlock> own = wing.blocks()->ForPlanner();
    for (block::PlanBlock& block : own) {
      block.range = {block.range.min / ticks, block.range.max / ticks};
    }
    for (const uint64_t id : block::PlanRetention(own, oldest_ms, 0, 0)) {
      expired.push_back(id);
      std::erase_if(own, [id](const block::PlanBlock& block) { return block.id == id; });
    }
    all.insert(all.end(), own.begin(), own.end());
    other += wing.log()->bytes();
    return absl::OkStatus();
  }));
  const std::vector<uint64_t> excess =
      block::PlanRetention(all, INT64_MIN, options_.retention_bytes, other);
  expired.insert(expired.end(), excess.begin(), excess.end());
  if (!expired.empty()) {
    VARVE_RETURN_IF_ERROR(ForEachWing([&](auto& wing) -> Status {
      uint64_t dropped = 0;
      const Status status = wing.Drop(expired, &dropped);
      expired_ += status.ok() ? dropped : 0;
      return status;
    }));
  }
  if (log_rules_ != nullptr) VARVE_RETURN_IF_ERROR(ExpireLogsByRules());
  return trace_rules_ == nullptr ? absl::OkStatus() : ExpireTracesByRules();
}

int64_t DatabaseImpl::KeepMs(block::Wing wing) const {
  const auto& own = wing == block::Wing::kTraces ? options_.trace_retention_time
                    : wing == block::Wing::kLogs ? options_.log_retention_time
                                                 : std::nullopt;
  return own.value_or(options_.retention_time).count();
}

Status DatabaseImpl::ExpireLogsByRules() {
  int64_t now_ns = 0;
  if (__builtin_mul_overflow(clock_->NowMs(), db::LogsStore::kTicksPerMs, &now_ns)) {
    now_ns = kMaxTime;
  }
  now_ns = std::min(now_ns, logs_->newest_time());
  const auto current = logs_->blocks();
  for (const auto& entry : current->entries()) {
    const uint64_t id = entry.block->meta().id;
    switch (log_rules_->Judge(*entry.block, now_ns)) {
      case db::StreamRetention::Verdict::kKeep:
        break;
      case db::StreamRetention::Verdict::kDrop: {
        uint64_t dropped = 0;
        VARVE_RETURN_IF_ERROR(logs_->Drop({id}, &dropped));
        expired_ += dropped;
        break;
      }
      case db::StreamRetention::Verdict::kRewrite:
        VARVE_RETURN_IF_ERROR(
            logs_->Rewrite(id, [&](const logs::SourcePtr& source, const block::SealMeta& meta,
                                   const block::SealTarget& target) {
              const logs::SourcePtr trimmed = logs::MakeTrimmedSource(
                  source, [&](LabelsView labels) { return log_rules_->Cutoff(labels, now_ns); });
              return logs::WriteMerged({trimmed}, NsRange{}, meta, target);
            }));
    }
  }
  return absl::OkStatus();
}

Status DatabaseImpl::ExpireTracesByRules() {
  std::vector<traces::SourcePtr> heads;
  for (const auto& head : traces_->heads()) heads.push_back(db::TracesWing::MakeHeadSource(head));
  std::vector<std::shared_ptr<const traces::TraceBlock>> blocks;
  const auto current = traces_->blocks();
  for (const auto& entry : current->entries()) blocks.push_back(entry.block);
  if (blocks.empty()) return absl::OkStatus();
  int64_t now_ns = 0;
  if (__builtin_mul_overflow(clock_->NowMs(), db::TracesStore::kTicksPerMs, &now_ns)) {
    now_ns = kMaxTime;
  }
  now_ns = std::min(now_ns, traces_->newest_time());
  VARVE_ASSIGN_OR_RETURN(const auto decisions, trace_rules_->Plan(heads, blocks, now_ns));
  for (const traces::TraceRetention::Decision& decision : decisions) {
    if (decision.whole) {
      uint64_t dropped = 0;
      VARVE_RETURN_IF_ERROR(traces_->Drop({decision.block}, &dropped));
      expired_ += dropped;
      continue;
    }
    const auto keep = [&decision](const TraceId& id) {
      return !decision.expired.contains(std::string(traces::BytesOf(id)));
    };
    VARVE_RETURN_IF_ERROR(traces_->Rewrite(
        decision.block, [&](const traces::SourcePtr& source, const block::SealMeta& meta,
                            const block::SealTarget& target) {
          return traces::WriteMerged({source}, NsRange{}, meta, target, keep);
        }));
  }
  return absl::OkStatus();
}

Status DatabaseImpl::Flush() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  return ForEachWing([](auto& wing) { return wing.Flush(); });
}

Status DatabaseImpl::Compact() {
  VARVE_RETURN_IF_ERROR(Flush());
  VARVE_RETURN_IF_ERROR(Expire());
  return ForEachWing([](auto& wing) { return wing.MergeAll(true); });
}

Status DatabaseImpl::Maintain() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  Status status;
  // Trouble in one wing does not keep the others from their work.
  const auto each = [&](auto&& work) {
    ForEachWing([&](auto& wing) {
      status.Update(work(wing));
      return absl::OkStatus();
    }).IgnoreError();
  };
  each([](auto& wing) { return wing.SealIfDue(); });
  status.Update(Expire());
  each([](auto& wing) { return wing.MergeAll(false); });
  return NoteBackground(status);
}

Status DatabaseImpl::NoteBackground(Status status) {
  absl::MutexLock lock(&error_mutex_);
  background_error_ = status;
  return status;
}

// --- Deleting, loading, copying ---

Status DatabaseImpl::DeleteSeries(std::span<const Matcher> matchers, TimeRange range) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  if (matchers.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "deleting needs at least one matcher");
  }
  VARVE_RETURN_IF_ERROR(index::CompileMatchers(matchers).status());
  if (range.min_ms > range.max_ms) return absl::OkStatus();
  return metrics_->Delete(
      metrics::EncodeDeletion({std::vector<Matcher>(matchers.begin(), matchers.end()), range}));
}

Status DatabaseImpl::DeleteLogs(std::span<const Matcher> matchers, NsRange range,
                                std::span<const LineFilter> filters,
                                std::span<const Matcher> metadata) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  if (matchers.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "deleting needs at least one matcher");
  }
  VARVE_RETURN_IF_ERROR(index::CompileMatchers(matchers).status());
  logs::Deletion deletion{{matchers.begin(), matchers.end()},
                          range,
                          {filters.begin(), filters.end()},
                          {metadata.begin(), metadata.end()}};
  LogScanSpec spec;
  spec.line_filters = deletion.filters;
  spec.metadata = deletion.metadata;
  VARVE_RETURN_IF_ERROR(CompileLogScan(spec).status());
  if (range.empty()) return absl::OkStatus();
  return logs_->Delete(logs::EncodeDeletion(deletion));
}

Result<std::unique_ptr<BulkLoader>> DatabaseImpl::StartBulkLoad() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  return db::MakeBulkLoader(metrics_.get(), host_);
}

Status DatabaseImpl::Backup(const std::string& dir, const BackupOptions& options) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(dir));
  if (exists) return MakeStatus(StatusCode::kAlreadyExists, Concat(dir, ": exists already"));
  // No block may go while files are linked.
  absl::MutexLock metrics_lock(&metrics_->maintenance_mutex());
  absl::MutexLock logs_lock(&logs_->maintenance_mutex());
  absl::MutexLock traces_lock(&traces_->maintenance_mutex());
  if (!options.skip_heads) {
    VARVE_RETURN_IF_ERROR(metrics_->SealAll());
    VARVE_RETURN_IF_ERROR(logs_->SealAll());
    VARVE_RETURN_IF_ERROR(traces_->SealAll());
  }
  const Status status = BackupLocked(dir);
  if (!status.ok()) fs_->RemoveAll(dir).IgnoreError();
  return status;
}

Status DatabaseImpl::BackupLocked(const std::string& dir) {
  const ManifestState state = manifest_->state();
  const std::string blocks = io::JoinPath(dir, "blocks");
  VARVE_RETURN_IF_ERROR(fs_->MakeDirs(blocks));
  for (const auto& [id, meta] : state.blocks) {
    const std::string name = block::BlockFileName(id);
    VARVE_RETURN_IF_ERROR(
        fs_->HardLink(io::JoinPath(blocks_dir(), name), io::JoinPath(blocks, name)));
  }
  VARVE_RETURN_IF_ERROR(fs_->SyncDir(blocks));
  VARVE_RETURN_IF_ERROR(block::WriteManifestSnapshot(*fs_, dir, state));
  return fs_->SyncDir(dir);
}

Result<std::vector<Status>> DatabaseImpl::Verify() {
  if (closed_) return Closed();
  std::vector<Status> damage = recovery_.damage;
  VARVE_RETURN_IF_ERROR(ForEachWing([&](auto& wing) { return wing.Verify(&damage); }));
  return damage;
}

uint64_t DatabaseImpl::DiskBytes() const {
  uint64_t bytes = manifest_->bytes();
  ForEachWing([&](auto& wing) {
    bytes += wing.bytes();
    return absl::OkStatus();
  }).IgnoreError();
  return bytes;
}

DatabaseStats DatabaseImpl::Stats() const {
  DatabaseStats out;
  if (!opened_) return out;
  out.read_only = options_.read_only || manifest_->failed();
  ForEachWing([&](auto& wing) {
    out.wal_bytes += wing.log()->bytes();
    out.wal_syncs += wing.log()->syncs();
    out.wal_appends += wing.log()->appends();
    out.seals += wing.seals();
    out.compactions += wing.compactions();
    out.compaction_failures += wing.compaction_failures();
    out.read_only = out.read_only || wing.log()->failed();
    return absl::OkStatus();
  }).IgnoreError();
  for (const auto& head : metrics_->heads()) {
    out.head_series = std::max(out.head_series, head->series_count());
    out.head_samples += head->samples();
    out.head_chunks += head->chunks();
    out.head_bytes += head->bytes();
    out.exemplars += head->exemplar_count();
    if (head->samples() == 0) continue;
    out.head_range.min_ms = std::min(out.head_range.min_ms, head->range().min_ms);
    out.head_range.max_ms = std::max(out.head_range.max_ms, head->range().max_ms);
  }
  for (const auto& head : traces_->heads()) {
    out.head_spans += head->rows();
    out.head_traces += head->trace_count();
    out.head_bytes += head->approximate_bytes();
  }
  AddBlockStats(*metrics_->blocks(), &out.blocks);
  for (const auto& head : logs_->heads()) {
    out.logs.head_streams = std::max(out.logs.head_streams, head->stream_count());
    out.logs.head_entries += head->entries();
    out.logs.head_line_bytes += head->line_bytes();
    out.logs.head_bytes += head->approximate_bytes();
    if (head->entries() == 0) continue;
    out.logs.head_range.min_ns = std::min(out.logs.head_range.min_ns, head->range().min_ns);
    out.logs.head_range.max_ns = std::max(out.logs.head_range.max_ns, head->range().max_ns);
  }
  out.logs.wal_bytes = logs_->log()->bytes();
  out.logs.entries_appended = entries_appended_;
  out.logs.entries_rejected = entries_rejected_;
  AddBlockStats(*logs_->blocks(), &out.logs.blocks);
  AddBlockStats(*traces_->blocks(), &out.blocks);
  out.samples_appended = samples_appended_;
  out.samples_rejected = samples_rejected_;
  out.series_created = series_created_;
  out.spans_appended = spans_appended_;
  out.spans_rejected = spans_rejected_;
  out.blocks_expired = expired_;
  out.tombstones = manifest_->state().tombstones.size();
  out.disk_bytes = DiskBytes();
  absl::MutexLock lock(&error_mutex_);
  out.background_error = background_error_;
  return out;
}

Status DatabaseImpl::Close() {
  if (closed_.exchange(true)) return absl::OkStatus();
  if (scheduler_ != nullptr) scheduler_->Stop();
  Status status;
  if (opened_) {
    ForEachWing([&](auto& wing) {
      status.Update(wing.Close());
      return absl::OkStatus();
    }).IgnoreError();
  }
  lock_.reset();
  return status;
}

}  // namespace

Result<std::unique_ptr<Database>> Database::Open(const Options& options) {
  auto db = std::make_unique<DatabaseImpl>(options);
  VARVE_RETURN_IF_ERROR(db->Init());
  return std::unique_ptr<Database>(std::move(db));
}

}  // namespace varve
