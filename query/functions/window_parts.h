#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "query/functions/float_histogram.h"
#include "query/functions/kahan.h"
#include "query/functions/window.h"

/// What the files window*.cc share: window.cc chooses, window_counters.cc has the functions that
/// look at differences of neighbours, window_row.cc evaluates whole rows with the same bits.
namespace varve::query {

inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

inline WindowResult None() { return {}; }
inline WindowResult Float(double value) { return {true, value, nullptr}; }
inline WindowResult Histo(FloatHistogram h) {
  return {true, 0, std::make_shared<const FloatHistogram>(std::move(h))};
}

// --- Functions of differences, as EvaluateWindow gives them ---

/// Rate, increase and delta with plain edges, extrapolated to those of the window.
WindowResult ExtrapolatedRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms,
                              uint32_t* notes);
/// The same with anchored or smoothed edges, for windows of floats or of histograms.
WindowResult ExtendedFloatRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms);
WindowResult ExtendedHistogramRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms,
                                   uint32_t* notes);
/// irate and idelta: the last two samples.
WindowResult InstantDelta(bool rate, const WindowSamples& s, uint32_t* notes);
/// Counts resets or changes; an anchored window starts at the last sample at or before its start.
WindowResult CountEvents(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms);

// --- Sums of floats ---

inline double SumFloats(const double* values, size_t count) {
  double sum = 0;
  double c = 0;
  for (size_t i = 0; i < count; ++i) KahanAddLoose(values[i], sum, c);
  return KahanTotal(sum, c);
}

inline double AverageFloats(const double* values, size_t n) {
  double sum = values[0];
  double c = 0;
  double mean = 0;
  double count = 1;
  bool incremental = false;
  for (size_t i = 1; i < n; ++i) {
    count = static_cast<double>(i + 1);
    if (!incremental) {
      double new_sum = sum;
      double new_c = c;
      KahanAdd(values[i], new_sum, new_c);
      if (!std::isinf(new_sum)) {
        sum = new_sum;
        c = new_c;
        continue;
      }
      // The sum overflows: from here on carry the mean instead.
      incremental = true;
      mean = sum / (count - 1);
      c /= count - 1;
    }
    const double q = (count - 1) / count;
    mean *= q;
    c *= q;
    KahanAdd(values[i] / count, mean, c);
  }
  return incremental ? mean + c : sum / count + c / count;
}

inline double VarianceFloats(const double* values, size_t n) {
  double count = 0;
  KahanSum mean;
  KahanSum aux;
  for (size_t i = 0; i < n; ++i) {
    count += 1;
    const double delta = values[i] - (mean.sum + mean.c);
    KahanAdd(delta / count, mean);
    KahanAdd(delta * (values[i] - (mean.sum + mean.c)), aux);
  }
  return (aux.sum + aux.c) / count;
}

template <bool kMax>
double ExtremeFloat(const double* values, size_t n) {
  double best = values[0];
  for (size_t i = 1; i < n; ++i) {
    if ((kMax ? values[i] > best : values[i] < best) || std::isnan(best)) best = values[i];
  }
  return best;
}

}  // namespace varve::query
