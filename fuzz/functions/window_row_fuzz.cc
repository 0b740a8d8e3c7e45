// Kernels over rows of windows (vectorised, sharing work between neighbouring windows) against the
// plain evaluation of each window by itself: the same bits for any values and any windows.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "query/functions/window.h"

namespace varve::query {
namespace {

/// Draws numbers from the input; zeros when it is used up.
class Draw {
 public:
  Draw(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return at_ >= size_; }
  uint8_t Byte() { return at_ < size_ ? data_[at_++] : 0; }
  double Value() {
    const uint8_t byte = Byte();
    switch (byte) {
      case 0:
        return 0.0;
      case 1:
        return -0.0;
      case 2:
        return std::numeric_limits<double>::quiet_NaN();
      case 3:
        return std::numeric_limits<double>::infinity();
      case 4:
        return -std::numeric_limits<double>::infinity();
      case 5:
        return std::numeric_limits<double>::max();
      case 6:
        return std::numeric_limits<double>::denorm_min();
      case 7: {
        uint64_t bits = 0;
        for (int i = 0; i < 8; ++i) bits = bits << 8 | Byte();
        return std::bit_cast<double>(bits);
      }
      default:  // small ones, whole and not, of both signs
        return (static_cast<double>(byte) - 100) * (byte % 3 == 0 ? 0.1 : 1);
    }
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

bool Same(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

void Check(Draw draw) {
  const auto function = static_cast<WindowFunction>(
      draw.Byte() % (static_cast<unsigned>(WindowFunction::kSmoothing) + 1));
  if (!HasRowKernel(function)) return;
  WindowSpec spec;
  spec.function = function;
  const int64_t step_ms = 1 + int64_t{draw.Byte()} * 250;
  spec.range_ms = 1 + int64_t{draw.Byte()} * int64_t{draw.Byte()} * 50;
  const uint32_t steps = 1 + draw.Byte();
  const double phi = draw.Value();
  const uint8_t gaps = draw.Byte();
  std::vector<int64_t> times;
  std::vector<double> values;
  std::vector<uint32_t> resets;
  int64_t time = 0;
  while (!draw.empty() && times.size() < 3000) {
    // Mostly even, with a gap now and then.
    const uint8_t gap = gaps % 4 == 0 ? draw.Byte() : 0;
    time += 1000 + (gap > 200 ? int64_t{gap} * 100 : 0);
    times.push_back(time);
    values.push_back(draw.Value());
    const size_t n = values.size();
    if (n > 1 && values[n - 1] < values[n - 2]) resets.push_back(static_cast<uint32_t>(n - 1));
  }
  std::vector<int64_t> ends(steps);
  std::vector<uint32_t> begin(steps);
  std::vector<uint32_t> end(steps);
  for (uint32_t i = 0; i < steps; ++i) {
    ends[i] = 500 + i * step_ms;
    begin[i] = i == 0 ? 0 : begin[i - 1];
    end[i] = i == 0 ? 0 : end[i - 1];
    while (begin[i] < times.size() && times[begin[i]] <= ends[i] - spec.range_ms) ++begin[i];
    while (end[i] < times.size() && times[end[i]] <= ends[i]) ++end[i];
  }
  RowInput in;
  in.windows = {times.data(), times.size(), begin.data(), end.data(), steps};
  in.values = values.data();
  in.resets = resets.data();
  in.resets_count = resets.size();
  in.range_seconds = static_cast<double>(spec.range_ms) / 1000;
  std::vector<RateWindow> rate;
  PrepareRate(spec, in.windows, ends.data(), false, &rate);
  in.rate = rate.data();
  const std::vector<double> parameter(steps, phi);
  in.parameter = parameter.data();
  std::vector<double> scratch;
  in.scratch = &scratch;
  std::vector<double> out(steps);
  std::vector<uint64_t> valid((steps + 63) / 64);
  EvaluateRow(function, in, out.data(), valid.data());
  for (uint32_t i = 0; i < steps; ++i) {
    WindowSamples samples;
    samples.times = times.data() + begin[i];
    samples.values = values.data() + begin[i];
    samples.count = end[i] - begin[i];
    uint32_t notes = 0;
    const double parameters[2] = {phi, 0};
    const WindowResult one =
        samples.count == 0 ? WindowResult()
                           : EvaluateWindow(spec, samples, ends[i], ends[i], parameters, &notes);
    const bool row_valid = (valid[i >> 6] >> (i & 63) & 1) != 0;
    if (one.valid == row_valid && (!row_valid || Same(one.value, out[i]))) continue;
    std::fprintf(stderr, "%s of window %u, %zu samples: %d %a by row, %d %a alone\n",
                 std::string(ToString(function)).c_str(), i, samples.count, row_valid, out[i],
                 one.valid, one.value);
    std::abort();
  }
}

}  // namespace
}  // namespace varve::query

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::query::Check(varve::query::Draw(data, size));
  return 0;
}
