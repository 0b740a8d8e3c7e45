#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "tests/support/random_traceql.h"

namespace varve::testing {
namespace {

/// Random searches over random traces find what the plain evaluation finds, in whole, in pages and
/// as counts, on one thread and on several. VARVE_SEED repeats one round.
TEST(TraceQLRandom, AgreesWithPlainEvaluation) {
  const std::unique_ptr<query::TraceEngine> engines[] = {query::TraceEngine::Make({.threads = 1}),
                                                         query::TraceEngine::Make({.threads = 3})};
  const char* given = std::getenv("VARVE_SEED");
  const uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  const uint64_t rounds = given != nullptr ? 1 : 300;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    Choices choices(seed * 7919);
    const std::string difference = CompareWithNaive(*engines[seed % 2], choices, 20);
    ASSERT_EQ(difference, "") << "VARVE_SEED=" << seed;
  }
}

}  // namespace
}  // namespace varve::testing
