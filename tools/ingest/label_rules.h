#pragma once

#include <string>
#include <vector>

#include "varve/labels.h"

namespace varve::ingest {

/// Says whether labels from the outside make a series, and if not, why.
struct LabelVerdict {
  enum Kind { kGood, kNoName, kDuplicate, kNotUtf8 };
  Kind kind = kGood;
  std::string text;  // empty when good
  bool good() const { return kind == kGood; }
};

/// Sorts `labels`, drops those with empty values, and judges: every series needs a metric name
/// (kNoName, also for a label whose own name is empty), label names are unique, everything is
/// UTF-8 (not looked at again where the caller has checked: `checked_utf8`). Cost: one pass where
/// they come sorted, as they do.
LabelVerdict Canonicalize(std::vector<LabelView>* labels, bool checked_utf8 = false);

}  // namespace varve::ingest
