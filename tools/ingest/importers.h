#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "varve/database.h"

namespace varve::ingest {

/// What an import did. Counts are of what was handed to the database.
struct ImportSummary {
  uint64_t series = 0;
  uint64_t samples = 0;
  uint64_t histograms = 0;
  uint64_t stale_markers = 0;    // part of samples and histograms
  uint64_t blocks = 0;           // Prometheus blocks read
  uint64_t bytes_read = 0;       // of the input, as stored
  uint64_t samples_deleted = 0;  // hidden by tombstones, so not imported
  int64_t min_time_ms = kMaxTime;
  int64_t max_time_ms = kMinTime;
  std::vector<std::string> warnings;  // what was skipped, and what to do about it
};

struct ImportOptions {
  /// Called now and then with bytes read and bytes in all (0 if unknown). May be empty.
  std::function<void(uint64_t done, uint64_t total)> progress;
  /// Bounds one line of NDJSON.
  uint64_t line_bytes_max = 1ull << 30;
};

/// Reads `{"metric": {...}, "timestamps": [ms...], "values": [...]}` lines, one series each, from a
/// plain or zstd-compressed file, streaming. Values are numbers or "NaN", "+Inf", "-Inf",
/// "StaleNaN". Errors: kInvalidArgument naming file, line and byte offset (decompressed),
/// kNotFound, kUnavailable, kDataLoss for damaged zstd, and what the loader returns. The caller
/// finishes the loader.
Status ImportSeriesFile(const std::string& path, const ImportOptions& options, BulkLoader* loader,
                        ImportSummary* summary);

/// Reads the same lines from memory. Errors name the line.
Status ImportSeriesText(std::string_view text, BulkLoader* loader, ImportSummary* summary);

/// Reads a Prometheus TSDB: a data directory (all its blocks, then what only the write-ahead log
/// holds) or one block directory. Index versions 1 to 3, chunk encodings XOR, XOR2, integer and
/// float histogram, tombstones; every CRC32C is checked. Errors: kDataLoss with file and offset,
/// kNotFound, kUnavailable, kUnimplemented for a version or encoding of a newer Prometheus, and
/// what the loader returns. The caller finishes the loader.
Status ImportPrometheus(const std::string& path, const ImportOptions& options, BulkLoader* loader,
                        ImportSummary* summary);

}  // namespace varve::ingest
