#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve {

/// A closed interval of Unix nanoseconds: both ends belong to it.
struct NsRange {
  int64_t min_ns = kMinTime;
  int64_t max_ns = kMaxTime;
  bool Contains(int64_t time_ns) const { return min_ns <= time_ns && time_ns <= max_ns; }
  bool Overlaps(const NsRange& other) const {
    return min_ns <= other.max_ns && other.min_ns <= max_ns;
  }
  bool empty() const { return min_ns > max_ns; }
  friend bool operator==(const NsRange&, const NsRange&) = default;
};

/// Tests a line. With several texts: kContains and kMatches hold if any text does, kNotContains and
/// kNotMatches if none does. Texts of kMatches are RE2's expressions, searched anywhere in the
/// line; the dot does not match a newline unless they say (?s). An empty text of kContains holds
/// for every line.
struct LineFilter {
  enum class Op : uint8_t { kContains = 0, kNotContains = 1, kMatches = 2, kNotMatches = 3 };
  Op op = Op::kContains;
  std::vector<std::string> texts;
  friend bool operator==(const LineFilter&, const LineFilter&) = default;
};

/// Says which entries of a chunk a reader wants and what of them.
struct LogScanSpec {
  NsRange range;
  /// All must hold. The store uses them to skip what it need not decompress, and applies them
  /// exactly: what comes back needs no second test.
  std::vector<LineFilter> line_filters;
  /// All must hold for the entry's own structured metadata (not the stream's labels); an absent
  /// name has the empty value. Exact, too.
  std::vector<Matcher> metadata;

  enum class Lines : uint8_t { kNone, kLengths, kBytes };
  Lines lines = Lines::kBytes;
  bool with_metadata = true;
  /// With `with_metadata`: only these names; empty: all.
  std::vector<std::string> metadata_names;
};

/// A LogScanSpec with its expressions compiled, made once for a query and shared by its threads.
class LogScan;
/// Compiles `spec`. Errors: kInvalidArgument for a bad regular expression.
Result<std::shared_ptr<const LogScan>> CompileLogScan(const LogScanSpec& spec);
/// Tests one line against compiled filters; for entries that come from elsewhere (a tail).
bool LineMatches(const LogScan& scan, std::string_view line);

/// What a scan looked at and what it was spared, for `explain analyze` and Loki's statistics.
struct LogScanStats {
  uint64_t entries = 0;             // tested
  uint64_t entries_matched = 0;     // returned
  uint64_t line_bytes = 0;          // of the entries tested
  uint64_t bytes_decompressed = 0;  // raw size of what was inflated
  uint64_t bytes_compressed = 0;    // stored size of the same
  /// Row groups that were not decoded, by what ruled them out. One that several streams share
  /// counts once for each of them.
  struct Skipped {
    uint64_t groups = 0;
    uint64_t bytes = 0;  // raw size of the lines
    void Add(const Skipped& other) {
      groups += other.groups;
      bytes += other.bytes;
    }
  };
  Skipped skipped_time;
  Skipped skipped_words;       // the filter of words
  Skipped skipped_ids;         // the filter of minimizers of texts like ids
  Skipped skipped_metadata;    // the filter of metadata
  Skipped skipped_statistics;  // templates, dictionaries, facts of columns
  uint64_t groups = 0;         // row groups considered
  uint64_t groups_read = 0;
  void Add(const LogScanStats& other);
};

/// Entries as columns. Reuse it: it keeps its memory. Views point into the rows' own storage or
/// into the snapshot, and live until the next read into it or until it is destroyed.
struct LogRows {
  std::vector<int64_t> times_ns;
  std::vector<std::string_view> lines;   // kBytes
  std::vector<uint32_t> line_lengths;    // kLengths
  std::vector<uint32_t> metadata_begin;  // size rows + 1, with_metadata
  std::vector<LabelView> metadata;       // of row r: [metadata_begin[r], metadata_begin[r + 1])
  std::shared_ptr<void> storage;         // the store's: what views point into

  size_t size() const { return times_ns.size(); }
  LabelsView metadata_of(size_t row) const {
    if (metadata_begin.empty()) return {};
    return LabelsView(metadata).subspan(metadata_begin[row],
                                        metadata_begin[row + 1] - metadata_begin[row]);
  }
  void Clear();
};

/// A run of entries of one stream. Chunks of one stream come in time order and their times do not
/// overlap, except that the last time of one may be the first of the next; late data and
/// overlapping sources are merged, and exact duplicates (time, line, metadata) collapsed, before
/// anyone sees them. A cheap handle; const methods are thread-safe; lives as long as the snapshot.
class LogChunk {
 public:
  class Impl {
   public:
    virtual ~Impl() = default;
    virtual Status Read(uint32_t token, const LogScan& scan, LogRows* out,
                        LogScanStats* stats) const = 0;
  };

  uint32_t count = 0;  // entries, before collapsing
  int64_t min_time_ns = 0;
  int64_t max_time_ns = 0;
  uint64_t line_bytes = 0;  // raw
  std::shared_ptr<const Impl> impl;
  uint32_t token = 0;

  NsRange range() const { return {min_time_ns, max_time_ns}; }
  /// Replaces `out` by the entries that `scan` asks for, ascending in time, ties in arrival order.
  /// Reading chunks of a StreamSet in order of streams is cheapest: neighbours share row groups,
  /// and the store keeps the last one decoded in `out->storage`. Errors: kDataLoss, kUnavailable.
  Status Read(const LogScan& scan, LogRows* out, LogScanStats* stats) const {
    return impl->Read(token, scan, out, stats);
  }
};

/// The streams that a selection found, sorted by labels. Immutable and thread-safe.
class StreamSet {
 public:
  virtual ~StreamSet() = default;
  virtual size_t size() const = 0;
  /// Replaces `out` by the labels of stream `i`; the bytes live as long as the snapshot.
  virtual void GetLabels(size_t i, std::vector<LabelView>* out) const = 0;
  virtual std::string_view GetLabel(size_t i, std::string_view name) const = 0;
  /// Replaces `out` by the chunks of stream `i` that may hold entries in `range`, in time order.
  virtual Status GetChunks(size_t i, NsRange range, std::vector<LogChunk>* out) const = 0;
};

/// Sizes of a selection, from headers alone; what deletions hide may still be counted.
struct LogVolume {
  uint64_t streams = 0;
  uint64_t chunks = 0;
  uint64_t entries = 0;
  uint64_t line_bytes = 0;
};

/// A view of the logs of a database that later appends, deletions and compactions cannot alter.
/// Thread-safe. Destroy it, and everything that came from it, before the database.
class LogSnapshot {
 public:
  virtual ~LogSnapshot() = default;

  /// Finds the streams for which all matchers hold and that may have entries in `range`. With a
  /// `scan`, streams that its filters rule out by the headers of their blocks alone may be left
  /// out. Errors: kInvalidArgument, kDataLoss, kUnavailable.
  virtual Result<std::unique_ptr<StreamSet>> Select(std::span<const Matcher> matchers,
                                                    NsRange range,
                                                    const LogScan* scan = nullptr) const = 0;
  virtual Result<LookupResult> LabelNames(std::span<const Matcher> matchers, NsRange range,
                                          LookupLimit limit) const = 0;
  virtual Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                           NsRange range, LookupLimit limit) const = 0;
  /// The names of structured metadata in matching streams (row groups decide), sorted.
  virtual Result<LookupResult> MetadataNames(std::span<const Matcher> matchers, NsRange range,
                                             LookupLimit limit) const = 0;
  virtual Result<LogVolume> Volume(std::span<const Matcher> matchers, NsRange range) const = 0;
  /// The times of the oldest and the newest entry; empty when there are none.
  virtual NsRange time_range() const = 0;
};

}  // namespace varve
