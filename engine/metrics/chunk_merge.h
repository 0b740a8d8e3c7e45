#pragma once

#include <cstdint>
#include <vector>

#include "varve/scan.h"

namespace varve::metrics {

/// Decoded samples of one series and one kind, times strictly ascending. Spare columns are empty:
/// `starts` when no sample has a start timestamp, `values` or `histograms` by kind.
struct SampleRun {
  ChunkKind kind = ChunkKind::kFloat;
  std::vector<int64_t> times;
  std::vector<double> values;
  std::vector<Histogram> histograms;
  std::vector<int64_t> starts;

  size_t size() const { return times.size(); }
};

/// Returns the ChunkFlags that hold for a column of values.
uint32_t FlagsOf(const std::vector<double>& values);

/// Wraps decoded samples as a chunk that owns them. Precondition: not empty.
Chunk MakeChunk(SampleRun run);

/// Decodes a chunk, and drops samples outside `keep`.
Status DecodeChunk(const Chunk& chunk, SampleRun* out, TimeRange keep = {});

/// Appends the chunks of several sources as one sequence in time order without overlaps. Each
/// source is in time order and disjoint; of samples at one time the earliest source's wins.
/// Chunks that overlap nothing pass through untouched; the others are decoded and merged.
Status MergeChunks(std::vector<std::vector<Chunk>> sources, std::vector<Chunk>* out);

/// Replaces chunks that touch a deleted range by what is left of them. `deleted` is sorted and
/// disjoint.
Status CutChunks(const std::vector<TimeRange>& deleted, std::vector<Chunk>* chunks);

}  // namespace varve::metrics
