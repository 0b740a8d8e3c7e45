#pragma once

/// Kernels for AVX2 beside those that run on every processor. A function marked VARVE_AVX2 may be
/// called only where HasAvx2() says so.

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define VARVE_AVX2 __attribute__((target("avx2,bmi,lzcnt,popcnt")))
#endif

namespace varve {

inline bool HasAvx2() {
#ifdef VARVE_AVX2
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("bmi") != 0 &&
         __builtin_cpu_supports("lzcnt") != 0 && __builtin_cpu_supports("popcnt") != 0;
#else
  return false;
#endif
}

}  // namespace varve
