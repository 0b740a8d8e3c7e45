#include "query/exec/histogram_ops.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/functions/histogram_quantile.h"

namespace varve::query {
namespace {

constexpr std::string_view kBucketLabel = "le";

/// Reads a float as Go's strconv.ParseFloat does (decimal forms).
bool ParseGoFloat(std::string_view text, double* value) {
  bool negative = false;
  std::string_view rest = text;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  if (rest.empty() || rest[0] == '+' || rest[0] == '-') return false;
  const auto result = std::from_chars(rest.data(), rest.data() + rest.size(), *value);
  if (result.ptr != rest.data() + rest.size()) return false;
  if (result.ec == std::errc::result_out_of_range) return false;
  if (result.ec != std::errc()) return false;
  if (negative) *value = -*value;
  return true;
}

class HistogramQuantilesOperator final : public Operator {
 public:
  HistogramQuantilesOperator(ExecContext& context, HistogramQuery query, OperatorPtr input,
                             std::vector<OperatorPtr> scalars)
      : Operator(context, input->grid()),
        query_(std::move(query)),
        input_(std::move(input)),
        scalars_(std::move(scalars)),
        rows_(context, grid_.count) {}
  std::string Describe() const override {
    return query_.kind == HistogramQuery::Kind::kFraction ? "histogram_fraction"
                                                          : "histogram_quantile";
  }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out = {input_.get()};
    for (const OperatorPtr& s : scalars_) out.push_back(s.get());
    return out;
  }

 protected:
  Status OpenImpl() override {
    parameters_.resize(scalars_.size());
    for (size_t i = 0; i < scalars_.size(); ++i) {
      VARVE_RETURN_IF_ERROR(scalars_[i]->Open());
      VARVE_RETURN_IF_ERROR(ReadScalar(*scalars_[i], &parameters_[i]));
    }
    VARVE_RETURN_IF_ERROR(input_->Open());
    FindGroups();
    const size_t copies = query_.kind == HistogramQuery::Kind::kQuantiles ? scalars_.size() : 1;
    for (const Group& group : groups_) {
      LabelsView labels = group.labels;
      if (!context_.delayed_names) labels = DropMetadata(context_, labels);
      for (size_t i = 0; i < copies; ++i) {
        LabelsView with = labels;
        if (query_.kind == HistogramQuery::Kind::kQuantiles) {
          // The parameters are constants in practice; a label cannot change from step to step.
          with = WithQuantile(labels, parameters_[i].empty() ? 0 : parameters_[i][0]);
        }
        series_.push_back({with, context_.delayed_names});
      }
    }
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (!read_) {
      read_ = true;
      VARVE_RETURN_IF_ERROR(rows_.AppendAll(*input_));
      NoteBadParameters();
      NoteBadBuckets();
    }
    const size_t copies = query_.kind == HistogramQuery::Kind::kQuantiles ? scalars_.size() : 1;
    const size_t groups_per_tile = std::max<size_t>(1, TileRows() / copies);
    const size_t groups = std::min(groups_per_tile, groups_.size() - next_);
    tile.Reset(static_cast<uint32_t>(groups * copies), grid_.count);
    const size_t first = next_;
    context_.pool->For(static_cast<uint32_t>(groups), 1,
                       [&](uint32_t begin, uint32_t end, uint32_t) {
                         for (uint32_t g = begin; g < end; ++g) {
                           Evaluate(groups_[first + g], tile, static_cast<uint32_t>(g * copies));
                         }
                       });
    next_ += groups;
    return absl::OkStatus();
  }

 private:
  /// Series that make up one histogram.
  struct Group {
    LabelsView labels;                                 // without "le"
    std::vector<std::pair<double, uint32_t>> buckets;  // bound and row
    std::vector<uint32_t> natives;                     // rows with exactly these labels
  };

  void FindGroups() {
    absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> numbers;
    std::vector<LabelView> labels;
    const std::vector<SeriesHeader>& in = input_->series();
    const auto group_of = [&](LabelsView view) -> Group& {
      const auto [it, added] = numbers.emplace(KeyOf(view), static_cast<uint32_t>(groups_.size()));
      if (added) groups_.push_back({context_.KeepLabels(view), {}, {}});
      return groups_[it->second];
    };
    for (uint32_t i = 0; i < in.size(); ++i) {
      const std::string_view le = FindLabel(in[i].labels, kBucketLabel);
      double bound = 0;
      if (ParseGoFloat(le, &bound)) {
        labels.clear();
        for (const LabelView& label : in[i].labels) {
          if (label.name != kBucketLabel) labels.push_back(label);
        }
        group_of(labels).buckets.emplace_back(bound, i);
      } else {
        unbounded_.push_back(i);
      }
      // Any series may hold native histograms, with or without that label.
      group_of(in[i].labels).natives.push_back(i);
    }
    for (Group& group : groups_) {
      auto& buckets = group.buckets;
      if (std::any_of(buckets.begin(), buckets.end(),
                      [](const auto& bucket) { return std::isnan(bucket.first); })) {
        continue;  // they have no order
      }
      std::stable_sort(buckets.begin(), buckets.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
    }
  }

  LabelsView WithQuantile(LabelsView labels, double q) {
    std::vector<LabelView> out;
    for (const LabelView& label : labels) {
      if (label.name != query_.label) out.push_back(label);
    }
    const LabelView added{context_.KeepBytes(query_.label),
                          context_.KeepBytes(OpenMetricsFloat(q))};
    out.insert(
        std::lower_bound(out.begin(), out.end(), added,
                         [](const LabelView& a, const LabelView& b) { return a.name < b.name; }),
        added);
    return context_.KeepLabels(out);
  }

  void Warn(std::string_view text, std::string_view name, std::string_view place) {
    context_.annotations.Add(
        AnnotationSink::Kind::kWarning,
        name.empty() ? std::string(text) : Concat(text, " for metric name ", GoQuote(name)), place);
  }
  void Info(std::string_view text, std::string_view name) {
    context_.annotations.Add(
        AnnotationSink::Kind::kInfo,
        name.empty() ? std::string(text) : Concat(text, " for metric name ", GoQuote(name)),
        query_.place);
  }

  void NoteBadParameters() {
    if (query_.kind == HistogramQuery::Kind::kFraction) return;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      for (const double q : parameters_[i]) {
        if (q >= 0 && q <= 1) continue;
        Warn(Concat("quantile value should be between 0 and 1, got ", GoFormatG(q)), {},
             query_.scalar_places[i]);
      }
    }
  }

  /// Warns of floats that belong to no bucket.
  void NoteBadBuckets() {
    for (const uint32_t i : unbounded_) {
      const RowStore::Row& row = rows_[i];
      if (std::none_of(row.valid.begin(), row.valid.end(), [](uint64_t w) { return w != 0; })) {
        continue;
      }
      const LabelsView labels = input_->series()[i].labels;
      Warn(Concat("bucket label \"le\" is missing or has a malformed value of ",
                  GoQuote(FindLabel(labels, kBucketLabel))),
           FindLabel(labels, kMetricName), query_.place);
    }
  }

  void Evaluate(const Group& group, Tile& tile, uint32_t row) {
    const std::string_view name = FindLabel(group.labels, kMetricName);
    std::vector<ClassicBucket> buckets;
    std::vector<ClassicBucket> copy;
    const bool quantiles = query_.kind != HistogramQuery::Kind::kFraction;
    bool forced = false;
    struct Column {
      double bound;
      const double* values;
      const uint64_t* valid;
    };
    std::vector<Column> columns;
    for (const auto& [bound, i] : group.buckets) {
      const RowStore::Row& from = rows_[i];
      if (!from.valid.empty()) columns.push_back({bound, from.values.data(), from.valid.data()});
    }
    std::vector<const RowStore::Row*> natives;
    for (const uint32_t i : group.natives) {
      if (!rows_[i].histograms.empty()) natives.push_back(&rows_[i]);
    }
    for (uint32_t s = 0; s < grid_.count; ++s) {
      buckets.clear();
      for (const Column& column : columns) {
        if (GetBit(column.valid, s)) buckets.push_back({column.bound, column.values[s]});
      }
      const FloatHistogram* native = nullptr;
      for (const RowStore::Row* from : natives) {
        if (const FloatHistogram* h = from->histogram(s); h != nullptr) native = h;
      }
      if (native != nullptr && !buckets.empty()) {
        Warn("vector contains a mix of classic and native histograms", name, query_.place);
        continue;
      }
      if (native == nullptr && buckets.empty()) continue;
      if (!quantiles) {
        const double low = parameters_[0][s];
        const double high = parameters_[1][s];
        if (native != nullptr) {
          const NativeResult result = FractionOfHistogram(low, high, *native);
          if (result.nan != NanEffect::kNone) {
            Info(
                "input to histogram_fraction has NaN observations, which are excluded from all "
                "fractions",
                name);
          }
          tile.SetFloat(row, s, result.value);
        } else {
          tile.SetFloat(row, s, FractionOfBuckets(low, high, buckets));
        }
        continue;
      }
      for (size_t i = 0; i < parameters_.size(); ++i) {
        const double q = parameters_[i][s];
        const auto out = static_cast<uint32_t>(row + i);
        if (native != nullptr) {
          const NativeResult result = QuantileOfHistogram(q, *native);
          if (result.nan == NanEffect::kNanResult) {
            Info("input to histogram_quantile has NaN observations, result is NaN", name);
          } else if (result.nan == NanEffect::kSkewed) {
            Info("input to histogram_quantile has NaN observations, result is skewed higher", name);
          }
          tile.SetFloat(out, s, result.value);
        } else {
          // The last one may have the buckets themselves.
          const bool last = i + 1 == parameters_.size();
          if (!last) copy = buckets;
          const ClassicQuantile result = QuantileOfBuckets(q, last ? buckets : copy);
          forced |= result.forced_monotonic;
          tile.SetFloat(out, s, result.value);
        }
      }
    }
    if (forced) {
      Info(
          "input to histogram_quantile needed to be fixed for monotonicity (see "
          "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
          name);
    }
  }

  const HistogramQuery query_;
  OperatorPtr input_;
  std::vector<OperatorPtr> scalars_;
  std::vector<std::vector<double>> parameters_;
  RowStore rows_;
  std::vector<Group> groups_;
  std::vector<uint32_t> unbounded_;
  bool read_ = false;
  size_t next_ = 0;
};

}  // namespace

OperatorPtr HistogramQuantiles(ExecContext& context, HistogramQuery query, OperatorPtr input,
                               std::vector<OperatorPtr> scalars) {
  return std::make_unique<HistogramQuantilesOperator>(context, std::move(query), std::move(input),
                                                      std::move(scalars));
}

}  // namespace varve::query
