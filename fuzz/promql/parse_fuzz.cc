// Parses any bytes. What parses must print, in both layouts, to text that parses to the same tree.

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "query/lang/promql/parse.h"
#include "query/lang/promql/print.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::promql;
  const std::string_view query(reinterpret_cast<const char*>(data), size);
  const auto expr = Parse(query);
  if (!expr.ok()) {
    VARVE_CHECK(expr.status().code() == varve::StatusCode::kInvalidArgument);
    VARVE_CHECK(varve::TextPlaceOf(expr.status()).has_value());
    VARVE_CHECK(!RenderError(query, expr.status()).empty());
    return 0;
  }
  ParseOptions generous;  // printing may lengthen a text, for example by escapes
  generous.query_bytes_max = 64 * kQueryBytesMax;
  for (const std::string& printed : {Print(**expr), PrettyPrint(**expr)}) {
    const auto again = Parse(printed, generous);
    VARVE_CHECK(again.ok());
    VARVE_CHECK(Equal(**expr, **again));
    VARVE_CHECK(Print(**again) == Print(**expr));
  }
  VARVE_CHECK(Equal(**expr, *Clone(**expr)));
  VARVE_CHECK(!ToJson(**expr).empty());
  return 0;
}
