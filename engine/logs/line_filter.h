#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/index/filters.h"
#include "engine/logs/columns.h"
#include "engine/logs/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

/// The filter of a row group tells that no line holds a word or an id, or no entry a value of
/// metadata, without inflating anything. Spec: engine/docs/format/logs-block.md, "Filters".

/// Appends the filter of a group: `keys` of its lines (line_codec.h) and of its metadata; appends
/// nothing for a group without either.
Status EncodeGroupFilter(std::vector<uint64_t> keys, const MetadataColumns& metadata,
                         std::string* out);

/// Tells that some row may match.
bool FilterMayMatch(const index::BinaryFuse& filter, const LogScan& scan);

}  // namespace varve::logs
