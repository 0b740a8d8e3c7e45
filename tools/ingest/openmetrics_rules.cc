#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "engine/base/strings.h"
#include "tools/ingest/exposition_internal.h"

namespace varve::ingest {
namespace {

/// The suffixes that samples of a type may have; the empty one is the family's own name.
std::span<const std::string_view> SuffixesOf(MetricType type) {
  static constexpr std::string_view kCounter[] = {"_total", "_created"};
  static constexpr std::string_view kSummary[] = {"", "_count", "_sum", "_created"};
  static constexpr std::string_view kHistogram[] = {"_bucket", "_count", "_sum", "_created"};
  static constexpr std::string_view kGaugeHistogram[] = {"_bucket", "_gcount", "_gsum"};
  static constexpr std::string_view kInfo[] = {"_info"};
  static constexpr std::string_view kPlain[] = {""};
  switch (type) {
    case MetricType::kCounter:
      return kCounter;
    case MetricType::kSummary:
      return kSummary;
    case MetricType::kHistogram:
      return kHistogram;
    case MetricType::kGaugeHistogram:
      return kGaugeHistogram;
    case MetricType::kInfo:
      return kInfo;
    default:
      return kPlain;
  }
}

std::optional<std::string_view> Find(const std::vector<LabelView>& labels, std::string_view name) {
  for (const LabelView& label : labels) {
    if (label.name == name) return label.value;
  }
  return std::nullopt;
}

/// Writes labels, except one, so that equal sets give equal text.
std::string GroupOf(const std::vector<LabelView>& labels, std::string_view except) {
  std::vector<LabelView> sorted;
  for (const LabelView& label : labels) {
    if (label.name != except) sorted.push_back(label);
  }
  std::sort(sorted.begin(), sorted.end());
  std::string out;
  for (const LabelView& label : sorted) {
    out += Concat(label.name.size(), ":", label.name, label.value.size(), ":", label.value);
  }
  return out;
}

bool IsWhole(double value) { return std::isfinite(value) && value == std::floor(value); }

}  // namespace

struct OpenMetricsRules::State {
  // All names that a finished family lays claim to.
  std::set<std::string, std::less<>> claimed;

  bool open = false;  // whether there is a current family
  std::string family;
  std::optional<MetricType> declared_type;
  bool has_help = false;
  std::optional<std::string> unit;
  bool has_samples = false;
  std::string group;
  bool in_group = false;
  bool group_has_time = false;
  double group_time = 0;
  std::set<std::string> groups;

  // The histogram of one group and time.
  bool in_histogram = false;
  std::string histogram_group;
  std::optional<double> histogram_time;
  std::optional<double> count, bucket;
  bool has_sum = false, has_gsum = false, negative_buckets = false, negative_gsum = false;
  double bucket_value = 0;

  MetricType type() const { return declared_type.value_or(MetricType::kUnknown); }

  std::string CloseHistogram() {
    if (!in_histogram) return "";
    in_histogram = false;
    if (!bucket || *bucket != std::numeric_limits<double>::infinity()) {
      return "+Inf bucket missing";
    }
    if (count && bucket_value != *count) return "count does not match the +Inf bucket";
    if ((has_sum || has_gsum) && !count) return "a sum without a count";
    if (!has_sum && !has_gsum && count) return "a count without a sum";
    if (negative_buckets && has_sum) return "a sum next to negative buckets";
    if (!negative_buckets && negative_gsum) return "a negative sum without negative buckets";
    return "";
  }

  std::string CloseFamily() {
    if (!open) return "";
    open = false;
    if (std::string problem = CloseHistogram(); !problem.empty()) return problem;
    if (unit && !unit->empty() &&
        (type() == MetricType::kInfo || type() == MetricType::kStateSet)) {
      return Concat("a unit on family ", family, ", whose type allows none");
    }
    std::set<std::string, std::less<>> names{family};
    for (const std::string_view suffix : SuffixesOf(type()))
      names.insert(family + std::string(suffix));
    for (const std::string& name : names) {
      if (!claimed.insert(name).second) return Concat("name ", name, " belongs to two families");
    }
    return "";
  }

  std::string OpenFamily(std::string_view name) {
    if (std::string problem = CloseFamily(); !problem.empty()) return problem;
    std::set<std::string, std::less<>> kept = std::move(claimed);
    *this = State();
    claimed = std::move(kept);
    open = true;
    family = name;
    return "";
  }

  /// Begins or continues the family that a comment is about.
  std::string OnMetadata(std::string_view name) {
    if (!open || family != name) return OpenFamily(name);
    if (has_samples) return Concat("metadata after the samples of ", name);
    return "";
  }

  std::string OnHistogramSample(const OpenMetricsLine& line, std::string_view suffix) {
    if (suffix.empty()) return "";
    std::string own = GroupOf(*line.labels, suffix == "_bucket" ? "le" : "");
    const std::optional<double> time =
        line.has_time ? std::optional<double>(line.time_s) : std::nullopt;
    if (!in_histogram || own != histogram_group || time != histogram_time) {
      if (std::string problem = CloseHistogram(); !problem.empty()) return problem;
      in_histogram = true;
      histogram_group = std::move(own);
      histogram_time = time;
      count.reset();
      bucket.reset();
      has_sum = has_gsum = negative_buckets = negative_gsum = false;
      bucket_value = 0;
    }
    if (suffix == "_bucket") {
      double bound = 0;
      ParseExpositionFloat(*Find(*line.labels, "le"), &bound);
      negative_buckets |= bound < 0;
      if (bucket && bound <= *bucket) return "buckets out of order";
      if (line.value < bucket_value) return "bucket values out of order";
      bucket = bound;
      bucket_value = line.value;
    } else if (suffix == "_count" || suffix == "_gcount") {
      count = line.value;
    } else if (suffix == "_sum") {
      has_sum = true;
    } else if (suffix == "_gsum") {
      has_gsum = true;
      negative_gsum |= line.value < 0;
    }
    return "";
  }
};

OpenMetricsRules::OpenMetricsRules() : state_(std::make_unique<State>()) {}
OpenMetricsRules::~OpenMetricsRules() = default;

std::string OpenMetricsRules::OnType(std::string_view family, MetricType type) {
  if (std::string problem = state_->OnMetadata(family); !problem.empty()) return problem;
  if (state_->declared_type) return Concat("more than one TYPE for ", family);
  state_->declared_type = type;
  return "";
}

std::string OpenMetricsRules::OnHelp(std::string_view family) {
  if (std::string problem = state_->OnMetadata(family); !problem.empty()) return problem;
  if (state_->has_help) return Concat("more than one HELP for ", family);
  state_->has_help = true;
  return "";
}

std::string OpenMetricsRules::OnUnit(std::string_view family, std::string_view unit) {
  if (std::string problem = state_->OnMetadata(family); !problem.empty()) return problem;
  if (state_->unit) return Concat("more than one UNIT for ", family);
  state_->unit = unit;
  return "";
}

std::string OpenMetricsRules::OnSample(const OpenMetricsLine& line) {
  State& s = *state_;
  const auto belongs = [&] {
    if (!s.open || !line.name.starts_with(s.family)) return false;
    const std::string_view rest = line.name.substr(s.family.size());
    const auto suffixes = SuffixesOf(s.type());
    return std::find(suffixes.begin(), suffixes.end(), rest) != suffixes.end();
  };
  if (!belongs()) {
    if (std::string problem = s.OpenFamily(line.name); !problem.empty()) return problem;
  }
  s.has_samples = true;
  const MetricType type = s.type();
  const std::string_view suffix = line.name.substr(s.family.size());
  const bool histogram = type == MetricType::kHistogram || type == MetricType::kGaugeHistogram;
  const std::vector<LabelView>& labels = *line.labels;
  for (size_t i = 0; i < labels.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (labels[i].name == labels[j].name) return Concat("label ", labels[i].name, " repeated");
    }
  }

  // What the type demands of labels.
  if (type == MetricType::kStateSet && !Find(labels, s.family))
    return "a stateset without its label";
  if (histogram && suffix == "_bucket") {
    const auto le = Find(labels, "le");
    double bound;
    if (!le || !ParseExpositionFloat(*le, &bound) || std::isnan(bound) ||
        (std::isinf(bound) && *le != "+Inf" && *le != "-Inf")) {
      return "invalid or missing le";
    }
    if (!IsWhole(line.value)) return "a bucket value must be an integer";
  }
  if ((histogram || type == MetricType::kSummary) && (suffix == "_count" || suffix == "_gcount") &&
      !IsWhole(line.value)) {
    return "a count must be an integer";
  }
  if (type == MetricType::kSummary && suffix.empty()) {
    const auto text = Find(labels, "quantile");
    double quantile;
    if (!text || !ParseExpositionFloat(*text, &quantile) || !(quantile >= 0 && quantile <= 1)) {
      return "invalid or missing quantile";
    }
  }

  // Grouping and time.
  std::string group;
  if (type != MetricType::kInfo) {
    group = GroupOf(labels, histogram && suffix == "_bucket"                 ? "le"
                            : type == MetricType::kSummary && suffix.empty() ? "quantile"
                            : type == MetricType::kStateSet                  ? s.family
                                                                             : "");
  }
  if (s.in_group && group != s.group && s.groups.contains(group)) return "samples are not grouped";
  if (s.in_group && group == s.group) {
    if (line.has_time != s.group_has_time) return "timestamps on some samples of a group only";
    if (line.has_time && s.group_time > line.time_s && type != MetricType::kInfo) {
      return "timestamps go backwards within a group";
    }
  }
  s.group_has_time = line.has_time;
  s.group_time = line.time_s;
  s.in_group = true;
  s.groups.insert(group);
  s.group = std::move(group);

  // What the type demands of values.
  if (type == MetricType::kStateSet && line.value != 0 && line.value != 1) {
    return "a stateset value must be 0 or 1";
  }
  if (type == MetricType::kInfo && line.value != 1) return "an info value must be 1";
  if (type == MetricType::kSummary && suffix.empty() && line.value < 0) {
    return "a quantile value must not be negative";
  }
  const bool counts = suffix == "_total" || suffix == "_sum" || suffix == "_count" ||
                      suffix == "_bucket" || suffix == "_gcount";
  if ((counts || suffix == "_gsum") && std::isnan(line.value)) return "NaN in a counter";
  if (counts && line.value < 0) return "a counter must not be negative";
  if (line.has_exemplar && !((histogram && suffix == "_bucket") ||
                             (type == MetricType::kCounter && suffix == "_total"))) {
    return "only histogram buckets and counters can have exemplars";
  }
  return histogram ? s.OnHistogramSample(line, suffix) : "";
}

std::string OpenMetricsRules::OnEnd() { return state_->CloseFamily(); }

}  // namespace varve::ingest
