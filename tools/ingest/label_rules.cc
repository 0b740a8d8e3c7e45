#include "tools/ingest/label_rules.h"

#include <algorithm>

#include "engine/base/strings.h"

namespace varve::ingest {

LabelVerdict Canonicalize(std::vector<LabelView>* labels, bool checked_utf8) {
  const auto by_name = [](const LabelView& a, const LabelView& b) { return a.name < b.name; };
  if (!std::is_sorted(labels->begin(), labels->end(), by_name)) {
    std::stable_sort(labels->begin(), labels->end(), by_name);
  }
  bool named = false;
  for (size_t i = 0; i < labels->size(); ++i) {
    const LabelView& label = (*labels)[i];
    if (i > 0 && label.name == (*labels)[i - 1].name) {
      return {LabelVerdict::kDuplicate, Concat("duplicated label ", GoQuote(label.name))};
    }
    if (!checked_utf8 && !IsValidUtf8(label.name)) {
      return {LabelVerdict::kNotUtf8, Concat("label name ", GoQuote(label.name), " is not UTF-8")};
    }
    if (!checked_utf8 && !IsValidUtf8(label.value)) {
      return {LabelVerdict::kNotUtf8, Concat("value ", GoQuote(label.value), " of label ",
                                             GoQuote(label.name), " is not UTF-8")};
    }
    if (label.name.empty()) return {LabelVerdict::kNoName, "a label without a name"};
    named |= label.name == kMetricName && !label.value.empty();
  }
  std::erase_if(*labels, [](const LabelView& label) { return label.value.empty(); });
  if (!named) return {LabelVerdict::kNoName, "no metric name"};
  return {};
}

}  // namespace varve::ingest
