#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/base/avx2.h"
#include "engine/base/coding.h"

/// The loops over all values of which encoding an integer stream consists, but for writing the
/// bits. All implementations give the same results.
namespace varve::codec {

/// The sums of the bits that values need, signs folded in.
struct StreamWidths {
  uint64_t plain = 0;   // of the differences from the first value
  uint64_t delta = 0;   // of the differences from the value before
  uint64_t delta2 = 0;  // of the differences between those; what is before the first value is 0
};
struct StreamRange {
  int64_t low = 0;
  int64_t high = 0;
};

struct StreamKernels {
  std::string_view name;
  /// Precondition: at least one value.
  StreamWidths (*widths)(std::span<const int64_t> values);
  /// Returns the smallest and the largest value. Precondition: at least one.
  StreamRange (*range)(const int64_t* values, size_t count);
  /// Writes the differences from the value before, or those between these, and returns their
  /// range. Precondition: at least two, or three, values.
  StreamRange (*delta)(const int64_t* values, size_t count, int64_t* out);
  StreamRange (*delta2)(const int64_t* values, size_t count, int64_t* out);
  /// Counts the values by the bits that their differences from `offset` need; sets `counts`.
  void (*count_widths)(std::span<const int64_t> values, int64_t offset,
                       std::array<uint32_t, 65>* counts);
};

namespace kernels {

// Each body is compiled once for every processor and once for AVX2.
#define VARVE_KERNEL_BODY inline __attribute__((always_inline))

/// Returns the leading zeros of a value whose sign is folded in, of 1 for 0: never 64, so that no
/// processor needs a branch. Those who want 64 count the zeros.
VARVE_KERNEL_BODY uint32_t FoldedZeros(int64_t value) {
  return static_cast<uint32_t>(
      __builtin_clzll(static_cast<uint64_t>(value ^ value >> 63) << 1 | 1));
}

VARVE_KERNEL_BODY StreamWidths WidthsBody(std::span<const int64_t> values) {
  uint64_t plain = 0;
  uint64_t delta = 0;
  uint64_t delta2 = 0;
  const auto add = [](int64_t value, uint64_t* zeros) __attribute__((always_inline)) {
    *zeros += FoldedZeros(value);
    *zeros += value == 0 ? 1 : 0;
  };
  const int64_t first = values[0];
  int64_t before = first;
  int64_t difference_before = 0;
  for (const int64_t value : values) {
    const int64_t difference = WrapSub(value, before);
    add(WrapSub(value, first), &plain);
    add(difference, &delta);
    add(WrapSub(difference, difference_before), &delta2);
    before = value;
    difference_before = difference;
  }
  const uint64_t all = uint64_t{64} * values.size();
  return {all - plain, all - delta, all - delta2};
}

VARVE_KERNEL_BODY StreamRange RangeBody(const int64_t* values, size_t count) {
  int64_t low = values[0];
  int64_t high = values[0];
  for (size_t i = 1; i < count; ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  return {low, high};
}

VARVE_KERNEL_BODY StreamRange DeltaBody(const int64_t* values, size_t count, int64_t* out) {
  for (size_t i = 1; i < count; ++i) out[i - 1] = WrapSub(values[i], values[i - 1]);
  return RangeBody(out, count - 1);
}

VARVE_KERNEL_BODY StreamRange Delta2Body(const int64_t* values, size_t count, int64_t* out) {
  for (size_t i = 2; i < count; ++i) {
    out[i - 2] = WrapSub(WrapSub(values[i], values[i - 1]), WrapSub(values[i - 1], values[i - 2]));
  }
  return RangeBody(out, count - 2);
}

VARVE_KERNEL_BODY void CountWidthsBody(std::span<const int64_t> values, int64_t offset,
                                       std::array<uint32_t, 65>* counts) {
  // By leading zeros, and neighbours apart: they are alike, and a count that was just stored is
  // slow to load.
  std::array<uint32_t, 64> even{};
  std::array<uint32_t, 64> odd{};
  uint32_t zeros = 0;
  const auto add = [&](int64_t value, std::array<uint32_t, 64>* to) __attribute__((always_inline)) {
    const int64_t distance = WrapSub(value, offset);
    ++(*to)[FoldedZeros(distance)];
    zeros += distance == 0 ? 1 : 0;
  };
  size_t i = 0;
  for (; i + 2 <= values.size(); i += 2) {
    add(values[i], &even);
    add(values[i + 1], &odd);
  }
  if (i < values.size()) add(values[i], &even);
  (*counts)[0] = zeros;
  for (size_t width = 1; width <= 64; ++width) {
    (*counts)[width] = even[64 - width] + odd[64 - width];
  }
  (*counts)[1] -= zeros;
}

#undef VARVE_KERNEL_BODY

inline StreamWidths Widths(std::span<const int64_t> values) { return WidthsBody(values); }
inline StreamRange Range(const int64_t* values, size_t count) { return RangeBody(values, count); }
inline StreamRange Delta(const int64_t* values, size_t count, int64_t* out) {
  return DeltaBody(values, count, out);
}
inline StreamRange Delta2(const int64_t* values, size_t count, int64_t* out) {
  return Delta2Body(values, count, out);
}
inline void CountWidths(std::span<const int64_t> values, int64_t offset,
                        std::array<uint32_t, 65>* counts) {
  CountWidthsBody(values, offset, counts);
}

#ifdef VARVE_AVX2
VARVE_AVX2 inline StreamWidths WidthsAvx2(std::span<const int64_t> values) {
  return WidthsBody(values);
}
VARVE_AVX2 inline StreamRange RangeAvx2(const int64_t* values, size_t count) {
  return RangeBody(values, count);
}
VARVE_AVX2 inline StreamRange DeltaAvx2(const int64_t* values, size_t count, int64_t* out) {
  return DeltaBody(values, count, out);
}
VARVE_AVX2 inline StreamRange Delta2Avx2(const int64_t* values, size_t count, int64_t* out) {
  return Delta2Body(values, count, out);
}
VARVE_AVX2 inline void CountWidthsAvx2(std::span<const int64_t> values, int64_t offset,
                                       std::array<uint32_t, 65>* counts) {
  CountWidthsBody(values, offset, counts);
}
#endif

}  // namespace kernels

/// Lists what this processor can run, the fastest last. The first one runs everywhere.
inline std::span<const StreamKernels> AllStreamKernels() {
  static constexpr StreamKernels kAll[] = {
      {"baseline", kernels::Widths, kernels::Range, kernels::Delta, kernels::Delta2,
       kernels::CountWidths},
#ifdef VARVE_AVX2
      {"avx2", kernels::WidthsAvx2, kernels::RangeAvx2, kernels::DeltaAvx2, kernels::Delta2Avx2,
       kernels::CountWidthsAvx2},
#endif
  };
  return std::span(kAll).first(HasAvx2() ? std::size(kAll) : 1);
}

}  // namespace varve::codec
