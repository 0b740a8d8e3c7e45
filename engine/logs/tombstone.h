#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

/// A deletion as the manifest keeps it: the entries in `range` of all streams that match, if all
/// filters hold for their lines and metadata.
struct Deletion {
  std::vector<Matcher> matchers;
  NsRange range;
  std::vector<LineFilter> filters;
  std::vector<Matcher> metadata;
};

/// Encode and decode the payload of a manifest tombstone. Spec: engine/docs/format/logs-wal.md,
/// "Deletions". Decoding is safe on any bytes. Errors: kDataLoss.
std::string EncodeDeletion(const Deletion& deletion);
Result<Deletion> DecodeDeletion(std::string_view bytes);

}  // namespace varve::logs
