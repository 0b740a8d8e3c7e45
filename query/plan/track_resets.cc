#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::FunctionId;

void Visit(Node& node, bool under_statistics) {
  switch (node.kind) {
    case NodeKind::kSelector:
    case NodeKind::kMatrix:
      node.selection.track_resets = under_statistics;
      return;
    case NodeKind::kSubquery:
      // Its points may skip samples, so neighbours mean nothing.
      return;
    case NodeKind::kCall:
      switch (node.function->id) {
        case FunctionId::kHistogramCount:
        case FunctionId::kHistogramSum:
        case FunctionId::kHistogramAvg:
          under_statistics = true;
          break;
        case FunctionId::kHistogramQuantile:
        case FunctionId::kHistogramFraction:
          return;
        default:
          break;
      }
      break;
    default:
      break;
  }
  for (NodePtr& child : node.children) Visit(*child, under_statistics);
}

}  // namespace

void TrackResets(NodePtr& node) { Visit(*node, false); }

}  // namespace varve::query::plan
