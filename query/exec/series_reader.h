#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "query/exec/tile.h"
#include "query/functions/window.h"
#include "varve/scan.h"

namespace varve::query {

/// Says which samples the steps of a grid look at: step i covers (end - reach_back, end +
/// reach_ahead] with end = (at, or the time of the step) - offset.
struct WindowPlan {
  StepGrid grid;
  int64_t offset_ms = 0;
  bool has_at = false;
  int64_t at_ms = 0;
  int64_t reach_back_ms = 0;
  int64_t reach_ahead_ms = 0;

  int64_t EndAt(uint32_t step) const { return (has_at ? at_ms : grid.At(step)) - offset_ms; }
  /// The times that any step can see; closed.
  TimeRange Covered() const {
    return {EndAt(0) - reach_back_ms + 1, EndAt(grid.count - 1) + reach_ahead_ms};
  }
};

/// Timestamps with the windows of a plan over them. Computed once for all series of one scrape
/// target, which share their timestamps.
struct Axis {
  std::vector<int64_t> times;
  std::vector<uint32_t> begin;  // per step: samples [begin, end) lie in the window
  std::vector<uint32_t> end;
  std::vector<RateWindow> rate;  // only if the operator asked for it
  uint32_t need_begin = 0;       // samples [need_begin, need_end) lie in some window
  uint32_t need_end = 0;
  uint64_t window_samples = 0;  // summed over steps
  uint32_t widest = 0;

  void Place(const WindowPlan& plan);
  size_t bytes() const {
    return times.capacity() * 8 + (begin.capacity() + end.capacity()) * 4 +
           rate.capacity() * sizeof(RateWindow);
  }
};

/// The samples of one series that a plan may look at, as columns. The float columns cover the
/// whole axis, but values are only there for [need_begin, need_end).
struct SeriesColumns {
  const Axis* axis = nullptr;
  bool axis_is_shared = false;  // the same object for other series; else it is own_axis
  Axis own_axis;
  std::vector<double> values;
  std::vector<int64_t> starts;  // start timestamps along the axis; empty if there are none
  /// No value is below the one before it, and only values at window edges are there.
  bool edges_only = false;
  bool non_decreasing = false;

  std::vector<int64_t> histogram_times;
  std::vector<HistogramPtr> histograms;
  std::vector<int64_t> histogram_starts;

  uint64_t samples_read = 0;
  uint64_t chunks = 0;
  bool floats() const { return axis != nullptr && !axis->times.empty(); }
};

/// Reads series for one plan. One a thread: it caches axes. Not thread-safe.
class SeriesReader {
 public:
  struct Needs {
    bool starts = false;         // start timestamps
    bool stale_markers = false;  // keep them (instant selectors); windows never see them
    bool rate = false;           // prepare Axis::rate for `spec`
    WindowSpec spec;
    /// Only the first and last sample of each window matter where nothing falls in between.
    bool edges_suffice = false;
    bool values_unused = false;  // only how many samples there are matters
    bool newest_only = false;    // only the newest sample of each window matters
    bool track_resets = false;   // fill in reset hints of histograms by comparing neighbours
  };
  SeriesReader(const WindowPlan& plan, const Needs& needs) : plan_(plan), needs_(needs) {}

  /// Replaces `out` by the samples of series `i`; valid until the next call.
  /// Errors: kDataLoss, kUnavailable.
  Status Read(const SeriesSet& set, size_t i, SeriesColumns* out);

 private:
  /// What the float chunks of a series say of themselves, all together.
  struct FloatFacts {
    bool axes_named = true;  // each says which axis it has
    bool maybe_stale = false;
    bool rising = true;  // in none of them a value is below the one before it
    bool has_starts = false;
    size_t samples = 0;
  };
  /// Looks at chunks; puts their axes into key_.
  FloatFacts Look(std::span<const Chunk> chunks);
  Status ReadFloats(std::span<const Chunk> chunks, SeriesColumns* out);
  /// Gives the last sample of a chunk alone.
  Status ReadLast(const Chunk& chunk, SeriesColumns* out) const;
  /// Finds or makes the axis of chunks that all name theirs, by key_.
  Result<const Axis*> NamedAxis(std::span<const Chunk> chunks, size_t samples);
  /// Decodes chunks that do not name their axis: times to times_, and values unless they are
  /// unused.
  Status DecodeWithTimes(std::span<const Chunk> chunks, size_t samples, bool values_unused,
                         SeriesColumns* out);
  static Status ReadStarts(std::span<const Chunk> chunks, size_t samples, SeriesColumns* out);
  /// Reads values at the edges of windows only: few windows over many samples that do not fall.
  /// Gives false if some do, at a seam of two chunks.
  Result<bool> ReadEdges(std::span<const Chunk> chunks, const Axis& axis, SeriesColumns* out);
  static Status ReadValues(std::span<const Chunk> chunks, const Axis& axis, bool axes_named,
                           SeriesColumns* out);
  /// Windows do not see stale markers: where there are some, the series gets an axis without.
  void DropStaleMarkers(SeriesColumns* out) const;
  Status ReadHistograms(const Chunk& chunk, SeriesColumns* out);
  static void TrackResets(SeriesColumns* out);
  void Prepare(Axis* axis) const;
  /// Finds or makes the axis of chunks of which some do not say which axis they have; the times of
  /// those must be in times_ already. One of the last few will do if it has the same times:
  /// neighbours often come from one scrape target even where nothing says so. Valid for this and
  /// the next kRecentAxes - 1 calls.
  Result<const Axis*> RecentAxis(std::span<const Chunk> chunks);

  const WindowPlan plan_;
  const Needs needs_;
  std::vector<Chunk> chunks_;
  std::vector<Chunk> floats_;
  std::vector<uint64_t> key_;
  std::vector<Histogram> decoded_;
  std::vector<int64_t> times_;
  absl::flat_hash_map<std::vector<uint64_t>, std::unique_ptr<Axis>> axes_;
  size_t axes_bytes_ = 0;
  static constexpr size_t kRecentAxes = 4;
  struct Recent {
    std::vector<uint64_t> key;  // axes of the chunks, 0 where unknown, and their counts
    Axis axis;
  };
  std::array<Recent, kRecentAxes> recent_;
  size_t recent_next_ = 0;  // the oldest one
};

}  // namespace varve::query
