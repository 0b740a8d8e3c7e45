#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/labels.h"
#include "varve/sample.h"
#include "varve/status.h"

namespace varve {

/// A closed interval of Unix milliseconds: both ends belong to it.
struct TimeRange {
  int64_t min_ms = kMinTime;
  int64_t max_ms = kMaxTime;
  bool Contains(int64_t time_ms) const { return min_ms <= time_ms && time_ms <= max_ms; }
  bool Overlaps(const TimeRange& other) const {
    return min_ms <= other.max_ms && other.min_ms <= max_ms;
  }
  friend bool operator==(const TimeRange&, const TimeRange&) = default;
};

enum class ChunkKind : uint8_t { kFloat = 0, kHistogram = 1 };

/// Facts about a chunk that let an evaluator skip work. A set flag is a promise; a clear one says
/// nothing is known.
enum ChunkFlag : uint32_t {
  kChunkHasNoNan = 1u << 0,       // no value is NaN, so no stale marker either
  kChunkHasNoStale = 1u << 1,     // no value is a stale marker (other NaNs may be there)
  kChunkNonDecreasing = 1u << 2,  // implies kChunkHasNoNan: no counter reset inside
  kChunkConstant = 1u << 3,       // all values have the same 64 bits
  kChunkHasStartTimes = 1u << 4,  // some sample has a start timestamp
};

/// A run of samples of one series. Chunks of one series come in time order and do not overlap;
/// late data and overlapping blocks are merged before anyone sees them.
///
/// Values are cheap handles: copying one costs a pointer and a reference. All methods are const
/// and thread-safe. A chunk lives as long as the Snapshot it came from.
class Chunk {
 public:
  /// What stands behind a handle; implemented by each place that samples live in.
  class Impl {
   public:
    virtual ~Impl() = default;
    virtual Status DecodeTimes(uint32_t token, std::span<int64_t> out) const = 0;
    virtual Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const = 0;
    virtual Status DecodeFloats(uint32_t token, std::span<int64_t> times,
                                std::span<double> values) const;
    virtual Status DecodeStartTimes(uint32_t token, std::span<int64_t> out) const;
    virtual Status DecodeHistograms(uint32_t token, std::vector<Histogram>* out) const;
  };

  ChunkKind kind = ChunkKind::kFloat;
  uint32_t flags = 0;  // ChunkFlag
  uint32_t count = 0;  // >= 1
  int64_t min_time_ms = 0;
  int64_t max_time_ms = 0;
  /// Equal non-zero axes of one Snapshot mean equal timestamps (same count, same values): what is
  /// computed from the times of one chunk holds for all that share its axis.
  uint64_t axis = 0;
  std::shared_ptr<const Impl> impl;
  uint32_t token = 0;  // which chunk of `impl`

  TimeRange range() const { return {min_time_ms, max_time_ms}; }
  bool has(ChunkFlag flag) const { return (flags & flag) != 0; }

  /// Fill all `count` timestamps, strictly ascending. Errors: kDataLoss, kUnavailable.
  Status DecodeTimes(std::span<int64_t> out) const { return impl->DecodeTimes(token, out); }
  /// Fills values [begin, begin + out.size()). Random access costs at most one block of 128
  /// values extra. Precondition: kind is kFloat, the range lies inside the chunk.
  Status DecodeValues(uint32_t begin, std::span<double> out) const {
    return impl->DecodeValues(token, begin, out);
  }
  Status DecodeValues(std::span<double> out) const { return DecodeValues(0, out); }
  /// Fills all times and values; where they are stored interleaved (the head), this costs half of
  /// asking for each. Precondition: kind is kFloat.
  Status DecodeFloats(std::span<int64_t> times, std::span<double> values) const {
    return impl->DecodeFloats(token, times, values);
  }
  /// Fills all start timestamps, kNoStartTime where unknown.
  Status DecodeStartTimes(std::span<int64_t> out) const {
    return impl->DecodeStartTimes(token, out);
  }
  /// Replaces `out` by all histograms. Precondition: kind is kHistogram. The reset hint of each
  /// says what is known about it against its predecessor inside the chunk.
  Status DecodeHistograms(std::vector<Histogram>* out) const {
    return impl->DecodeHistograms(token, out);
  }
};

/// The series that a selection found, sorted by labels (CompareLabels). Immutable and
/// thread-safe: shards of it may be read by different threads at once.
class SeriesSet {
 public:
  virtual ~SeriesSet() = default;
  virtual size_t size() const = 0;
  /// Replaces `out` by the labels of series `i`, canonical; the bytes live as long as the
  /// snapshot.
  virtual void GetLabels(size_t i, std::vector<LabelView>* out) const = 0;
  /// Returns the value of one label of series `i`, or an empty view; cheaper than GetLabels.
  virtual std::string_view GetLabel(size_t i, std::string_view name) const = 0;
  /// Replaces `out` by the chunks of series `i` that may hold samples in `range`, in time order,
  /// disjoint. Chunks are not trimmed: they may hold samples outside `range`. Usually no decoding
  /// happens here; overlapping sources are the exception. Errors: kDataLoss, kUnavailable.
  virtual Status GetChunks(size_t i, TimeRange range, std::vector<Chunk>* out) const = 0;
};

/// Bounds a lookup; 0 is unbounded. `truncated` is set when more would have matched.
struct LookupLimit {
  size_t values_max = 0;
};
struct LookupResult {
  std::vector<std::string> values;  // sorted, unique
  bool truncated = false;
};

struct SeriesExemplars {
  Labels labels;
  std::vector<Exemplar> exemplars;  // by time
};

/// Counts by which an operator finds what eats the index (Prometheus's /status/tsdb).
struct CardinalityEntry {
  std::string name;
  uint64_t value = 0;
};
struct Cardinality {
  uint64_t series = 0;
  uint64_t label_pairs = 0;
  uint64_t chunks = 0;
  int64_t min_time_ms = 0;
  int64_t max_time_ms = 0;
  std::vector<CardinalityEntry> series_by_metric;
  std::vector<CardinalityEntry> values_by_label;
  std::vector<CardinalityEntry> bytes_by_label;
  std::vector<CardinalityEntry> series_by_label_pair;  // name is "name=value"
};

/// A view of the metrics of a database that later appends, deletions and compactions cannot
/// alter. Thread-safe. Destroy it, and everything that came from it, before the database.
/// Cheap to take; keeping one for long keeps old files and old head chunks.
class Snapshot {
 public:
  virtual ~Snapshot() = default;

  /// Finds the series for which all matchers hold and that may have samples in `range`.
  /// Errors: kInvalidArgument (bad regular expression), kDataLoss, kUnavailable.
  virtual Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                                    TimeRange range) const = 0;

  /// List label names, or the values of one label, over the series that match (all, if there are
  /// no matchers) and have samples in `range` (whole blocks decide).
  virtual Result<LookupResult> LabelNames(std::span<const Matcher> matchers, TimeRange range,
                                          LookupLimit limit) const = 0;
  virtual Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                           TimeRange range, LookupLimit limit) const = 0;

  /// Returns exemplars of matching series, by labels, with times in `range`.
  virtual Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher> matchers,
                                                         TimeRange range) const = 0;
  /// Returns what is known about metric families, by name; several where sources disagreed.
  virtual std::map<std::string, std::vector<Metadata>> FamilyMetadata() const = 0;

  /// Counts the `top` largest of each kind over the head and all blocks.
  virtual Result<Cardinality> CardinalityStats(size_t top) const = 0;

  /// The times of the oldest and the newest sample; min > max when empty.
  virtual TimeRange time_range() const = 0;
};

}  // namespace varve
