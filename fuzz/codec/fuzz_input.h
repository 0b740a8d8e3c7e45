#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

namespace varve::fuzz {

/// Splits an input into a count, from its first two bytes, and the bytes to decode.
struct Input {
  Input(const uint8_t* data, size_t size) {
    if (size < 2) return;
    count = 1u + (data[0] | uint32_t{data[1]} << 8);
    bytes = {reinterpret_cast<const char*>(data) + 2, size - 2};
  }
  uint32_t count = 0;  // 1..65536, 0 if there is no input
  std::string_view bytes;
};

/// Reads the bytes as words of 64 bits: input for an encoder.
inline std::vector<uint64_t> Words(std::string_view bytes) {
  std::vector<uint64_t> out(bytes.size() / 8);
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * 8);
  return out;
}

inline void Expect(bool condition) {
  if (!condition) std::abort();
}

}  // namespace varve::fuzz
