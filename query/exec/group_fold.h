#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "query/exec/aggregate.h"
#include "query/exec/operator.h"
#include "query/functions/float_histogram.h"

namespace varve::query {

/// The running state of an aggregation: one cell a group and step, charged to the query's budget.
/// Each cell takes its members in the order in which they are added, so results only depend on that
/// order. For every aggregation but kQuantile, which needs all members at once.
class GroupFold {
 public:
  /// `place` is that of the argument, for notes.
  GroupFold(ExecContext& context, Aggregation aggregation, uint32_t steps, std::string place);
  ~GroupFold();
  GroupFold(const GroupFold&) = delete;
  GroupFold& operator=(const GroupFold&) = delete;

  /// Makes the cells, all empty. Errors: kResourceExhausted. Once.
  Status Start(size_t groups);

  /// Takes a row of a tile into a group. One thread at a time.
  void Add(size_t group, const Tile& tile, uint32_t row) { Add(group, tile, row, 0, words_); }
  /// Takes words [word_begin, word_end) of the row's steps, 64 a word. Threads may do so at one
  /// time with words of their own, if no row of theirs NeedsOneThread.
  void Add(size_t group, const Tile& tile, uint32_t row, uint32_t word_begin, uint32_t word_end);
  /// A group changes its layout when it meets a histogram, or an average that overflows.
  bool NeedsOneThread(const Tile& tile, uint32_t row) const {
    return aggregation_ == Aggregation::kAvg || tile.has_histograms(row);
  }

  /// Gives the values of a group and the notes about them. `first_name` gives the metric name of
  /// its first member.
  void Finish(size_t group, absl::FunctionRef<std::string_view()> first_name, Tile& tile,
              uint32_t row);

 private:
  /// What only cells need that met histograms or an overflowing average.
  struct Rare {
    std::unique_ptr<HistogramSum> histogram;
    bool has_float = false;
    bool has_histogram = false;
    bool incompatible = false;
    bool incremental_histogram = false;
    bool incremental = false;  // carries the mean of floats in `mean`
    double mean = 0;
    bool reset_seen = false;
    bool not_reset_seen = false;
  };
  /// The columns of one group. Null where the aggregation has no use for them.
  struct Cells {
    uint64_t* seen;  // a value has been taken; the other columns mean nothing before
    double* value;   // sum, extreme, or sum of squares
    double* c;       // compensation, or mean
    double* count;
    std::vector<Rare>* rare;  // empty, or one a step
  };
  Cells At(size_t group);

  void AddWord(const double* values, uint64_t bits, const Cells& g, uint32_t word);
  void AddFloat(const Cells& g, uint32_t step, double f);
  void AddToMean(const Cells& g, uint32_t step, double f, bool first);
  void AddHistogram(const Cells& g, uint32_t step, const FloatHistogram& h);
  static CombineNotes AddToAverage(Rare& rare, const FloatHistogram& h, double count);
  void MakeRare(const Cells& g) const;
  void FinishRare(const Cells& g, absl::FunctionRef<std::string_view()> first_name, Tile& tile,
                  uint32_t row);
  void Note(AnnotationSink::Kind kind, std::string_view text) {
    context_.annotations.Add(kind, text, place_);
  }

  ExecContext& context_;
  const Aggregation aggregation_;
  const uint32_t steps_;
  const uint32_t words_;
  const std::string place_;
  // Columns of all groups, one after the other. Values are not touched before they are set.
  std::vector<uint64_t> seen_;
  std::unique_ptr<double[]> value_;
  std::unique_ptr<double[]> c_;
  std::unique_ptr<double[]> count_;
  std::vector<std::vector<Rare>> rare_;  // a group
  uint64_t charged_cells_ = 0;
  uint64_t charged_bytes_ = 0;
};

}  // namespace varve::query
