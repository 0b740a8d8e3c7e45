// Random data and random queries, drawn from the input: whatever the tile size and the number of
// threads, the evaluator gives the same bits, the same notes and the same error.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/exec/random_query.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto difference = varve::testing::CheckRandom(bytes)) {
    std::fprintf(stderr, "%s\n", difference->c_str());
    std::abort();
  }
  return 0;
}
