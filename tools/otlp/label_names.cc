#include "tools/otlp/label_names.h"

#include <algorithm>

namespace varve::otlp {

std::string NormalizeLabelName(std::string_view key, LabelNameRules rules) {
  std::string name;
  name.reserve(key.size() + 4);
  for (size_t i = 0; i < key.size(); ++i) {
    const char c = key[i];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool digit = c >= '0' && c <= '9';
    if (letter || digit) {
      name.push_back(c);
      continue;
    }
    // One underscore a character, not a byte, of UTF-8.
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;
    if (!rules.collapse || name.empty() || name.back() != '_') name.push_back('_');
  }
  if (name.empty()) return name;
  if (name[0] >= '0' && name[0] <= '9') return "key_" + name;
  if (rules.key_before_one && name[0] == '_' && !name.starts_with("__")) return "key" + name;
  return name;
}

Labels CanonicalLabels(std::vector<LabelView> labels) {
  std::ranges::stable_sort(labels, {}, &LabelView::name);
  size_t kept = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (i + 1 < labels.size() && labels[i + 1].name == labels[i].name) continue;
    if (labels[i].name.empty() || labels[i].value.empty()) continue;
    labels[kept++] = labels[i];
  }
  labels.resize(kept);
  return Labels(labels);
}

}  // namespace varve::otlp
