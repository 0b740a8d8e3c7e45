#include "query/exec/info.h"

#include <re2/re2.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "query/exec/binary.h"
#include "query/exec/scan.h"

namespace varve::query {
namespace {

constexpr std::string_view kDefaultInfo = "target_info";
constexpr std::string_view kIdentifying[] = {"instance", "job"};

/// Tests one matcher. Bad expressions have been refused by the parser.
bool Matches(const Matcher& matcher, std::string_view value) {
  switch (matcher.type) {
    case MatchType::kEqual:
      return matcher.value == value;
    case MatchType::kNotEqual:
      return matcher.value != value;
    case MatchType::kRegex:
    case MatchType::kNotRegex: {
      RE2::Options options;
      options.set_log_errors(false);
      const RE2 regex(Concat("(?s:", matcher.value, ")"), options);
      const bool match =
          regex.ok() && RE2::FullMatch(re2::StringPiece(value.data(), value.size()), regex);
      return match == (matcher.type == MatchType::kRegex);
    }
  }
  return false;
}

class InfoOperator final : public StoredOperator {
 public:
  InfoOperator(ExecContext& context, OperatorPtr input, std::vector<Matcher> matchers,
               int64_t offset_ms, std::optional<int64_t> at_ms)
      : StoredOperator(context, input->grid()),
        input_(std::move(input)),
        offset_ms_(offset_ms),
        at_ms_(at_ms),
        base_rows_(context, grid_.count),
        info_rows_(context, grid_.count) {
    for (Matcher& m : matchers) {
      (m.name == kMetricName ? name_matchers_ : data_matchers_).push_back(std::move(m));
    }
    if (name_matchers_.empty()) {
      name_matchers_.push_back(
          {MatchType::kEqual, std::string(kMetricName), std::string(kDefaultInfo)});
    } else if (std::none_of(name_matchers_.begin(), name_matchers_.end(), [](const Matcher& m) {
                 return m.type == MatchType::kEqual || m.type == MatchType::kRegex;
               })) {
      // Names that are only excluded leave every info metric.
      name_matchers_.push_back({MatchType::kRegex, std::string(kMetricName), ".+_info"});
    }
  }
  std::string Describe() const override { return "info"; }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out = {input_.get()};
    if (info_) out.push_back(info_.get());
    return out;
  }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    const std::vector<SeriesHeader>& base = input_->series();
    // Info metrics themselves stay as they are.
    is_info_.resize(base.size());
    std::map<std::string_view, std::set<std::string_view>> identities;
    for (size_t i = 0; i < base.size(); ++i) {
      const std::string_view name = FindLabel(base[i].labels, kMetricName);
      is_info_[i] = std::all_of(name_matchers_.begin(), name_matchers_.end(),
                                [&](const Matcher& m) { return Matches(m, name); });
      if (is_info_[i]) continue;
      for (const std::string_view label : kIdentifying) {
        const std::string_view value = FindLabel(base[i].labels, label);
        if (!value.empty()) identities[label].insert(value);
      }
    }
    VARVE_RETURN_IF_ERROR(base_rows_.AppendAll(*input_));
    if (!identities.empty()) VARVE_RETURN_IF_ERROR(ReadInfos(identities));
    for (size_t i = 0; i < base.size(); ++i) VARVE_RETURN_IF_ERROR(JoinRow(i));
    return absl::OkStatus();
  }

 private:
  Status ReadInfos(const std::map<std::string_view, std::set<std::string_view>>& identities) {
    Selection selection;
    for (const auto& [label, values] : identities) {
      std::string regex;
      for (const std::string_view value : values) {
        if (!regex.empty()) regex += '|';
        regex += RE2::QuoteMeta(re2::StringPiece(value.data(), value.size()));
      }
      selection.matchers.push_back({MatchType::kRegex, std::string(label), std::move(regex)});
    }
    for (const Matcher& m : name_matchers_) selection.matchers.push_back(m);
    for (const Matcher& m : data_matchers_) selection.matchers.push_back(m);
    selection.offset_ms = offset_ms_;
    selection.at_ms = at_ms_;
    info_ = InstantSelector(context_, grid_, std::move(selection), SelectorValue::kTimestampMillis);
    VARVE_RETURN_IF_ERROR(info_->Open());
    VARVE_RETURN_IF_ERROR(info_rows_.AppendAll(*info_));
    // Info series by what they identify, then by metric name.
    for (uint32_t i = 0; i < info_->series().size(); ++i) {
      const LabelsView labels = info_->series()[i].labels;
      by_identity_[Identity(labels)][FindLabel(labels, kMetricName)].push_back(i);
    }
    return absl::OkStatus();
  }

  static SeriesKey Identity(LabelsView labels) {
    std::vector<LabelView> out;
    for (const std::string_view name : kIdentifying) {
      const std::string_view value = FindLabel(labels, name);
      if (!value.empty()) out.push_back({name, value});
    }
    return KeyOf(out);
  }

  Status AddRow(SeriesHeader header, uint32_t* row) {
    *row = static_cast<uint32_t>(series_.size());
    series_.push_back(header);
    return rows_.AppendBlank(1);
  }

  void CopyCell(const RowStore::Row& from, uint32_t s, uint32_t row) {
    RowStore::Row& to = rows_[row];
    if (from.has_float(s)) {
      if (to.valid.empty()) {
        to.values.resize(grid_.count);
        to.valid.resize(BitWords(grid_.count));
      }
      to.values[s] = from.values[s];
      SetBit(to.valid.data(), s);
    } else {
      if (to.histograms.empty()) to.histograms.resize(grid_.count);
      to.histograms[s] = from.histograms[s];
    }
  }

  Status JoinRow(size_t i) {
    const SeriesHeader& header = input_->series()[i];
    const RowStore::Row& from = base_rows_[i];
    uint32_t row = 0;
    if (is_info_[i]) {
      VARVE_RETURN_IF_ERROR(AddRow(header, &row));
      for (uint32_t s = 0; s < grid_.count; ++s) {
        if (from.has_any(s)) CopyCell(from, s, row);
      }
      return absl::OkStatus();
    }
    static const std::map<std::string_view, std::vector<uint32_t>> kNone;
    const auto found = by_identity_.find(Identity(header.labels));
    const auto& infos = found == by_identity_.end() ? kNone : found->second;
    // Which info series are chosen may change from step to step; each choice has labels of its own.
    std::map<std::vector<uint32_t>, uint32_t> row_of;
    std::vector<uint32_t> chosen;
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (!from.has_any(s)) continue;
      chosen.clear();
      for (const auto& [name, candidates] : infos) {
        uint32_t best = kNobody;
        for (const uint32_t c : candidates) {
          if (!info_rows_[c].has_float(s)) continue;
          if (best == kNobody) {
            best = c;
            continue;
          }
          const double time = info_rows_[c].values[s];
          const double best_time = info_rows_[best].values[s];
          if (time == best_time) {
            return ExecutionError(Concat("found duplicate series for info metric: existing ",
                                         FormatLabels(info_->series()[best].labels), " @ ",
                                         static_cast<int64_t>(best_time), ", new ",
                                         FormatLabels(info_->series()[c].labels), " @ ",
                                         static_cast<int64_t>(time)));
          }
          if (time > best_time) best = c;
        }
        if (best != kNobody) chosen.push_back(best);
      }
      if (chosen.empty() && !DataMatchersTakeEmpty()) continue;
      auto it = row_of.find(chosen);
      if (it == row_of.end()) {
        SeriesHeader joined = header;
        VARVE_RETURN_IF_ERROR(JoinLabels(header.labels, chosen, &joined.labels));
        VARVE_RETURN_IF_ERROR(AddRow(joined, &row));
        it = row_of.emplace(chosen, row).first;
      }
      CopyCell(from, s, it->second);
    }
    return absl::OkStatus();
  }

  /// Without any info series, matchers that want a value leave nothing.
  bool DataMatchersTakeEmpty() const {
    return std::all_of(data_matchers_.begin(), data_matchers_.end(),
                       [](const Matcher& m) { return Matches(m, {}); });
  }

  Status JoinLabels(LabelsView base, const std::vector<uint32_t>& chosen, LabelsView* out) {
    std::map<std::string_view, std::string_view> added;
    for (const uint32_t c : chosen) {
      for (const LabelView& label : info_->series()[c].labels) {
        if (label.name == kMetricName) continue;
        if (!data_matchers_.empty() &&
            std::none_of(data_matchers_.begin(), data_matchers_.end(),
                         [&](const Matcher& m) { return m.name == label.name; })) {
          continue;
        }
        const auto it = added.find(label.name);
        if (it != added.end() && it->second != label.value) {
          return ExecutionError(Concat("conflicting label: ", label.name));
        }
        if (FindLabel(base, label.name).empty()) added.emplace(label.name, label.value);
      }
    }
    std::vector<LabelView> labels(base.begin(), base.end());
    for (const auto& [name, value] : added) labels.push_back({name, value});
    std::sort(labels.begin(), labels.end());
    *out = context_.KeepLabels(labels);
    return absl::OkStatus();
  }

  static constexpr uint32_t kNobody = ~0u;
  OperatorPtr input_;
  OperatorPtr info_;
  std::vector<Matcher> name_matchers_;
  std::vector<Matcher> data_matchers_;
  const int64_t offset_ms_;
  const std::optional<int64_t> at_ms_;
  RowStore base_rows_;
  RowStore info_rows_;
  std::vector<bool> is_info_;
  absl::flat_hash_map<SeriesKey, std::map<std::string_view, std::vector<uint32_t>>, SeriesKeyHash>
      by_identity_;
};

}  // namespace

OperatorPtr JoinInfo(ExecContext& context, OperatorPtr input, std::vector<Matcher> matchers,
                     int64_t offset_ms, std::optional<int64_t> at_ms) {
  return std::make_unique<InfoOperator>(context, std::move(input), std::move(matchers), offset_ms,
                                        at_ms);
}

}  // namespace varve::query
