#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "varve/sample.h"

namespace varve::testing {

/// Draws data in the shapes that metrics have, and the oddest that they may have.
class RandomData {
 public:
  explicit RandomData(uint64_t seed) : engine_(seed) {}

  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  uint64_t Word() { return engine_(); }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  double Special() {
    static const uint64_t kBits[] = {kStaleNanBits,
                                     kNormalNanBits,
                                     0x8000000000000000,
                                     0,
                                     0x7ff0000000000000,
                                     0xfff0000000000000,
                                     0x7ff0000000000001,
                                     0xffffffffffffffff,
                                     1,
                                     0x7fefffffffffffff,
                                     0x4340000000000000,
                                     0xc340000000000000,
                                     0x43e0000000000000,
                                     0xc3e0000000000000,
                                     0x3ff0000000000000,
                                     0x4330000000000001};
    return std::bit_cast<double>(OneIn(4) ? engine_() : kBits[Below(std::size(kBits))]);
  }

  static constexpr int kShapes = 14;
  std::vector<double> Values(size_t count, int shape) {
    std::vector<double> out(count);
    double level = static_cast<double>(Below(100000));
    const double step = static_cast<double>(1 + Below(1000));
    for (size_t i = 0; i < count; ++i) {
      switch (shape) {
        case 0:
          out[i] = level;
          break;
        case 1:
          out[i] = level += step;
          break;
        case 2:
          out[i] = level += static_cast<double>(Below(20));
          break;
        case 3:
          out[i] = level += OneIn(20) ? static_cast<double>(Below(9)) : 0;
          break;
        case 4:
          out[i] = static_cast<double>(Below(5)) * 1.1;
          break;
        case 5:
          out[i] = static_cast<double>(Below(100000)) / 1000;
          break;
        case 6:
          out[i] = static_cast<double>(Below(100000)) * 0.001;
          break;
        case 7:
          out[i] = static_cast<double>(4096 * Below(100000));
          break;
        case 8:
          out[i] = std::bit_cast<double>(Word());
          break;
        case 9:
          out[i] = 20 + static_cast<double>(Below(1u << 30)) / 1e9 * 3.3333333;
          break;
        case 10:
          out[i] = OneIn(10) ? Special() : (level += 1);
          break;
        case 11:
          out[i] = Special();
          break;
        case 12:
          out[i] = i + 1 == count ? StaleNan() : 0.25 * static_cast<double>(Below(3));
          break;
        default:
          out[i] = OneIn(50) ? (level = 0) : (level += static_cast<double>(Below(1u << 20)));
      }
    }
    return out;
  }

  static constexpr int kTimeShapes = 6;
  /// Draws strictly ascending times.
  std::vector<int64_t> Times(size_t count, int shape) {
    std::vector<int64_t> out(count);
    int64_t at = shape == 5 ? std::numeric_limits<int64_t>::min() + static_cast<int64_t>(Below(9))
                            : 1795186962624 + static_cast<int64_t>(Below(1000000));
    for (size_t i = 0; i < count; ++i) {
      out[i] = at;
      switch (shape) {
        case 0:
          at += 15000;
          break;
        case 1:
          at += 14990 + static_cast<int64_t>(Below(21));
          break;
        case 2:
          at += OneIn(30) ? 30000 : 15000;
          break;
        case 3:
          at += 1 + static_cast<int64_t>(Below(1u << 30));
          break;
        case 4:
          at = out[0] + 1000 * (static_cast<int64_t>(i) + 1) + static_cast<int64_t>(Below(5));
          break;
        default:
          at += static_cast<int64_t>(std::numeric_limits<uint64_t>::max() / (count + 1));
          break;
      }
    }
    return out;
  }

  /// Draws a histogram that need not be valid; close to `before` unless that is nullptr.
  Histogram Draw(const Histogram* before) {
    Histogram h;
    if (before != nullptr && !OneIn(8)) {
      h = *before;
      for (auto& v : h.positive_deltas) v += static_cast<int64_t>(Below(3)) - 1;
      for (auto& v : h.positive_counts) v += static_cast<double>(Below(3));
      h.count += Below(100);
      h.float_count += static_cast<double>(Below(100));
      h.sum += 1.5;
    } else {
      h.is_float = OneIn(2);
      h.schema = OneIn(3) ? kCustomBucketsSchema : static_cast<int32_t>(Below(13)) - 4;
      h.zero_threshold = OneIn(2) ? 0 : 1e-128;
      h.sum = OneIn(5) ? Special() : static_cast<double>(Below(1000)) / 7;
      h.positive_spans.resize(Below(4));
      for (auto& s : h.positive_spans) {
        s = {static_cast<int32_t>(Below(10)) - 3, static_cast<uint32_t>(Below(8))};
      }
      h.negative_spans.resize(Below(3));
      for (auto& s : h.negative_spans)
        s = {static_cast<int32_t>(Word()), static_cast<uint32_t>(Word())};
      if (h.is_float) {
        h.float_count = OneIn(9) ? Special() : static_cast<double>(Below(1000));
        h.float_zero_count = static_cast<double>(Below(10));
        h.positive_counts.resize(Below(20));
        for (auto& v : h.positive_counts) v = OneIn(9) ? Special() : static_cast<double>(Below(50));
        h.negative_counts.resize(Below(5));
        for (auto& v : h.negative_counts) v = Special();
      } else {
        h.count = OneIn(9) ? Word() : Below(1000);
        h.zero_count = Below(10);
        h.positive_deltas.resize(Below(20));
        for (auto& v : h.positive_deltas)
          v = OneIn(9) ? static_cast<int64_t>(Word()) : static_cast<int64_t>(Below(9)) - 4;
        h.negative_deltas.resize(Below(5));
        for (auto& v : h.negative_deltas) v = static_cast<int64_t>(Word());
      }
      if (h.schema == kCustomBucketsSchema) {
        h.custom_values.resize(Below(12));
        double bound = 0.005;
        for (auto& v : h.custom_values) v = bound *= 2;
      }
    }
    h.reset_hint = static_cast<CounterResetHint>(Below(4));
    return h;
  }

 private:
  std::mt19937_64 engine_;
};

inline bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

}  // namespace varve::testing
