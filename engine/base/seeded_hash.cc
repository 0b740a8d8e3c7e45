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

uint64_t ProcessSeed() {
  static const uint64_t kSeed = DrawSeed();
  return kSeed;
}

uint64_t SeededHash64(std::string_view bytes, uint64_t salt) {
  return Hash64(bytes, ProcessSeed() + salt);
}

}  // namespace varve
