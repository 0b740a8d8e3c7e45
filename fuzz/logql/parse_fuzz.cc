// Parses any bytes. What parses must print, in both layouts, to text that parses and prints alike.

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "query/lang/logql/parse.h"
#include "query/lang/logql/print.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::logql;
  const std::string_view query(reinterpret_cast<const char*>(data), size);
  const auto expr = Parse(query);
  if (!expr.ok()) {
    VARVE_CHECK(expr.status().code() == varve::StatusCode::kInvalidArgument);
    VARVE_CHECK(!RenderError(query, expr.status()).empty());
    return 0;
  }
  const std::string once = Print(**expr);
  for (const std::string& printed : {once, PrettyPrint(**expr)}) {
    // Printing may lengthen a text over the limit, for example by escapes.
    if (printed.size() > kQueryBytesMax) continue;
    const auto again = Parse(printed);
    VARVE_CHECK(again.ok());
    VARVE_CHECK(Print(**again) == once);
  }
  return 0;
}
