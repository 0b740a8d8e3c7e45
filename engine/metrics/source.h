#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/index/matchers.h"
#include "engine/index/merged_selection.h"
#include "engine/index/postings.h"
#include "engine/metrics/block_reader.h"
#include "engine/metrics/head.h"
#include "varve/scan.h"

namespace varve::metrics {

/// One place that series live in, frozen for its reader: a head at a sequence, or a block under
/// its tombstones. Series are named by ordinals of the source. Immutable and thread-safe; views
/// and chunks live as long as the source.
class Source {
 public:
  virtual ~Source() = default;
  /// Finds series that match and may have samples in `range`, in label order.
  virtual Result<std::vector<uint32_t>> Select(std::span<const index::CompiledMatcher> matchers,
                                               TimeRange range) const = 0;
  virtual void GetLabels(uint32_t series, std::vector<LabelView>* out) const = 0;
  virtual std::string_view GetLabel(uint32_t series, std::string_view name) const = 0;
  /// Appends chunks that overlap `range`: in time order, disjoint, untrimmed.
  virtual Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const = 0;
  /// The times of all samples; min > max if there are none.
  virtual TimeRange range() const = 0;
  /// Add names, or values of `name`, over the series in `within` (all if null) to `out`.
  virtual void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                          std::vector<std::string>* out) const = 0;
  virtual void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                           std::vector<std::string>* out) const = 0;
  /// Tells that some series may have no samples left, so that listings must select first.
  virtual bool has_hidden_series() const = 0;
  /// Adds exemplars with times in `range` of the given series, by position in `series`.
  virtual Status GetExemplars(const std::vector<uint32_t>& series, TimeRange range,
                              std::vector<std::pair<uint32_t, Exemplar>>* out) const = 0;
  virtual Status AddMetadata(std::map<std::string, std::vector<Metadata>>* out) const = 0;
  virtual Cardinality CardinalityStats(size_t top) const = 0;
  /// Says that GetChunks of this series comes soon.
  virtual void Prefetch(uint32_t /*series*/) const {}
};
using SourcePtr = std::shared_ptr<const Source>;

/// Pins `head` at its current state. Call under the append lock.
SourcePtr MakeHeadSource(std::shared_ptr<const Head> head);

/// Samples that a deletion hides in one block.
struct HiddenRange {
  index::Postings series;
  TimeRange range;
};
SourcePtr MakeBlockSource(std::shared_ptr<const MetricsBlock> block,
                          std::vector<HiddenRange> hidden);

/// Puts the newest sample that `source`, made of `block`, has of a series into `newest` if it is
/// newer. A sample that cannot be read counts as absent.
void FindNewest(const MetricsBlock& block, const Source& source, LabelsView labels,
                NewestSample* newest);

/// Several sources seen as one, earlier ones winning where samples coincide.
class MergedSeries : public index::MergedSelection<SourcePtr> {
 public:
  using MergedSelection::MergedSelection;
  static MergedSeries Merge(std::vector<SourcePtr> sources,
                            const std::vector<std::vector<uint32_t>>& selected) {
    return MergedSeries(std::move(sources), selected);
  }
  Status GetChunks(size_t i, TimeRange range, std::vector<Chunk>* out) const;
};

}  // namespace varve::metrics
