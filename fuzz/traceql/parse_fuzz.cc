#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "query/lang/traceql/parse.h"

/// Any bytes either parse or are refused with a place; what parses prints to a text that parses to
/// the same.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto query = traceql::Parse(text);
  if (!query.ok()) {
    VARVE_CHECK(query.status().code() == StatusCode::kInvalidArgument);
    VARVE_CHECK(TextPlaceOf(query.status()).has_value());
    return 0;
  }
  const std::string printed = traceql::ToString(**query);
  const auto again = traceql::Parse(printed, 0);
  VARVE_CHECK(again.ok());
  VARVE_CHECK(traceql::ToString(**again) == printed);
  VARVE_CHECK((*again)->is_metrics() == (*query)->is_metrics());
  return 0;
}
