#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/index/label_index.h"
#include "engine/io/file_system.h"
#include "varve/database.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::metrics {

/// An open metrics block: immutable, thread-safe, shared by snapshots. Series are named by their
/// ordinal, which follows label order.
class MetricsBlock {
 public:
  /// Opens and checks all but the bulk of the samples, whose pages are verified when first read.
  /// Errors: kDataLoss with file and offset, kNotFound, kUnimplemented (later version).
  static Result<std::shared_ptr<const MetricsBlock>> Open(io::FileSystem& fs,
                                                          const std::string& path);
  virtual ~MetricsBlock() = default;

  virtual const block::BlockMeta& meta() const = 0;
  /// The times of the oldest and the newest sample, of the block and of one series.
  virtual TimeRange range() const = 0;
  virtual TimeRange SeriesRange(uint32_t series) const = 0;
  virtual const index::LabelIndexView& labels() const = 0;
  virtual uint64_t chunk_count() const = 0;

  /// Appends the chunks of a series that overlap `range`, in time order; each holds the block.
  virtual Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const = 0;

  virtual bool has_exemplars() const = 0;
  /// Appends the exemplars of a series, by time.
  virtual Status GetExemplars(uint32_t series, std::vector<Exemplar>* out) const = 0;
  /// Adds what the block knows of metric families and `out` does not.
  virtual Status AddMetadata(std::map<std::string, std::vector<Metadata>>* out) const = 0;

  virtual BlockStats Stats() const = 0;
  /// Checks every byte and decodes every chunk. Returns all damage, with file and offset.
  virtual std::vector<Status> VerifyAll() const = 0;
};

}  // namespace varve::metrics
