#pragma once

#include <functional>
#include <string>
#include <vector>

#include "query/lang/traceql/ast.h"
#include "query/traces/context.h"
#include "query/traces/program.h"
#include "query/traces/pushdown.h"
#include "query/traces/trace_table.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

namespace varve::query {

/// Runs a spanset query.
Result<SearchResult> RunSearch(const TraceSnapshot& snapshot, const traceql::Expr& expr,
                               const TraceSearch& search, QueryContext& context);
/// Describes how RunSearch would.
std::string ExplainSearch(const traceql::Expr& expr);

/// Loads traces one after the other for a program, by the cheaper way. Several loaders of one query
/// may Read at a time.
class TraceLoader {
 public:
  TraceLoader(const TraceSnapshot& snapshot, const Program& program, QueryContext& context)
      : snapshot_(snapshot), context_(context), table_(program) {}
  /// Replaces table() by a trace. Errors: kResourceExhausted if it does not fit the budget.
  Status Read(const TraceId& id);
  /// Counts what Read read for the query. Not thread-safe.
  void Count();
  Status Load(const TraceId& id) {
    const Status status = Read(id);
    if (status.ok()) Count();
    return status;
  }
  const TraceTable& table() const { return table_; }

 private:
  const TraceSnapshot& snapshot_;
  QueryContext& context_;
  SpanBatch batch_;
  SpanScanStats scan_;
  TraceTable table_;
};

/// Runs the scans of a drive and hands out rows that pass predicates and residual.
class DriveReader {
 public:
  /// `residuals` holds the residual expressions of the drive.
  DriveReader(const Drive& drive, const Program& residuals, QueryContext& context);
  ~DriveReader();

  /// Opens the scans over `range`. `extra` predicates apply to all of them.
  Status Open(const TraceSnapshot& snapshot, NsRange range,
              const std::vector<SpanPredicate>& extra = {});
  /// Reads a batch of the scan that is newest and calls `row` for each span; false when all scans
  /// are at their end.
  Result<bool> Next(
      const std::function<void(const TraceId& id, const SpanId& span, int64_t start_ns)>& row);
  /// No span that is still to come starts after this.
  int64_t bound_ns() const;

 private:
  struct Scan;
  const Drive& drive_;
  const Program& residuals_;
  QueryContext& context_;
  std::vector<std::unique_ptr<Scan>> scans_;
};

/// Collects the residual expressions of a drive.
Status AddResiduals(const Drive& drive, Program* program);

/// The columns of a scan as values of a program's fields.
class ColumnRows final : public Rows {
 public:
  ColumnRows(const Program& program, size_t first_column)
      : program_(program), first_column_(first_column) {}
  void Bind(const SpanColumns* columns) {
    columns_ = columns;
    bytes_.Clear();
  }
  void Get(uint32_t slot, uint32_t row, Vals* out) const override;

 private:
  const Program& program_;
  size_t first_column_;
  const SpanColumns* columns_ = nullptr;
  mutable Arena bytes_{1024};
};

}  // namespace varve::query
