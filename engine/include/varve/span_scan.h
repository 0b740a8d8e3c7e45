#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "varve/log_scan.h"
#include "varve/span.h"
#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve {

/// Where an attribute stands. kAny looks at the span first, then the resource, then scope, events
/// and links.
enum class AttributeScope : uint8_t {
  kAny = 0,
  kSpan = 1,
  kResource = 2,
  kInstrumentation = 3,
  kEvent = 4,
  kLink = 5,
};

/// Facts of a span that are no attributes.
enum class Intrinsic : uint8_t {
  kNone = 0,
  kTraceId,        // bytes
  kSpanId,         // bytes
  kParentId,       // bytes, empty for a root
  kName,           // string
  kServiceName,    // string: resource attribute service.name, "" if absent
  kKind,           // int: SpanKind
  kStatus,         // int: SpanStatus
  kStatusMessage,  // string
  kStart,          // int: ns
  kDuration,       // int: ns
  kScopeName,      // string
  kScopeVersion,   // string
  kEventName,      // string, several
  kEventTime,      // int: ns after the span's start, several
  kLinkTraceId,    // bytes, several
  kLinkSpanId,     // bytes, several
};

/// Names a column of spans: an intrinsic, or an attribute when that is kNone.
struct SpanField {
  Intrinsic intrinsic = Intrinsic::kNone;
  AttributeScope scope = AttributeScope::kAny;
  std::string key;
  friend bool operator==(const SpanField&, const SpanField&) = default;
};

/// Tests one field of a span. Numbers compare across int and double; other types never equal one
/// another. A field that is absent satisfies kNotExists alone. A field with several values
/// (events, links, arrays) holds if one value does.
struct SpanPredicate {
  enum class Op : uint8_t {
    kExists,
    kNotExists,
    kEqual,
    kNotEqual,  // exists and differs
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kRegex,      // RE2, anchored at both ends, strings only
    kNotRegex,   // exists, is a string, does not match
    kTextEqual,  // Jaeger's tags: the value printed (ToString) equals the text
  };
  SpanField field;
  Op op = Op::kExists;
  using Value = std::variant<std::monostate, bool, int64_t, double, std::string>;
  Value value;
};

/// Threads that a reader lends to its scans.
class ScanThreads {
 public:
  virtual ~ScanThreads() = default;
  virtual uint32_t count() const = 0;
  /// Calls body(i) for each i in [0, tasks), several at a time, and returns when all are done.
  virtual void Run(uint32_t tasks, const std::function<void(uint32_t)>& body) = 0;
};

/// Says which spans a reader wants and what of them.
struct SpanScanSpec {
  NsRange range;  // of start times
  /// All must hold on one span. The store uses them to skip blocks and rows, and applies them
  /// exactly.
  std::vector<SpanPredicate> predicates;
  std::vector<SpanField> columns;
  /// Order of batches: newest first or oldest first, by start time of the block's rows; rows within
  /// a batch are in no order.
  bool newest_first = true;
  /// Null: the caller's thread alone reads. Else runs of rows are read ahead of Next: one at first,
  /// so that a search which stops early reads little too much, then more and more at a time. What
  /// Next returns never depends on it. Outlives the cursor.
  ScanThreads* threads = nullptr;
};

/// Spans as columns, a batch of them. Views live until the next call on the cursor.
struct SpanColumns {
  std::vector<TraceId> trace_ids;
  std::vector<SpanId> span_ids;
  std::vector<int64_t> starts_ns;
  std::vector<int64_t> durations_ns;
  /// One per spec.columns, each with a value per row (kEmpty where absent; the first value of a
  /// field with several).
  std::vector<std::vector<ValueView>> columns;
  /// No span of a later batch starts after (before, if oldest first) this time: what a top-N search
  /// needs to stop early.
  int64_t bound_ns = kMaxTime;
  size_t size() const { return span_ids.size(); }
};

struct SpanScanStats {
  uint64_t blocks = 0;
  uint64_t blocks_skipped = 0;  // by time, filters, postings, dictionaries
  uint64_t spans = 0;           // tested
  uint64_t spans_matched = 0;
  uint64_t bytes_decompressed = 0;
  void Add(const SpanScanStats& other);
};

class SpanCursor {
 public:
  virtual ~SpanCursor() = default;
  /// Replaces `out` by the next batch of at most a few thousand matching spans; false at the end.
  /// Repeats of (trace, span) are collapsed. Errors: kDataLoss, kUnavailable.
  virtual Result<bool> Next(SpanColumns* out) = 0;
  virtual const SpanScanStats& stats() const = 0;
};

/// An operation of a service, as Jaeger lists them.
struct Operation {
  std::string name;
  SpanKind kind = SpanKind::kUnspecified;
  friend auto operator<=>(const Operation&, const Operation&) = default;
};

/// A key of attributes that occur, with the types of its values.
struct TagName {
  AttributeScope scope = AttributeScope::kSpan;
  std::string key;
  uint32_t types = 0;  // bit (1 << ValueType)
};

/// A view of the traces of a database that later appends, deletions and compactions cannot alter.
/// Thread-safe. Destroy it, and everything that came from it, before the database.
class TraceSnapshot {
 public:
  virtual ~TraceSnapshot() = default;

  /// Adds all spans of a trace to `out`, by start time, then span id; adds nothing if there is no
  /// such trace. A trace is complete wherever its spans lie. Cost: one filter probe a block and one
  /// lookup in those that have it.
  virtual Status GetTrace(const TraceId& id, SpanBatch* out) const = 0;
  /// Adds the spans of several traces; cheaper than one at a time. At most `spans_max` spans of
  /// each trace (0: all).
  virtual Status GetTraces(std::span<const TraceId> ids, size_t spans_max,
                           SpanBatch* out) const = 0;

  /// Finds spans. Errors: kInvalidArgument (bad regular expression), kDataLoss, kUnavailable.
  virtual Result<std::unique_ptr<SpanCursor>> Scan(const SpanScanSpec& spec) const = 0;

  /// List what occurs in `range` (whole blocks decide), sorted.
  virtual Result<LookupResult> Services(NsRange range) const = 0;
  /// Of one service, or of all if `service` is empty.
  virtual Result<std::vector<Operation>> Operations(std::string_view service,
                                                    NsRange range) const = 0;
  virtual Result<std::vector<TagName>> TagNames(AttributeScope scope, NsRange range) const = 0;
  /// The values of a field, printed, with their type; at most `limit` (0: a store's own bound).
  struct TagValue {
    ValueType type = ValueType::kString;
    std::string text;
    friend auto operator<=>(const TagValue&, const TagValue&) = default;
  };
  virtual Result<std::vector<TagValue>> TagValues(const SpanField& field, NsRange range,
                                                  size_t limit) const = 0;

  /// The start times of the oldest and the newest span; empty when there are none.
  virtual NsRange time_range() const = 0;
};

}  // namespace varve
