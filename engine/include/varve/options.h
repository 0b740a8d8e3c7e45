#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "varve/labels.h"
#include "varve/write_batch.h"

namespace varve {

namespace io {
class FileSystem;
}
class Clock;
class Scheduler;

/// Bounds on what one row may carry. Breaking one rejects the series, by name.
struct Limits {
  uint32_t labels_per_series_max = 256;
  uint32_t label_name_bytes_max = 4096;
  uint32_t label_value_bytes_max = 65536;
  uint64_t head_series_max = 50'000'000;
  uint32_t histogram_buckets_max = 65536;
  uint32_t exemplars_max = 100'000;  // in the head, all series together; the oldest go first

  // --- Logs; labels of streams are bounded like those of series ---
  uint64_t head_streams_max = 10'000'000;
  uint32_t line_bytes_max = 32u << 20;
  uint32_t metadata_pairs_max = 1024;        // of one entry
  uint32_t metadata_bytes_max = 256 * 1024;  // of one entry

  // --- Traces ---
  uint32_t span_bytes_max = 16u << 20;  // all texts and attributes of one span together
  uint32_t attributes_max = 65536;      // of one span, its events and links included
  uint32_t attribute_depth_max = 64;    // arrays and maps in one another
};

/// Keeps the log streams or traces that match for another time than Options says. Of several that
/// match, the one with the highest priority counts, then the one that keeps shorter.
struct RetentionRule {
  /// All must hold: for logs, on stream labels; for traces, on attributes of one span (its own or
  /// its resource's, values printed) and on `status` and `name`, and the whole trace is kept.
  std::vector<Matcher> matchers;
  std::chrono::milliseconds keep{0};  // 0: for ever
  int32_t priority = 0;
};

/// Says how a database is opened. Everything has a default that is safe.
struct Options {
  /// The directory; made if missing unless `create_if_missing` is false.
  std::string dir;
  bool create_if_missing = true;
  /// Opens without LOCK, WAL writes or background work; Append and Delete fail.
  bool read_only = false;

  // --- What a caller may lose, keep, or see ---

  /// What Append promises unless WriteOptions says otherwise.
  Durability durability = Durability::kDurable;
  /// Upper bound on what power loss costs under kProcessCrash.
  std::chrono::milliseconds sync_interval{1000};
  /// How much older than the newest sample of the database a sample may be. 0: none.
  std::chrono::milliseconds out_of_order_window{30 * 60 * 1000};
  /// 0 keeps for ever. Whole blocks go, so data lives up to one block range longer.
  std::chrono::milliseconds retention_time{0};
  /// 0 is unbounded; counts blocks, WAL and manifest on disk. The oldest blocks go first.
  uint64_t retention_bytes = 0;
  /// For logs and traces instead of `retention_time`; unset: the same.
  std::optional<std::chrono::milliseconds> log_retention_time;
  std::optional<std::chrono::milliseconds> trace_retention_time;
  std::vector<RetentionRule> log_retention_rules;
  std::vector<RetentionRule> trace_retention_rules;
  Limits limits;

  // --- Speed and space ---

  /// The time covered by the smallest blocks; larger ones cover 3, 9, 27 ... times that.
  std::chrono::milliseconds block_range{2 * 60 * 60 * 1000};
  uint32_t block_levels = 5;
  /// The head is sealed when its newest sample is 1.5 block ranges past its oldest, or when its
  /// samples and WAL outgrow these.
  uint64_t head_bytes_max = 512ull << 20;
  uint64_t wal_bytes_max = 1024ull << 20;
  /// Sealing, compaction, retention. 0: only when asked (Flush, Compact, Maintain).
  uint32_t background_threads = 1;

  // --- For tests and embedding; null means the real one ---

  std::shared_ptr<io::FileSystem> file_system;
  std::shared_ptr<Clock> clock;
};

}  // namespace varve
