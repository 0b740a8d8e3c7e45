#include "tools/promqltest/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"

namespace varve::promqltest {
namespace {

using promql::FormatFloat;
using query::FloatHistogram;

bool AlmostEqual(double a, double b) {
  constexpr double kEpsilon = 1e-6;
  constexpr double kMinNormal = std::numeric_limits<double>::min();
  if (std::isnan(a) && std::isnan(b)) return true;
  if (a == b) return true;
  const double sum = std::abs(a) + std::abs(b);
  const double difference = std::abs(a - b);
  if (a == 0 || b == 0 || sum < kMinNormal) return difference < kEpsilon * kMinNormal;
  return difference / std::min(sum, std::numeric_limits<double>::max()) < kEpsilon;
}

bool AlmostEqual(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](double x, double y) { return AlmostEqual(x, y); });
}

/// Merges spans that touch and drops empty ones, so that equal layouts compare equal.
std::vector<BucketSpan> Normal(const std::vector<BucketSpan>& spans) {
  std::vector<BucketSpan> out;
  int64_t gap = 0;
  for (const BucketSpan& span : spans) {
    gap += span.offset;
    if (span.length == 0) continue;
    if (!out.empty() && gap == 0) {
      out.back().length += span.length;
    } else {
      out.push_back({static_cast<int32_t>(gap), span.length});
    }
    gap = 0;
  }
  return out;
}

bool HistogramsAgree(const FloatHistogram& expected, const FloatHistogram& actual, bool with_hint) {
  const FloatHistogram a = query::Compact(expected);
  const FloatHistogram b = query::Compact(actual);
  if (a.schema != b.schema || !AlmostEqual(a.count, b.count) || !AlmostEqual(a.sum, b.sum)) {
    return false;
  }
  if (a.uses_custom_buckets() && a.custom_values != b.custom_values) return false;
  return a.zero_threshold == b.zero_threshold && AlmostEqual(a.zero_count, b.zero_count) &&
         Normal(a.negative_spans) == Normal(b.negative_spans) &&
         AlmostEqual(a.negative_counts, b.negative_counts) &&
         Normal(a.positive_spans) == Normal(b.positive_spans) &&
         AlmostEqual(a.positive_counts, b.positive_counts) &&
         (!with_hint || a.reset_hint == b.reset_hint);
}

std::string Show(const SequenceValue& value) {
  if (value.omitted) return "_";
  return value.histogram ? query::TestExpression(*value.histogram) : FormatFloat(value.value);
}
std::string Show(double value, const query::HistogramPtr& histogram) {
  return histogram ? query::TestExpression(*histogram) : FormatFloat(value);
}

bool Agrees(const SequenceValue& expected, double value, const query::HistogramPtr& histogram) {
  if (expected.histogram == nullptr || histogram == nullptr) {
    return expected.histogram == nullptr && histogram == nullptr &&
           AlmostEqual(expected.value, value);
  }
  return HistogramsAgree(*expected.histogram, *histogram, expected.hint_given);
}

const ExpectedSeries* Find(const EvalCommand& expected, const Labels& labels) {
  for (const ExpectedSeries& series : expected.series) {
    if (series.labels == labels) return &series;
  }
  return nullptr;
}

std::string Show(const query::Series& series) {
  std::string out;
  for (size_t i = 0; i < series.values.size(); ++i) {
    out += Concat(" ", FormatFloat(series.values[i]), "@", series.times_ms[i]);
  }
  for (size_t i = 0; i < series.histograms.size(); ++i) {
    out += Concat(" ", query::TestExpression(*series.histograms[i]), "@",
                  series.histogram_times_ms[i]);
  }
  return out;
}

std::optional<std::string> CompareSeries(const EvalCommand& expected, const ExpectedSeries& series,
                                         const query::Series& actual) {
  size_t floats = 0;
  size_t histograms = 0;
  const auto differs = [&](size_t i) {
    return Concat(ToString(series.labels), ": expected ", Show(series.values[i]), " at point ",
                  i + 1, ", got", Show(actual));
  };
  for (size_t i = 0; i < series.values.size(); ++i) {
    const int64_t time_ms = expected.start_ms + static_cast<int64_t>(i) * expected.step_ms;
    if (time_ms > expected.end_ms) {
      return Concat("expected ", series.values.size(), " points for ", ToString(series.labels),
                    ", but query time range cannot return this many points");
    }
    const SequenceValue& value = series.values[i];
    if (value.omitted) continue;
    if (value.histogram) {
      if (histograms >= actual.histograms.size() ||
          actual.histogram_times_ms[histograms] != time_ms ||
          !Agrees(value, 0, actual.histograms[histograms])) {
        return differs(i);
      }
      ++histograms;
    } else {
      if (floats >= actual.values.size() || actual.times_ms[floats] != time_ms ||
          !Agrees(value, actual.values[floats], nullptr)) {
        return differs(i);
      }
      ++floats;
    }
  }
  if (floats != actual.values.size() || histograms != actual.histograms.size()) {
    return Concat(ToString(series.labels), ": expected ", floats, " floats and ", histograms,
                  " histograms, got", Show(actual));
  }
  return std::nullopt;
}

std::optional<std::string> CompareMatrix(const EvalCommand& expected, const query::Matrix& actual) {
  if (expected.ordered) return "expected ordered result, but query returned a matrix";
  if (expected.scalar) return "expected scalar result, but got matrix";
  for (size_t i = 0; i < actual.size(); ++i) {
    if (i > 0 && actual[i].labels < actual[i - 1].labels) {
      return Concat("matrix is not sorted: ", ToString(actual[i].labels), " after ",
                    ToString(actual[i - 1].labels));
    }
    const ExpectedSeries* series = Find(expected, actual[i].labels);
    if (series == nullptr) {
      return Concat("unexpected metric ", ToString(actual[i].labels), " in result, has",
                    Show(actual[i]));
    }
    if (auto difference = CompareSeries(expected, *series, actual[i])) return difference;
  }
  for (const ExpectedSeries& series : expected.series) {
    if (std::none_of(actual.begin(), actual.end(),
                     [&](const query::Series& s) { return s.labels == series.labels; })) {
      return Concat("expected metric ", ToString(series.labels), " not found");
    }
  }
  return std::nullopt;
}

std::optional<std::string> CompareVector(const EvalCommand& expected, const query::Vector& actual) {
  if (expected.scalar) return "expected scalar result, but got vector";
  for (size_t i = 0; i < actual.size(); ++i) {
    const query::VectorSample& sample = actual[i];
    const ExpectedSeries* series = Find(expected, sample.labels);
    if (series == nullptr) {
      return Concat("unexpected metric ", ToString(sample.labels), " in result, has value ",
                    Show(sample.value, sample.histogram));
    }
    if (expected.ordered && series->position != i + 1) {
      return Concat("expected metric ", ToString(sample.labels), " at position ", series->position,
                    " but was at ", i + 1);
    }
    if (!Agrees(series->values[0], sample.value, sample.histogram)) {
      return Concat("expected ", Show(series->values[0]), " for ", ToString(sample.labels),
                    " but got ", Show(sample.value, sample.histogram));
    }
  }
  for (const ExpectedSeries& series : expected.series) {
    if (std::none_of(actual.begin(), actual.end(),
                     [&](const query::VectorSample& s) { return s.labels == series.labels; })) {
      return Concat("expected metric ", ToString(series.labels), " with ", Show(series.values[0]),
                    " not found");
    }
  }
  return std::nullopt;
}

std::string Join(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += Concat(out.empty() ? "" : "; ", text);
  return out.empty() ? "none" : out;
}

/// Checks annotations of one kind: each expected one is there, and once any is expected, no other.
std::optional<std::string> CompareNotes(std::string_view kind,
                                        const std::vector<Expectation>& expected,
                                        const std::vector<std::string>& actual) {
  for (const Expectation& expectation : expected) {
    if (std::none_of(actual.begin(), actual.end(),
                     [&](const std::string& text) { return expectation.Matches(text); })) {
      return Concat("expected ", kind, " annotation ", expectation.Describe(), ", got ",
                    Join(actual));
    }
  }
  if (expected.empty()) return std::nullopt;
  for (const std::string& text : actual) {
    if (std::none_of(expected.begin(), expected.end(),
                     [&](const Expectation& expectation) { return expectation.Matches(text); })) {
      return Concat("unexpected ", kind, " annotation ", GoQuote(text));
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> CompareValue(const EvalCommand& expected, const query::Value& actual) {
  if (const auto* matrix = std::get_if<query::Matrix>(&actual)) {
    return CompareMatrix(expected, *matrix);
  }
  if (const auto* vector = std::get_if<query::Vector>(&actual)) {
    return CompareVector(expected, *vector);
  }
  if (const auto* scalar = std::get_if<query::Scalar>(&actual)) {
    if (!expected.scalar) {
      return Concat("expected vector or matrix result, but got scalar ",
                    FormatFloat(scalar->value));
    }
    if (AlmostEqual(expected.scalar->value, scalar->value)) return std::nullopt;
    return Concat("expected scalar ", FormatFloat(expected.scalar->value), " but got ",
                  FormatFloat(scalar->value));
  }
  const std::string& text = std::get<query::StringValue>(actual).value;
  if (expected.string.value_or("") == text) return std::nullopt;
  return Concat("expected string ", GoQuote(expected.string.value_or("")), " but got ",
                GoQuote(text));
}

std::optional<std::string> CompareAnnotations(const EvalCommand& expected,
                                              const query::Annotations& actual) {
  if (expected.needs_warning && actual.warnings.empty()) return "expected warnings but got none";
  if (expected.needs_info && actual.infos.empty()) return "expected infos but got none";
  if (auto difference = CompareNotes("warn", expected.warn, actual.warnings)) return difference;
  if (auto difference = CompareNotes("info", expected.info, actual.infos)) return difference;
  if (expected.no_warn && !actual.warnings.empty()) {
    return Concat("unexpected warnings: ", Join(actual.warnings));
  }
  if (expected.no_info && !actual.infos.empty()) {
    return Concat("unexpected infos: ", Join(actual.infos));
  }
  return std::nullopt;
}

std::optional<std::string> CompareFailure(const EvalCommand& expected, const Status& actual) {
  const std::string_view message = ToStd(actual.message());
  if (expected.fail->Matches(message)) return std::nullopt;
  return Concat("expected error ", expected.fail->Describe(), ", got ", GoQuote(message));
}

query::Vector AtTime(const query::Matrix& matrix, int64_t time_ms) {
  query::Vector out;
  for (const query::Series& series : matrix) {
    const auto add = [&](const std::vector<int64_t>& times, const auto& fill) {
      const auto found = std::lower_bound(times.begin(), times.end(), time_ms);
      if (found == times.end() || *found != time_ms) return;
      query::VectorSample sample;
      sample.labels = series.labels;
      sample.time_ms = time_ms;
      fill(sample, static_cast<size_t>(found - times.begin()));
      out.push_back(std::move(sample));
    };
    add(series.times_ms,
        [&](query::VectorSample& sample, size_t i) { sample.value = series.values[i]; });
    add(series.histogram_times_ms,
        [&](query::VectorSample& sample, size_t i) { sample.histogram = series.histograms[i]; });
  }
  return out;
}

}  // namespace varve::promqltest
