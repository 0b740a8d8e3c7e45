#include "varve/database.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/scheduler.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/manifest.h"
#include "engine/db/block_set.h"
#include "engine/io/file_system.h"
#include "engine/metrics/head.h"
#include "engine/metrics/plan.h"
#include "engine/metrics/seal.h"
#include "engine/metrics/snapshot.h"
#include "engine/metrics/tombstone.h"
#include "engine/wal/wal.h"

namespace varve {
namespace {

using block::BlockMeta;
using block::Manifest;
using block::ManifestEdit;
using block::ManifestState;
using metrics::Head;
using metrics::Source;
using metrics::SourcePtr;

constexpr std::chrono::milliseconds kMaintenancePeriod{1000};

int64_t Millis(std::chrono::milliseconds duration) { return duration.count(); }

Status Closed() { return MakeStatus(StatusCode::kFailedPrecondition, "database is closed"); }
Status ReadOnly(std::string_view why) {
  return MakeStatus(StatusCode::kFailedPrecondition, Concat("database is read-only: ", why));
}

/// See engine/db/README.md for the lock order and the life of a head.
class DatabaseImpl final : public Database {
 public:
  explicit DatabaseImpl(const Options& options)
      : options_(options),
        fs_(options.file_system ? options.file_system : io::PosixFileSystem()),
        clock_(options.clock ? options.clock : Clock::Real()) {
    plan_.block_range_ms = std::max<int64_t>(1, Millis(options.block_range));
    plan_.levels = std::max<uint32_t>(1, options.block_levels);
    head_options_.limits = options.limits;
    head_options_.out_of_order_window_ms = Millis(options.out_of_order_window);
    head_options_.block_range_ms = plan_.block_range_ms;
  }
  ~DatabaseImpl() override { Close().IgnoreError(); }

  Status Init();

  using Database::Append;
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions& options) override;
  Status Sync() override;
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const override;
  Result<std::unique_ptr<BulkLoader>> StartBulkLoad() override;
  Status DeleteSeries(std::span<const Matcher> matchers, TimeRange range) override;
  Status Flush() override;
  Status Compact() override;
  Status Maintain() override;
  Status Backup(const std::string& dir) override;
  Result<std::vector<Status>> Verify() override;
  DatabaseStats Stats() const override;
  const RecoveryReport& recovery() const override { return recovery_; }
  Status Close() override;

  /// Adds blocks that a bulk load wrote.
  Status CommitLoaded(std::vector<BlockMeta> blocks);
  metrics::SealTarget Target() const {
    return {fs_, blocks_dir(), [this] { return manifest_->ReserveBlockIds(1); }};
  }
  const metrics::HeadOptions& head_options() const { return head_options_; }
  const metrics::PlanOptions& plan() const { return plan_; }
  uint64_t head_bytes_max() const { return options_.head_bytes_max; }
  void RemoveFile(const std::string& path) const { fs_->Remove(path).IgnoreError(); }
  std::string blocks_dir() const { return io::JoinPath(options_.dir, "blocks"); }

 private:
  struct Frozen {
    std::shared_ptr<const Head> head;
    uint64_t next_segment;  // where the log of its successor begins
  };

  std::string quarantine_dir() const { return io::JoinPath(options_.dir, "quarantine"); }
  std::string wal_dir() const { return io::JoinPath(options_.dir, "wal/metrics"); }

  Status OpenBlocks(const block::ManifestReport& report);
  Status OpenWal();
  Status CheckWritable() const;
  Status LogBatch(std::span<const std::string_view> pieces, wal::Lsn* lsn)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  bool HeadIsDue() const;
  Status FreezeActive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status SealFrozen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status SealAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status Expire() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  /// Merges once; `*merged` tells whether there was anything to merge.
  Status CompactOnce(bool everything, bool* merged)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status CommitAndShow(ManifestEdit edit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  uint64_t DiskBytes() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(version_mutex_);
  int64_t NewestTime() const;
  Status NoteBackground(Status status);

  const Options options_;
  const std::shared_ptr<io::FileSystem> fs_;
  const std::shared_ptr<Clock> clock_;
  metrics::PlanOptions plan_;
  metrics::HeadOptions head_options_;
  RecoveryReport recovery_;
  std::unique_ptr<io::FileLock> lock_;
  std::unique_ptr<Manifest> manifest_;
  std::unique_ptr<wal::Wal> wal_;
  std::unique_ptr<Scheduler> scheduler_;
  std::atomic<bool> closed_{false};
  std::atomic<bool> maintenance_queued_{false};

  // Lock order: maintenance_mutex_, append_mutex_, version_mutex_.
  mutable absl::Mutex maintenance_mutex_;
  mutable absl::Mutex append_mutex_ ABSL_ACQUIRED_AFTER(maintenance_mutex_);
  mutable absl::Mutex version_mutex_ ABSL_ACQUIRED_AFTER(append_mutex_);

  bool epoch_logged_ ABSL_GUARDED_BY(append_mutex_) = false;
  std::chrono::nanoseconds last_sync_ ABSL_GUARDED_BY(append_mutex_){0};

  std::shared_ptr<Head> active_ ABSL_GUARDED_BY(version_mutex_);
  std::vector<Frozen> frozen_ ABSL_GUARDED_BY(version_mutex_);
  std::shared_ptr<const db::BlockSet> blocks_ ABSL_GUARDED_BY(version_mutex_);
  Status background_error_ ABSL_GUARDED_BY(version_mutex_);

  std::set<uint64_t> unmergeable_ ABSL_GUARDED_BY(maintenance_mutex_);

  std::atomic<uint64_t> samples_appended_{0}, samples_rejected_{0}, series_created_{0};
  std::atomic<uint64_t> seals_{0}, compactions_{0}, compaction_failures_{0}, expired_{0};
};

// --- Opening ---

Status DatabaseImpl::Init() {
  const std::chrono::nanoseconds started = clock_->Monotonic();
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
    VARVE_RETURN_IF_ERROR(fs_->MakeDirs(wal_dir()));
  }
  block::ManifestOptions manifest_options;
  manifest_options.read_only = options_.read_only;
  block::ManifestReport report;
  VARVE_ASSIGN_OR_RETURN(manifest_, Manifest::Open(fs_, options_.dir, manifest_options, &report));
  recovery_.damage = report.damage;
  recovery_.quarantined = report.quarantined;
  VARVE_RETURN_IF_ERROR(OpenBlocks(report));
  VARVE_RETURN_IF_ERROR(OpenWal());
  recovery_.elapsed = clock_->Monotonic() - started;

  if (!options_.read_only && options_.background_threads > 0) {
    scheduler_ = Scheduler::Threads(options_.background_threads);
    scheduler_->Every(kMaintenancePeriod, [this] { Maintain().IgnoreError(); });
    scheduler_->Every(options_.sync_interval, [this] {
      if (!closed_) NoteBackground(wal_->Sync()).IgnoreError();
    });
  }
  return absl::OkStatus();
}

Status DatabaseImpl::OpenBlocks(const block::ManifestReport& report) {
  const ManifestState state = manifest_->state();
  std::vector<std::shared_ptr<const metrics::MetricsBlock>> opened;
  ManifestEdit drop;
  for (const auto& [id, meta] : state.blocks) {
    if (meta.wing != block::Wing::kMetrics) continue;
    const std::string path = io::JoinPath(blocks_dir(), block::BlockFileName(id));
    auto block = metrics::MetricsBlock::Open(*fs_, path);
    if (block.ok()) {
      opened.push_back(std::move(*block));
      continue;
    }
    const Status& status = block.status();
    if (status.code() != StatusCode::kDataLoss && status.code() != StatusCode::kNotFound) {
      return status;
    }
    recovery_.damage.push_back(status.code() == StatusCode::kNotFound
                                   ? DataLossError(path, 0, "block file is missing")
                                   : status);
    if (options_.read_only) continue;
    if (status.code() == StatusCode::kDataLoss) {
      // Kept for repair by hand: a later version or a person may read more of it.
      const std::string kept = io::JoinPath(quarantine_dir(), block::BlockFileName(id));
      VARVE_RETURN_IF_ERROR(fs_->Rename(path, kept));
      VARVE_RETURN_IF_ERROR(fs_->SyncDir(quarantine_dir()));
      recovery_.quarantined.push_back(kept);
    }
    drop.remove_blocks.push_back(id);
  }
  if (!drop.remove_blocks.empty()) {
    const Status status = manifest_->Commit(drop);
    // On a full disk the next open finds the same again.
    if (!status.ok() && status.code() != StatusCode::kResourceExhausted) return status;
  }
  if (!options_.read_only && report.clean()) {
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
  }
  VARVE_ASSIGN_OR_RETURN(auto blocks, db::BlockSet::Make(std::move(opened), manifest_->state()));
  absl::MutexLock lock(&version_mutex_);
  blocks_ = std::move(blocks);
  return absl::OkStatus();
}

Status DatabaseImpl::OpenWal() {
  std::shared_ptr<Head> head;
  {
    absl::MutexLock lock(&version_mutex_);
    head = std::make_shared<Head>(1, head_options_, blocks_->range().max_ms, nullptr, nullptr);
    active_ = head;
  }
  wal::WalOptions wal_options;
  wal_options.first_segment = manifest_->state().wal_floor(block::Wing::kMetrics);
  wal_options.read_only = options_.read_only;
  wal_options.quarantine_dir = options_.read_only ? "" : quarantine_dir();
  wal::WalReplayReport report;
  const auto replay = [&head](uint8_t type, wal::Lsn, std::string_view payload) -> Status {
    switch (static_cast<metrics::WalRecord>(type)) {
      case metrics::WalRecord::kEpoch:
        head->ReplayEpoch();
        return absl::OkStatus();
      case metrics::WalRecord::kBatch:
        return head->ReplayBatch(payload);
    }
    return MakeStatus(StatusCode::kUnimplemented, Concat("metrics WAL record of type ", type));
  };
  VARVE_ASSIGN_OR_RETURN(wal_, wal::Wal::Open(fs_, wal_dir(), wal_options, replay, &report));
  recovery_.wal_records = report.records;
  recovery_.wal_samples = head->replayed_samples();
  recovery_.wal_tail_bytes_cut = report.tail_bytes_cut;
  recovery_.damage.insert(recovery_.damage.end(), report.damage.begin(), report.damage.end());
  recovery_.quarantined.insert(recovery_.quarantined.end(), report.quarantined.begin(),
                               report.quarantined.end());
  return absl::OkStatus();
}

// --- Writing ---

Status DatabaseImpl::CheckWritable() const {
  if (closed_) return Closed();
  if (options_.read_only) return ReadOnly("opened so");
  if (wal_->failed()) return ReadOnly("writing the log failed; reopen it");
  if (manifest_->failed()) return ReadOnly("writing the manifest failed; reopen it");
  return absl::OkStatus();
}

Status DatabaseImpl::LogBatch(std::span<const std::string_view> pieces, wal::Lsn* lsn) {
  if (!epoch_logged_) {
    VARVE_RETURN_IF_ERROR(
        wal_->Append(static_cast<uint8_t>(metrics::WalRecord::kEpoch), std::string_view())
            .status());
    epoch_logged_ = true;
  }
  VARVE_ASSIGN_OR_RETURN(*lsn,
                         wal_->Append(static_cast<uint8_t>(metrics::WalRecord::kBatch), pieces));
  return absl::OkStatus();
}

Result<AppendResult> DatabaseImpl::Append(const WriteBatch& batch, const WriteOptions& options) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  Durability durability = options.durability.value_or(options_.durability);
  AppendResult result;
  wal::Lsn lsn = 0;
  uint64_t head_bytes = 0;
  {
    absl::MutexLock lock(&append_mutex_);
    std::shared_ptr<Head> head;
    {
      absl::MutexLock version(&version_mutex_);
      head = active_;
    }
    const uint64_t series_before = head->series_count();
    auto appended = head->Append(batch, options, [&](std::span<const std::string_view> pieces) {
      append_mutex_.AssertHeld();
      return LogBatch(pieces, &lsn);
    });
    series_created_ += head->series_count() - series_before;
    if (!appended.ok()) {
      samples_rejected_ += batch.samples().size() + batch.histograms().size();
      return appended.status();
    }
    result = std::move(*appended);
    head_bytes = head->approximate_bytes();
    if (durability == Durability::kProcessCrash) {
      const std::chrono::nanoseconds now = clock_->Monotonic();
      if (now - last_sync_ >= options_.sync_interval) {
        last_sync_ = now;
        durability = Durability::kDurable;
      }
    }
  }
  if (lsn != 0) {
    VARVE_RETURN_IF_ERROR(durability == Durability::kDurable ? wal_->WaitDurable(lsn)
                                                             : wal_->WaitWritten(lsn));
  } else if (!result.stale_refs && durability == Durability::kDurable) {
    // Nothing new, but what it repeats must be as durable as it says.
    VARVE_RETURN_IF_ERROR(wal_->Sync());
  }
  samples_appended_ += result.samples + result.histograms;
  samples_rejected_ += result.rejected;
  if (head_bytes > options_.head_bytes_max) {
    if (head_bytes > 2 * options_.head_bytes_max && scheduler_ != nullptr) {
      // Sealing does not keep up: writers pay for it.
      Maintain().IgnoreError();
    } else if (scheduler_ != nullptr && !maintenance_queued_.exchange(true)) {
      scheduler_->Submit([this] { Maintain().IgnoreError(); });
    }
  }
  return result;
}

Status DatabaseImpl::Sync() {
  if (closed_) return Closed();
  if (options_.read_only) return absl::OkStatus();
  return wal_->Sync();
}

// --- Reading ---

Result<std::shared_ptr<const Snapshot>> DatabaseImpl::TakeSnapshot() const {
  if (closed_) return Closed();
  std::vector<SourcePtr> sources;
  absl::MutexLock append(&append_mutex_);
  absl::MutexLock version(&version_mutex_);
  sources = blocks_->sources();
  for (const Frozen& frozen : frozen_) sources.push_back(metrics::MakeHeadSource(frozen.head));
  sources.push_back(metrics::MakeHeadSource(active_));
  return metrics::MakeSnapshot(std::move(sources));
}

// --- Sealing, merging, expiring ---

int64_t DatabaseImpl::NewestTime() const {
  absl::MutexLock lock(&version_mutex_);
  return active_->newest_time_ms();
}

bool DatabaseImpl::HeadIsDue() const {
  absl::MutexLock lock(&version_mutex_);
  if (!frozen_.empty()) return true;
  if (active_->samples() == 0) return false;
  const TimeRange range = active_->range();
  int64_t span = 0;
  if (__builtin_sub_overflow(range.max_ms, range.min_ms, &span)) span = kMaxTime;
  return span > plan_.block_range_ms + plan_.block_range_ms / 2 ||
         active_->approximate_bytes() > options_.head_bytes_max ||
         wal_->bytes() > options_.wal_bytes_max;
}

Status DatabaseImpl::FreezeActive() {
  absl::MutexLock append(&append_mutex_);
  std::shared_ptr<Head> head;
  {
    absl::MutexLock version(&version_mutex_);
    head = active_;
  }
  if (head->samples() == 0) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const uint64_t segment, wal_->Rotate());
  epoch_logged_ = false;
  auto next =
      std::make_shared<Head>(head->id() + 1, head_options_, head->newest_time_ms(), nullptr, head);
  absl::MutexLock version(&version_mutex_);
  frozen_.push_back({head, segment});
  active_ = std::move(next);
  return absl::OkStatus();
}

Status DatabaseImpl::SealFrozen() {
  while (true) {
    Frozen oldest;
    {
      absl::MutexLock version(&version_mutex_);
      if (frozen_.empty()) return absl::OkStatus();
      oldest = frozen_.front();
    }
    metrics::SealMeta meta;
    meta.order = manifest_->ReserveBlockIds(1);
    meta.wal_floor = oldest.next_segment;
    VARVE_ASSIGN_OR_RETURN(
        std::vector<BlockMeta> blocks,
        metrics::SealHead(metrics::MakeHeadSource(oldest.head), meta, plan_, Target()));
    ManifestEdit edit;
    edit.add_blocks = std::move(blocks);
    edit.wal_floors[block::Wing::kMetrics] = oldest.next_segment;
    VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit)));
    ++seals_;
    // The next head remembers the newest samples, not the whole head.
    const auto newest = oldest.head->CollectNewest();
    {
      absl::MutexLock append(&append_mutex_);
      absl::MutexLock version(&version_mutex_);
      const std::shared_ptr<const Head> successor =
          frozen_.size() > 1 ? frozen_[1].head : std::shared_ptr<const Head>(active_);
      std::const_pointer_cast<Head>(successor)->ForgetPrevious(newest);
      frozen_.erase(frozen_.begin());
    }
    wal_->RemoveBefore(oldest.next_segment).IgnoreError();
  }
}

Status DatabaseImpl::SealAll() {
  VARVE_RETURN_IF_ERROR(FreezeActive());
  return SealFrozen();
}

Status DatabaseImpl::CommitAndShow(ManifestEdit edit) {
  std::shared_ptr<const db::BlockSet> before;
  {
    absl::MutexLock version(&version_mutex_);
    before = blocks_;
  }
  std::vector<std::shared_ptr<const metrics::MetricsBlock>> blocks;
  std::vector<std::string> removed;
  for (const auto& block : before->blocks()) {
    const uint64_t id = block->meta().id;
    if (std::find(edit.remove_blocks.begin(), edit.remove_blocks.end(), id) ==
        edit.remove_blocks.end()) {
      blocks.push_back(block);
    } else {
      removed.push_back(io::JoinPath(blocks_dir(), block::BlockFileName(id)));
    }
  }
  // New blocks are opened before they are committed: what cannot be read is not worth committing.
  for (const BlockMeta& meta : edit.add_blocks) {
    VARVE_ASSIGN_OR_RETURN(auto block,
                           metrics::MetricsBlock::Open(
                               *fs_, io::JoinPath(blocks_dir(), block::BlockFileName(meta.id))));
    blocks.push_back(std::move(block));
  }
  VARVE_RETURN_IF_ERROR(manifest_->Commit(edit));
  VARVE_ASSIGN_OR_RETURN(auto after, db::BlockSet::Make(std::move(blocks), manifest_->state()));
  {
    absl::MutexLock version(&version_mutex_);
    blocks_ = after;
  }
  // Readers keep what they have mapped. What stays behind is removed at the next open.
  for (const std::string& path : removed) fs_->Remove(path).IgnoreError();
  return absl::OkStatus();
}

Status DatabaseImpl::Expire() {
  std::shared_ptr<const db::BlockSet> blocks;
  {
    absl::MutexLock version(&version_mutex_);
    blocks = blocks_;
  }
  int64_t oldest = kMinTime;
  if (options_.retention_time.count() > 0) {
    // The earlier of the clock and the newest sample: neither a clock that jumps ahead nor one
    // sample from the future may empty the store.
    const int64_t now = std::min(clock_->NowMs(), NewestTime());
    if (__builtin_sub_overflow(now, Millis(options_.retention_time), &oldest)) oldest = kMinTime;
  }
  const uint64_t other = wal_->bytes() + manifest_->bytes();
  const std::vector<uint64_t> expired =
      metrics::PlanRetention(blocks->ForPlanner(), oldest, options_.retention_bytes, other);
  if (expired.empty()) return absl::OkStatus();
  ManifestEdit edit;
  edit.remove_blocks = expired;
  edit.remove_tombstones = blocks->UnusedTombstones(expired);
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit)));
  expired_ += expired.size();
  return absl::OkStatus();
}

Status DatabaseImpl::CompactOnce(bool everything, bool* merged) {
  *merged = false;
  std::shared_ptr<const db::BlockSet> blocks;
  {
    absl::MutexLock version(&version_mutex_);
    blocks = blocks_;
  }
  std::vector<metrics::PlanBlock> candidates = blocks->ForPlanner();
  for (metrics::PlanBlock& block : candidates) block.damaged = unmergeable_.contains(block.id);
  int64_t closed = NewestTime();
  if (closed != kMinTime) {
    if (__builtin_sub_overflow(closed, head_options_.out_of_order_window_ms, &closed)) {
      closed = kMinTime;
    }
  }
  const auto plan = metrics::PlanCompaction(candidates, closed, plan_, everything);
  if (!plan.has_value()) return absl::OkStatus();
  *merged = true;

  metrics::SealMeta meta;
  meta.sources = *plan;
  std::vector<SourcePtr> sources;
  for (const uint64_t id : *plan) {
    const db::BlockSet::Entry& entry = blocks->Find(id);
    sources.push_back(entry.source);
    meta.level = std::max(meta.level, entry.block->meta().level + 1);
    const uint64_t order = metrics::OrderOf(entry.block->meta());
    meta.order = meta.order == 0 ? order : std::min(meta.order, order);
  }
  auto written = metrics::WriteMerged(sources, TimeRange{}, meta, Target());
  if (!written.ok()) {
    ++compaction_failures_;
    if (written.status().code() == StatusCode::kDataLoss) {
      // Left as they are: what can be read of them stays readable.
      unmergeable_.insert(plan->begin(), plan->end());
    }
    return written.status();
  }
  ManifestEdit edit;
  if (written->has_value()) edit.add_blocks.push_back(**written);
  edit.remove_blocks = *plan;
  edit.remove_tombstones = blocks->UnusedTombstones(*plan);
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit)));
  ++compactions_;
  return absl::OkStatus();
}

Status DatabaseImpl::Flush() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  return SealAll();
}

Status DatabaseImpl::Compact() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  VARVE_RETURN_IF_ERROR(SealAll());
  VARVE_RETURN_IF_ERROR(Expire());
  for (bool merged = true; merged;) VARVE_RETURN_IF_ERROR(CompactOnce(true, &merged));
  return absl::OkStatus();
}

Status DatabaseImpl::Maintain() {
  maintenance_queued_ = false;
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  const auto run = [this]() -> Status {
    maintenance_mutex_.AssertHeld();
    if (HeadIsDue()) VARVE_RETURN_IF_ERROR(SealAll());
    VARVE_RETURN_IF_ERROR(Expire());
    for (bool merged = true; merged && !closed_;) {
      VARVE_RETURN_IF_ERROR(CompactOnce(false, &merged));
    }
    return absl::OkStatus();
  };
  return NoteBackground(run());
}

Status DatabaseImpl::NoteBackground(Status status) {
  absl::MutexLock lock(&version_mutex_);
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
  absl::MutexLock lock(&maintenance_mutex_);
  // Deleted samples are those that are stored now, so they all go to blocks first; what comes
  // later is new.
  VARVE_RETURN_IF_ERROR(SealAll());
  const ManifestState state = manifest_->state();
  if (state.blocks.empty()) return absl::OkStatus();
  block::Tombstone tombstone;
  tombstone.wing = block::Wing::kMetrics;
  tombstone.up_to_block = state.blocks.rbegin()->first;
  for (const auto& [key, known] : state.tombstones) {
    if (key.first == block::Wing::kMetrics) tombstone.id = std::max(tombstone.id, key.second);
  }
  ++tombstone.id;
  tombstone.payload =
      metrics::EncodeDeletion({std::vector<Matcher>(matchers.begin(), matchers.end()), range});
  ManifestEdit edit;
  edit.add_tombstones.push_back(std::move(tombstone));
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit)));
  absl::MutexLock append(&append_mutex_);
  absl::MutexLock version(&version_mutex_);
  active_->ForgetEarlier();
  return absl::OkStatus();
}

/// Gathers loaded series in a head of its own and seals it whenever it is full.
class BulkLoaderImpl final : public BulkLoader {
 public:
  explicit BulkLoaderImpl(DatabaseImpl* db) : db_(db) { NewHead(); }
  ~BulkLoaderImpl() override {
    for (const BlockMeta& meta : blocks_) {
      db_->RemoveFile(io::JoinPath(db_->blocks_dir(), block::BlockFileName(meta.id)));
    }
  }

  Status AddSamples(LabelsView labels, std::span<const int64_t> times_ms,
                    std::span<const double> values) override {
    VARVE_RETURN_IF_ERROR(Check(labels, times_ms, values.size()));
    head_->LoadSamples(labels, times_ms, values);
    return SpillIfFull();
  }
  Status AddHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                       std::span<const Histogram> histograms) override {
    VARVE_RETURN_IF_ERROR(Check(labels, times_ms, histograms.size()));
    for (const Histogram& histogram : histograms) VARVE_RETURN_IF_ERROR(Validate(histogram));
    head_->LoadHistograms(labels, times_ms, histograms);
    return SpillIfFull();
  }
  Status AddMetadata(std::string_view family, const Metadata& metadata) override {
    if (finished_) return Finished();
    head_->LoadMetadata(family, metadata);
    return absl::OkStatus();
  }
  Status Finish() override {
    if (finished_) return Finished();
    VARVE_RETURN_IF_ERROR(Spill());
    VARVE_RETURN_IF_ERROR(db_->CommitLoaded(blocks_));
    blocks_.clear();
    finished_ = true;
    return absl::OkStatus();
  }

 private:
  static Status Finished() {
    return MakeStatus(StatusCode::kFailedPrecondition, "bulk load is finished");
  }
  Status Check(LabelsView labels, std::span<const int64_t> times_ms, size_t values) const {
    if (finished_) return Finished();
    if (times_ms.size() != values) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("bulk load: ", times_ms.size(), " times, ", values, " values"));
    }
    for (size_t i = 1; i < times_ms.size(); ++i) {
      if (times_ms[i] <= times_ms[i - 1]) {
        return MakeStatus(
            StatusCode::kInvalidArgument,
            Concat("bulk load: times do not ascend at sample ", i, " of ", ToString(labels)));
      }
    }
    return head_->CheckLabels(labels);
  }
  void NewHead() {
    head_ = std::make_shared<Head>(1, db_->head_options(), kMinTime, nullptr, nullptr);
  }
  Status SpillIfFull() {
    return head_->approximate_bytes() > db_->head_bytes_max() ? Spill() : absl::OkStatus();
  }
  Status Spill() {
    if (head_->samples() == 0) return absl::OkStatus();
    const metrics::SealTarget target = db_->Target();
    metrics::SealMeta meta;
    meta.order = target.next_id();
    VARVE_ASSIGN_OR_RETURN(
        std::vector<BlockMeta> blocks,
        metrics::SealHead(metrics::MakeHeadSource(head_), meta, db_->plan(), target));
    std::move(blocks.begin(), blocks.end(), std::back_inserter(blocks_));
    NewHead();
    return absl::OkStatus();
  }

  DatabaseImpl* db_;
  std::shared_ptr<Head> head_;
  std::vector<BlockMeta> blocks_;  // written, not committed
  bool finished_ = false;
};

Result<std::unique_ptr<BulkLoader>> DatabaseImpl::StartBulkLoad() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  return std::make_unique<BulkLoaderImpl>(this);
}

Status DatabaseImpl::CommitLoaded(std::vector<BlockMeta> blocks) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  if (blocks.empty()) return absl::OkStatus();
  absl::MutexLock lock(&maintenance_mutex_);
  ManifestEdit edit;
  edit.add_blocks = std::move(blocks);
  return CommitAndShow(std::move(edit));
}

Status DatabaseImpl::Backup(const std::string& dir) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs_->Exists(dir));
  if (exists) return MakeStatus(StatusCode::kAlreadyExists, Concat(dir, ": exists already"));
  absl::MutexLock lock(&maintenance_mutex_);
  VARVE_RETURN_IF_ERROR(SealAll());
  const ManifestState state = manifest_->state();
  const std::string blocks = io::JoinPath(dir, "blocks");
  VARVE_RETURN_IF_ERROR(fs_->MakeDirs(blocks));
  const auto copy = [&]() -> Status {
    for (const auto& [id, meta] : state.blocks) {
      const std::string name = block::BlockFileName(id);
      VARVE_RETURN_IF_ERROR(
          fs_->HardLink(io::JoinPath(blocks_dir(), name), io::JoinPath(blocks, name)));
    }
    VARVE_RETURN_IF_ERROR(fs_->SyncDir(blocks));
    VARVE_RETURN_IF_ERROR(block::WriteManifestSnapshot(*fs_, dir, state));
    return fs_->SyncDir(dir);
  };
  const Status status = copy();
  if (!status.ok()) fs_->RemoveAll(dir).IgnoreError();
  return status;
}

Result<std::vector<Status>> DatabaseImpl::Verify() {
  if (closed_) return Closed();
  std::vector<Status> damage = recovery_.damage;
  std::shared_ptr<const db::BlockSet> blocks;
  {
    absl::MutexLock version(&version_mutex_);
    blocks = blocks_;
  }
  for (const auto& block : blocks->blocks()) {
    for (Status& status : block->VerifyAll()) damage.push_back(std::move(status));
  }
  if (!options_.read_only) VARVE_RETURN_IF_ERROR(wal_->Sync());
  wal::WalOptions wal_options;
  wal_options.first_segment = manifest_->state().wal_floor(block::Wing::kMetrics);
  wal_options.read_only = true;
  wal::WalReplayReport report;
  Head scratch(1, head_options_, kMinTime, nullptr, nullptr);
  const auto check = [&scratch](uint8_t type, wal::Lsn, std::string_view payload) -> Status {
    if (type == static_cast<uint8_t>(metrics::WalRecord::kEpoch)) scratch.ReplayEpoch();
    if (type == static_cast<uint8_t>(metrics::WalRecord::kBatch)) {
      return scratch.ReplayBatch(payload);
    }
    return absl::OkStatus();
  };
  VARVE_RETURN_IF_ERROR(wal::Wal::Open(fs_, wal_dir(), wal_options, check, &report).status());
  damage.insert(damage.end(), report.damage.begin(), report.damage.end());
  return damage;
}

uint64_t DatabaseImpl::DiskBytes() const {
  uint64_t bytes = wal_->bytes() + manifest_->bytes();
  for (const auto& block : blocks_->blocks()) bytes += block->meta().bytes;
  return bytes;
}

DatabaseStats DatabaseImpl::Stats() const {
  DatabaseStats out;
  if (wal_ == nullptr) return out;
  absl::MutexLock version(&version_mutex_);
  std::vector<std::shared_ptr<const Head>> heads{active_};
  for (const Frozen& frozen : frozen_) heads.push_back(frozen.head);
  for (const auto& head : heads) {
    out.head_series = std::max(out.head_series, head->series_count());
    out.head_samples += head->samples();
    out.head_chunks += head->chunks();
    out.head_bytes += head->bytes();
    out.exemplars += head->exemplar_count();
    if (head->samples() == 0) continue;
    out.head_range.min_ms = std::min(out.head_range.min_ms, head->range().min_ms);
    out.head_range.max_ms = std::max(out.head_range.max_ms, head->range().max_ms);
  }
  out.wal_bytes = wal_->bytes();
  out.wal_syncs = wal_->syncs();
  out.wal_appends = wal_->appends();
  out.samples_appended = samples_appended_;
  out.samples_rejected = samples_rejected_;
  out.series_created = series_created_;
  out.seals = seals_;
  out.compactions = compactions_;
  out.compaction_failures = compaction_failures_;
  out.blocks_expired = expired_;
  out.tombstones = manifest_->state().tombstones.size();
  for (const auto& block : blocks_->blocks()) out.blocks.push_back(block->Stats());
  out.disk_bytes = DiskBytes();
  out.read_only = options_.read_only || wal_->failed() || manifest_->failed();
  out.background_error = background_error_;
  return out;
}

Status DatabaseImpl::Close() {
  if (closed_.exchange(true)) return absl::OkStatus();
  if (scheduler_ != nullptr) scheduler_->Stop();
  Status status;
  if (wal_ != nullptr && !options_.read_only) status = wal_->Close();
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
