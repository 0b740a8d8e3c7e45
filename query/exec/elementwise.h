#pragma once

#include <string>
#include <vector>

#include "query/exec/operator.h"
#include "query/functions/scalar_math.h"

/// Operators that give one row for each row of their input, and the scalars.
namespace varve::query {

// --- Scalars: one row without labels, a float at every step ---

OperatorPtr ConstantScalar(ExecContext& context, const StepGrid& grid, double value);
/// Gives the time of each step in seconds.
OperatorPtr TimeScalar(ExecContext& context, const StepGrid& grid);
/// Gives the float of a step that has exactly one, else NaN.
OperatorPtr VectorToScalar(ExecContext& context, OperatorPtr input);
/// Combines two scalars; comparisons give 0 or 1.
OperatorPtr ScalarPair(ExecContext& context, BinaryFunction function, OperatorPtr left,
                       OperatorPtr right);
enum class ScalarChoice : uint8_t { kMax, kMin };
/// Gives the larger or smaller of two scalars.
OperatorPtr ScalarExtreme(ExecContext& context, ScalarChoice choice, OperatorPtr left,
                          OperatorPtr right);

// --- Vectors ---

/// Applies a function to each float. Histograms are dropped, and so are names.
OperatorPtr Elements(ExecContext& context, ElementFunction function, OperatorPtr input);
/// Rounds to multiples of a scalar (null: 1), ties up.
OperatorPtr Round(ExecContext& context, OperatorPtr input, OperatorPtr nearest);
/// Clamps; a null bound is infinite. Steps where max < min give nothing.
OperatorPtr Clamp(ExecContext& context, OperatorPtr input, OperatorPtr low, OperatorPtr high);
/// Gives the time of the step in seconds for each value.
OperatorPtr StepTimestamps(ExecContext& context, OperatorPtr input);
OperatorPtr Negate(ExecContext& context, OperatorPtr input);

enum class HistogramFunction : uint8_t { kCount, kSum, kAverage, kStddev, kStdvar };
/// Applies a function to each histogram. Floats are dropped, and so are names.
OperatorPtr HistogramElements(ExecContext& context, HistogramFunction function, OperatorPtr input);

/// How an operation between a vector and a scalar is done.
struct VectorScalarSpec {
  BinaryFunction function = BinaryFunction::kAdd;
  bool scalar_left = false;
  bool return_bool = false;
  std::string place;  // for notes
};
OperatorPtr VectorScalar(ExecContext& context, VectorScalarSpec spec, OperatorPtr vector,
                         OperatorPtr scalar);

/// Adds the notes of a combination of two values.
void NotePair(ExecContext& context, const PairResult& result, BinaryFunction function,
              bool left_histogram, bool right_histogram, std::string_view place);

// --- Labels ---

/// Sets label `target` from a regular expression over `source`. Errors in Open: bad expression,
/// bad label name.
OperatorPtr LabelReplace(ExecContext& context, OperatorPtr input, std::string target,
                         std::string replacement, std::string source, std::string regex);
/// Sets label `target` to other labels joined.
OperatorPtr LabelJoin(ExecContext& context, OperatorPtr input, std::string target,
                      std::string separator, std::vector<std::string> sources);

// --- Order and absence ---

/// Keeps floats, ordered by value, NaN last. For instant queries.
OperatorPtr SortByValue(ExecContext& context, OperatorPtr input, bool descending);
/// Orders by labels in natural order, then by all labels. For instant queries.
OperatorPtr SortByLabel(ExecContext& context, OperatorPtr input, std::vector<std::string> labels,
                        bool descending);
/// Keeps floats only.
OperatorPtr FloatsOnly(ExecContext& context, OperatorPtr input);
/// Gives 1 with `labels` at each step where the input has nothing.
OperatorPtr Absent(ExecContext& context, OperatorPtr input, Labels labels);
/// Drops every row: what is known to be empty.
OperatorPtr Nothing(ExecContext& context, const StepGrid& grid);

}  // namespace varve::query
