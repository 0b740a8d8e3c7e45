#include <algorithm>

#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

/// Finds the selector that a vector's series come from with their labels intact, if there is one.
Node* LabelSource(Node& node) {
  switch (node.kind) {
    case NodeKind::kSelector:
    case NodeKind::kMatrix:
      return &node;
    case NodeKind::kBinary:
      // A filter against a number passes its vector on.
      if (node.children[0]->type == promql::ValueType::kVector &&
          node.children[1]->kind == NodeKind::kNumber) {
        return LabelSource(*node.children[0]);
      }
      return nullptr;
    default:
      return nullptr;
  }
}

/// Says whether series can only match if they agree in `name`.
bool Binds(const promql::VectorMatching& matching, const std::string& name) {
  const bool named =
      std::find(matching.labels.begin(), matching.labels.end(), name) != matching.labels.end();
  return matching.on ? named : !named && name != kMetricName;
}

void CopyMatchers(const Node& from, const promql::VectorMatching& matching, Node& to) {
  for (const Matcher& m : from.selection.matchers) {
    if (m.type != MatchType::kEqual || !Binds(matching, m.name)) continue;
    auto& there = to.selection.matchers;
    if (std::find(there.begin(), there.end(), m) == there.end()) there.push_back(m);
  }
}

}  // namespace

void PropagateMatchers(NodePtr& node) {
  for (NodePtr& child : node->children) PropagateMatchers(child);
  if (node->kind != NodeKind::kBinary || !node->matching) return;
  // Arithmetic has to complain about doubles among series that match nobody, so it must see them.
  // Sets do not complain: what cannot match need not be read.
  const bool both = node->binary == promql::BinaryOp::kAnd;
  const bool right_only = node->binary == promql::BinaryOp::kUnless;
  if (!both && !right_only) return;
  Node* left = LabelSource(*node->children[0]);
  Node* right = LabelSource(*node->children[1]);
  if (left == nullptr || right == nullptr) return;
  const Node right_before = [&] {
    Node copy(right->kind);
    copy.selection = right->selection;
    return copy;
  }();
  CopyMatchers(*left, *node->matching, *right);
  if (both) CopyMatchers(right_before, *node->matching, *left);
}

}  // namespace varve::query::plan
