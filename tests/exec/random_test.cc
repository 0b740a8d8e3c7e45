#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "tests/exec/random_query.h"

namespace varve::testing {
namespace {

TEST(RandomQueries, TilesAndThreadsDoNotMatter) {
  const char* given = std::getenv("VARVE_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20240611;
  std::mt19937_64 random(seed);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes(40 + random() % 600, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    if (std::getenv("VARVE_TRACE"))
      std::fprintf(stderr, "%d %s\n", round, DescribeRandom(bytes).c_str());
    const auto difference = CheckRandom(bytes);
    ASSERT_FALSE(difference.has_value())
        << *difference << " (round " << round << ", VARVE_SEED=" << seed << ")";
  }
}

}  // namespace
}  // namespace varve::testing
