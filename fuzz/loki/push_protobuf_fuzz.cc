// Feeds protobuf push bodies, snappy undone.

#include "fuzz/loki/check_batch.h"
#include "tools/loki/push_decode.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::loki;
  const loki::Limits limits;
  LogBatch batch;
  LogIntake intake(&limits);
  intake.Reset(1'795'800'000'000'000'000, &batch);
  PushCounts counts;
  const Status status = DecodePushProtobuf(
      std::string_view(reinterpret_cast<const char*>(data), size), &intake, &counts);
  if (!status.ok() && status.code() != StatusCode::kInvalidArgument) std::abort();
  CheckBatch(batch, limits);
  return 0;
}
