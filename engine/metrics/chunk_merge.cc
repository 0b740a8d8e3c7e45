#include "engine/metrics/chunk_merge.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <tuple>
#include <utility>

#include "engine/base/macros.h"

namespace varve::metrics {
namespace {

/// Holds one decoded run behind a Chunk handle.
class DecodedRun final : public Chunk::Impl {
 public:
  explicit DecodedRun(SampleRun run) : run_(std::move(run)) {}
  const SampleRun& run() const { return run_; }

  Status DecodeTimes(uint32_t, std::span<int64_t> out) const override {
    std::copy_n(run_.times.begin(), out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeValues(uint32_t, uint32_t begin, std::span<double> out) const override {
    std::copy_n(run_.values.begin() + begin, out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeStartTimes(uint32_t, std::span<int64_t> out) const override {
    if (run_.starts.empty()) {
      std::fill(out.begin(), out.end(), kNoStartTime);
    } else {
      std::copy_n(run_.starts.begin(), out.size(), out.begin());
    }
    return absl::OkStatus();
  }
  Status DecodeHistograms(uint32_t, std::vector<Histogram>* out) const override {
    *out = run_.histograms;
    return absl::OkStatus();
  }

 private:
  SampleRun run_;
};

/// Merges decoded runs, given in order of precedence, and appends the result as chunks.
void MergeRuns(std::vector<SampleRun>& runs, std::vector<Chunk>* out) {
  struct At {
    int64_t time;
    uint32_t run;
    uint32_t index;
  };
  std::vector<At> order;
  for (uint32_t r = 0; r < runs.size(); ++r) {
    for (uint32_t i = 0; i < runs[r].size(); ++i) order.push_back({runs[r].times[i], r, i});
  }
  std::sort(order.begin(), order.end(), [](const At& a, const At& b) {
    return std::tie(a.time, a.run, a.index) < std::tie(b.time, b.run, b.index);
  });
  order.erase(std::unique(order.begin(), order.end(),
                          [](const At& a, const At& b) { return a.time == b.time; }),
              order.end());
  for (size_t begin = 0; begin < order.size();) {
    SampleRun merged;
    merged.kind = runs[order[begin].run].kind;
    size_t end = begin;
    bool has_starts = false;
    while (end < order.size() && runs[order[end].run].kind == merged.kind) {
      has_starts |= !runs[order[end].run].starts.empty();
      ++end;
    }
    merged.times.reserve(end - begin);
    for (size_t i = begin; i < end; ++i) {
      SampleRun& from = runs[order[i].run];
      const uint32_t index = order[i].index;
      merged.times.push_back(order[i].time);
      if (merged.kind == ChunkKind::kFloat) {
        merged.values.push_back(from.values[index]);
      } else {
        merged.histograms.push_back(std::move(from.histograms[index]));
        // Neighbours have changed, so what a hint says of them no longer holds.
        Histogram& h = merged.histograms.back();
        if (h.reset_hint != CounterResetHint::kGauge) h.reset_hint = CounterResetHint::kUnknown;
      }
      if (has_starts) {
        merged.starts.push_back(from.starts.empty() ? kNoStartTime : from.starts[index]);
      }
    }
    out->push_back(MakeChunk(std::move(merged)));
    begin = end;
  }
}

}  // namespace

uint32_t FlagsOf(const std::vector<double>& values) {
  uint32_t flags = kChunkHasNoNan | kChunkHasNoStale | kChunkNonDecreasing | kChunkConstant;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto bits = std::bit_cast<uint64_t>(values[i]);
    if (std::isnan(values[i])) {
      flags &= ~(kChunkHasNoNan | kChunkNonDecreasing);
      if (bits == kStaleNanBits) flags &= ~kChunkHasNoStale;
    }
    if (i == 0) continue;
    if (bits != std::bit_cast<uint64_t>(values[i - 1])) flags &= ~kChunkConstant;
    if (!(values[i] >= values[i - 1])) flags &= ~kChunkNonDecreasing;
  }
  return flags;
}

Chunk MakeChunk(SampleRun run) {
  VARVE_CHECK(!run.times.empty());
  if (std::all_of(run.starts.begin(), run.starts.end(),
                  [](int64_t start) { return start == kNoStartTime; })) {
    run.starts.clear();
  }
  Chunk chunk;
  chunk.kind = run.kind;
  if (run.kind == ChunkKind::kFloat) chunk.flags = FlagsOf(run.values);
  if (!run.starts.empty()) chunk.flags |= kChunkHasStartTimes;
  chunk.count = static_cast<uint32_t>(run.times.size());
  chunk.min_time_ms = run.times.front();
  chunk.max_time_ms = run.times.back();
  chunk.impl = std::make_shared<const DecodedRun>(std::move(run));
  return chunk;
}

Status DecodeChunk(const Chunk& chunk, SampleRun* out, TimeRange keep) {
  out->kind = chunk.kind;
  out->times.resize(chunk.count);
  out->values.clear();
  out->histograms.clear();
  out->starts.clear();
  if (chunk.kind == ChunkKind::kFloat) {
    out->values.resize(chunk.count);
    VARVE_RETURN_IF_ERROR(chunk.DecodeFloats(out->times, out->values));
  } else {
    VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(out->times));
    VARVE_RETURN_IF_ERROR(chunk.DecodeHistograms(&out->histograms));
    if (out->histograms.size() != chunk.count) {
      return MakeStatus(StatusCode::kDataLoss, "histogram chunk: wrong number of samples");
    }
  }
  if (chunk.has(kChunkHasStartTimes)) {
    out->starts.resize(chunk.count);
    VARVE_RETURN_IF_ERROR(chunk.DecodeStartTimes(out->starts));
  }
  const auto first = std::lower_bound(out->times.begin(), out->times.end(), keep.min_ms);
  const auto last = std::upper_bound(first, out->times.end(), keep.max_ms);
  const size_t begin = first - out->times.begin();
  const size_t end = last - out->times.begin();
  if (begin == 0 && end == chunk.count) return absl::OkStatus();
  const auto cut = [begin, end](auto& column) {
    if (column.empty()) return;
    column.erase(column.begin() + end, column.end());
    column.erase(column.begin(), column.begin() + begin);
  };
  cut(out->times);
  cut(out->values);
  cut(out->histograms);
  cut(out->starts);
  return absl::OkStatus();
}

Status MergeChunks(std::vector<std::vector<Chunk>> sources, std::vector<Chunk>* out) {
  std::erase_if(sources, [](const std::vector<Chunk>& chunks) { return chunks.empty(); });
  if (sources.size() == 1) {
    std::move(sources[0].begin(), sources[0].end(), std::back_inserter(*out));
    return absl::OkStatus();
  }
  struct Entry {
    Chunk chunk;
    size_t source;
  };
  std::vector<Entry> entries;
  for (size_t source = 0; source < sources.size(); ++source) {
    for (Chunk& chunk : sources[source]) entries.push_back({std::move(chunk), source});
  }
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.chunk.min_time_ms < b.chunk.min_time_ms;
  });
  for (size_t begin = 0; begin < entries.size();) {
    int64_t reach = entries[begin].chunk.max_time_ms;
    size_t end = begin + 1;
    while (end < entries.size() && entries[end].chunk.min_time_ms <= reach) {
      reach = std::max(reach, entries[end].chunk.max_time_ms);
      ++end;
    }
    if (end == begin + 1) {
      out->push_back(std::move(entries[begin].chunk));
    } else {
      std::stable_sort(entries.begin() + begin, entries.begin() + end,
                       [](const Entry& a, const Entry& b) { return a.source < b.source; });
      std::vector<SampleRun> runs(end - begin);
      for (size_t i = begin; i < end; ++i) {
        VARVE_RETURN_IF_ERROR(DecodeChunk(entries[i].chunk, &runs[i - begin]));
      }
      MergeRuns(runs, out);
    }
    begin = end;
  }
  return absl::OkStatus();
}

Status CutChunks(const std::vector<TimeRange>& deleted, std::vector<Chunk>* chunks) {
  if (deleted.empty()) return absl::OkStatus();
  std::vector<Chunk> kept;
  for (Chunk& chunk : *chunks) {
    const bool touched = std::any_of(deleted.begin(), deleted.end(), [&](const TimeRange& range) {
      return range.Overlaps(chunk.range());
    });
    if (!touched) {
      kept.push_back(std::move(chunk));
      continue;
    }
    SampleRun run;
    VARVE_RETURN_IF_ERROR(DecodeChunk(chunk, &run));
    SampleRun left;
    left.kind = run.kind;
    size_t range = 0;
    for (size_t i = 0; i < run.size(); ++i) {
      while (range < deleted.size() && deleted[range].max_ms < run.times[i]) ++range;
      if (range < deleted.size() && deleted[range].Contains(run.times[i])) continue;
      left.times.push_back(run.times[i]);
      if (run.kind == ChunkKind::kFloat) {
        left.values.push_back(run.values[i]);
      } else {
        left.histograms.push_back(std::move(run.histograms[i]));
        Histogram& h = left.histograms.back();
        if (h.reset_hint != CounterResetHint::kGauge) h.reset_hint = CounterResetHint::kUnknown;
      }
      if (!run.starts.empty()) left.starts.push_back(run.starts[i]);
    }
    if (!left.times.empty()) kept.push_back(MakeChunk(std::move(left)));
  }
  *chunks = std::move(kept);
  return absl::OkStatus();
}

}  // namespace varve::metrics
