#include "query/exec/binary.h"

#include <algorithm>
#include <bit>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "query/exec/elementwise.h"

namespace varve::query {
namespace {

bool Contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Gives the labels that decide who matches whom.
void SignatureLabels(LabelsView labels, bool on, const std::vector<std::string>& names,
                     std::vector<LabelView>* out) {
  out->clear();
  for (const LabelView& label : labels) {
    const bool named = Contains(names, label.name);
    if (on ? named : !named && label.name != kMetricName) out->push_back(label);
  }
}

/// Numbers the signatures of both sides.
class Signatures {
 public:
  Signatures(bool on, const std::vector<std::string>& names) : on_(on), names_(names) {}
  std::vector<uint32_t> Number(const std::vector<SeriesHeader>& series) {
    std::vector<uint32_t> out;
    out.reserve(series.size());
    std::vector<LabelView> labels;
    for (const SeriesHeader& header : series) {
      SignatureLabels(header.labels, on_, names_, &labels);
      out.push_back(
          numbers_.emplace(KeyOf(labels), static_cast<uint32_t>(numbers_.size())).first->second);
    }
    return out;
  }
  size_t size() const { return numbers_.size(); }

 private:
  const bool on_;
  const std::vector<std::string>& names_;
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> numbers_;
};

class VectorPairOperator final : public Operator {
 public:
  VectorPairOperator(ExecContext& context, BinaryFunction function, bool return_bool,
                     Matching matching, OperatorPtr left, OperatorPtr right, std::string place)
      : Operator(context, left->grid()),
        function_(function),
        return_bool_(return_bool),
        matching_(std::move(matching)),
        swapped_(matching_.cardinality == Matching::Cardinality::kOneToMany),
        many_(swapped_ ? std::move(right) : std::move(left)),
        one_(swapped_ ? std::move(left) : std::move(right)),
        place_(std::move(place)),
        ones_(context, grid_.count) {
    // Fill values belong to the sides as streamed, not as written: with group_right, fill_left
    // stands in for the many. That is what Prometheus does.
    fill_one_ = matching_.fill_right;
    fill_many_ = matching_.fill_left;
  }
  std::string Describe() const override {
    std::string out =
        Concat("vector ", ToString(function_), return_bool_ ? " bool" : "", " vector, ");
    out += matching_.cardinality == Matching::Cardinality::kOneToOne ? "one to one"
           : swapped_                                                ? "one to many"
                                                                     : "many to one";
    if (matching_.on || !matching_.labels.empty()) {
      out += matching_.on ? ", on (" : ", ignoring (";
      for (size_t i = 0; i < matching_.labels.size(); ++i) {
        out += (i ? ", " : "") + matching_.labels[i];
      }
      out += ")";
    }
    return out;
  }
  std::vector<Operator*> children() const override { return {many_.get(), one_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(one_->Open());
    VARVE_RETURN_IF_ERROR(many_->Open());
    Signatures signatures(matching_.on, matching_.labels);
    const std::vector<uint32_t> one_groups = signatures.Number(one_->series());
    many_groups_ = signatures.Number(many_->series());
    groups_.resize(signatures.size());
    for (uint32_t i = 0; i < one_groups.size(); ++i) groups_[one_groups[i]].ones.push_back(i);
    for (const uint32_t g : many_groups_) ++groups_[g].manies;
    one_groups_ = one_groups;
    if (!fill_one_ && !fill_many_ && (one_groups.empty() || many_groups_.empty())) {
      // Nobody matches, but either side may still fail or have something to say.
      nothing_ = true;
      VARVE_RETURN_IF_ERROR(Drain(*one_));
      return Drain(*many_);
    }
    VARVE_RETURN_IF_ERROR(ones_.AppendAll(*one_));
    FindDuplicates();
    many_any_.assign(BitWords(grid_.count), 0);
    if (fill_many_) {
      for (Group& g : groups_) {
        if (!g.ones.empty()) g.matched.assign(BitWords(grid_.count), 0);
      }
    }
    MakeOutputs();
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (nothing_) {
      tile.Reset(0, grid_.count);
      return absl::OkStatus();
    }
    // Outputs of the many side come one after the other, then those of lone ones.
    const uint32_t rows_max = TileRows();
    const size_t first = emitted_;
    size_t last = first;
    size_t many = many_done_;
    while (many < many_groups_.size()) {
      const size_t more = variants_[many].size();
      if (last > first && last - first + more > rows_max) break;
      last += more;
      ++many;
      if (last - first >= rows_max) break;
    }
    if (many > many_done_) {
      tile.Reset(static_cast<uint32_t>(last - first), grid_.count);
      uint32_t row = 0;
      for (; many_done_ < many; ++many_done_) {
        if (many_row_ >= many_tile_.rows()) {
          VARVE_RETURN_IF_ERROR(many_->Next(many_tile_));
          many_row_ = 0;
          VARVE_CHECK(many_tile_.rows() > 0);
        }
        VARVE_RETURN_IF_ERROR(MatchRow(many_done_, many_row_, tile, row));
        row += static_cast<uint32_t>(variants_[many_done_].size());
        ++many_row_;
      }
      emitted_ = last;
      if (many_done_ == many_groups_.size()) VARVE_RETURN_IF_ERROR(CheckDuplicates());
      if (tile.rows() > 0) return absl::OkStatus();
      return NextImpl(tile);
    }
    if (!checked_) VARVE_RETURN_IF_ERROR(CheckDuplicates());
    return LoneOnes(tile);
  }

 private:
  struct Group {
    std::vector<uint32_t> ones;
    uint32_t manies = 0;
    std::vector<uint64_t> matched;  // steps with a partner; only where somebody asks
    absl::flat_hash_map<SeriesKey, std::vector<uint64_t>, SeriesKeyHash> taken;
  };
  /// One possible output of a many-side row: which of the ones lead to it.
  struct Variant {
    uint32_t series = 0;         // index into series_
    std::vector<uint32_t> ones;  // kFilled stands for the fill value
    bool shared = false;         // another row of the group has the same labels
  };
  static constexpr uint32_t kFilled = ~0u;

  /// Gives the labels of the result of a pair.
  LabelsView ResultLabels(LabelsView many, LabelsView one) {
    std::vector<LabelView> out;
    for (const LabelView& label : many) {
      if (IsArithmetic(function_) && IsMetadataLabel(label.name)) continue;
      if (return_bool_ && !context_.delayed_names && IsMetadataLabel(label.name)) continue;
      if (matching_.cardinality == Matching::Cardinality::kOneToOne) {
        const bool named = Contains(matching_.labels, label.name);
        if (matching_.on ? !named : named) continue;
      }
      if (Contains(matching_.include, label.name)) continue;
      out.push_back(label);
    }
    for (const std::string& name : matching_.include) {
      const std::string_view value = FindLabel(one, name);
      if (value.empty()) continue;
      const LabelView label{context_.KeepBytes(name), value};
      if (std::any_of(out.begin(), out.end(),
                      [&](const LabelView& l) { return l.name == label.name; })) {
        continue;
      }
      out.insert(std::lower_bound(out.begin(), out.end(), label), label);
    }
    return context_.KeepLabels(out);
  }

  void MakeOutputs() {
    const std::vector<SeriesHeader>& manies = many_->series();
    const std::vector<SeriesHeader>& ones = one_->series();
    variants_.resize(manies.size());
    std::vector<LabelView> signature;
    // Only labels taken from the one side make the result depend on it.
    const bool one_matters = !matching_.include.empty();
    for (size_t m = 0; m < manies.size(); ++m) {
      Group& group = groups_[many_groups_[m]];
      std::vector<uint32_t> partners = group.ones;
      if (fill_one_) partners.push_back(kFilled);
      absl::flat_hash_map<SeriesKey, size_t, SeriesKeyHash> seen;
      for (const uint32_t partner : partners) {
        if (!one_matters && !variants_[m].empty()) {
          variants_[m][0].ones.push_back(partner);
          continue;
        }
        LabelsView one_labels;
        if (partner == kFilled) {
          SignatureLabels(manies[m].labels, matching_.on, matching_.labels, &signature);
          one_labels = signature;
        } else {
          one_labels = ones[partner].labels;
        }
        const LabelsView labels = ResultLabels(manies[m].labels, one_labels);
        const auto [it, added] = seen.emplace(KeyOf(labels), variants_[m].size());
        if (added) {
          Variant variant;
          variant.series = static_cast<uint32_t>(series_.size());
          series_.push_back({labels, DropsName(manies[m])});
          variants_[m].push_back(std::move(variant));
        }
        variants_[m][it->second].ones.push_back(partner);
      }
    }
    MarkShared();
    if (!fill_many_) return;
    // Ones without partner get rows of their own.
    lone_begin_ = series_.size();
    for (uint32_t i = 0; i < ones.size(); ++i) {
      SignatureLabels(ones[i].labels, matching_.on, matching_.labels, &signature);
      series_.push_back({ResultLabels(signature, ones[i].labels), DropsName(ones[i])});
    }
  }

  /// Finds the outputs that could be given twice at one step: any two of a group if it is one to
  /// one, else those with equal labels.
  void MarkShared() {
    const bool one_to_one = matching_.cardinality == Matching::Cardinality::kOneToOne;
    std::vector<absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash>> uses(
        one_to_one ? 0 : groups_.size());
    if (!one_to_one) {
      for (size_t m = 0; m < variants_.size(); ++m) {
        if (groups_[many_groups_[m]].manies < 2) continue;
        for (const Variant& variant : variants_[m]) {
          ++uses[many_groups_[m]][KeyOf(series_[variant.series].labels)];
        }
      }
    }
    for (size_t m = 0; m < variants_.size(); ++m) {
      if (groups_[many_groups_[m]].manies < 2) continue;
      for (Variant& variant : variants_[m]) {
        variant.shared =
            one_to_one || uses[many_groups_[m]][KeyOf(series_[variant.series].labels)] > 1;
      }
    }
  }

  bool DropsName(const SeriesHeader& many) const {
    if (return_bool_) return true;
    return !IsArithmetic(function_) && many.drop_name;
  }

  /// Finds ones that meet in a group at a step; whether that is an error depends on the other side.
  void FindDuplicates() {
    for (const Group& group : groups_) {
      if (group.ones.size() < 2) continue;
      for (uint32_t s = 0; s < grid_.count; ++s) {
        uint32_t first = kFilled;
        for (const uint32_t one : group.ones) {
          if (!ones_[one].has_any(s)) continue;
          if (first == kFilled) {
            first = one;
            continue;
          }
          duplicates_.push_back({s, first, one});
          break;
        }
      }
    }
  }
  Status CheckDuplicates() {
    checked_ = true;
    const Duplicate* worst = nullptr;
    for (const Duplicate& d : duplicates_) {
      if (!fill_one_ && !fill_many_ && !GetBit(many_any_.data(), d.step)) continue;
      if (worst == nullptr || std::tie(d.step, d.second) < std::tie(worst->step, worst->second)) {
        worst = &d;
      }
    }
    if (worst == nullptr) return absl::OkStatus();
    const std::vector<SeriesHeader>& ones = one_->series();
    uint32_t low = worst->first;
    uint32_t high = worst->second;
    if (CompareLabels(ones[high].labels, ones[low].labels) < 0) std::swap(low, high);
    std::vector<LabelView> signature;
    SignatureLabels(ones[worst->second].labels, matching_.on, matching_.labels, &signature);
    return ExecutionError(
        Concat("found duplicate series for the match group ", FormatLabels(signature), " on the ",
               swapped_ ? "left" : "right", " hand-side of the operation: [",
               FormatLabels(ones[low].labels), ", ", FormatLabels(ones[high].labels),
               "];many-to-many matching not allowed: matching labels must be unique on one side"));
  }

  Status MatchRow(size_t m, uint32_t many_row, Tile& tile, uint32_t row) {
    Group& group = groups_[many_groups_[m]];
    const uint64_t* valid = many_tile_.valid(many_row);
    for (uint32_t w = 0; w < many_tile_.words(); ++w) many_any_[w] |= valid[w];
    const bool histograms = many_tile_.has_histograms(many_row);
    for (uint32_t s = 0; histograms && s < grid_.count; ++s) {
      if (many_tile_.histogram(many_row, s) != nullptr) SetBit(many_any_.data(), s);
    }
    for (size_t v = 0; v < variants_[m].size(); ++v) {
      const Variant& variant = variants_[m][v];
      const uint32_t out_row = row + static_cast<uint32_t>(v);
      if (!variant.shared && !histograms && group.matched.empty() && variant.ones.size() == 1 &&
          variant.ones[0] != kFilled && ones_[variant.ones[0]].histograms.empty() &&
          !IsTrim(function_)) {
        FastRow(many_row, ones_[variant.ones[0]], tile, out_row);
      } else {
        VARVE_RETURN_IF_ERROR(SlowRow(m, variant, group, many_row, tile, out_row));
      }
    }
    return absl::OkStatus();
  }

  /// Floats on both sides and nobody else to ask.
  void FastRow(uint32_t many_row, const RowStore::Row& one, Tile& tile, uint32_t row) {
    if (one.valid.empty()) return;
    const uint64_t* many_valid = many_tile_.valid(many_row);
    const double* a = many_tile_.values(many_row);
    const double* b = one.values.data();
    if (swapped_) std::swap(a, b);
    double* out = tile.values(row);
    uint64_t* valid = tile.valid(row);
    for (uint32_t w = 0; w < tile.words(); ++w) valid[w] = many_valid[w] & one.valid[w];
    const uint32_t steps = grid_.count;
    switch (function_) {
      case BinaryFunction::kAdd:
        for (uint32_t i = 0; i < steps; ++i) out[i] = a[i] + b[i];
        return;
      case BinaryFunction::kSubtract:
        for (uint32_t i = 0; i < steps; ++i) out[i] = a[i] - b[i];
        return;
      case BinaryFunction::kMultiply:
        for (uint32_t i = 0; i < steps; ++i) out[i] = a[i] * b[i];
        return;
      case BinaryFunction::kDivide:
        for (uint32_t i = 0; i < steps; ++i) out[i] = a[i] / b[i];
        return;
      case BinaryFunction::kModulo:
      case BinaryFunction::kPower:
      case BinaryFunction::kAtan2:
        ForEachBit(valid, tile.words(),
                   [&](uint32_t i) { out[i] = Calculate(function_, a[i], b[i]); });
        return;
      default:
        break;
    }
    for (uint32_t w = 0; w < tile.words(); ++w) {
      uint64_t kept = 0;
      ForEachBit(valid + w, 1, [&](uint32_t bit) {
        const uint32_t i = w * 64 + bit;
        const bool keep = Compare(function_, a[i], b[i]);
        kept |= static_cast<uint64_t>(keep) << bit;
        out[i] = return_bool_ ? (keep ? 1.0 : 0.0) : a[i];
      });
      if (!return_bool_) valid[w] = kept;
    }
  }

  Status SlowRow(size_t m, const Variant& variant, Group& group, uint32_t many_row, Tile& tile,
                 uint32_t row) {
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (!many_tile_.has_any(many_row, s)) continue;
      const RowStore::Row* one = nullptr;
      bool found = false;
      bool filled = false;
      for (const uint32_t candidate : variant.ones) {
        if (candidate != kFilled && ones_[candidate].has_any(s)) {
          one = &ones_[candidate];
          found = true;
          break;
        }
      }
      if (!found && Contains1(variant.ones, kFilled)) {
        // The fill value only stands in when no partner at all is there.
        filled = std::none_of(group.ones.begin(), group.ones.end(),
                              [&](uint32_t c) { return ones_[c].has_any(s); });
      }
      if (!found && !filled) continue;
      // Also what a comparison drops has matched.
      if (variant.shared) VARVE_RETURN_IF_ERROR(Claim(m, variant, group, s));
      if (found && !group.matched.empty()) SetBit(group.matched.data(), s);
      const double one_value = found ? (one->values.empty() ? 0 : one->values[s]) : *fill_one_;
      const FloatHistogram* one_histogram = found ? one->histogram(s) : nullptr;
      const double many_value = many_tile_.values(many_row)[s];
      const FloatHistogram* many_histogram = many_tile_.histogram(many_row, s);
      Put(s, many_value, many_histogram, one_value, one_histogram, tile, row);
    }
    return absl::OkStatus();
  }

  static bool Contains1(const std::vector<uint32_t>& list, uint32_t value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  }

  void Put(uint32_t s, double many_value, const FloatHistogram* many_histogram, double one_value,
           const FloatHistogram* one_histogram, Tile& tile, uint32_t row) {
    double a = many_value;
    double b = one_value;
    const FloatHistogram* ha = many_histogram;
    const FloatHistogram* hb = one_histogram;
    if (swapped_) {
      std::swap(a, b);
      std::swap(ha, hb);
    }
    PairResult result = Combine(function_, a, ha, b, hb);
    NotePair(context_, result, function_, ha != nullptr, hb != nullptr, place_);
    if (result.problem != PairResult::Problem::kNone) return;
    if (return_bool_) {
      tile.SetFloat(row, s, result.keep ? 1 : 0);
    } else if (result.keep) {
      if (result.histogram != nullptr) {
        tile.histograms(row)[s] = std::move(result.histogram);
      } else {
        tile.SetFloat(row, s, result.value);
      }
    }
  }

  /// Notes that a row has given a result at a step; the second one with the same labels is one too
  /// many.
  Status Claim(size_t m, const Variant& variant, Group& group, uint32_t s) {
    const bool one_to_one = matching_.cardinality == Matching::Cardinality::kOneToOne;
    const SeriesKey key = one_to_one ? SeriesKey{} : KeyOf(series_[variant.series].labels);
    std::vector<uint64_t>& taken = group.taken[key];
    if (taken.empty()) taken.assign(BitWords(grid_.count), 0);
    if (GetBit(taken.data(), s)) {
      // Doubles on the one side are the error to tell first.
      VARVE_RETURN_IF_ERROR(CheckDuplicates());
      return ExecutionError(
          one_to_one ? "multiple matches for labels: many-to-one matching must be explicit "
                       "(group_left/group_right)"
                     : "multiple matches for labels: grouping labels must ensure unique matches");
    }
    SetBit(taken.data(), s);
    return absl::OkStatus();
  }

  /// Gives the ones that found nobody, paired with the fill value.
  Status LoneOnes(Tile& tile) {
    const size_t total = fill_many_ ? ones_.size() : 0;
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), total - lone_done_));
    tile.Reset(rows, grid_.count);
    for (uint32_t r = 0; r < rows; ++r, ++lone_done_) {
      const Group& group = groups_[one_groups_[lone_done_]];
      const RowStore::Row& one = ones_[lone_done_];
      for (uint32_t s = 0; s < grid_.count; ++s) {
        if (!one.has_any(s) || GetBit(group.matched.data(), s)) continue;
        Put(s, *fill_many_, nullptr, one.values.empty() ? 0 : one.values[s], one.histogram(s), tile,
            r);
      }
    }
    return absl::OkStatus();
  }

  struct Duplicate {
    uint32_t step;
    uint32_t first;
    uint32_t second;
  };

  const BinaryFunction function_;
  const bool return_bool_;
  const Matching matching_;
  const bool swapped_;
  OperatorPtr many_;
  OperatorPtr one_;
  const std::string place_;
  std::optional<double> fill_one_;
  std::optional<double> fill_many_;
  RowStore ones_;
  std::vector<uint32_t> many_groups_;
  std::vector<uint32_t> one_groups_;
  std::vector<Group> groups_;
  std::vector<std::vector<Variant>> variants_;
  std::vector<Duplicate> duplicates_;
  std::vector<uint64_t> many_any_;
  Tile many_tile_;
  uint32_t many_row_ = 0;
  size_t many_done_ = 0;
  size_t emitted_ = 0;
  size_t lone_begin_ = 0;
  size_t lone_done_ = 0;
  bool nothing_ = false;
  bool checked_ = false;
};

class SetPairOperator final : public Operator {
 public:
  SetPairOperator(ExecContext& context, SetFunction function, bool on,
                  std::vector<std::string> labels, OperatorPtr left, OperatorPtr right)
      : Operator(context, left->grid()),
        function_(function),
        on_(on),
        labels_(std::move(labels)),
        left_(std::move(left)),
        right_(std::move(right)) {}
  std::string Describe() const override {
    static constexpr std::string_view kNames[] = {"and", "or", "unless"};
    return std::string(kNames[static_cast<size_t>(function_)]);
  }
  std::vector<Operator*> children() const override { return {left_.get(), right_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(left_->Open());
    VARVE_RETURN_IF_ERROR(right_->Open());
    Signatures signatures(on_, labels_);
    left_groups_ = signatures.Number(left_->series());
    right_groups_ = signatures.Number(right_->series());
    words_ = BitWords(grid_.count);
    const uint64_t bytes = signatures.size() * words_ * 8;
    VARVE_RETURN_IF_ERROR(context_.budget.Take(0, bytes));
    present_.assign(signatures.size() * words_, 0);
    series_ = left_->series();
    if (function_ == SetFunction::kOr) {
      series_.insert(series_.end(), right_->series().begin(), right_->series().end());
      return absl::OkStatus();
    }
    // What the right side has, before any of the left is looked at.
    Tile tile;
    size_t at = 0;
    for (;;) {
      VARVE_RETURN_IF_ERROR(right_->Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) Mark(tile, r, right_groups_[at]);
    }
  }

  Status NextImpl(Tile& tile) override {
    if (!left_done_) {
      VARVE_RETURN_IF_ERROR(left_->Next(tile));
      if (tile.rows() > 0) {
        for (uint32_t r = 0; r < tile.rows(); ++r, ++left_at_) {
          const uint32_t group = left_groups_[left_at_];
          if (function_ == SetFunction::kOr) {
            Mark(tile, r, group);
          } else {
            Filter(tile, r, group, function_ == SetFunction::kAnd);
          }
        }
        return absl::OkStatus();
      }
      left_done_ = true;
    }
    if (function_ != SetFunction::kOr) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(right_->Next(tile));
    for (uint32_t r = 0; r < tile.rows(); ++r, ++right_at_) {
      Filter(tile, r, right_groups_[right_at_], false);
    }
    return absl::OkStatus();
  }

 private:
  void Mark(const Tile& tile, uint32_t r, uint32_t group) {
    uint64_t* bits = present_.data() + size_t{group} * words_;
    for (uint32_t w = 0; w < words_; ++w) bits[w] |= tile.valid(r)[w];
    if (!tile.has_histograms(r)) return;
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (tile.histogram(r, s) != nullptr) SetBit(bits, s);
    }
  }
  /// Keeps the cells whose group is (or is not) present.
  void Filter(Tile& tile, uint32_t r, uint32_t group, bool keep_present) {
    const uint64_t* bits = present_.data() + size_t{group} * words_;
    for (uint32_t w = 0; w < words_; ++w) {
      tile.valid(r)[w] &= keep_present ? bits[w] : ~bits[w];
    }
    if (!tile.has_histograms(r)) return;
    HistogramPtr* column = tile.histograms(r);
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (GetBit(bits, s) != keep_present) column[s] = nullptr;
    }
  }

  const SetFunction function_;
  const bool on_;
  const std::vector<std::string> labels_;
  OperatorPtr left_;
  OperatorPtr right_;
  std::vector<uint32_t> left_groups_;
  std::vector<uint32_t> right_groups_;
  std::vector<uint64_t> present_;
  uint32_t words_ = 0;
  size_t left_at_ = 0;
  size_t right_at_ = 0;
  bool left_done_ = false;
};

}  // namespace

std::string FormatLabels(LabelsView labels) {
  std::string out = "{";
  for (const LabelView& label : labels) {
    if (out.size() > 1) out += ", ";
    out += Concat(label.name, "=", GoQuote(label.value));
  }
  return out + "}";
}

OperatorPtr VectorPair(ExecContext& context, BinaryFunction function, bool return_bool,
                       Matching matching, OperatorPtr left, OperatorPtr right, std::string place) {
  return std::make_unique<VectorPairOperator>(context, function, return_bool, std::move(matching),
                                              std::move(left), std::move(right), std::move(place));
}

OperatorPtr SetPair(ExecContext& context, SetFunction function, bool on,
                    std::vector<std::string> labels, OperatorPtr left, OperatorPtr right) {
  return std::make_unique<SetPairOperator>(context, function, on, std::move(labels),
                                           std::move(left), std::move(right));
}

}  // namespace varve::query
