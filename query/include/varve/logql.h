#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "varve/labels.h"
#include "varve/log_scan.h"
#include "varve/query.h"
#include "varve/status.h"

namespace varve::query {

/// How the errors of this page map to Loki's HTTP API; all bodies are plain text, the message as it
/// is:
///   kInvalidArgument    400: does not parse (TextPlaceOf gives line and column), makes no sense,
///   or
///                       parameters do
///   kFailedPrecondition 400: failed while running (a pipeline error, ambiguous matching)
///   kResourceExhausted  400: over a limit (series, entries, bytes, memory)
///   kDeadlineExceeded   504
///   kCancelled          499
///   anything else       500
/// Syntax errors read `parse error at line L, col C: syntax error: ...`, others
/// `parse error : ...`.

// --- Results ---

/// Labels in which an empty value differs from an absent label; sorted by name, names unique.
using LogLabels = std::vector<std::pair<std::string, std::string>>;

struct LogEntry {
  int64_t time_ns = 0;
  std::string line;  // any bytes
};

/// Entries whose labels are equal in all three parts. The names of the parts are disjoint: what a
/// later part hides is gone from the earlier.
///
/// Loki's plain encoding folds the parts into one map (FoldedLabels); those that then are equal are
/// one stream. With `categorize-labels` the map is `stream` alone, the other two stand with each
/// entry; group by `stream`. GroupStreams does both.
struct LogStream {
  LogLabels stream;
  LogLabels metadata;  // structured metadata of the entries
  LogLabels parsed;    // by parsers, label_format and errors
  /// In the order of the query's direction.
  std::vector<LogEntry> entries;
};
using Streams = std::vector<LogStream>;

/// Merges the three parts of a stream into one sorted list.
LogLabels FoldedLabels(const LogStream& stream);
/// Prints `{a="1", b="2"}` with Go's %q escapes: Loki's form of a label set.
std::string ToString(const LogLabels& labels);

/// One stream of an answer: which entries of which LogStream it has, in output order.
struct StreamGroup {
  struct Item {
    uint32_t stream;  // index into Streams
    uint32_t entry;   // index into its entries
  };
  LogLabels labels;
  std::vector<Item> items;
};
/// Arranges streams as an encoding of Loki shows them: grouped by folded labels, or with
/// `categorize` by stream labels; groups sorted by labels, entries by time in `backward` or forward
/// order.
std::vector<StreamGroup> GroupStreams(const Streams& streams, bool categorize, bool backward);

/// The value of a query. Loki samples carry milliseconds; vectors and matrices are sorted by labels
/// unless sort, topk or bottomk ordered an instant vector.
using LogValue = std::variant<Scalar, Vector, Matrix, Streams>;

/// What one stage or operator of a query did, for `explain analyze`. Below an operator that reads
/// the store stand its scan, what each filter of that spared, and the stages of its pipeline.
struct LogStageStats {
  std::string name;
  uint32_t depth = 0;           // in the plan tree, 0 the root
  uint64_t rows_in = 0;         // entries; a scan tests them
  uint64_t rows_out = 0;        // entries, or points of an operator
  uint64_t groups_skipped = 0;  // row groups that a filter spared the scan
  uint64_t bytes_skipped = 0;   // their lines, raw
  bool counted = false;         // the rows are those of a stage or scan
  std::chrono::nanoseconds elapsed{0};
};
struct LogStatistics {
  LogScanStats scan;  // bytes and row groups read, and skipped by each kind of filter
  uint64_t streams = 0;
  uint64_t chunks = 0;
  uint64_t entries_returned = 0;  // of a log query: after pipeline and limit
  uint64_t samples = 0;           // of a metric query: after pipelines
  uint64_t peak_bytes = 0;
  std::chrono::nanoseconds parse_time{0};
  std::chrono::nanoseconds plan_time{0};
  std::chrono::nanoseconds exec_time{0};
  std::chrono::nanoseconds total_time{0};
  std::vector<LogStageStats> stages;  // with LogQueryOptions::analyze; depth first
};

struct LogQueryResult {
  LogValue value;
  std::vector<std::string> warnings;
  LogStatistics statistics;
};

// --- Queries ---

enum class LogDirection : uint8_t { kBackward, kForward };

/// The limits of an engine, with Loki's defaults; 0 is unbounded.
struct LogEngineOptions {
  std::chrono::milliseconds timeout{60 * 1000};  // query_timeout
  uint32_t max_entries_limit_per_query = 5000;
  uint32_t max_query_series = 500;
  std::chrono::nanoseconds max_query_length{std::chrono::hours(721)};
  uint64_t max_points = 11'000;            // steps of a range query
  uint64_t max_query_bytes_read = 0;       // raw bytes of lines looked at
  uint64_t max_samples = 50'000'000;       // points held at once
  uint64_t memory_bytes_max = 4ull << 30;  // of one query, output included
  /// Steps of one template execution, and bytes of one line or label that a template makes.
  uint32_t template_steps_max = 1 << 20;
  uint32_t template_bytes_max = 1 << 20;
  /// Threads for one query, the caller's included. 0: one per core. Results never depend on it.
  uint32_t threads = 0;
};

/// Overrides for one query.
struct LogQueryOptions {
  std::optional<std::chrono::milliseconds> timeout;
  std::optional<uint32_t> max_query_series;
  std::optional<uint64_t> max_query_bytes_read;
  /// Answers with the first max_query_series series and a warning instead of an error (Loki does
  /// so for Drilldown).
  bool partial_series = false;
  std::shared_ptr<const Cancellation> cancellation;  // null: cannot be cancelled
  bool analyze = false;                              // fills LogStatistics::stages
};

/// A query over a span of time. Log queries give entries in [start, end); metric queries values at
/// start, start + step, ... up to and including end, each over its window (t - range, t].
struct LogQueryRange {
  int64_t start_ns = 0;
  int64_t end_ns = 0;
  /// Of metric queries. 0: Loki's default, max(floor(seconds / 250), 1) seconds.
  int64_t step_ns = 0;
  /// Thins log queries: entries at least this far apart, over all streams. 0: all.
  int64_t interval_ns = 0;
  uint32_t limit = 100;  // entries of a log query, over all streams
  LogDirection direction = LogDirection::kBackward;
};

/// What a query is, for those who must know before they run it.
struct LogQueryInfo {
  bool is_log_query = false;  // else a metric query (or a literal)
  /// The matchers of each selector in the query; a log query has one.
  std::vector<std::vector<Matcher>> selectors;
  /// Of a log query: the line filters that come before any other stage and that a store can apply
  /// (LogScanSpec), and whether they are the whole pipeline.
  std::vector<LineFilter> line_filters;
  bool only_line_filters = false;
  bool has_pipeline = false;
  int64_t longest_range_ns = 0;  // of `[range]` plus offset
};

/// Evaluates LogQL over snapshots. Thread-safe: any number of queries may run at once; they share
/// the engine's threads and the process's bounded cache of parsed queries.
class LogEngine {
 public:
  static std::unique_ptr<LogEngine> Make(const LogEngineOptions& options);
  virtual ~LogEngine() = default;

  /// Evaluates a metric query at one time; gives a Vector or Scalar. Errors: kInvalidArgument also
  /// for a log query, as Loki has it.
  virtual Result<LogQueryResult> Instant(std::shared_ptr<const LogSnapshot> snapshot,
                                         std::string_view text, int64_t time_ns,
                                         const LogQueryOptions& options) = 0;
  /// Evaluates a log query (gives Streams) or a metric query (gives a Matrix). Errors:
  /// kInvalidArgument also for a bad range or limit, in Loki's words.
  virtual Result<LogQueryResult> Range(std::shared_ptr<const LogSnapshot> snapshot,
                                       std::string_view text, const LogQueryRange& range,
                                       const LogQueryOptions& options) = 0;

  Result<LogQueryResult> Instant(std::shared_ptr<const LogSnapshot> snapshot, std::string_view text,
                                 int64_t time_ns) {
    return Instant(std::move(snapshot), text, time_ns, LogQueryOptions());
  }
  Result<LogQueryResult> Range(std::shared_ptr<const LogSnapshot> snapshot, std::string_view text,
                               const LogQueryRange& range) {
    return Range(std::move(snapshot), text, range, LogQueryOptions());
  }

  /// Prints the plan, one operator or stage a line, children indented; nothing runs.
  virtual Result<std::string> Explain(std::string_view text) = 0;
  /// Prints what a query that ran with `analyze` did, with rows, bytes read and skipped, times.
  static std::string FormatAnalysis(const LogStatistics& statistics);

  virtual const LogEngineOptions& options() const = 0;
};

// --- Texts ---

/// Parses a query and says what it is. Errors: kInvalidArgument.
Result<LogQueryInfo> InspectLogQuery(std::string_view text);
/// Prints a query in canonical form over several lines (/loki/api/v1/format_query).
Result<std::string> FormatLogQuery(std::string_view text);
/// Shows the line of a query that `status` speaks of, with a caret under the place.
std::string RenderLogError(std::string_view text, const Status& status);
/// Parses a selector such as `{app="x"}`. Errors: kInvalidArgument; unless `allow_empty`, at least
/// one matcher must not match the empty string.
Result<std::vector<Matcher>> ParseLogSelector(std::string_view text, bool allow_empty = false);
/// Parses a label set as the protobuf push body has it: `{app="x", env="y"}`, equalities only; an
/// empty value drops the label. Errors: kInvalidArgument, also for a repeated name.
Result<Labels> ParseStreamLabels(std::string_view text);

// --- One entry at a time ---

/// Applies the pipeline of a log query to single entries, for tails. Thread-compatible: it keeps
/// scratch memory.
class LogPipeline {
 public:
  /// Errors: kInvalidArgument, also for a metric query.
  static Result<std::unique_ptr<LogPipeline>> Make(std::string_view text,
                                                   const LogEngineOptions& options = {});
  virtual ~LogPipeline() = default;
  virtual const std::vector<Matcher>& matchers() const = 0;
  /// Tests the stream's labels against the selector.
  virtual bool SelectsStream(LabelsView stream) const = 0;
  /// Runs the stages. Returns false if they drop the entry; else replaces `out`, with one entry.
  virtual bool Process(LabelsView stream, int64_t time_ns, std::string_view line,
                       LabelsView metadata, LogStream* out) = 0;
};

enum class LogFieldParser : uint8_t { kNone, kJson, kLogfmt };

/// A field found in a line, named as the `json` or `logfmt` stage would name it.
struct LogField {
  std::string name;
  std::string value;
  std::vector<std::string> json_path;  // with kJson
};

/// Finds the fields of lines as detected_fields shows them: JSON objects first, then logfmt lines
/// of which at least one pair parses. Thread-compatible: it keeps scratch memory.
class LogFieldDetector {
 public:
  LogFieldDetector();
  ~LogFieldDetector();
  /// Replaces `fields` and returns which parser fits. Names that collide with `stream` or
  /// `metadata` get `_extracted`, as in queries. At most 1,000 fields a line.
  LogFieldParser Detect(std::string_view line, LabelsView stream, LabelsView metadata,
                        std::vector<LogField>* fields);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Names the type of a value as detected_fields does: int, float, boolean, duration, bytes or
/// string.
std::string_view LogFieldType(std::string_view value);

/// Gives the name under which a parser stage would set `key`: trimmed, a leading digit gains `_`,
/// every other character that a label name cannot have becomes `_`.
std::string SanitizeLogLabel(std::string_view key);

}  // namespace varve::query
