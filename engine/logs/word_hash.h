#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "engine/base/seeded_hash.h"

namespace varve::logs {

/// Hashes words for tables and memories of this process: like SeededHash64, which it is for longer
/// words, but without a call or a branch for those of at most 16 bytes, which most are. Never
/// stored. Source: Wang Yi, wyhash; secrets of this process stand for its own.
class WordHash {
 public:
  using is_transparent = void;

  uint64_t operator()(std::string_view word) const {
    if (word.size() > kShort) return SeededHash64(word);
    std::array<char, kShort> copy{};
    if (!word.empty()) std::memcpy(copy.data(), word.data(), word.size());
    return Mix(Load(copy.data()), Load(copy.data() + 8), word.size());
  }
  /// The same for a word behind which 16 bytes may be read.
  uint64_t Padded(std::string_view word) const {
    if (word.size() > kShort) return SeededHash64(word);
    // The masks of so many bytes out of 16.
    const char* const mask = kOnes.data() + kShort - word.size();
    return Mix(Load(word.data()) & Load(mask), Load(word.data() + 8) & Load(mask + 8), word.size());
  }

 private:
  static constexpr size_t kShort = 16;
  /// 16 bytes of ones, and as many zeros.
  static constexpr std::array<char, 2 * kShort> kOnes = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                         -1, -1, -1, -1, -1, -1, -1, -1};

  static uint64_t Load(const char* from) {
    uint64_t out = 0;
    std::memcpy(&out, from, sizeof out);
    return out;
  }
  uint64_t Mix(uint64_t low, uint64_t high, size_t bytes) const {
    const auto product = static_cast<unsigned __int128>(low ^ first_) * (high ^ (second_ + bytes));
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }

  uint64_t first_ = ProcessSeed();
  uint64_t second_ = SeededHash64("words");
};

}  // namespace varve::logs
