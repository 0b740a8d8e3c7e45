#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "engine/base/coding.h"

namespace varve::codec {

/// Load and store little-endian numbers at any address.
inline uint64_t Load64(const char* at) {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}
inline uint32_t Load32(const char* at) {
  uint32_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}
inline void Store64(char* at, uint64_t word) { std::memcpy(at, &word, sizeof(word)); }

/// Returns the lowest `bits` bits set; 0 <= bits <= 64.
inline constexpr uint64_t MaskOf(uint32_t bits) {
  return bits >= 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
}
/// Returns how many bits `value` needs; 0 for 0.
inline constexpr uint32_t BitWidth(uint64_t value) {
  return static_cast<uint32_t>(std::bit_width(value));
}

/// Reads a stream of bit fields, lowest bit of the lowest byte first. Past the end it reads
/// zeros and says so in `overrun`: check once, after a bounded number of reads.
class BitReader {
 public:
  explicit BitReader(std::string_view bytes) : data_(bytes.data()), size_(bytes.size()) {}

  /// Returns the next bits; at least 57 of them are valid.
  uint64_t Peek() const {
    const size_t byte = position_ >> 3;
    if (byte + 8 <= size_) [[likely]]
      return Load64(data_ + byte) >> (position_ & 7);
    uint64_t word = 0;
    if (byte < size_) std::memcpy(&word, data_ + byte, size_ - byte);
    return word >> (position_ & 7);
  }
  void Skip(uint64_t bits) { position_ += bits; }
  /// Returns the next `bits` bits; 0 <= bits <= 64.
  uint64_t Read(uint32_t bits) {
    if (bits <= 56) [[likely]] {
      const uint64_t out = Peek() & MaskOf(bits);
      position_ += bits;
      return out;
    }
    const uint64_t low = Peek() & MaskOf(32);
    position_ += 32;
    const uint64_t high = Peek() & MaskOf(bits - 32);
    position_ += bits - 32;
    return low | high << 32;
  }
  uint64_t position() const { return position_; }
  bool overrun() const { return position_ > uint64_t{size_} * 8; }

 private:
  const char* data_;
  size_t size_;
  uint64_t position_ = 0;  // in bits
};

}  // namespace varve::codec
