#pragma once

#include <string>
#include <vector>

#include "query/lang/traceql/ast.h"
#include "varve/span_scan.h"

namespace varve::query {

/// What a store can be asked for on behalf of a filter: spans that satisfy all predicates of at
/// least one alternative. No alternatives: no span can match.
struct Pushdown {
  using Predicates = std::vector<SpanPredicate>;
  std::vector<Predicates> alternatives;
  /// The alternatives say the same as the filter; else they let more through.
  bool exact = true;
};
Pushdown PushDown(const traceql::FieldExpr& filter);

/// One scan of a search.
struct DriveScan {
  Pushdown::Predicates predicates;
  /// Must hold too and can be tested on the columns of a span; null if the predicates suffice.
  const traceql::FieldExpr* residual = nullptr;
};
/// Scans that together see a span of every trace that can satisfy a query.
struct Drive {
  std::vector<DriveScan> scans;
  std::string text;  // the filters that the scans stand for, for Explain
};
Drive PlanDrive(const traceql::Expr& expr);
/// Scans that together see every span that can be part of a query's answer.
Drive PlanResultDrive(const traceql::Expr& expr);

/// Prints predicates for Explain.
std::string ToString(const SpanPredicate& predicate);

}  // namespace varve::query
