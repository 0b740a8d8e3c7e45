#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "varve/labels.h"
#include "varve/query.h"

namespace varve::query {

/// The times at which an operator gives values: start, start + step, ..., `count` of them.
struct StepGrid {
  int64_t start_ms = 0;
  int64_t step_ms = 1;
  uint32_t count = 1;
  int64_t At(uint32_t i) const { return start_ms + static_cast<int64_t>(i) * step_ms; }
  int64_t last() const { return At(count - 1); }
  friend bool operator==(const StepGrid&, const StepGrid&) = default;
};

/// What is known of an output series before any value is. The bytes belong to the snapshot or to
/// the query's arena and live as long as the query.
struct SeriesHeader {
  LabelsView labels;
  /// The metric name goes at the end of the query (delayed name removal).
  bool drop_name = false;
};

/// Tests and sets bits of a validity bitmap, 64 steps a word.
inline bool GetBit(const uint64_t* bits, uint32_t i) { return (bits[i >> 6] >> (i & 63)) & 1; }
inline void SetBit(uint64_t* bits, uint32_t i) { bits[i >> 6] |= uint64_t{1} << (i & 63); }
inline void ClearBit(uint64_t* bits, uint32_t i) { bits[i >> 6] &= ~(uint64_t{1} << (i & 63)); }
inline uint32_t BitWords(uint32_t steps) { return (steps + 63) / 64; }

/// A block of values: rows (series) x steps. A cell holds a float (its bit is set), a histogram
/// (its pointer is set), or nothing; never both. NaN is a value like any other.
///
/// Reused from batch to batch; Reset keeps the memory.
class Tile {
 public:
  /// Makes all cells empty. Cost: the bitmap; values stay as they are.
  void Reset(uint32_t rows, uint32_t steps) {
    rows_ = rows;
    steps_ = steps;
    words_ = BitWords(steps);
    if (values_.size() < static_cast<size_t>(rows) * steps) {
      values_.resize(static_cast<size_t>(rows) * steps);
    }
    valid_.assign(static_cast<size_t>(rows) * words_, 0);
    if (histograms_.size() < rows) histograms_.resize(rows);
    for (auto& column : histograms_) {
      if (!column.empty()) column.clear();
    }
  }
  uint32_t rows() const { return rows_; }
  uint32_t steps() const { return steps_; }
  uint32_t words() const { return words_; }

  double* values(uint32_t row) { return values_.data() + static_cast<size_t>(row) * steps_; }
  const double* values(uint32_t row) const {
    return values_.data() + static_cast<size_t>(row) * steps_;
  }
  uint64_t* valid(uint32_t row) { return valid_.data() + static_cast<size_t>(row) * words_; }
  const uint64_t* valid(uint32_t row) const {
    return valid_.data() + static_cast<size_t>(row) * words_;
  }

  /// The histogram column of a row exists only where the row has histograms.
  bool has_histograms(uint32_t row) const { return !histograms_[row].empty(); }
  HistogramPtr* histograms(uint32_t row) {
    if (histograms_[row].empty()) histograms_[row].resize(steps_);
    return histograms_[row].data();
  }
  const HistogramPtr* histograms(uint32_t row) const {
    return histograms_[row].empty() ? nullptr : histograms_[row].data();
  }
  void DropHistograms(uint32_t row) { histograms_[row].clear(); }

  void SetFloat(uint32_t row, uint32_t step, double value) {
    values(row)[step] = value;
    SetBit(valid(row), step);
  }
  bool has_float(uint32_t row, uint32_t step) const { return GetBit(valid(row), step); }
  const FloatHistogram* histogram(uint32_t row, uint32_t step) const {
    return histograms_[row].empty() ? nullptr : histograms_[row][step].get();
  }
  bool has_any(uint32_t row, uint32_t step) const {
    return has_float(row, step) || histogram(row, step) != nullptr;
  }

  /// Makes every cell of a row a float cell.
  void FillValid(uint32_t row) {
    uint64_t* bits = valid(row);
    for (uint32_t w = 0; w < words_; ++w) bits[w] = ~uint64_t{0};
    if (steps_ % 64 != 0) bits[words_ - 1] = (uint64_t{1} << (steps_ % 64)) - 1;
  }
  /// Copies a row of another tile of the same number of steps; histograms are shared.
  void CopyRow(uint32_t row, const Tile& from, uint32_t from_row) {
    std::copy_n(from.values(from_row), steps_, values(row));
    std::copy_n(from.valid(from_row), words_, valid(row));
    histograms_[row] = from.histograms_[from_row];
  }
  /// Counts the cells that hold something.
  uint64_t CountPoints(uint32_t row) const {
    uint64_t points = 0;
    for (uint32_t w = 0; w < words_; ++w) points += std::popcount(valid(row)[w]);
    for (const HistogramPtr& h : histograms_[row]) points += h != nullptr;
    return points;
  }
  bool RowEmpty(uint32_t row) const {
    for (uint32_t w = 0; w < words_; ++w) {
      if (valid(row)[w] != 0) return false;
    }
    for (const HistogramPtr& h : histograms_[row]) {
      if (h != nullptr) return false;
    }
    return true;
  }

 private:
  uint32_t rows_ = 0;
  uint32_t steps_ = 0;
  uint32_t words_ = 0;
  std::vector<double> values_;
  std::vector<uint64_t> valid_;
  std::vector<std::vector<HistogramPtr>> histograms_;
};

/// Calls `visit(step)` for every set bit, in ascending order.
template <typename Visit>
void ForEachBit(const uint64_t* bits, uint32_t words, Visit&& visit) {
  for (uint32_t w = 0; w < words; ++w) {
    for (uint64_t rest = bits[w]; rest != 0; rest &= rest - 1) {
      visit(w * 64 + static_cast<uint32_t>(std::countr_zero(rest)));
    }
  }
}

}  // namespace varve::query
