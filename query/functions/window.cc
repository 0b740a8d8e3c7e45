#include "query/functions/window.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "query/functions/float_histogram.h"
#include "query/functions/histogram_quantile.h"
#include "query/functions/kahan.h"

namespace varve::query {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

WindowResult None() { return {}; }
WindowResult Float(double value) { return {true, value, nullptr}; }
WindowResult Histo(FloatHistogram h) {
  return {true, 0, std::make_shared<const FloatHistogram>(std::move(h))};
}

/// Tells from start timestamps whether a counter began anew between two samples. A start that is
/// unknown or not before its own sample says nothing. A start exactly at the previous sample means
/// so only if that sample knows its own start: otherwise it is OpenTelemetry's way to say that the
/// true start is unknown.
bool StartsAnew(int64_t previous_start, int64_t previous_time, int64_t start, int64_t time) {
  if (start == kNoStartTime || start >= time || start < previous_time) return false;
  if (start > previous_time) return true;
  return previous_start != kNoStartTime && previous_start < previous_time;
}

bool StartsAnew(const int64_t* starts, const int64_t* times, size_t i) {
  return starts != nullptr && StartsAnew(starts[i - 1], times[i - 1], starts[i], times[i]);
}

/// Tells whether a start lies before the previous sample without being that sample's start.
bool AnyStartOverlaps(const int64_t* starts, const int64_t* times, size_t count) {
  if (starts == nullptr) return false;
  for (size_t i = 1; i < count; ++i) {
    if (starts[i] != kNoStartTime && starts[i] < times[i - 1] && starts[i] != starts[i - 1]) {
      return true;
    }
  }
  return false;
}

bool IsGauge(const FloatHistogram& h) { return h.reset_hint == CounterResetHint::kGauge; }

// --- Rate, increase, delta ---

/// Sums the differences of counter histograms over a window, resets added back. With
/// `zero_first` the counter was zero before the first one. Null with a note if they do not mix.
std::optional<FloatHistogram> HistogramDelta(const WindowSamples& s, bool counter, bool zero_first,
                                             uint32_t* notes) {
  const size_t n = s.histogram_count;
  const FloatHistogram& first = *s.histograms[0];
  const FloatHistogram& last = *s.histograms[n - 1];
  uint32_t found = 0;
  if (counter) {
    for (size_t i = 0; i < n; ++i) {
      if (IsGauge(*s.histograms[i])) found |= kNoteNotCounter;
    }
  } else if (!IsGauge(first) || !IsGauge(last)) {
    found |= kNoteNotGauge;
  }

  const FloatHistogram* base = &first;
  FloatHistogram nothing;
  const auto reset_at = [&](size_t i, const FloatHistogram& previous) {
    return StartsAnew(s.histogram_starts, s.histogram_times, i) ||
           DetectReset(*s.histograms[i], previous);
  };
  // After a reset between the first two, or from zero, the layout of the first does not matter.
  const bool reset_second = counter && n > 1 && reset_at(1, first);
  if (zero_first || reset_second) {
    const FloatHistogram& like = reset_second ? *s.histograms[1] : first;
    nothing.schema = like.schema;
    nothing.custom_values = like.custom_values;
    base = &nothing;
  }
  const bool custom = base->uses_custom_buckets();
  if (last.uses_custom_buckets() != custom) {
    *notes |= found | kNoteMixedSchemas;
    return std::nullopt;
  }
  int32_t schema = std::min(last.schema, base->schema);
  if (counter) {
    for (size_t i = 1; i + 1 < n; ++i) {
      const FloatHistogram& h = *s.histograms[i];
      schema = std::min(schema, h.schema);
      if (h.uses_custom_buckets() != custom) {
        *notes |= kNoteMixedSchemas;
        return std::nullopt;
      }
    }
  }
  FloatHistogram out = last;
  if (!custom) ReduceResolution(out, schema);
  if (Subtract(out, *base).bounds_reconciled) found |= kNoteReconciledSubtraction;
  if (counter) {
    // Without a start from zero, what the first one had counted was there before the window.
    const FloatHistogram* previous = zero_first ? &first : base;
    for (size_t i = 1; i < n; ++i) {
      const bool reset = i == 1 ? (reset_second && zero_first) : reset_at(i, *previous);
      if (reset && Add(out, *previous).bounds_reconciled) found |= kNoteReconciledAddition;
      previous = s.histograms[i].get();
    }
  }
  *notes |= found;
  out.reset_hint = CounterResetHint::kGauge;
  return Compact(out, 0);
}

WindowResult ExtrapolatedRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms,
                              uint32_t* notes) {
  const bool counter = spec.function != WindowFunction::kDelta;
  const bool per_second = spec.function == WindowFunction::kRate;
  if (s.count > 0 && s.histogram_count > 0) {
    *notes |= kNoteMixedFloatsHistograms;
    return None();
  }
  const int64_t start_ms = end_ms - spec.range_ms;
  const bool floats = s.count > 0;
  const size_t n = floats ? s.count : s.histogram_count;
  if (n == 0) return None();
  const int64_t* times = floats ? s.times : s.histogram_times;
  const int64_t* starts = floats ? s.starts : s.histogram_starts;

  // A start time inside the window is a sample of value zero.
  const bool zero_first = counter && starts != nullptr && starts[0] != kNoStartTime &&
                          starts[0] > start_ms && starts[0] < times[0];
  if (n < 2 && !zero_first) return None();
  if (counter && AnyStartOverlaps(starts, times, n)) *notes |= kNoteStartOverlap;

  double value = 0;
  std::optional<FloatHistogram> histogram;
  double first_value = 0;
  double difference = 0;
  if (floats) {
    first_value = s.values[0];
    value = s.values[n - 1] - (zero_first ? 0.0 : first_value);
    if (counter) {
      for (size_t i = 1; i < n; ++i) {
        if (s.values[i] < s.values[i - 1] || StartsAnew(starts, times, i)) {
          value += s.values[i - 1];
        }
      }
    }
    difference = value;
  } else {
    histogram = HistogramDelta(s, counter, zero_first, notes);
    if (!histogram) return None();
    first_value = s.histograms[0]->count;
    difference = histogram->count;
  }

  const int64_t first_ms = zero_first ? starts[0] : times[0];
  const int64_t last_ms = times[n - 1];
  double to_start = static_cast<double>(first_ms - start_ms) / 1000;
  double to_end = static_cast<double>(end_ms - last_ms) / 1000;
  const double interval = static_cast<double>(last_ms - first_ms) / 1000;
  if (zero_first) {
    const double gap =
        n > 1 ? static_cast<double>(last_ms - times[0]) / 1000 / static_cast<double>(n - 1) : 0;
    to_start = 0;
    if (to_end >= gap * 1.1) to_end = gap / 2;
  } else {
    const double gap = interval / static_cast<double>(n - 1);
    const double threshold = gap * 1.1;
    if (to_start >= threshold) to_start = gap / 2;
    if (counter) {
      double to_zero = to_start;
      if (difference > 0 && first_value >= 0) to_zero = interval * (first_value / difference);
      if (to_zero < to_start) to_start = to_zero;
    }
    if (to_end >= threshold) to_end = gap / 2;
  }
  double factor = (interval + to_start + to_end) / interval;
  if (per_second) factor /= static_cast<double>(spec.range_ms) / 1000;
  if (floats) return Float(value * factor);
  Scale(*histogram, factor);
  return Histo(std::move(*histogram));
}

/// Finds the samples at or around the edges of an extended window: [first, last].
struct Extent {
  size_t first = 0;
  size_t last = 0;
  bool empty = false;
};
Extent FindExtent(const int64_t* times, size_t count, WindowEdges edges, int64_t start_ms,
                  int64_t end_ms) {
  Extent out;
  if (count == 0) {
    out.empty = true;
    return out;
  }
  const size_t after = std::upper_bound(times, times + count - 1, start_ms) - times;
  out.first = after > 0 ? after - 1 : 0;
  out.last = count - 1;
  if (edges == WindowEdges::kSmoothed) {
    out.last = std::lower_bound(times, times + count - 1, end_ms) - times;
  }
  out.empty = times[out.last] <= start_ms || times[out.first] > end_ms;
  return out;
}

WindowResult ExtendedFloatRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms) {
  const bool counter = spec.function != WindowFunction::kDelta;
  const bool smoothed = spec.edges == WindowEdges::kSmoothed;
  const int64_t start_ms = end_ms - spec.range_ms;
  Extent at = FindExtent(s.times, s.count, spec.edges, start_ms, end_ms);
  if (at.empty) return None();
  const auto interpolate = [&](size_t i, int64_t time) {
    return InterpolateFloat(s.times[i], s.values[i], s.times[i + 1], s.values[i + 1], time,
                            counter);
  };
  const double left = smoothed && s.times[at.first] < start_ms ? interpolate(at.first, start_ms)
                                                               : s.values[at.first];
  const double right = smoothed && at.last > 0 && s.times[at.last] > end_ms
                           ? interpolate(at.last - 1, end_ms)
                           : s.values[at.last];
  double value = right - left;
  if (counter) {
    // The edges have taken care of resets next to them; what is strictly inside is left.
    size_t begin = at.first;
    size_t end = at.last + 1;
    if (s.times[begin] <= start_ms) ++begin;
    if (s.times[end - 1] >= end_ms) --end;
    double correction = 0;
    double previous = left;
    for (size_t i = begin; i < end; ++i) {
      if (s.values[i] < previous) correction += previous;
      previous = s.values[i];
    }
    if (right < previous) correction += previous;
    value += correction;
  }
  if (spec.function == WindowFunction::kRate) {
    value /= static_cast<double>(spec.range_ms) / 1000;
  }
  return Float(value);
}

WindowResult ExtendedHistogramRate(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms,
                                   uint32_t* notes) {
  const bool counter = spec.function != WindowFunction::kDelta;
  const bool smoothed = spec.edges == WindowEdges::kSmoothed;
  const int64_t start_ms = end_ms - spec.range_ms;
  const int64_t* times = s.histogram_times;
  const Extent at = FindExtent(times, s.histogram_count, spec.edges, start_ms, end_ms);
  if (at.empty) return None();
  uint32_t found = 0;
  for (size_t i = at.first; i <= at.last; ++i) {
    const FloatHistogram& h = *s.histograms[i];
    if (counter && IsGauge(h)) found |= kNoteNotCounter;
    if (h.uses_custom_buckets() != s.histograms[at.first]->uses_custom_buckets()) {
      *notes |= kNoteMixedSchemas;
      return None();
    }
  }
  if (!counter && (!IsGauge(*s.histograms[at.first]) || !IsGauge(*s.histograms[at.last]))) {
    found |= kNoteNotGauge;
  }
  *notes |= found;
  const auto interpolate = [&](size_t i, int64_t time) {
    return InterpolateHistogram(times[i], *s.histograms[i], times[i + 1], *s.histograms[i + 1],
                                time, counter);
  };
  const bool left_between = smoothed && times[at.first] < start_ms;
  const bool right_between = smoothed && at.last > 0 && times[at.last] > end_ms;
  const HistogramPtr left = left_between ? interpolate(at.first, start_ms) : s.histograms[at.first];
  const HistogramPtr right =
      right_between ? interpolate(at.last - 1, end_ms) : s.histograms[at.last];

  FloatHistogram out = *right;
  if (!out.uses_custom_buckets()) ReduceResolution(out, std::min(out.schema, left->schema));
  if (Subtract(out, *left).bounds_reconciled) *notes |= kNoteReconciledSubtraction;
  if (counter) {
    // A hint speaks of the stored sample before it. An interpolated left edge already lies in the
    // same segment as the next sample, so there only the counts can tell.
    const auto reset = [&](const FloatHistogram& h, const FloatHistogram& previous, size_t index) {
      if (left_between && index == at.first + 1) {
        FloatHistogram unhinted = h;
        unhinted.reset_hint = CounterResetHint::kUnknown;
        return DetectReset(unhinted, previous);
      }
      return DetectReset(h, previous);
    };
    const auto correct = [&](const FloatHistogram& previous) {
      if (Add(out, previous).bounds_reconciled) *notes |= kNoteReconciledAddition;
    };
    size_t begin = at.first;
    size_t end = at.last + 1;
    if (times[begin] <= start_ms) ++begin;
    if (times[end - 1] >= end_ms) --end;
    const FloatHistogram* previous = left.get();
    for (size_t i = begin; i < end; ++i) {
      if (i != at.first && reset(*s.histograms[i], *previous, i)) correct(*previous);
      previous = s.histograms[i].get();
    }
    const bool right_is_inside = begin < end && end == at.last + 1;
    if (!right_is_inside && right.get() != left.get() && reset(*right, *previous, at.last)) {
      correct(*previous);
    }
  }
  if (spec.function == WindowFunction::kRate) {
    Divide(out, static_cast<double>(spec.range_ms) / 1000);
  }
  out.reset_hint = CounterResetHint::kGauge;
  return Histo(Compact(out, 0));
}

// --- The last two samples ---

struct AnySample {
  int64_t time = 0;
  int64_t start = kNoStartTime;
  double value = 0;
  const FloatHistogram* histogram = nullptr;
};

/// Walks over floats and histograms by time.
class Merged {
 public:
  explicit Merged(const WindowSamples& s) : s_(s) {}
  size_t size() const { return s_.count + s_.histogram_count; }
  bool Next(AnySample* out) {
    const bool more_floats = f_ < s_.count;
    const bool more_histograms = h_ < s_.histogram_count;
    if (!more_floats && !more_histograms) return false;
    if (more_floats && (!more_histograms || s_.times[f_] < s_.histogram_times[h_])) {
      *out = {s_.times[f_], s_.starts ? s_.starts[f_] : kNoStartTime, s_.values[f_], nullptr};
      ++f_;
    } else {
      *out = {s_.histogram_times[h_], s_.histogram_starts ? s_.histogram_starts[h_] : kNoStartTime,
              0, s_.histograms[h_].get()};
      ++h_;
    }
    return true;
  }

 private:
  const WindowSamples& s_;
  size_t f_ = 0;
  size_t h_ = 0;
};

WindowResult InstantDelta(bool rate, const WindowSamples& s, uint32_t* notes) {
  if (s.count + s.histogram_count < 2) return None();
  // The last two of both kinds, by time.
  AnySample a;
  AnySample b;
  WindowSamples tail = s;
  const size_t f = std::min<size_t>(s.count, 2);
  const size_t h = std::min<size_t>(s.histogram_count, 2);
  tail.times += s.count - f;
  tail.values += s.count - f;
  if (s.starts) tail.starts += s.count - f;
  tail.count = f;
  tail.histogram_times += s.histogram_count - h;
  tail.histograms += s.histogram_count - h;
  if (s.histogram_starts) tail.histogram_starts += s.histogram_count - h;
  tail.histogram_count = h;
  Merged merged(tail);
  AnySample next;
  while (merged.Next(&next)) {
    a = b;
    b = next;
  }
  const int64_t interval = b.time - a.time;
  if (interval == 0) return None();
  const bool anew = StartsAnew(a.start, a.time, b.start, b.time);
  if (a.histogram == nullptr && b.histogram == nullptr) {
    double value = b.value;
    // After a reset the counter has come from zero: the last value itself is the increase.
    if (!rate || !(b.value < a.value || anew)) value = b.value - a.value;
    if (rate) value /= static_cast<double>(interval) / 1000;
    return Float(value);
  }
  if (a.histogram == nullptr || b.histogram == nullptr) {
    *notes |= kNoteMixedFloatsHistograms;
    return None();
  }
  if (rate && (IsGauge(*a.histogram) || IsGauge(*b.histogram))) *notes |= kNoteNotCounter;
  if (!rate && (!IsGauge(*a.histogram) || !IsGauge(*b.histogram))) *notes |= kNoteNotGauge;
  FloatHistogram out = *b.histogram;
  if (!rate || (!anew && !DetectReset(*b.histogram, *a.histogram))) {
    const CombineNotes combined = Subtract(out, *a.histogram);
    if (combined.incompatible) {
      *notes |= kNoteMixedSchemas;
      return None();
    }
    if (combined.bounds_reconciled) *notes |= kNoteReconciledSubtraction;
  }
  out.reset_hint = CounterResetHint::kGauge;
  out = Compact(out, 0);
  if (rate) Divide(out, static_cast<double>(interval) / 1000);
  return Histo(std::move(out));
}

// --- Counting ---

/// Counts resets or changes; an anchored window starts at the last sample at or before its start.
WindowResult CountEvents(const WindowSpec& spec, const WindowSamples& s, int64_t end_ms) {
  if (s.count + s.histogram_count == 0) return None();
  const bool resets = spec.function == WindowFunction::kResets;
  const int64_t start_ms = end_ms - spec.range_ms;
  std::vector<AnySample> samples;
  samples.reserve(s.count + s.histogram_count);
  Merged merged(s);
  AnySample next;
  while (merged.Next(&next)) {
    if (spec.edges == WindowEdges::kAnchored && next.time <= start_ms) samples.clear();
    samples.push_back(next);
  }
  if (spec.edges == WindowEdges::kAnchored && samples.back().time <= start_ms) return None();
  uint64_t events = 0;
  for (size_t i = 1; i < samples.size(); ++i) {
    const AnySample& a = samples[i - 1];
    const AnySample& b = samples[i];
    bool event;
    if ((a.histogram == nullptr) != (b.histogram == nullptr)) {
      event = true;
    } else if (resets) {
      event = StartsAnew(a.start, a.time, b.start, b.time) ||
              (b.histogram ? DetectReset(*b.histogram, *a.histogram) : b.value < a.value);
    } else {
      event = b.histogram ? !Equals(*b.histogram, *a.histogram)
                          : b.value != a.value && !(std::isnan(b.value) && std::isnan(a.value));
    }
    events += event;
  }
  return Float(static_cast<double>(events));
}

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

// --- Sums of floats; shared by single windows and whole rows ---

double SumFloats(const double* values, size_t count) {
  double sum = 0;
  double c = 0;
  for (size_t i = 0; i < count; ++i) KahanAddLoose(values[i], sum, c);
  return KahanTotal(sum, c);
}

double AverageFloats(const double* values, size_t n) {
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

double VarianceFloats(const double* values, size_t n) {
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

double InterpolateFloat(int64_t t1, double v1, int64_t t2, double v2, int64_t time_ms,
                        bool counter) {
  // A counter that fell was reset, and has risen from zero since.
  if (counter && v2 < v1) v1 = 0;
  return v1 + (v2 - v1) * static_cast<double>(time_ms - t1) / static_cast<double>(t2 - t1);
}

HistogramPtr InterpolateHistogram(int64_t t1, const FloatHistogram& h1, int64_t t2,
                                  const FloatHistogram& h2, int64_t time_ms, bool counter) {
  const double fraction = static_cast<double>(time_ms - t1) / static_cast<double>(t2 - t1);
  if (h1.uses_custom_buckets() != h2.uses_custom_buckets()) return nullptr;
  if (counter && DetectReset(h2, h1)) {
    FloatHistogram out = h2;
    Scale(out, fraction);
    return std::make_shared<const FloatHistogram>(std::move(out));
  }
  FloatHistogram step = h2;
  Subtract(step, h1);
  Scale(step, fraction);
  FloatHistogram out = h1;
  // Between two samples without a reset there is none; what the first one's hint said of the
  // sample before it is no longer of interest.
  if (!IsGauge(out)) out.reset_hint = CounterResetHint::kUnknown;
  step.reset_hint = out.reset_hint;
  Add(out, step);
  return std::make_shared<const FloatHistogram>(std::move(out));
}

void ExtendToEdges(WindowEdges edges, int64_t start_ms, int64_t end_ms, std::vector<int64_t>* times,
                   std::vector<double>* values) {
  const Extent at = FindExtent(times->data(), times->size(), edges, start_ms, end_ms);
  if (at.empty) {
    times->clear();
    values->clear();
    return;
  }
  const bool smoothed = edges == WindowEdges::kSmoothed;
  const auto interpolate = [&](size_t i, int64_t time) {
    return InterpolateFloat((*times)[i], (*values)[i], (*times)[i + 1], (*values)[i + 1], time,
                            false);
  };
  std::vector<int64_t> new_times = {start_ms};
  std::vector<double> new_values = {smoothed && (*times)[at.first] < start_ms
                                        ? interpolate(at.first, start_ms)
                                        : (*values)[at.first]};
  for (size_t i = at.first; i <= at.last; ++i) {
    if ((*times)[i] <= start_ms || (*times)[i] >= end_ms) continue;
    new_times.push_back((*times)[i]);
    new_values.push_back((*values)[i]);
  }
  new_times.push_back(end_ms);
  new_values.push_back(smoothed && at.last > 0 && (*times)[at.last] > end_ms
                           ? interpolate(at.last - 1, end_ms)
                           : (*values)[at.last]);
  *times = std::move(new_times);
  *values = std::move(new_values);
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

// --- Rows ---

void PrepareRate(const WindowSpec& spec, const RowWindows& windows, const int64_t* ends_ms,
                 bool fixed_end, std::vector<RateWindow>* out) {
  const bool counter = spec.function != WindowFunction::kDelta;
  const bool per_second = spec.function == WindowFunction::kRate;
  const double range_seconds = static_cast<double>(spec.range_ms) / 1000;
  out->resize(windows.steps);
  for (uint32_t i = 0; i < windows.steps; ++i) {
    RateWindow& rate = (*out)[i];
    const uint32_t begin = windows.begin[i];
    const uint32_t end = windows.end[i];
    if (end - begin < 2 || end < begin) {
      rate = {};
      continue;
    }
    const int64_t end_ms = fixed_end ? ends_ms[0] : ends_ms[i];
    const int64_t first_ms = windows.times[begin];
    const int64_t last_ms = windows.times[end - 1];
    rate.to_start = static_cast<double>(first_ms - (end_ms - spec.range_ms)) / 1000;
    rate.to_end = static_cast<double>(end_ms - last_ms) / 1000;
    rate.interval = static_cast<double>(last_ms - first_ms) / 1000;
    const double gap = rate.interval / static_cast<double>(end - begin - 1);
    const double threshold = gap * 1.1;
    if (rate.to_start >= threshold) rate.to_start = gap / 2;
    if (rate.to_end >= threshold) rate.to_end = gap / 2;
    rate.factor = (rate.interval + rate.to_start + rate.to_end) / rate.interval;
    if (per_second) rate.factor /= range_seconds;
    // interval * (first / difference) < to_start can only hold when first <= difference * this, a
    // hair wider, does.
    rate.clamp_ratio = counter ? rate.to_start / rate.interval * (1 + 1e-9)
                               : -std::numeric_limits<double>::infinity();
  }
}

bool HasRowKernel(WindowFunction function) {
  using enum WindowFunction;
  switch (function) {
    case kRate:
    case kIncrease:
    case kDelta:
    case kIrate:
    case kIdelta:
    case kResets:
    case kAvg:
    case kMin:
    case kMax:
    case kSum:
    case kCount:
    case kStddev:
    case kStdvar:
    case kLast:
    case kFirst:
    case kPresent:
    case kQuantile:
      return true;
    default:
      return false;
  }
}

bool NeedsResets(WindowFunction function) {
  return function == WindowFunction::kRate || function == WindowFunction::kIncrease ||
         function == WindowFunction::kResets;
}

namespace {

void SetValid(uint64_t* valid, uint32_t i) { valid[i >> 6] |= uint64_t{1} << (i & 63); }

/// Applies `f(begin, end)` to each window of at least `kLeast` samples.
template <uint32_t kLeast, typename F>
void ForWindows(const RowInput& in, double* out, uint64_t* valid, F&& f) {
  const uint32_t steps = in.windows.steps;
  for (uint32_t base = 0; base < steps; base += 64) {
    const uint32_t stop = std::min(steps, base + 64);
    uint64_t bits = 0;
    for (uint32_t i = base; i < stop; ++i) {
      const uint32_t begin = in.windows.begin[i];
      const uint32_t end = in.windows.end[i];
      if (end < begin + kLeast) continue;
      out[i] = f(begin, end, i);
      bits |= uint64_t{1} << (i & 63);
    }
    valid[base >> 6] = bits;
  }
}

/// Rate, increase and delta over a row. Differences of neighbouring windows are independent, so
/// the loop keeps several in flight.
template <bool kCounter, bool kPerSecond>
void RateRow(const RowInput& in, double* out, uint64_t* valid) {
  size_t r = 0;
  ForWindows<2>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t i) {
    const double first = in.values[begin];
    double value = in.values[end - 1] - first;
    const RateWindow& w = in.rate[i];
    if constexpr (kCounter) {
      if (in.resets_count > 0) {
        // Windows only move on, and so does the first reset that may lie in them.
        while (r < in.resets_count && in.resets[r] <= begin) ++r;
        for (size_t k = r; k < in.resets_count && in.resets[k] < end; ++k) {
          value += in.values[in.resets[k] - 1];
        }
      }
      if (first <= value * w.clamp_ratio && value > 0 && first >= 0) {
        const double to_zero = w.interval * (first / value);
        if (to_zero < w.to_start) {
          double factor = (w.interval + to_zero + w.to_end) / w.interval;
          if constexpr (kPerSecond) factor /= in.range_seconds;
          return value * factor;
        }
      }
    }
    return value * w.factor;
  });
}

/// Windows of up to 2^kLevelsMax - 1 samples.
constexpr uint32_t kLevelsMax = 9;

/// Min and max of windows by a table of the extremes of 1, 2, 4, ... neighbours: each window is
/// covered by two entries of the longest kind that fits. Building it takes log2(width) passes
/// without branches. Not for NaN and -0.0, where the order of comparisons shows in the result:
/// returns false if there are some.
template <bool kMax>
bool ExtremeByTable(const RowInput& in, uint64_t widest, double* out, uint64_t* valid) {
  const RowWindows& w = in.windows;
  uint32_t first = 0;
  while (w.end[first] <= w.begin[first]) ++first;
  uint32_t last = w.steps - 1;
  while (w.end[last] <= w.begin[last]) --last;
  const uint32_t low = w.begin[first];
  const uint32_t count = w.end[last] - low;
  const double* values = in.values + low;
  uint64_t nan = 0;
  uint64_t zeros = 0;
  for (size_t k = 0; k < count; ++k) {
    nan |= values[k] != values[k] ? 1 : 0;
    zeros |= values[k] == 0 ? std::bit_cast<uint64_t>(values[k]) : 0;
  }
  if (nan != 0 || zeros != 0) return false;
  const auto top = static_cast<uint32_t>(std::bit_width(widest)) - 1;
  in.scratch->resize(size_t{top} * count);
  const double* levels[kLevelsMax];
  levels[0] = values;
  for (uint32_t level = 1; level <= top; ++level) {
    const uint32_t half = 1u << (level - 1);
    double* __restrict to = in.scratch->data() + size_t{level - 1} * count;
    const double* __restrict left = levels[level - 1];
    const double* __restrict right = left + half;
    const size_t entries = count - 2 * half + 1;
    for (size_t k = 0; k < entries; ++k) {
      to[k] = kMax ? (left[k] < right[k] ? right[k] : left[k])
                   : (left[k] > right[k] ? right[k] : left[k]);
    }
    levels[level] = to;
  }
  ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
    const auto level = static_cast<uint32_t>(std::bit_width(end - begin)) - 1;
    const double a = levels[level][begin - low];
    const double b = levels[level][end - low - (1u << level)];
    return kMax ? (a < b ? b : a) : (a > b ? b : a);
  });
  return true;
}

/// Min and max. Short windows are scanned; long ones keep a deque of candidates, where an equal
/// value never replaces an earlier one, as in the scan.
template <bool kMax>
void ExtremeRow(const RowInput& in, double* out, uint64_t* valid) {
  const RowWindows& w = in.windows;
  uint64_t widest = 0;
  for (uint32_t i = 0; i < w.steps; ++i) {
    widest = std::max<uint64_t>(widest, w.end[i] > w.begin[i] ? w.end[i] - w.begin[i] : 0);
  }
  if (widest >= 4 && widest < (1u << kLevelsMax) && ExtremeByTable<kMax>(in, widest, out, valid)) {
    return;
  }
  if (widest < 24) {
    ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
      return ExtremeFloat<kMax>(in.values + begin, end - begin);
    });
    return;
  }
  std::vector<uint32_t> queue;  // positions of candidates; best first from `head`
  size_t head = 0;
  uint32_t pushed = 0;
  ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
    if (pushed < begin) {
      pushed = begin;
      queue.clear();
      head = 0;
    }
    for (; pushed < end; ++pushed) {
      const double v = in.values[pushed];
      if (std::isnan(v)) continue;
      while (queue.size() > head &&
             (kMax ? in.values[queue.back()] < v : in.values[queue.back()] > v)) {
        queue.pop_back();
      }
      queue.push_back(pushed);
    }
    while (head < queue.size() && queue[head] < begin) ++head;
    // Nothing but NaN: the scan ends with the last of them.
    return head < queue.size() ? in.values[queue[head]] : in.values[end - 1];
  });
}

/// Sums four windows at a time: the chains of additions are independent, and each has the order
/// of a sum of its own.
void SumRow(const RowInput& in, double* out, uint64_t* valid) {
  const RowWindows& w = in.windows;
  uint32_t i = 0;
  while (i < w.steps) {
    const uint32_t n = w.end[i] > w.begin[i] ? w.end[i] - w.begin[i] : 0;
    if (n == 0) {
      ++i;
      continue;
    }
    bool four = i + 4 <= w.steps;
    for (uint32_t k = 1; four && k < 4; ++k) {
      four = w.end[i + k] > w.begin[i + k] && w.end[i + k] - w.begin[i + k] == n;
    }
    if (!four) {
      out[i] = SumFloats(in.values + w.begin[i], n);
      SetValid(valid, i);
      ++i;
      continue;
    }
    double sum[4] = {};
    double c[4] = {};
    const double* v[4];
    for (uint32_t k = 0; k < 4; ++k) v[k] = in.values + w.begin[i + k];
    for (uint32_t j = 0; j < n; ++j) {
      for (uint32_t k = 0; k < 4; ++k) KahanAddLoose(v[k][j], sum[k], c[k]);
    }
    for (uint32_t k = 0; k < 4; ++k) {
      out[i + k] = KahanTotal(sum[k], c[k]);
      SetValid(valid, i + k);
    }
    i += 4;
  }
}

/// Quantiles over windows that overlap: the values stay sorted, and each step takes some out and
/// puts some in. Windows with NaN, or that share little, are done one by one.
void QuantileRow(const RowInput& in, double* out, uint64_t* valid) {
  std::vector<double>& sorted = *in.scratch;
  sorted.clear();
  uint32_t have_begin = 0;  // sorted holds the values of [have_begin, have_end)
  uint32_t have_end = 0;
  std::vector<double> copy;
  ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t i) {
    const double q = in.parameter[i];
    const uint32_t shared = have_end > begin ? have_end - begin : 0;
    const uint32_t moved = (begin - have_begin) + (end - have_end);
    if (shared == 0 || moved > shared || end < have_end) {
      sorted.assign(in.values + begin, in.values + end);
      if (std::any_of(sorted.begin(), sorted.end(), [](double v) { return std::isnan(v); })) {
        copy = sorted;
        sorted.clear();
        have_begin = have_end = 0;  // shares nothing with the next window
        return QuantileOfValues(q, copy);
      }
      std::sort(sorted.begin(), sorted.end(), QuantileLess);
    } else {
      for (uint32_t k = have_end; k < end; ++k) {
        if (!std::isnan(in.values[k])) continue;
        copy.assign(in.values + begin, in.values + end);
        sorted.clear();
        have_begin = have_end = 0;  // shares nothing with the next window
        return QuantileOfValues(q, copy);
      }
      for (uint32_t k = have_begin; k < begin; ++k) {
        sorted.erase(std::lower_bound(sorted.begin(), sorted.end(), in.values[k], QuantileLess));
      }
      for (uint32_t k = have_end; k < end; ++k) {
        const double v = in.values[k];
        sorted.insert(std::upper_bound(sorted.begin(), sorted.end(), v, QuantileLess), v);
      }
    }
    have_begin = begin;
    have_end = end;
    return QuantileOfSorted(q, sorted.data(), sorted.size());
  });
}

}  // namespace

void EvaluateRow(WindowFunction function, const RowInput& in, double* out, uint64_t* valid) {
  using enum WindowFunction;
  switch (function) {
    case kRate:
      RateRow<true, true>(in, out, valid);
      break;
    case kIncrease:
      RateRow<true, false>(in, out, valid);
      break;
    case kDelta:
      RateRow<false, false>(in, out, valid);
      break;
    case kIrate:
      ForWindows<2>(in, out, valid, [&](uint32_t, uint32_t end, uint32_t) {
        const double a = in.values[end - 2];
        const double b = in.values[end - 1];
        const double value = b < a ? b : b - a;
        return value /
               (static_cast<double>(in.windows.times[end - 1] - in.windows.times[end - 2]) / 1000);
      });
      break;
    case kIdelta:
      ForWindows<2>(in, out, valid, [&](uint32_t, uint32_t end, uint32_t) {
        return in.values[end - 1] - in.values[end - 2];
      });
      break;
    case kResets: {
      size_t r = 0;
      ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
        while (r < in.resets_count && in.resets[r] <= begin) ++r;
        size_t k = r;
        while (k < in.resets_count && in.resets[k] < end) ++k;
        return static_cast<double>(k - r);
      });
      break;
    }
    case kAvg:
      ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
        return AverageFloats(in.values + begin, end - begin);
      });
      break;
    case kMin:
      ExtremeRow<false>(in, out, valid);
      break;
    case kMax:
      ExtremeRow<true>(in, out, valid);
      break;
    case kSum:
      SumRow(in, out, valid);
      break;
    case kCount:
      ForWindows<1>(in, out, valid, [](uint32_t begin, uint32_t end, uint32_t) {
        return static_cast<double>(end - begin);
      });
      break;
    case kStddev:
      ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
        return std::sqrt(VarianceFloats(in.values + begin, end - begin));
      });
      break;
    case kStdvar:
      ForWindows<1>(in, out, valid, [&](uint32_t begin, uint32_t end, uint32_t) {
        return VarianceFloats(in.values + begin, end - begin);
      });
      break;
    case kLast:
      ForWindows<1>(in, out, valid,
                    [&](uint32_t, uint32_t end, uint32_t) { return in.values[end - 1]; });
      break;
    case kFirst:
      ForWindows<1>(in, out, valid,
                    [&](uint32_t begin, uint32_t, uint32_t) { return in.values[begin]; });
      break;
    case kPresent:
      ForWindows<1>(in, out, valid, [](uint32_t, uint32_t, uint32_t) { return 1.0; });
      break;
    case kQuantile:
      QuantileRow(in, out, valid);
      break;
    default:
      break;
  }
}

}  // namespace varve::query
