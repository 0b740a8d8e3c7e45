#include "tools/server/api/xor_chunk.h"

#include <algorithm>
#include <bit>

#include "engine/base/macros.h"

namespace varve::api {
namespace {

class BitWriter {
 public:
  explicit BitWriter(std::string* out) : out_(out) {}
  /// Appends the low `count` bits of `value`, the highest first.
  void Bits(uint64_t value, unsigned count) {
    while (count > 0) {
      if (free_ == 0) {
        out_->push_back(0);
        free_ = 8;
      }
      const unsigned take = std::min(count, free_);  // 1 to 8
      const uint64_t part = (value >> (count - take)) & (0xffu >> (8 - take));
      out_->back() =
          static_cast<char>(static_cast<unsigned char>(out_->back()) | (part << (free_ - take)));
      free_ -= take;
      count -= take;
    }
  }
  void Uvarint(uint64_t value) {
    while (value >= 0x80) {
      Bits((value & 0x7f) | 0x80, 8);
      value >>= 7;
    }
    Bits(value, 8);
  }

 private:
  std::string* const out_;
  unsigned free_ = 0;  // bits not yet used in the last byte
};

bool Fits(int64_t value, unsigned bits) {
  const int64_t half = int64_t{1} << (bits - 1);
  return -(half - 1) <= value && value <= half;
}

}  // namespace

std::string EncodeXorChunk(std::span<const int64_t> times_ms, std::span<const double> values) {
  VARVE_CHECK(times_ms.size() == values.size() && !times_ms.empty() && times_ms.size() <= 65535);
  std::string out;
  BitWriter bits(&out);
  bits.Bits(times_ms.size(), 16);
  uint64_t delta = 0;
  uint64_t last_value = 0;
  int leading = -1;  // none yet
  int trailing = 0;
  for (size_t i = 0; i < times_ms.size(); ++i) {
    const auto time = static_cast<uint64_t>(times_ms[i]);
    const auto value = std::bit_cast<uint64_t>(values[i]);
    if (i == 0) {
      bits.Uvarint((time << 1) ^ static_cast<uint64_t>(times_ms[i] >> 63));
      bits.Bits(value, 64);
      last_value = value;
      continue;
    }
    const uint64_t new_delta = time - static_cast<uint64_t>(times_ms[i - 1]);
    if (i == 1) {
      bits.Uvarint(new_delta);
    } else {
      const auto change = static_cast<int64_t>(new_delta - delta);
      if (change == 0) {
        bits.Bits(0, 1);
      } else if (Fits(change, 14)) {
        bits.Bits(0b10, 2);
        bits.Bits(static_cast<uint64_t>(change), 14);
      } else if (Fits(change, 17)) {
        bits.Bits(0b110, 3);
        bits.Bits(static_cast<uint64_t>(change), 17);
      } else if (Fits(change, 20)) {
        bits.Bits(0b1110, 4);
        bits.Bits(static_cast<uint64_t>(change), 20);
      } else {
        bits.Bits(0b1111, 4);
        bits.Bits(static_cast<uint64_t>(change), 64);
      }
    }
    delta = new_delta;

    const uint64_t difference = value ^ last_value;
    last_value = value;
    if (difference == 0) {
      bits.Bits(0, 1);
      continue;
    }
    bits.Bits(1, 1);
    const int new_leading = std::min(std::countl_zero(difference), 31);
    const int new_trailing = std::countr_zero(difference);
    if (leading >= 0 && new_leading >= leading && new_trailing >= trailing) {
      bits.Bits(0, 1);
    } else {
      leading = new_leading;
      trailing = new_trailing;
      bits.Bits(1, 1);
      bits.Bits(static_cast<uint64_t>(leading), 5);
      // 64 does not fit six bits and is written as 0; 0 itself cannot occur.
      bits.Bits(static_cast<uint64_t>(64 - leading - trailing) & 63, 6);
    }
    bits.Bits(difference >> trailing, static_cast<unsigned>(64 - leading - trailing));
  }
  return out;
}

}  // namespace varve::api
