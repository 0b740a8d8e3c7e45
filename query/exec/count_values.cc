#include <algorithm>
#include <bit>

#include "absl/container/flat_hash_map.h"
#include "engine/base/strings.h"
#include "query/exec/aggregate.h"
#include "query/functions/float_histogram.h"
#include "query/functions/go_format.h"

namespace varve::query {
namespace {

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

OperatorPtr CountValues(ExecContext& context, std::string label, Grouping grouping,
                        OperatorPtr input) {
  return std::make_unique<CountValuesOperator>(context, std::move(label), std::move(grouping),
                                               std::move(input));
}

}  // namespace varve::query
