#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "varve/labels.h"
#include "varve/sample.h"
#include "varve/status.h"

namespace varve::ingest {

/// Collects what the write-ahead log of a Prometheus holds: the samples that no block has yet.
/// Everything stays in memory until the caller takes it, as Prometheus itself keeps its head:
/// about 16 bytes a sample.
class PrometheusWal {
 public:
  struct Series {
    Labels labels;
    std::vector<std::pair<int64_t, double>> samples;  // in the order of the log
    std::vector<std::pair<int64_t, Histogram>> histograms;
  };

  /// Reads one segment file: pages of 32 KiB with fragments of records
  /// (tsdb/docs/format/wal.md). Call in order of the log. Errors: kDataLoss with offset; what came
  /// before it is kept.
  Status ReadSegment(std::string_view bytes, const std::string& path);

  /// One per distinct label set.
  std::vector<Series>& series() { return series_; }
  /// Counts records of kinds that are not known and were passed over.
  uint64_t unknown_records() const { return unknown_records_; }
  /// Counts samples whose series the log does not name.
  uint64_t orphans() const { return orphans_; }

 private:
  Status ReadRecord(std::string_view record, uint8_t flags, const std::string& path,
                    uint64_t offset);
  Series* Find(uint64_t ref);

  std::vector<Series> series_;
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> by_labels_;
  absl::flat_hash_map<uint64_t, uint32_t> by_ref_;
  std::string record_;   // of several fragments
  std::string decoded_;  // after decompression
  uint64_t unknown_records_ = 0;
  uint64_t orphans_ = 0;
};

}  // namespace varve::ingest
