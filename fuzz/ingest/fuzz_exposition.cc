// Feeds bodies to the exposition parsers. The first byte chooses format and strictness.

#include <cstdlib>

#include "tools/ingest/exposition.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::ingest;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  ExpositionOptions options;
  options.strict = (data[0] & 4) != 0;
  options.classic_too = (data[0] & 8) != 0;
  const auto format = static_cast<ExpositionFormat>((data[0] & 3) % 3);
  const auto parser = ExpositionParser::Make(format, body, options);
  ExpositionItem item;
  for (;;) {
    const Result<bool> more = parser->Next(&item);
    if (!more.ok() || !*more) break;
    const bool row =
        item.kind == ExpositionItem::Kind::kSample || item.kind == ExpositionItem::Kind::kHistogram;
    // Whatever comes out may go into a batch as it is.
    if (row && (!IsCanonical(item.labels) || FindLabel(item.labels, kMetricName).empty())) {
      std::abort();
    }
  }
  const Result<bool> after = parser->Next(&item);
  if (after.ok() && *after) std::abort();
  return 0;
}
