#pragma once

#include <cstdlib>

#include "tools/loki/log_intake.h"
#include "varve/log_batch.h"

namespace varve::loki {

/// Aborts unless what an intake let through may be appended as it is.
inline void CheckBatch(const LogBatch& batch, const loki::Limits& limits) {
  for (const LogBatch::Stream& stream : batch.streams()) {
    const LabelsView labels = batch.labels(stream);
    if (labels.empty() || !IsCanonical(labels)) std::abort();
    for (const LabelView& label : labels) {
      if (!IsLabelName(label.name)) std::abort();
    }
  }
  for (const LogBatch::Entry& entry : batch.entries()) {
    if (entry.stream >= batch.streams().size()) std::abort();
    if (limits.max_line_size > 0 && entry.line.size() > limits.max_line_size) std::abort();
    const LabelsView metadata = batch.metadata(entry);
    bool level = false;
    for (size_t i = 0; i < metadata.size(); ++i) {
      if (!IsNormalizedName(metadata[i].name)) std::abort();
      if (i > 0 && metadata[i - 1].name >= metadata[i].name) std::abort();
      level = level || metadata[i].name == kDetectedLevel;
    }
    if (limits.discover_log_levels && !level) std::abort();
  }
}

}  // namespace varve::loki
