#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "varve/status.h"

namespace varve::block {

/// Hides data of blocks until compaction has removed it. What it hides is the wing's secret.
struct Tombstone {
  uint64_t id = 0;  // unique within the wing
  Wing wing = Wing::kMetrics;
  uint64_t up_to_block = 0;  // applies to blocks with id <= this
  std::string payload;
  friend bool operator==(const Tombstone&, const Tombstone&) = default;
};

/// Holds what a database's blocks are after some edits. Plain data.
struct ManifestState {
  uint64_t next_block_id = 1;
  std::map<uint64_t, BlockMeta> blocks;
  std::map<Wing, uint64_t> wal_floors;  // first segment still needed; missing: 1
  std::map<std::pair<Wing, uint64_t>, Tombstone> tombstones;

  uint64_t wal_floor(Wing wing) const {
    const auto found = wal_floors.find(wing);
    return found == wal_floors.end() ? 1 : found->second;
  }
  friend bool operator==(const ManifestState&, const ManifestState&) = default;
};

/// Describes one atomic change: all of it happens, or none, also across a crash.
struct ManifestEdit {
  std::vector<BlockMeta> add_blocks;
  std::vector<uint64_t> remove_blocks;
  std::map<Wing, uint64_t> wal_floors;
  std::optional<uint64_t> next_block_id;  // adding a block raises it past the block's id as well
  std::vector<Tombstone> add_tombstones;
  std::vector<std::pair<Wing, uint64_t>> remove_tombstones;
};

/// Applies `edit`, or fails with kInvalidArgument and leaves `state` alone: a block added twice, or
/// removed and not there, a floor or the next id that goes back, a tombstone likewise.
Status ApplyEdit(const ManifestEdit& edit, ManifestState* state);

struct ManifestOptions {
  bool read_only = false;
  /// Starts a new file, with one snapshot record, when this is reached.
  uint64_t roll_bytes = 1u << 20;
  /// Fixes the random tag of new files, for golden files only.
  uint64_t fixed_tag = 0;
};

/// Tells what Open found.
struct ManifestReport {
  uint64_t edits = 0;            // replayed
  uint64_t copies_repaired = 0;  // edits of which one of the two copies was bad
  uint64_t tail_bytes_cut = 0;   // an edit whose Commit never returned
  /// Each kDataLoss with file and offset.
  std::vector<Status> damage;
  std::vector<std::string> quarantined;
  /// The state was put together from surviving edits and from the block files.
  bool salvaged = false;
  std::vector<uint64_t> blocks_found;  // not in any surviving edit, taken from blocks/
  std::vector<uint64_t> blocks_lost;   // in a surviving edit, but their files are gone
  bool clean() const { return damage.empty() && quarantined.empty() && !salvaged; }
};

/// Keeps the list of blocks of a database; the only commit point: a log of edits in MANIFEST-n,
/// named by CURRENT. Thread-safe. Format: engine/docs/format/manifest.md.
///
/// Opening never fails because of damage: what cannot be read is reported, the damaged file is
/// kept in quarantine/, and the state comes from the edits that still verify and from the block
/// files in blocks/. Nothing is deleted then.
class Manifest {
 public:
  /// Opens `dir` (which exists; blocks/ and quarantine/ are inside) and starts a new manifest file
  /// with the state as one record, keeping the previous file. On a full disk the state is readable
  /// and the new file comes with the first Commit that finds room. Errors: kUnavailable,
  /// kUnimplemented for a manifest of a later version.
  static Result<std::unique_ptr<Manifest>> Open(std::shared_ptr<io::FileSystem> fs,
                                                const std::string& dir,
                                                const ManifestOptions& options,
                                                ManifestReport* report);
  virtual ~Manifest() = default;

  /// Returns a copy of the state.
  virtual ManifestState state() const = 0;
  /// Reserves `count` block ids that no one else gets and returns the first. They become durable
  /// with the next Commit that adds a block.
  virtual uint64_t ReserveBlockIds(uint64_t count) = 0;

  /// Commits `edit`; durable on return. Errors:
  ///   kInvalidArgument    ApplyEdit refused; nothing happened
  ///   kResourceExhausted  full disk; nothing happened, try again later
  ///   kFailedPrecondition read-only, or failed earlier; nothing happened
  ///   kUnavailable        it may or may not have happened: remove no file that either state names.
  ///                       Later commits fail with kFailedPrecondition until reopened.
  virtual Status Commit(const ManifestEdit& edit) = 0;

  virtual bool failed() const = 0;
  virtual uint64_t bytes() const = 0;
  virtual std::string current_file() const = 0;
};

/// Lists the names in blocks/ that `state` does not know: blocks whose commit never happened,
/// blocks removed, unfinished files. Remove them only if the manifest opened clean; if it also cut
/// a tail, move blocks to quarantine/ instead, since they may be all that is left of a lost edit.
Result<std::vector<std::string>> ListLeftoverBlocks(io::FileSystem& fs, const std::string& dir,
                                                    const ManifestState& state);

/// Writes a manifest that holds `state` into an empty directory: for backups. Durable on return.
Status WriteManifestSnapshot(io::FileSystem& fs, const std::string& dir,
                             const ManifestState& state);

}  // namespace varve::block
