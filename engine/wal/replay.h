#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/io/file_system.h"
#include "engine/io/record_log.h"
#include "engine/wal/wal.h"

namespace varve::wal {

inline constexpr std::string_view kMagic = "VARVEWL1";
inline constexpr uint32_t kVersion = 1;
/// The log's own record type: every record before it is durable. Written by Close.
inline constexpr uint8_t kMarkType = 0;

/// Where a log stands after replay, before anything new is written.
struct ReplayedLog {
  Lsn last_lsn = 0;
  uint64_t next_segment = 1;                            // to be created
  std::vector<std::pair<uint64_t, uint64_t>> segments;  // number, bytes; ascending, kept
};

/// Reads the segments of `dir` from options.first_segment on, hands their records to `fn`, fills
/// `report`, and, unless read-only, leaves the directory so that a writer can go on: older segments
/// removed, the torn tail cut off, the last segment synced, so that all that was replayed is
/// durable.
Result<ReplayedLog> Replay(io::FileSystem& fs, const std::string& dir, const WalOptions& options,
                           const ReplayFn& fn, WalReplayReport* report);

/// Returns the number in the name of a segment file, or 0 for other names.
uint64_t SegmentOfFileName(std::string_view name);

}  // namespace varve::wal
