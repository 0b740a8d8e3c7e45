#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/macros.h"
#include "query/exec/context.h"
#include "query/exec/tile.h"

/// The operator interface and what every operator is made of. Nothing here knows a query language
/// or where samples come from: PromQL plans are built from these operators, and so can plans of any
/// other language whose results are series over steps.
namespace varve::query {

/// Produces series over a fixed grid of steps, a tile of rows at a time. Owned by one plan, used by
/// one thread at a time; an operator may use the pool inside Next.
///
/// Protocol: Open once, then Next until it gives a tile without rows or an error.
class Operator {
 public:
  Operator(ExecContext& context, const StepGrid& grid) : context_(context), grid_(grid) {}
  virtual ~Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  /// Finds the output series. May read its inputs to the end, where these depend on values.
  Status Open();
  /// Fills `tile` with the next rows: rows i..j of series(), consecutive from call to call, all
  /// steps of the grid. A row may be empty. Errors: kCancelled, kDeadlineExceeded,
  /// kResourceExhausted, storage errors, and execution errors.
  Status Next(Tile& tile);

  /// The output series, in output order. Valid after Open.
  const std::vector<SeriesHeader>& series() const { return series_; }
  const StepGrid& grid() const { return grid_; }
  /// Says that the order of the rows is part of the answer (instant queries only).
  virtual bool ordered() const { return false; }

  /// Names the operator and its parameters on one line, for explain.
  virtual std::string Describe() const = 0;
  virtual std::vector<Operator*> children() const { return {}; }
  OperatorStats& stats() { return stats_; }

  /// How many rows fit a tile of the budgeted size.
  uint32_t TileRows() const;

 protected:
  virtual Status OpenImpl() = 0;
  virtual Status NextImpl(Tile& tile) = 0;

  ExecContext& context_;
  StepGrid grid_;
  std::vector<SeriesHeader> series_;

 private:
  OperatorStats stats_;
};
using OperatorPtr = std::unique_ptr<Operator>;

/// Keeps whole rows in memory, charged to the query's budget; empty rows cost nothing.
class RowStore {
 public:
  RowStore(ExecContext& context, uint32_t steps) : context_(context), steps_(steps) {}
  ~RowStore();
  RowStore(const RowStore&) = delete;
  RowStore& operator=(const RowStore&) = delete;

  /// One row; null columns mean an empty row.
  struct Row {
    std::vector<double> values;
    std::vector<uint64_t> valid;
    std::vector<HistogramPtr> histograms;  // empty if there are none
    bool has_float(uint32_t step) const { return !valid.empty() && GetBit(valid.data(), step); }
    const FloatHistogram* histogram(uint32_t step) const {
      return histograms.empty() ? nullptr : histograms[step].get();
    }
    bool has_any(uint32_t step) const { return has_float(step) || histogram(step) != nullptr; }
    bool empty() const { return valid.empty() && histograms.empty(); }
  };
  /// Appends copies of all rows of a tile.
  Status Append(const Tile& tile);
  /// Appends `count` rows of empty cells, to be filled by the caller.
  Status AppendBlank(size_t count);
  /// Reads an opened operator to its end.
  Status AppendAll(Operator& input);

  size_t size() const { return rows_.size(); }
  Row& operator[](size_t i) { return rows_[i]; }
  const Row& operator[](size_t i) const { return rows_[i]; }
  void CopyTo(size_t i, Tile& tile, uint32_t row) const;

 private:
  ExecContext& context_;
  uint32_t steps_;
  std::vector<Row> rows_;
  uint64_t samples_ = 0;
  uint64_t bytes_ = 0;
};

/// Gives out rows that were made in Open.
class StoredOperator : public Operator {
 public:
  StoredOperator(ExecContext& context, const StepGrid& grid)
      : Operator(context, grid), rows_(context, grid.count) {}

 protected:
  /// Subclasses fill series_ and rows_ (equally long) in OpenImpl.
  Status NextImpl(Tile& tile) override;
  RowStore rows_;
  /// If not empty, the order in which rows are given out: indexes into rows_; series_ is in that
  /// order already.
  std::vector<uint32_t> order_;

 private:
  size_t next_ = 0;
};

/// Reads an opened operator to its end and forgets what it gives: for its errors and notes.
Status Drain(Operator& input);

/// Reads a scalar operand: one value a step. Open must have been called on `input`.
Status ReadScalar(Operator& input, std::vector<double>* values);

// --- Labels ---

/// Labels that say what a metric is rather than what it measures: they go when a value stops being
/// a sample of that metric.
bool IsMetadataLabel(std::string_view name);
/// Gives the labels without those, kept by the context. No copy if there are none.
LabelsView DropMetadata(ExecContext& context, LabelsView labels);

/// Joins rows whose labels have become the same. With `strict`, two such rows that both hold
/// something are an error; otherwise only two values at one step are. Passes tiles through at no
/// cost when all labels differ.
OperatorPtr MergeDuplicates(ExecContext& context, OperatorPtr input, bool strict);

/// Drops the names that were to be dropped at the end, and joins rows (delayed name removal).
OperatorPtr CleanNames(ExecContext& context, OperatorPtr input);

/// Repeats the single step of `input` over `grid`.
OperatorPtr Broadcast(ExecContext& context, const StepGrid& grid, OperatorPtr input);

}  // namespace varve::query
