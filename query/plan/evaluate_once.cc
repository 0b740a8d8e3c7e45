#include <algorithm>

#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::FunctionId;

/// Tells whether a call looks at the time of the step itself.
bool LooksAtStep(const Node& call) {
  switch (call.function->id) {
    case FunctionId::kTime:
    case FunctionId::kPredictLinear:
    case FunctionId::kTimestamp:
    case FunctionId::kStartTimestamp:
    case FunctionId::kMinute:
    case FunctionId::kHour:
    case FunctionId::kDayOfWeek:
    case FunctionId::kDayOfMonth:
    case FunctionId::kDayOfYear:
    case FunctionId::kDaysInMonth:
    case FunctionId::kMonth:
    case FunctionId::kYear:
      return true;
    default:
      return false;
  }
}

void Wrap(NodePtr& node) {
  auto once = std::make_unique<Node>(NodeKind::kOnce);
  once->type = node->type;
  once->place = node->place;
  once->children.push_back(std::move(node));
  node = std::move(once);
}

/// Says whether a node is worth wrapping: range vectors are evaluated by whoever uses them, and
/// literals cost nothing.
bool Wrappable(const Node& node) {
  switch (node.kind) {
    case NodeKind::kNumber:
    case NodeKind::kString:
    case NodeKind::kMatrix:
    case NodeKind::kSubquery:
    case NodeKind::kOnce:
      return false;
    default:
      return true;
  }
}

/// Wraps what can be inside `node`, and tells whether all of it is the same at every step; then
/// nothing inside has been wrapped, but for the insides of subqueries.
bool Visit(NodePtr& node) {
  if (node->kind == NodeKind::kSubquery) {
    if (Visit(node->children[0]) && Wrappable(*node->children[0])) Wrap(node->children[0]);
    return node->at_ms.has_value();
  }
  if (node->kind == NodeKind::kSelector || node->kind == NodeKind::kMatrix) {
    return node->selection.at_ms.has_value();
  }
  if (node->kind == NodeKind::kNumber || node->kind == NodeKind::kString) return true;
  const bool info = node->kind == NodeKind::kCall && node->function->id == FunctionId::kInfo;
  std::vector<bool> same;
  for (size_t i = 0; i < node->children.size(); ++i) {
    // The second argument of info() selects labels; it is never evaluated.
    same.push_back((info && i == 1) || Visit(node->children[i]));
  }
  const bool all = std::all_of(same.begin(), same.end(), [](bool s) { return s; });
  if (all && !(node->kind == NodeKind::kCall && LooksAtStep(*node))) return true;
  for (size_t i = 0; i < same.size(); ++i) {
    if (same[i] && !(info && i == 1) && Wrappable(*node->children[i])) Wrap(node->children[i]);
  }
  return false;
}

}  // namespace

void EvaluateOnce(NodePtr& node) {
  if (Visit(node) && Wrappable(*node)) Wrap(node);
}

}  // namespace varve::query::plan
