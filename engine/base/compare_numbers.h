#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

namespace varve {

/// Compares exactly, without rounding large integers: -1, 0 or 1 as `a` is below, equal to or above
/// `b`; nothing if that is NaN.
inline std::optional<int> CompareNumbers(int64_t a, double b) {
  constexpr double kEdge = 9223372036854775808.0;  // 2^63
  if (std::isnan(b)) return std::nullopt;
  if (b >= kEdge) return -1;
  if (b < -kEdge) return 1;
  const double whole = std::trunc(b);
  const auto integer = static_cast<int64_t>(whole);
  if (a != integer) return a < integer ? -1 : 1;
  const double rest = b - whole;
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

}  // namespace varve
