#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/sample.h"

namespace varve {

/// Names a series of one open database, so that later batches need not carry its labels. Never
/// reused while the database is open; goes stale when the series has left the head, and Append
/// then says so. 0 is no series.
using SeriesRef = uint64_t;

/// Collects rows for one atomic Append. Not thread-safe. Reuse it with Clear: it keeps its memory.
///
/// Rows are kept as columns of plain structs, because an ingest path adds millions a second:
/// adding a sample costs about 2 ns and allocates only when the columns grow.
class WriteBatch {
 public:
  struct Series {
    SeriesRef ref = 0;          // if not 0, labels are empty
    uint32_t labels_begin = 0;  // index into label_views()
    uint32_t labels_count = 0;
  };
  struct Sample {
    int64_t time_ms;
    double value;
    int64_t start_ms;  // kNoStartTime if unknown
    uint32_t series;   // index from AddSeries
  };
  struct HistogramSample {
    int64_t time_ms;
    int64_t start_ms;
    uint32_t series;
    Histogram histogram;
  };
  struct SeriesExemplar {
    uint32_t series;
    Exemplar exemplar;
  };
  struct FamilyMetadata {
    std::string family;
    Metadata metadata;
  };

  WriteBatch();
  ~WriteBatch();
  WriteBatch(WriteBatch&&) noexcept;
  WriteBatch& operator=(WriteBatch&&) noexcept;

  /// Adds a series by its labels, copies the bytes, and returns its index in this batch. `labels`
  /// must be canonical; Append rejects the series otherwise. The same series may be added twice.
  uint32_t AddSeries(LabelsView labels);
  /// Adds a series by the reference that an earlier Append returned for it. No labels, no hashing.
  uint32_t AddSeries(SeriesRef ref) {
    series_.push_back(Series{ref, 0, 0});
    return static_cast<uint32_t>(series_.size() - 1);
  }
  void AddSample(uint32_t series, int64_t time_ms, double value, int64_t start_ms = kNoStartTime) {
    samples_.push_back(Sample{time_ms, value, start_ms, series});
  }
  void AddHistogram(uint32_t series, int64_t time_ms, Histogram histogram,
                    int64_t start_ms = kNoStartTime);
  void AddExemplar(uint32_t series, Exemplar exemplar);
  void AddMetadata(std::string_view family, Metadata metadata);

  void Clear();
  bool empty() const {
    return samples_.empty() && histograms_.empty() && exemplars_.empty() && metadata_.empty();
  }

  const std::vector<Series>& series() const { return series_; }
  const std::vector<Sample>& samples() const { return samples_; }
  const std::vector<HistogramSample>& histograms() const { return histograms_; }
  const std::vector<SeriesExemplar>& exemplars() const { return exemplars_; }
  const std::vector<FamilyMetadata>& metadata() const { return metadata_; }
  /// Returns the labels of a series that was added by labels; valid until the next Add or Clear.
  LabelsView labels(const Series& series) const {
    return LabelsView(label_views_).subspan(series.labels_begin, series.labels_count);
  }

 private:
  class ByteArena;

  std::vector<Series> series_;
  std::vector<Sample> samples_;
  std::vector<HistogramSample> histograms_;
  std::vector<SeriesExemplar> exemplars_;
  std::vector<FamilyMetadata> metadata_;
  std::vector<LabelView> label_views_;  // into arena_
  std::unique_ptr<ByteArena> arena_;
};

enum class Durability : uint8_t {
  kDurable,       // survives kill -9 and power loss once Append has returned
  kProcessCrash,  // survives kill -9; power loss costs at most Options::sync_interval
};

struct WriteOptions {
  /// Unset: Options::durability.
  std::optional<Durability> durability;
  /// False: one rejected row rejects the whole batch (remote write 1.0). True: good rows are
  /// applied, atomically, and the rest are listed in the result (remote write 2.0, scrapes).
  bool partial = false;
  /// How many rejections the result describes one by one; all of them are counted.
  uint32_t rejections_max = 100;
};

enum class RejectReason : uint8_t {
  kOutOfOrder,     // older than the newest sample, and the out-of-order window is 0
  kOutOfBounds,    // before the time that the head still covers
  kTooOld,         // before the out-of-order window
  kDuplicate,      // another value at the same time
  kInvalidLabels,  // not canonical, empty name, or over a limit
  kInvalidHistogram,
  kSeriesLimit,
};
std::string_view ToString(RejectReason reason);

struct Rejection {
  enum class Row : uint8_t { kSeries, kSample, kHistogram, kExemplar };
  Row row = Row::kSample;
  uint32_t index = 0;   // into the batch's column of that kind
  uint32_t series = 0;  // index into batch.series()
  RejectReason reason = RejectReason::kOutOfOrder;
  int64_t time_ms = 0;
  std::string detail;
};

struct AppendResult {
  uint64_t samples = 0;  // accepted, exact repeats of the newest sample included
  uint64_t histograms = 0;
  uint64_t exemplars = 0;
  uint64_t exemplars_rejected = 0;  // never fail a batch
  uint64_t rejected = 0;            // samples and histograms
  std::vector<Rejection> rejections;
  /// One per batch.series(), 0 where the series was rejected. Feed them to later batches.
  std::vector<SeriesRef> refs;
  /// True: some references were stale and nothing was applied; send those series by labels. The
  /// stale ones are the zeros in `refs`.
  bool stale_refs = false;
};

}  // namespace varve
