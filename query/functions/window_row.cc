#include <algorithm>
#include <bit>

#include "query/functions/histogram_quantile.h"
#include "query/functions/window_parts.h"

namespace varve::query {

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
