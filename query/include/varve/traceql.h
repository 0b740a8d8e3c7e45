#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/log_scan.h"
#include "varve/query.h"
#include "varve/span.h"
#include "varve/span_scan.h"
#include "varve/status.h"

namespace varve::query {

/// How the errors of this page map to HTTP:
///   kInvalidArgument     400: does not parse or is wrongly typed (TextError, so TextPlaceOf gives
///                        line and column), a bad cursor, parameters that make no sense
///   kResourceExhausted   422: over the byte budget, the series limit or the trace size limit
///   kDeadlineExceeded    503
///   kCancelled           499
///   anything else        500: storage errors and our bugs
///
/// Times are Unix nanoseconds; ranges are closed. Where a protocol excludes the end of a range,
/// pass end - 1.

/// How an engine evaluates.
struct TraceEngineOptions {
  std::chrono::milliseconds timeout{2 * 60 * 1000};  // 0: none
  /// Memory that one query may hold, results included. 0: unbounded.
  uint64_t memory_bytes_max = 1ull << 30;
  /// Texts longer than this are refused.
  uint32_t query_bytes_max = 128 * 1024;
  /// Largest `limit` and `spans_per_spanset` that a search may ask for.
  uint32_t traces_max = 100'000;
  uint32_t spans_per_spanset_max = 100'000;
  /// Steps of a range query, and series that a metrics query may make.
  uint32_t points_max = 11'000;
  uint32_t series_max = 50'000;
  /// Exemplars of one metrics query.
  uint32_t exemplars_max = 100;
  /// Threads for one engine, the caller's included. Results never depend on it. 0: one per core.
  uint32_t threads = 0;
};

/// Overrides for one query.
struct TraceQueryOptions {
  std::optional<std::chrono::milliseconds> timeout;
  std::shared_ptr<const Cancellation> cancellation;  // null: cannot be cancelled
};

/// A value of a span as TraceQL types it. Owns its bytes.
struct TraceValue {
  enum class Type : uint8_t {
    kNil,
    kString,
    kBool,
    kInt,
    kDouble,
    kDuration,  // integer, ns
    kStatus,    // integer: SpanStatus
    kKind,      // integer: SpanKind
    kBytes,     // text
    kArray,     // text: as ValueView::Array
    kMap,       // text: as ValueView::Map
  };
  Type type = Type::kNil;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  friend bool operator==(const TraceValue&, const TraceValue&) = default;
};
/// Prints the value bare: a string as it is, 1.5s, error, server, nil, arrays and maps as JSON.
std::string ToString(const TraceValue& value);

/// A value with the name that the query gave it, scope included: "span.http.method", ".x", "kind",
/// "by(name)", "avg(duration)".
struct NamedTraceValue {
  std::string name;
  TraceValue value;
  /// The name as Tempo's search answers print it: "http.method", "x", "kind", ...
  std::string_view bare_name() const;
};

struct MatchedSpan {
  SpanId id;
  SpanId parent_id;
  std::string name;
  std::string service;
  int64_t start_ns = 0;
  int64_t duration_ns = 0;
  /// Values of the fields that the query names (filters, by, select), those that exist.
  std::vector<NamedTraceValue> values;
};

/// Spans that satisfy a query together: those of one trace, or of one group after by().
struct Spanset {
  std::vector<NamedTraceValue> values;  // of by() and of aggregates
  uint64_t matched = 0;                 // spans, listed or not
  std::vector<MatchedSpan> spans;       // the first `spans_per_spanset` by start, then id
};

struct ServiceSummary {
  std::string service;
  uint64_t spans = 0;
  uint64_t errors = 0;
};

struct TraceSummary {
  TraceId id;
  /// The earliest span without a parent; if there is none, of the earliest span whose parent is
  /// missing, and `root_found` is false.
  bool root_found = false;
  std::string root_service;
  std::string root_name;
  int64_t start_ns = 0;     // of the earliest span
  int64_t end_ns = 0;       // of the span that ends last
  int64_t duration_ns = 0;  // end - start
  uint64_t spans = 0;
  uint64_t errors = 0;
  uint64_t orphans = 0;                  // spans whose parent is not in the trace
  std::vector<ServiceSummary> services;  // by name
  std::vector<Spanset> spansets;
};

struct TraceSearch {
  /// Spans that a query's first filter matches must start in it; the rest of a trace may not.
  NsRange range;
  uint32_t limit = 20;
  uint32_t spans_per_spanset = 3;  // 0: all
  /// Empty for the first page, else SearchResult::next of the page before, of the same query,
  /// range and snapshot or a later one.
  std::string cursor;
};

struct TraceSearchStats {
  SpanScanStats scan;
  uint64_t traces_inspected = 0;
  uint64_t spans_inspected = 0;  // of those traces
  uint64_t peak_bytes = 0;
  std::chrono::nanoseconds total_time{0};
};

struct SearchResult {
  /// Newest first: by the start of the newest span in the range that the query's driving filter
  /// (Explain names it) matches, then by id. The same for any threads, block layout and page size.
  std::vector<TraceSummary> traces;
  std::string next;  // cursor of the next page; empty when this was the last
  TraceSearchStats stats;
};

/// Jaeger's search and more: everything that is given must hold on one and the same span.
struct TraceFilter {
  std::string service;    // empty: any
  std::string operation;  // empty: any
  /// Attributes of any level whose printed value equals the text. As in Jaeger, `error`,
  /// `span.kind`, `span.status`, `otel.status_code`, `otel.status_description`,
  /// `otel.scope.name/version`, `scope.*` and `resource.*` keys mean the field they name.
  std::vector<std::pair<std::string, std::string>> tags;
  /// Typed tests of any field, not-equals, regular expressions and ranges included.
  std::vector<SpanPredicate> predicates;
  std::optional<int64_t> min_duration_ns;  // inclusive
  std::optional<int64_t> max_duration_ns;  // inclusive
  bool errors_only = false;
  bool roots_only = false;
  /// If not empty, a TraceQL field expression that must hold too: `span.a > 1 || name =~ "x.*"`.
  std::string expression;
};

/// A trace id behind a value of a metrics query.
struct TraceExemplar {
  Labels labels;  // of the series
  int64_t time_ns = 0;
  double value = 0;  // of the function's argument; duration in seconds for rate and counts
  TraceId trace_id;
  SpanId span_id;
};

struct TraceMetricsResult {
  Value value;  // Vector for MetricsInstant, Matrix for MetricsRange, sorted by labels
  std::vector<TraceExemplar> exemplars;
  SpanScanStats scan;
  Statistics statistics;
};

/// Evaluates TraceQL over snapshots of traces. Thread-safe.
class TraceEngine {
 public:
  static std::unique_ptr<TraceEngine> Make(const TraceEngineOptions& options);
  virtual ~TraceEngine() = default;

  /// Finds the traces that satisfy a TraceQL search query.
  virtual Result<SearchResult> Search(const TraceSnapshot& snapshot, std::string_view text,
                                      const TraceSearch& search,
                                      const TraceQueryOptions& options) = 0;
  /// The same for a filter; `spans_per_spanset` works as there.
  virtual Result<SearchResult> FindTraces(const TraceSnapshot& snapshot, const TraceFilter& filter,
                                          const TraceSearch& search,
                                          const TraceQueryOptions& options) = 0;
  /// Prints the TraceQL query that a filter means (tags compare printed values, which no TraceQL
  /// operator does: they print as `=~` of the quoted text).
  virtual Result<std::string> ToTraceQL(const TraceFilter& filter) = 0;
  /// Summarises traces by id, in the order of `ids`; unknown ones are left out. No spansets.
  virtual Result<std::vector<TraceSummary>> Summaries(const TraceSnapshot& snapshot,
                                                      std::span<const TraceId> ids,
                                                      const TraceQueryOptions& options) = 0;

  /// Evaluates a metrics query at start, start + step, ..., end. The value at time t is of the
  /// spans that start in (t - step, t].
  virtual Result<TraceMetricsResult> MetricsRange(const TraceSnapshot& snapshot,
                                                  std::string_view text, const QueryRange& range,
                                                  const TraceQueryOptions& options) = 0;
  /// Evaluates a metrics query once, over the spans that start in (start, end]; samples get the
  /// time `end`.
  virtual Result<TraceMetricsResult> MetricsInstant(const TraceSnapshot& snapshot,
                                                    std::string_view text, int64_t start_ms,
                                                    int64_t end_ms,
                                                    const TraceQueryOptions& options) = 0;

  /// Lists attribute keys of a scope (nothing: all scopes), sorted. `filter`, if not empty, is a
  /// TraceQL query; only spans that its first filter matches count.
  virtual Result<std::vector<TagName>> TagNames(const TraceSnapshot& snapshot,
                                                std::optional<AttributeScope> scope, NsRange range,
                                                std::string_view filter,
                                                const TraceQueryOptions& options) = 0;
  /// Lists values of a tag, sorted, at most `limit` (0: 10,000). `tag` is a TraceQL field
  /// ("span.http.method", ".x", "name", "span:kind") or a bare attribute key ("http.method").
  virtual Result<std::vector<TraceSnapshot::TagValue>> TagValues(
      const TraceSnapshot& snapshot, std::string_view tag, NsRange range, std::string_view filter,
      size_t limit, const TraceQueryOptions& options) = 0;

  /// Checks a query. `metrics` says whether it has a metrics function.
  struct Parsed {
    std::string text;  // printed in canonical form
    bool metrics = false;
  };
  virtual Result<Parsed> Parse(std::string_view text) const = 0;
  /// Prints the plan, one step a line.
  virtual Result<std::string> Explain(std::string_view text) const = 0;
  /// Shows the line of the query that `status` speaks of, with a caret under the place and the
  /// message. Gives the bare message if the status carries no place.
  static std::string RenderError(std::string_view text, const Status& status);

  virtual const TraceEngineOptions& options() const = 0;
};

/// The intrinsics of TraceQL ("duration", "span:status", ...), for tag lists.
std::vector<std::string> TraceIntrinsics();

}  // namespace varve::query
