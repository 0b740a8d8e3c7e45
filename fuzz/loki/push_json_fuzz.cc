// Feeds JSON push bodies; the first byte chooses the limits. The body lies in an allocation of its
// own size, so that a sanitizer sees any step outside.

#include <cstring>
#include <memory>

#include "fuzz/loki/check_batch.h"
#include "tools/loki/push_decode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::loki;
  if (size == 0) return 0;
  const loki::Limits limits = (data[0] & 1) != 0 ? loki::Limits() : loki::Limits::ForImport();
  const auto body = std::make_unique<char[]>(size - 1);
  std::memcpy(body.get(), data + 1, size - 1);
  LogBatch batch;
  LogIntake intake(&limits);
  intake.Reset(1'795'800'000'000'000'000, &batch);
  PushCounts counts;
  const Status status = DecodePushJson(body.get(), size - 1, &intake, &counts);
  if (!status.ok() && status.code() != StatusCode::kInvalidArgument) std::abort();
  CheckBatch(batch, limits);
  if (intake.errors().Text().size() > 1u << 20) std::abort();
  return 0;
}
