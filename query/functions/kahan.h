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
inline void KahanAdd(double value, KahanSum& sum) { KahanAdd(value, sum.sum, sum.c); }

}  // namespace varve::query
