// Decodes any bytes as a head chunk and as a column; what decodes must survive another trip.

#include "engine/codec/histogram_codec.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  std::vector<int64_t> times(input.count);
  std::vector<Histogram> histograms;
  (void)codec::DecodeHistogramChunk(input.bytes, times, &histograms);
  if (!codec::DecodeHistogramColumn(input.bytes, input.count, &histograms)) return 0;
  std::string again;
  fuzz::Expect(codec::PutHistogramColumn(histograms, &again));
  std::vector<Histogram> got;
  fuzz::Expect(codec::DecodeHistogramColumn(again, input.count, &got));
  for (size_t i = 0; i < got.size(); ++i) fuzz::Expect(BitEqual(got[i], histograms[i]));
  return 0;
}
