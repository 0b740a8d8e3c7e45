#pragma once

#include <optional>
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

/// Appends the filter of a group: `keys` of its lines (line_keys.h) and of its metadata; appends
/// nothing for a group without either.
Status EncodeGroupFilter(std::vector<uint64_t> keys, const MetadataColumns& metadata,
                         std::string* out);

/// LogScan::needed() of one block: of each element one alternative, of that all keys.
using NeededKeys = std::vector<std::vector<std::vector<LogScan::Key>>>;

/// Turns what a scan needs into keys; pieces of words are looked up in `vocabulary`: words with a
/// line feed behind each and index::kScanPadding bytes behind the last, or null if there is none.
/// An element without alternatives means that nothing can match.
NeededKeys ResolveNeeded(const LogScan& scan, const std::string* vocabulary);

/// Tells that no row can match, and which kind of key says so; nothing if some row may.
std::optional<LogScan::KeyKind> RuledOutBy(const index::BinaryFuse& filter,
                                           const NeededKeys& needed);
/// The same for the filter of a page of a head, which knows no pairs of words.
std::optional<LogScan::KeyKind> RuledOutBy(const index::BlockedBloom& filter,
                                           const NeededKeys& needed);

/// Returns the counter of what a kind of key spares.
LogScanStats::Skipped& SkippedBy(LogScan::KeyKind kind, LogScanStats* stats);

}  // namespace varve::logs
