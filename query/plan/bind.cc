#include <algorithm>

#include "engine/base/macros.h"
#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::As;
using promql::ExprKind;
using promql::FunctionId;

class Binder {
 public:
  explicit Binder(const QueryScope& scope) : scope_(scope) {
    durations_.step_ms = scope.step_ms;
    durations_.range_ms = scope.end_ms - scope.start_ms;
  }

  Result<NodePtr> Bind(const promql::Expr& outer) {
    const promql::Expr& expr = promql::StripParens(outer);
    VARVE_ASSIGN_OR_RETURN(NodePtr node, BindBare(expr));
    node->type = promql::TypeOf(expr);
    if (node->place.empty()) node->place = promql::PositionOf(scope_.text, expr.span);
    return node;
  }

 private:
  Result<NodePtr> BindBare(const promql::Expr& expr) {
    switch (expr.kind) {
      case ExprKind::kNumber: {
        auto node = std::make_unique<Node>(NodeKind::kNumber);
        node->number = static_cast<const promql::NumberLiteral&>(expr).value;
        return node;
      }
      case ExprKind::kString: {
        auto node = std::make_unique<Node>(NodeKind::kString);
        node->text = static_cast<const promql::StringLiteral&>(expr).value;
        return node;
      }
      case ExprKind::kVectorSelector: {
        auto node = std::make_unique<Node>(NodeKind::kSelector);
        VARVE_RETURN_IF_ERROR(
            BindSelector(static_cast<const promql::VectorSelector&>(expr), node.get()));
        return node;
      }
      case ExprKind::kMatrixSelector: {
        const auto& matrix = static_cast<const promql::MatrixSelector&>(expr);
        auto node = std::make_unique<Node>(NodeKind::kMatrix);
        VARVE_RETURN_IF_ERROR(BindSelector(*matrix.selector, node.get()));
        VARVE_ASSIGN_OR_RETURN(node->range_ms,
                               promql::EvalDuration(*matrix.range, durations_, scope_.text, true));
        return node;
      }
      case ExprKind::kSubquery:
        return BindSubquery(static_cast<const promql::SubqueryExpr&>(expr));
      case ExprKind::kCall:
        return BindCall(static_cast<const promql::Call&>(expr));
      case ExprKind::kAggregate: {
        const auto& aggregate = static_cast<const promql::AggregateExpr&>(expr);
        auto node = std::make_unique<Node>(NodeKind::kAggregate);
        node->aggregate = aggregate.op;
        node->grouping = aggregate.grouping;
        std::sort(node->grouping.begin(), node->grouping.end());
        node->grouping.erase(std::unique(node->grouping.begin(), node->grouping.end()),
                             node->grouping.end());
        node->without = aggregate.without;
        VARVE_RETURN_IF_ERROR(AddChild(*aggregate.expr, node.get()));
        if (aggregate.param) VARVE_RETURN_IF_ERROR(AddChild(*aggregate.param, node.get()));
        return node;
      }
      case ExprKind::kBinary: {
        const auto& binary = static_cast<const promql::BinaryExpr&>(expr);
        auto node = std::make_unique<Node>(NodeKind::kBinary);
        node->binary = binary.op;
        node->return_bool = binary.return_bool;
        node->matching = binary.matching;
        VARVE_RETURN_IF_ERROR(AddChild(*binary.left, node.get()));
        VARVE_RETURN_IF_ERROR(AddChild(*binary.right, node.get()));
        return node;
      }
      case ExprKind::kUnary: {
        const auto& unary = static_cast<const promql::UnaryExpr&>(expr);
        if (!unary.negative) return Bind(*unary.expr);
        auto node = std::make_unique<Node>(NodeKind::kNegate);
        VARVE_RETURN_IF_ERROR(AddChild(*unary.expr, node.get()));
        return node;
      }
      case ExprKind::kParen:
        return Bind(*static_cast<const promql::ParenExpr&>(expr).expr);
    }
    return MakeStatus(StatusCode::kInternal, "unknown kind of expression");
  }

  Status AddChild(const promql::Expr& expr, Node* node) {
    VARVE_ASSIGN_OR_RETURN(NodePtr child, Bind(expr));
    node->children.push_back(std::move(child));
    return absl::OkStatus();
  }

  Status BindShift(const promql::TimeShift& shift, int64_t* offset_ms,
                   std::optional<int64_t>* at_ms) {
    if (shift.offset) {
      VARVE_ASSIGN_OR_RETURN(*offset_ms,
                             promql::EvalDuration(*shift.offset, durations_, scope_.text, false));
    }
    switch (shift.at_edge) {
      case promql::TimeShift::Edge::kNone:
        *at_ms = shift.at_ms;
        break;
      case promql::TimeShift::Edge::kStart:
        *at_ms = scope_.start_ms;
        break;
      case promql::TimeShift::Edge::kEnd:
        *at_ms = scope_.end_ms;
        break;
    }
    return absl::OkStatus();
  }

  Status BindSelector(const promql::VectorSelector& selector, Node* node) {
    node->selection.matchers = selector.matchers;
    if (selector.anchored) node->selection.edges = WindowEdges::kAnchored;
    if (selector.smoothed) node->selection.edges = WindowEdges::kSmoothed;
    node->selection.place = promql::PositionOf(scope_.text, selector.span);
    return BindShift(selector.shift, &node->selection.offset_ms, &node->selection.at_ms);
  }

  Result<NodePtr> BindSubquery(const promql::SubqueryExpr& subquery) {
    auto node = std::make_unique<Node>(NodeKind::kSubquery);
    VARVE_RETURN_IF_ERROR(BindShift(subquery.shift, &node->offset_ms, &node->at_ms));
    VARVE_ASSIGN_OR_RETURN(node->range_ms,
                           promql::EvalDuration(*subquery.range, durations_, scope_.text, true));
    node->step_ms = scope_.default_subquery_step_ms;
    if (subquery.step) {
      VARVE_ASSIGN_OR_RETURN(node->step_ms,
                             promql::EvalDuration(*subquery.step, durations_, scope_.text, true));
    }
    VARVE_RETURN_IF_ERROR(AddChild(*subquery.expr, node.get()));
    return node;
  }

  Result<NodePtr> BindCall(const promql::Call& call) {
    const auto number = [](double value) {
      auto node = std::make_unique<Node>(NodeKind::kNumber);
      node->number = value;
      return node;
    };
    switch (call.function->id) {
      case FunctionId::kStart:
        return number(static_cast<double>(scope_.start_ms) / 1000);
      case FunctionId::kEnd:
        return number(static_cast<double>(scope_.end_ms) / 1000);
      case FunctionId::kStep:
        return number(static_cast<double>(scope_.step_ms) / 1000);
      case FunctionId::kRange:
        return number(static_cast<double>(scope_.end_ms - scope_.start_ms) / 1000);
      default:
        break;
    }
    auto node = std::make_unique<Node>(NodeKind::kCall);
    node->function = call.function;
    for (const promql::ExprPtr& arg : call.args) {
      VARVE_RETURN_IF_ERROR(AddChild(*arg, node.get()));
    }
    return node;
  }

  const QueryScope& scope_;
  promql::DurationScope durations_;
};

}  // namespace

Result<NodePtr> Bind(const promql::Expr& expr, const QueryScope& scope) {
  return Binder(scope).Bind(expr);
}

}  // namespace varve::query::plan
