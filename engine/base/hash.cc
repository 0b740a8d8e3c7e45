#include "engine/base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace varve {

uint64_t Hash64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }
uint64_t Hash64(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}
SeriesKey Hash128(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return SeriesKey{hash.low64, hash.high64};
}

}  // namespace varve
