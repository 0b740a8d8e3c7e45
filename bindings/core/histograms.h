#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "bindings/core/arrow.h"
#include "bindings/core/import.h"
#include "varve/query.h"
#include "varve/sample.h"
#include "varve/status.h"

/// Native histograms as a column, out and in. A row is a struct of `count`, `sum` and `buckets`
/// (a list of `lower`, `upper`, `count`, ascending), which say what people ask for, and of
/// `schema`, `zero_threshold`, `custom_values` and `reset_hint`, which make it whole.
namespace varve::bindings {

/// Names a hint, and finds one by its name: "unknown", "reset", "not_reset", "gauge".
std::string_view ToString(CounterResetHint hint);
std::optional<CounterResetHint> ResetHintOf(std::string_view name);

/// Builds the column `histogram`; rows that are null pointers become nulls.
arrow::Field HistogramField();
arrow::ArrayPtr HistogramColumn(const std::vector<query::HistogramPtr>& histograms);

/// A column of histograms; rows without one are null pointers.
struct Histograms {
  std::vector<query::HistogramPtr> rows;
};

/// Reads such a column. Only `count`, `sum` and `buckets` must be
/// there, in any order; buckets may also be lists of three numbers. Errors: kInvalidArgument names
/// column and row.
Result<Histograms> ReadHistograms(const arrow::Table& table, std::string_view name);

/// Bounds the bytes that a histogram takes in a record of the log.
size_t StoredBytes(const Histogram& histogram);

/// Makes the sample that stores a histogram. Errors: kInvalidArgument for what breaks a rule of
/// Validate.
Result<Histogram> ToStored(const query::FloatHistogram& histogram);

}  // namespace varve::bindings
