#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "query/lang/traceql/ast.h"
#include "query/traces/context.h"
#include "query/traces/values.h"
#include "varve/traceql.h"

namespace varve::query {

/// Adds doubles without rounding: the sum does not depend on their order. Shewchuk, "Adaptive
/// Precision Floating-Point Arithmetic", 1997, section 2: grow-expansion.
class ExactSum {
 public:
  void Add(double value);
  void AddWhole(int64_t value) { whole_ += value; }
  void AddNanoseconds(int64_t value) { nanoseconds_ += value; }
  /// Returns the sum, rounded once; nanoseconds count as seconds.
  double Total() const;

 private:
  __int128 whole_ = 0;
  __int128 nanoseconds_ = 0;
  std::vector<double> parts_;  // growing, no two overlap
  double special_ = 0;         // sum of what is infinite or NaN
};

/// Returns the upper bound 2^n of the bucket that a value falls into, as histograms of TraceQL
/// have them: (2^(n-1), 2^n]. Nothing for values that are not positive.
std::optional<double> Log2Bucket(const Val& value);
/// Finds the quantile of a histogram of such buckets: exponential interpolation in a bucket.
/// `bounds` ascend. NaN for an empty histogram.
double Log2Quantile(double quantile, const std::vector<double>& bounds,
                    const std::vector<uint64_t>& counts);

/// Accumulates a metrics function over spans: one row per group of by() (and bucket), one cell per
/// step. The result does not depend on the order of the spans.
class SpanSeries {
 public:
  SpanSeries(traceql::Function function, std::vector<std::string> by, uint32_t steps,
             QueryContext& context)
      : function_(function),
        by_(std::move(by)),
        steps_(steps),
        charge_(context),
        context_(context) {}

  /// Counts one span. `argument` is nil where the function takes none; spans without a number
  /// there are left out.
  Status Add(const std::vector<Val>& by, const Val& argument, uint32_t step);

  /// A finished row: labels in no order, values with gaps.
  struct Row {
    std::vector<std::pair<std::string, std::string>> labels;
    std::vector<double> values;
    std::vector<uint8_t> present;
  };
  /// Makes the rows; `step_seconds` is what a rate is per, `quantiles` for quantile_over_time.
  std::vector<Row> Finish(double step_seconds, const std::vector<double>& quantiles) const;
  uint64_t spans() const { return spans_; }

 private:
  struct Series {
    std::vector<std::string> by;
    double bucket = 0;
    std::vector<uint64_t> counts;
    std::vector<double> extremes;
    std::vector<ExactSum> sums;
  };
  bool has_buckets() const {
    return function_ == traceql::Function::kHistogramOverTime ||
           function_ == traceql::Function::kQuantileOverTime;
  }
  std::vector<std::pair<std::string, std::string>> LabelsOf(const Series& series) const;

  traceql::Function function_;
  std::vector<std::string> by_;
  uint32_t steps_;
  Charge charge_;
  QueryContext& context_;
  StringMap<uint32_t> numbers_;
  std::vector<Series> series_;
  std::string key_;
  uint64_t spans_ = 0;
};

/// Prints a value as a label: never empty.
std::string LabelText(const Val& value);

}  // namespace varve::query
