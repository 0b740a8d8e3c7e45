// Compressed bodies, and the headers that negotiate them. The first byte picks the coding.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tools/server/http/coding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::http;  // NOLINT(build/namespaces)
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  DecodeLimits limits;
  limits.output_bytes_max = 1 << 16;
  limits.zstd_window_log_max = 17;
  const auto coding = static_cast<Coding>(data[0] % 7);
  if (const auto plain = Decode(coding, body, limits); plain.ok()) {
    if (plain->size() > limits.output_bytes_max) abort();
  }
  (void)NegotiateCoding(body);
  for (const MediaRange& range : ParseAccept(body)) {
    if (!(range.q >= 0 && range.q <= 1)) abort();
  }
  (void)DecodeBody(body.substr(0, 40), std::string(body), limits).ok();
  // Whatever bytes go in, our own encoders and decoders agree on them.
  for (const Coding ours : {Coding::kGzip, Coding::kDeflate, Coding::kZstd}) {
    const std::string_view text = body.substr(0, limits.output_bytes_max);
    std::string coded;
    if (!Encoder::Make(ours)->Write(text, true, &coded).ok()) abort();
    if (Decode(ours, coded, DecodeLimits()).value() != text) abort();
  }
  return 0;
}
