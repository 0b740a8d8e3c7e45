#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"
#include "query/exec/aggregate.h"
#include "query/functions/go_format.h"

/// topk, bottomk, limitk and limit_ratio.
namespace varve::query {
namespace {

using Kind = AnnotationSink::Kind;

/// One chosen value of a group at a step.
struct Choice {
  double value;
  uint32_t row;
};

/// A binary heap whose shape depends on insertions only as Go's container/heap would have it: that
/// decides which of equal values goes.
class ChoiceHeap {
 public:
  std::vector<Choice> items;
  template <typename Less>
  void Push(Choice choice, Less less) {
    items.push_back(choice);
    size_t j = items.size() - 1;
    while (j > 0) {
      const size_t i = (j - 1) / 2;
      if (!less(items[j], items[i])) break;
      std::swap(items[i], items[j]);
      j = i;
    }
  }
  template <typename Less>
  void ReplaceTop(Choice choice, Less less) {
    items[0] = choice;
    size_t i = 0;
    for (;;) {
      size_t j = 2 * i + 1;
      if (j >= items.size()) return;
      if (j + 1 < items.size() && less(items[j + 1], items[j])) ++j;
      if (!less(items[j], items[i])) return;
      std::swap(items[i], items[j]);
      i = j;
    }
  }
};

bool LessValue(const Choice& a, const Choice& b) {
  return std::isnan(a.value) || a.value < b.value;
}
bool MoreValue(const Choice& a, const Choice& b) {
  return std::isnan(a.value) || a.value > b.value;
}

class SelectSeriesOperator final : public StoredOperator {
 public:
  SelectSeriesOperator(ExecContext& context, Selecting selecting, Grouping grouping,
                       OperatorPtr input, OperatorPtr parameter, std::string place,
                       std::string parameter_place)
      : StoredOperator(context, input->grid()),
        selecting_(selecting),
        grouping_(std::move(grouping)),
        input_(std::move(input)),
        parameter_(std::move(parameter)),
        place_(std::move(place)),
        parameter_place_(std::move(parameter_place)) {}
  std::string Describe() const override {
    static constexpr std::string_view kNames[] = {"topk", "bottomk", "limitk", "limit_ratio"};
    return std::string(kNames[static_cast<size_t>(selecting_)]);
  }
  std::vector<Operator*> children() const override { return {parameter_.get(), input_.get()}; }
  bool ordered() const override { return by_value() && context_.query_grid.count == 1; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(parameter_->Open());
    VARVE_RETURN_IF_ERROR(ReadScalar(*parameter_, &parameters_));
    bool none = false;
    VARVE_RETURN_IF_ERROR(CheckParameters(&none));
    VARVE_RETURN_IF_ERROR(input_->Open());
    done_ = none || input_->series().empty();
    if (done_) return Drain(*input_);  // for its errors and notes
    groups_ = MakeGroups(context_, input_->series(), grouping_);
    if (!by_value()) {
      series_ = input_->series();  // tiles pass through
      return absl::OkStatus();
    }
    return Choose();
  }

  Status NextImpl(Tile& tile) override {
    if (done_) {
      tile.Reset(0, grid_.count);
      return absl::OkStatus();
    }
    if (by_value()) return StoredOperator::NextImpl(tile);
    return PassThrough(tile);
  }

 private:
  bool by_value() const {
    return selecting_ == Selecting::kTopk || selecting_ == Selecting::kBottomk;
  }
  bool top() const { return selecting_ == Selecting::kTopk; }

  Status CheckParameters(bool* none) {
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    bool any_nan = false;
    for (const double v : parameters_) {
      any_nan |= std::isnan(v);
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    if (selecting_ == Selecting::kLimitRatio) {
      if (!any_nan && high == 0 && low == 0) {
        *none = true;
        return absl::OkStatus();
      }
      if (any_nan) return ExecutionError("Ratio value is NaN");
      const auto warn = [&](double got, double to) {
        context_.annotations.Add(Kind::kWarning,
                                 Concat("ratio value should be between -1 and 1, got ",
                                        GoFormatG(got), ", capping to ", GoFormatG(to)),
                                 parameter_place_);
      };
      if (high > 1) warn(high, 1);
      if (low < -1) warn(low, -1);
      return absl::OkStatus();
    }
    if (!any_nan && high < 1) {
      *none = true;
      return absl::OkStatus();
    }
    if (any_nan) return ExecutionError("Parameter value is NaN");
    if (low <= -9223372036854775808.0) {
      return ExecutionError(Concat("Scalar value ", GoFormatG(low), " underflows int64"));
    }
    if (high >= 9223372036854774784.0) {
      return ExecutionError(Concat("Scalar value ", GoFormatG(high), " overflows int64"));
    }
    return absl::OkStatus();
  }

  uint64_t LimitAt(uint32_t step) const {
    const double k = parameters_[step];
    return k < 1 ? 0 : static_cast<uint64_t>(std::min(k, 1e9));
  }

  /// Finds the k best of each group and step, then makes rows of them.
  Status Choose() {
    std::vector<ChoiceHeap> heaps(groups_.headers.size() * grid_.count);
    const uint64_t heap_bytes = heaps.size() * sizeof(ChoiceHeap);
    VARVE_RETURN_IF_ERROR(context_.budget.Take(0, heap_bytes));
    VARVE_RETURN_IF_ERROR(FillHeaps(heaps));
    uint64_t kept = 0;
    for (const ChoiceHeap& heap : heaps) kept += heap.items.size();
    VARVE_RETURN_IF_ERROR(MakeRows(heaps, grid_.count == 1 ? ByValue(heaps) : ByInput(heaps)));
    context_.budget.Give(kept, heap_bytes + kept * sizeof(Choice));
    return absl::OkStatus();
  }

  /// Offers every float of the input to the heap of its group and step; what is kept is charged.
  Status FillHeaps(std::vector<ChoiceHeap>& heaps) {
    Tile tile;
    uint32_t at = 0;
    bool ignored = false;
    const uint64_t series = input_->series().size();
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) break;
      uint64_t more = 0;
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
        ChoiceHeap* heap = heaps.data() + size_t{groups_.of_series[at]} * grid_.count;
        ForEachBit(tile.valid(r), tile.words(), [&](uint32_t s) {
          more += Offer({tile.values(r)[s], at}, std::min(LimitAt(s), series), heap[s]);
        });
        if (tile.has_histograms(r)) {
          for (uint32_t s = 0; s < grid_.count; ++s) {
            ignored |= tile.histogram(r, s) != nullptr && LimitAt(s) > 0;
          }
        }
      }
      VARVE_RETURN_IF_ERROR(context_.budget.Take(more, more * sizeof(Choice)));
    }
    if (ignored) {
      context_.annotations.Add(
          Kind::kInfo, Concat("ignored histogram in ", top() ? "topk" : "bottomk", " aggregation"),
          place_);
    }
    return absl::OkStatus();
  }

  /// Keeps a choice if there is room for it among k, or if it is better than the worst one. Says
  /// whether the heap has grown.
  bool Offer(const Choice& choice, uint64_t k, ChoiceHeap& heap) const {
    if (k == 0) return false;
    if (heap.items.size() < k) {
      top() ? heap.Push(choice, LessValue) : heap.Push(choice, MoreValue);
      return true;
    }
    const double worst = heap.items[0].value;
    const bool better = top() ? worst < choice.value : worst > choice.value;
    if (better || (std::isnan(worst) && !std::isnan(choice.value))) {
      top() ? heap.ReplaceTop(choice, LessValue) : heap.ReplaceTop(choice, MoreValue);
    }
    return false;
  }

  /// Lists the chosen series of an instant query by value, group after group.
  std::vector<uint32_t> ByValue(std::vector<ChoiceHeap>& heaps) const {
    std::vector<uint32_t> out;
    for (ChoiceHeap& heap : heaps) {
      std::ranges::stable_sort(heap.items, [&](const Choice& a, const Choice& b) {
        if (std::isnan(a.value) || std::isnan(b.value)) {
          return !std::isnan(a.value) && std::isnan(b.value);
        }
        return top() ? a.value > b.value : a.value < b.value;
      });
      for (const Choice& c : heap.items) out.push_back(c.row);
    }
    return out;
  }
  /// Lists the series that are chosen at some step in the order of the input.
  std::vector<uint32_t> ByInput(const std::vector<ChoiceHeap>& heaps) const {
    std::vector<bool> any(input_->series().size(), false);
    for (const ChoiceHeap& heap : heaps) {
      for (const Choice& c : heap.items) any[c.row] = true;
    }
    std::vector<uint32_t> out;
    for (uint32_t i = 0; i < any.size(); ++i) {
      if (any[i]) out.push_back(i);
    }
    return out;
  }

  /// Makes the rows of the listed series, with the cells that were chosen.
  Status MakeRows(const std::vector<ChoiceHeap>& heaps, const std::vector<uint32_t>& chosen) {
    std::vector<uint32_t> row_of(input_->series().size(), ~0u);
    for (const uint32_t i : chosen) {
      row_of[i] = static_cast<uint32_t>(series_.size());
      series_.push_back(input_->series()[i]);
    }
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(chosen.size()));
    for (size_t h = 0; h < heaps.size(); ++h) {
      const auto step = static_cast<uint32_t>(h % grid_.count);
      for (const Choice& c : heaps[h].items) {
        RowStore::Row& row = rows_[row_of[c.row]];
        if (row.valid.empty()) {
          row.values.resize(grid_.count);
          row.valid.resize(BitWords(grid_.count));
        }
        row.values[step] = c.value;
        SetBit(row.valid.data(), step);
      }
    }
    return absl::OkStatus();
  }

  /// Lets the first k of each group pass, or those whose hash says so.
  Status PassThrough(Tile& tile) {
    VARVE_RETURN_IF_ERROR(input_->Next(tile));
    if (counts_.empty() && selecting_ == Selecting::kLimitk) {
      counts_.resize(groups_.headers.size() * grid_.count, 0);
    }
    for (uint32_t r = 0; r < tile.rows(); ++r, ++passed_) {
      const double share = selecting_ == Selecting::kLimitRatio
                               ? static_cast<double>(PromHash(series_[passed_].labels)) /
                                     static_cast<double>(std::numeric_limits<uint64_t>::max())
                               : 0;
      for (uint32_t s = 0; s < grid_.count; ++s) {
        if (!tile.has_any(r, s)) continue;
        bool keep;
        if (selecting_ == Selecting::kLimitk) {
          uint64_t& count = counts_[size_t{groups_.of_series[passed_]} * grid_.count + s];
          keep = count < LimitAt(s);
          count += keep;
        } else {
          const double ratio = std::clamp(parameters_[s], -1.0, 1.0);
          keep = ratio >= 0 ? share < ratio : share >= 1.0 + ratio;
          keep &= ratio != 0;
        }
        if (keep) continue;
        ClearBit(tile.valid(r), s);
        if (tile.has_histograms(r)) tile.histograms(r)[s] = nullptr;
      }
    }
    return absl::OkStatus();
  }

  /// Hashes labels as Prometheus does (XXH64 over names and values, each followed by 0xff), so
  /// that limit_ratio picks the same series.
  static uint64_t PromHash(LabelsView labels) {
    std::string bytes;
    for (const LabelView& label : labels) {
      bytes.append(label.name);
      bytes.push_back('\xff');
      bytes.append(label.value);
      bytes.push_back('\xff');
    }
    return XXH64(bytes.data(), bytes.size(), 0);
  }

  const Selecting selecting_;
  const Grouping grouping_;
  OperatorPtr input_;
  OperatorPtr parameter_;
  const std::string place_;
  const std::string parameter_place_;
  std::vector<double> parameters_;
  Groups groups_;
  std::vector<uint64_t> counts_;
  size_t passed_ = 0;
  bool done_ = false;
};

}  // namespace

OperatorPtr SelectSeries(ExecContext& context, Selecting selecting, Grouping grouping,
                         OperatorPtr input, OperatorPtr parameter, std::string place,
                         std::string parameter_place) {
  return std::make_unique<SelectSeriesOperator>(context, selecting, std::move(grouping),
                                                std::move(input), std::move(parameter),
                                                std::move(place), std::move(parameter_place));
}

}  // namespace varve::query
