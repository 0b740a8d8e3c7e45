#include "engine/base/seeded_hash.h"

#include <random>

#include "engine/base/hash.h"

namespace varve {
namespace {

uint64_t DrawSeed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

uint64_t SeededHash64(std::string_view bytes, uint64_t salt) {
  static const uint64_t kSeed = DrawSeed();
  return Hash64(bytes, kSeed + salt);
}

}  // namespace varve
