#pragma once

#include <cstdint>

namespace varve::json {

/// digits * 10^exponent. No zeros at the end of the digits.
struct Decimal {
  uint64_t digits;
  int exponent;
};

/// Finds the decimal with the fewest digits that reads back as `value`, and of those the one
/// nearest to it, as std::to_chars does, in less than half of its time. `value` must be finite and
/// above 0. (R. Giulietti, "The Schubfach way to render doubles", 2021.)
Decimal ShortestDecimal(double value);

}  // namespace varve::json
