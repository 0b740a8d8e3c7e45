#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/coding.h"
#include "engine/codec/int_stream.h"

namespace varve::codec {

/// The most values of one column, and so the most positions of one set.
inline constexpr uint32_t kColumnValuesMax = 2048;

/// A set of positions inside a column: one bit each.
class PositionSet {
 public:
  /// Empties the set and makes it one of positions below `size` <= kColumnValuesMax.
  void Reset(uint32_t size) {
    size_ = size;
    for (uint32_t w = 0; w < words(); ++w) words_[w] = 0;
  }
  uint32_t size() const { return size_; }
  uint32_t words() const { return (size_ + 63) / 64; }
  uint64_t word(uint32_t i) const { return words_[i]; }
  void set_word(uint32_t i, uint64_t word) { words_[i] = word; }
  void Add(uint32_t at) { words_[at / 64] |= uint64_t{1} << (at % 64); }
  bool Has(uint32_t at) const { return (words_[at / 64] >> (at % 64) & 1) != 0; }
  /// Counts the positions below `end` <= size().
  uint32_t CountBelow(uint32_t end) const {
    uint32_t count = 0;
    for (uint32_t w = 0; w < end / 64; ++w) count += CountBits(words_[w]);
    if (end % 64 != 0) count += CountBits(words_[end / 64] & ((uint64_t{1} << (end % 64)) - 1));
    return count;
  }
  uint32_t Count() const { return CountBelow(size_); }
  /// Calls f(position) for each, ascending, from `begin` on and below `end`.
  template <typename F>
  void ForEach(uint32_t begin, uint32_t end, F f) const {
    for (uint32_t w = begin / 64; w * 64 < end; ++w) {
      uint64_t word = words_[w];
      if (w == begin / 64) word &= ~uint64_t{0} << (begin % 64);
      for (; word != 0; word &= word - 1) {
        const uint32_t at = w * 64 + static_cast<uint32_t>(std::countr_zero(word));
        if (at >= end) return;
        f(at);
      }
    }
  }

 private:
  /// Counts set bits; std::popcount is a table look-up a byte on baseline x86-64.
  static uint32_t CountBits(uint64_t word) {
    word -= word >> 1 & 0x5555555555555555;
    word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return static_cast<uint32_t>(word * 0x0101010101010101 >> 56);
  }

  uint32_t size_ = 0;
  std::array<uint64_t, kColumnValuesMax / 64> words_;  // only the first words() hold anything
};

/// Appends a non-empty set as the smallest of: the last position only, a bitmap, the gaps.
/// Format: engine/docs/format/metrics-block.md, "Position sets".
void PutPositions(const PositionSet& set, IntStreamEncoder* encoder, std::string* out);

/// Reads a set of positions below `size` (1..kColumnValuesMax); `bytes` are what `in` reads.
/// Returns false on malformed bytes, the empty set among them.
[[nodiscard]] bool ReadPositions(ByteReader* in, std::string_view bytes, uint32_t size,
                                 PositionSet* out);

}  // namespace varve::codec
