#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/ingest/context.h"
#include "tools/ingest/exposition.h"

namespace varve::ingest {

/// One POST to /api/v1/import/prometheus, before any decoding.
struct ImportRequest {
  std::string_view content_type;      // empty: Prometheus text
  std::string_view content_encoding;  // "", identity, gzip, deflate, zstd, snappy
  std::string_view body;
  /// Query parameters, percent-decoded, in order: `timestamp` (Unix ms) for samples without one,
  /// default now; `extra_label` (name=value), repeatable, wins over labels in the body.
  std::vector<std::pair<std::string, std::string>> query;
};

/// Appends an exposition (Prometheus text, OpenMetrics, delimited protobuf; the content type
/// decides). 204 when everything was stored. A body that does not parse gets 400 with line and
/// column, and nothing of it is stored. Rows that the store rejects do not keep the others out:
/// then 400, one line a rejection, and the number stored in X-Varve-Samples-Written. 413, 415,
/// 503 and 507 as for remote write.
HttpOutcome HandleImportPrometheus(IngestContext& context, const ImportRequest& request);

/// Loads `{"metric":{...},"values":[...],"timestamps":[...]}` lines (VictoriaMetrics's import) of
/// any age straight into blocks: all of a body or, with 400 and the line, none. Only encoding and
/// body of the request are looked at. Of rows of one series and time the one stored first stays.
HttpOutcome HandleImportSeries(IngestContext& context, const ImportRequest& request);

/// Appends the scrapes of one target as Prometheus would: target labels on every series (a label
/// of the same name in the body becomes exported_<name>), stale markers for series that a scrape
/// no longer has, and the automatic series up, scrape_duration_seconds, scrape_samples_scraped,
/// scrape_samples_post_metric_relabeling and scrape_series_added. Not thread-safe.
class ScrapeTarget {
 public:
  /// `labels`: usually job and instance. `context` must outlive this.
  ScrapeTarget(IngestContext& context, Labels labels);
  ~ScrapeTarget();
  ScrapeTarget(const ScrapeTarget&) = delete;
  ScrapeTarget& operator=(const ScrapeTarget&) = delete;

  /// Appends one scrape in one batch. A body that does not parse counts as a failed scrape: up is
  /// 0 and every series of the scrape before ends; the parse error is returned after that was
  /// appended. Otherwise returns what the store says.
  Status Append(int64_t time_ms, std::chrono::nanoseconds duration, std::string_view content_type,
                std::string_view body);
  /// Says that the target did not answer.
  Status AppendFailure(int64_t time_ms, std::chrono::nanoseconds duration);
  /// Ends all series of the target, the automatic ones included: it is gone.
  Status AppendEnd(int64_t time_ms);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace varve::ingest
