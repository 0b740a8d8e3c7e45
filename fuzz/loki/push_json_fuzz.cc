// Feeds JSON push bodies; the first byte chooses the limits. The body lies in an allocation of its
// own size, so that a sanitizer sees any step outside.

#include <cstring>
#include <memory>

#include "fuzz/loki/check_batch.h"
#include "tools/loki/json_text.h"
#include "tools/loki/push_decode.h"

namespace {

// Reads the bytes as strings, one after the other, with all kernels, which have to agree.
void CompareKernels(const uint8_t* data, size_t size) {
  using namespace varve::loki;
  std::string expected;
  for (const JsonKernels& kernels : AllJsonKernels()) {
    const auto text = std::make_unique<char[]>(size);
    std::memcpy(text.get(), data, size);
    JsonText json(text.get(), size, kernels);
    std::string got;
    std::string_view one;
    while (json.String(&one)) {
      got += one;
      got += '\n';
    }
    got += json.ErrorText();
    if (&kernels == &AllJsonKernels().front()) expected = got;
    if (got != expected) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::loki;
  if (size == 0) return 0;
  CompareKernels(data + 1, size - 1);
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
