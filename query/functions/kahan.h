#pragma once

#include <cmath>

namespace varve::query {

/// A running sum with Neumaier's compensation: the true sum is about sum + c. Every step has the
/// same operations in the same order as Prometheus's kahansum.Inc, so results have the same bits.
struct KahanSum {
  double sum = 0;
  double c = 0;
};

/// Adds `value`. An infinite sum drops its compensation, which would be NaN from then on.
inline void KahanAdd(double value, double& sum, double& c) {
  const double t = sum + value;
  if (std::isinf(t)) {
    c = 0;
  } else if (std::fabs(sum) >= std::fabs(value)) {
    c += (sum - t) + value;
  } else {
    c += (value - t) + sum;
  }
  sum = t;
}
/// Does the same without the test for infinity, so that loops of it become SIMD code. Where the
/// result is taken by KahanTotal, the bits are the same: an infinite sum never becomes finite
/// again.
inline void KahanAddLoose(double value, double& sum, double& c) {
  const double t = sum + value;
  const bool sum_larger = std::fabs(sum) >= std::fabs(value);
  const double large = sum_larger ? sum : value;
  const double small = sum_larger ? value : sum;
  c += (large - t) + small;
  sum = t;
}
inline double KahanTotal(double sum, double c) { return std::isinf(sum) ? sum : sum + c; }

inline void KahanAdd(double value, KahanSum& sum) { KahanAdd(value, sum.sum, sum.c); }

}  // namespace varve::query
