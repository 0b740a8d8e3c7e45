#include <algorithm>

#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::FunctionId;

/// What is known of when a part of the plan looks at samples, for a step at time t.
struct Reach {
  bool cacheable = true;
  /// Looks at samples up to t + ahead, and up to a fixed time.
  int64_t ahead_ms = std::numeric_limits<int64_t>::min() / 4;
  int64_t fixed_ms = kMinTime;
};

int64_t Plus(int64_t a, int64_t b) {
  int64_t out;
  if (__builtin_add_overflow(a, b, &out)) return a > 0 ? kMaxTime : kMinTime;
  return out;
}

/// Tells whether the series of a part all have one metric name, or none: then no two of them become
/// equal when the name goes. If they could, whether that is an error would depend on the whole
/// range. What else goes with the name (type, unit) is hardly ever stored; WindowsStayApart looks.
bool OneName(const Node& node) {
  switch (node.kind) {
    case NodeKind::kSelector:
    case NodeKind::kMatrix:
      return SelectsOneName(node);
    case NodeKind::kAggregate:
      switch (node.aggregate) {
        case promql::AggregateOp::kTopk:
        case promql::AggregateOp::kBottomk:
        case promql::AggregateOp::kLimitk:
        case promql::AggregateOp::kLimitRatio:
          return OneName(*node.children[0]);
        case promql::AggregateOp::kCountValues:
          return false;  // the label may be anything
        default:
          return node.without ||
                 std::none_of(node.grouping.begin(), node.grouping.end(),
                              [](const std::string& l) { return IsMetadataLabel(l); });
      }
    case NodeKind::kCall:
      switch (node.function->id) {
        case FunctionId::kLabelReplace:
        case FunctionId::kLabelJoin:
        case FunctionId::kHistogramQuantiles:
        case FunctionId::kInfo:
          return false;
        default:
          break;
      }
      return std::all_of(node.children.begin(), node.children.end(),
                         [](const NodePtr& child) { return OneName(*child); });
    case NodeKind::kBinary:
      // Only filters and arithmetic against scalars keep label sets as they are.
      return node.matching ? false : OneName(*node.children[0]) && OneName(*node.children[1]);
    case NodeKind::kSubquery:
    case NodeKind::kNegate:
    case NodeKind::kOnce:
    case NodeKind::kShared:
      return OneName(*node.children[0]);
    case NodeKind::kNumber:
    case NodeKind::kString:
      return true;
  }
  return false;
}

/// Functions whose answer for one step may depend on the other steps, or on what else is stored.
bool Refused(FunctionId id) {
  switch (id) {
    case FunctionId::kSort:
    case FunctionId::kSortDesc:
    case FunctionId::kSortByLabel:
    case FunctionId::kSortByLabelDesc:
    case FunctionId::kInfo:
      return true;
    default:
      return false;
  }
}

Reach Visit(const Node& node, int64_t lookback_ms) {
  Reach out;
  if (node.kind == NodeKind::kSelector || node.kind == NodeKind::kMatrix) {
    int64_t ahead = -node.selection.offset_ms;
    if (node.selection.edges == WindowEdges::kSmoothed) ahead = Plus(ahead, lookback_ms);
    if (node.selection.at_ms) {
      out.fixed_ms = Plus(*node.selection.at_ms, ahead);
    } else {
      out.ahead_ms = ahead;
    }
    return out;
  }
  if (node.kind == NodeKind::kCall && Refused(node.function->id)) out.cacheable = false;
  for (const NodePtr& child : node.children) {
    const Reach inner = Visit(*child, lookback_ms);
    out.cacheable &= inner.cacheable;
    out.ahead_ms = std::max(out.ahead_ms, inner.ahead_ms);
    out.fixed_ms = std::max(out.fixed_ms, inner.fixed_ms);
    const bool window = child->kind == NodeKind::kMatrix || child->kind == NodeKind::kSubquery;
    if (node.kind == NodeKind::kCall && window) out.cacheable &= OneName(*child);
  }
  if (node.kind == NodeKind::kSubquery) {
    const int64_t shift = -node.offset_ms;
    if (node.at_ms) {
      out.fixed_ms = std::max(out.fixed_ms, Plus(*node.at_ms, Plus(shift, out.ahead_ms)));
      out.ahead_ms = Reach().ahead_ms;
    } else {
      out.ahead_ms = Plus(out.ahead_ms, shift);
    }
  }
  return out;
}

}  // namespace

std::optional<int64_t> StepsBefore(const Node& node, int64_t lookback_ms, int64_t before_ms) {
  const Reach reach = Visit(node, lookback_ms);
  if (!reach.cacheable) return std::nullopt;
  if (before_ms == kMinTime || reach.fixed_ms >= before_ms) return kMinTime;
  // Reads nothing that moves with the step: every step counts.
  if (before_ms == kMaxTime || reach.ahead_ms <= Reach().ahead_ms) return kMaxTime;
  return Plus(before_ms, Plus(-reach.ahead_ms, -1));
}

}  // namespace varve::query::plan
