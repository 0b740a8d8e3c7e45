#include "query/exec/elementwise.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/bounded_regex.h"
#include "engine/base/strings.h"
#include "query/functions/float_histogram.h"
#include "query/functions/go_format.h"
#include "query/functions/histogram_quantile.h"

namespace varve::query {
namespace {

using Kind = AnnotationSink::Kind;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// --- Scalars ---

class ScalarOperator : public Operator {
 public:
  using Operator::Operator;

 protected:
  Status OpenImpl() override {
    series_.assign(1, SeriesHeader{});
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override {
    if (done_) {
      tile.Reset(0, grid_.count);
      return absl::OkStatus();
    }
    done_ = true;
    tile.Reset(1, grid_.count);
    tile.FillValid(0);
    return Fill(tile.values(0));
  }
  virtual Status Fill(double* values) = 0;

 private:
  bool done_ = false;
};

class ConstantOperator final : public ScalarOperator {
 public:
  ConstantOperator(ExecContext& context, const StepGrid& grid, double value)
      : ScalarOperator(context, grid), value_(value) {}
  std::string Describe() const override { return Concat("number ", GoFormatG(value_)); }

 protected:
  Status Fill(double* values) override {
    std::fill_n(values, grid_.count, value_);
    return absl::OkStatus();
  }

 private:
  const double value_;
};

class TimeOperator final : public ScalarOperator {
 public:
  using ScalarOperator::ScalarOperator;
  std::string Describe() const override { return "time()"; }

 protected:
  Status Fill(double* values) override {
    for (uint32_t i = 0; i < grid_.count; ++i) values[i] = static_cast<double>(grid_.At(i)) / 1000;
    return absl::OkStatus();
  }
};

class ToScalarOperator final : public ScalarOperator {
 public:
  ToScalarOperator(ExecContext& context, OperatorPtr input)
      : ScalarOperator(context, input->grid()), input_(std::move(input)) {}
  std::string Describe() const override { return "scalar"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    return ScalarOperator::OpenImpl();
  }
  Status Fill(double* values) override {
    std::vector<uint8_t> seen(grid_.count, 0);
    std::fill_n(values, grid_.count, kNan);
    Tile tile;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      for (uint32_t r = 0; r < tile.rows(); ++r) {
        ForEachBit(tile.valid(r), tile.words(), [&](uint32_t i) {
          values[i] = seen[i] == 0 ? tile.values(r)[i] : kNan;
          seen[i] = 1;
        });
      }
    }
  }

 private:
  OperatorPtr input_;
};

class ScalarPairOperator final : public ScalarOperator {
 public:
  /// `choice` replaces the function when set.
  ScalarPairOperator(ExecContext& context, BinaryFunction function, const ScalarChoice* choice,
                     OperatorPtr left, OperatorPtr right)
      : ScalarOperator(context, left->grid()),
        function_(function),
        extreme_(choice != nullptr),
        choice_(choice != nullptr ? *choice : ScalarChoice::kMax),
        left_(std::move(left)),
        right_(std::move(right)) {}
  std::string Describe() const override {
    if (extreme_) return choice_ == ScalarChoice::kMax ? "max_of" : "min_of";
    return Concat("scalar ", ToString(function_), " scalar");
  }
  std::vector<Operator*> children() const override { return {left_.get(), right_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(left_->Open());
    VARVE_RETURN_IF_ERROR(right_->Open());
    return ScalarOperator::OpenImpl();
  }
  Status Fill(double* values) override {
    std::vector<double> a;
    std::vector<double> b;
    VARVE_RETURN_IF_ERROR(ReadScalar(*left_, &a));
    VARVE_RETURN_IF_ERROR(ReadScalar(*right_, &b));
    for (uint32_t i = 0; i < grid_.count; ++i) {
      if (extreme_) {
        values[i] = choice_ == ScalarChoice::kMax ? GoMax(a[i], b[i]) : GoMin(a[i], b[i]);
      } else {
        values[i] = Calculate(function_, a[i], b[i]);
      }
    }
    return absl::OkStatus();
  }

 private:
  const BinaryFunction function_;
  const bool extreme_;
  const ScalarChoice choice_;
  OperatorPtr left_;
  OperatorPtr right_;
};

// --- Vectors ---

/// Passes its input's rows through a function that works on whole tiles.
class MapOperator : public Operator {
 public:
  MapOperator(ExecContext& context, OperatorPtr input, bool drop_names)
      : Operator(context, input->grid()), input_(std::move(input)), drop_names_(drop_names) {}
  bool ordered() const override { return input_->ordered(); }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out = {input_.get()};
    for (const OperatorPtr& p : scalars_) {
      if (p) out.push_back(p.get());
    }
    return out;
  }

 protected:
  Status OpenImpl() override {
    for (size_t i = 0; i < scalars_.size(); ++i) {
      if (scalars_[i] == nullptr) continue;
      VARVE_RETURN_IF_ERROR(scalars_[i]->Open());
      VARVE_RETURN_IF_ERROR(ReadScalar(*scalars_[i], &parameters_[i]));
    }
    VARVE_RETURN_IF_ERROR(input_->Open());
    series_ = input_->series();
    if (!drop_names_) return absl::OkStatus();
    for (SeriesHeader& header : series_) {
      if (context_.delayed_names) {
        header.drop_name = true;
      } else {
        header.labels = DropMetadata(context_, header.labels);
      }
    }
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override {
    VARVE_RETURN_IF_ERROR(input_->Next(tile));
    for (uint32_t r = 0; r < tile.rows(); ++r) Map(tile, r);
    return absl::OkStatus();
  }
  virtual void Map(Tile& tile, uint32_t row) = 0;

  OperatorPtr input_;
  const bool drop_names_;
  std::vector<OperatorPtr> scalars_;
  std::vector<std::vector<double>> parameters_{2};
};

class ElementsOperator final : public MapOperator {
 public:
  ElementsOperator(ExecContext& context, ElementFunction function, OperatorPtr input)
      : MapOperator(context, std::move(input), true), function_(function) {}
  std::string Describe() const override { return std::string(ToString(function_)); }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    tile.DropHistograms(row);
    // Cells without a value are computed too: cheaper than asking, and nobody looks.
    const uint64_t* valid = tile.valid(row);
    if (std::none_of(valid, valid + tile.words(), [](uint64_t w) { return w != 0; })) return;
    double* values = tile.values(row);
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (!GetBit(valid, i)) values[i] = 0;
    }
    Apply(function_, values, tile.steps());
  }

 private:
  const ElementFunction function_;
};

class RoundOperator final : public MapOperator {
 public:
  RoundOperator(ExecContext& context, OperatorPtr input, OperatorPtr nearest)
      : MapOperator(context, std::move(input), true) {
    scalars_.push_back(std::move(nearest));
  }
  std::string Describe() const override { return "round"; }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    tile.DropHistograms(row);
    double* values = tile.values(row);
    ForEachBit(tile.valid(row), tile.words(), [&](uint32_t i) {
      const double inverse = 1.0 / (parameters_[0].empty() ? 1.0 : parameters_[0][i]);
      values[i] = std::floor(values[i] * inverse + 0.5) / inverse;
    });
  }
};

class ClampOperator final : public MapOperator {
 public:
  ClampOperator(ExecContext& context, OperatorPtr input, OperatorPtr low, OperatorPtr high)
      : MapOperator(context, std::move(input), true) {
    scalars_.push_back(std::move(low));
    scalars_.push_back(std::move(high));
  }
  std::string Describe() const override { return "clamp"; }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    constexpr double kInf = std::numeric_limits<double>::infinity();
    tile.DropHistograms(row);
    double* values = tile.values(row);
    uint64_t* valid = tile.valid(row);
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (!GetBit(valid, i)) continue;
      const double low = parameters_[0].empty() ? -kInf : parameters_[0][i];
      const double high = parameters_[1].empty() ? kInf : parameters_[1][i];
      if (high < low) {
        ClearBit(valid, i);
      } else {
        values[i] = GoMax(low, GoMin(high, values[i]));
      }
    }
  }
};

class StepTimestampsOperator final : public MapOperator {
 public:
  StepTimestampsOperator(ExecContext& context, OperatorPtr input)
      : MapOperator(context, std::move(input), true) {}
  std::string Describe() const override { return "timestamp of step"; }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (tile.has_any(row, i)) tile.SetFloat(row, i, static_cast<double>(grid_.At(i)) / 1000);
    }
    tile.DropHistograms(row);
  }
};

class NegateOperator final : public MapOperator {
 public:
  NegateOperator(ExecContext& context, OperatorPtr input)
      : MapOperator(context, std::move(input), true) {}
  std::string Describe() const override { return "negate"; }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    double* values = tile.values(row);
    for (uint32_t i = 0; i < tile.steps(); ++i) values[i] = -values[i];
    if (!tile.has_histograms(row)) return;
    HistogramPtr* column = tile.histograms(row);
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (column[i] == nullptr) continue;
      FloatHistogram h = *column[i];
      Scale(h, -1);
      h.reset_hint = CounterResetHint::kGauge;
      column[i] = std::make_shared<const FloatHistogram>(std::move(h));
    }
  }
};

class HistogramElementsOperator final : public MapOperator {
 public:
  HistogramElementsOperator(ExecContext& context, HistogramFunction function, OperatorPtr input)
      : MapOperator(context, std::move(input), true), function_(function) {}
  std::string Describe() const override {
    static constexpr std::string_view kNames[] = {"histogram_count", "histogram_sum",
                                                  "histogram_avg", "histogram_stddev",
                                                  "histogram_stdvar"};
    return std::string(kNames[static_cast<size_t>(function_)]);
  }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    std::fill_n(tile.valid(row), tile.words(), 0);
    if (!tile.has_histograms(row)) return;
    const HistogramPtr* column = tile.histograms(row);
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (column[i] != nullptr) tile.SetFloat(row, i, ValueOf(*column[i]));
    }
    tile.DropHistograms(row);
  }

 private:
  double ValueOf(const FloatHistogram& h) const {
    switch (function_) {
      case HistogramFunction::kCount:
        return h.count;
      case HistogramFunction::kSum:
        return h.sum;
      case HistogramFunction::kAverage:
        return h.sum / h.count;
      case HistogramFunction::kStddev:
        return std::sqrt(VarianceOfHistogram(h));
      case HistogramFunction::kStdvar:
        return VarianceOfHistogram(h);
    }
    return kNan;
  }
  const HistogramFunction function_;
};

class VectorScalarOperator final : public MapOperator {
 public:
  VectorScalarOperator(ExecContext& context, VectorScalarSpec spec, OperatorPtr vector,
                       OperatorPtr scalar)
      : MapOperator(context, std::move(vector), IsArithmetic(spec.function) || spec.return_bool),
        spec_(std::move(spec)) {
    scalars_.push_back(std::move(scalar));
  }
  std::string Describe() const override {
    return Concat(spec_.scalar_left ? "scalar " : "vector ", ToString(spec_.function),
                  spec_.return_bool ? " bool" : "", spec_.scalar_left ? " vector" : " scalar");
  }

 protected:
  void Map(Tile& tile, uint32_t row) override {
    double* v = tile.values(row);
    uint64_t* valid = tile.valid(row);
    const double* s = parameters_[0].data();
    const uint32_t steps = tile.steps();
    if (tile.has_histograms(row) || IsTrim(spec_.function)) {
      MapMixed(tile, row);
      return;
    }
    switch (spec_.function) {
      case BinaryFunction::kAdd:
        return Each(v, s, steps, [](double a, double b) { return a + b; });
      case BinaryFunction::kSubtract:
        return Each(v, s, steps, [](double a, double b) { return a - b; });
      case BinaryFunction::kMultiply:
        return Each(v, s, steps, [](double a, double b) { return a * b; });
      case BinaryFunction::kDivide:
        return Each(v, s, steps, [](double a, double b) { return a / b; });
      case BinaryFunction::kModulo:
      case BinaryFunction::kPower:
      case BinaryFunction::kAtan2:
        ForEachBit(valid, tile.words(), [&](uint32_t i) {
          v[i] = spec_.scalar_left ? Calculate(spec_.function, s[i], v[i])
                                   : Calculate(spec_.function, v[i], s[i]);
        });
        return;
      default:
        break;
    }
    for (uint32_t w = 0; w < tile.words(); ++w) {
      uint64_t kept = 0;
      ForEachBit(valid + w, 1, [&](uint32_t bit) {
        const uint32_t i = w * 64 + bit;
        const bool keep = spec_.scalar_left ? Compare(spec_.function, s[i], v[i])
                                            : Compare(spec_.function, v[i], s[i]);
        kept |= static_cast<uint64_t>(keep) << bit;
        if (spec_.return_bool) v[i] = keep ? 1 : 0;
      });
      if (!spec_.return_bool) valid[w] = kept;
    }
  }

 private:
  template <typename F>
  void Each(double* v, const double* s, uint32_t steps, F&& f) const {
    if (spec_.scalar_left) {
      for (uint32_t i = 0; i < steps; ++i) v[i] = f(s[i], v[i]);
    } else {
      for (uint32_t i = 0; i < steps; ++i) v[i] = f(v[i], s[i]);
    }
  }

  void MapMixed(Tile& tile, uint32_t row) {
    for (uint32_t i = 0; i < tile.steps(); ++i) {
      if (!tile.has_any(row, i)) continue;
      const HistogramPtr h = tile.has_histograms(row) ? tile.histograms(row)[i] : HistogramPtr();
      const double value = tile.values(row)[i];
      const double scalar = parameters_[0][i];
      PairResult result = spec_.scalar_left
                              ? Combine(spec_.function, scalar, nullptr, value, h.get())
                              : Combine(spec_.function, value, h.get(), scalar, nullptr);
      const bool left_histogram = h != nullptr && !spec_.scalar_left;
      const bool right_histogram = h != nullptr && spec_.scalar_left;
      NotePair(context_, result, spec_.function, left_histogram, right_histogram, spec_.place);
      ClearBit(tile.valid(row), i);
      if (h != nullptr) tile.histograms(row)[i] = nullptr;
      if (result.problem != PairResult::Problem::kNone) continue;
      if (spec_.return_bool) {
        tile.SetFloat(row, i, result.keep ? 1 : 0);
      } else if (result.keep) {
        if (IsComparison(spec_.function)) {
          // A comparison gives back the vector's value, whichever side it is on.
          if (h != nullptr) {
            tile.histograms(row)[i] = h;
          } else {
            tile.SetFloat(row, i, value);
          }
        } else if (result.histogram != nullptr) {
          tile.histograms(row)[i] = std::move(result.histogram);
        } else {
          tile.SetFloat(row, i, result.value);
        }
      }
    }
  }

  const VectorScalarSpec spec_;
};

class FloatsOnlyOperator final : public MapOperator {
 public:
  FloatsOnlyOperator(ExecContext& context, OperatorPtr input)
      : MapOperator(context, std::move(input), false) {}
  std::string Describe() const override { return "floats"; }

 protected:
  void Map(Tile& tile, uint32_t row) override { tile.DropHistograms(row); }
};

// --- Labels ---

/// What a made label value may hold. Functions that double a value nest, and a query may be long.
constexpr size_t kMadeLabelBytesMax = 1u << 20;

Status CheckMadeLabel(std::string_view function, size_t bytes) {
  if (bytes <= kMadeLabelBytesMax) return absl::OkStatus();
  return ExecutionError(
      Concat(function, "(): label value of more than ", kMadeLabelBytesMax, " bytes"));
}

/// Replaces one label of a set; an empty value removes it.
LabelsView SetLabel(ExecContext& context, LabelsView labels, std::string_view name,
                    std::string_view value) {
  std::vector<LabelView> out;
  out.reserve(labels.size() + 1);
  for (const LabelView& label : labels) {
    if (label.name != name) out.push_back(label);
  }
  if (!value.empty()) {
    const LabelView added{context.KeepBytes(name), context.KeepBytes(value)};
    out.insert(
        std::lower_bound(out.begin(), out.end(), added,
                         [](const LabelView& a, const LabelView& b) { return a.name < b.name; }),
        added);
  }
  return context.KeepLabels(out);
}

bool IsLabelName(std::string_view name) { return !name.empty() && IsValidUtf8(name); }

/// Expands $1, ${1}, $name, ${name} and $$ as Go's Regexp.Expand does; unknown groups are empty.
/// Stops once there are too many bytes for a label.
std::string Expand(std::string_view pattern, const RE2& regex,
                   const std::vector<re2::StringPiece>& groups) {
  const auto is_word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  std::string out;
  for (size_t i = 0; i < pattern.size() && out.size() <= kMadeLabelBytesMax; ++i) {
    if (pattern[i] != '$') {
      out += pattern[i];
      continue;
    }
    if (i + 1 < pattern.size() && pattern[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const bool braces = i + 1 < pattern.size() && pattern[i + 1] == '{';
    const size_t begin = i + 1 + braces;
    size_t end = begin;
    while (end < pattern.size() && is_word(pattern[end])) ++end;
    if (end == begin || (braces && (end >= pattern.size() || pattern[end] != '}'))) {
      out += '$';  // not a reference after all
      continue;
    }
    const std::string name(pattern.substr(begin, end - begin));
    size_t number = groups.size();
    if (std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      number = name.size() < 9 ? std::stoul(name) : groups.size();
    } else {
      const auto& names = regex.NamedCapturingGroups();
      const auto it = names.find(name);
      if (it != names.end()) number = static_cast<size_t>(it->second);
    }
    if (number < groups.size() && groups[number].data() != nullptr) {
      out.append(groups[number].data(), groups[number].size());
    }
    i = end - (braces ? 0 : 1);
  }
  return out;
}

class LabelReplaceOperator final : public MapOperator {
 public:
  LabelReplaceOperator(ExecContext& context, OperatorPtr input, std::string target,
                       std::string replacement, std::string source, std::string regex)
      : MapOperator(context, std::move(input), false),
        target_(std::move(target)),
        replacement_(std::move(replacement)),
        source_(std::move(source)),
        regex_(std::move(regex)) {}
  std::string Describe() const override { return Concat("label_replace ", GoQuote(target_)); }

 protected:
  Status OpenImpl() override {
    RE2::Options options;
    options.set_log_errors(false);
    // The pattern alone must parse: brackets that only balance with ours do not count.
    if (BoundedRegex::HasTooManyParts(regex_)) {
      return ExecutionError("regular expression too large in label_replace()");
    }
    const RE2 bare(regex_, options);
    const RE2 regex(Concat("^(?s:", regex_, ")$"), options);
    if (!regex.ok() || !bare.ok()) {
      return ExecutionError(Concat("invalid regular expression in label_replace(): ", regex_));
    }
    if (!IsLabelName(target_)) {
      return ExecutionError(Concat("invalid destination label name in label_replace(): ", target_));
    }
    VARVE_RETURN_IF_ERROR(MapOperator::OpenImpl());
    std::vector<re2::StringPiece> groups(regex.NumberOfCapturingGroups() + 1);
    for (SeriesHeader& header : series_) {
      const std::string_view value = FindLabel(header.labels, source_);
      const re2::StringPiece text(value.data(), value.size());
      if (!regex.Match(text, 0, text.size(), RE2::ANCHOR_BOTH, groups.data(),
                       static_cast<int>(groups.size()))) {
        continue;
      }
      const std::string made = Expand(replacement_, regex, groups);
      VARVE_RETURN_IF_ERROR(CheckMadeLabel("label_replace", made.size()));
      VARVE_RETURN_IF_ERROR(
          context_.budget.Take(0, made.size() + (header.labels.size() + 1) * sizeof(LabelView)));
      VARVE_RETURN_IF_ERROR(context_.Poll());
      header.labels = SetLabel(context_, header.labels, target_, made);
      if (target_ == kMetricName) header.drop_name = false;
    }
    return absl::OkStatus();
  }
  void Map(Tile&, uint32_t) override {}

 private:
  const std::string target_;
  const std::string replacement_;
  const std::string source_;
  const std::string regex_;
};

class LabelJoinOperator final : public MapOperator {
 public:
  LabelJoinOperator(ExecContext& context, OperatorPtr input, std::string target,
                    std::string separator, std::vector<std::string> sources)
      : MapOperator(context, std::move(input), false),
        target_(std::move(target)),
        separator_(std::move(separator)),
        sources_(std::move(sources)) {}
  std::string Describe() const override { return Concat("label_join ", GoQuote(target_)); }

 protected:
  Status OpenImpl() override {
    for (const std::string& source : sources_) {
      if (!IsLabelName(source)) {
        return ExecutionError(Concat("invalid source label name in label_join(): ", source));
      }
    }
    if (!IsLabelName(target_)) {
      return ExecutionError(Concat("invalid destination label name in label_join(): ", target_));
    }
    VARVE_RETURN_IF_ERROR(MapOperator::OpenImpl());
    for (SeriesHeader& header : series_) {
      std::string value;
      for (size_t i = 0; i < sources_.size(); ++i) {
        if (i > 0) value += separator_;
        value += FindLabel(header.labels, sources_[i]);
        VARVE_RETURN_IF_ERROR(CheckMadeLabel("label_join", value.size()));
      }
      VARVE_RETURN_IF_ERROR(
          context_.budget.Take(0, value.size() + (header.labels.size() + 1) * sizeof(LabelView)));
      VARVE_RETURN_IF_ERROR(context_.Poll());
      header.labels = SetLabel(context_, header.labels, target_, value);
      if (target_ == kMetricName) header.drop_name = false;
    }
    return absl::OkStatus();
  }
  void Map(Tile&, uint32_t) override {}

 private:
  const std::string target_;
  const std::string separator_;
  const std::vector<std::string> sources_;
};

// --- Order and absence ---

class SortOperator final : public StoredOperator {
 public:
  SortOperator(ExecContext& context, OperatorPtr input, bool by_value,
               std::vector<std::string> labels, bool descending)
      : StoredOperator(context, input->grid()),
        input_(std::move(input)),
        by_value_(by_value),
        labels_(std::move(labels)),
        descending_(descending) {}
  std::string Describe() const override {
    return Concat(by_value_ ? "sort" : "sort_by_label", descending_ ? " descending" : "");
  }
  std::vector<Operator*> children() const override { return {input_.get()}; }
  bool ordered() const override { return true; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    VARVE_RETURN_IF_ERROR(rows_.AppendAll(*input_));
    const std::vector<SeriesHeader>& in = input_->series();
    for (uint32_t i = 0; i < rows_.size(); ++i) {
      if (by_value_ ? rows_[i].has_float(0) : rows_[i].has_any(0)) order_.push_back(i);
    }
    if (by_value_) {
      std::stable_sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
        const double x = rows_[a].values[0];
        const double y = rows_[b].values[0];
        if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
        return descending_ ? x > y : x < y;
      });
    } else {
      std::stable_sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
        if (descending_) std::swap(a, b);
        for (const std::string& name : labels_) {
          const std::string_view x = FindLabel(in[a].labels, name);
          const std::string_view y = FindLabel(in[b].labels, name);
          if (x != y) return NaturalLess(x, y);
        }
        return CompareLabels(in[a].labels, in[b].labels) < 0;
      });
    }
    for (const uint32_t i : order_) series_.push_back(in[i]);
    empty_ = order_.empty();
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override {
    if (empty_) {
      tile.Reset(0, grid_.count);
      return absl::OkStatus();
    }
    return StoredOperator::NextImpl(tile);
  }

 private:
  OperatorPtr input_;
  const bool by_value_;
  const std::vector<std::string> labels_;
  const bool descending_;
  bool empty_ = false;
};

class AbsentOperator final : public Operator {
 public:
  AbsentOperator(ExecContext& context, OperatorPtr input, Labels labels)
      : Operator(context, input->grid()), input_(std::move(input)), labels_(std::move(labels)) {}
  std::string Describe() const override { return "absent"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    series_.push_back({labels_.view(), false});
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override {
    tile.Reset(done_ ? 0 : 1, grid_.count);
    if (done_) return absl::OkStatus();
    done_ = true;
    std::vector<uint64_t> present(BitWords(grid_.count), 0);
    Tile in;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(in));
      if (in.rows() == 0) break;
      for (uint32_t r = 0; r < in.rows(); ++r) {
        for (uint32_t w = 0; w < in.words(); ++w) present[w] |= in.valid(r)[w];
        if (!in.has_histograms(r)) continue;
        for (uint32_t i = 0; i < in.steps(); ++i) {
          if (in.histogram(r, i) != nullptr) SetBit(present.data(), i);
        }
      }
    }
    for (uint32_t i = 0; i < grid_.count; ++i) {
      if (!GetBit(present.data(), i)) tile.SetFloat(0, i, 1);
    }
    return absl::OkStatus();
  }

 private:
  OperatorPtr input_;
  const Labels labels_;
  bool done_ = false;
};

class NothingOperator final : public Operator {
 public:
  using Operator::Operator;
  std::string Describe() const override { return "nothing"; }

 protected:
  Status OpenImpl() override { return absl::OkStatus(); }
  Status NextImpl(Tile& tile) override {
    tile.Reset(0, grid_.count);
    return absl::OkStatus();
  }
};

}  // namespace

void NotePair(ExecContext& context, const PairResult& result, BinaryFunction function,
              bool left_histogram, bool right_histogram, std::string_view place) {
  const std::string_view op = ToString(function);
  if (result.problem == PairResult::Problem::kIncompatibleTypes) {
    context.annotations.Add(Kind::kInfo,
                            Concat("incompatible sample types encountered for binary operator ",
                                   GoQuote(op), ": ", left_histogram ? "histogram" : "float", " ",
                                   op, " ", right_histogram ? "histogram" : "float"),
                            place);
  } else if (result.problem == PairResult::Problem::kIncompatibleBuckets) {
    context.annotations.Add(
        Kind::kWarning, Concat("incompatible bucket layout encountered for binary operator ", op),
        place);
  }
  const std::string_view word = function == BinaryFunction::kAdd ? "addition" : "subtraction";
  if (result.collision) {
    context.annotations.Add(Kind::kWarning,
                            Concat("conflicting counter resets during histogram ", word), place);
  }
  if (result.reconciled) {
    context.annotations.Add(
        Kind::kInfo, Concat("mismatched custom buckets were reconciled during ", word), place);
  }
}

OperatorPtr ConstantScalar(ExecContext& context, const StepGrid& grid, double value) {
  return std::make_unique<ConstantOperator>(context, grid, value);
}
OperatorPtr TimeScalar(ExecContext& context, const StepGrid& grid) {
  return std::make_unique<TimeOperator>(context, grid);
}
OperatorPtr VectorToScalar(ExecContext& context, OperatorPtr input) {
  return std::make_unique<ToScalarOperator>(context, std::move(input));
}
OperatorPtr ScalarPair(ExecContext& context, BinaryFunction function, OperatorPtr left,
                       OperatorPtr right) {
  return std::make_unique<ScalarPairOperator>(context, function, nullptr, std::move(left),
                                              std::move(right));
}
OperatorPtr ScalarExtreme(ExecContext& context, ScalarChoice choice, OperatorPtr left,
                          OperatorPtr right) {
  return std::make_unique<ScalarPairOperator>(context, BinaryFunction::kAdd, &choice,
                                              std::move(left), std::move(right));
}
OperatorPtr Elements(ExecContext& context, ElementFunction function, OperatorPtr input) {
  return std::make_unique<ElementsOperator>(context, function, std::move(input));
}
OperatorPtr Round(ExecContext& context, OperatorPtr input, OperatorPtr nearest) {
  return std::make_unique<RoundOperator>(context, std::move(input), std::move(nearest));
}
OperatorPtr Clamp(ExecContext& context, OperatorPtr input, OperatorPtr low, OperatorPtr high) {
  return std::make_unique<ClampOperator>(context, std::move(input), std::move(low),
                                         std::move(high));
}
OperatorPtr StepTimestamps(ExecContext& context, OperatorPtr input) {
  return std::make_unique<StepTimestampsOperator>(context, std::move(input));
}
OperatorPtr Negate(ExecContext& context, OperatorPtr input) {
  return std::make_unique<NegateOperator>(context, std::move(input));
}
OperatorPtr HistogramElements(ExecContext& context, HistogramFunction function, OperatorPtr input) {
  return std::make_unique<HistogramElementsOperator>(context, function, std::move(input));
}
OperatorPtr VectorScalar(ExecContext& context, VectorScalarSpec spec, OperatorPtr vector,
                         OperatorPtr scalar) {
  return std::make_unique<VectorScalarOperator>(context, std::move(spec), std::move(vector),
                                                std::move(scalar));
}
OperatorPtr LabelReplace(ExecContext& context, OperatorPtr input, std::string target,
                         std::string replacement, std::string source, std::string regex) {
  return std::make_unique<LabelReplaceOperator>(context, std::move(input), std::move(target),
                                                std::move(replacement), std::move(source),
                                                std::move(regex));
}
OperatorPtr LabelJoin(ExecContext& context, OperatorPtr input, std::string target,
                      std::string separator, std::vector<std::string> sources) {
  return std::make_unique<LabelJoinOperator>(context, std::move(input), std::move(target),
                                             std::move(separator), std::move(sources));
}
OperatorPtr SortByValue(ExecContext& context, OperatorPtr input, bool descending) {
  return std::make_unique<SortOperator>(context, std::move(input), true, std::vector<std::string>(),
                                        descending);
}
OperatorPtr SortByLabel(ExecContext& context, OperatorPtr input, std::vector<std::string> labels,
                        bool descending) {
  return std::make_unique<SortOperator>(context, std::move(input), false, std::move(labels),
                                        descending);
}
OperatorPtr FloatsOnly(ExecContext& context, OperatorPtr input) {
  return std::make_unique<FloatsOnlyOperator>(context, std::move(input));
}
OperatorPtr Absent(ExecContext& context, OperatorPtr input, Labels labels) {
  return std::make_unique<AbsentOperator>(context, std::move(input), std::move(labels));
}
OperatorPtr Nothing(ExecContext& context, const StepGrid& grid) {
  return std::make_unique<NothingOperator>(context, grid);
}

}  // namespace varve::query
