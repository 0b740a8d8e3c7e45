#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/file_system.h"
#include "varve/status.h"

namespace varve::wal {

/// Numbers a record: 1, 2, 3 ... over the life of a log. 0 is before the first.
using Lsn = uint64_t;

/// Record types 1 to 255 belong to the wing that owns the log; 0 is the log's own. The meaning of a
/// type never changes. A replay function that does not know a type returns kUnimplemented; the log
/// then skips the record if it carries this bit and fails to open otherwise.
inline constexpr uint8_t kSkippableBit = 0x80;
/// The longest payload of one record.
inline constexpr uint64_t kPayloadBytesMax = 64ull << 20;

struct WalOptions {
  /// Starts a new segment when one would outgrow this (a single record may).
  uint64_t segment_bytes_max = 128ull << 20;
  /// The manifest's floor: older segments are not needed. They are not read, and removed; a missing
  /// one from here on is damage. 0: the floor is not known, begin with the first that is there.
  uint64_t first_segment = 1;
  /// Replays and changes nothing; Append and Rotate fail with kFailedPrecondition.
  bool read_only = false;
  /// Where damaged segments are kept (a hard link or a copy). Empty: they are only reported.
  std::string quarantine_dir;
  /// Grows segment files in steps of this many bytes; 0: not ahead of need.
  uint64_t preallocate_bytes = 1ull << 20;
  /// Fixes the random tag of new segments, for golden files only.
  uint64_t fixed_tag = 0;
};

/// Tells what replay found.
struct WalReplayReport {
  uint64_t segments = 0;
  uint64_t records = 0;          // handed to the replay function
  uint64_t payload_bytes = 0;    // of those
  uint64_t records_skipped = 0;  // of unknown, skippable type
  /// Bytes past the last good record of a crash: a torn write, or writes behind a torn one. No
  /// WaitDurable had returned for them. Cut off, unless read_only.
  uint64_t tail_bytes_cut = 0;
  uint64_t tail_records_cut = 0;  // whole records behind the torn one, kept in quarantine
  /// Each kDataLoss, with file and offset: durable bytes that cannot be read any more. Replay goes
  /// on behind them.
  std::vector<Status> damage;
  std::vector<std::string> quarantined;  // paths in quarantine_dir
  Lsn last_lsn = 0;
  bool clean() const { return damage.empty() && quarantined.empty(); }
};

/// Receives a record at replay; the payload lives for the call. kDataLoss is added to the report,
/// and replay goes on; kUnimplemented means the type is not known; any other error ends Open.
using ReplayFn = std::function<Status(uint8_t type, Lsn lsn, std::string_view payload)>;

/// Writes and replays a write-ahead log: a directory of numbered segment files of checksummed
/// records. Thread-safe. Format: engine/docs/format/wal.md. Invariants: engine/wal/README.md.
///
/// Order: records are replayed in the order of their Append calls. What is replayed after a crash
/// is a prefix of it that holds at least every record for which WaitDurable returned success
/// (after kill -9 alone: WaitWritten).
///
/// Full disk: buffered records are never dropped, since the caller has applied them. A write that
/// finds no room fails its waiters with kResourceExhausted; the records stay pending, Append
/// refuses new ones, and every Append and Wait tries again first.
///
/// Failed sync, or a write that fails for any other reason: the log is failed() for good, until the
/// directory is opened anew. Append and Rotate then return kFailedPrecondition; waiting for a
/// record that was not durable by then returns kUnavailable, since it may or may not survive.
class Wal {
 public:
  /// Opens the log in `dir`, made if missing, and replays it into `fn`. Damage does not stop it.
  /// On a full disk it opens and writes later. Errors: those of `fn`, kUnavailable, kUnimplemented
  /// for a log of a later version.
  static Result<std::unique_ptr<Wal>> Open(std::shared_ptr<io::FileSystem> fs,
                                           const std::string& dir, const WalOptions& options,
                                           const ReplayFn& fn, WalReplayReport* report);
  /// Closes without reporting errors.
  virtual ~Wal() = default;

  /// Buffers one record, the concatenation of `pieces`, and returns its number. Costs a copy and a
  /// checksum; no I/O unless the log is pending on a full disk or 8 MiB are waiting. Errors:
  /// kInvalidArgument for type 0 or too long a payload, kResourceExhausted (not buffered).
  virtual Result<Lsn> Append(uint8_t type, std::span<const std::string_view> pieces) = 0;
  Result<Lsn> Append(uint8_t type, std::string_view payload) {
    return Append(type, std::span<const std::string_view>(&payload, 1));
  }

  /// Waits until every record up to `lsn` has been handed to the operating system: it survives
  /// kill -9.
  virtual Status WaitWritten(Lsn lsn) = 0;
  /// Waits until every record up to `lsn` is on disk: it survives power loss. One caller syncs for
  /// all that wait.
  virtual Status WaitDurable(Lsn lsn) = 0;
  /// Makes everything appended so far durable.
  Status Sync() { return WaitDurable(appended_lsn()); }

  /// Makes all records durable, starts a new segment for later ones and returns its number; if the
  /// current one is empty, returns that. Commit the number as floor once the older records are
  /// sealed, then call RemoveBefore. Errors as for WaitDurable; it may be called again.
  virtual Result<uint64_t> Rotate() = 0;
  /// Removes the segments before `segment`, oldest first.
  virtual Status RemoveBefore(uint64_t segment) = 0;

  /// Syncs and closes, leaving a mark that tells later damage from a torn tail. Idempotent.
  virtual Status Close() = 0;

  virtual Lsn appended_lsn() const = 0;
  virtual uint64_t bytes() const = 0;  // in segment files and pending
  virtual uint64_t syncs() const = 0;  // of segment files
  virtual uint64_t appends() const = 0;
  virtual bool failed() const = 0;  // since a failed sync or write
  virtual bool pending_on_full_disk() const = 0;
};

/// Names the file of a segment: 42 -> "000042.wal".
std::string SegmentFileName(uint64_t segment);

}  // namespace varve::wal
