#include <algorithm>
#include <optional>
#include <vector>

#include "query/functions/window_parts.h"

namespace varve::query {
namespace {

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

}  // namespace

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

namespace {

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

}  // namespace

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

namespace {

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

}  // namespace

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

// --- Edges ---

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

}  // namespace varve::query
