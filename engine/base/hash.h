#pragma once

#include <cstdint>
#include <string_view>

#include "varve/labels.h"

namespace varve {

/// XXH3-64 with seed 0: checksums on disk and hash tables in memory. Spec: xxHash, XXH3.
uint64_t Hash64(std::string_view bytes);
uint64_t Hash64(std::string_view bytes, uint64_t seed);
/// XXH3-128 with seed 0.
SeriesKey Hash128(std::string_view bytes);

/// Hashes a SeriesKey for tables in memory: it is uniform already.
struct SeriesKeyHash {
  size_t operator()(const SeriesKey& key) const { return key.low; }
};

}  // namespace varve
