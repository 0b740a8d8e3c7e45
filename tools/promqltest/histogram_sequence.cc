#include "tools/promqltest/histogram_sequence.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/numbers.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"

namespace varve::promqltest {
namespace {

using query::FloatHistogram;

Status Bad(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

void SkipSpace(std::string_view* text) {
  text->remove_prefix(std::min(text->find_first_not_of(" \t"), text->size()));
}

/// Takes everything up to one of `stops` off the front.
std::string_view TakeUntil(std::string_view* text, std::string_view stops) {
  const std::string_view taken = text->substr(0, text->find_first_of(stops));
  text->remove_prefix(taken.size());
  return taken;
}

Result<double> ParseSigned(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  VARVE_ASSIGN_OR_RETURN(const double value, promql::ParseNumber(text));
  return negative ? -value : value;
}

Result<int32_t> ParseInt(std::string_view text) {
  int32_t value = 0;
  if (!absl::SimpleAtoi(ToAbsl(text), &value)) return Bad(Concat("bad integer ", GoQuote(text)));
  return value;
}

Result<std::vector<double>> ParseList(std::string_view* text) {
  if (!text->starts_with('[')) return Bad("expected \"[\" in histogram");
  text->remove_prefix(1);
  std::vector<double> out;
  for (SkipSpace(text); !text->starts_with(']'); SkipSpace(text)) {
    const std::string_view item = TakeUntil(text, " \t]}");
    if (item.empty()) return Bad("expected a number or \"]\" in histogram");
    VARVE_ASSIGN_OR_RETURN(out.emplace_back(), ParseSigned(item));
  }
  text->remove_prefix(1);
  return out;
}

/// Maps the index of each bucket to its count.
std::map<int64_t, double> BucketsOf(const std::vector<BucketSpan>& spans,
                                    const std::vector<double>& counts) {
  std::map<int64_t, double> out;
  int64_t index = 0;
  size_t at = 0;
  for (const BucketSpan& span : spans) {
    index += span.offset;
    for (uint32_t i = 0; i < span.length; ++i) out[index++] = counts[at++];
  }
  return out;
}

void StoreBuckets(const std::map<int64_t, double>& buckets, std::vector<BucketSpan>* spans,
                  std::vector<double>* counts) {
  spans->clear();
  counts->clear();
  int64_t next = 0;
  for (const auto& [index, count] : buckets) {
    if (spans->empty() || index != next) {
      spans->push_back({static_cast<int32_t>(index - next), 0});
    }
    ++spans->back().length;
    counts->push_back(count);
    next = index + 1;
  }
}

/// Combines the buckets of one side; those of `b` are `coarser_by` schema steps too fine.
void CombineSide(const std::vector<BucketSpan>& b_spans, const std::vector<double>& b_counts,
                 int32_t coarser_by, double sign, std::vector<BucketSpan>* spans,
                 std::vector<double>* counts) {
  std::map<int64_t, double> sum = BucketsOf(*spans, *counts);
  for (const auto& [index, count] : BucketsOf(b_spans, b_counts)) {
    // Bucket i ends at base^i, so halving the resolution rounds its index up.
    sum[((index - 1) >> coarser_by) + 1] += sign * count;
  }
  StoreBuckets(sum, spans, counts);
}

CounterResetHint CombineHints(CounterResetHint a, CounterResetHint b) {
  if (a == b) return a;
  if (a == CounterResetHint::kGauge || b == CounterResetHint::kGauge) {
    return CounterResetHint::kGauge;
  }
  return CounterResetHint::kUnknown;
}

// --- Classic histograms ---

/// Collects what a classic histogram said at one time.
struct Classic {
  std::map<double, double> cumulative;  // by upper bound
  std::optional<double> count;
  double sum = 0;
};

Result<FloatHistogram> ToCustomBuckets(const Classic& classic) {
  std::map<double, double> cumulative = classic.cumulative;
  if (!classic.count && cumulative.empty()) {
    return Bad("count must be provided when no buckets are present");
  }
  const double count = classic.count ? *classic.count : cumulative.rbegin()->second;
  cumulative.emplace(std::numeric_limits<double>::infinity(), count);
  if (cumulative.rbegin()->second != count) return Bad("count mismatch");
  FloatHistogram out;
  out.schema = kCustomBucketsSchema;
  out.count = count;
  out.sum = classic.sum;
  double before = 0;
  for (const auto& [bound, total] : cumulative) {
    if (total < 0) return Bad("bucket count must be non-negative");
    if (total < before) return Bad("count is not cumulative");
    out.positive_counts.push_back(total - before);
    if (std::isfinite(bound) || bound < 0) out.custom_values.push_back(bound);
    before = total;
  }
  out.positive_spans = {{0, static_cast<uint32_t>(out.positive_counts.size())}};
  return query::Compact(out);
}

}  // namespace

Result<SequenceValue> ParseHistogram(std::string_view* text) {
  if (!text->starts_with("{{")) return Bad("expected \"{{\"");
  text->remove_prefix(2);
  SequenceValue out;
  FloatHistogram h;
  int32_t offset = 0;
  int32_t negative_offset = 0;
  std::vector<std::string> seen;
  for (SkipSpace(text); !text->starts_with("}}"); SkipSpace(text)) {
    const std::string key(TakeUntil(text, ": \t}"));
    if (!text->starts_with(':')) return Bad(Concat("bad histogram descriptor ", GoQuote(key)));
    text->remove_prefix(1);
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) {
      return Bad(Concat("duplicate key ", GoQuote(key), " in histogram"));
    }
    seen.push_back(key);
    if (key == "buckets") {
      VARVE_ASSIGN_OR_RETURN(h.positive_counts, ParseList(text));
    } else if (key == "n_buckets") {
      VARVE_ASSIGN_OR_RETURN(h.negative_counts, ParseList(text));
    } else if (key == "custom_values") {
      VARVE_ASSIGN_OR_RETURN(h.custom_values, ParseList(text));
    } else {
      const std::string_view value = TakeUntil(text, " \t}");
      if (key == "schema") {
        VARVE_ASSIGN_OR_RETURN(h.schema, ParseInt(value));
      } else if (key == "offset") {
        VARVE_ASSIGN_OR_RETURN(offset, ParseInt(value));
      } else if (key == "n_offset") {
        VARVE_ASSIGN_OR_RETURN(negative_offset, ParseInt(value));
      } else if (key == "sum") {
        VARVE_ASSIGN_OR_RETURN(h.sum, ParseSigned(value));
      } else if (key == "count") {
        VARVE_ASSIGN_OR_RETURN(h.count, ParseSigned(value));
      } else if (key == "z_bucket") {
        VARVE_ASSIGN_OR_RETURN(h.zero_count, ParseSigned(value));
      } else if (key == "z_bucket_w") {
        VARVE_ASSIGN_OR_RETURN(h.zero_threshold, ParseSigned(value));
      } else if (key == "counter_reset_hint") {
        out.hint_given = true;
        static constexpr std::string_view kHints[] = {"unknown", "reset", "not_reset", "gauge"};
        const auto* hint = std::find(std::begin(kHints), std::end(kHints), value);
        if (hint == std::end(kHints)) {
          return Bad(Concat("error parsing counter_reset_hint: unknown value ", value));
        }
        h.reset_hint = static_cast<CounterResetHint>(hint - std::begin(kHints));
      } else {
        return Bad(Concat("bad histogram descriptor ", GoQuote(key)));
      }
    }
  }
  text->remove_prefix(2);
  if (!h.positive_counts.empty()) {
    h.positive_spans = {{offset, static_cast<uint32_t>(h.positive_counts.size())}};
  }
  if (!h.negative_counts.empty()) {
    h.negative_spans = {{negative_offset, static_cast<uint32_t>(h.negative_counts.size())}};
  }
  out.histogram = std::make_shared<const FloatHistogram>(std::move(h));
  return out;
}

Result<FloatHistogram> Combine(const FloatHistogram& a, const FloatHistogram& increment, bool add) {
  if (a.uses_custom_buckets() != increment.uses_custom_buckets() ||
      a.custom_values != increment.custom_values) {
    return Bad("error combining histograms: custom buckets differ");
  }
  if (a.schema > increment.schema) {
    return Bad(Concat("error combining histograms: cannot merge from schema ", increment.schema,
                      " to ", a.schema));
  }
  FloatHistogram out = a;
  const double sign = add ? 1 : -1;
  const double threshold = std::max(a.zero_threshold, increment.zero_threshold);
  // A wider zero bucket would swallow buckets; scripts have no use for that.
  const auto has_buckets = [](const FloatHistogram& h) {
    return !h.positive_counts.empty() || !h.negative_counts.empty();
  };
  if ((a.zero_threshold < threshold && has_buckets(a)) ||
      (increment.zero_threshold < threshold && has_buckets(increment))) {
    return Bad("error combining histograms: zero buckets differ");
  }
  out.zero_threshold = threshold;
  out.zero_count += sign * increment.zero_count;
  out.count += sign * increment.count;
  out.sum += sign * increment.sum;
  out.reset_hint = CombineHints(a.reset_hint, increment.reset_hint);
  const int32_t coarser_by = increment.schema - a.schema;
  CombineSide(increment.positive_spans, increment.positive_counts, coarser_by, sign,
              &out.positive_spans, &out.positive_counts);
  CombineSide(increment.negative_spans, increment.negative_counts, coarser_by, sign,
              &out.negative_spans, &out.negative_counts);
  return out;
}

Histogram StoredHistogram(const query::FloatHistogram& from) {
  Histogram out;
  out.reset_hint = from.reset_hint;
  out.is_float = true;
  out.schema = from.schema;
  out.zero_threshold = from.zero_threshold;
  out.sum = from.sum;
  out.float_count = from.count;
  out.float_zero_count = from.zero_count;
  out.positive_spans = from.positive_spans;
  out.negative_spans = from.negative_spans;
  out.positive_counts = from.positive_counts;
  out.negative_counts = from.negative_counts;
  out.custom_values = from.custom_values;
  return out;
}

Status AddCustomBucketHistograms(LoadCommand* load) {
  std::map<Labels, std::map<int64_t, Classic>> by_series;
  for (const LoadedSeries& series : load->series) {
    std::string name(series.labels.metric_name());
    std::string_view part;
    for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
      if (name.ends_with(suffix)) part = suffix;
    }
    if (part.empty()) continue;
    double bound = 0;
    if (part == "_bucket") {
      const auto parsed = ParseSigned(series.labels.Get("le"));
      if (!parsed.ok() || std::isnan(*parsed)) continue;
      bound = *parsed;
    }
    name.resize(name.size() - part.size());
    std::vector<LabelView> base;
    for (const LabelView& label : series.labels) {
      if (label.name == "le") continue;
      base.push_back(label.name == kMetricName ? LabelView{kMetricName, name} : label);
    }
    VARVE_ASSIGN_OR_RETURN(Labels labels, Labels::Make(std::move(base)));
    std::map<int64_t, Classic>& times = by_series[std::move(labels)];
    for (const LoadedSample& sample : series.samples) {
      if (sample.histogram) continue;
      Classic& classic = times[sample.time_ms];
      if (part == "_bucket") {
        classic.cumulative.emplace(bound, sample.value);
      } else if (part == "_sum") {
        classic.sum = sample.value;
      } else {
        classic.count = sample.value;
      }
    }
  }
  for (const auto& [labels, times] : by_series) {
    LoadedSeries series{labels, {}};
    for (const auto& [time_ms, classic] : times) {
      VARVE_ASSIGN_OR_RETURN(FloatHistogram histogram, ToCustomBuckets(classic));
      LoadedSample sample;
      sample.time_ms = time_ms;
      sample.start_ms = kNoStartTime;
      sample.histogram = std::make_shared<const FloatHistogram>(std::move(histogram));
      series.samples.push_back(std::move(sample));
    }
    if (!series.samples.empty()) load->series.push_back(std::move(series));
  }
  return absl::OkStatus();
}

}  // namespace varve::promqltest
