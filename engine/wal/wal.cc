#include "engine/wal/wal.h"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/io/record_log.h"
#include "engine/wal/replay.h"

namespace varve::wal {
namespace {

static_assert(kPayloadBytesMax == io::kRecordPayloadBytesMax);

/// Append writes by itself when this much waits, so that a caller who never waits cannot fill the
/// memory.
constexpr uint64_t kQueueBytesMax = 8ull << 20;
/// Larger buffers are split, so that growing one never copies much.
constexpr uint64_t kChunkBytesMax = 1ull << 20;

/// Bytes of one segment that wait to be written. The first chunk of a segment makes its file.
struct Chunk {
  uint64_t segment = 0;
  uint64_t tag = 0;
  Lsn first_lsn = 0;    // of the segment, if this is its first chunk
  uint64_t offset = 0;  // in the file
  std::string bytes;
  Lsn last_lsn = 0;
};

/// How a step of writing ended.
struct Outcome {
  Status status;
  bool fatal = false;
};

/// Three roles, each held by at most one thread at a time and taken in this order: leader (syncs
/// for everyone), writer (moves the queue into files, owns file_), syncer (has a sync of file_
/// running, or replaces it). No role is waited for while holding a later one, and no I/O happens
/// under mutex_ except in Close.
class WalImpl final : public Wal {
 public:
  WalImpl(std::shared_ptr<io::FileSystem> fs, std::string dir, const WalOptions& options)
      : fs_(std::move(fs)), dir_(std::move(dir)), options_(options) {}

  ~WalImpl() override { Close().IgnoreError(); }

  Status Start(const ReplayFn& fn, WalReplayReport* report) {
    if (!options_.read_only) VARVE_RETURN_IF_ERROR(fs_->MakeDirs(dir_));
    VARVE_ASSIGN_OR_RETURN(const ReplayedLog log, Replay(*fs_, dir_, options_, fn, report));
    const absl::MutexLock lock(&mutex_);
    appended_ = written_ = durable_ = log.last_lsn;
    for (const auto& [number, bytes] : log.segments) sizes_[number] = bytes;
    tail_segment_ = log.next_segment - 1;
    if (options_.read_only) return {};
    StartSegment();
    const Status status = WriteQueue();
    // A full disk must not keep the database from being read; the first Append tries again.
    if (!status.ok() && status.code() != StatusCode::kResourceExhausted) return status;
    return {};
  }

  Result<Lsn> Append(uint8_t type, std::span<const std::string_view> pieces) override {
    if (type == kMarkType) {
      return MakeStatus(StatusCode::kInvalidArgument, "record type 0 is the log's own");
    }
    uint64_t payload_bytes = 0;
    for (const std::string_view piece : pieces) payload_bytes += piece.size();
    if (payload_bytes > kPayloadBytesMax) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("record of ", payload_bytes, " bytes, at most ", kPayloadBytesMax));
    }
    // The costly part, done before the lock is taken.
    const uint64_t checksum = io::PayloadChecksum(pieces);

    const absl::MutexLock lock(&mutex_);
    VARVE_RETURN_IF_ERROR(CheckWritable());
    while (!full_.ok() || queued_bytes_ > kQueueBytesMax) {
      if (writing_) {
        changed_.Wait(&mutex_);
      } else {
        VARVE_RETURN_IF_ERROR(WriteQueue());
      }
      VARVE_RETURN_IF_ERROR(CheckWritable());
    }
    Buffer(type, pieces, payload_bytes, checksum);
    ++appends_;
    return appended_;
  }

  Status WaitWritten(Lsn lsn) override {
    const absl::MutexLock lock(&mutex_);
    if (lsn > appended_) return NoSuchRecord(lsn);
    return WriteUpTo(lsn);
  }

  Status WaitDurable(Lsn lsn) override {
    const absl::MutexLock lock(&mutex_);
    if (lsn > appended_) return NoSuchRecord(lsn);
    return SyncUpTo(lsn);
  }

  Result<uint64_t> Rotate() override {
    const absl::MutexLock lock(&mutex_);
    VARVE_RETURN_IF_ERROR(CheckWritable());
    if (tail_records_ > 0) StartSegment();
    const uint64_t segment = tail_segment_;
    while (open_segment_ < segment) {
      if (!failed_.ok()) return failed_;
      if (writing_) {
        changed_.Wait(&mutex_);
      } else {
        VARVE_RETURN_IF_ERROR(WriteQueue());
      }
    }
    return segment;
  }

  Status RemoveBefore(uint64_t segment) override {
    std::vector<uint64_t> numbers;
    {
      const absl::MutexLock lock(&mutex_);
      if (options_.read_only) return ReadOnly();
      for (const auto& entry : sizes_) {
        if (entry.first < segment && entry.first < open_segment_) numbers.push_back(entry.first);
      }
    }
    for (const uint64_t number : numbers) {
      const Status status = fs_->Remove(io::JoinPath(dir_, SegmentFileName(number)));
      if (!status.ok() && status.code() != StatusCode::kNotFound) return status;
      const absl::MutexLock lock(&mutex_);
      sizes_.erase(number);
    }
    return {};
  }

  Status Close() override {
    const absl::MutexLock lock(&mutex_);
    if (closed_ || options_.read_only) {
      closed_ = true;
      return {};
    }
    closed_ = true;
    Status status = SyncUpTo(appended_);
    if (status.ok() && tail_records_ > 0) {
      // What the mark says of the records before it holds already.
      Buffer(kMarkType, {}, 0, io::PayloadChecksum({}));
      status = SyncUpTo(appended_);
    }
    while (leading_ || writing_ || syncing_) changed_.Wait(&mutex_);
    if (file_ != nullptr) {
      if (status.ok()) status = file_->Truncate(file_->size());
      status.Update(file_->Close());
      file_.reset();
    }
    return status;
  }

  Lsn appended_lsn() const override {
    const absl::MutexLock lock(&mutex_);
    return appended_;
  }
  uint64_t bytes() const override {
    const absl::MutexLock lock(&mutex_);
    uint64_t sum = queued_bytes_;
    for (const auto& entry : sizes_) sum += entry.second;
    return sum;
  }
  uint64_t syncs() const override {
    const absl::MutexLock lock(&mutex_);
    return syncs_;
  }
  uint64_t appends() const override {
    const absl::MutexLock lock(&mutex_);
    return appends_;
  }
  bool failed() const override {
    const absl::MutexLock lock(&mutex_);
    return !failed_.ok();
  }
  bool pending_on_full_disk() const override {
    const absl::MutexLock lock(&mutex_);
    return !full_.ok();
  }

 private:
  static Status ReadOnly() {
    return MakeStatus(StatusCode::kFailedPrecondition, "the log was opened read-only");
  }
  static Status NoSuchRecord(Lsn lsn) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("record ", lsn, " was never appended"));
  }

  Status CheckWritable() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!failed_.ok()) {
      return MakeStatus(StatusCode::kFailedPrecondition,
                        Concat("the log is read-only since it failed: ", ToStd(failed_.message())));
    }
    if (options_.read_only) return ReadOnly();
    if (closed_) return MakeStatus(StatusCode::kFailedPrecondition, "the log is closed");
    return {};
  }

  /// Makes later records go to a new segment; its file is made when the writer comes to it.
  void StartSegment() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++tail_segment_;
    tail_tag_ = options_.fixed_tag != 0 ? options_.fixed_tag + tail_segment_ : io::RandomTag();
    tail_offset_ = io::kLogHeaderBytes;
    tail_records_ = 0;
    queue_.push_back({tail_segment_, tail_tag_, appended_ + 1, tail_offset_, "", appended_});
  }

  void Buffer(uint8_t type, std::span<const std::string_view> pieces, uint64_t payload_bytes,
              uint64_t checksum) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const uint64_t bytes = io::RecordBytes(payload_bytes);
    if (tail_records_ > 0 && tail_offset_ + bytes > options_.segment_bytes_max) StartSegment();
    if (queue_.empty() || queue_.back().segment != tail_segment_ ||
        queue_.back().bytes.size() + bytes > kChunkBytesMax) {
      queue_.push_back({tail_segment_, tail_tag_, 0, tail_offset_, std::move(spare_), appended_});
      queue_.back().bytes.clear();
      spare_.clear();
    }
    Chunk& chunk = queue_.back();
    io::AppendRecord(pieces, payload_bytes, checksum, tail_tag_, tail_offset_, type, appended_ + 1,
                     durable_, &chunk.bytes);
    chunk.last_lsn = ++appended_;
    tail_offset_ += bytes;
    ++tail_records_;
    queued_bytes_ += bytes;
  }

  /// Returns once record `lsn` is with the operating system; writes if no one else does.
  Status WriteUpTo(Lsn lsn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (written_ < lsn) {
      if (!failed_.ok()) return failed_;
      if (writing_) {
        changed_.Wait(&mutex_);
      } else {
        VARVE_RETURN_IF_ERROR(WriteQueue());
      }
    }
    return {};
  }

  /// Returns once record `lsn` is on disk; the first to come leads and syncs for all that wait.
  Status SyncUpTo(Lsn lsn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (durable_ < lsn) {
      if (!failed_.ok()) return failed_;
      if (leading_) {
        changed_.Wait(&mutex_);
        continue;
      }
      leading_ = true;
      const Status status = Lead(lsn);
      leading_ = false;
      changed_.SignalAll();
      VARVE_RETURN_IF_ERROR(status);
    }
    return {};
  }

  /// Writes and syncs everything that was buffered when it began, or at least record `lsn` where
  /// the disk has no room for more. Precondition: leading_.
  Status Lead(Lsn lsn) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Status written = WriteUpTo(appended_);
    if (!written.ok() && (!failed_.ok() || written_ < lsn)) return written;
    while (syncing_) changed_.Wait(&mutex_);
    const Lsn covered = written_;
    // Changing segments syncs as well, so another writer may have done the work.
    if (covered == durable_) return {};
    syncing_ = true;
    io::WritableFile* file = file_.get();
    mutex_.Unlock();
    const Status status = file->Sync();
    mutex_.Lock();
    syncing_ = false;
    ++syncs_;
    if (status.ok()) {
      durable_ = std::max(durable_, covered);
    } else {
      Fail(status);
    }
    changed_.SignalAll();
    return failed_;
  }

  /// Writes the chunks that wait now. Precondition: not writing_.
  Status WriteQueue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!failed_.ok()) return failed_;
    writing_ = true;
    size_t chunks = queue_.size();
    Outcome outcome;
    while (chunks-- > 0) {
      Chunk chunk = std::move(queue_.front());
      queue_.pop_front();
      outcome = WriteChunk(chunk);
      if (!outcome.status.ok()) {
        queue_.push_front(std::move(chunk));
        break;
      }
      queued_bytes_ -= chunk.bytes.size();
      written_ = std::max(written_, chunk.last_lsn);
      sizes_[chunk.segment] = chunk.offset + chunk.bytes.size();
      if (chunk.bytes.capacity() <= kChunkBytesMax) spare_ = std::move(chunk.bytes);
    }
    writing_ = false;
    full_ = Status();
    if (!outcome.status.ok()) {
      if (outcome.fatal || outcome.status.code() != StatusCode::kResourceExhausted) {
        Fail(outcome.status);
        outcome.status = failed_;
      } else {
        full_ = outcome.status;
      }
    }
    changed_.SignalAll();
    return outcome.status;
  }

  /// Writes one chunk, making its file first if it has none. Releases mutex_ meanwhile.
  /// Precondition: writing_.
  Outcome WriteChunk(const Chunk& chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (open_segment_ != chunk.segment) {
      while (syncing_) changed_.Wait(&mutex_);
      if (!failed_.ok()) return {failed_, true};
      syncing_ = true;
      const Lsn covered = written_;
      mutex_.Unlock();
      bool synced = false;
      const Outcome outcome = ChangeSegment(chunk, &synced);
      mutex_.Lock();
      syncing_ = false;
      if (synced) {
        ++syncs_;
        durable_ = std::max(durable_, covered);
      }
      if (!outcome.status.ok()) return outcome;
      open_segment_ = chunk.segment;
    }
    if (chunk.bytes.empty()) return {};
    mutex_.Unlock();
    const Outcome outcome = WriteBytes(chunk);
    mutex_.Lock();
    return outcome;
  }

  /// Ends the open segment and makes the file of the next one. May be called again after a full
  /// disk. Precondition: writer and syncer.
  Outcome ChangeSegment(const Chunk& chunk, bool* synced) {
    if (file_ != nullptr) {
      // Behind the last record nothing may be left: readers take it for lost records.
      if (Status status = file_->Truncate(file_->size()); !status.ok()) return {status};
      if (Status status = file_->Sync(); !status.ok()) return {status, true};
      *synced = true;
      const Status closed = file_->Close();
      file_.reset();
      if (!closed.ok()) return {closed, true};
    }
    Result<std::unique_ptr<io::WritableFile>> file =
        fs_->Create(io::JoinPath(dir_, SegmentFileName(chunk.segment)));
    if (!file.ok()) return {file.status()};
    const io::LogHeader header{kVersion, chunk.segment, chunk.tag, chunk.first_lsn};
    if (Status status = (*file)->Append(io::EncodeLogHeader(kMagic, header)); !status.ok()) {
      return {status};
    }
    // Both before any record: a record must never be durable in a file that a crash can lose.
    if (Status status = (*file)->Sync(); !status.ok()) return {status, true};
    if (Status status = fs_->SyncDir(dir_); !status.ok()) return {status, true};
    file_ = std::move(*file);
    allocated_ = 0;
    return {};
  }

  Outcome WriteBytes(const Chunk& chunk) {
    const uint64_t end = chunk.offset + chunk.bytes.size();
    if (options_.preallocate_bytes > 0 && end > allocated_) {
      const uint64_t step = options_.preallocate_bytes;
      const uint64_t target = (end + step - 1) / step * step;
      // Only ever an optimisation: a disk too full for the step may hold the record.
      if (file_->Preallocate(target).ok()) allocated_ = target;
    }
    return {file_->WriteAt(chunk.offset, chunk.bytes)};
  }

  void Fail(const Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (!failed_.ok()) return;
    failed_ = MakeStatus(StatusCode::kUnavailable, ToStd(cause.message()));
  }

  const std::shared_ptr<io::FileSystem> fs_;
  const std::string dir_;
  const WalOptions options_;

  mutable absl::Mutex mutex_;
  absl::CondVar changed_;  // a role was given up, or written_, durable_, failed_ changed
  bool leading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool syncing_ ABSL_GUARDED_BY(mutex_) = false;

  std::deque<Chunk> queue_ ABSL_GUARDED_BY(mutex_);
  std::string spare_ ABSL_GUARDED_BY(mutex_);  // memory of a written chunk, for the next one
  uint64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t tail_segment_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t tail_tag_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t tail_offset_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t tail_records_ ABSL_GUARDED_BY(mutex_) = 0;

  // durable_ <= written_ <= appended_. What is written and not durable is in file_.
  Lsn appended_ ABSL_GUARDED_BY(mutex_) = 0;
  Lsn written_ ABSL_GUARDED_BY(mutex_) = 0;
  Lsn durable_ ABSL_GUARDED_BY(mutex_) = 0;
  Status failed_ ABSL_GUARDED_BY(mutex_);  // kUnavailable, for good
  Status full_ ABSL_GUARDED_BY(mutex_);    // kResourceExhausted, until a write succeeds
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t open_segment_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, uint64_t> sizes_ ABSL_GUARDED_BY(mutex_);
  uint64_t syncs_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t appends_ ABSL_GUARDED_BY(mutex_) = 0;

  // Changed by the writer while it is also the syncer; used by either.
  std::unique_ptr<io::WritableFile> file_;
  uint64_t allocated_ = 0;
};

}  // namespace

Result<std::unique_ptr<Wal>> Wal::Open(std::shared_ptr<io::FileSystem> fs, const std::string& dir,
                                       const WalOptions& options, const ReplayFn& fn,
                                       WalReplayReport* report) {
  WalReplayReport unused;
  auto wal = std::make_unique<WalImpl>(std::move(fs), dir, options);
  VARVE_RETURN_IF_ERROR(wal->Start(fn, report != nullptr ? report : &unused));
  return std::unique_ptr<Wal>(std::move(wal));
}

std::string SegmentFileName(uint64_t segment) {
  char name[32];
  std::snprintf(name, sizeof name, "%06llu.wal", static_cast<unsigned long long>(segment));
  return name;
}

}  // namespace varve::wal
