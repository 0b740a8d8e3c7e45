// Feeds Jaeger's structured filters to their readers; the first byte chooses the form. What a
// filter that reads leaves to the store, as TraceQL, must find every span that the filter takes.

#include <cstdlib>

#include "tests/support/filter_cover.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using tracing::SpanFilter;
  static const testing::FilterCover cover;
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Result<SpanFilter> filter =
      data[0] % 2 == 0 ? SpanFilter::FromJson(body) : SpanFilter::FromProtobuf(body);
  if (filter.ok() && !cover.Missing(*filter).empty()) std::abort();
  return 0;
}
