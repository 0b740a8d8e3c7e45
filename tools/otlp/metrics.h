#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "tools/otlp/metric_names.h"
#include "varve/write_batch.h"

namespace varve::otlp {

struct MetricOptions {
  Translation translation = Translation::kUnderscoreEscapingWithSuffixes;
  /// Resource attributes that become labels of every series.
  std::vector<std::string> promote_attributes;
  /// All of them do, except those in `unpromoted_attributes`.
  bool promote_all_attributes = false;
  std::vector<std::string> unpromoted_attributes;
  /// Adds otel_scope_name, _version, _schema_url and the scope's attributes as labels.
  bool promote_scope = false;
  /// Keeps service.name, service.namespace and service.instance.id on target_info, too.
  bool keep_identifying_attributes = false;
  /// Stores explicit-bucket histograms as native ones with custom buckets.
  bool explicit_as_native = false;
};

/// Exponential buckets of one sign.
struct ExponentialBuckets {
  int32_t offset = 0;
  std::vector<uint64_t> counts;
};
struct ExponentialPoint {
  int32_t scale = 0;
  uint64_t count = 0;
  uint64_t zero_count = 0;
  double zero_threshold = 0;
  double sum = 0;
  ExponentialBuckets positive;
  ExponentialBuckets negative;
  /// Halves the resolution `steps` times.
  void Downscale(uint32_t steps);
  /// Adds another one; the coarser scale wins, and more than 1,024 buckets halve it further.
  void Add(const ExponentialPoint& other);
};

/// Sums up streams of delta temporality, which Prometheus's data model does not have. Thread-safe:
/// one transaction at a time. Streams that rest for `kRestMs` are forgotten and start again at
/// zero, as a counter reset; at most `streams_max` are kept.
class DeltaStreams {
 public:
  static constexpr int64_t kRestMs = 60 * 60 * 1000;

  struct Stream {
    int64_t start_ms = 0;  // of the first point
    int64_t last_ms = 0;   // of the newest point
    double value = 0;      // a number's, or a histogram's sum
    uint64_t count = 0;
    std::vector<double> bounds;
    std::vector<uint64_t> counts;
    std::unique_ptr<ExponentialPoint> exponential;
    Stream() = default;
    Stream(Stream&&) = default;
    Stream& operator=(Stream&&) = default;
    Stream Clone() const;
  };

  explicit DeltaStreams(size_t streams_max = 1'000'000) : streams_max_(streams_max) {}

  /// What one request changes: nobody else sees it before Commit, and without that it is undone.
  /// Locks at the first Change and until it is destroyed, so that what is stored and what is
  /// summed up agree.
  class Transaction {
   public:
    explicit Transaction(DeltaStreams* streams) : streams_(*streams) {}
    /// Returns the stream for changing, made if it is new. Null: the store of streams is full.
    Stream* Change(const SeriesKey& key, int64_t time_ms);
    void Commit();

   private:
    DeltaStreams& streams_;
    std::unique_lock<std::mutex> lock_;
    absl::flat_hash_map<SeriesKey, std::unique_ptr<Stream>, SeriesKeyHash> changed_;
  };

  size_t size() const;

 private:
  void Forget(int64_t now_ms);

  const size_t streams_max_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<SeriesKey, Stream, SeriesKeyHash> streams_;  // guarded by mutex_
};

struct MetricReport {
  uint64_t points = 0;
  uint64_t rejected = 0;  // data points that could not be translated
  std::string message;    // why, for the first
};

/// Decodes an ExportMetricsServiceRequest and adds its points to `out` by Prometheus's rules:
/// names and labels as `options` say, job and instance from the service, target_info, explicit
/// histograms as classic series, exponential ones as native histograms, exemplars, stale markers
/// for points without a value. Points after `newest_ms` are rejected.
/// Errors: kInvalidArgument with field and byte offset.
Status DecodeMetrics(std::string_view wire, const MetricOptions& options, int64_t newest_ms,
                     DeltaStreams::Transaction* deltas, WriteBatch* out, MetricReport* report);

}  // namespace varve::otlp
