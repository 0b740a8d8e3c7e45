#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "tools/promqltest/storage.h"
#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"
#include "varve/write_batch.h"

namespace varve::testing {

/// Keeps metrics in plain maps and hands out snapshots of them: the simplest thing that evaluators
/// can read, and the model that a Database is compared with. Later samples replace earlier ones of
/// the same series and time. Not thread-safe; the snapshots are.
class MemoryStore {
 public:
  /// Chunks end after this many samples, and where floats and histograms meet.
  explicit MemoryStore(size_t chunk_samples = 120) : chunk_samples_(chunk_samples) {}

  Status Append(const WriteBatch& batch);
  void Delete(std::span<const Matcher> matchers);
  std::shared_ptr<const Snapshot> TakeSnapshot() const;

  struct Sample {
    double value = 0;
    int64_t start_ms = kNoStartTime;
    std::shared_ptr<const Histogram> histogram;  // a float sample if null
  };
  using SeriesMap = std::map<Labels, std::map<int64_t, Sample>>;
  const SeriesMap& series() const { return series_; }

 private:
  size_t chunk_samples_;
  SeriesMap series_;
};

/// One series as columns of equal length, times ascending.
struct FloatSeries {
  Labels labels;
  std::vector<int64_t> times_ms;
  std::vector<double> values;
};
/// Makes a snapshot of many float series without a store in between. Labels must differ.
std::shared_ptr<const Snapshot> MakeSnapshot(std::vector<FloatSeries> series,
                                             size_t chunk_samples = 120);

/// Makes script storages on MemoryStore. Flush, compact and restart change nothing.
promqltest::StorageFactory MemoryStorage();

/// Tests label sets against matchers, with regular expressions compiled once. Precondition: they
/// are valid.
class MatcherSet {
 public:
  explicit MatcherSet(std::span<const Matcher> matchers);
  ~MatcherSet();
  bool Matches(LabelsView labels) const;

 private:
  struct Compiled;
  std::vector<Compiled> matchers_;
};

}  // namespace varve::testing
