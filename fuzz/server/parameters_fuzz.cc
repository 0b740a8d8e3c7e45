// Times, durations and escaped names as the API takes them, and the JSON that it prints.

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;  // NOLINT(build/namespaces)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto time = api::ParseTime(text); time.ok()) (void)api::FormatTime(*time);
  (void)api::ParseDuration(text).ok();
  (void)api::UnescapeName(text);
  std::string quoted;
  json::AppendString(text, &quoted);
  if (!IsValidUtf8(quoted)) abort();
  for (size_t i = 1; i + 1 < quoted.size(); ++i) {
    const auto c = static_cast<unsigned char>(quoted[i]);
    if (c < 0x20 || c == '<') abort();
  }
  if (size >= 8) {
    double value;
    std::memcpy(&value, data, 8);
    std::string printed;
    json::AppendFloat(value, &printed);
    const double back = std::strtod(printed.c_str(), nullptr);
    if (value == value && std::memcmp(&back, &value, 8) != 0) abort();
    int64_t ms;
    std::memcpy(&ms, data, 8);
    std::string time;
    json::AppendTimeMs(ms, &time);
    if (time.empty()) abort();
  }
  return 0;
}
