#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"

namespace varve::otlp {

struct LabelNameRules {
  bool collapse = false;       // runs of underscores become one
  bool key_before_one = true;  // "_x" becomes "key_x"; "__x" stays
};
/// Makes a label name of an attribute's key: what is not [a-zA-Z0-9_] becomes '_', and a leading
/// digit gets "key_" in front. Empty stays empty. (Prometheus, otlptranslator.)
std::string NormalizeLabelName(std::string_view key, LabelNameRules rules);

/// Makes a canonical label set: sorted, of equal names the last one, without empty names and
/// values.
Labels CanonicalLabels(std::vector<LabelView> labels);

}  // namespace varve::otlp
