#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/codec/bits.h"

namespace varve::codec {

/// Appends seven bits a byte, lowest first, the top bit of a byte saying that more follow.
inline void PutVarint(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}
inline void PutZigZag(std::string* out, int64_t value) { PutVarint(out, ZigZag(value)); }
inline void PutFixed64(std::string* out, uint64_t value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

/// Returns how many bytes PutVarint appends.
inline constexpr uint32_t VarintBytes(uint64_t value) { return (BitWidth(value | 1) + 6) / 7; }

/// Walks bytes from outside. Every read says whether it succeeded and never leaves the view;
/// after a failure the position is unspecified but still inside.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  [[nodiscard]] bool Byte(uint8_t* out) {
    if (at_ >= bytes_.size()) return false;
    *out = static_cast<uint8_t>(bytes_[at_++]);
    return true;
  }
  /// Reads a varint. Fails on more than 64 bits and on a needlessly long form, so that a number
  /// has one encoding.
  [[nodiscard]] bool Varint(uint64_t* out) {
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
      if (at_ >= bytes_.size()) return false;
      const auto byte = static_cast<uint8_t>(bytes_[at_++]);
      if (shift == 63 && byte > 1) return false;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        *out = value;
        return byte != 0 || shift == 0;
      }
    }
    return false;
  }
  [[nodiscard]] bool Signed(int64_t* out) {
    uint64_t value;
    if (!Varint(&value)) return false;
    *out = UnZigZag(value);
    return true;
  }
  /// Reads a varint that must not exceed `max`.
  template <typename T>
  [[nodiscard]] bool Bounded(T* out, uint64_t max) {
    uint64_t value;
    if (!Varint(&value) || value > max) return false;
    *out = static_cast<T>(value);
    return true;
  }
  [[nodiscard]] bool Fixed64(uint64_t* out) {
    if (remaining() < 8) return false;
    *out = Load64(bytes_.data() + at_);
    at_ += 8;
    return true;
  }
  [[nodiscard]] bool Bytes(size_t count, std::string_view* out) {
    if (remaining() < count) return false;
    *out = bytes_.substr(at_, count);
    at_ += count;
    return true;
  }
  size_t position() const { return at_; }
  size_t remaining() const { return bytes_.size() - at_; }
  bool done() const { return at_ == bytes_.size(); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
};

}  // namespace varve::codec
