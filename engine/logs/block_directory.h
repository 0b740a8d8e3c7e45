#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

/// The rows of one stream in one row group.
struct LogsPart {
  uint32_t stream = 0;
  uint32_t group = 0;
  uint32_t row = 0;  // the first, in the group
  uint32_t rows = 0;
  uint64_t line_bytes = 0;
  int64_t min_time_ns = 0;
  int64_t max_time_ns = 0;
};

/// Sizes of the pieces of one row group; pieces and groups lie next to each other, so that offsets
/// need not be stored.
struct LogsGroup {
  uint32_t rows = 0;
  uint64_t line_bytes = 0;
  uint64_t time_bytes = 0;               // stored
  uint64_t text_bytes = 0;               // stored
  uint64_t metadata_bytes = 0;           // stored; 0: no entry has metadata
  uint64_t filter_bytes = 0;             // in the filters section
  std::vector<uint32_t> metadata_names;  // ascending, into BlockDirectory::metadata_names

  // Worked out by DecodeDirectory.
  uint64_t offset = 0;         // in the groups section
  uint64_t filter_offset = 0;  // in the filters section
  uint32_t first_part = 0;
  int64_t min_time_ns = 0;
  int64_t max_time_ns = 0;
  uint64_t bytes() const { return time_bytes + text_bytes + metadata_bytes; }
};

/// Says where the rows of each stream are. Format: engine/docs/format/logs-block.md, "Directory".
struct BlockDirectory {
  std::vector<std::string> metadata_names;  // sorted
  std::vector<LogsGroup> groups;
  std::vector<LogsPart> parts;        // by group, then stream; streams ascend throughout
  std::vector<uint32_t> stream_part;  // first part of each stream; streams + 1. Worked out
};

std::string EncodeDirectory(const BlockDirectory& directory);
/// Decodes bytes that may be anything. Checks that groups fill the two sections and that parts are
/// in order. Errors: kDataLoss with `file` and `offset`.
Status DecodeDirectory(std::string_view bytes, uint32_t streams, uint64_t groups_bytes,
                       uint64_t filters_bytes, std::string_view file, uint64_t offset,
                       BlockDirectory* out);

}  // namespace varve::logs
