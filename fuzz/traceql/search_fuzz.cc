#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "tests/support/random_traceql.h"

/// The bytes choose traces and a query; the engine must find what the plain evaluation finds.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  static const auto engine = query::TraceEngine::Make({.threads = 1});
  testing::Choices choices(size, {reinterpret_cast<const char*>(data), size});
  const std::string difference = testing::CompareWithNaive(*engine, choices, 3);
  if (!difference.empty()) std::fprintf(stderr, "%s\n", difference.c_str());
  VARVE_CHECK(difference.empty());
  return 0;
}
