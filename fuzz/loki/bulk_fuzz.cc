// Feeds _bulk bodies, or single documents; the first byte chooses which, and the fields that are
// looked for.

#include <cstring>
#include <memory>

#include "fuzz/loki/check_batch.h"
#include "tools/loki/bulk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::loki;
  if (size == 0) return 0;
  const loki::Limits limits;
  BulkOptions options;
  options.index = "i";
  if ((data[0] & 1) != 0) options.message_field = "message";
  if ((data[0] & 2) != 0) options.stream_fields = {"a", "b.c"};
  const auto body = std::make_unique<char[]>(size - 1);
  std::memcpy(body.get(), data + 1, size - 1);
  PushScratch scratch(&limits);
  scratch.intake.Reset(1'795'800'000'000'000'000, &scratch.batch);
  std::vector<BulkItem> items;
  Status status;
  if ((data[0] & 4) != 0) {
    DecodeDocument(body.get(), size - 1, options, &scratch, &items.emplace_back());
  } else {
    status = DecodeBulk(body.get(), size - 1, options, &scratch, &items);
  }
  if (!status.ok() && status.code() != StatusCode::kInvalidArgument) std::abort();
  size_t stored = 0;
  for (const BulkItem& item : items) {
    if (item.status < 400) ++stored;
    if (item.status >= 400 && item.error.empty()) std::abort();
  }
  if (stored != scratch.batch.entries().size()) std::abort();
  CheckBatch(scratch.batch, limits);
  return 0;
}
