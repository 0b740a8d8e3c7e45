#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace varve::loki {

/// What a push may hold and a query may ask, under the names of Loki's limits_config. 0 is
/// unbounded.
struct Limits {
  // --- Push: Loki's defaults, except where noted ---

  bool reject_old_samples = true;
  std::chrono::milliseconds reject_old_samples_max_age{std::chrono::hours(7 * 24)};
  std::chrono::milliseconds creation_grace_period{std::chrono::minutes(10)};
  uint64_t max_line_size = 256 * 1024;
  bool max_line_size_truncate = false;
  uint32_t max_label_names_per_series = 15;
  uint32_t max_label_name_length = 1024;
  uint32_t max_label_value_length = 2048;
  bool allow_structured_metadata = true;
  uint64_t max_structured_metadata_size = 64 * 1024;
  uint32_t max_structured_metadata_entries_count = 128;
  bool discover_service_name = true;
  bool discover_log_levels = true;
  /// Loki's 4 MB/s protects one tenant of a cluster from another; a store of one's own has none.
  double ingestion_rate_mb = 0;
  double ingestion_burst_size_mb = 6;
  /// Bytes of lines and metadata a second for one stream; Loki's 3 MB, likewise, is not the
  /// default.
  uint64_t per_stream_rate_limit = 0;
  uint64_t per_stream_rate_limit_burst = 15ull << 20;
  /// Streams that are written to: in one body, and in the head, where each takes about 1 KiB of
  /// memory. Loki's 5000 assumes that streams are dear.
  uint64_t max_global_streams_per_user = 500'000;
  /// Label names that every stream must have.
  std::vector<std::string> enforced_labels;
  /// Pushes are refused until then (Unix ms) with this status. 0: none is.
  int64_t block_ingestion_until_ms = 0;
  int block_ingestion_status_code = 260;
  /// Largest body after decompression; Loki's limit for a message.
  uint64_t max_recv_msg_size = 100ull << 20;

  // --- Queries that the engine does not know ---

  uint32_t max_concurrent_tail_requests = 10;
  uint32_t volume_max_series = 1000;
  uint32_t max_streams_matchers_per_query = 1000;

  /// Returns limits for data that is loaded on purpose: any age, any size that the store takes.
  static Limits ForImport() {
    Limits out;
    out.reject_old_samples = false;
    out.creation_grace_period = {};
    out.max_line_size = 0;
    out.max_label_names_per_series = 0;
    out.max_label_name_length = 0;
    out.max_label_value_length = 0;
    out.max_structured_metadata_size = 0;
    out.max_structured_metadata_entries_count = 0;
    out.max_global_streams_per_user = 0;
    return out;
  }
};

}  // namespace varve::loki
