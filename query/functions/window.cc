#include <algorithm>
#include <optional>
#include <vector>

#include "query/functions/histogram_quantile.h"
#include "query/functions/window_parts.h"

namespace varve::query {
namespace {

// --- Regression ---

struct Line {
  double slope;
  double intercept;
};
Line LinearRegression(const int64_t* times, const double* values, size_t count,
                      int64_t intercept_ms) {
  KahanSum x_sum;
  KahanSum y_sum;
  KahanSum xy_sum;
  KahanSum x2_sum;
  bool constant = true;
  for (size_t i = 0; i < count; ++i) {
    if (constant && i > 0 && values[i] != values[0]) constant = false;
    const double x = static_cast<double>(times[i] - intercept_ms) / 1e3;
    KahanAdd(x, x_sum);
    KahanAdd(values[i], y_sum);
    KahanAdd(x * values[i], xy_sum);
    KahanAdd(x * x, x2_sum);
  }
  if (constant) {
    if (std::isinf(values[0])) return {kNan, kNan};
    return {0, values[0]};
  }
  const double n = static_cast<double>(count);
  const double sx = x_sum.sum + x_sum.c;
  const double sy = y_sum.sum + y_sum.c;
  const double sxy = xy_sum.sum + xy_sum.c;
  const double sx2 = x2_sum.sum + x2_sum.c;
  const double covariance = sxy - sx * sy / n;
  const double variance = sx2 - sx * sx / n;
  const double slope = covariance / variance;
  return {slope, sy / n - slope * sx / n};
}

size_t LastExtreme(const double* values, size_t n, bool maximum) {
  size_t best = 0;
  for (size_t i = 0; i < n; ++i) {
    if ((maximum ? values[i] >= values[best] : values[i] <= values[best]) ||
        std::isnan(values[best])) {
      best = i;
    }
  }
  return best;
}

// --- Sums of histograms ---

class HintTracker {
 public:
  void See(const FloatHistogram& h) {
    reset_ |= h.reset_hint == CounterResetHint::kReset;
    not_reset_ |= h.reset_hint == CounterResetHint::kNotReset;
  }
  bool collided() const { return reset_ && not_reset_; }

 private:
  bool reset_ = false;
  bool not_reset_ = false;
};

WindowResult SumHistograms(const WindowSamples& s, bool average, uint32_t* notes) {
  HintTracker hints;
  uint32_t found = 0;
  HistogramSum sum(*s.histograms[0]);
  hints.See(*s.histograms[0]);
  bool incremental = false;
  double count = 1;
  for (size_t i = 1; i < s.histogram_count; ++i) {
    const FloatHistogram& h = *s.histograms[i];
    hints.See(h);
    count = static_cast<double>(i + 1);
    CombineNotes combined;
    if (average && !incremental) {
      HistogramSum next = sum;
      combined = next.Add(h);
      if (!combined.incompatible && !next.overflowed()) {
        sum = std::move(next);
        if (combined.bounds_reconciled) found |= kNoteReconciledAggregation;
        continue;
      }
      if (!combined.incompatible) {
        incremental = true;
        sum.Divide(count - 1);
      }
    }
    if (!combined.incompatible) {
      if (average) {
        sum.Scale((count - 1) / count);
        FloatHistogram part = h;
        Divide(part, count);
        combined = sum.Add(part);
      } else {
        combined = sum.Add(h);
      }
    }
    if (combined.incompatible) {
      *notes |= kNoteMixedSchemas;
      return None();
    }
    if (combined.bounds_reconciled) found |= kNoteReconciledAggregation;
  }
  if (hints.collided()) found |= kNoteResetCollision;
  *notes |= found;
  if (average && !incremental) sum.Divide(count);
  return Histo(sum.Total());
}

}  // namespace

std::string_view ToString(WindowFunction function) {
  static constexpr std::string_view kNames[] = {"rate",
                                                "increase",
                                                "delta",
                                                "irate",
                                                "idelta",
                                                "resets",
                                                "changes",
                                                "deriv",
                                                "predict_linear",
                                                "avg_over_time",
                                                "min_over_time",
                                                "max_over_time",
                                                "sum_over_time",
                                                "count_over_time",
                                                "stddev_over_time",
                                                "stdvar_over_time",
                                                "last_over_time",
                                                "first_over_time",
                                                "present_over_time",
                                                "quantile_over_time",
                                                "mad_over_time",
                                                "ts_of_first_over_time",
                                                "ts_of_last_over_time",
                                                "ts_of_min_over_time",
                                                "ts_of_max_over_time",
                                                "double_exponential_smoothing"};
  return kNames[static_cast<size_t>(function)];
}

WindowResult EvaluateWindow(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms,
                            int64_t eval_ms, const double parameters[2], uint32_t* notes) {
  using enum WindowFunction;
  // Functions of floats skip histograms next to them, and say so.
  const auto only_floats = [&](size_t least) {
    if (s.count > 0 && s.histogram_count > 0 && (s.count >= least || s.count == 1)) {
      *notes |= kNoteHistogramsIgnored;
    }
    return s.count >= least;
  };
  const bool mixed = s.count > 0 && s.histogram_count > 0;
  switch (spec.function) {
    case kRate:
    case kIncrease:
    case kDelta:
      if (spec.edges == WindowEdges::kPlain) return ExtrapolatedRate(spec, s, end_ms, notes);
      if (mixed) {
        *notes |= kNoteMixedFloatsHistograms;
        return None();
      }
      if (s.histogram_count > 0) return ExtendedHistogramRate(spec, s, end_ms, notes);
      return ExtendedFloatRate(spec, s, end_ms);
    case kIrate:
    case kIdelta:
      return InstantDelta(spec.function == kIrate, s, notes);
    case kResets:
    case kChanges:
      return CountEvents(spec, s, end_ms);
    case kDeriv:
      if (!only_floats(2)) return None();
      return Float(LinearRegression(s.times, s.values, s.count, s.times[0]).slope);
    case kPredictLinear: {
      if (!only_floats(2)) return None();
      const Line line = LinearRegression(s.times, s.values, s.count, eval_ms);
      return Float(line.slope * parameters[0] + line.intercept);
    }
    case kSum:
    case kAvg:
      if (mixed) {
        *notes |= kNoteMixedFloatsHistograms;
        return None();
      }
      if (s.histogram_count > 0) return SumHistograms(s, spec.function == kAvg, notes);
      if (s.count == 0) return None();
      return Float(spec.function == kSum ? SumFloats(s.values, s.count)
                                         : AverageFloats(s.values, s.count));
    case kMin:
      if (!only_floats(1)) return None();
      return Float(ExtremeFloat<false>(s.values, s.count));
    case kMax:
      if (!only_floats(1)) return None();
      return Float(ExtremeFloat<true>(s.values, s.count));
    case kTsOfMin:
    case kTsOfMax:
      if (!only_floats(1)) return None();
      return Float(
          static_cast<double>(s.times[LastExtreme(s.values, s.count, spec.function == kTsOfMax)]) /
          1000);
    case kStddev:
      if (!only_floats(1)) return None();
      return Float(std::sqrt(VarianceFloats(s.values, s.count)));
    case kStdvar:
      if (!only_floats(1)) return None();
      return Float(VarianceFloats(s.values, s.count));
    case kCount:
      if (s.count + s.histogram_count == 0) return None();
      return Float(static_cast<double>(s.count + s.histogram_count));
    case kPresent:
      if (s.count + s.histogram_count == 0) return None();
      return Float(1);
    case kLast:
    case kFirst: {
      if (s.count + s.histogram_count == 0) return None();
      const bool last = spec.function == kLast;
      const size_t f = last ? s.count - 1 : 0;
      const size_t h = last ? s.histogram_count - 1 : 0;
      const bool take_float =
          s.histogram_count == 0 || (s.count > 0 && (last ? s.histogram_times[h] < s.times[f]
                                                          : s.times[f] < s.histogram_times[h]));
      if (take_float) return Float(s.values[f]);
      return {true, 0, s.histograms[h]};
    }
    case kTsOfFirst: {
      if (s.count + s.histogram_count == 0) return None();
      int64_t time = std::numeric_limits<int64_t>::max();
      if (s.count > 0) time = s.times[0];
      if (s.histogram_count > 0) time = std::min(time, s.histogram_times[0]);
      return Float(static_cast<double>(time) / 1000);
    }
    case kTsOfLast: {
      if (s.count + s.histogram_count == 0) return None();
      int64_t time = std::numeric_limits<int64_t>::min();
      if (s.count > 0) time = s.times[s.count - 1];
      if (s.histogram_count > 0) time = std::max(time, s.histogram_times[s.histogram_count - 1]);
      return Float(static_cast<double>(time) / 1000);
    }
    case kQuantile: {
      if (s.count == 0) return None();
      if (!(parameters[0] >= 0 && parameters[0] <= 1)) *notes |= kNoteBadQuantile;
      if (s.histogram_count > 0) *notes |= kNoteHistogramsIgnored;
      std::vector<double> values(s.values, s.values + s.count);
      return Float(QuantileOfValues(parameters[0], values));
    }
    case kMad: {
      if (!only_floats(1)) return None();
      std::vector<double> values(s.values, s.values + s.count);
      if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) {
        return Float(kNan);
      }
      const double median = QuantileOfValues(0.5, values);
      for (size_t i = 0; i < s.count; ++i) values[i] = std::fabs(s.values[i] - median);
      return Float(QuantileOfValues(0.5, values));
    }
    case kSmoothing: {
      if (!only_floats(2)) return None();
      const double sf = parameters[0];
      const double tf = parameters[1];
      double s0 = 0;
      double s1 = s.values[0];
      double trend = s.values[1] - s.values[0];
      for (size_t i = 1; i < s.count; ++i) {
        const double x = sf * s.values[i];
        if (i > 1) trend = tf * (s1 - s0) + (1 - tf) * trend;
        const double y = (1 - sf) * (s1 + trend);
        s0 = s1;
        s1 = x + y;
      }
      return Float(s1);
    }
  }
  return None();
}

}  // namespace varve::query
