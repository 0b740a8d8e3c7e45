#include "engine/codec/gorilla.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "engine/codec/bits.h"

namespace varve::codec {
namespace {

struct Class {
  uint32_t prefix;
  uint32_t prefix_bits;
  uint32_t bits;
};
// Prefixes as they lie in the stream, first bit lowest.
constexpr std::array<Class, 6> kTimeClasses = {{{0b0, 1, 4},
                                                {0b01, 2, 7},
                                                {0b011, 3, 11},
                                                {0b0111, 4, 17},
                                                {0b01111, 5, 32},
                                                {0b11111, 5, 64}}};
constexpr std::array<Class, 5> kIntClasses = {
    {{0b0, 1, 3}, {0b01, 2, 6}, {0b011, 3, 10}, {0b0111, 4, 16}, {0b1111, 4, 32}}};

constexpr double kWholeMax = 9007199254740992.0;  // 2^53: all whole numbers below are exact
constexpr uint32_t kFirstTimeBits = 42;
constexpr uint32_t kPeekBits = 57;  // that BitReader::Peek gives at least

// How a sample lies in the stream that keeps the step and moves by a whole number: bits 01, then 0,
// a prefix and the code. By the four bits in which the prefixes end.
struct WholeCode {
  uint64_t mask;
  uint32_t shift;
  uint32_t skip;
};
constexpr std::array<WholeCode, 16> kWholeCodes = [] {
  std::array<WholeCode, 16> out{};
  for (uint32_t bits = 0; bits < 16; ++bits) {
    const Class& c = kIntClasses[std::min<size_t>(std::countr_one(bits), kIntClasses.size() - 1)];
    out[bits] = {MaskOf(c.bits), 3 + c.prefix_bits, 3 + c.prefix_bits + c.bits};
  }
  return out;
}();

}  // namespace

double GorillaChunk::last_value() const { return std::bit_cast<double>(last_bits_); }

void GorillaChunk::Put(uint64_t value, uint32_t bits) {
  const uint32_t free_bits = used_bits_ == 0 ? 0 : 8u - used_bits_;
  const uint32_t size = buffer_.size();
  const uint32_t start = free_bits == 0 ? size : size - 1;
  const uint32_t offset = free_bits == 0 ? 0 : used_bits_;
  const uint32_t end_bits = offset + bits;
  const uint32_t need = start + (end_bits + 7) / 8;
  buffer_.Reserve(need);
  char* at = buffer_.data() + start;
  uint64_t low = value << offset;
  if (offset != 0) low |= static_cast<uint8_t>(*at);
  const uint32_t room = buffer_.capacity() - start;
  if (room >= 9) [[likely]] {
    Store64(at, low);
    if (end_bits > 64) at[8] = static_cast<char>(value >> (64 - offset));
  } else {
    const uint32_t bytes = (end_bits + 7) / 8;
    for (uint32_t i = 0; i < bytes; ++i) at[i] = static_cast<char>(low >> (8 * i));
  }
  buffer_.set_size(need);
  used_bits_ = static_cast<uint8_t>((end_bits - 1) % 8 + 1);
}

void GorillaChunk::PutTime(int64_t change) {
  const uint64_t code = ZigZag(change) - 1;
  const uint32_t width = BitWidth(code);
  for (const Class& c : kTimeClasses) {
    if (width > c.bits) continue;
    if (c.bits + c.prefix_bits <= 64) {
      Put(c.prefix | code << c.prefix_bits, c.prefix_bits + c.bits);
    } else {
      Put(c.prefix, c.prefix_bits);
      Put(code, c.bits);
    }
    return;
  }
}

void GorillaChunk::PutValue(uint64_t bits) {
  const uint64_t x = bits ^ last_bits_;
  const auto leading = static_cast<uint32_t>(std::countl_zero(x));
  const auto trailing = static_cast<uint32_t>(std::countr_zero(x));
  const uint32_t own_width = 64 - leading - trailing;
  const bool fits = width_ != 0 && leading >= leading_ && trailing >= 64u - leading_ - width_;
  const bool reuse = fits && width_ <= own_width + 12u;
  const uint32_t xor_cost = reuse ? 1u + width_ : 13u + own_width;

  const double before = std::bit_cast<double>(last_bits_);
  const double value = std::bit_cast<double>(bits);
  if (std::fabs(before) < kWholeMax && std::fabs(value) < kWholeMax) {
    const auto from = static_cast<int64_t>(before);
    const auto to = static_cast<int64_t>(value);
    const uint64_t code = ZigZag(to - from) - 1;
    if (to != from && code <= MaskOf(32) &&
        std::bit_cast<uint64_t>(static_cast<double>(to)) == bits) {
      const uint32_t width = BitWidth(code);
      for (const Class& c : kIntClasses) {
        if (width > c.bits) continue;
        if (c.prefix_bits + c.bits > xor_cost) break;
        Put(uint64_t{c.prefix} << 1 | code << (c.prefix_bits + 1), 1 + c.prefix_bits + c.bits);
        return;
      }
    }
  }
  if (reuse) {
    Put(0b01, 2);
    Put(x >> (64u - leading_ - width_), width_);
    return;
  }
  leading_ = static_cast<uint8_t>(leading);
  width_ = static_cast<uint8_t>(own_width);
  Put(0b11 | leading << 2 | (own_width - 1) << 8, 14);
  Put(x >> trailing, own_width);
}

void GorillaChunk::Append(int64_t time, double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const bool same_value = bits == last_bits_;
  if (count_ == 0) {
    const auto unsigned_time = static_cast<uint64_t>(time);
    if (BitWidth(unsigned_time) <= kFirstTimeBits) {
      Put(unsigned_time << 1, 1 + kFirstTimeBits);
    } else {
      Put(1, 1);
      Put(unsigned_time, 64);
    }
    Put(same_value ? 0 : 1, 1);
  } else {
    VARVE_CHECK(count_ < 65535);
    const int64_t delta = WrapSub(time, last_time_);
    if (delta == last_delta_) {
      if (same_value) {
        Put(0, 1);
      } else {
        Put(0b01, 2);
      }
    } else {
      Put(same_value ? 0b011 : 0b111, 3);
      PutTime(WrapSub(delta, last_delta_));
    }
    last_delta_ = delta;
  }
  if (!same_value) PutValue(bits);
  last_time_ = time;
  last_bits_ = bits;
  ++count_;
}

bool DecodeGorilla(std::string_view bytes, std::span<int64_t> times, std::span<double> values) {
  const size_t count = times.size();
  if (count == 0) return true;
  // The shortest sample takes one bit, so this bounds the work by the input.
  if (count > bytes.size() * 8) return false;
  BitReader in(bytes);
  int64_t time = 0;
  int64_t delta = 0;
  uint64_t last = 0;
  uint32_t shift = 0;
  uint32_t width = 0;
  bool good = true;

  const auto read_value = [&] {
    const uint64_t peek = in.Peek();
    if ((peek & 1) == 0) {
      const auto which = std::min<size_t>(std::countr_one(peek >> 1), kIntClasses.size() - 1);
      const Class& c = kIntClasses[which];
      const uint64_t code = (peek >> (1 + c.prefix_bits)) & MaskOf(c.bits);
      in.Skip(1 + c.prefix_bits + c.bits);
      const double before = std::bit_cast<double>(last);
      if (!(std::fabs(before) < kWholeMax)) {
        good = false;
        return;
      }
      last = std::bit_cast<uint64_t>(
          static_cast<double>(static_cast<int64_t>(before) + UnZigZag(code + 1)));
      return;
    }
    if ((peek & 2) == 0) {
      in.Skip(2);
      good &= width != 0;
    } else {
      const uint32_t leading = (peek >> 2) & 63;
      width = static_cast<uint32_t>((peek >> 8) & 63) + 1;
      if (leading + width > 64) {
        good = false;
        width = 1;
        return;
      }
      shift = 64 - leading - width;
      in.Skip(14);
    }
    last ^= in.Read(width) << shift;
  };

  time = static_cast<int64_t>(in.Read(1) == 0 ? in.Read(kFirstTimeBits) : in.Read(64));
  if (in.Read(1) != 0) read_value();
  times[0] = time;
  values[0] = std::bit_cast<double>(last);
  size_t i = 1;
  while (i < count) {
    uint64_t peek = in.Peek();
    if ((peek & 7) == 1) {
      // Most counters and many gauges stay here from sample to sample. The loop carries the whole
      // number, not the double: converting both ways would be the longest chain in it.
      const double before = std::bit_cast<double>(last);
      if (!(std::fabs(before) < kWholeMax)) return false;
      auto whole = static_cast<int64_t>(before);
      // Where a code begins depends on the one before, so the loop is as fast as it finds that out:
      // the bits of one load serve for two codes. Two nearly always lie in them, so that the branch
      // is foreseen; how many more do is not.
      do {
        const WholeCode& c = kWholeCodes[(peek >> 3) & 15];
        whole += UnZigZag(((peek >> c.shift) & c.mask) + 1);
        time = WrapAdd(time, delta);
        times[i] = time;
        values[i] = static_cast<double>(whole);
        uint32_t used = c.skip;
        const uint64_t rest = peek >> used;
        const WholeCode& d = kWholeCodes[(rest >> 3) & 15];
        if (used + d.skip <= kPeekBits && (rest & 7) == 1 && i + 1 < count &&
            std::abs(whole) < static_cast<int64_t>(kWholeMax)) {
          whole += UnZigZag(((rest >> d.shift) & d.mask) + 1);
          time = WrapAdd(time, delta);
          ++i;
          times[i] = time;
          values[i] = static_cast<double>(whole);
          used += d.skip;
        }
        in.Skip(used);
        if (++i == count) break;
        peek = in.Peek();
      } while ((peek & 7) == 1 && std::abs(whole) < static_cast<int64_t>(kWholeMax));
      last = std::bit_cast<uint64_t>(static_cast<double>(whole));
      continue;
    }
    if ((peek & 15) == 0b0101 && width != 0 && width + 4 <= 57) {
      // Values with many digits: the step stays, and so does the place of the bits that change.
      const uint64_t mask = MaskOf(width);
      uint64_t bits = last;
      do {
        bits ^= ((peek >> 4) & mask) << shift;
        in.Skip(4 + width);
        time = WrapAdd(time, delta);
        times[i] = time;
        values[i] = std::bit_cast<double>(bits);
        if (++i == count) break;
        peek = in.Peek();
      } while ((peek & 15) == 0b0101);
      last = bits;
      continue;
    }
    if ((peek & 1) == 0) {
      // A run of samples without change is a run of zeros.
      const size_t run = std::min<size_t>(
          {static_cast<size_t>(std::countr_zero(peek | uint64_t{1} << 56)), count - i});
      in.Skip(run);
      const double value = std::bit_cast<double>(last);
      for (size_t k = 0; k < run; ++k) {
        time = WrapAdd(time, delta);
        times[i + k] = time;
        values[i + k] = value;
      }
      i += run;
      continue;
    }
    if ((peek & 2) == 0) {
      in.Skip(2);
      read_value();
    } else {
      in.Skip(3);
      const uint64_t classes = peek >> 3;
      const auto which = std::min<size_t>(std::countr_one(classes), kTimeClasses.size() - 1);
      const Class& c = kTimeClasses[which];
      in.Skip(c.prefix_bits);
      delta = WrapAdd(delta, UnZigZag(in.Read(c.bits) + 1));
      if ((peek & 4) != 0) read_value();
    }
    time = WrapAdd(time, delta);
    times[i] = time;
    values[i] = std::bit_cast<double>(last);
    ++i;
  }
  return good && !in.overrun();
}

}  // namespace varve::codec
