// Request targets, forms and hosts from hostile clients.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tools/server/http/url.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::http;  // NOLINT(build/namespaces)
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  UrlLimits limits;
  limits.params_max = 100;
  Params params;
  (void)ParseForm(text, limits, &params).ok();
  if (params.size() > limits.params_max) abort();
  if (const auto target = ParseTarget(text, limits); target.ok()) {
    if (target->segments.empty() || target->segments.size() > limits.segments_max) abort();
    for (const std::string& segment : target->segments) {
      if (segment == "." || segment == "..") abort();
    }
  }
  if (const auto host = ParseHost(text); host.ok()) {
    if (host->host.empty()) abort();
    (void)IsLoopbackHost(host->host);
    (void)IsIpLiteral(host->host);
  }
  // What was encoded comes back; what decodes does so to no more bytes than it had.
  if (PercentDecode(PercentEncode(text), true).value() != text) abort();
  if (const auto plain = PercentDecode(text, false); plain.ok() && plain->size() > size) abort();
  return 0;
}
