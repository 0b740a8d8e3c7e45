#include <algorithm>

#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

/// Gives a vector's selector if it is nothing else. Whatever is computed in between may have
/// something to note about series that the matchers would leave out.
Node* LabelSource(Node& node) {
  const bool bare = node.kind == NodeKind::kSelector && node.selection.edges == WindowEdges::kPlain;
  return bare ? &node : nullptr;
}

/// Lists equalities that hold for the labels of every series that a vector can have; of the name
/// only where it is still there. Errs on the side of too few.
std::vector<Matcher> KnownOf(const Node& node) {
  std::vector<Matcher> out;
  const auto without_name = [](std::vector<Matcher> known) {
    std::erase_if(known, [](const Matcher& m) { return m.name == kMetricName; });
    return known;
  };
  switch (node.kind) {
    case NodeKind::kSelector:
    case NodeKind::kMatrix:
      for (const Matcher& m : node.selection.matchers) {
        if (m.type == MatchType::kEqual) out.push_back(m);
      }
      return out;
    case NodeKind::kNegate:
    case NodeKind::kOnce:
      return without_name(KnownOf(*node.children[0]));
    case NodeKind::kCall: {
      // Functions over windows keep labels, but for the name.
      if (node.function->id == promql::FunctionId::kAbsentOverTime) return out;
      for (const NodePtr& child : node.children) {
        if (child->kind == NodeKind::kMatrix) return without_name(KnownOf(*child));
      }
      return out;
    }
    case NodeKind::kBinary: {
      if (node.matching) return out;
      const bool left = node.children[0]->type == promql::ValueType::kVector;
      return without_name(KnownOf(*node.children[left ? 0 : 1]));
    }
    case NodeKind::kAggregate: {
      if (node.aggregate == promql::AggregateOp::kCountValues) return out;
      const bool selects = node.aggregate == promql::AggregateOp::kTopk ||
                           node.aggregate == promql::AggregateOp::kBottomk ||
                           node.aggregate == promql::AggregateOp::kLimitk ||
                           node.aggregate == promql::AggregateOp::kLimitRatio;
      out = KnownOf(*node.children[0]);
      if (selects) return out;
      std::erase_if(out, [&](const Matcher& m) {
        const bool named =
            std::find(node.grouping.begin(), node.grouping.end(), m.name) != node.grouping.end();
        return node.without ? named || m.name == kMetricName : !named;
      });
      return out;
    }
    default:
      return out;
  }
}

/// Says whether series can only match if they agree in `name`.
bool Binds(const promql::VectorMatching& matching, const std::string& name) {
  const bool named =
      std::find(matching.labels.begin(), matching.labels.end(), name) != matching.labels.end();
  return matching.on ? named : !named && name != kMetricName;
}

void CopyMatchers(const std::vector<Matcher>& known, const promql::VectorMatching& matching,
                  Node& to) {
  for (const Matcher& m : known) {
    if (!Binds(matching, m.name)) continue;
    auto& there = to.selection.matchers;
    if (std::find(there.begin(), there.end(), m) == there.end()) there.push_back(m);
  }
}

}  // namespace

void PropagateMatchers(NodePtr& node) {
  for (NodePtr& child : node->children) PropagateMatchers(child);
  if (node->kind != NodeKind::kBinary || !node->matching) return;
  const promql::VectorMatching& matching = *node->matching;
  Node& left = *node->children[0];
  Node& right = *node->children[1];
  const bool both = node->binary == promql::BinaryOp::kAnd;
  if (both || node->binary == promql::BinaryOp::kUnless) {
    // Sets have no complaints: what cannot match need not be read, on either side of `and`.
    const std::vector<Matcher> of_right = KnownOf(right);
    if (Node* source = LabelSource(right)) CopyMatchers(KnownOf(left), matching, *source);
    if (!both) return;
    if (Node* source = LabelSource(left)) CopyMatchers(of_right, matching, *source);
    return;
  }
  if (node->binary == promql::BinaryOp::kOr || matching.fill_left || matching.fill_right) return;
  // Of the one side all must be read, for doubles in it are errors even if they match nobody. On
  // the many side, what matches nobody is dropped without a word.
  const bool swapped = matching.cardinality == promql::VectorMatching::Cardinality::kOneToMany;
  if (Node* source = LabelSource(swapped ? right : left)) {
    CopyMatchers(KnownOf(swapped ? left : right), matching, *source);
  }
}

}  // namespace varve::query::plan
