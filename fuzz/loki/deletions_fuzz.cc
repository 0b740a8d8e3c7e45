// The list of deletions: decoding never leaves the bytes, and what decodes encodes to what decodes
// alike. Also behind a right head, which no mutation finds.

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "tools/loki/delete_log.h"

namespace {

using varve::loki::DeleteLog;

void Check(std::string_view bytes) {
  const auto contents = DeleteLog::Decode(bytes, "f");
  if (!contents.ok()) return;
  const std::string again = DeleteLog::Encode(*contents);
  if (again.size() > bytes.size()) __builtin_trap();
  const auto decoded = DeleteLog::Decode(again, "f");
  if (!decoded.ok() || DeleteLog::Encode(*decoded) != again) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Check(bytes);
  std::string whole = "varve deletions 1\n";
  varve::PutFixed(&whole, varve::Hash64(bytes));
  Check(whole.append(bytes));
  return 0;
}
