#include <cmath>
#include <numbers>

#include "query/functions/scalar_math.h"
#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::BinaryOp;
using promql::FunctionId;

bool IsNumber(const NodePtr& node) { return node->kind == NodeKind::kNumber; }

/// Turns a node into a number, keeping type and place.
void Become(Node& node, double value) {
  node.kind = NodeKind::kNumber;
  node.number = value;
  node.children.clear();
}

}  // namespace

void FoldConstants(NodePtr& node) {
  for (NodePtr& child : node->children) FoldConstants(child);
  if (node->type != promql::ValueType::kScalar) return;
  if (node->kind == NodeKind::kNegate && IsNumber(node->children[0])) {
    Become(*node, -node->children[0]->number);
  } else if (node->kind == NodeKind::kBinary && IsNumber(node->children[0]) &&
             IsNumber(node->children[1])) {
    Become(*node, Calculate(static_cast<BinaryFunction>(node->binary), node->children[0]->number,
                            node->children[1]->number));
  } else if (node->kind == NodeKind::kCall) {
    const FunctionId id = node->function->id;
    if (id == FunctionId::kPi) {
      Become(*node, std::numbers::pi);
    } else if ((id == FunctionId::kMaxOf || id == FunctionId::kMinOf) &&
               IsNumber(node->children[0]) && IsNumber(node->children[1])) {
      const double a = node->children[0]->number;
      const double b = node->children[1]->number;
      Become(*node, id == FunctionId::kMaxOf ? GoMax(a, b) : GoMin(a, b));
    }
  }
}

}  // namespace varve::query::plan
