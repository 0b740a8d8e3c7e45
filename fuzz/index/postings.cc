// Parses any bytes as an ordinal set; what parses is a set like any other.

#include "engine/index/postings.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using varve::index::Postings;
  const auto parsed = Postings::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  if (parsed->size() > 1'000'000) return 0;
  const std::vector<uint32_t> members = parsed->ToVector();
  VARVE_CHECK(Postings::FromSorted(members) == *parsed);
  std::string bytes;
  parsed->AppendTo(&bytes);
  VARVE_CHECK(*Postings::Parse(bytes) == *parsed);
  const Postings odd = Postings::Range(0, 100000);
  VARVE_CHECK(And(*parsed, odd).size() + AndNot(*parsed, odd).size() == parsed->size());
  return 0;
}
