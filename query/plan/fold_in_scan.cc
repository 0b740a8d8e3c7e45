#include <algorithm>

#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::AggregateOp;
using promql::FunctionId;

/// Says whether an aggregation only needs its members one after the other. The others keep rows of
/// their input: quantile and count_values because they must, topk and its kind because that is what
/// they give.
bool Folds(AggregateOp op) {
  switch (op) {
    case AggregateOp::kSum:
    case AggregateOp::kAvg:
    case AggregateOp::kCount:
    case AggregateOp::kMin:
    case AggregateOp::kMax:
    case AggregateOp::kGroup:
    case AggregateOp::kStddev:
    case AggregateOp::kStdvar:
      return true;
    default:
      return false;
  }
}

/// Says whether a node is a scan of stored samples whose rows are its members as they are.
/// Functions that drop names may make series equal, which is an error; series of one metric stay
/// apart.
bool IsScan(const Node& node) {
  if (node.kind == NodeKind::kSelector) return true;
  if (node.kind != NodeKind::kCall) return false;
  const auto range = std::ranges::find_if(
      node.children, [](const NodePtr& child) { return child->kind == NodeKind::kMatrix; });
  if (range == node.children.end()) return false;
  switch (node.function->id) {
    case FunctionId::kAbsentOverTime:
      return false;
    case FunctionId::kLastOverTime:
    case FunctionId::kFirstOverTime:
      return true;
    default:
      return SelectsOneName(**range);
  }
}

}  // namespace

bool SelectsOneName(const Node& node) {
  return std::ranges::any_of(node.selection.matchers, [](const Matcher& m) {
    return m.name == kMetricName && m.type == MatchType::kEqual;
  });
}

void FoldInScan(NodePtr& node) {
  for (NodePtr& child : node->children) FoldInScan(child);
  if (node->kind == NodeKind::kAggregate && Folds(node->aggregate)) {
    node->in_scan = IsScan(*node->children[0]);
  }
}

}  // namespace varve::query::plan
