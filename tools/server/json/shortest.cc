#include "tools/server/json/shortest.h"

#include <array>
#include <bit>
#include <cstddef>

namespace varve::json {
namespace {

using Wide = unsigned __int128;

constexpr int kPowerMin = -292;
constexpr int kPowerMax = 324;

/// floor(log2(10^e)) and floor(log10(2^e)), or of 3/4 * 2^e, for all e that come up.
constexpr int Log2OfPow10(int e) { return (e * 1741647) >> 19; }
constexpr int Log10OfPow2(int e) { return (e * 1262611) >> 22; }
constexpr int Log10OfThreeQuartersPow2(int e) { return (e * 1262611 - 524031) >> 22; }

/// The 128 bits of a power of ten from its highest one bit on, rounded up.
struct Power {
  uint64_t high;
  uint64_t low;
};

/// A natural number of fixed length, the lowest limb first.
struct Natural {
  static constexpr int kLimbs = 44;
  std::array<uint32_t, kLimbs> limbs{};

  constexpr void TimesTen() {
    uint64_t carry = 0;
    for (uint32_t& limb : limbs) {
      carry += uint64_t{limb} * 10;
      limb = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  /// Rounds down.
  constexpr void ByTen() {
    uint64_t rest = 0;
    for (int i = kLimbs - 1; i >= 0; --i) {
      rest = rest << 32 | limbs[i];
      limbs[i] = static_cast<uint32_t>(rest / 10);
      rest %= 10;
    }
  }
  /// Gives the highest 128 bits, rounded up if anything follows them, or if `more` does.
  constexpr Power Top(bool more) const {
    int top = kLimbs - 1;
    while (limbs[top] == 0) --top;
    const int shift = std::countl_zero(limbs[top]);
    Wide bits = 0;
    for (int i = 0; i < 5; ++i) {
      const uint64_t limb = top >= i ? limbs[top - i] : 0;
      // The fifth limb gives what the first one lacks.
      bits = i < 4 ? bits << 32 | limb : (shift == 0 ? bits : bits << shift | limb >> (32 - shift));
      if (i == 4 && (limb << shift & 0xffffffff) != 0) more = true;
    }
    for (int i = top - 5; i >= 0; --i) more |= limbs[i] != 0;
    bits += more ? 1 : 0;
    return {static_cast<uint64_t>(bits >> 64), static_cast<uint64_t>(bits)};
  }
};

constexpr std::array<Power, kPowerMax - kPowerMin + 1> MakePowers() {
  std::array<Power, kPowerMax - kPowerMin + 1> out{};
  Natural up;
  up.limbs[0] = 1;
  for (int e = 0; e <= kPowerMax; ++e) {
    out[static_cast<size_t>(e - kPowerMin)] = up.Top(false);
    up.TimesTen();
  }
  // 10^-e from a power of two that leaves 128 bits and more.
  Natural down;
  down.limbs[Natural::kLimbs - 1] = 1u << 31;
  for (int e = -1; e >= kPowerMin; --e) {
    down.ByTen();
    out[static_cast<size_t>(e - kPowerMin)] = down.Top(true);
  }
  return out;
}

constexpr auto kPowers = MakePowers();

/// Multiplies, keeps the part above 2^128, and sets its last bit if anything but it was cut off:
/// the result compares with whole numbers as the product does.
uint64_t TimesRoundedToOdd(Power power, uint64_t factor) {
  const Wide low = Wide{power.low} * factor;
  const Wide high = Wide{power.high} * factor + static_cast<uint64_t>(low >> 64);
  return static_cast<uint64_t>(high >> 64) | (static_cast<uint64_t>(high) > 1 ? 1 : 0);
}

Decimal WithoutZeros(uint64_t digits, int exponent) {
  while (digits % 10 == 0) {
    digits /= 10;
    ++exponent;
  }
  return {digits, exponent};
}

}  // namespace

Decimal ShortestDecimal(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t fraction = bits & ((uint64_t{1} << 52) - 1);
  const auto biased = static_cast<int>(bits >> 52 & 0x7ff);
  // value = c * 2^q. Everything from half way to the number below up to half way to the one above
  // reads back as it, the ends only if c is even. Below a power of two numbers are twice as dense.
  const uint64_t c = biased == 0 ? fraction : fraction | uint64_t{1} << 52;
  const int q = (biased == 0 ? 1 : biased) - 1075;
  const bool dense_below = fraction == 0 && biased > 1;
  const uint64_t open = c & 1;
  // One decimal place so small that the interval holds a multiple of it, but at most one of ten
  // times as much.
  const int k = dense_below ? Log10OfThreeQuartersPow2(q) : Log10OfPow2(q);
  const Power power = kPowers[static_cast<size_t>(-k - kPowerMin)];
  const int shift = q + Log2OfPow10(-k) + 1;
  // All in quarters of that place.
  const uint64_t middle = TimesRoundedToOdd(power, (4 * c) << shift);
  const uint64_t lower = TimesRoundedToOdd(power, (4 * c - (dense_below ? 1 : 2)) << shift) + open;
  const uint64_t upper = TimesRoundedToOdd(power, (4 * c + 2) << shift) - open;
  const uint64_t down = middle / 4;
  if (down >= 10) {
    const uint64_t tens = down / 10;
    const bool below = lower <= 40 * tens;
    const bool above = 40 * tens + 40 <= upper;
    if (below != above) return WithoutZeros(tens + (above ? 1 : 0), k + 1);
  }
  const bool below = lower <= 4 * down;
  const bool above = 4 * down + 4 <= upper;
  if (below != above) return WithoutZeros(down + (above ? 1 : 0), k);
  // Both or none: the nearer one, of two equally near the even one.
  const uint64_t half = 4 * down + 2;
  const bool up = middle > half || (middle == half && (down & 1) != 0);
  return WithoutZeros(down + (up ? 1 : 0), k);
}

}  // namespace varve::json
