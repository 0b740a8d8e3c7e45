// Metrics WAL payloads: decoding never leaves the bytes, and what decodes replays into a head.

#include <cstdint>
#include <memory>
#include <string_view>

#include "engine/metrics/head.h"
#include "engine/metrics/tombstone.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  varve::metrics::HeadOptions options;
  options.block_range_ms = 7'200'000;
  options.limits.head_series_max = 100'000;
  varve::metrics::Head head(1, options, varve::kMinTime, {}, nullptr);
  head.ReplayBatch(bytes).IgnoreError();
  const auto deletion = varve::metrics::DecodeDeletion(bytes);
  if (deletion.ok() && varve::metrics::EncodeDeletion(*deletion).size() > size) __builtin_trap();
  return 0;
}
