#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "varve/sample.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::metrics {

/// Writes one metrics block: series in label order, each with runs of samples in time order. Not
/// thread-safe. Destroyed without Finish, it leaves no file. After an error every later call
/// fails. Format: engine/docs/format/metrics-block.md.
class MetricsBlockWriter {
 public:
  /// Starts the block `id` in `dir`. `fixed_tag` is for golden files only.
  static Result<std::unique_ptr<MetricsBlockWriter>> Create(std::shared_ptr<io::FileSystem> fs,
                                                            const std::string& dir, uint64_t id,
                                                            uint64_t fixed_tag = 0);
  virtual ~MetricsBlockWriter() = default;

  /// Starts a series, greater (CompareLabels) than the one before, canonical.
  virtual Status BeginSeries(LabelsView labels) = 0;
  /// Add a run of samples to the current series: times ascend, and begin after those of the run
  /// before. `starts_ms` has one start timestamp a sample, or is empty. The writer cuts runs into
  /// chunks.
  virtual Status AddFloats(std::span<const int64_t> times_ms, std::span<const double> values,
                           std::span<const int64_t> starts_ms) = 0;
  virtual Status AddHistograms(std::span<const int64_t> times_ms,
                               std::span<const Histogram> histograms,
                               std::span<const int64_t> starts_ms) = 0;
  /// Adds the exemplars of the current series, by time.
  virtual Status AddExemplars(std::span<const Exemplar> exemplars) = 0;
  virtual Status AddMetadata(std::string_view family, const Metadata& metadata) = 0;

  /// Writes the rest and publishes the file, durable. Fills in times, bytes, rows (samples) and
  /// series of `meta`, whose id is that of Create.
  virtual Result<block::BlockMeta> Finish(block::BlockMeta meta) = 0;
};

}  // namespace varve::metrics
