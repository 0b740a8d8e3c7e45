#include "query/exec/aggregate.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "query/functions/float_histogram.h"
#include "query/functions/go_format.h"
#include "query/functions/histogram_quantile.h"
#include "query/functions/kahan.h"

namespace varve::query {
namespace {

using Kind = AnnotationSink::Kind;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
/// Tiles below this many cells are reduced by one thread: waking another costs more.
constexpr uint64_t kParallelCells = 32 * 1024;

/// Says how bad quantile parameters are: each kind once, as they would appear.
void NoteBadQuantiles(ExecContext& context, const std::vector<double>& values,
                      std::string_view place) {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  bool any_nan = false;
  for (const double v : values) {
    any_nan |= std::isnan(v);
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const auto warn = [&](double q) {
    context.annotations.Add(Kind::kWarning,
                            Concat("quantile value should be between 0 and 1, got ", GoFormatG(q)),
                            place);
  };
  if (any_nan) warn(kNan);
  if (high > 1) warn(high);
  if (low < 0) warn(low);
}

/// Running state of one group: one cell a step.
struct GroupState {
  std::vector<uint64_t> seen;  // a value has been taken
  std::vector<double> value;   // sum, extreme, or sum of squares
  std::vector<double> c;       // compensation, or mean
  std::vector<double> count;
  // Only for groups that met histograms or an overflowing average.
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
  std::vector<Rare> rare;  // empty, or one a step
  bool drop_name = false;
};

class AggregateOperator final : public Operator {
 public:
  AggregateOperator(ExecContext& context, Aggregation aggregation, Grouping grouping,
                    OperatorPtr input, std::string place, OperatorPtr parameter,
                    std::string parameter_place)
      : Operator(context, input->grid()),
        aggregation_(aggregation),
        grouping_(std::move(grouping)),
        input_(std::move(input)),
        place_(std::move(place)),
        parameter_(std::move(parameter)),
        parameter_place_(std::move(parameter_place)),
        rows_(context, grid_.count) {}
  std::string Describe() const override {
    std::string out = std::string(ToString(aggregation_));
    if (!grouping_.labels.empty() || grouping_.without) {
      out += grouping_.without ? " without (" : " by (";
      for (size_t i = 0; i < grouping_.labels.size(); ++i) {
        out += (i ? ", " : "") + grouping_.labels[i];
      }
      out += ")";
    }
    return out;
  }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out = {input_.get()};
    if (parameter_) out.push_back(parameter_.get());
    return out;
  }

 protected:
  Status OpenImpl() override {
    if (parameter_) {
      VARVE_RETURN_IF_ERROR(parameter_->Open());
      VARVE_RETURN_IF_ERROR(ReadScalar(*parameter_, &parameters_));
      NoteBadQuantiles(context_, parameters_, parameter_place_);
    }
    VARVE_RETURN_IF_ERROR(input_->Open());
    groups_ = MakeGroups(context_, input_->series(), grouping_);
    series_ = groups_.headers;
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (!reduced_) {
      reduced_ = true;
      VARVE_RETURN_IF_ERROR(Reduce());
    }
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), series_.size() - next_));
    tile.Reset(rows, grid_.count);
    for (uint32_t r = 0; r < rows; ++r, ++next_) Finish(next_, tile, r);
    return absl::OkStatus();
  }

 private:
  Status Reduce() {
    const uint32_t steps = grid_.count;
    if (aggregation_ == Aggregation::kQuantile) {
      members_.resize(series_.size());
    } else {
      states_.resize(series_.size());
      const uint64_t cells = uint64_t{steps} * series_.size();
      const uint64_t columns = aggregation_ == Aggregation::kSum ? 2 : 3;
      VARVE_RETURN_IF_ERROR(context_.budget.Take(cells, cells * 8 * columns));
      charged_ = {cells, cells * 8 * columns};
    }
    Tile tile;
    size_t at = 0;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) break;
      if (aggregation_ == Aggregation::kQuantile) {
        for (uint32_t r = 0; r < tile.rows(); ++r) {
          if (tile.has_histograms(r)) {
            NoteIgnored();
            tile.DropHistograms(r);
          }
          members_[groups_.of_series[at + r]].push_back(static_cast<uint32_t>(at + r));
        }
        VARVE_RETURN_IF_ERROR(rows_.Append(tile));
      } else {
        for (uint32_t r = 0; r < tile.rows(); ++r) Prepare(states_[groups_.of_series[at + r]]);
        // A group changes its layout when it meets a histogram or an average that overflows, so
        // only tiles where that cannot happen are shared out.
        bool plain = aggregation_ != Aggregation::kAvg && steps >= 128 &&
                     uint64_t{tile.rows()} * steps >= kParallelCells;
        for (uint32_t r = 0; plain && r < tile.rows(); ++r) plain = !tile.has_histograms(r);
        if (!plain) {
          ReduceSteps(tile, at, 0, tile.words());
        } else {
          // Threads share out the steps, never the rows: each cell is summed in row order.
          context_.pool->For(tile.words(), 2, [&](uint32_t begin, uint32_t end, uint32_t) {
            ReduceSteps(tile, at, begin, end);
          });
        }
      }
      at += tile.rows();
    }
    return absl::OkStatus();
  }

  void Prepare(GroupState& g) const {
    if (!g.seen.empty()) return;
    g.seen.assign(BitWords(grid_.count), 0);
    if (aggregation_ != Aggregation::kCount && aggregation_ != Aggregation::kGroup) {
      g.value.resize(grid_.count);
    }
    if (aggregation_ == Aggregation::kSum || aggregation_ == Aggregation::kAvg ||
        aggregation_ == Aggregation::kStddev || aggregation_ == Aggregation::kStdvar) {
      g.c.resize(grid_.count);
    }
    if (aggregation_ == Aggregation::kCount || aggregation_ == Aggregation::kAvg ||
        aggregation_ == Aggregation::kStddev || aggregation_ == Aggregation::kStdvar) {
      g.count.resize(grid_.count);
    }
  }

  void ReduceSteps(const Tile& tile, size_t first, uint32_t word_begin, uint32_t word_end) {
    for (uint32_t r = 0; r < tile.rows(); ++r) {
      GroupState& g = states_[groups_.of_series[first + r]];
      if (tile.has_histograms(r)) {
        ReduceMixed(tile, r, g, word_begin, word_end);
        continue;
      }
      for (uint32_t w = word_begin; w < word_end; ++w) {
        ReduceWord(tile.values(r) + w * 64, tile.valid(r)[w], g, w);
      }
    }
  }

  /// Takes up to 64 floats of one row.
  void ReduceWord(const double* values, uint64_t bits, GroupState& g, uint32_t w) {
    if (bits == 0) return;
    const uint32_t base = w * 64;
    const uint32_t width = std::min(64u, grid_.count - base);
    const uint64_t all = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
    const bool plain = g.rare.empty();
    double* value = g.value.data() + base;
    if (plain && bits == all && g.seen[w] == all) {
      // Every cell has a value and a predecessor: loops without questions.
      switch (aggregation_) {
        case Aggregation::kSum: {
          double* c = g.c.data() + base;
          for (uint32_t i = 0; i < width; ++i) KahanAddLoose(values[i], value[i], c[i]);
          return;
        }
        case Aggregation::kMax:
          for (uint32_t i = 0; i < width; ++i) {
            value[i] = value[i] < values[i] || value[i] != value[i] ? values[i] : value[i];
          }
          return;
        case Aggregation::kMin:
          for (uint32_t i = 0; i < width; ++i) {
            value[i] = value[i] > values[i] || value[i] != value[i] ? values[i] : value[i];
          }
          return;
        case Aggregation::kCount:
          for (uint32_t i = 0; i < width; ++i) g.count[base + i] += 1;
          return;
        case Aggregation::kGroup:
          return;
        default:
          break;
      }
    }
    ForEachBit(&bits, 1, [&](uint32_t i) { AddFloat(g, base + i, values[i]); });
  }

  void AddFloat(GroupState& g, uint32_t s, double f) {
    const bool first = !GetBit(g.seen.data(), s);
    GroupState::Rare* rare = g.rare.empty() ? nullptr : &g.rare[s];
    if (first) SetBit(g.seen.data(), s);
    switch (aggregation_) {
      case Aggregation::kSum:
        if (rare != nullptr) {
          if (rare->incompatible) return;
          rare->has_float = true;
        }
        if (first) {
          g.value[s] = f;
          g.c[s] = 0;
        } else {
          KahanAdd(f, g.value[s], g.c[s]);
        }
        return;
      case Aggregation::kAvg: {
        if (rare != nullptr) {
          if (rare->incompatible) return;
          rare->has_float = true;
        }
        g.count[s] = first ? 1 : g.count[s] + 1;
        if (first) {
          g.value[s] = f;
          g.c[s] = 0;
          return;
        }
        const double count = g.count[s];
        if (rare == nullptr || !rare->incremental) {
          double sum = g.value[s];
          double c = g.c[s];
          KahanAdd(f, sum, c);
          if (!std::isinf(sum)) {
            g.value[s] = sum;
            g.c[s] = c;
            return;
          }
          // The sum overflows; the mean does not have to.
          if (rare == nullptr) {
            MakeRare(g);
            rare = &g.rare[s];
            rare->has_float = true;
          }
          rare->incremental = true;
          rare->mean = g.value[s] / (count - 1);
          g.c[s] /= count - 1;
        }
        const double q = (count - 1) / count;
        double mean = q * rare->mean;
        double c = q * g.c[s];
        KahanAdd(f / count, mean, c);
        rare->mean = mean;
        g.c[s] = c;
        return;
      }
      case Aggregation::kCount:
        g.count[s] = first ? 1 : g.count[s] + 1;
        return;
      case Aggregation::kMin:
        if (first || g.value[s] > f || std::isnan(g.value[s])) g.value[s] = f;
        return;
      case Aggregation::kMax:
        if (first || g.value[s] < f || std::isnan(g.value[s])) g.value[s] = f;
        return;
      case Aggregation::kGroup:
        return;
      case Aggregation::kStddev:
      case Aggregation::kStdvar: {
        if (first) {
          g.count[s] = 1;
          g.c[s] = f;
          g.value[s] = std::isnan(f) || std::isinf(f) ? kNan : 0;
          return;
        }
        // Welford's method, plain.
        g.count[s] += 1;
        const double delta = f - g.c[s];
        g.c[s] += delta / g.count[s];
        g.value[s] += delta * (f - g.c[s]);
        return;
      }
      case Aggregation::kQuantile:
        return;
    }
  }

  /// Turns a group into one that can hold histograms and means. Never runs in parallel.
  void MakeRare(GroupState& g) {
    std::vector<GroupState::Rare> rare(grid_.count);
    for (uint32_t s = 0; s < grid_.count; ++s) rare[s].has_float = GetBit(g.seen.data(), s);
    g.rare = std::move(rare);
  }

  void ReduceMixed(const Tile& tile, uint32_t r, GroupState& g, uint32_t word_begin,
                   uint32_t word_end) {
    const uint32_t end = std::min(grid_.count, word_end * 64);
    for (uint32_t s = word_begin * 64; s < end; ++s) {
      if (const FloatHistogram* h = tile.histogram(r, s); h != nullptr) {
        AddHistogram(g, s, *h);
      } else if (tile.has_float(r, s)) {
        AddFloat(g, s, tile.values(r)[s]);
      }
    }
  }

  void AddHistogram(GroupState& g, uint32_t s, const FloatHistogram& h) {
    switch (aggregation_) {
      case Aggregation::kCount:
        AddFloat(g, s, 0);
        return;
      case Aggregation::kGroup:
        SetBit(g.seen.data(), s);
        return;
      case Aggregation::kSum:
      case Aggregation::kAvg:
        break;
      default:
        NoteIgnored();
        return;
    }
    if (g.rare.empty()) MakeRare(g);
    GroupState::Rare& rare = g.rare[s];
    const bool first = !GetBit(g.seen.data(), s);
    SetBit(g.seen.data(), s);
    if (rare.incompatible) return;
    rare.has_histogram = true;
    rare.reset_seen |= h.reset_hint == CounterResetHint::kReset;
    rare.not_reset_seen |= h.reset_hint == CounterResetHint::kNotReset;
    if (aggregation_ == Aggregation::kAvg) g.count[s] = first ? 1 : g.count[s] + 1;
    if (first) {
      rare.histogram = std::make_unique<HistogramSum>(h);
      return;
    }
    // After a float the result is lost anyway.
    if (rare.histogram == nullptr) return;
    CombineNotes notes;
    if (aggregation_ == Aggregation::kSum) {
      notes = rare.histogram->Add(h);
    } else {
      notes = AddToAverage(rare, h, g.count[s]);
    }
    if (notes.incompatible) {
      rare.incompatible = true;
    }
    if (notes.bounds_reconciled) {
      context_.annotations.Add(
          Kind::kInfo, "mismatched custom buckets were reconciled during aggregation", place_);
    }
  }

  static CombineNotes AddToAverage(GroupState::Rare& rare, const FloatHistogram& h, double count) {
    if (!rare.incremental_histogram) {
      HistogramSum next = *rare.histogram;
      const CombineNotes notes = next.Add(h);
      if (notes.incompatible) return notes;
      if (!next.overflowed()) {
        *rare.histogram = std::move(next);
        return notes;
      }
      rare.incremental_histogram = true;
      rare.histogram->Divide(count - 1);
    }
    rare.histogram->Scale((count - 1) / count);
    FloatHistogram part = h;
    Divide(part, count);
    return rare.histogram->Add(part);
  }

  void NoteIgnored() {
    context_.annotations.Add(
        Kind::kInfo, Concat("ignored histogram in ", ToString(aggregation_), " aggregation"),
        place_);
  }

  void Finish(size_t group, Tile& tile, uint32_t row) {
    double* out = tile.values(row);
    uint64_t* valid = tile.valid(row);
    if (aggregation_ == Aggregation::kQuantile) {
      std::vector<double> values;
      for (uint32_t s = 0; s < grid_.count; ++s) {
        values.clear();
        for (const uint32_t member : members_[group]) {
          if (rows_[member].has_float(s)) values.push_back(rows_[member].values[s]);
        }
        if (!values.empty()) tile.SetFloat(row, s, QuantileOfValues(parameters_[s], values));
      }
      return;
    }
    GroupState& g = states_[group];
    if (g.seen.empty()) return;
    if (!g.rare.empty()) {
      FinishRare(g, group, tile, row);
      return;
    }
    std::copy(g.seen.begin(), g.seen.end(), valid);
    for (uint32_t s = 0; s < grid_.count; ++s) {
      switch (aggregation_) {
        case Aggregation::kSum:
          out[s] = KahanTotal(g.value[s], g.c[s]);
          break;
        case Aggregation::kAvg:
          out[s] = g.value[s] / g.count[s] + g.c[s] / g.count[s];
          break;
        case Aggregation::kCount:
          out[s] = g.count[s];
          break;
        case Aggregation::kGroup:
          out[s] = 1;
          break;
        case Aggregation::kStdvar:
          out[s] = g.value[s] / g.count[s];
          break;
        case Aggregation::kStddev:
          out[s] = std::sqrt(g.value[s] / g.count[s]);
          break;
        default:
          out[s] = g.value[s];
          break;
      }
    }
  }

  void FinishRare(GroupState& g, size_t group, Tile& tile, uint32_t row) {
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (!GetBit(g.seen.data(), s)) continue;
      GroupState::Rare& rare = g.rare[s];
      if (rare.has_float && rare.has_histogram) {
        context_.annotations.Add(
            Kind::kWarning, "encountered a mix of histograms and floats for aggregation", place_);
        continue;
      }
      if (rare.incompatible) {
        context_.annotations.Add(Kind::kWarning,
                                 Concat("vector contains a mix of histograms with exponential and "
                                        "custom buckets schemas for metric name ",
                                        GoQuote(NameOfGroup(group))),
                                 place_);
        continue;
      }
      if (rare.reset_seen && rare.not_reset_seen) {
        context_.annotations.Add(Kind::kWarning,
                                 "conflicting counter resets during histogram aggregation", place_);
      }
      if (rare.has_histogram) {
        if (aggregation_ == Aggregation::kAvg && !rare.incremental_histogram) {
          rare.histogram->Divide(g.count[s]);
        }
        tile.histograms(row)[s] =
            std::make_shared<const FloatHistogram>(Compact(rare.histogram->Total(), 0));
      } else if (aggregation_ == Aggregation::kSum) {
        tile.SetFloat(row, s, KahanTotal(g.value[s], g.c[s]));
      } else if (rare.incremental) {
        tile.SetFloat(row, s, rare.mean + g.c[s]);
      } else {
        tile.SetFloat(row, s, g.value[s] / g.count[s] + g.c[s] / g.count[s]);
      }
    }
  }

  /// The name that a note about a group's histograms gives: that of its first series.
  std::string_view NameOfGroup(size_t group) const {
    for (size_t i = 0; i < groups_.of_series.size(); ++i) {
      if (groups_.of_series[i] == group) {
        return FindLabel(input_->series()[i].labels, kMetricName);
      }
    }
    return {};
  }

 public:
  ~AggregateOperator() override { context_.budget.Give(charged_.first, charged_.second); }

 private:
  const Aggregation aggregation_;
  const Grouping grouping_;
  OperatorPtr input_;
  const std::string place_;
  OperatorPtr parameter_;
  const std::string parameter_place_;
  std::vector<double> parameters_;
  Groups groups_;
  std::vector<GroupState> states_;
  RowStore rows_;                               // quantile only
  std::vector<std::vector<uint32_t>> members_;  // quantile only
  std::pair<uint64_t, uint64_t> charged_{0, 0};
  bool reduced_ = false;
  size_t next_ = 0;
};

// --- topk, bottomk, limitk, limit_ratio ---

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

class TopkOperator final : public StoredOperator {
 public:
  TopkOperator(ExecContext& context, Selecting selecting, Grouping grouping, OperatorPtr input,
               OperatorPtr parameter, std::string place, std::string parameter_place)
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
    const size_t groups = groups_.headers.size();
    std::vector<ChoiceHeap> heaps(groups * grid_.count);
    const uint64_t heap_bytes = heaps.size() * sizeof(ChoiceHeap);
    VARVE_RETURN_IF_ERROR(context_.budget.Take(0, heap_bytes));
    uint64_t kept = 0;
    Tile tile;
    uint32_t at = 0;
    bool ignored = false;
    const bool top = selecting_ == Selecting::kTopk;
    const uint64_t series = input_->series().size();
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) break;
      const uint64_t before = kept;
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
        ChoiceHeap* heap = heaps.data() + size_t{groups_.of_series[at]} * grid_.count;
        ForEachBit(tile.valid(r), tile.words(), [&](uint32_t s) {
          const Choice choice{tile.values(r)[s], at};
          const uint64_t k = std::min(LimitAt(s), series);
          if (k == 0) return;
          ChoiceHeap& h = heap[s];
          if (h.items.size() < k) {
            top ? h.Push(choice, LessValue) : h.Push(choice, MoreValue);
            ++kept;
            return;
          }
          const double worst = h.items[0].value;
          const bool better = top ? worst < choice.value : worst > choice.value;
          if (better || (std::isnan(worst) && !std::isnan(choice.value))) {
            top ? h.ReplaceTop(choice, LessValue) : h.ReplaceTop(choice, MoreValue);
          }
        });
        if (tile.has_histograms(r)) {
          for (uint32_t s = 0; s < grid_.count; ++s) {
            ignored |= tile.histogram(r, s) != nullptr && LimitAt(s) > 0;
          }
        }
      }
      VARVE_RETURN_IF_ERROR(context_.budget.Take(kept - before, (kept - before) * sizeof(Choice)));
    }
    if (ignored) {
      context_.annotations.Add(
          Kind::kInfo, Concat("ignored histogram in ", top ? "topk" : "bottomk", " aggregation"),
          place_);
    }
    // Rows in the order of the input; instant queries by value, group after group.
    std::vector<uint32_t> row_of(input_->series().size(), ~0u);
    std::vector<uint32_t> used;
    if (grid_.count == 1) {
      for (ChoiceHeap& heap : heaps) {
        std::stable_sort(heap.items.begin(), heap.items.end(),
                         [&](const Choice& a, const Choice& b) {
                           if (std::isnan(a.value) || std::isnan(b.value)) {
                             return !std::isnan(a.value) && std::isnan(b.value);
                           }
                           return top ? a.value > b.value : a.value < b.value;
                         });
        for (const Choice& c : heap.items) used.push_back(c.row);
      }
    } else {
      std::vector<bool> any(input_->series().size(), false);
      for (const ChoiceHeap& heap : heaps) {
        for (const Choice& c : heap.items) any[c.row] = true;
      }
      for (uint32_t i = 0; i < any.size(); ++i) {
        if (any[i]) used.push_back(i);
      }
    }
    for (const uint32_t i : used) {
      row_of[i] = static_cast<uint32_t>(series_.size());
      series_.push_back(input_->series()[i]);
    }
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(used.size()));
    for (size_t g = 0; g < groups; ++g) {
      for (uint32_t s = 0; s < grid_.count; ++s) {
        for (const Choice& c : heaps[g * grid_.count + s].items) {
          RowStore::Row& row = rows_[row_of[c.row]];
          if (row.valid.empty()) {
            row.values.resize(grid_.count);
            row.valid.resize(BitWords(grid_.count));
          }
          row.values[s] = c.value;
          SetBit(row.valid.data(), s);
        }
      }
    }
    context_.budget.Give(kept, heap_bytes + kept * sizeof(Choice));
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

// --- count_values ---

class CountValuesOperator final : public StoredOperator {
 public:
  CountValuesOperator(ExecContext& context, std::string label, Grouping grouping, OperatorPtr input)
      : StoredOperator(context, input->grid()),
        label_(std::move(label)),
        grouping_(std::move(grouping)),
        input_(std::move(input)) {}
  std::string Describe() const override { return Concat("count_values ", GoQuote(label_)); }
  std::vector<Operator*> children() const override { return {input_.get()}; }

 protected:
  Status OpenImpl() override {
    if (label_.empty() || !IsValidUtf8(label_)) {
      return ExecutionError(Concat("invalid label name ", GoQuote(label_)));
    }
    if (!grouping_.without) {
      grouping_.labels.push_back(label_);
      std::sort(grouping_.labels.begin(), grouping_.labels.end());
      grouping_.labels.erase(std::unique(grouping_.labels.begin(), grouping_.labels.end()),
                             grouping_.labels.end());
    }
    VARVE_RETURN_IF_ERROR(input_->Open());
    // Series that differ in nothing but the counted label and their values count together.
    Grouping base = grouping_;
    if (base.without) {
      base.labels.push_back(label_);
      std::sort(base.labels.begin(), base.labels.end());
    } else {
      std::erase(base.labels, label_);
    }
    const Groups groups = MakeGroups(context_, input_->series(), base);
    const bool keeps_value =
        !grouping_.without || std::find(grouping_.labels.begin(), grouping_.labels.end(), label_) ==
                                  grouping_.labels.end();
    absl::flat_hash_map<std::pair<uint32_t, std::string>, uint32_t> row_of;
    Tile tile;
    size_t at = 0;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) break;
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
        const uint32_t group = groups.of_series[at];
        std::string text;
        uint64_t last_bits = 0;
        uint32_t last_row = ~0u;
        for (uint32_t s = 0; s < grid_.count; ++s) {
          const FloatHistogram* h = tile.histogram(r, s);
          if (h == nullptr && !tile.has_float(r, s)) continue;
          uint32_t row;
          const uint64_t bits = std::bit_cast<uint64_t>(tile.values(r)[s]);
          if (h == nullptr && last_row != ~0u && bits == last_bits) {
            row = last_row;
          } else {
            text = h != nullptr ? ToString(*h) : GoFormatF(tile.values(r)[s]);
            const auto [it, added] = row_of.try_emplace({group, keeps_value ? text : std::string()},
                                                        static_cast<uint32_t>(series_.size()));
            if (added) {
              series_.push_back(
                  {WithValue(groups.headers[group].labels, keeps_value ? text : std::string()),
                   false});
              VARVE_RETURN_IF_ERROR(rows_.AppendBlank(1));
              rows_[it->second].values.resize(grid_.count);
              rows_[it->second].valid.resize(BitWords(grid_.count));
            }
            row = it->second;
            last_row = h != nullptr ? ~0u : row;
            last_bits = bits;
          }
          RowStore::Row& out = rows_[row];
          out.values[s] = GetBit(out.valid.data(), s) ? out.values[s] + 1 : 1;
          SetBit(out.valid.data(), s);
        }
      }
    }
    return absl::OkStatus();
  }

 private:
  LabelsView WithValue(LabelsView labels, std::string_view value) {
    std::vector<LabelView> out(labels.begin(), labels.end());
    if (!value.empty()) {
      const LabelView added{context_.KeepBytes(label_), context_.KeepBytes(value)};
      out.insert(std::lower_bound(out.begin(), out.end(), added), added);
    }
    return context_.KeepLabels(out);
  }

  const std::string label_;
  Grouping grouping_;
  OperatorPtr input_;
};

}  // namespace

std::string_view ToString(Aggregation aggregation) {
  static constexpr std::string_view kNames[] = {"sum",   "avg",    "count",  "min",     "max",
                                                "group", "stddev", "stdvar", "quantile"};
  return kNames[static_cast<size_t>(aggregation)];
}

LabelsView GroupLabels(ExecContext& context, LabelsView labels, const Grouping& grouping) {
  std::vector<LabelView> kept;
  for (const LabelView& label : labels) {
    const bool named =
        std::binary_search(grouping.labels.begin(), grouping.labels.end(), label.name);
    if (grouping.without ? !named && label.name != kMetricName : named) kept.push_back(label);
  }
  return context.KeepLabels(kept);
}

Groups MakeGroups(ExecContext& context, const std::vector<SeriesHeader>& series,
                  const Grouping& grouping) {
  Groups out;
  out.of_series.reserve(series.size());
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> numbers;
  std::vector<LabelView> kept;
  const bool all = grouping.labels.empty() && !grouping.without;
  for (const SeriesHeader& header : series) {
    kept.clear();
    if (!all) {
      for (const LabelView& label : header.labels) {
        const bool named =
            std::binary_search(grouping.labels.begin(), grouping.labels.end(), label.name);
        if (grouping.without ? !named && label.name != kMetricName : named) kept.push_back(label);
      }
    }
    const auto [it, added] =
        numbers.emplace(all ? SeriesKey{} : KeyOf(kept), static_cast<uint32_t>(out.headers.size()));
    if (added) out.headers.push_back({context.KeepLabels(kept), false});
    out.headers[it->second].drop_name |= header.drop_name;
    out.of_series.push_back(it->second);
  }
  return out;
}

OperatorPtr Aggregate(ExecContext& context, Aggregation aggregation, Grouping grouping,
                      OperatorPtr input, std::string place, OperatorPtr parameter,
                      std::string parameter_place) {
  return std::make_unique<AggregateOperator>(context, aggregation, std::move(grouping),
                                             std::move(input), std::move(place),
                                             std::move(parameter), std::move(parameter_place));
}

OperatorPtr SelectSeries(ExecContext& context, Selecting selecting, Grouping grouping,
                         OperatorPtr input, OperatorPtr parameter, std::string place,
                         std::string parameter_place) {
  return std::make_unique<TopkOperator>(context, selecting, std::move(grouping), std::move(input),
                                        std::move(parameter), std::move(place),
                                        std::move(parameter_place));
}

OperatorPtr CountValues(ExecContext& context, std::string label, Grouping grouping,
                        OperatorPtr input) {
  return std::make_unique<CountValuesOperator>(context, std::move(label), std::move(grouping),
                                               std::move(input));
}

}  // namespace varve::query
