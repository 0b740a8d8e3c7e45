// Parses any bytes as a template and runs it: bounded in steps and output.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "query/logs/template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::query;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto parsed = LogTemplate::Parse("line", text);
  if (!parsed.ok()) {
    VARVE_CHECK(parsed.status().code() == StatusCode::kInvalidArgument);
    return 0;
  }
  const std::vector<LabelView> stream = {{"app", "shop"}, {"level", "error"}};
  const std::vector<LabelView> metadata = {{"json", "{\"a\":[1,2,{\"b\":null}],\"c\":\"x\"}"},
                                           {"n", "42"}};
  EntryLabels labels;
  labels.SetStream(stream);
  labels.Reset(metadata);
  TemplateLimits limits;
  limits.steps_max = 20'000;
  limits.bytes_max = 64 * 1024;
  std::string out;
  const Status status =
      (*parsed)->Execute({1'700'000'000'123'456'789, "the line", &labels}, limits, &out);
  VARVE_CHECK(status.ok() || status.code() == StatusCode::kInvalidArgument);
  VARVE_CHECK(out.size() <= 2 * limits.bytes_max + size);
  return 0;
}
