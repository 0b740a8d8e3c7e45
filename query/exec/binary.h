#pragma once

#include <optional>
#include <string>
#include <vector>

#include "query/exec/operator.h"
#include "query/functions/scalar_math.h"

namespace varve::query {

/// Says which series of two vectors belong together.
struct Matching {
  enum class Cardinality : uint8_t { kOneToOne, kManyToOne, kOneToMany };
  Cardinality cardinality = Cardinality::kOneToOne;
  bool on = false;  // labels name what must agree; else what need not
  std::vector<std::string> labels;
  std::vector<std::string> include;  // taken from the "one" side into the result
  std::optional<double> fill_left;   // stands in for a missing partner
  std::optional<double> fill_right;
};

/// Combines two vectors pair by pair. Keeps the "one" side in memory, streams the other. Errors
/// while running, in Prometheus's words: several partners, ambiguous results.
OperatorPtr VectorPair(ExecContext& context, BinaryFunction function, bool return_bool,
                       Matching matching, OperatorPtr left, OperatorPtr right, std::string place);

enum class SetFunction : uint8_t { kAnd, kOr, kUnless };
/// Combines two vectors as sets of series, step by step. Keeps one bit a series group and step.
OperatorPtr SetPair(ExecContext& context, SetFunction function, bool on,
                    std::vector<std::string> labels, OperatorPtr left, OperatorPtr right);

/// Prints a label set as error texts show it: every label, the name like any other.
std::string FormatLabels(LabelsView labels);

}  // namespace varve::query
