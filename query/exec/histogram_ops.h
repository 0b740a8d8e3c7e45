#pragma once

#include <string>
#include <vector>

#include "query/exec/operator.h"

namespace varve::query {

/// Quantiles or fractions of histograms, classic (series that differ in "le" only) and native.
/// Holds its whole input. A group that is both at one step gives nothing, with a warning.
struct HistogramQuery {
  enum class Kind : uint8_t { kQuantile, kQuantiles, kFraction };
  Kind kind = Kind::kQuantile;
  std::string place;  // of the vector, for notes
  std::string label;  // kQuantiles: names the quantile in the result
  std::vector<std::string> scalar_places;
};
/// `scalars`: phi; or several for kQuantiles; or lower and upper for kFraction.
OperatorPtr HistogramQuantiles(ExecContext& context, HistogramQuery query, OperatorPtr input,
                               std::vector<OperatorPtr> scalars);

}  // namespace varve::query
