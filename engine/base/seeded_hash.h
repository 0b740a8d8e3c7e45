#pragma once

#include <cstdint>
#include <string_view>

namespace varve {

/// A number that this process drew.
uint64_t ProcessSeed();
/// XXH3-64 with that as its seed: for tables in memory over texts from outside.
/// Whoever writes those can make any number of texts of one Hash64, but not of one SeededHash64.
/// `salt` tells uses apart, or is the hash of what comes before `bytes`. Never stored.
uint64_t SeededHash64(std::string_view bytes, uint64_t salt = 0);

}  // namespace varve
