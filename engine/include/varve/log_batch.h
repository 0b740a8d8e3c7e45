#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/write_batch.h"

namespace varve {

/// Names a stream of one open database, as SeriesRef names a series. 0 is no stream.
using StreamRef = uint64_t;

/// Collects log entries for one atomic AppendLogs. Not thread-safe. Reuse it with Clear: it keeps
/// its memory.
///
/// A stream is a label set; an entry is a time in Unix nanoseconds, a line of any bytes, and
/// structured metadata: labels of that one entry. Lines and metadata are borrowed: their bytes must
/// live until AppendLogs has returned. Copy keeps bytes that would not (an unescaped string, say).
class LogBatch {
 public:
  struct Stream {
    StreamRef ref = 0;          // if not 0, labels are empty
    uint32_t labels_begin = 0;  // index into label_views()
    uint32_t labels_count = 0;
  };
  struct Entry {
    int64_t time_ns;
    std::string_view line;
    uint32_t stream;  // index from AddStream
    uint32_t metadata_begin;
    uint32_t metadata_count;
  };

  LogBatch();
  ~LogBatch();
  LogBatch(LogBatch&&) noexcept;
  LogBatch& operator=(LogBatch&&) noexcept;

  /// Adds a stream by its labels, copies the bytes, and returns its index in this batch. `labels`
  /// must be canonical; AppendLogs rejects the stream otherwise. The same stream may be added
  /// twice.
  uint32_t AddStream(LabelsView labels);
  /// Adds a stream by the reference that an earlier AppendLogs returned for it.
  uint32_t AddStream(StreamRef ref);
  /// Adds an entry. `metadata` must be sorted by name, names unique; empty values are kept. Entries
  /// of one stream may come in any order; equal times keep the order of their Add calls.
  void AddEntry(uint32_t stream, int64_t time_ns, std::string_view line, LabelsView metadata = {});
  /// Copies bytes into the batch; they live until Clear.
  std::string_view Copy(std::string_view bytes);

  void Clear();
  bool empty() const { return entries_.empty(); }

  const std::vector<Stream>& streams() const { return streams_; }
  const std::vector<Entry>& entries() const { return entries_; }
  LabelsView labels(const Stream& stream) const {
    return LabelsView(label_views_).subspan(stream.labels_begin, stream.labels_count);
  }
  LabelsView metadata(const Entry& entry) const {
    return LabelsView(metadata_views_).subspan(entry.metadata_begin, entry.metadata_count);
  }
  uint64_t line_bytes() const { return line_bytes_; }  // of all entries

 private:
  class ByteArena;

  std::vector<Stream> streams_;
  std::vector<Entry> entries_;
  std::vector<LabelView> label_views_;     // into arena_
  std::vector<LabelView> metadata_views_;  // borrowed
  uint64_t line_bytes_ = 0;
  std::unique_ptr<ByteArena> arena_;
};

enum class LogRejectReason : uint8_t {
  kInvalidLabels,    // not canonical, empty name, or over a limit
  kInvalidMetadata,  // not sorted, repeated or empty name, or over a limit
  kLineTooLong,      // over Limits::line_bytes_max
  kStreamLimit,
};
std::string_view ToString(LogRejectReason reason);

struct LogRejection {
  uint32_t entry = 0;   // index into batch.entries()
  uint32_t stream = 0;  // index into batch.streams()
  LogRejectReason reason = LogRejectReason::kInvalidLabels;
  std::string detail;
};

struct LogAppendResult {
  uint64_t entries = 0;  // accepted, exact repeats included
  uint64_t rejected = 0;
  std::vector<LogRejection> rejections;  // at most WriteOptions::rejections_max
  /// One per batch.streams(), 0 where the stream was rejected. Feed them to later batches.
  std::vector<StreamRef> refs;
  /// True: some references were stale and nothing was applied; send those streams by labels. The
  /// stale ones are the zeros in `refs`.
  bool stale_refs = false;
};

}  // namespace varve
