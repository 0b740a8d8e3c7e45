// Opens any bytes as a label index and, when that works, asks it everything. What opens is
// consistent: rebuilt from its series it opens again and answers the same.

#include "engine/index/label_index.h"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;         // NOLINT
  using namespace varve::index;  // NOLINT
  const auto opened =
      LabelIndexView::Open(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!opened.ok()) return 0;
  const LabelIndexView& view = **opened;
  LabelIndexBuilder builder;
  std::vector<LabelView> labels;
  for (uint32_t i = 0; i < view.size(); ++i) {
    view.GetLabels(i, &labels);
    VARVE_CHECK(builder.Add(labels).ok());
    VARVE_CHECK(view.Find(labels) == i);
    if (i > 5000) return 0;
  }
  const auto again = LabelIndexView::Open(builder.Finish());
  VARVE_CHECK(again.ok());
  VARVE_CHECK((*again)->size() == view.size());
  const LabelStrings names = view.LabelNames(nullptr, 0);
  for (const std::string_view name : names.values) {
    const std::vector<Matcher> matchers = {
        {MatchType::kRegex, std::string(name), ".*[a-m].*"},
        {MatchType::kNotEqual, std::string(names.values[0]), ""}};
    const auto compiled = CompileMatchers(matchers);
    VARVE_CHECK(compiled.ok());
    const Postings found = view.Select(*compiled);
    VARVE_CHECK(found == (*again)->Select(*compiled));
    view.LabelValues(name, &found, 0);
    for (const std::string_view value : view.LabelValues(name, nullptr, 20).values) {
      VARVE_CHECK(!view.SeriesOf(name, value).empty());
    }
  }
  view.CardinalityStats(5);
  return 0;
}
