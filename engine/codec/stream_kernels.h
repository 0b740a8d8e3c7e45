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

/// Adds what the values [begin, end) of all `values` need.
VARVE_KERNEL_BODY void AddWidths(std::span<const int64_t> values, size_t begin, size_t end,
                                 StreamWidths* sums) {
  const auto add = [](int64_t value, uint64_t* sum) __attribute__((always_inline)) {
    *sum += 64 - FoldedZeros(value);
    *sum -= value == 0 ? 1 : 0;
  };
  StreamWidths out = *sums;
  const int64_t first = values[0];
  int64_t before = begin >= 1 ? values[begin - 1] : first;
  int64_t difference_before = begin >= 2 ? WrapSub(before, values[begin - 2]) : 0;
  for (size_t i = begin; i < end; ++i) {
    const int64_t value = values[i];
    const int64_t difference = WrapSub(value, before);
    add(WrapSub(value, first), &out.plain);
    add(difference, &out.delta);
    add(WrapSub(difference, difference_before), &out.delta2);
    before = value;
    difference_before = difference;
  }
  *sums = out;
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

inline StreamWidths Widths(std::span<const int64_t> values) {
  StreamWidths out;
  AddWidths(values, 0, values.size(), &out);
  return out;
}
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
/// Sums of bit widths, four values at a time: the width of a number below 2^52 is the exponent of
/// the double that it makes.
struct WidthSum {
  static constexpr int64_t kExponent52 = int64_t{0x433} << 52;

  VARVE_AVX2 void Add(__m256i value) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i folded = _mm256_xor_si256(value, _mm256_cmpgt_epi64(zero, value));
    // Never 0, and one bit more than `folded`.
    const __m256i odd = _mm256_or_si256(_mm256_add_epi64(folded, folded), _mm256_set1_epi64x(1));
    const __m256i exponent52 = _mm256_set1_epi64x(kExponent52);
    const __m256d number = _mm256_sub_pd(_mm256_castsi256_pd(_mm256_or_si256(odd, exponent52)),
                                         _mm256_castsi256_pd(exponent52));
    sum = _mm256_add_epi64(sum, _mm256_srli_epi64(_mm256_castpd_si256(number), 52));
    sum = _mm256_add_epi64(sum, _mm256_cmpeq_epi64(value, zero));
    seen = _mm256_or_si256(seen, odd);
  }
  VARVE_AVX2 uint64_t Total(size_t count) const {
    alignas(32) std::array<uint64_t, 4> lanes;
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes.data()), sum);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3] - uint64_t{1022} * count;
  }

  __m256i sum;   // of exponents with their bias, less the zeros
  __m256i seen;  // bits of all numbers
};

VARVE_AVX2 inline StreamWidths WidthsAvx2(std::span<const int64_t> values) {
  const size_t count = values.size();
  StreamWidths out;
  AddWidths(values, 0, std::min<size_t>(count, 2), &out);
  // Blocks with numbers that are too large are done once more, one by one.
  constexpr size_t kBlock = 128;
  size_t begin = 2;
  while (begin + 4 <= count) {
    const size_t end = begin + std::min(kBlock, (count - begin) & ~size_t{3});
    const __m256i zero = _mm256_setzero_si256();
    const __m256i first = _mm256_set1_epi64x(values[0]);
    WidthSum plain{zero, zero};
    WidthSum delta{zero, zero};
    WidthSum delta2{zero, zero};
    for (size_t i = begin; i < end; i += 4) {
      const auto load = [&](size_t at) VARVE_AVX2 {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values.data() + at));
      };
      const __m256i value = load(i);
      const __m256i before = load(i - 1);
      const __m256i difference = _mm256_sub_epi64(value, before);
      plain.Add(_mm256_sub_epi64(value, first));
      delta.Add(difference);
      delta2.Add(_mm256_sub_epi64(difference, _mm256_sub_epi64(before, load(i - 2))));
    }
    const __m256i seen = _mm256_or_si256(plain.seen, _mm256_or_si256(delta.seen, delta2.seen));
    if (_mm256_testz_si256(seen, _mm256_set1_epi64x(int64_t{-1} << 52)) != 0) {
      out.plain += plain.Total(end - begin);
      out.delta += delta.Total(end - begin);
      out.delta2 += delta2.Total(end - begin);
    } else {
      AddWidths(values, begin, end, &out);
    }
    begin = end;
  }
  AddWidths(values, std::min(begin, count), count, &out);
  return out;
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
