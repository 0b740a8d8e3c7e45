#include "query/exec/aggregate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "query/exec/group_fold.h"
#include "query/exec/scan.h"
#include "query/functions/go_format.h"
#include "query/functions/histogram_quantile.h"

namespace varve::query {
namespace {

using Kind = AnnotationSink::Kind;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
/// Tiles below this many cells are reduced by one thread: waking another costs more.
constexpr uint64_t kParallelCells = 32 * 1024;
/// Up to so many labels of a series are looked up one by one; else all are read.
constexpr size_t kLookupsMax = 4;

std::string Describe(std::string_view name, const Grouping& grouping) {
  std::string out(name);
  if (grouping.labels.empty() && !grouping.without) return out;
  out += grouping.without ? " without (" : " by (";
  for (size_t i = 0; i < grouping.labels.size(); ++i) {
    if (i > 0) out += ", ";
    out += grouping.labels[i];
  }
  return out + ")";
}

/// Finds group numbers for label sets.
class Grouper {
 public:
  Grouper(ExecContext& context, const Grouping& grouping, Groups* out)
      : context_(context), grouping_(grouping), out_(*out) {}

  bool one_group() const { return grouping_.labels.empty() && !grouping_.without; }
  bool Keeps(std::string_view name) const {
    const bool named = std::binary_search(grouping_.labels.begin(), grouping_.labels.end(), name);
    return grouping_.without ? !named && name != kMetricName : named;
  }
  /// Adds a series to the group that has exactly these labels.
  void Add(LabelsView kept, bool drop_name) {
    // Neighbours often fall into one group.
    if (out_.of_series.empty() || !std::ranges::equal(last_, kept)) {
      const auto [it, added] =
          numbers_.emplace(KeyOf(kept), static_cast<uint32_t>(out_.headers.size()));
      if (added) out_.headers.push_back({context_.KeepLabels(kept), false});
      last_number_ = it->second;
      last_ = out_.headers[it->second].labels;
    }
    out_.headers[last_number_].drop_name |= drop_name;
    out_.of_series.push_back(last_number_);
  }

 private:
  ExecContext& context_;
  const Grouping& grouping_;
  Groups& out_;
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> numbers_;
  LabelsView last_;
  uint32_t last_number_ = 0;
};

/// Groups the series of a scan without making their label sets.
Status MakeGroups(ExecContext& context, const ScanOperator& scan, const Grouping& grouping,
                  Groups* out) {
  const SeriesSet& set = scan.set();
  const bool drop_name = scan.names() == ScanOperator::Names::kDroppedAtEnd;
  const bool dropped = scan.names() == ScanOperator::Names::kDropped;
  Grouper grouper(context, grouping, out);
  const bool look_up = !grouping.without && grouping.labels.size() <= kLookupsMax;
  VARVE_RETURN_IF_ERROR(context.budget.Take(0, set.size() * sizeof(uint32_t)));
  out->of_series.reserve(set.size());
  std::vector<std::string_view> names;
  for (const std::string& name : grouping.labels) {
    if (!dropped || !IsMetadataLabel(name)) names.push_back(context.KeepBytes(name));
  }
  std::vector<LabelView> labels;
  std::vector<LabelView> kept;
  for (size_t i = 0; i < set.size(); ++i) {
    kept.clear();
    if (look_up) {
      for (const std::string_view name : names) {
        const std::string_view value = set.GetLabel(i, name);
        if (!value.empty()) kept.push_back({name, value});
      }
    } else {
      set.GetLabels(i, &labels);
      for (const LabelView& label : labels) {
        if (dropped && IsMetadataLabel(label.name)) continue;
        if (grouper.Keeps(label.name)) kept.push_back(label);
      }
    }
    grouper.Add(kept, drop_name);
    if ((i & 0xfff) == 0xfff) VARVE_RETURN_IF_ERROR(context.Poll());
  }
  return context.budget.Take(0, out->headers.size() * sizeof(SeriesHeader));
}

class AggregateOperator final : public Operator, RowFold {
 public:
  /// `scan` is not null if the aggregation may run in it; `input` is made of it then.
  AggregateOperator(ExecContext& context, Aggregation aggregation, Grouping grouping,
                    OperatorPtr input, ScanOperator* scan, std::string place)
      : Operator(context, input->grid()),
        aggregation_(aggregation),
        grouping_(std::move(grouping)),
        input_(std::move(input)),
        scan_(scan),
        fold_(context, aggregation, grid_.count, std::move(place)) {}
  std::string Describe() const override {
    std::string out = query::Describe(ToString(aggregation_), grouping_);
    if (scan_ != nullptr) out += ", folded in the scan";
    return out;
  }
  std::vector<Operator*> children() const override {
    if (scan_ != nullptr) return {scan_};
    return {input_.get()};
  }

 protected:
  Status OpenImpl() override {
    if (scan_ != nullptr) {
      VARVE_ASSIGN_OR_RETURN(const bool apart, scan_->KeepsSeriesApart());
      if (!apart) scan_ = nullptr;
    }
    if (scan_ != nullptr) {
      VARVE_RETURN_IF_ERROR(scan_->OpenToFold());
      VARVE_RETURN_IF_ERROR(MakeGroups(context_, *scan_, grouping_, &groups_));
    } else {
      VARVE_RETURN_IF_ERROR(input_->Open());
      groups_ = query::MakeGroups(context_, input_->series(), grouping_);
    }
    series_ = groups_.headers;
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (!reduced_) {
      reduced_ = true;
      VARVE_RETURN_IF_ERROR(fold_.Start(series_.size()));
      VARVE_RETURN_IF_ERROR(scan_ != nullptr ? scan_->Fold(*this) : Reduce());
    }
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), series_.size() - next_));
    tile.Reset(rows, grid_.count);
    for (uint32_t r = 0; r < rows; ++r, ++next_) {
      fold_.Finish(next_, [this] { return FirstNameOf(next_); }, tile, r);
    }
    return absl::OkStatus();
  }

 private:
  void Take(size_t series, const Tile& tile, uint32_t row) override {
    fold_.Add(groups_.of_series[series], tile, row);
  }

  /// Reads the input to its end, tile by tile.
  Status Reduce() {
    Tile tile;
    size_t at = 0;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      bool share = grid_.count >= 128 && uint64_t{tile.rows()} * grid_.count >= kParallelCells;
      for (uint32_t r = 0; share && r < tile.rows(); ++r) share = !fold_.NeedsOneThread(tile, r);
      const auto add = [&](uint32_t word_begin, uint32_t word_end, uint32_t) {
        for (uint32_t r = 0; r < tile.rows(); ++r) {
          fold_.Add(groups_.of_series[at + r], tile, r, word_begin, word_end);
        }
      };
      // Threads share out the steps, never the rows: each cell is summed in row order.
      if (share) {
        context_.pool->For(tile.words(), 2, add);
      } else {
        add(0, tile.words(), 0);
      }
      at += tile.rows();
    }
  }

  /// Gives the name that a note about a group's histograms mentions: that of its first series.
  std::string_view FirstNameOf(size_t group) const {
    const auto first = std::ranges::find(groups_.of_series, group) - groups_.of_series.begin();
    if (scan_ == nullptr) return FindLabel(input_->series()[first].labels, kMetricName);
    if (scan_->names() == ScanOperator::Names::kDropped) return {};
    return scan_->set().GetLabel(first, kMetricName);
  }

  const Aggregation aggregation_;
  const Grouping grouping_;
  const OperatorPtr input_;
  ScanOperator* scan_;  // null if the input is read tile by tile
  GroupFold fold_;
  Groups groups_;
  bool reduced_ = false;
  size_t next_ = 0;
};

// --- quantile ---

class QuantileOperator final : public Operator {
 public:
  QuantileOperator(ExecContext& context, Grouping grouping, OperatorPtr input, std::string place,
                   OperatorPtr parameter, std::string parameter_place)
      : Operator(context, input->grid()),
        grouping_(std::move(grouping)),
        input_(std::move(input)),
        place_(std::move(place)),
        parameter_(std::move(parameter)),
        parameter_place_(std::move(parameter_place)),
        rows_(context, grid_.count) {}
  std::string Describe() const override {
    return query::Describe(ToString(Aggregation::kQuantile), grouping_);
  }
  std::vector<Operator*> children() const override { return {input_.get(), parameter_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(parameter_->Open());
    VARVE_RETURN_IF_ERROR(ReadScalar(*parameter_, &parameters_));
    NoteBadParameters();
    VARVE_RETURN_IF_ERROR(input_->Open());
    Groups groups = MakeGroups(context_, input_->series(), grouping_);
    series_ = std::move(groups.headers);
    members_.resize(series_.size());
    for (uint32_t i = 0; i < groups.of_series.size(); ++i) {
      members_[groups.of_series[i]].push_back(i);
    }
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (next_ == 0) VARVE_RETURN_IF_ERROR(ReadInput());
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), series_.size() - next_));
    tile.Reset(rows, grid_.count);
    std::vector<double> values;
    for (uint32_t r = 0; r < rows; ++r, ++next_) {
      for (uint32_t s = 0; s < grid_.count; ++s) {
        values.clear();
        for (const uint32_t member : members_[next_]) {
          if (rows_[member].has_float(s)) values.push_back(rows_[member].values[s]);
        }
        if (!values.empty()) tile.SetFloat(r, s, QuantileOfValues(parameters_[s], values));
      }
    }
    return absl::OkStatus();
  }

 private:
  Status ReadInput() {
    Tile tile;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      for (uint32_t r = 0; r < tile.rows(); ++r) {
        if (!tile.has_histograms(r)) continue;
        context_.annotations.Add(Kind::kInfo, "ignored histogram in quantile aggregation", place_);
        tile.DropHistograms(r);
      }
      VARVE_RETURN_IF_ERROR(rows_.Append(tile));
    }
  }

  /// Says how bad the parameters are: each kind once, as they would appear.
  void NoteBadParameters() {
    double low = std::numeric_limits<double>::infinity();
    double high = -std::numeric_limits<double>::infinity();
    bool any_nan = false;
    for (const double v : parameters_) {
      any_nan |= std::isnan(v);
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const auto warn = [&](double q) {
      context_.annotations.Add(
          Kind::kWarning, Concat("quantile value should be between 0 and 1, got ", GoFormatG(q)),
          parameter_place_);
    };
    if (any_nan) warn(kNan);
    if (high > 1) warn(high);
    if (low < 0) warn(low);
  }

  const Grouping grouping_;
  const OperatorPtr input_;
  const std::string place_;
  const OperatorPtr parameter_;
  const std::string parameter_place_;
  std::vector<double> parameters_;
  RowStore rows_;
  std::vector<std::vector<uint32_t>> members_;  // rows of each group
  size_t next_ = 0;
};

}  // namespace

std::string_view ToString(Aggregation aggregation) {
  static constexpr std::string_view kNames[] = {"sum",   "avg",    "count",  "min",     "max",
                                                "group", "stddev", "stdvar", "quantile"};
  return kNames[static_cast<size_t>(aggregation)];
}

Groups MakeGroups(ExecContext& context, const std::vector<SeriesHeader>& series,
                  const Grouping& grouping) {
  Groups out;
  out.of_series.reserve(series.size());
  Grouper grouper(context, grouping, &out);
  std::vector<LabelView> kept;
  for (const SeriesHeader& header : series) {
    kept.clear();
    if (!grouper.one_group()) {
      for (const LabelView& label : header.labels) {
        if (grouper.Keeps(label.name)) kept.push_back(label);
      }
    }
    grouper.Add(kept, header.drop_name);
  }
  return out;
}

OperatorPtr Aggregate(ExecContext& context, Aggregation aggregation, Grouping grouping,
                      OperatorPtr input, std::string place) {
  return std::make_unique<AggregateOperator>(context, aggregation, std::move(grouping),
                                             std::move(input), nullptr, std::move(place));
}

OperatorPtr AggregateInScan(ExecContext& context, Aggregation aggregation, Grouping grouping,
                            ScanPtr scan, std::string place) {
  ScanOperator* const inner = scan.get();
  // What the input must be where the scan turns out not to keep its series apart.
  OperatorPtr input = inner->names() == ScanOperator::Names::kDropped
                          ? MergeDuplicates(context, std::move(scan), true)
                          : OperatorPtr(std::move(scan));
  return std::make_unique<AggregateOperator>(context, aggregation, std::move(grouping),
                                             std::move(input), inner, std::move(place));
}

OperatorPtr AggregateQuantile(ExecContext& context, Grouping grouping, OperatorPtr input,
                              std::string place, OperatorPtr parameter,
                              std::string parameter_place) {
  return std::make_unique<QuantileOperator>(context, std::move(grouping), std::move(input),
                                            std::move(place), std::move(parameter),
                                            std::move(parameter_place));
}

}  // namespace varve::query
