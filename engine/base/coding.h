#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace varve {

static_assert(std::endian::native == std::endian::little,
              "on-disk integers are copied as they are; a big-endian port swaps them here");

/// Maps signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 ... -> 0, 1, 2, 3 ...
constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}
/// Differences that may leave int64: they wrap, and adding them back wraps again.
constexpr int64_t WrapSub(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
constexpr int64_t WrapAdd(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

/// Append little-endian fixed-width integers and LEB128 varints to a string.
template <typename T>
inline void PutFixed(std::string* out, T value) {
  out->append(reinterpret_cast<const char*>(&value), sizeof value);
}
inline void PutVarint(std::string* out, uint64_t value) {
  char buffer[10];
  size_t size = 0;
  while (value >= 0x80) {
    buffer[size++] = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  buffer[size++] = static_cast<char>(value);
  out->append(buffer, size);
}
inline void PutSigned(std::string* out, int64_t value) { PutVarint(out, ZigZag(value)); }
inline void PutDouble(std::string* out, double value) {
  PutFixed(out, std::bit_cast<uint64_t>(value));
}
inline void PutString(std::string* out, std::string_view text) {
  PutVarint(out, text.size());
  out->append(text);
}

/// Reads bytes that may be anything. After the first read past the end or malformed varint, ok()
/// is false for good and every read yields zero or an empty view; check once at the end, and
/// before trusting a count for an allocation.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes)
      : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool ok() const { return ok_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  size_t position() const { return static_cast<size_t>(at_ - begin_); }
  /// Marks the input as bad: for values that a caller finds impossible.
  void Fail() {
    ok_ = false;
    at_ = end_;
  }

  template <typename T>
  T Fixed() {
    T value{};
    if (left() < sizeof value) {
      Fail();
      return value;
    }
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) break;
      const auto byte = static_cast<unsigned char>(*at_++);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    Fail();
    return 0;
  }
  /// Reads a varint that counts things of at least `item_bytes` each in what is left.
  uint64_t Count(size_t item_bytes = 1) {
    const uint64_t count = Varint();
    if (count > left() / item_bytes) {
      Fail();
      return 0;
    }
    return count;
  }
  int64_t Signed() { return UnZigZag(Varint()); }
  double Double() { return std::bit_cast<double>(Fixed<uint64_t>()); }
  std::string_view Bytes(uint64_t size) {
    if (size > left()) {
      Fail();
      return {};
    }
    const std::string_view out(at_, size);
    at_ += size;
    return out;
  }
  std::string_view String() { return Bytes(Varint()); }

 private:
  const char* begin_;
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

}  // namespace varve
