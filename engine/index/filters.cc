#include "engine/index/filters.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::index {
namespace {

constexpr size_t kBlockWords = 8;
constexpr uint32_t kBloomMagic = 0x31424656;  // "VFB1"
constexpr uint32_t kFuseMagic = 0x31464656;   // "VFF1"

/// Odd constants that pick one bit of each word (Parquet's).
constexpr uint32_t kSalts[kBlockWords] = {0x47b6137bu, 0x44974d91u, 0x8824ad5bu, 0xa2b7289du,
                                          0x705495c7u, 0x2df1424bu, 0x9efc4947u, 0x5c6bfb31u};

uint64_t HighProduct(uint64_t a, uint64_t b) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
}

Status Bad(std::string_view filter, std::string_view what) {
  return MakeStatus(StatusCode::kDataLoss, Concat(filter, ": ", what));
}

/// Murmur3's finaliser.
uint64_t Mix(uint64_t hash, uint64_t seed) {
  uint64_t h = hash + seed;
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdu;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53u;
  h ^= h >> 33;
  return h;
}

/// Steps a seed to the next: SplitMix64.
uint64_t NextSeed(uint64_t* state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

constexpr size_t kFingerprintPadding = 4;

/// Drops repeats; leaves the rest in an order that is not specified.
void DropRepeats(std::vector<uint64_t>* hashes) {
  // A table with open addressing by the last bits: the first ones are not spread evenly where a
  // key is the smallest hash of several (minimizers). Whoever makes hashes that share their last
  // bits uses up the steps, and the rest is sorted.
  const size_t count = hashes->size();
  std::vector<uint64_t> table(std::bit_ceil(count + count / 2 + 1));  // 0: free
  const size_t mask = table.size() - 1;
  size_t steps_left = 4 * count;
  bool zero = false;
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint64_t hash = (*hashes)[i];
    if (hash == 0) {
      zero = true;
      continue;
    }
    size_t slot = hash & mask;
    while (table[slot] != 0 && table[slot] != hash && steps_left > 0) {
      slot = (slot + 1) & mask;
      --steps_left;
    }
    if (steps_left == 0) {
      hashes->erase(hashes->begin() + static_cast<ptrdiff_t>(kept),
                    hashes->begin() + static_cast<ptrdiff_t>(i));
      if (zero) hashes->push_back(0);
      std::sort(hashes->begin(), hashes->end());
      hashes->erase(std::unique(hashes->begin(), hashes->end()), hashes->end());
      return;
    }
    (*hashes)[kept] = hash;
    kept += table[slot] == 0 ? 1 : 0;
    table[slot] = hash;
  }
  hashes->resize(kept);
  if (zero) hashes->push_back(0);
}

}  // namespace

BlockedBloom::BlockedBloom(size_t keys, double bits_per_key) {
  const double bytes = std::ceil(static_cast<double>(std::max<size_t>(keys, 1)) * bits_per_key / 8);
  const double blocks = std::ceil(bytes / (kBlockWords * sizeof(uint32_t)));
  VARVE_CHECK(blocks >= 1 && blocks * kBlockWords * sizeof(uint32_t) <= double{kBytesMax});
  words_.resize(static_cast<size_t>(blocks) * kBlockWords);
}

void BlockedBloom::Add(uint64_t hash) {
  uint32_t* block =
      &words_[HighProduct(hash & 0xffffffff00000000u, words_.size() / kBlockWords) * kBlockWords];
  const auto low = static_cast<uint32_t>(hash);
  for (size_t i = 0; i < kBlockWords; ++i) block[i] |= 1u << (low * kSalts[i] >> 27);
}

bool BlockedBloom::MayContain(uint64_t hash) const {
  const uint32_t* block =
      &words_[HighProduct(hash & 0xffffffff00000000u, words_.size() / kBlockWords) * kBlockWords];
  const auto low = static_cast<uint32_t>(hash);
  uint32_t missing = 0;
  for (size_t i = 0; i < kBlockWords; ++i) missing |= ~block[i] & 1u << (low * kSalts[i] >> 27);
  return missing == 0;
}

void BlockedBloom::Merge(const BlockedBloom& other) {
  VARVE_CHECK(words_.size() == other.words_.size());
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}

void BlockedBloom::AppendTo(std::string* out) const {
  PutFixed<uint32_t>(out, kBloomMagic);
  PutFixed<uint32_t>(out, static_cast<uint32_t>(words_.size() / kBlockWords));
  out->append(reinterpret_cast<const char*>(words_.data()), bytes());
}

Result<BlockedBloom> BlockedBloom::Parse(std::string_view bytes) {
  ByteReader in(bytes);
  if (in.Fixed<uint32_t>() != kBloomMagic) return Bad("Bloom filter", "bad magic");
  const uint64_t blocks = in.Fixed<uint32_t>();
  if (!in.ok() || blocks == 0) return Bad("Bloom filter", "no blocks");
  if (in.left() != blocks * kBlockWords * sizeof(uint32_t)) {
    return Bad("Bloom filter", "size does not fit the number of blocks");
  }
  BlockedBloom out;
  out.words_.resize(blocks * kBlockWords);
  std::memcpy(out.words_.data(), in.Bytes(in.left()).data(), out.bytes());
  return out;
}

struct BinaryFuse::Geometry {
  /// Calls `visit` with each of the three places. No loop: compilers keep one, and the places in
  /// memory for it.
  template <typename Visit>
  void ForPlaces(uint64_t mixed, Visit&& visit) const {
    const auto first = static_cast<uint32_t>(HighProduct(mixed, firsts));
    visit(first);
    visit((first + length) ^ (static_cast<uint32_t>(mixed >> 18) & (length - 1)));
    visit((first + 2 * length) ^ (static_cast<uint32_t>(mixed) & (length - 1)));
  }
  uint32_t Fingerprint(uint64_t mixed) const {
    return static_cast<uint32_t>(mixed ^ mixed >> 32) & fingerprint_mask;
  }

  uint64_t firsts;  // first places
  uint32_t length;  // of a segment
  uint32_t fingerprint_mask;
};

BinaryFuse::Geometry BinaryFuse::geometry() const {
  return {uint64_t{segment_count_} * segment_length_, segment_length_, (1u << bits_) - 1};
}

void BinaryFuse::SetSizes() {
  // The paper's sizes for arity 3: segments grow with the number of keys, and small filters get
  // more room because their graphs fail to peel more often.
  const double n = static_cast<double>(std::max<size_t>(keys_, 2));
  const double log_length = std::floor(std::log(n) / std::log(3.33) + 2.25);
  segment_length_ = 1u << std::clamp(static_cast<int>(log_length), 2, 18);
  const double factor =
      keys_ <= 1 ? 0 : std::max(1.125, 0.875 + 0.25 * std::log(1e6) / std::log(n));
  const auto capacity = static_cast<uint64_t>(std::round(static_cast<double>(keys_) * factor));
  const uint64_t segments = (capacity + segment_length_ - 1) / segment_length_;
  segment_count_ = static_cast<uint32_t>(segments > 2 ? segments - 2 : 1);
}

uint32_t BinaryFuse::Load(uint32_t place) const {
  const uint64_t bit = uint64_t{place} * static_cast<uint64_t>(bits_);
  uint32_t word = 0;
  std::memcpy(&word, fingerprints_.data() + bit / 8, sizeof word);
  return word >> bit % 8 & ((1u << bits_) - 1);
}

void BinaryFuse::Store(uint32_t place, uint32_t fingerprint) {
  const uint64_t bit = uint64_t{place} * static_cast<uint64_t>(bits_);
  uint32_t word = 0;
  std::memcpy(&word, fingerprints_.data() + bit / 8, sizeof word);
  word &= ~(((1u << bits_) - 1) << bit % 8);
  word |= fingerprint << bit % 8;
  std::memcpy(fingerprints_.data() + bit / 8, &word, sizeof word);
}

bool BinaryFuse::MayContain(uint64_t hash) const {
  if (keys_ == 0) return false;
  const uint64_t mixed = Mix(hash, seed_);
  const Geometry geometry = this->geometry();
  uint32_t value = geometry.Fingerprint(mixed);
  geometry.ForPlaces(mixed, [&](uint32_t place) { value ^= Load(place); });
  return value == 0;
}

Result<BinaryFuse> BinaryFuse::Build(std::vector<uint64_t> hashes, int bits) {
  if (bits != 8 && bits != 12 && bits != 16) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("binary fuse filter: ", bits, " bits, not 8, 12 or 16"));
  }
  const auto too_many = [] {
    return MakeStatus(StatusCode::kResourceExhausted, "binary fuse filter: too many keys");
  };
  if (hashes.size() > UINT32_MAX) return too_many();
  DropRepeats(&hashes);
  if (hashes.size() > kKeysMax) return too_many();
  BinaryFuse out;
  out.keys_ = hashes.size();
  out.bits_ = bits;
  out.SetSizes();
  const uint32_t places = (out.segment_count_ + 2) * out.segment_length_;
  out.fingerprints_.assign(
      (uint64_t{places} * static_cast<uint64_t>(bits) + 7) / 8 + kFingerprintPadding, '\0');
  // A copy, so that the stores below do not seem to change it.
  const Geometry geometry = out.geometry();
  // Of each place: how many unassigned keys use it, and the XOR of those keys, so that the last
  // one is known when the count falls to one.
  struct Cell {
    uint64_t keys;
    uint64_t users;
  };
  struct Peeled {
    uint64_t key;
    uint64_t place;
  };
  const auto cells = std::make_unique_for_overwrite<Cell[]>(places);
  // A place is queued once at most, from when its users have become one. One more of both, since
  // what may not count is written all the same: whether it does cannot be predicted.
  const auto queue = std::make_unique_for_overwrite<uint32_t[]>(places + 1);
  const auto peeled = std::make_unique_for_overwrite<Peeled[]>(hashes.size() + 1);
  uint64_t random = 0x726b2b9d438b9d4d;
  // A try fails with a probability of a few percent at most; this many failures in a row do not
  // happen to distinct hashes.
  for (int attempt = 0;; ++attempt) {
    VARVE_CHECK(attempt < 1000);
    out.seed_ = NextSeed(&random);
    std::fill_n(cells.get(), places, Cell{});
    for (const uint64_t hash : hashes) {
      const uint64_t key = Mix(hash, out.seed_);
      geometry.ForPlaces(key, [&](uint32_t place) {
        cells[place].keys ^= key;
        ++cells[place].users;
      });
    }
    size_t queued = 0;
    for (uint32_t place = 0; place < places; ++place) {
      queue[queued] = place;
      queued += cells[place].users == 1 ? 1 : 0;
    }
    size_t count = 0;
    // First come, first served: the next place is not one that the step before has just found, so
    // that steps overlap.
    for (size_t next = 0; next < queued; ++next) {
      const uint32_t place = queue[next];
      // Its key may have gone to another place meanwhile; then no user is left, the XOR is 0 and
      // nothing changes.
      const uint64_t key = cells[place].keys;
      const uint32_t found = cells[place].users == 1 ? 1 : 0;
      peeled[count] = {key, place};
      count += found;
      geometry.ForPlaces(key, [&](uint32_t other) {
        Cell& cell = cells[other];
        cell.keys ^= key;
        cell.users -= found;
        queue[queued] = other;
        queued += cell.users == 1 ? found : 0;
      });
    }
    if (count == hashes.size()) break;
  }
  // Backwards, each key finds its own place still 0 and fixes it.
  const auto assign = [&](auto&& load, auto&& store) {
    for (size_t i = hashes.size(); i-- > 0;) {
      uint32_t value = geometry.Fingerprint(peeled[i].key);
      geometry.ForPlaces(peeled[i].key, [&](uint32_t place) { value ^= load(place); });
      store(static_cast<uint32_t>(peeled[i].place), value);
    }
  };
  if (bits == 8) {
    auto* const bytes = reinterpret_cast<uint8_t*>(out.fingerprints_.data());
    assign([&](uint32_t place) { return bytes[place]; },
           [&](uint32_t place, uint32_t value) { bytes[place] = static_cast<uint8_t>(value); });
  } else {
    assign([&](uint32_t place) { return out.Load(place); },
           [&](uint32_t place, uint32_t value) { out.Store(place, value); });
  }
  return out;
}

void BinaryFuse::AppendTo(std::string* out) const {
  PutFixed<uint32_t>(out, kFuseMagic);
  out->push_back(static_cast<char>(bits_));
  out->push_back(static_cast<char>(std::countr_zero(segment_length_)));
  PutFixed<uint16_t>(out, 0);
  PutFixed<uint32_t>(out, static_cast<uint32_t>(keys_));
  PutFixed<uint32_t>(out, segment_count_);
  PutFixed<uint64_t>(out, seed_);
  out->append(fingerprints_, 0, fingerprints_.size() - kFingerprintPadding);
}

Result<BinaryFuse> BinaryFuse::Parse(std::string_view bytes) {
  constexpr std::string_view kWhat = "binary fuse filter";
  ByteReader in(bytes);
  if (in.Fixed<uint32_t>() != kFuseMagic) return Bad(kWhat, "bad magic");
  BinaryFuse out;
  out.bits_ = in.Fixed<uint8_t>();
  const uint32_t length_bits = in.Fixed<uint8_t>();
  const uint16_t reserved = in.Fixed<uint16_t>();
  out.keys_ = in.Fixed<uint32_t>();
  out.segment_count_ = in.Fixed<uint32_t>();
  out.seed_ = in.Fixed<uint64_t>();
  if (!in.ok()) return Bad(kWhat, "truncated header");
  if (out.bits_ != 8 && out.bits_ != 12 && out.bits_ != 16) return Bad(kWhat, "bad width");
  if (length_bits < 2 || length_bits > 18) return Bad(kWhat, "bad segment length");
  if (reserved != 0) return Bad(kWhat, "reserved bits are set");
  if (out.keys_ > kKeysMax || out.segment_count_ == 0) return Bad(kWhat, "impossible counts");
  out.segment_length_ = 1u << length_bits;
  const uint64_t places = (uint64_t{out.segment_count_} + 2) << length_bits;
  if (places > UINT32_MAX || in.left() != (places * static_cast<uint64_t>(out.bits_) + 7) / 8) {
    return Bad(kWhat, "size does not fit the number of places");
  }
  out.fingerprints_ = std::string(in.Bytes(in.left()));
  out.fingerprints_.append(kFingerprintPadding, '\0');
  return out;
}

}  // namespace varve::index
