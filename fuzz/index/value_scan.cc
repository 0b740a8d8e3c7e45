// The search for a substring by SIMD against std::string_view::find, over strings that lie next to
// each other: the same strings are found, and nothing behind the text matters.

#include "engine/index/value_scan.h"

#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t needle_size = 1 + data[0] % 24;
  const uint8_t separator = data[1];
  if (size - 2 < needle_size) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string needle(bytes.substr(0, needle_size));
  std::string text;
  std::vector<uint32_t> at = {0};
  for (const char c : bytes.substr(needle_size)) {
    if (static_cast<uint8_t>(c) == separator) {
      at.push_back(static_cast<uint32_t>(text.size()));
    } else {
      text += c;
    }
  }
  at.push_back(static_cast<uint32_t>(text.size()));
  std::vector<uint32_t> expected;
  for (uint32_t i = 0; i + 1 < at.size(); ++i) {
    const std::string_view one = std::string_view(text).substr(at[i], at[i + 1] - at[i]);
    if (one.find(needle) != std::string_view::npos) expected.push_back(i);
  }
  const size_t end = text.size();
  size_t first = std::string_view(text).find(needle);
  if (first == std::string_view::npos) first = end;
  // What lies behind the text continues a match, once, and is something else, once.
  for (const bool tempting : {false, true}) {
    std::string padded = text;
    while (padded.size() < end + varve::index::kScanPadding) padded += tempting ? needle : "\xff";
    std::vector<uint32_t> found;
    varve::index::FindStringsWith(padded.data(), at, needle,
                                  [&](uint32_t i) { found.push_back(i); });
    if (found != expected) std::abort();
    if (varve::index::FindBytes(padded.data(), 0, end, needle) != first) std::abort();
  }
  return 0;
}
