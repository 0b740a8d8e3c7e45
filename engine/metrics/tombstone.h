#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::metrics {

/// A deletion as the manifest keeps it: all samples in `range` of all series that match.
struct Deletion {
  std::vector<Matcher> matchers;
  TimeRange range;
};

/// Encode and decode the payload of a manifest tombstone. Spec: engine/docs/format/metrics-wal.md,
/// "Deletions". Decoding is safe on any bytes. Errors: kDataLoss.
std::string EncodeDeletion(const Deletion& deletion);
Result<Deletion> DecodeDeletion(std::string_view bytes);

}  // namespace varve::metrics
