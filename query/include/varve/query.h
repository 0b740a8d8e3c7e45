#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "varve/labels.h"
#include "varve/sample.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::query {

/// How the errors of this page map to Prometheus's HTTP API:
///   kInvalidArgument     bad_data 400: does not parse or is wrongly typed (TextError, so
///                        TextPlaceOf gives line and column), or parameters that make no sense
///   kFailedPrecondition  execution 422: a well-formed query that failed while running; the
///                        message is Prometheus's own text
///   kResourceExhausted   execution 422: over the sample or byte budget
///   kDeadlineExceeded    timeout 503
///   kCancelled           canceled 499
///   anything else        internal 500: storage errors and our bugs

/// One bucket as output shows it.
struct HistogramBucket {
  /// Prometheus's numbers for "boundaries".
  enum class Rule : uint8_t { kOpenLeft = 0, kOpenRight = 1, kOpenBoth = 2, kClosed = 3 };
  double lower = 0;
  double upper = 0;
  Rule rule = Rule::kOpenLeft;
  double count = 0;
};

/// A native histogram with float counts: what queries compute with and return. Spans describe
/// sparse buckets as in varve::Histogram; counts are absolute, one per spanned bucket.
struct FloatHistogram {
  CounterResetHint reset_hint = CounterResetHint::kUnknown;
  int32_t schema = 0;  // -4..8 or kCustomBucketsSchema
  double zero_threshold = 0;
  double zero_count = 0;
  double count = 0;
  double sum = 0;
  std::vector<BucketSpan> positive_spans;
  std::vector<BucketSpan> negative_spans;
  std::vector<double> positive_counts;
  std::vector<double> negative_counts;
  std::vector<double> custom_values;  // ascending upper bounds without +Inf

  bool uses_custom_buckets() const { return schema == kCustomBucketsSchema; }

  /// Lists buckets in ascending order of bounds: negative, zero, positive. Empty spanned buckets
  /// are included; an empty zero bucket is not. Cost: linear in the spanned buckets.
  std::vector<HistogramBucket> Buckets() const;

  /// Converts a stored sample; integer deltas become absolute float counts.
  static FloatHistogram From(const Histogram& histogram);
};
/// Compares the meaning as Prometheus does: same layout after compaction, same counts by bits
/// (NaN equals any NaN). The reset hint is not compared.
bool Equals(const FloatHistogram& a, const FloatHistogram& b);
/// Returns a copy without empty buckets at span edges and without gaps of more than
/// `max_empty_buckets` kept as zeros. Empty spans vanish.
FloatHistogram Compact(const FloatHistogram& histogram, int max_empty_buckets = 0);
/// Prints Prometheus's debug form: {count:4, sum:5, [-1,-0.5):1, (0.5,1]:1}.
std::string ToString(const FloatHistogram& histogram);
/// Prints promqltest's form: {{schema:1 count:2 ... buckets:[1 2]}}.
std::string TestExpression(const FloatHistogram& histogram);

using HistogramPtr = std::shared_ptr<const FloatHistogram>;

/// One sample of an instant vector: a float, or a histogram when that pointer is set.
struct VectorSample {
  Labels labels;
  int64_t time_ms = 0;
  double value = 0;
  HistogramPtr histogram;
};
using Vector = std::vector<VectorSample>;

/// One series of a matrix; both halves ascend in time and no time is in both.
struct Series {
  Labels labels;
  std::vector<int64_t> times_ms;  // of values
  std::vector<double> values;
  std::vector<int64_t> histogram_times_ms;  // of histograms
  std::vector<HistogramPtr> histograms;
};
using Matrix = std::vector<Series>;

struct Scalar {
  int64_t time_ms = 0;
  double value = 0;
};
struct StringValue {
  int64_t time_ms = 0;
  std::string value;
};
/// The value of a query. Vectors and matrices are in output order: by labels, unless a sorting
/// function or topk/bottomk ordered an instant vector.
using Value = std::variant<Scalar, StringValue, Vector, Matrix>;

/// Notes of an evaluation, each once, sorted, as the HTTP API shows them:
/// "PromQL warning: ... (1:7)", "PromQL info: ... (1:1)".
struct Annotations {
  std::vector<std::string> warnings;
  std::vector<std::string> infos;
};

/// What one operator of the plan did, for `explain analyze`.
struct OperatorStats {
  std::string name;
  uint32_t depth = 0;  // in the plan tree, 0 the root
  uint64_t series = 0;
  uint64_t tiles = 0;
  uint64_t points = 0;   // valid output points
  uint64_t samples = 0;  // stored samples looked at
  uint64_t chunks = 0;
  uint64_t chunks_edge_only = 0;        // chunks of which only window edges were decoded
  std::chrono::nanoseconds elapsed{0};  // children included
};
struct Statistics {
  /// Samples that the windows and lookbacks covered, counted as Prometheus counts them (a sample
  /// in n windows counts n times; a histogram by its size).
  uint64_t total_samples = 0;
  /// Most points held at once.
  uint64_t peak_samples = 0;
  /// Per step, when asked for: time and samples.
  std::vector<std::pair<int64_t, uint64_t>> samples_per_step;
  uint64_t series = 0;        // selected
  uint64_t samples_read = 0;  // stored samples that fell under the selections, each once
  uint64_t peak_bytes = 0;
  /// Steps whose answer came from the result cache; no other number here includes them.
  uint64_t cached_steps = 0;
  std::chrono::nanoseconds parse_time{0};
  std::chrono::nanoseconds plan_time{0};
  std::chrono::nanoseconds exec_time{0};
  std::chrono::nanoseconds sort_time{0};
  std::chrono::nanoseconds total_time{0};
  std::vector<OperatorStats> operators;  // depth first
};

/// What a caller made of an answer, the text that it sends above all. The result cache keeps it
/// with the answer. Thread-safe.
class AnswerText {
 public:
  /// Returns the text, or null before Set.
  std::shared_ptr<const std::string> Get() const { return text_.load(); }
  /// Keeps `text`, which is counted as the cache's memory from the next asking on.
  void Set(std::string text) { text_.store(std::make_shared<const std::string>(std::move(text))); }

 private:
  std::atomic<std::shared_ptr<const std::string>> text_;
};

struct QueryResult {
  Value value;
  Annotations annotations;
  Statistics statistics;
  /// Set if all of this comes from the result cache, as one answer that was given before.
  std::shared_ptr<AnswerText> text;
};

/// Stops queries from another thread. Thread-safe; share it between the query and whoever may
/// stop it.
class Cancellation {
 public:
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> cancelled_{false};
};

/// What the cache of results holds and has done.
struct ResultCacheStats {
  uint64_t hits = 0;  // queries of which some steps were there
  uint64_t misses = 0;
  uint64_t evictions = 0;
  uint64_t entries = 0;
  uint64_t bytes = 0;
};

/// How an engine evaluates. The defaults are those of a Prometheus server.
struct EngineOptions {
  std::chrono::milliseconds lookback_delta{5 * 60 * 1000};
  std::chrono::milliseconds timeout{2 * 60 * 1000};  // 0: none
  /// Points and window samples that a query may hold at once.
  uint64_t max_samples = 50'000'000;
  /// Steps of a range query. 0: unbounded.
  uint64_t max_points = 11'000;
  /// Memory that one query may hold, output included. 0: unbounded.
  uint64_t memory_bytes_max = 4ull << 30;
  /// The step of a subquery that names none: the evaluation interval of the server.
  std::chrono::milliseconds default_subquery_step{60 * 1000};
  /// Keeps the metric name until the end of the query (flag promql-delayed-name-removal).
  bool delayed_name_removal = false;
  /// Lets rate and friends see start timestamps (flag use-start-timestamps).
  bool use_start_timestamps = false;
  /// Lets __type__ and __unit__ count as part of the name (flag type-and-unit-labels).
  bool type_and_unit_labels = false;

  // --- Syntax behind flags; off in a Prometheus server, on here: nothing else means these ---
  bool experimental_functions = true;
  bool experimental_durations = true;
  bool extended_range_selectors = true;
  bool binop_fill_modifiers = true;

  /// Threads for one engine, the caller's included. 1 evaluates on the calling thread only.
  /// Results never depend on it. 0: one per core.
  uint32_t threads = 0;
  /// The size of the tiles that flow between operators. Results never depend on them.
  uint32_t tile_series = 128;
  uint32_t tile_steps = 1024;

  /// Memory for answers, used again while what they looked at has not changed
  /// (see varve/stability.h). Results never depend on it. 0: nothing is kept.
  uint64_t result_cache_bytes = 0;
};

/// Overrides for one query.
struct QueryOptions {
  std::optional<std::chrono::milliseconds> lookback_delta;
  std::optional<std::chrono::milliseconds> timeout;  // 0: none; less: over as soon as parsed
  std::optional<uint64_t> max_samples;
  std::shared_ptr<const Cancellation> cancellation;  // null: cannot be cancelled
  bool per_step_stats = false;
  /// Fills Statistics::operators.
  bool analyze = false;
  /// Neither uses nor fills the result cache. Queries with `analyze` or `per_step_stats` do not
  /// either.
  bool no_cache = false;
  /// Leaves `value` empty where QueryResult::text holds something.
  bool prefer_text = false;
};

/// The steps of a range query: start, start + step, ... up to and including end.
struct QueryRange {
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  int64_t step_ms = 1;
};

/// Evaluates PromQL over snapshots. Thread-safe: any number of queries may run at once; they
/// share the engine's threads and its bounded cache of parsed queries.
class Engine {
 public:
  /// Makes an engine and its threads.
  static std::unique_ptr<Engine> Make(const EngineOptions& options);
  virtual ~Engine() = default;

  /// Evaluates `text` at one time. A string or scalar gives that; an instant vector a Vector; a
  /// range vector a Matrix of the samples as stored (or of the subquery's points).
  virtual Result<QueryResult> Instant(std::shared_ptr<const Snapshot> snapshot,
                                      std::string_view text, int64_t time_ms,
                                      const QueryOptions& options) = 0;
  /// Evaluates `text` at each step; always gives a Matrix (a scalar becomes one series without
  /// labels). Errors: kInvalidArgument also for a string or range vector, a step below 1 ms, an
  /// end before the start, more than max_points steps.
  virtual Result<QueryResult> Range(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                                    const QueryRange& range, const QueryOptions& options) = 0;

  Result<QueryResult> Instant(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                              int64_t time_ms) {
    return Instant(std::move(snapshot), text, time_ms, QueryOptions());
  }
  Result<QueryResult> Range(std::shared_ptr<const Snapshot> snapshot, std::string_view text,
                            const QueryRange& range) {
    return Range(std::move(snapshot), text, range, QueryOptions());
  }

  /// Prints the plan, one operator a line; nothing runs. A step of 0 asks at one time, the start.
  virtual Result<std::string> Explain(std::string_view text, const QueryRange& range) = 0;
  /// Prints operators of a query that ran with `analyze`, with counts and times.
  static std::string FormatAnalysis(const Statistics& statistics);

  virtual const EngineOptions& options() const = 0;
  virtual ResultCacheStats result_cache_stats() const { return {}; }
};

}  // namespace varve::query
