#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "query/functions/float_histogram.h"
#include "query/functions/go_format.h"
#include "query/functions/histogram_quantile.h"
#include "query/functions/kahan.h"
#include "query/functions/scalar_math.h"
#include "query/functions/window.h"
#include "varve/histogram_buckets.h"

namespace varve::query {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(GoFormat, PrintsAsGoDoes) {
  struct Case {
    double value;
    const char* g;
    const char* f;
    const char* open_metrics;
  };
  const Case cases[] = {
      {0, "0", "0", "0.0"},
      {-0.0, "-0", "-0", "-0.0"},
      {1, "1", "1", "1.0"},
      {0.1, "0.1", "0.1", "0.1"},
      {100000, "100000", "100000", "100000.0"},
      {1e6, "1e+06", "1000000", "1e+06"},
      {1234567, "1.234567e+06", "1234567", "1.234567e+06"},
      {0.0001, "0.0001", "0.0001", "0.0001"},
      {0.00001, "1e-05", "0.00001", "1e-05"},
      {kInf, "+Inf", "+Inf", "+Inf"},
      {-kInf, "-Inf", "-Inf", "-Inf"},
      {kNan, "NaN", "NaN", "NaN"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(GoFormatG(c.value), c.g);
    EXPECT_EQ(GoFormatF(c.value), c.f);
    EXPECT_EQ(OpenMetricsFloat(c.value), c.open_metrics);
  }
}

TEST(NaturalLess, SortsAsPeopleDo) {
  const char* sorted[] = {"a", "a1", "a2", "a10", "a10b", "b", "b1"};
  for (size_t i = 0; i < std::size(sorted); ++i) {
    for (size_t j = 0; j < std::size(sorted); ++j) {
      EXPECT_EQ(NaturalLess(sorted[i], sorted[j]), i < j) << sorted[i] << " " << sorted[j];
    }
  }
}

TEST(Kahan, KeepsSmallTermsAndInfinities) {
  double sum = 0;
  double c = 0;
  for (const double v : {1e16, 1.0, -1e16, 1.0}) KahanAdd(v, sum, c);
  EXPECT_EQ(sum + c, 2);
  double loose = 0;
  double loose_c = 0;
  sum = c = 0;
  for (const double v : {1.0, kInf, 3.0}) {
    KahanAdd(v, sum, c);
    KahanAddLoose(v, loose, loose_c);
  }
  EXPECT_EQ(sum + c, kInf);
  EXPECT_EQ(KahanTotal(loose, loose_c), kInf);
}

TEST(Calendar, KnowsLeapYearsAndTimesBeforeTheEpoch) {
  struct Case {
    ElementFunction function;
    double seconds;
    double expected;
  };
  const Case cases[] = {
      {ElementFunction::kYear, 951782400, 2000},  // 2000-02-29
      {ElementFunction::kMonth, 951782400, 2},
      {ElementFunction::kDayOfMonth, 951782400, 29},
      {ElementFunction::kDaysInMonth, 951782400, 29},
      {ElementFunction::kDayOfYear, 951782400, 60},
      {ElementFunction::kDayOfWeek, 0, 4},  // a Thursday
      {ElementFunction::kDayOfWeek, -1, 3},
      {ElementFunction::kYear, -1, 1969},
      {ElementFunction::kHour, -1, 23},
      {ElementFunction::kMinute, -1, 59},
      {ElementFunction::kDaysInMonth, 4107542400, 28},  // 2100-03-01 minus: see below
  };
  for (const Case& c : cases) {
    double value = c.seconds;
    if (c.function == ElementFunction::kDaysInMonth && c.seconds > 4e9) value -= 86400;
    Apply(c.function, &value, 1);
    EXPECT_EQ(value, c.expected) << ToString(c.function) << " " << c.seconds;
  }
}

FloatHistogram Simple(double count) {
  FloatHistogram h;
  h.schema = 0;
  h.count = 3 * count;
  h.sum = 5 * count;
  h.positive_spans = {{0, 2}};
  h.positive_counts = {count, 2 * count};
  return h;
}

TEST(FloatHistogram, AddsAcrossLayouts) {
  FloatHistogram a = Simple(1);
  FloatHistogram fine;
  fine.schema = 1;
  fine.count = 4;
  fine.sum = 6;
  fine.positive_spans = {{1, 2}};  // (1, sqrt 2], (sqrt 2, 2]: one bucket of schema 0
  fine.positive_counts = {3, 1};
  ASSERT_FALSE(Add(a, fine).incompatible);
  EXPECT_EQ(TestExpression(a), "{{count:7 sum:11 buckets:[1 6]}}");
  FloatHistogram custom;
  custom.schema = kCustomBucketsSchema;
  EXPECT_TRUE(Add(a, custom).incompatible);
}

TEST(FloatHistogram, ReconcilesCustomBounds) {
  FloatHistogram a;
  a.schema = kCustomBucketsSchema;
  a.custom_values = {1, 2, 3};
  a.positive_spans = {{0, 4}};
  a.positive_counts = {1, 2, 3, 4};
  a.count = 10;
  FloatHistogram b = a;
  b.custom_values = {2, 3, 5};
  EXPECT_TRUE(Add(a, b).bounds_reconciled);
  EXPECT_EQ(a.custom_values, (std::vector<double>{2, 3}));
  EXPECT_EQ(a.positive_counts, (std::vector<double>{4, 5, 11}));
}

// What the HTTP API prints of a histogram, and what is read from that.
TEST(FloatHistogram, IsFoundFromItsBuckets) {
  const auto found_again = [](const FloatHistogram& histogram) {
    std::vector<HistogramBucket> printed;
    for (const HistogramBucket& bucket : histogram.Buckets()) {
      if (bucket.count != 0) printed.push_back(bucket);
    }
    const auto found = HistogramOfBuckets(histogram.count, histogram.sum, printed);
    ASSERT_TRUE(found.ok()) << found.status().message() << " " << ToString(histogram);
    EXPECT_EQ(ToString(*found), ToString(histogram));
    EXPECT_TRUE(printed.size() < 2 || found->schema == histogram.schema);
  };
  for (int32_t schema = -4; schema <= 8; ++schema) {
    FloatHistogram h;
    h.schema = schema;
    h.count = 21;
    h.sum = -3.5;
    h.zero_threshold = 1e-30;
    h.zero_count = 2;
    h.positive_spans = {{-3, 2}, {2, 3}};
    h.positive_counts = {1, 2, 3, 0, 5};
    h.negative_spans = {{0, 1}, {1, 1}};
    h.negative_counts = {4, 4};
    found_again(h);
    h.zero_count = 0;
    found_again(h);
    h.negative_spans.clear();
    h.negative_counts.clear();
    found_again(h);
  }
  FloatHistogram custom;
  custom.schema = kCustomBucketsSchema;
  custom.custom_values = {-1, 0.5, 3, 10};
  custom.positive_spans = {{0, 5}};
  custom.positive_counts = {1, 2, 0, 4, 5};
  custom.count = 12;
  found_again(custom);
  found_again(FloatHistogram());
  const HistogramBucket bad[] = {{3, 1, HistogramBucket::Rule::kOpenLeft, 1}};
  EXPECT_FALSE(HistogramOfBuckets(1, 1, bad).ok());
}

// What is exported with its shape comes back whole: empty buckets, threshold, bounds, hint.
TEST(FloatHistogram, IsFoundFromItsBucketsAndShape) {
  const auto found_again = [](const FloatHistogram& histogram) {
    std::vector<HistogramBucket> buckets = histogram.Buckets();
    for (HistogramBucket& bucket : buckets) bucket.rule = HistogramBucket::Rule::kOpenLeft;
    HistogramShape shape;
    shape.schema = histogram.schema;
    shape.zero_threshold = histogram.zero_threshold;
    shape.custom_values = histogram.custom_values;
    shape.reset_hint = histogram.reset_hint;
    shape.has_rules = false;
    const auto found = HistogramOfBuckets(histogram.count, histogram.sum, buckets, shape);
    ASSERT_TRUE(found.ok()) << found.status().message() << " " << ToString(histogram);
    EXPECT_TRUE(Equals(*found, histogram)) << ToString(*found);
    EXPECT_EQ(found->reset_hint, histogram.reset_hint);
    const Histogram stored = ToSample(*found);
    EXPECT_TRUE(Validate(stored).ok()) << Validate(stored);
    EXPECT_TRUE(Equals(FloatHistogram::From(stored), histogram));
    EXPECT_EQ(stored.is_float, histogram.count != std::floor(histogram.count));
    shape.schema = 3;
    EXPECT_EQ(HistogramOfBuckets(1, 1, buckets, shape).ok(), histogram.schema == 3);
  };
  for (const double part : {0.0, 0.5}) {
    for (int32_t schema = -4; schema <= 8; ++schema) {
      FloatHistogram h;
      h.reset_hint = CounterResetHint::kGauge;
      h.schema = schema;
      h.count = 11 + part;
      h.sum = -3.5;
      h.zero_threshold = 1e-30;
      h.positive_spans = {{-3, 3}, {2, 1}};
      h.positive_counts = {0, 2 + part, 0, 5};
      h.negative_spans = {{1, 1}};
      h.negative_counts = {4};
      found_again(h);
    }
    FloatHistogram custom;
    custom.schema = kCustomBucketsSchema;
    custom.custom_values = {-1, 0.5, 3, 10, 100};
    custom.positive_spans = {{1, 2}, {1, 1}};
    custom.positive_counts = {2 + part, 0, 4};
    custom.count = 6 + part;
    found_again(custom);
  }
  FloatHistogram stale;
  stale.sum = StaleNan();
  EXPECT_TRUE(ToSample(stale).is_stale());
}

TEST(FloatHistogram, FindsResets) {
  EXPECT_FALSE(DetectReset(Simple(2), Simple(1)));
  EXPECT_TRUE(DetectReset(Simple(1), Simple(2)));
  FloatHistogram finer = Simple(5);
  finer.schema = 1;
  EXPECT_TRUE(DetectReset(finer, Simple(1)));
  FloatHistogram hinted = Simple(2);
  hinted.reset_hint = CounterResetHint::kReset;
  EXPECT_TRUE(DetectReset(hinted, Simple(1)));
  hinted.reset_hint = CounterResetHint::kNotReset;
  EXPECT_FALSE(DetectReset(hinted, Simple(3)));
}

TEST(Quantiles, OfValuesAndBuckets) {
  std::vector<double> values = {3, 1, 2};
  EXPECT_EQ(QuantileOfValues(0.5, values), 2);
  EXPECT_EQ(QuantileOfValues(-1, values), -kInf);
  EXPECT_EQ(QuantileOfValues(2, values), kInf);
  std::vector<double> none;
  EXPECT_TRUE(std::isnan(QuantileOfValues(0.5, none)));
  std::vector<ClassicBucket> buckets = {{1, 5}, {2, 10}, {kInf, 10}};
  EXPECT_EQ(QuantileOfBuckets(0.5, buckets).value, 1);
  EXPECT_FALSE(QuantileOfBuckets(0.5, buckets).forced_monotonic);
  buckets = {{1, 5}, {2, 4}, {kInf, 10}};
  EXPECT_TRUE(QuantileOfBuckets(0.5, buckets).forced_monotonic);
  buckets = {{1, 5}, {2, 10}};
  EXPECT_TRUE(std::isnan(QuantileOfBuckets(0.5, buckets).value));
}

TEST(Rate, ExtrapolatesAsDocumented) {
  const int64_t times[] = {10'000, 20'000, 30'000};
  const double values[] = {10, 20, 5};
  WindowSamples samples;
  samples.times = times;
  samples.values = values;
  samples.count = 3;
  const double parameters[2] = {0, 0};
  uint32_t notes = 0;
  WindowSpec spec{WindowFunction::kIncrease, WindowEdges::kPlain, 30'000};
  // Up by 10, reset, up by 5; the zero point is 6.67 s before... the first sample caps it.
  const WindowResult increase = EvaluateWindow(spec, samples, 35'000, 35'000, parameters, &notes);
  ASSERT_TRUE(increase.valid);
  EXPECT_DOUBLE_EQ(increase.value, 15 * (20 + 5 + 5) / 20.0);
  samples.count = 1;
  EXPECT_FALSE(EvaluateWindow(spec, samples, 35'000, 35'000, parameters, &notes).valid);
}

}  // namespace
}  // namespace varve::query
