#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

namespace varve::index {

/// Filters over 64-bit hashes of keys (Hash64): they answer "surely absent" or "perhaps present".
/// Spec of both serialised forms: engine/docs/format/filters.md. The bytes carry no checksum of
/// their own: their container does.

/// A split-block Bloom filter: takes keys at any time, for heads and filters under construction.
/// Each key sets one bit in each of the eight words of one 32-byte block, so a test touches one
/// cache line. Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters"
/// (2007), in the form and with the constants that Parquet uses.
///
/// Bits per key and false positives: 8: 2.4 %, 10: 1.1 %, 12: 0.55 %, 16: 0.16 %.
/// Not thread-safe while keys are added.
class BlockedBloom {
 public:
  static constexpr size_t kBytesMax = size_t{1} << 30;

  /// Makes an empty filter for about `keys` keys. More may be added; it then errs more often.
  explicit BlockedBloom(size_t keys, double bits_per_key = 12);

  void Add(uint64_t hash);
  bool MayContain(uint64_t hash) const;
  /// Takes over all keys of a filter of the same size. Precondition: same number of bytes.
  void Merge(const BlockedBloom& other);

  size_t bytes() const { return words_.size() * sizeof(uint32_t); }

  void AppendTo(std::string* out) const;
  /// Parses exactly `bytes`, which may be anything. Errors: kDataLoss.
  static Result<BlockedBloom> Parse(std::string_view bytes);

 private:
  BlockedBloom() = default;
  std::vector<uint32_t> words_;  // blocks of eight
};

/// A three-wise binary fuse filter: made once from all keys, about 1.13-1.2 x `bits` bits a key
/// (more below some thousands of keys), a test reads three places. False positives: 2^-bits.
/// Source: Graf, Lemire, "Binary Fuse Filters: Fast and Smaller Than Xor Filters" (2022).
/// Immutable; thread-safe.
class BinaryFuse {
 public:
  static constexpr size_t kKeysMax = size_t{1} << 28;

  /// Builds from hashes in any order; repetitions count once. `bits` is 8, 12 or 16. Errors:
  /// kInvalidArgument for other widths, kResourceExhausted beyond kKeysMax keys. Cost: about
  /// 25-50 ns a hash and 50 bytes of memory a key meanwhile. The same keys give the same filter.
  static Result<BinaryFuse> Build(std::vector<uint64_t> hashes, int bits);

  bool MayContain(uint64_t hash) const;
  /// The number of distinct keys, and of fingerprint bits.
  size_t keys() const { return keys_; }
  int bits() const { return bits_; }
  size_t bytes() const { return fingerprints_.size(); }

  void AppendTo(std::string* out) const;
  /// Parses exactly `bytes`, which may be anything. Errors: kDataLoss.
  static Result<BinaryFuse> Parse(std::string_view bytes);

 private:
  struct Geometry;
  BinaryFuse() = default;
  /// Sets the sizes that follow from the number of keys.
  void SetSizes();
  Geometry geometry() const;
  uint32_t Load(uint32_t place) const;
  void Store(uint32_t place, uint32_t fingerprint);

  uint64_t seed_ = 0;
  size_t keys_ = 0;
  int bits_ = 8;
  uint32_t segment_length_ = 0;  // a power of two
  uint32_t segment_count_ = 0;   // places = (segment_count_ + 2) * segment_length_
  std::string fingerprints_;     // packed, with padding for reads of three bytes
};

}  // namespace varve::index
