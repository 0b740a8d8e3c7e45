// Decodes any bytes, and takes the same bytes as samples that must come back.

#include "engine/codec/gorilla.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  std::vector<int64_t> times(input.count);
  std::vector<double> values(input.count);
  (void)codec::DecodeGorilla(input.bytes, times, values);

  const auto words = fuzz::Words(input.bytes);
  codec::GorillaChunk chunk;
  const size_t samples = std::min<size_t>(words.size() / 2, 1000);
  for (size_t i = 0; i < samples; ++i) {
    chunk.Append(static_cast<int64_t>(words[2 * i]), std::bit_cast<double>(words[2 * i + 1]));
  }
  times.resize(samples);
  values.resize(samples);
  fuzz::Expect(codec::DecodeGorilla(chunk.bytes(), times, values));
  for (size_t i = 0; i < samples; ++i) {
    fuzz::Expect(static_cast<uint64_t>(times[i]) == words[2 * i] &&
                 std::bit_cast<uint64_t>(values[i]) == words[2 * i + 1]);
  }
  return 0;
}
