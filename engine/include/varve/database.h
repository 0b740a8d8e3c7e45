#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "varve/labels.h"
#include "varve/log_batch.h"
#include "varve/log_scan.h"
#include "varve/options.h"
#include "varve/sample.h"
#include "varve/scan.h"
#include "varve/span_batch.h"
#include "varve/span_scan.h"
#include "varve/status.h"
#include "varve/write_batch.h"

namespace varve {

/// What Open found wrong and what it did about it. Nothing is ever deleted for being damaged.
struct RecoveryReport {
  uint64_t wal_records = 0;
  uint64_t wal_samples = 0;
  uint64_t wal_log_entries = 0;
  uint64_t wal_spans = 0;
  uint64_t wal_tail_bytes_cut = 0;  // a torn tail: bytes that no Append had acknowledged
  std::vector<Status> damage;       // each kDataLoss, with file and offset
  std::vector<std::string> quarantined;
  std::chrono::nanoseconds elapsed{0};
  bool clean() const { return damage.empty() && quarantined.empty(); }
};

/// One kind of bytes in one block or in all of them.
struct SectionStats {
  std::string name;
  uint64_t bytes = 0;      // on disk
  uint64_t raw_bytes = 0;  // before compression; 0 where that has no meaning
  uint64_t items = 0;
};
struct BlockStats {
  uint64_t id = 0;
  std::string file;
  uint32_t level = 0;
  std::string wing = "metrics";  // or "logs", "traces"
  TimeRange range;
  uint64_t series = 0;   // or streams, traces
  uint64_t samples = 0;  // or entries, spans
  uint64_t bytes = 0;
  std::vector<SectionStats> sections;
  std::vector<SectionStats> codecs;  // items are samples
};
struct LogBlockStats {
  uint64_t id = 0;
  std::string file;
  uint32_t level = 0;
  NsRange range;
  uint64_t streams = 0;
  uint64_t entries = 0;
  uint64_t line_bytes = 0;  // raw
  uint64_t bytes = 0;
  std::vector<SectionStats> sections;
  std::vector<SectionStats> columns;  // what row groups are made of; items are entries
};
/// What is stored of logs.
struct LogStats {
  uint64_t head_streams = 0;
  uint64_t head_entries = 0;
  uint64_t head_line_bytes = 0;  // raw
  uint64_t head_bytes = 0;       // memory
  NsRange head_range{kMaxTime, kMinTime};
  uint64_t wal_bytes = 0;
  uint64_t entries_appended = 0;
  uint64_t entries_rejected = 0;
  std::vector<LogBlockStats> blocks;
};
struct DatabaseStats {
  uint64_t head_series = 0;
  uint64_t head_samples = 0;
  uint64_t head_chunks = 0;
  uint64_t head_bytes = 0;  // memory
  TimeRange head_range{kMaxTime, kMinTime};
  uint64_t wal_bytes = 0;
  uint64_t wal_syncs = 0;
  uint64_t wal_appends = 0;
  uint64_t samples_appended = 0;
  uint64_t samples_rejected = 0;
  uint64_t series_created = 0;
  uint64_t exemplars = 0;
  uint64_t head_spans = 0;
  uint64_t head_traces = 0;
  uint64_t spans_appended = 0;
  uint64_t spans_rejected = 0;
  uint64_t seals = 0;
  uint64_t compactions = 0;
  uint64_t compaction_failures = 0;
  uint64_t blocks_expired = 0;
  uint64_t tombstones = 0;
  uint64_t disk_bytes = 0;
  bool read_only = false;  // since a failed sync, or opened so
  Status background_error;
  std::vector<BlockStats> blocks;
  LogStats logs;
};

/// Appends whole series to blocks without WAL or head: for imports. Rows become visible and
/// durable all at once in Finish; without it nothing is kept. Not thread-safe.
class BulkLoader {
 public:
  virtual ~BulkLoader() = default;
  /// Adds samples of a series; any order of series, times ascending within one call. Samples of
  /// the same series and time collapse, the first one added wins. Spans have equal length.
  virtual Status AddSamples(LabelsView labels, std::span<const int64_t> times_ms,
                            std::span<const double> values) = 0;
  virtual Status AddHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                               std::span<const Histogram> histograms) = 0;
  virtual Status AddMetadata(std::string_view family, const Metadata& metadata) = 0;
  /// Writes the blocks and commits them in one manifest record.
  virtual Status Finish() = 0;
};

struct BackupOptions {
  /// Copies the blocks that there are, without a flush: costs next to nothing, but what was
  /// appended since the heads were last sealed is not in the copy.
  bool skip_heads = false;
};

/// Stores metrics, logs and traces in one directory. Thread-safe: every method may be called
/// from any thread at any time, except Close.
class Database {
 public:
  /// Opens `options.dir` and replays the WAL. Damage never stops it: see recovery().
  /// Errors: kFailedPrecondition if another process holds the directory, kNotFound if it is
  /// missing and must not be made, kUnavailable for I/O errors, kResourceExhausted.
  static Result<std::unique_ptr<Database>> Open(const Options& options);
  /// Closes without reporting errors; see Close.
  virtual ~Database() = default;

  /// Applies all rows of `batch` or none (with `partial`: all good rows or none), also across a
  /// crash, and returns once they are as durable as asked. Concurrent callers share syncs.
  /// Errors, for a batch that must be whole: kOutOfRange, kAlreadyExists, kInvalidArgument, with
  /// the first rejection in the message; kResourceExhausted on a full disk or a limit;
  /// kFailedPrecondition when read-only. After kUnavailable the batch may or may not survive.
  virtual Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions& options) = 0;
  Result<AppendResult> Append(const WriteBatch& batch) { return Append(batch, WriteOptions()); }

  /// Does the same for log entries: all of `batch` or none (with `partial`: all good entries or
  /// none). Entries may be of any age and order. Errors, for a batch that must be whole:
  /// kInvalidArgument with the first rejection in the message; kResourceExhausted,
  /// kFailedPrecondition, kUnavailable as above.
  virtual Result<LogAppendResult> AppendLogs(const LogBatch& batch, const WriteOptions& options);
  Result<LogAppendResult> AppendLogs(const LogBatch& batch) {
    return AppendLogs(batch, WriteOptions());
  }
  /// Does the same for spans.
  virtual Result<SpanAppendResult> AppendSpans(const SpanBatch& batch, const WriteOptions& options);
  Result<SpanAppendResult> AppendSpans(const SpanBatch& batch) {
    return AppendSpans(batch, WriteOptions());
  }

  /// Makes everything appended so far durable.
  virtual Status Sync() = 0;

  /// Returns a view of the metrics stored now.
  virtual Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const = 0;
  /// Return views of the logs and of the traces stored now.
  virtual Result<std::shared_ptr<const LogSnapshot>> TakeLogSnapshot() const;
  virtual Result<std::shared_ptr<const TraceSnapshot>> TakeTraceSnapshot() const;

  virtual Result<std::unique_ptr<BulkLoader>> StartBulkLoad() = 0;

  /// Deletes the samples in `range` of all series that match. Queries stop seeing them at once;
  /// the bytes go with the next compaction of their blocks. Errors: kInvalidArgument for no
  /// matchers or a bad regular expression.
  virtual Status DeleteSeries(std::span<const Matcher> matchers, TimeRange range) = 0;

  /// Deletes the entries in `range` of all streams that match, if all of `filters` hold for their
  /// lines and all of `metadata` for their metadata. Takes effect and is reclaimed likewise.
  virtual Status DeleteLogs(std::span<const Matcher> matchers, NsRange range,
                            std::span<const LineFilter> filters, std::span<const Matcher> metadata);

  /// Seals the heads into blocks and truncates the WALs.
  virtual Status Flush() = 0;
  /// Flushes, then merges blocks until nothing is left to merge and no deleted byte is left.
  virtual Status Compact() = 0;
  /// Runs what the background thread would do now: seal if due, expire, merge.
  virtual Status Maintain() = 0;

  /// Writes a consistent copy into `dir`, which must not exist, after a flush; files are hard
  /// links where the file system allows. The copy opens like any database. Errors: kAlreadyExists.
  virtual Status Backup(const std::string& dir, const BackupOptions& options) = 0;
  Status Backup(const std::string& dir) { return Backup(dir, BackupOptions()); }

  /// Reads every byte of every file and checks what can be checked. Returns all damage found.
  virtual Result<std::vector<Status>> Verify() = 0;

  virtual DatabaseStats Stats() const = 0;
  virtual const RecoveryReport& recovery() const = 0;

  /// Syncs, stops background work, releases the lock. Everything else then fails with
  /// kFailedPrecondition. Call it once, when no other call is running.
  virtual Status Close() = 0;
};

}  // namespace varve
