// Logs WAL payloads, tombstones and block directories: decoding never leaves the bytes, and what
// decodes replays into a head.

#include <cstdint>
#include <string_view>

#include "engine/logs/block_directory.h"
#include "engine/logs/head.h"
#include "engine/logs/tombstone.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  varve::logs::Head head(1, varve::Limits(), varve::kMinTime);
  head.Replay(bytes).IgnoreError();
  const auto deletion = varve::logs::DecodeDeletion(bytes);
  if (deletion.ok() && varve::logs::EncodeDeletion(*deletion).size() > size) __builtin_trap();
  varve::logs::BlockDirectory directory;
  varve::logs::DecodeDirectory(bytes, 3, 1000, 100, "f", 0, &directory).IgnoreError();
  return 0;
}
