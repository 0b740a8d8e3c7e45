#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "varve/query.h"

/// Functions of a window of samples: rate and friends, *_over_time. Each step of a range query
/// hands one window to one of them. They know nothing of any query language.
namespace varve::query {

enum class WindowFunction : uint8_t {
  kRate,
  kIncrease,
  kDelta,
  kIrate,
  kIdelta,
  kResets,
  kChanges,
  kDeriv,
  kPredictLinear,  // parameter 0: seconds ahead
  kAvg,
  kMin,
  kMax,
  kSum,
  kCount,
  kStddev,
  kStdvar,
  kLast,
  kFirst,
  kPresent,
  kQuantile,  // parameter 0: phi
  kMad,
  kTsOfFirst,
  kTsOfLast,
  kTsOfMin,
  kTsOfMax,
  kSmoothing,  // parameters: smoothing factor, trend factor
};
std::string_view ToString(WindowFunction function);

/// How a window treats its edges.
enum class WindowEdges : uint8_t {
  kPlain,     // samples in (start, end]
  kAnchored,  // the last sample at or before start counts as one at start
  kSmoothed,  // both edges are interpolated between the samples around them
};

struct WindowSpec {
  WindowFunction function = WindowFunction::kRate;
  WindowEdges edges = WindowEdges::kPlain;
  int64_t range_ms = 0;
};

/// The samples of one window, as columns, times ascending. With anchored or smoothed edges they
/// reach further back (and ahead) than the window.
struct WindowSamples {
  const int64_t* times = nullptr;
  const double* values = nullptr;
  const int64_t* starts = nullptr;  // start timestamps, or null
  size_t count = 0;
  const int64_t* histogram_times = nullptr;
  const HistogramPtr* histograms = nullptr;
  const int64_t* histogram_starts = nullptr;
  size_t histogram_count = 0;
};

/// What there is to say about a window besides its value; a set of these bits.
enum WindowNote : uint32_t {
  kNoteMixedFloatsHistograms = 1u << 0,  // warning: dropped
  kNoteHistogramsIgnored = 1u << 1,      // info
  kNoteNotCounter = 1u << 2,             // warning: a gauge histogram
  kNoteNotGauge = 1u << 3,               // warning: a counter histogram
  kNoteMixedSchemas = 1u << 4,           // warning: dropped
  kNoteReconciledSubtraction = 1u << 5,  // info: custom bounds differed
  kNoteReconciledAddition = 1u << 6,
  kNoteReconciledAggregation = 1u << 7,
  kNoteResetCollision = 1u << 8,  // warning
  kNoteBadQuantile = 1u << 9,     // warning: parameter 0
  kNoteStartOverlap = 1u << 10,   // warning: start time before the previous sample
};

/// One value, or none.
struct WindowResult {
  bool valid = false;
  double value = 0;
  HistogramPtr histogram;  // set instead of value
};

/// Evaluates one window. `end_ms` is the end of the window, `eval_ms` the time of the step (they
/// differ by an offset). Adds bits to `notes`. Cost: linear in the samples; quantiles select.
WindowResult EvaluateWindow(const WindowSpec& spec, const WindowSamples& samples, int64_t end_ms,
                            int64_t eval_ms, const double parameters[2], uint32_t* notes);

/// Finds the sample nearest before or at a time among windows: the anchored or smoothed series of
/// a bare `m[5m] anchored`. Replaces both columns by the points from `start_ms` to `end_ms`.
void ExtendToEdges(WindowEdges edges, int64_t start_ms, int64_t end_ms, std::vector<int64_t>* times,
                   std::vector<double>* values);

/// Interpolates a smoothed instant selector at `time_ms` between two histograms. Null if they
/// cannot be combined.
HistogramPtr InterpolateHistogram(int64_t t1, const FloatHistogram& h1, int64_t t2,
                                  const FloatHistogram& h2, int64_t time_ms, bool counter);
/// Interpolates between two floats.
double InterpolateFloat(int64_t t1, double v1, int64_t t2, double v2, int64_t time_ms,
                        bool counter);

// --- Whole rows of plain float windows ---

/// The windows of one row over one time axis: step i covers samples [begin[i], end[i]).
struct RowWindows {
  const int64_t* times = nullptr;
  size_t count = 0;
  const uint32_t* begin = nullptr;
  const uint32_t* end = nullptr;
  uint32_t steps = 0;
};
/// What rate, increase and delta need of a window besides its values; the same for all series that
/// share the axis.
struct RateWindow {
  double factor;       // scales the difference, if nothing is clamped at zero
  double interval;     // seconds from first to last sample
  double to_start;     // seconds extrapolated to the left
  double to_end;       // to the right
  double clamp_ratio;  // first <= difference * this: the clamp at zero may matter
};
/// Computes those for all steps whose windows have at least two samples.
void PrepareRate(const WindowSpec& spec, const RowWindows& windows, const int64_t* ends_ms,
                 bool fixed_end, std::vector<RateWindow>* out);

/// Says whether EvaluateRow can do the function.
bool HasRowKernel(WindowFunction function);
/// Evaluates all windows of a row of floats without start timestamps, with the same bits as
/// EvaluateWindow. `resets` lists, ascending, the positions p with values[p] < values[p - 1];
/// needed by the functions for which NeedsResets. Writes values and sets bits of `valid`.
bool NeedsResets(WindowFunction function);
struct RowInput {
  RowWindows windows;
  const double* values = nullptr;
  const uint32_t* resets = nullptr;
  size_t resets_count = 0;
  const RateWindow* rate = nullptr;   // for rate, increase and delta
  const double* parameter = nullptr;  // per step, for quantile
  double range_seconds = 0;
  std::vector<double>* scratch = nullptr;
};
void EvaluateRow(WindowFunction function, const RowInput& input, double* out, uint64_t* valid);

}  // namespace varve::query
