#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/log_batch.h"

namespace varve::loki {

/// Parses the text of a label set, `{a="x", b="y"}`, with Go's string literals. Values with escapes
/// are copied into `batch`; the rest points into `text`. Returns what is wrong, in the words of
/// Prometheus's parser, which Loki asks: `1:3: parse error: ...`; or an empty string.
std::string ParseStreamSelector(std::string_view text, LogBatch* batch,
                                std::vector<LabelView>* labels);

/// Prints labels as a push body with a map of them is understood: names as they stand, values
/// quoted, sorted by name, at most `bytes_max` of it.
std::string SelectorText(LabelsView labels, size_t bytes_max);

}  // namespace varve::loki
