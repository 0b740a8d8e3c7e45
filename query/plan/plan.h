#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "query/exec/binary.h"
#include "query/exec/operator.h"
#include "query/exec/selector.h"
#include "query/lang/promql/ast.h"

/// The logical plan of a PromQL query: the syntax tree with every duration, time and parameter
/// resolved for one query range, and parentheses gone. Rules rewrite it; then operators are made
/// from it.
namespace varve::query::plan {

struct Node;
using NodePtr = std::unique_ptr<Node>;

enum class NodeKind : uint8_t {
  kNumber,
  kString,
  kSelector,  // instant selector
  kMatrix,    // range selector: argument of a call, or the whole of an instant query
  kSubquery,  // child 0 on a grid of its own; the same
  kCall,
  kAggregate,  // child 0 the vector, child 1 the parameter if there is one
  kBinary,
  kNegate,
  kOnce,    // child 0 is the same at every step: evaluate it at the first
  kShared,  // child 0 comes several times in the plan: evaluate it once, if its rows can be kept
};

/// One operation. Only the fields of its kind mean anything.
struct Node {
  explicit Node(NodeKind k) : kind(k) {}
  NodeKind kind;
  promql::ValueType type = promql::ValueType::kNone;
  std::string place;  // "line:column" in the query, for notes
  std::vector<NodePtr> children;

  double number = 0;             // kNumber
  std::string text;              // kString
  Selection selection;           // kSelector, kMatrix
  int64_t range_ms = 0;          // kMatrix, kSubquery
  int64_t offset_ms = 0;         // kSubquery
  std::optional<int64_t> at_ms;  // kSubquery
  int64_t step_ms = 0;           // kSubquery

  const promql::FunctionSpec* function = nullptr;             // kCall
  promql::AggregateOp aggregate = promql::AggregateOp::kSum;  // kAggregate
  std::vector<std::string> grouping;                          // kAggregate; sorted, unique
  bool without = false;                                       // kAggregate
  bool in_scan = false;  // kAggregate: child 0 is a scan that folds its rows itself

  promql::BinaryOp binary = promql::BinaryOp::kAdd;  // kBinary
  bool return_bool = false;
  std::optional<promql::VectorMatching> matching;

  uint32_t shared_id = 0;    // kShared: equal for parts that are the same
  uint32_t shared_uses = 0;  // how many of those there are
};

/// What a query is asked for.
struct QueryScope {
  std::string_view text;
  int64_t start_ms = 0;
  int64_t end_ms = 0;
  int64_t step_ms = 0;  // 0: instant
  int64_t default_subquery_step_ms = 60'000;
};

/// Resolves a syntax tree. Errors: kInvalidArgument with a place, for durations that make no sense
/// in this scope.
Result<NodePtr> Bind(const promql::Expr& expr, const QueryScope& scope);

// --- Rewrite rules, one a file; each keeps the meaning, errors and notes of the plan ---

/// Computes arithmetic over numbers.
void FoldConstants(NodePtr& node);
/// Wraps the largest parts that do not depend on the step in kOnce.
void EvaluateOnce(NodePtr& node);
/// Gives selectors in binary operators the equality matchers that hold on the other side for labels
/// that must match, where what they leave out could have had no effect.
void PropagateMatchers(NodePtr& node);
/// Asks selectors under histogram_count, histogram_sum and histogram_avg to find counter resets
/// between neighbouring samples themselves, which decides the hints of what is made of them.
void TrackResets(NodePtr& node);

/// Marks parts that come more than once over the same steps, as kShared.
void ShareCommon(NodePtr& node);

/// Moves aggregations into the scans whose rows they aggregate: no rows are kept between the two,
/// and no label sets of the members are made. After ShareCommon, since a shared part keeps its
/// rows.
void FoldInScan(NodePtr& node);

/// Tells whether a selector (kSelector, kMatrix) only selects series of one metric name.
bool SelectsOneName(const Node& node);

/// Makes the operators of a plan, which must outlive them. Errors: kFailedPrecondition for what
/// Prometheus refuses only when it runs.
Result<OperatorPtr> BuildOperators(ExecContext& context, const Node& node, const StepGrid& grid);

/// Tells up to which step the answers of a plan only depend on samples before `before_ms`, kMinTime
/// if none do. Nothing if answers for parts of a range do not make up the answer for the range.
std::optional<int64_t> StepsBefore(const Node& node, int64_t lookback_ms, int64_t before_ms);

/// Tells whether, over all that is stored, the windows of a plan for which StepsBefore gives
/// something make no two series equal by dropping `__type__` and `__unit__`. If they could, whether
/// that is an error is a matter of the whole range, not of its parts.
Result<bool> WindowsStayApart(const Snapshot& snapshot, const Node& node);

/// Gives the grid of a subquery's inner steps for the steps of `grid`: multiples of its step after
/// the first window's start, up to the last window's end. count may be 0.
Result<StepGrid> SubqueryGrid(const Node& subquery, const StepGrid& grid);

}  // namespace varve::query::plan
