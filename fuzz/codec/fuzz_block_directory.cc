// Decodes any bytes as the chunk directory of a metrics block.

#include "engine/metrics/block_directory.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  metrics::BlockDirectory directory;
  // The counts of series and bulk bytes that fit the corpus, and any others.
  for (const uint64_t bulk_bytes : {uint64_t{input.count} * 16, uint64_t{input.count}}) {
    const Status status = metrics::DecodeDirectory(input.bytes, input.count % 4096, bulk_bytes,
                                                   "fuzz", 0, &directory);
    if (status.ok()) {
      fuzz::Expect(directory.begins.size() == input.count % 4096 + 1);
    } else {
      fuzz::Expect(status.code() == StatusCode::kDataLoss && FilePlaceOf(status).has_value());
    }
  }
  return 0;
}
