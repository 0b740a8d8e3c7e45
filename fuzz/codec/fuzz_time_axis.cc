// Decodes any bytes; what decodes must ascend. Takes the same bytes as times that must come back.

#include <algorithm>

#include "engine/codec/time_axis.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  std::vector<int64_t> times(input.count);
  if (codec::DecodeTimeAxis(input.bytes, times)) {
    for (size_t i = 1; i < times.size(); ++i) fuzz::Expect(times[i - 1] < times[i]);
  }
  const auto words = fuzz::Words(input.bytes);
  std::vector<int64_t> expected(words.begin(), words.end());
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  if (expected.empty()) return 0;
  std::string bytes;
  codec::TimeAxisEncoder().Encode(expected, &bytes);
  times.assign(expected.size(), 0);
  fuzz::Expect(codec::DecodeTimeAxis(bytes, times) && times == expected);
  return 0;
}
