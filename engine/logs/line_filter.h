#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/columns.h"
#include "engine/logs/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

/// The filters of a row group tell that no line holds a word or an id, or no entry a value of
/// metadata, without inflating it. Spec: engine/docs/format/logs-block.md, "Filters".

/// Appends the filter of a group: `keys` of its lines (line_codec.h) and of its metadata; may
/// append nothing.
Status EncodeGroupFilter(std::vector<uint64_t> keys, const MetadataColumns& metadata,
                         std::string* out);

/// Tells that some row may match. `bytes` is the group's filter, which may be empty. Errors:
/// kDataLoss.
Result<bool> FilterMayMatch(std::string_view bytes, const LogScan& scan);

}  // namespace varve::logs
