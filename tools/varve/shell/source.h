#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "varve/logql.h"
#include "varve/query.h"
#include "varve/span_batch.h"
#include "varve/status.h"
#include "varve/traceql.h"

namespace varve::cli::shell {

/// Where the shell's answers come from: a directory or a server. Used by one
/// thread.
class Source {
 public:
  virtual ~Source() = default;

  virtual Result<query::QueryResult> Instant(
      std::string_view text, int64_t time_ms,
      const std::shared_ptr<const query::Cancellation>& cancellation) = 0;
  virtual Result<query::QueryResult> Range(
      std::string_view text, const query::QueryRange& range,
      const std::shared_ptr<const query::Cancellation>& cancellation) = 0;
  /// Evaluate LogQL (metric queries at `range.end_ns` with `instant`) and
  /// TraceQL (metrics queries every `step_ms`, or once).
  virtual Result<query::LogQueryResult> LogQl(
      std::string_view text, const query::LogQueryRange& range, bool instant,
      const std::shared_ptr<const query::Cancellation>& cancellation) = 0;
  using TraceAnswer = std::variant<query::SearchResult, query::QueryResult>;
  virtual Result<TraceAnswer> TraceQl(
      std::string_view text, NsRange range, int64_t step_ms, uint32_t limit,
      const std::shared_ptr<const query::Cancellation>& cancellation) = 0;
  /// Gives all spans of a trace, none if there is no such trace.
  virtual Result<SpanBatch> Trace(const TraceId& id) = 0;
  /// List what completion offers; errors give nothing.
  virtual std::vector<std::string> LabelNames() = 0;
  virtual std::vector<std::string> LabelValues(const std::string& name) = 0;
  virtual std::vector<std::string> StreamLabelNames() = 0;
  virtual std::vector<std::string> StreamLabelValues(const std::string& name) = 0;
  /// Attributes as TraceQL spells them, `resource.service.name`, and texts that one has; without a
  /// scope, `.name`, of any.
  virtual std::vector<std::string> AttributeNames() = 0;
  virtual std::vector<std::string> AttributeValues(const std::string& name) = 0;
  /// Prints one line about the store: what `.stats` and the greeting show.
  virtual std::string Describe() = 0;

  /// Opens a directory for reading; a server may hold it.
  static Result<std::unique_ptr<Source>> OpenDirectory(const std::string& dir,
                                                       const query::EngineOptions& engine);
  /// Checks that `url` is http://HOST:PORT; does not connect.
  static Result<std::unique_ptr<Source>> Connect(const std::string& url);
};

}  // namespace varve::cli::shell
