#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/traces/scan.h"
#include "engine/traces/survey.h"
#include "varve/span_batch.h"
#include "varve/span_scan.h"

namespace varve::traces {

/// A resource, and an instrumentation scope, of a source. Views live as long as the source.
struct ResourceView {
  AttributesView attributes;
  std::string_view schema_url;
  uint32_t dropped_attributes = 0;
};
struct ScopeView {
  uint32_t resource = 0;
  std::string_view name;
  std::string_view version;
  AttributesView attributes;
  std::string_view schema_url;
  uint32_t dropped_attributes = 0;
};

/// A run of rows that a scan reads at once, by the starts of its spans.
struct Unit {
  int64_t min_start_ns = 0;
  int64_t max_start_ns = 0;
  uint32_t rows = 0;
};

/// A trace, or one piece of it, as sources list them for merging.
struct TracePiece {
  TraceId id;
  int64_t start_ns = 0;  // of its first span
  uint64_t token = 0;    // the source's name for it
};

/// Rows that a scan found, with what collapsing repeats needs beside the public columns.
struct FoundRows {
  SpanColumns columns;
  std::vector<SpanKind> kinds;  // may be empty without `with_kinds`
  bool with_kinds = true;
  /// Keeps what the columns' views point to.
  std::vector<std::shared_ptr<const void>> owners;
  void Clear();
};

/// Names of attributes with the types of their values, by scope; kAny never occurs.
using TagNameMap = std::map<std::pair<AttributeScope, std::string>, uint32_t>;

/// Reads the matching rows of one source, unit by unit. Immutable and thread-safe.
class SourceScan {
 public:
  virtual ~SourceScan() = default;
  /// Returns the units that may hold matches, in the source's own order.
  virtual const std::vector<Unit>& units() const = 0;
  /// Appends the matches of units()[i] to `out`. Views live until `out` is cleared.
  virtual Status Read(size_t i, FoundRows* out, SpanScanStats* stats) const = 0;
};

class Block;

/// One place that spans live in, frozen for its reader: a head up to a row, or a block. Resources
/// and scopes are named by ordinals of the source. Immutable and thread-safe.
///
/// Spans that a source hands out come in SpanBatches in which `scope` is the source's ordinal and
/// which have no resources and scopes of their own; SpanGatherer makes whole batches of them.
class Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t spans() const = 0;
  /// The starts of all spans; empty if there are none.
  virtual NsRange range() const = 0;
  virtual ScopeView GetScope(uint32_t scope) const = 0;
  virtual ResourceView GetResource(uint32_t resource) const = 0;
  virtual uint32_t scope_count() const = 0;

  /// Tells whether the trace may be here: false is certain.
  virtual bool MayHaveTrace(const TraceId& id) const = 0;
  /// Appends the spans of a trace, in no order.
  virtual Status ReadTrace(const TraceId& id, SpanBatch* out) const = 0;
  /// Appends (span id, kind) of the trace's spans.
  virtual Status ReadSpanKeys(const TraceId& id,
                              std::vector<std::pair<SpanId, SpanKind>>* out) const = 0;

  virtual Result<std::unique_ptr<SourceScan>> StartScan(std::shared_ptr<const CompiledScan> scan,
                                                        SpanScanStats* stats) const = 0;

  /// Add what occurs here.
  virtual Status AddServices(std::set<std::string>* out) const = 0;
  virtual Status AddOperations(std::string_view service, std::set<Operation>* out) const = 0;
  virtual Status AddTagNames(AttributeScope scope, TagNameMap* out) const = 0;
  /// Adds values of a field until `out` has `limit`. Returns false if only a scan can tell.
  virtual Result<bool> AddTagValues(const SpanField& field, size_t limit,
                                    std::set<TraceSnapshot::TagValue>* out) const = 0;

  /// Tells whether a span may be here twice: false is certain.
  virtual bool MayRepeatSpans() const { return false; }
  /// The block that this is, whole and nothing but: merging may take its groups as they are.
  virtual const Block* AsBlock() const { return nullptr; }
  /// Adds what is known of the values of columns, of spans that start in `range` or of more.
  virtual Status AddSurvey(NsRange range, Survey* out) const = 0;
  /// Lists the traces with spans that start in `range`, ordered by start, then id.
  virtual Result<std::vector<TracePiece>> ListTraces(NsRange range) const = 0;
  /// Appends the spans of a piece that start in `range`. Neighbours are cheap to read in order.
  virtual Status ReadPiece(uint64_t token, NsRange range, SpanBatch* out) const = 0;
};
using SourcePtr = std::shared_ptr<const Source>;

/// Adds a span of one batch, with attributes, events and links, to another; `scope` replaces its
/// scope. Texts are not copied.
void CopySpan(const SpanBatch& from, const SpanBatch::Span& span, uint32_t scope, SpanBatch* to);

/// Gives access to a span of a batch whose scopes are a source's, for AnyValue.
class BatchRow {
 public:
  BatchRow(const Source& source, const SpanBatch& batch, const SpanBatch::Span& span)
      : source_(source), batch_(batch), span_(span) {}

  bool SpanAttribute(std::string_view key, ValueView* value) const {
    return Find(batch_.attributes(span_.attributes), key, value);
  }
  bool ResourceAttribute(std::string_view key, ValueView* value) const {
    return Find(resource().attributes, key, value);
  }
  bool ScopeAttribute(std::string_view key, ValueView* value) const {
    return Find(source_.GetScope(span_.scope).attributes, key, value);
  }
  size_t events() const { return span_.events.count; }
  size_t links() const { return span_.links.count; }
  bool EventAttribute(size_t i, std::string_view key, ValueView* value) const {
    return Find(batch_.attributes(batch_.events(span_)[i].attributes), key, value);
  }
  bool LinkAttribute(size_t i, std::string_view key, ValueView* value) const {
    return Find(batch_.attributes(batch_.links(span_)[i].attributes), key, value);
  }
  ValueView Fact(Intrinsic intrinsic) const;
  ValueView EventFact(size_t i, Intrinsic intrinsic) const;
  ValueView LinkFact(size_t i, Intrinsic intrinsic) const;

 private:
  static bool Find(AttributesView attributes, std::string_view key, ValueView* value);
  ResourceView resource() const {
    return source_.GetResource(source_.GetScope(span_.scope).resource);
  }

  const Source& source_;
  const SpanBatch& batch_;
  const SpanBatch::Span& span_;
};

/// Tests all predicates on a span.
bool MatchesAll(const CompiledScan& scan, const BatchRow& row);
/// Appends a span to `out` with the columns that `scan` asks for.
void AppendFound(const CompiledScan& scan, const SpanBatch::Span& span, const BatchRow& row,
                 FoundRows* out);

}  // namespace varve::traces
