#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/file_system.h"

namespace varve::io {

/// Says what a crash leaves of the writes and directory changes that were not synced. Synced ones
/// are always kept, and so are old bytes beside a write (a torn sector spoils only bytes of the
/// write).
enum class CrashPolicy : uint8_t {
  kKeepAll,       // kill -9: everything written is there
  kDropUnsynced,  // the least that power loss may leave
  kPrefix,        // files: some first writes, the last one torn at 512 B or 4 KiB; names: some
                  // first changes; independent of each other
  kReorder,       // every 512 B or 4 KiB of unsynced bytes and every name change by chance
  kGarbageTail,   // lengths and names as written, unsynced bytes random
  kZeroTail,      // lengths and names as written, unsynced bytes zero
};
inline constexpr CrashPolicy kAllCrashPolicies[] = {
    CrashPolicy::kKeepAll, CrashPolicy::kDropUnsynced, CrashPolicy::kPrefix,
    CrashPolicy::kReorder, CrashPolicy::kGarbageTail,  CrashPolicy::kZeroTail};
const char* ToString(CrashPolicy policy);

/// Names calls that can be made to fail; combine with |.
enum OpKind : uint32_t {
  kOpCreate = 1u << 0,  // Create, OpenForWrite
  kOpWrite = 1u << 1,
  kOpTruncate = 1u << 2,
  kOpPreallocate = 1u << 3,
  kOpSync = 1u << 4,
  kOpSyncDir = 1u << 5,
  kOpRename = 1u << 6,
  kOpRemove = 1u << 7,
  kOpLink = 1u << 8,
  kOpMakeDir = 1u << 9,
  kOpRead = 1u << 10,  // Open, ReadFile; not counted as an operation
  kOpAnyChange = (1u << 10) - 1,
};

/// Makes chosen calls fail.
struct Fault {
  uint32_t kinds = kOpAnyChange;
  /// Only paths that contain this.
  std::string path_contains;
  /// Lets this many matching calls pass first.
  uint64_t skip = 0;
  /// Fails this many matching calls after that.
  uint64_t times = 1;
  /// Fails each of them with this chance, drawn from `seed`.
  double probability = 1.0;
  uint64_t seed = 1;
  /// kResourceExhausted (as ENOSPC) or kUnavailable (as EIO).
  StatusCode code = StatusCode::kUnavailable;
};
inline constexpr uint64_t kForever = UINT64_MAX;

/// Keeps files in memory and knows which bytes and which names a power loss would keep. For
/// tests of durability: run a script on it, stop it anywhere, ask for the states that a crash there
/// could leave, and open those. Thread-safe; a seed gives the same state every time.
///
/// Model. A file is a list of writes since its last Sync on top of the synced bytes. A directory is
/// a list of changes of names since its last SyncDir on top of the durable names; a name that never
/// became durable takes the file with it, and a rename is one change, both names at once. Syncing
/// a file does not sync its name. A failed write leaves a prefix of its bytes; a failed Sync leaves
/// what it covered readable, and lost in every power loss, also after later syncs.
class MemoryFileSystem final : public FileSystem {
 public:
  MemoryFileSystem();
  ~MemoryFileSystem() override;

  /// Returns what a crash right now may leave, as a new file system without faults, locks or
  /// limits. Does not alter this one.
  std::shared_ptr<MemoryFileSystem> Crash(CrashPolicy policy, uint64_t seed) const;

  /// Counts the calls that would change the disk (also those that failed).
  uint64_t operations() const;
  uint64_t syncs() const;
  uint64_t dir_syncs() const;
  /// Stops the world after `operation` of them: every later one fails with kUnavailable "crashed"
  /// and changes nothing. Reads go on.
  void StopAfter(uint64_t operation);
  bool stopped() const;

  void Inject(const Fault& fault);
  void ClearFaults();
  /// Bounds the sum of all file lengths; kForever lifts the bound.
  void SetCapacity(uint64_t bytes);
  uint64_t bytes_used() const;
  /// Makes every Sync take this long.
  void SetSyncDelay(std::chrono::microseconds delay);

  /// Replaces bytes of a file behind everyone's back, as bit rot does: content and synced content.
  /// Handles that are open for reading keep the old bytes.
  Status Corrupt(const std::string& path, uint64_t offset, std::string_view bytes);
  /// Flips one bit, counted from the lowest of byte 0.
  Status FlipBit(const std::string& path, uint64_t bit);
  /// Puts a durable file in place, its directories included.
  Status Put(const std::string& path, std::string_view bytes);
  /// Lists the paths of all files, sorted.
  std::vector<std::string> AllFiles() const;

  Result<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  Result<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path) override;
  Result<std::unique_ptr<RandomAccessFile>> Open(const std::string& path) override;
  Result<std::string> ReadFile(const std::string& path, uint64_t bytes_max) override;
  Result<std::vector<std::string>> List(const std::string& dir) override;
  Result<bool> Exists(const std::string& path) override;
  Result<uint64_t> FileSize(const std::string& path) override;
  Status Remove(const std::string& path) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status HardLink(const std::string& from, const std::string& to) override;
  Status MakeDirs(const std::string& dir) override;
  Status RemoveAll(const std::string& dir) override;
  Status SyncDir(const std::string& dir) override;
  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override;
  Result<uint64_t> FreeBytes(const std::string& path) override;

 private:
  struct State;
  class File;
  class Handle;
  class Held;
  std::shared_ptr<State> state_;
};

}  // namespace varve::io
