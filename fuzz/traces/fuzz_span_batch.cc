// Log records of traces: decoding never leaves the bytes, and what decodes replays into a head
// whose spans can be read.

#include <cstdint>
#include <string_view>

#include "engine/traces/head.h"
#include "engine/traces/snapshot.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto head = std::make_shared<traces::Head>(Limits(), INT64_MIN);
  if (!head->Replay(bytes).ok()) return 0;
  const auto snapshot = traces::MakeSnapshot({traces::MakeHeadSource(head)});
  for (uint32_t r = 0; r < head->rows(); ++r) {
    SpanBatch out;
    if (!snapshot->GetTrace(head->row(r).trace_id, &out).ok() || out.empty()) __builtin_trap();
    for (const SpanBatch::Span& span : out.spans()) {
      for (const AttributeView& attribute : out.attributes(span.attributes)) {
        ToString(attribute.value);
      }
    }
  }
  return 0;
}
