#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "engine/codec/buffer.h"

namespace varve::codec {

/// A growing chunk of (time, value) samples: delta-of-delta times and XORed values as in Gorilla
/// (Pelkonen et al., VLDB 2015, section 4.1), with three changes: one bit when neither the
/// interval nor the value changed; whole numbers may be stored as differences; a window of
/// meaningful bits is left as soon as a new one is cheaper.
///
/// Any int64 time and any 64 bits of a value come back exactly. Cost: about 10 ns a sample, no
/// allocation but the growth of the buffer (16 bytes at first, then a quarter at a time).
/// 48 bytes beside the buffer. Not thread-safe: writers and readers share a lock.
///
/// Reading while it grows: a reader notes count() and copies bytes() under the lock, then decodes
/// without it. Bytes that a sample wrote never change, except that the last one may gain bits
/// above those that are in use; decoding `count` samples never looks at those.
///
/// Layout, bit fields with the lowest bit first; x is the XOR with the value before (0 at first):
///   first sample  0 time:42 | 1 time:64, then 0 (value is +0) | 1 VALUE
///   others        0            same interval, same value
///                 10 VALUE     same interval
///                 110 TIME     same value
///                 111 TIME VALUE
///   TIME          zigzag of the change of the interval, minus 1:
///                 0 :4 | 10 :7 | 110 :11 | 1110 :17 | 11110 :32 | 11111 :64
///   VALUE         0 difference of whole numbers: zigzag minus 1, 0 :3 | 10 :6 | 110 :10 |
///                   1110 :16 | 1111 :32
///                 10 x in the window of the last x, its width
///                 11 leading zeros:6, width minus 1:6, x without its outer zeros
class GorillaChunk {
 public:
  GorillaChunk() = default;
  GorillaChunk(GorillaChunk&&) noexcept = default;
  GorillaChunk& operator=(GorillaChunk&&) noexcept = default;

  /// Adds a sample; times need no order here. Precondition: count() < 65535.
  void Append(int64_t time, double value);

  uint32_t count() const { return count_; }
  /// The encoded samples; valid until the next Append.
  std::string_view bytes() const { return buffer_.view(); }
  /// Precondition: count() > 0.
  int64_t last_time() const { return last_time_; }
  double last_value() const;
  /// Bytes on the heap.
  size_t heap_bytes() const { return buffer_.capacity(); }
  /// Gives back spare room, for a chunk that is full.
  void ShrinkToFit() { buffer_.ShrinkToFit(); }
  /// Forgets all samples and frees the buffer.
  void Clear() { *this = GorillaChunk(); }

 private:
  void Put(uint64_t value, uint32_t bits);
  void PutTime(int64_t change);
  void PutValue(uint64_t bits);

  SmallBuffer buffer_;
  int64_t last_time_ = 0;
  int64_t last_delta_ = 0;
  uint64_t last_bits_ = 0;
  uint16_t count_ = 0;
  uint8_t leading_ = 0;
  uint8_t width_ = 0;      // of the window; 0 before the first one
  uint8_t used_bits_ = 0;  // of the last byte, 1..8; 0 while the buffer is empty
};

/// Decodes the first `times.size()` samples of bytes that a GorillaChunk wrote. Returns false
/// when the bytes cannot hold that many or make no sense; what was filled then is unspecified.
/// Safe on any bytes. Cost: 2 to 10 ns a sample. Precondition: both spans have one size.
[[nodiscard]] bool DecodeGorilla(std::string_view bytes, std::span<int64_t> times,
                                 std::span<double> values);

}  // namespace varve::codec
