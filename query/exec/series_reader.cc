#include "query/exec/series_reader.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/macros.h"
#include "engine/base/reset_hints.h"
#include "query/functions/float_histogram.h"

namespace varve::query {
namespace {

/// Axes kept by one reader; beyond that it starts over.
constexpr size_t kAxesBytesMax = 8u << 20;
/// What one random access into a chunk decodes at most.
constexpr uint64_t kValueBlock = 128;

bool IsStale(double value) { return std::bit_cast<uint64_t>(value) == kStaleNanBits; }

}  // namespace

void Axis::Place(const WindowPlan& plan) {
  const uint32_t steps = plan.grid.count;
  begin.resize(steps);
  end.resize(steps);
  const auto count = static_cast<uint32_t>(times.size());
  uint32_t b = 0;
  uint32_t e = 0;
  window_samples = 0;
  widest = 0;
  need_begin = count;
  need_end = 0;
  for (uint32_t i = 0; i < steps; ++i) {
    const int64_t window_end = plan.EndAt(i);
    const int64_t last = window_end + plan.reach_ahead_ms;
    const int64_t before = window_end - plan.reach_back_ms;
    if (i == 0) {
      b = std::upper_bound(times.begin(), times.end(), before) - times.begin();
      e = std::upper_bound(times.begin() + b, times.end(), last) - times.begin();
    } else {
      while (b < count && times[b] <= before) ++b;
      while (e < count && times[e] <= last) ++e;
    }
    begin[i] = b;
    end[i] = std::max(b, e);
    if (end[i] > b) {
      need_begin = std::min(need_begin, b);
      need_end = end[i];
      window_samples += end[i] - b;
      widest = std::max(widest, end[i] - b);
    }
  }
  if (need_begin > need_end) need_begin = need_end = 0;
}

void SeriesReader::Prepare(Axis* axis) const {
  axis->Place(plan_);
  if (!needs_.rate) return;
  std::vector<int64_t> ends(plan_.grid.count);
  for (uint32_t i = 0; i < plan_.grid.count; ++i) ends[i] = plan_.EndAt(i);
  PrepareRate(needs_.spec,
              {axis->times.data(), axis->times.size(), axis->begin.data(), axis->end.data(),
               plan_.grid.count},
              ends.data(), false, &axis->rate);
}

Result<const Axis*> SeriesReader::RecentAxis(std::span<const Chunk> chunks) {
  const auto same_times = [&](const Axis& axis) {
    size_t at = 0;
    for (const Chunk& chunk : chunks) {
      if (chunk.axis == 0 && !std::equal(times_.begin() + at, times_.begin() + at + chunk.count,
                                         axis.times.begin() + at)) {
        return false;
      }
      at += chunk.count;
    }
    return true;
  };
  for (const Chunk& chunk : chunks) key_.push_back(chunk.count);
  for (size_t back = 1; back <= kRecentAxes; ++back) {
    const Recent& recent = recent_[(recent_next_ + kRecentAxes - back) % kRecentAxes];
    if (recent.key == key_ && same_times(recent.axis)) return &recent.axis;
  }
  Recent& recent = recent_[recent_next_];
  recent_next_ = (recent_next_ + 1) % kRecentAxes;
  recent.key.clear();
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.axis != 0) {
      VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(std::span(times_).subspan(at, chunk.count)));
    }
    at += chunk.count;
  }
  recent.axis.times.swap(times_);
  Prepare(&recent.axis);
  recent.key = key_;
  return &recent.axis;
}

Status SeriesReader::Read(const SeriesSet& set, size_t i, SeriesColumns* out) {
  out->axis = nullptr;
  out->axis_is_shared = false;
  out->edges_only = false;
  out->non_decreasing = false;
  out->starts.clear();
  out->histogram_times.clear();
  out->histograms.clear();
  out->histogram_starts.clear();
  out->samples_read = 0;
  out->chunks = 0;
  const TimeRange covered = plan_.Covered();
  VARVE_RETURN_IF_ERROR(set.GetChunks(i, covered, &chunks_));
  floats_.clear();
  bool any_histograms = false;
  for (Chunk& chunk : chunks_) {
    if (!chunk.range().Overlaps(covered)) continue;
    ++out->chunks;
    if (chunk.kind == ChunkKind::kFloat) {
      floats_.push_back(std::move(chunk));
    } else {
      any_histograms = true;
      VARVE_RETURN_IF_ERROR(ReadHistograms(chunk, out));
    }
  }
  if (any_histograms && needs_.track_resets) TrackResets(out);
  if (floats_.empty()) return absl::OkStatus();
  if (needs_.newest_only && plan_.grid.count == 1) {
    // The last chunk begins in the window or before it, so its samples there are the newest.
    const Chunk& last = floats_.back();
    if (last.axis == 0 && last.max_time_ms <= covered.max_ms && !needs_.starts) {
      return ReadLast(last, out);
    }
    return ReadFloats(std::span(&last, 1), out);
  }
  return ReadFloats(floats_, out);
}

Status SeriesReader::ReadLast(const Chunk& chunk, SeriesColumns* out) const {
  out->values.resize(1);
  VARVE_RETURN_IF_ERROR(chunk.DecodeValues(chunk.count - 1, out->values));
  out->own_axis.times.assign(1, chunk.max_time_ms);
  Prepare(&out->own_axis);
  out->axis = &out->own_axis;
  out->samples_read += out->own_axis.need_end - out->own_axis.need_begin;
  return absl::OkStatus();
}

SeriesReader::FloatFacts SeriesReader::Look(std::span<const Chunk> chunks) {
  FloatFacts facts;
  key_.clear();
  for (const Chunk& chunk : chunks) {
    facts.axes_named &= chunk.axis != 0;
    facts.maybe_stale |= !chunk.has(kChunkHasNoStale) && !chunk.has(kChunkHasNoNan);
    facts.rising &=
        chunk.has(kChunkNonDecreasing) || (chunk.has(kChunkConstant) && chunk.has(kChunkHasNoNan));
    facts.has_starts |= chunk.has(kChunkHasStartTimes);
    facts.samples += chunk.count;
    key_.push_back(chunk.axis);
  }
  return facts;
}

Status SeriesReader::ReadFloats(std::span<const Chunk> chunks, SeriesColumns* out) {
  const FloatFacts facts = Look(chunks);
  const bool values_unused = needs_.values_unused && !facts.maybe_stale;
  out->values.resize(facts.samples);
  const Axis* axis = nullptr;
  if (facts.axes_named) {
    VARVE_ASSIGN_OR_RETURN(axis, NamedAxis(chunks, facts.samples));
  } else {
    VARVE_RETURN_IF_ERROR(DecodeWithTimes(chunks, facts.samples, values_unused, out));
    VARVE_ASSIGN_OR_RETURN(axis, RecentAxis(chunks));
  }
  out->axis = axis;
  out->axis_is_shared = true;
  out->samples_read += axis->need_end - axis->need_begin;
  if (facts.has_starts && needs_.starts) {
    VARVE_RETURN_IF_ERROR(ReadStarts(chunks, facts.samples, out));
  }
  if (!values_unused) {
    const bool few_windows =
        uint64_t{plan_.grid.count} * 2 * kValueBlock < axis->need_end - axis->need_begin;
    if (facts.axes_named && needs_.edges_suffice && facts.rising && out->starts.empty() &&
        few_windows) {
      VARVE_ASSIGN_OR_RETURN(const bool done, ReadEdges(chunks, *axis, out));
      if (done) return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(ReadValues(chunks, *axis, facts.axes_named, out));
  }
  out->non_decreasing = facts.rising && chunks.size() == 1;
  if (facts.maybe_stale && !needs_.stale_markers) DropStaleMarkers(out);
  return absl::OkStatus();
}

Result<const Axis*> SeriesReader::NamedAxis(std::span<const Chunk> chunks, size_t samples) {
  const auto found = axes_.find(key_);
  if (found != axes_.end()) return found->second.get();
  if (axes_bytes_ > kAxesBytesMax) {
    axes_.clear();
    axes_bytes_ = 0;
  }
  auto made = std::make_unique<Axis>();
  made->times.resize(samples);
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(std::span(made->times).subspan(at, chunk.count)));
    at += chunk.count;
  }
  Prepare(made.get());
  axes_bytes_ += made->bytes() + key_.size() * 8;
  return axes_.emplace(key_, std::move(made)).first->second.get();
}

Status SeriesReader::DecodeWithTimes(std::span<const Chunk> chunks, size_t samples,
                                     bool values_unused, SeriesColumns* out) {
  times_.resize(samples);
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    const auto times = std::span(times_).subspan(at, chunk.count);
    const auto values = std::span(out->values).subspan(at, chunk.count);
    at += chunk.count;
    if (chunk.axis != 0) continue;
    VARVE_RETURN_IF_ERROR(values_unused ? chunk.DecodeTimes(times)
                                        : chunk.DecodeFloats(times, values));
  }
  return absl::OkStatus();
}

Status SeriesReader::ReadStarts(std::span<const Chunk> chunks, size_t samples, SeriesColumns* out) {
  out->starts.assign(samples, kNoStartTime);
  size_t at = 0;
  for (const Chunk& chunk : chunks) {
    if (chunk.has(kChunkHasStartTimes)) {
      VARVE_RETURN_IF_ERROR(
          chunk.DecodeStartTimes(std::span(out->starts).subspan(at, chunk.count)));
    }
    at += chunk.count;
  }
  return absl::OkStatus();
}

Result<bool> SeriesReader::ReadEdges(std::span<const Chunk> chunks, const Axis& axis,
                                     SeriesColumns* out) {
  const auto read = [&](uint32_t position) -> Status {
    double* const value = &out->values[position];
    for (const Chunk& chunk : chunks) {
      if (position < chunk.count) return chunk.DecodeValues(position, std::span(value, 1));
      position -= chunk.count;
    }
    return MakeStatus(StatusCode::kInternal, "sample position past the chunks");
  };
  // Within a chunk nothing falls; a counter may still do so at the seams.
  uint32_t seam = 0;
  for (size_t c = 0; c + 1 < chunks.size(); ++c) {
    seam += chunks[c].count;
    if (seam <= axis.need_begin || seam >= axis.need_end) continue;
    VARVE_RETURN_IF_ERROR(read(seam - 1));
    VARVE_RETURN_IF_ERROR(read(seam));
    if (out->values[seam] < out->values[seam - 1]) return false;
  }
  for (uint32_t i = 0; i < plan_.grid.count; ++i) {
    if (axis.begin[i] == axis.end[i]) continue;
    const uint32_t first = axis.begin[i];
    const uint32_t last = axis.end[i] - 1;
    VARVE_RETURN_IF_ERROR(read(first));
    if (last != first) VARVE_RETURN_IF_ERROR(read(last));
  }
  out->edges_only = true;
  out->non_decreasing = true;
  return true;
}

Status SeriesReader::ReadValues(std::span<const Chunk> chunks, const Axis& axis, bool axes_named,
                                SeriesColumns* out) {
  uint32_t at = 0;
  for (const Chunk& chunk : chunks) {
    const uint32_t from = std::max(axis.need_begin, at);
    const uint32_t to = std::min(axis.need_end, at + chunk.count);
    // Chunks without an axis gave their values with their times.
    if (from < to && (axes_named || chunk.axis != 0)) {
      VARVE_RETURN_IF_ERROR(
          chunk.DecodeValues(from - at, std::span(out->values).subspan(from, to - from)));
    }
    at += chunk.count;
  }
  return absl::OkStatus();
}

void SeriesReader::DropStaleMarkers(SeriesColumns* out) const {
  const Axis& axis = *out->axis;
  if (std::none_of(out->values.begin() + axis.need_begin, out->values.begin() + axis.need_end,
                   IsStale)) {
    return;
  }
  out->own_axis.times.clear();
  size_t kept = 0;
  for (uint32_t k = axis.need_begin; k < axis.need_end; ++k) {
    if (IsStale(out->values[k])) continue;
    out->own_axis.times.push_back(axis.times[k]);
    out->values[kept] = out->values[k];
    if (!out->starts.empty()) out->starts[kept] = out->starts[k];
    ++kept;
  }
  if (!out->starts.empty()) out->starts.resize(kept);
  Prepare(&out->own_axis);
  out->samples_read -= axis.need_end - axis.need_begin;
  out->samples_read += out->own_axis.need_end - out->own_axis.need_begin;
  out->axis = &out->own_axis;
  out->axis_is_shared = false;
}

void SeriesReader::TrackResets(SeriesColumns* out) {
  const FloatHistogram* before = nullptr;
  for (HistogramPtr& h : out->histograms) {
    const bool unknown = h->reset_hint == CounterResetHint::kUnknown;
    if (unknown && before != nullptr && !IsStaleNan(h->sum)) {
      FloatHistogram copy = *h;
      copy.reset_hint =
          DetectReset(*h, *before) ? CounterResetHint::kReset : CounterResetHint::kNotReset;
      h = std::make_shared<const FloatHistogram>(std::move(copy));
    }
    if (!IsStaleNan(h->sum)) before = h.get();
  }
}

Status SeriesReader::ReadHistograms(const Chunk& chunk, SeriesColumns* out) {
  times_.resize(chunk.count);
  VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(times_));
  VARVE_RETURN_IF_ERROR(chunk.DecodeHistograms(&decoded_));
  if (decoded_.size() != chunk.count) {
    return MakeStatus(StatusCode::kInternal, "chunk gives another number of histograms than times");
  }
  DeriveResetHints(&decoded_);
  std::vector<int64_t> starts;
  if (needs_.starts) {
    starts.assign(chunk.count, kNoStartTime);
    if (chunk.has(kChunkHasStartTimes)) VARVE_RETURN_IF_ERROR(chunk.DecodeStartTimes(starts));
  }
  const TimeRange covered = plan_.Covered();
  for (uint32_t k = 0; k < chunk.count; ++k) {
    if (!covered.Contains(times_[k])) continue;
    if (!needs_.stale_markers && decoded_[k].is_stale()) continue;
    out->histogram_times.push_back(times_[k]);
    FloatHistogram histogram = FloatHistogram::From(decoded_[k]);
    // A reset begins a new chunk, and what a chunk says of the one before it is not trusted:
    // chunks come and go with late data. Resets are found by comparing counts.
    if (histogram.reset_hint == CounterResetHint::kReset) {
      histogram.reset_hint = CounterResetHint::kUnknown;
    }
    out->histograms.push_back(std::make_shared<const FloatHistogram>(std::move(histogram)));
    if (needs_.starts) out->histogram_starts.push_back(starts[k]);
    ++out->samples_read;
  }
  return absl::OkStatus();
}

}  // namespace varve::query
