// Runs every stage over any line. The first byte picks the pipeline, the second says how many bytes
// of the rest are a value of structured metadata.

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "varve/logql.h"

namespace {

constexpr const char* kPipelines[] = {
    "{a=\"b\"} | json",
    "{a=\"b\"} | json x=\"a.b[0]\", y=\"[\\\"k\\\"][1]\", z",
    "{a=\"b\"} | logfmt",
    "{a=\"b\"} | logfmt --strict --keep-empty | l=`x`",
    "{a=\"b\"} | logfmt p=\"x\", q",
    "{a=\"b\"} | regexp `(?P<x>\\S+)\\s(?P<y>.*)`",
    "{a=\"b\"} | pattern `<x> - <_> [<y>]`",
    "{a=\"b\"} | unpack | json | logfmt",
    "{a=\"b\"} | decolorize | pattern `<x> <_>`",
    "{a=\"b\"} |> `<_>a<_>b` != ip(`10.0.0.0/8`)",
    "{a=\"b\"} |= ip(`2001:db8::/32`) or `x` |~ `(?i)err`",
    "{a=\"b\"} | json | logfmt | x > 5 or y >= 1s and z < 1KB or w = ip(`1.2.3.4`)",
    "{a=\"b\"} | json | label_format a=x, b=`{{.y}}{{.a}}`, c=a | drop x, y=~`.*` | keep a, b, m",
    "{a=\"b\"} | json | line_format `{{.x}}|{{fromJson __line__}}|{{range $k, $v := fromJson "
    "__line__}}{{$k}}{{end}}`",
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::query;
  if (size < 2) return 0;
  static auto* const pipelines = [] {
    auto* out = new std::vector<std::unique_ptr<LogPipeline>>();
    for (const char* text : kPipelines) {
      auto pipeline = LogPipeline::Make(text);
      VARVE_CHECK(pipeline.ok());
      out->push_back(*std::move(pipeline));
    }
    return out;
  }();
  static LogFieldDetector detector;
  LogPipeline& pipeline = *(*pipelines)[data[0] % pipelines->size()];
  std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const size_t value = std::min<size_t>(data[1] % 32, rest.size());
  const std::vector<LabelView> stream = {{"a", "b"}, {"x", "taken"}};
  const std::vector<LabelView> metadata = {{"m", rest.substr(0, value)}, {"y", "m"}};
  rest.remove_prefix(value);
  LogStream out;
  if (pipeline.Process(stream, 1, rest, metadata, &out)) {
    VARVE_CHECK(out.entries.size() == 1);
    const LogLabels labels = FoldedLabels(out);
    for (size_t i = 1; i < labels.size(); ++i) VARVE_CHECK(labels[i - 1].first < labels[i].first);
    // The same entry gives the same answer again.
    LogStream again;
    VARVE_CHECK(pipeline.Process(stream, 1, rest, metadata, &again));
    VARVE_CHECK(FoldedLabels(again) == labels && again.entries[0].line == out.entries[0].line);
  }
  std::vector<LogField> fields;
  detector.Detect(rest, stream, metadata, &fields);
  VARVE_CHECK(fields.size() <= 1000);
  return 0;
}
