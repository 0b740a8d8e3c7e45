#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/arena.h"
#include "query/traces/program.h"
#include "varve/span_batch.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

namespace varve::query {

class QueryContext;

/// The spans of one trace as rows, ascending by start, then span id, with their structure and the
/// values of a program's fields.
///
/// Structure: a span's parent is the span of the trace with its parent id. Roots, then spans whose
/// parent is missing ("orphans"), are numbered depth first, children in row order. Spans that are
/// reachable from neither (their parents form a circle) have no numbers, ancestors or descendants.
class TraceTable final : public Rows {
 public:
  struct Row {
    SpanId id;
    SpanId parent_id;
    int64_t start_ns = 0;
    int64_t duration_ns = 0;
    std::string_view name;
    std::string_view service;
    SpanKind kind = SpanKind::kUnspecified;
    SpanStatus status = SpanStatus::kUnset;
    std::string_view status_message;
  };
  static constexpr int32_t kNoParent = -1;  // a root
  static constexpr int32_t kOrphan = -2;

  explicit TraceTable(const Program& program) : program_(program) {}

  /// Reads the spans of trace `id` from a batch that GetTrace filled and that stays alive.
  Status FromBatch(const TraceId& id, const SpanBatch& batch, QueryContext& context);
  /// Reads a trace through a scan of the columns it needs. Precondition: the program has no fields
  /// with several values.
  Status FromScan(const TraceSnapshot& snapshot, const TraceId& id, QueryContext& context,
                  SpanScanStats* stats);

  void Get(uint32_t slot, uint32_t row, Vals* out) const override;

  const TraceId& id() const { return id_; }
  uint32_t size() const { return static_cast<uint32_t>(rows_.size()); }
  const Row& row(uint32_t i) const { return rows_[i]; }
  /// Returns the row of the parent, kNoParent or kOrphan.
  int32_t parent(uint32_t i) const { return parents_[i]; }
  /// Rows from roots down: parents before their children. Without those in circles.
  const std::vector<uint32_t>& preorder() const { return preorder_; }

  int64_t start_ns() const { return start_ns_; }
  int64_t end_ns() const { return end_ns_; }
  /// The row that the trace is named after; its size() if the trace has neither root nor orphan.
  uint32_t root() const { return root_; }
  bool root_found() const { return root_found_; }
  const Program& program() const { return program_; }

 private:
  void Clear(const TraceId& id);
  /// Sorts the rows and finds the structure. `columns[s]` holds the values of field s by unsorted
  /// row.
  void Finish();
  void FindStructure();
  void GetOwn(uint32_t slot, uint32_t row, Vals* out) const;

  const Program& program_;
  TraceId id_;
  std::vector<Row> rows_;
  /// Values of field s of unsorted row r: values_[begin_[s][r]] up to begin_[s][r + 1].
  std::vector<std::vector<uint32_t>> begin_;
  std::vector<std::vector<Val>> values_;
  std::vector<uint32_t> source_;  // row -> unsorted row
  std::vector<int32_t> parents_;
  std::vector<uint32_t> preorder_;
  std::vector<int32_t> left_, right_, set_parent_, children_;
  uint32_t root_ = 0;
  bool root_found_ = false;
  int64_t start_ns_ = 0;
  int64_t end_ns_ = 0;
  Arena bytes_{4096};
};

/// Makes the summary of a trace without its spansets.
TraceSummary Summarize(const TraceTable& table);

/// Gives the values of a field of a span in a batch: several for events and links.
void FieldValues(const SpanBatch& batch, const SpanBatch::Span& span, const traceql::Field& field,
                 Arena* bytes, Vals* out);

}  // namespace varve::query
