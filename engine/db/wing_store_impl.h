#pragma once

#include <algorithm>
#include <utility>

#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/db/wing_store.h"

/// Bodies of WingStore; see engine/db/README.md for the lock order and the life of a head.
namespace varve::db {

/// Draws from one sequence for all stores of the process.
inline uint64_t NextEpoch() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

template <typename W>
WingStore<W>::WingStore(const WingHost& host, const WingSettings& settings, MakeHead make_head)
    : host_(host), settings_(settings), make_head_(std::move(make_head)) {}

template <typename W>
WingStore<W>::~WingStore() = default;

template <typename W>
std::string WingStore<W>::wal_dir() const {
  return io::JoinPath(host_.options->dir, Concat("wal/", W::kName));
}

template <typename W>
block::SealTarget WingStore<W>::Target() const {
  block::Manifest* manifest = host_.manifest;
  return {host_.fs, host_.blocks_dir(), [manifest] { return manifest->ReserveBlockIds(1); }};
}

// --- Opening ---

template <typename W>
Status WingStore<W>::OpenBlocks(RecoveryReport* report, block::ManifestEdit* drop) {
  const block::ManifestState state = host_.manifest->state();
  std::vector<typename Blocks::BlockPtr> opened;
  for (const auto& [id, meta] : state.blocks) {
    if (meta.wing != W::kWing) continue;
    const std::string path = io::JoinPath(host_.blocks_dir(), block::BlockFileName(id));
    auto block = W::OpenBlock(*host_.fs, path);
    if (block.ok()) {
      opened.push_back(std::move(*block));
      continue;
    }
    const Status& status = block.status();
    if (status.code() != StatusCode::kDataLoss && status.code() != StatusCode::kNotFound) {
      return status;
    }
    report->damage.push_back(status.code() == StatusCode::kNotFound
                                 ? DataLossError(path, 0, "block file is missing")
                                 : status);
    if (host_.options->read_only) continue;
    if (status.code() == StatusCode::kDataLoss) {
      // Kept for repair by hand: a later version or a person may read more of it.
      const std::string kept = io::JoinPath(host_.quarantine_dir(), block::BlockFileName(id));
      VARVE_RETURN_IF_ERROR(host_.fs->Rename(path, kept));
      VARVE_RETURN_IF_ERROR(host_.fs->SyncDir(host_.quarantine_dir()));
      report->quarantined.push_back(kept);
    }
    drop->remove_blocks.push_back(id);
  }
  VARVE_ASSIGN_OR_RETURN(auto blocks, Blocks::Make(std::move(opened), state));
  absl::MutexLock lock(&version_mutex_);
  blocks_ = std::move(blocks);
  epoch_ = NextEpoch();
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::OpenWal(RecoveryReport* report) {
  std::shared_ptr<Head> head;
  {
    absl::MutexLock lock(&version_mutex_);
    head = make_head_(blocks_->newest_time(), nullptr);
    active_ = head;
  }
  wal::WalOptions wal_options;
  wal_options.first_segment = host_.manifest->state().wal_floor(W::kWing);
  wal_options.read_only = host_.options->read_only;
  wal_options.quarantine_dir = host_.options->read_only ? "" : host_.quarantine_dir();
  wal::WalReplayReport replayed;
  const auto replay = [&head](uint8_t type, wal::Lsn, std::string_view payload) -> Status {
    return W::Replay(head.get(), type, payload);
  };
  VARVE_ASSIGN_OR_RETURN(wal_, wal::Wal::Open(host_.fs, wal_dir(), wal_options, replay, &replayed));
  report->wal_records += replayed.records;
  report->wal_tail_bytes_cut += replayed.tail_bytes_cut;
  report->damage.insert(report->damage.end(), replayed.damage.begin(), replayed.damage.end());
  report->quarantined.insert(report->quarantined.end(), replayed.quarantined.begin(),
                             replayed.quarantined.end());
  return absl::OkStatus();
}

// --- Writing ---

template <typename W>
Status WingStore<W>::CheckWritable() const {
  const auto read_only = [](std::string_view why) {
    return MakeStatus(StatusCode::kFailedPrecondition, Concat("database is read-only: ", why));
  };
  if (*host_.closed) return MakeStatus(StatusCode::kFailedPrecondition, "database is closed");
  if (host_.options->read_only) return read_only("opened so");
  if (wal_->failed()) return read_only("writing the log failed; reopen it");
  if (host_.manifest->failed()) return read_only("writing the manifest failed; reopen it");
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::LogBatch(std::span<const std::string_view> pieces, wal::Lsn* lsn) {
  if (W::kEpochRecord != 0 && !epoch_logged_) {
    VARVE_RETURN_IF_ERROR(wal_->Append(W::kEpochRecord, std::string_view()).status());
    epoch_logged_ = true;
  }
  VARVE_ASSIGN_OR_RETURN(*lsn, wal_->Append(W::kBatchRecord, pieces));
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::Append(std::optional<Durability> asked,
                            const std::function<Result<bool>(Head&, const LogFn&)>& apply) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  Durability durability = asked.value_or(host_.options->durability);
  wal::Lsn lsn = 0;
  uint64_t head_bytes = 0;
  bool waits = false;
  {
    absl::MutexLock lock(&append_mutex_);
    std::shared_ptr<Head> head;
    {
      absl::MutexLock version(&version_mutex_);
      head = active_;
    }
    VARVE_ASSIGN_OR_RETURN(waits, apply(*head, [&](std::span<const std::string_view> pieces) {
                             append_mutex_.AssertHeld();
                             return LogBatch(pieces, &lsn);
                           }));
    head_bytes = head->approximate_bytes();
    if (durability == Durability::kProcessCrash) {
      const std::chrono::nanoseconds now = host_.clock->Monotonic();
      if (now - last_sync_ >= host_.options->sync_interval) {
        last_sync_ = now;
        durability = Durability::kDurable;
      }
    }
  }
  if (lsn != 0) {
    VARVE_RETURN_IF_ERROR(durability == Durability::kDurable ? wal_->WaitDurable(lsn)
                                                             : wal_->WaitWritten(lsn));
  } else if (waits && durability == Durability::kDurable) {
    // Nothing new, but what it repeats must be as durable as it says.
    VARVE_RETURN_IF_ERROR(wal_->Sync());
  }
  if (head_bytes > settings_.head_bytes_max && host_.request_maintenance) {
    if (head_bytes > 2 * settings_.head_bytes_max) {
      // Sealing does not keep up: writers pay for it.
      host_.request_maintenance(true);
    } else if (!maintenance_queued_.exchange(true)) {
      host_.request_maintenance(false);
    }
  }
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::Sync() {
  return host_.options->read_only ? absl::OkStatus() : wal_->Sync();
}

// --- Reading ---

template <typename W>
std::vector<typename W::SourcePtr> WingStore<W>::TakeSources(
    const std::function<void(const Head&, uint64_t)>& look) const {
  absl::MutexLock append(&append_mutex_);
  absl::MutexLock version(&version_mutex_);
  std::vector<SourcePtr> sources = blocks_->sources();
  for (const Frozen& frozen : frozen_) sources.push_back(W::MakeHeadSource(frozen.head));
  sources.push_back(W::MakeHeadSource(active_));
  if (look) look(*active_, epoch_);
  return sources;
}

template <typename W>
std::shared_ptr<const BlockSet<W>> WingStore<W>::blocks() const {
  absl::MutexLock lock(&version_mutex_);
  return blocks_;
}

template <typename W>
std::vector<std::shared_ptr<const typename W::Head>> WingStore<W>::heads() const {
  absl::MutexLock lock(&version_mutex_);
  std::vector<std::shared_ptr<const Head>> out;
  for (const Frozen& frozen : frozen_) out.push_back(frozen.head);
  if (active_ != nullptr) out.push_back(active_);
  return out;
}

template <typename W>
int64_t WingStore<W>::newest_time() const {
  absl::MutexLock lock(&version_mutex_);
  return W::NewestTime(*active_);
}

// --- Sealing, merging, expiring ---

template <typename W>
bool WingStore<W>::HeadIsDue() const {
  absl::MutexLock lock(&version_mutex_);
  if (!frozen_.empty()) return true;
  if (W::Rows(*active_) == 0) return false;
  const block::TimeSpan times = W::Times(*active_);
  const int64_t range = settings_.plan.block_range;
  int64_t span = 0;
  if (__builtin_sub_overflow(times.max, times.min, &span)) span = INT64_MAX;
  return (span > range && span - range > range / 2) ||
         active_->approximate_bytes() > settings_.head_bytes_max ||
         wal_->bytes() > settings_.wal_bytes_max;
}

template <typename W>
Status WingStore<W>::FreezeActive() {
  absl::MutexLock append(&append_mutex_);
  std::shared_ptr<Head> head;
  {
    absl::MutexLock version(&version_mutex_);
    head = active_;
  }
  if (W::Rows(*head) == 0) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const uint64_t segment, wal_->Rotate());
  epoch_logged_ = false;
  auto next = make_head_(W::NewestTime(*head), head);
  absl::MutexLock version(&version_mutex_);
  frozen_.push_back({head, segment});
  active_ = std::move(next);
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::SealFrozen() {
  while (true) {
    Frozen oldest;
    {
      absl::MutexLock version(&version_mutex_);
      if (frozen_.empty()) return absl::OkStatus();
      oldest = frozen_.front();
    }
    block::SealMeta meta;
    meta.order = host_.manifest->ReserveBlockIds(1);
    meta.wal_floor = oldest.next_segment;
    VARVE_ASSIGN_OR_RETURN(std::vector<block::BlockMeta> blocks,
                           W::Seal(W::MakeHeadSource(oldest.head), meta, settings_.plan, Target()));
    block::ManifestEdit edit;
    edit.add_blocks = std::move(blocks);
    edit.wal_floors[W::kWing] = oldest.next_segment;
    VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit), Shows::kSameRows));
    ++seals_;
    {
      absl::MutexLock append(&append_mutex_);
      absl::MutexLock version(&version_mutex_);
      W::ForgetPrevious(frozen_.size() > 1 ? frozen_[1].head.get() : active_.get());
      frozen_.erase(frozen_.begin());
    }
    wal_->RemoveBefore(oldest.next_segment).IgnoreError();
  }
}

template <typename W>
Status WingStore<W>::SealAll() {
  VARVE_RETURN_IF_ERROR(FreezeActive());
  return SealFrozen();
}

template <typename W>
Status WingStore<W>::Flush() {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  return SealAll();
}

template <typename W>
Status WingStore<W>::SealIfDue() {
  maintenance_queued_ = false;
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  return HeadIsDue() ? SealAll() : absl::OkStatus();
}

template <typename W>
Status WingStore<W>::CommitAndShow(block::ManifestEdit edit, Shows shows) {
  const std::shared_ptr<const Blocks> before = blocks();
  std::vector<typename Blocks::BlockPtr> kept;
  std::vector<std::string> removed;
  for (const typename Blocks::Entry& entry : before->entries()) {
    const uint64_t id = entry.block->meta().id;
    if (std::find(edit.remove_blocks.begin(), edit.remove_blocks.end(), id) ==
        edit.remove_blocks.end()) {
      kept.push_back(entry.block);
    } else {
      removed.push_back(io::JoinPath(host_.blocks_dir(), block::BlockFileName(id)));
    }
  }
  // New blocks are opened before they are committed: what cannot be read is not worth committing.
  for (const block::BlockMeta& meta : edit.add_blocks) {
    VARVE_ASSIGN_OR_RETURN(
        auto block,
        W::OpenBlock(*host_.fs, io::JoinPath(host_.blocks_dir(), block::BlockFileName(meta.id))));
    kept.push_back(std::move(block));
  }
  VARVE_RETURN_IF_ERROR(host_.manifest->Commit(edit));
  VARVE_ASSIGN_OR_RETURN(auto after, Blocks::Make(std::move(kept), host_.manifest->state()));
  {
    absl::MutexLock version(&version_mutex_);
    blocks_ = std::move(after);
    if (shows == Shows::kOtherRows) epoch_ = NextEpoch();
  }
  // Readers keep what they have mapped. What stays behind is removed at the next open.
  for (const std::string& path : removed) host_.fs->Remove(path).IgnoreError();
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::Drop(const std::vector<uint64_t>& ids, uint64_t* dropped) {
  absl::MutexLock lock(&maintenance_mutex_);
  const std::shared_ptr<const Blocks> before = blocks();
  block::ManifestEdit edit;
  for (const uint64_t id : ids) {
    if (before->Find(id) != nullptr) edit.remove_blocks.push_back(id);
  }
  *dropped = edit.remove_blocks.size();
  if (edit.remove_blocks.empty()) return absl::OkStatus();
  edit.remove_tombstones = before->UnusedTombstones(edit.remove_blocks);
  return CommitAndShow(std::move(edit), Shows::kOtherRows);
}

template <typename W>
Status WingStore<W>::Rewrite(uint64_t id, const RewriteFn& rewrite) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  const std::shared_ptr<const Blocks> before = blocks();
  const typename Blocks::Entry* entry = before->Find(id);
  if (entry == nullptr) return absl::OkStatus();
  block::SealMeta meta;
  meta.sources = {id};
  meta.level = entry->block->meta().level;
  meta.order = block::OrderOf(entry->block->meta());
  VARVE_ASSIGN_OR_RETURN(const auto written, rewrite(entry->source, meta, Target()));
  block::ManifestEdit edit;
  if (written.has_value()) edit.add_blocks.push_back(*written);
  edit.remove_blocks = {id};
  edit.remove_tombstones = before->UnusedTombstones({id});
  return CommitAndShow(std::move(edit), Shows::kOtherRows);
}

template <typename W>
Status WingStore<W>::MergeOnce(bool everything, bool* merged) {
  *merged = false;
  const std::shared_ptr<const Blocks> before = blocks();
  std::vector<block::PlanBlock> candidates = before->ForPlanner();
  for (block::PlanBlock& block : candidates) block.damaged = unmergeable_.contains(block.id);
  int64_t closed = newest_time();
  int64_t now = 0;
  if (W::kWing != block::Wing::kMetrics &&
      !__builtin_mul_overflow(host_.clock->NowMs(), W::kTicksPerMs, &now)) {
    // Rows may carry any time: one from the future closes no window.
    closed = std::min(closed, now);
  }
  if (closed != INT64_MIN) {
    if (__builtin_sub_overflow(closed, settings_.lateness, &closed)) closed = INT64_MIN;
  }
  const auto plan = block::PlanCompaction(candidates, closed, settings_.plan, everything);
  if (!plan.has_value()) return absl::OkStatus();
  *merged = true;

  block::SealMeta meta;
  meta.sources = *plan;
  std::vector<SourcePtr> sources;
  for (const uint64_t id : *plan) {
    const typename Blocks::Entry* entry = before->Find(id);
    VARVE_CHECK(entry != nullptr);
    sources.push_back(entry->source);
    meta.level = std::max(meta.level, entry->block->meta().level + 1);
    const uint64_t order = block::OrderOf(entry->block->meta());
    meta.order = meta.order == 0 ? order : std::min(meta.order, order);
  }
  auto written = W::Merge(sources, meta, Target());
  if (!written.ok()) {
    ++compaction_failures_;
    if (written.status().code() == StatusCode::kDataLoss) {
      // Left as they are: what can be read of them stays readable. Those that are sound may be
      // merged without them.
      std::vector<uint64_t> damaged;
      for (const uint64_t id : *plan) {
        if (!before->Find(id)->block->VerifyAll().empty()) damaged.push_back(id);
      }
      if (damaged.empty()) damaged = *plan;
      unmergeable_.insert(damaged.begin(), damaged.end());
    }
    return written.status();
  }
  block::ManifestEdit edit;
  if (written->has_value()) edit.add_blocks.push_back(**written);
  edit.remove_blocks = *plan;
  edit.remove_tombstones = before->UnusedTombstones(*plan);
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit), Shows::kSameRows));
  ++compactions_;
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::MergeAll(bool everything) {
  absl::MutexLock lock(&maintenance_mutex_);
  for (bool merged = true; merged && !*host_.closed;) {
    VARVE_RETURN_IF_ERROR(MergeOnce(everything, &merged));
  }
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::Delete(std::string payload) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&maintenance_mutex_);
  // Deleted rows are those that are stored now, so they all go to blocks first; what comes later
  // is new.
  VARVE_RETURN_IF_ERROR(SealAll());
  const block::ManifestState state = host_.manifest->state();
  if (state.blocks.empty()) return absl::OkStatus();
  block::Tombstone tombstone;
  tombstone.wing = W::kWing;
  tombstone.up_to_block = state.blocks.rbegin()->first;
  for (const auto& [key, known] : state.tombstones) {
    if (key.first == W::kWing) tombstone.id = std::max(tombstone.id, key.second);
  }
  ++tombstone.id;
  tombstone.payload = std::move(payload);
  block::ManifestEdit edit;
  edit.add_tombstones.push_back(std::move(tombstone));
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit), Shows::kOtherRows));
  absl::MutexLock append(&append_mutex_);
  absl::MutexLock version(&version_mutex_);
  W::SealedChanged(active_.get());
  return absl::OkStatus();
}

template <typename W>
Status WingStore<W>::CommitLoaded(std::vector<block::BlockMeta> blocks) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  if (blocks.empty()) return absl::OkStatus();
  absl::MutexLock lock(&maintenance_mutex_);
  block::ManifestEdit edit;
  edit.add_blocks = std::move(blocks);
  VARVE_RETURN_IF_ERROR(CommitAndShow(std::move(edit), Shows::kOtherRows));
  absl::MutexLock append(&append_mutex_);
  absl::MutexLock version(&version_mutex_);
  W::SealedChanged(active_.get());
  return absl::OkStatus();
}

// --- Inspecting ---

template <typename W>
Status WingStore<W>::Verify(std::vector<Status>* damage) const {
  const std::shared_ptr<const Blocks> now = blocks();
  for (const typename Blocks::Entry& entry : now->entries()) {
    for (Status& status : entry.block->VerifyAll()) damage->push_back(std::move(status));
  }
  if (!host_.options->read_only) VARVE_RETURN_IF_ERROR(wal_->Sync());
  wal::WalOptions wal_options;
  wal_options.first_segment = host_.manifest->state().wal_floor(W::kWing);
  wal_options.read_only = true;
  wal::WalReplayReport report;
  const std::shared_ptr<Head> scratch = make_head_(INT64_MIN, nullptr);
  const auto check = [&scratch](uint8_t type, wal::Lsn, std::string_view payload) -> Status {
    const Status status = W::Replay(scratch.get(), type, payload);
    return status.code() == StatusCode::kUnimplemented ? absl::OkStatus() : status;
  };
  VARVE_RETURN_IF_ERROR(wal::Wal::Open(host_.fs, wal_dir(), wal_options, check, &report).status());
  damage->insert(damage->end(), report.damage.begin(), report.damage.end());
  return absl::OkStatus();
}

template <typename W>
uint64_t WingStore<W>::bytes() const {
  return (wal_ == nullptr ? 0 : wal_->bytes()) + blocks()->bytes();
}

template <typename W>
Status WingStore<W>::Close() {
  return wal_ != nullptr && !host_.options->read_only ? wal_->Close() : absl::OkStatus();
}

}  // namespace varve::db
