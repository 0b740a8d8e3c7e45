// Parses any bytes as either filter and probes what parses.

#include "engine/index/filters.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::index;  // NOLINT
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  uint64_t probe = 0x9e3779b97f4a7c15u;
  if (const auto filter = BlockedBloom::Parse(bytes); filter.ok()) {
    for (int i = 0; i < 1000; ++i) filter->MayContain(probe *= 0xd1342543de82ef95u);
    std::string out;
    filter->AppendTo(&out);
    VARVE_CHECK(out == bytes);
  }
  if (const auto filter = BinaryFuse::Parse(bytes); filter.ok()) {
    for (int i = 0; i < 1000; ++i) filter->MayContain(probe *= 0xd1342543de82ef95u);
    std::string out;
    filter->AppendTo(&out);
    VARVE_CHECK(out == bytes);
  }
  return 0;
}
