#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/block/manifest.h"
#include "engine/block/plan.h"
#include "engine/db/block_set.h"
#include "engine/io/file_system.h"
#include "engine/wal/wal.h"
#include "varve/database.h"
#include "varve/options.h"

namespace varve::db {

/// What a database lends to its wings. Outlives them.
struct WingHost {
  const Options* options = nullptr;
  std::shared_ptr<io::FileSystem> fs;
  std::shared_ptr<Clock> clock;
  block::Manifest* manifest = nullptr;
  const std::atomic<bool>* closed = nullptr;
  /// Maintains `urgent` ones on the calling thread, others soon on a background thread. Null
  /// without background work.
  std::function<void(bool urgent)> request_maintenance;

  std::string blocks_dir() const { return io::JoinPath(options->dir, "blocks"); }
  std::string quarantine_dir() const { return io::JoinPath(options->dir, "quarantine"); }
};

/// When a wing seals and how it merges, in its unit of time.
struct WingSettings {
  block::PlanOptions plan;
  /// How much later than the newest row others may still come: windows that end before that merge.
  int64_t lateness = 0;
  uint64_t head_bytes_max = 0;
  uint64_t wal_bytes_max = 0;
};

/// Writes one record to the log and returns once its place is fixed, not once it is durable.
using LogFn = std::function<Status(std::span<const std::string_view> pieces)>;

/// The life of one wing's data, the same for metrics, logs and traces: a log, an active head,
/// frozen heads, blocks in the shared manifest; freezing, sealing, merging, expiring, deleting,
/// verifying. What a row is, only the wing `W` knows. It is a struct of types and static functions:
///
///   static constexpr block::Wing kWing;          whose blocks, floors and tombstones
///   static constexpr std::string_view kName;     the log is in wal/kName
///   static constexpr int64_t kTicksPerMs;        unit of its times
///   static constexpr uint8_t kBatchRecord;       record type of what heads log
///   static constexpr uint8_t kEpochRecord;       logged first in every segment; 0: none
///   Head                                         has approximate_bytes()
///   Rows(head), Times(head) -> block::TimeSpan   of the head's own rows
///   NewestTime(head)                             of all rows ever, INT64_MIN for none
///   Replay(Head*, type, payload) -> Status       kUnimplemented for an unknown type
///   ForgetPrevious(Head*)                        once that one is sealed, under the append lock
///   SealedChanged(Head*)                         after a deletion or load, under the append lock
///   Block, OpenBlock(fs, path)                   meta(), VerifyAll()
///   SourcePtr, MakeHeadSource(head), MakeBlockSource(block, hidden)    what snapshots read
///   Deletion, CompileDeletion(payload); Hidden, Hide(deletion, block) -> optional<Hidden>
///   Seal(source, meta, plan, target) -> Result<vector<BlockMeta>>   the last one carries the floor
///   Merge(sources, meta, target) -> Result<optional<BlockMeta>>
///
/// Thread-safe. Lock order: maintenance_mutex_, append_mutex_, version_mutex_; of several wings,
/// only maintenance_mutex_ is held together, metrics before logs before traces.
///
/// Bodies are in wing_store_impl.h; each wing instantiates its store in <wing>_wing.cc.
template <typename W>
class WingStore {
 public:
  using Head = typename W::Head;
  using Block = typename W::Block;
  using SourcePtr = typename W::SourcePtr;
  using Blocks = BlockSet<W>;
  static constexpr int64_t kTicksPerMs = W::kTicksPerMs;
  static constexpr block::Wing kWing = W::kWing;
  /// Makes a head; `previous` is null for the first one of the process.
  using MakeHead = std::function<std::shared_ptr<Head>(
      int64_t newest_time, const std::shared_ptr<const Head>& previous)>;

  WingStore(const WingHost& host, const WingSettings& settings, MakeHead make_head);
  ~WingStore();
  WingStore(const WingStore&) = delete;
  WingStore& operator=(const WingStore&) = delete;

  // --- Opening, in this order ---

  /// Opens the wing's blocks. Damaged ones move to quarantine/; `drop` gets what the manifest
  /// should forget.
  Status OpenBlocks(RecoveryReport* report, block::ManifestEdit* drop);
  /// After the manifest has forgotten them: replays the log.
  Status OpenWal(RecoveryReport* report);

  // --- Writing ---

  /// Fails with kFailedPrecondition if nothing can be written.
  Status CheckWritable() const;
  /// Runs `apply(head, log)`, which judges a batch, logs it with at most one call, and puts it into
  /// the head, under the append lock; then waits until all is as durable as asked. `apply` returns
  /// whether a batch that logged nothing must wait for what was logged before it.
  Status Append(std::optional<Durability> durability,
                const std::function<Result<bool>(Head&, const LogFn&)>& apply);
  Status Sync();

  // --- Reading ---

  /// Returns blocks and heads in order of precedence. `look` sees the active head, unchanged since,
  /// and a number that stands for the rows no append can change: it grows when a deletion, a load
  /// or expiry changes them, and no two stores of a process have the same.
  std::vector<SourcePtr> TakeSources(
      const std::function<void(const Head& active, uint64_t epoch)>& look = nullptr) const;
  std::shared_ptr<const Blocks> blocks() const;
  /// Frozen heads, oldest first, then the active one.
  std::vector<std::shared_ptr<const Head>> heads() const;
  int64_t newest_time() const;

  // --- Maintaining ---

  /// Held by everything that changes blocks; the facade takes it for backups.
  absl::Mutex& maintenance_mutex() const ABSL_LOCK_RETURNED(maintenance_mutex_) {
    return maintenance_mutex_;
  }
  Status SealAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status Flush();
  Status SealIfDue();
  /// Merges until nothing is left to merge; `everything` includes windows that are still open.
  Status MergeAll(bool everything);
  /// Drops those of the blocks that are still there, and counts them.
  Status Drop(const std::vector<uint64_t>& ids, uint64_t* dropped);
  /// Replaces a block, if it is still there, by what `rewrite` makes of it: for rows that go before
  /// their block does.
  using RewriteFn = std::function<Result<std::optional<block::BlockMeta>>(
      const SourcePtr& source, const block::SealMeta& meta, const block::SealTarget& target)>;
  Status Rewrite(uint64_t id, const RewriteFn& rewrite);
  /// Hides rows of all blocks there are, after sealing what is in heads.
  Status Delete(std::string payload);
  Status CommitLoaded(std::vector<block::BlockMeta> blocks);
  block::SealTarget Target() const;
  const WingSettings& settings() const { return settings_; }

  // --- Inspecting ---

  Status Verify(std::vector<Status>* damage) const;
  uint64_t bytes() const;  // of log and blocks
  const wal::Wal* log() const { return wal_.get(); }
  uint64_t seals() const { return seals_; }
  uint64_t compactions() const { return compactions_; }
  uint64_t compaction_failures() const { return compaction_failures_; }

  Status Close();

 private:
  struct Frozen {
    std::shared_ptr<Head> head;
    uint64_t next_segment;  // where the log of its successor begins
  };

  std::string wal_dir() const;
  Status LogBatch(std::span<const std::string_view> pieces, wal::Lsn* lsn)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(append_mutex_);
  bool HeadIsDue() const;
  Status FreezeActive() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status SealFrozen() ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  Status MergeOnce(bool everything, bool* merged) ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);
  /// `kSameRows` says that readers find the same rows afterwards, wherever they are.
  enum class Shows : uint8_t { kSameRows, kOtherRows };
  Status CommitAndShow(block::ManifestEdit edit, Shows shows)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(maintenance_mutex_);

  const WingHost host_;
  const WingSettings settings_;
  const MakeHead make_head_;
  std::unique_ptr<wal::Wal> wal_;
  std::atomic<bool> maintenance_queued_{false};

  mutable absl::Mutex maintenance_mutex_;
  mutable absl::Mutex append_mutex_ ABSL_ACQUIRED_AFTER(maintenance_mutex_);
  mutable absl::Mutex version_mutex_ ABSL_ACQUIRED_AFTER(append_mutex_);

  bool epoch_logged_ ABSL_GUARDED_BY(append_mutex_) = false;
  std::chrono::nanoseconds last_sync_ ABSL_GUARDED_BY(append_mutex_){0};

  std::shared_ptr<Head> active_ ABSL_GUARDED_BY(version_mutex_);
  std::vector<Frozen> frozen_ ABSL_GUARDED_BY(version_mutex_);
  std::shared_ptr<const Blocks> blocks_ ABSL_GUARDED_BY(version_mutex_);
  uint64_t epoch_ ABSL_GUARDED_BY(version_mutex_) = 0;

  std::set<uint64_t> unmergeable_ ABSL_GUARDED_BY(maintenance_mutex_);

  std::atomic<uint64_t> seals_{0}, compactions_{0}, compaction_failures_{0};
};

}  // namespace varve::db
