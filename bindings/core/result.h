#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/core/arrow.h"
#include "varve/labels.h"
#include "varve/query.h"

/// Results of queries as columns that bindings hand out without copying.
namespace varve::bindings {

enum class Kind : uint8_t { kScalar = 0, kString = 1, kVector = 2, kMatrix = 3 };

/// A PromQL result: rows sorted by series, then time, in one run of memory a column. Immutable, so
/// any number of streams and arrays may share it.
struct MetricResult {
  Kind kind = Kind::kScalar;
  std::vector<Labels> series;        // one a series; a scalar is one series without labels
  std::vector<uint64_t> offsets{0};  // series + 1: the rows of series i are [i], [i + 1]
  std::vector<int64_t> times_ms;     // rows
  std::vector<double> values;        // rows; NaN where there is a histogram
  std::vector<query::HistogramPtr> histograms;  // empty, or rows
  std::string text;                             // of a string
  query::Annotations annotations;
  query::Statistics statistics;

  uint64_t rows() const { return times_ms.size(); }
};

/// Turns a result into columns. Takes each series' memory back as soon as it is moved over, so the
/// peak is the result plus one series.
std::shared_ptr<const MetricResult> MakeColumns(query::QueryResult result);

/// Streams one row a value: `time`, `value`, one dictionary-encoded column a label name,
/// `histogram` if there is any. Labels that would be called like a column of ours get a trailing
/// underscore.
std::unique_ptr<arrow::Source> LongSource(std::shared_ptr<const MetricResult> result,
                                          int64_t rows_max);
/// Streams one row a series: text columns of labels, `time` and `value` as lists over the memory
/// of the result.
std::unique_ptr<arrow::Source> SeriesSource(std::shared_ptr<const MetricResult> result);

}  // namespace varve::bindings
