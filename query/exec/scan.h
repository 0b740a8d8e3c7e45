#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "query/exec/operator.h"
#include "query/exec/selector.h"
#include "query/exec/series_reader.h"
#include "varve/scan.h"

namespace varve::query {

/// Takes the rows of a scan, one at a time and in the order of the series, whatever thread they
/// were made on.
class RowFold {
 public:
  virtual ~RowFold() = default;
  virtual void Take(size_t series, const Tile& tile, uint32_t row) = 0;
};

/// Reads stored series, row by row, on all threads: the base of the operators that scan. Is used
/// like any operator (Open, Next), or by an aggregation that runs inside it (OpenToFold, Fold).
class ScanOperator : public Operator {
 public:
  /// What becomes of the labels that say what a metric is.
  enum class Names : uint8_t { kKept, kDropped, kDroppedAtEnd };
  Names names() const;

  /// Tells that no two series have equal labels once names are dropped, if they have one metric
  /// name. A scan for which that does not hold must not be folded.
  Result<bool> KeepsSeriesApart() const;
  /// Finds the series as Open does, but makes no headers: series() stays empty.
  Status OpenToFold();
  const SeriesSet& set() const { return *set_; }
  /// Reads all series and gives each row to `fold`. Errors are those of the first row that has one.
  Status Fold(RowFold& fold);

 protected:
  ScanOperator(ExecContext& context, const StepGrid& grid, Selection selection);

  /// What one thread works with.
  struct Worker {
    std::unique_ptr<SeriesReader> reader;
    SeriesColumns columns;
    std::vector<uint32_t> resets;
    std::vector<double> scratch;
    SampleCounter samples;
    uint64_t samples_read = 0;
    uint64_t chunks = 0;
    uint64_t chunks_edge_only = 0;
    // When folding: rows on their way.
    Tile tile;
    std::vector<uint32_t> notes;
  };

  /// Says that the values are no samples of the metric any more.
  virtual bool drops_names() const = 0;
  /// Fills one row from the worker's columns. Runs on any thread; sets bits of `notes`.
  virtual Status EvaluateRow(Worker& worker, Tile& tile, uint32_t row, uint32_t* notes) = 0;
  /// Says what the rows of a tile had to say; `first` is the series of row 0. One thread at a time.
  virtual void NoteRows(const Tile& tile, size_t first, const std::vector<uint32_t>& notes) = 0;

  /// Finds the series and makes their headers, if anyone wants them.
  Status Select();
  void MakeWorkers(const SeriesReader::Needs& needs);
  Status NextImpl(Tile& tile) final;

  std::string_view NameOf(size_t i) const { return set_->GetLabel(i, kMetricName); }

  const Selection selection_;
  WindowPlan plan_;
  std::unique_ptr<SeriesSet> set_;

 private:
  struct Turns;

  Status ReadRow(Worker& worker, size_t series, Tile& tile, uint32_t row, uint32_t* notes);
  Status FoldRun(Worker& worker, size_t begin, size_t end, RowFold& fold, Turns& turns);
  void CountWork();

  const SampleAccount account_;
  std::vector<Worker> workers_;
  std::vector<uint32_t> notes_;
  size_t next_ = 0;
  bool folding_ = false;
  bool worth_sharing_ = true;
};

}  // namespace varve::query
