// Reads any bytes as a script of the test language.

#include <cstdint>
#include <string_view>

#include "engine/base/macros.h"
#include "tools/promqltest/script.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto commands =
      varve::promqltest::ParseScript(std::string_view(reinterpret_cast<const char*>(data), size));
  VARVE_CHECK(commands.ok() || !commands.status().message().empty());
  return 0;
}
