#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "varve/database.h"
#include "varve/labels.h"
#include "varve/status.h"

namespace varve::loki {

enum class LogFormat : uint8_t { kAuto, kPlain, kJson, kLogfmt };

struct LogImportOptions {
  Labels labels;
  bool filename_label = true;  // adds filename, the path as given
  LogFormat format = LogFormat::kAuto;
  /// Where JSON and logfmt lines carry their time; empty: the usual names.
  std::string time_field;
  /// Unset: times are found in the lines. Else the first line has this one, Unix nanoseconds, and
  /// each next line one nanosecond more.
  std::optional<int64_t> time_ns;
  /// Joins lines to the entry before: those that do not match this expression; "auto": those that
  /// begin with white space, or in which no time is found where the entry before had one. Empty: no
  /// joining.
  std::string multiline;
  bool detect_level = true;
  uint64_t line_bytes_max = 32u << 20;  // longer lines are left out, and counted
  /// Hears how many bytes of how many have been read, now and then.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct LogImportSummary {
  uint64_t files = 0;
  uint64_t bytes_read = 0;  // as stored in the files
  uint64_t lines = 0;
  uint64_t line_bytes = 0;
  uint64_t entries = 0;
  uint64_t lines_without_time = 0;  // took the time of the entry before
  uint64_t lines_too_long = 0;
  int64_t min_time_ns = INT64_MAX;
  int64_t max_time_ns = INT64_MIN;
  std::vector<std::string> warnings;
};

/// Appends the lines of files, plain or compressed with gzip or zstd, byte for byte, each file a
/// stream. Lines that would share a time get successive nanoseconds, so that their order and
/// repeats survive. Durable on return. Memory is bounded by `line_bytes_max`. Errors: kNotFound
/// names a file that is not there, and then nothing was imported; of CheckMultiline; kUnavailable
/// for a file that cannot be read; kDataLoss for damaged compression, with the offset; those of
/// Database::AppendLogs. What came before one of these stays.
Status ImportLogFiles(const std::vector<std::string>& paths, const LogImportOptions& options,
                      Database* database, LogImportSummary* summary);

/// Tells whether LogImportOptions::multiline is one. Errors: kInvalidArgument.
Status CheckMultiline(const std::string& multiline);

/// Finds the time in a line of log: RFC 3339 and its relatives, Apache's, syslog's, a Unix time at
/// the front. A time without zone is UTC, one without year lies nearest to `now_ns`. Looks at the
/// first 128 bytes.
std::optional<int64_t> FindTime(std::string_view line, int64_t now_ns);

}  // namespace varve::loki
