#include "query/logs/log_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"
#include "query/exec/aggregate.h"
#include "query/exec/binary.h"
#include "query/exec/elementwise.h"
#include "query/exec/selector.h"

namespace varve::query {
namespace {

using logql::BinaryOp;
using logql::Expr;
using logql::ExprKind;
using logql::RangeOp;
using logql::VectorOp;

/// In LogQL a division by zero gives NaN: the divisor's zeros become that.
class ZeroToNan final : public Operator {
 public:
  ZeroToNan(ExecContext& context, OperatorPtr input)
      : Operator(context, input->grid()), input_(std::move(input)) {}
  std::string Describe() const override { return "zeros of the divisor become NaN"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    series_ = input_->series();
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override {
    VARVE_RETURN_IF_ERROR(input_->Next(tile));
    for (uint32_t r = 0; r < tile.rows(); ++r) {
      double* values = tile.values(r);
      for (uint32_t s = 0; s < tile.steps(); ++s) {
        if (values[s] == 0) values[s] = std::numeric_limits<double>::quiet_NaN();
      }
    }
    return absl::OkStatus();
  }

 private:
  OperatorPtr input_;
};

BinaryFunction FunctionOf(BinaryOp op) {
  switch (op) {
    case BinaryOp::kAdd:
      return BinaryFunction::kAdd;
    case BinaryOp::kSub:
      return BinaryFunction::kSubtract;
    case BinaryOp::kMul:
      return BinaryFunction::kMultiply;
    case BinaryOp::kDiv:
      return BinaryFunction::kDivide;
    case BinaryOp::kMod:
      return BinaryFunction::kModulo;
    case BinaryOp::kPow:
      return BinaryFunction::kPower;
    case BinaryOp::kEqual:
      return BinaryFunction::kEqual;
    case BinaryOp::kNotEqual:
      return BinaryFunction::kNotEqual;
    case BinaryOp::kGreater:
      return BinaryFunction::kGreater;
    case BinaryOp::kGreaterEqual:
      return BinaryFunction::kGreaterEqual;
    case BinaryOp::kLess:
      return BinaryFunction::kLess;
    default:
      return BinaryFunction::kLessEqual;
  }
}

/// The windows of subqueries are PromQL's.
WindowFunction WindowOf(RangeOp op) {
  switch (op) {
    case RangeOp::kAvg:
      return WindowFunction::kAvg;
    case RangeOp::kSum:
    case RangeOp::kRate:
      return WindowFunction::kSum;
    case RangeOp::kRateCounter:
      return WindowFunction::kRate;
    case RangeOp::kMin:
      return WindowFunction::kMin;
    case RangeOp::kMax:
      return WindowFunction::kMax;
    case RangeOp::kStddev:
      return WindowFunction::kStddev;
    case RangeOp::kStdvar:
      return WindowFunction::kStdvar;
    case RangeOp::kQuantile:
      return WindowFunction::kQuantile;
    case RangeOp::kFirst:
      return WindowFunction::kFirst;
    case RangeOp::kLast:
      return WindowFunction::kLast;
    default:
      return WindowFunction::kCount;
  }
}

Grouping GroupingOf(const std::optional<logql::Grouping>& grouping) {
  Grouping out;
  if (grouping) {
    out.labels = grouping->labels;
    out.without = grouping->without;
    std::sort(out.labels.begin(), out.labels.end());
    out.labels.erase(std::unique(out.labels.begin(), out.labels.end()), out.labels.end());
  }
  return out;
}

class Builder {
 public:
  explicit Builder(LogContext& context) : context_(context), exec_(context.exec) {}

  Result<OperatorPtr> Build(const Expr& expr, const StepGrid& grid, const LogSteps& steps) {
    switch (expr.kind) {
      case ExprKind::kNumber:
      case ExprKind::kVector:
        return ConstantScalar(exec_, grid, expr.number);
      case ExprKind::kRangeAggregation:
        return BuildRange(expr, nullptr, grid, steps);
      case ExprKind::kVectorAggregation:
        return BuildVector(expr, grid, steps);
      case ExprKind::kLabelReplace: {
        VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*expr.children[0], grid, steps));
        return LabelReplace(exec_, std::move(input), expr.strings[0], expr.strings[1],
                            expr.strings[2], expr.strings[3]);
      }
      case ExprKind::kBinary:
        return BuildBinary(expr, grid, steps);
      case ExprKind::kLog:
        break;
    }
    return MakeStatus(StatusCode::kInternal, "a log query has no operators");
  }

 private:
  /// `outer` is the grouping of a sum around it, if that may be computed here.
  Result<OperatorPtr> BuildRange(const Expr& expr, const Expr* outer, const StepGrid& grid,
                                 const LogSteps& steps) {
    if (expr.children[0]->kind != ExprKind::kLog) return BuildSubquery(expr, grid);
    LogRangeSpec spec;
    spec.expr = &expr;
    const std::optional<logql::Grouping>* grouping = nullptr;
    static const std::optional<logql::Grouping> kNoLabels = logql::Grouping{};
    if (outer != nullptr) {
      grouping = outer->grouping ? &outer->grouping : &kNoLabels;
    } else if (expr.grouping) {
      grouping = &expr.grouping;
    }
    if (grouping != nullptr) {
      const Grouping labels = GroupingOf(*grouping);
      spec.no_labels = labels.labels.empty();
      spec.without = labels.without;
      spec.groups = labels.labels;
    }
    if (expr.range_op == RangeOp::kAbsent) spec.no_labels = true;
    Pipeline::Use use;
    use.metric = true;
    use.bytes = expr.range_op == RangeOp::kBytes || expr.range_op == RangeOp::kBytesRate;
    use.groups = spec.groups;
    use.without = spec.without;
    use.no_labels = spec.no_labels;
    VARVE_ASSIGN_OR_RETURN(auto pipeline, Pipeline::Compile(context_.text, *expr.children[0], use,
                                                            context_.template_limits));
    return LogRange(context_, grid, steps, std::move(spec), std::move(pipeline));
  }

  Result<OperatorPtr> BuildSubquery(const Expr& expr, const StepGrid& grid) {
    constexpr int64_t kDefaultStepMs = 60'000;
    constexpr int64_t kStepsMax = 10'000'000;
    const int64_t step =
        *expr.subquery_step_ns == 0 ? kDefaultStepMs : *expr.subquery_step_ns / 1'000'000;
    const int64_t range = expr.range_ns / 1'000'000;
    const int64_t offset = expr.offset_ns / 1'000'000;
    std::optional<int64_t> at;
    if (expr.at_ns) at = *expr.at_ns / 1'000'000;
    const int64_t after = at.value_or(grid.start_ms) - offset - range;
    const int64_t end = at.value_or(grid.last()) - offset;
    int64_t start = step * (after / step);
    if (start <= after) start += step;
    if (end < start) return Nothing(exec_, grid);
    if ((end - start) / step >= kStepsMax) {
      return MakeStatus(StatusCode::kResourceExhausted, "subquery has too many steps");
    }
    const StepGrid inner_grid{start, step, static_cast<uint32_t>((end - start) / step) + 1};
    const LogSteps inner_steps{start * 1'000'000, step * 1'000'000, inner_grid.count};
    VARVE_ASSIGN_OR_RETURN(OperatorPtr inner, Build(*expr.children[0], inner_grid, inner_steps));
    WindowCall call;
    call.spec.function = WindowOf(expr.range_op);
    call.spec.range_ms = range;
    call.keeps_name = true;
    call.place = "1:1";
    WindowParameters parameters;
    if (expr.parameter) parameters.operators[0] = ConstantScalar(exec_, grid, *expr.parameter);
    OperatorPtr out = SubqueryFunction(exec_, grid, std::move(inner), offset, at, std::move(call),
                                       std::move(parameters));
    if (expr.range_op == RangeOp::kRate) {
      VectorScalarSpec divide;
      divide.function = BinaryFunction::kDivide;
      out = VectorScalar(exec_, std::move(divide), std::move(out),
                         ConstantScalar(exec_, grid, static_cast<double>(expr.range_ns) / 1e9));
    }
    if (expr.range_op == RangeOp::kAbsent) out = Absent(exec_, std::move(out), Labels());
    if (expr.grouping)
      return MakeStatus(StatusCode::kInvalidArgument,
                        "parse error : grouping not allowed for subqueries");
    return out;
  }

  Result<OperatorPtr> BuildVector(const Expr& expr, const StepGrid& grid, const LogSteps& steps) {
    const Expr& child = *expr.children[0];
    OperatorPtr input;
    // Loki computes such sums while it reads; which labels parsers look at depends on it.
    if (expr.vector_op == VectorOp::kSum && child.kind == ExprKind::kRangeAggregation &&
        !child.grouping &&
        (child.range_op == RangeOp::kBytes || child.range_op == RangeOp::kBytesRate ||
         child.range_op == RangeOp::kSum || child.range_op == RangeOp::kRate ||
         child.range_op == RangeOp::kCount)) {
      VARVE_ASSIGN_OR_RETURN(input, BuildRange(child, &expr, grid, steps));
    } else {
      VARVE_ASSIGN_OR_RETURN(input, Build(child, grid, steps));
    }
    const auto aggregate = [&](Aggregation aggregation) {
      return Aggregate(exec_, aggregation, GroupingOf(expr.grouping), std::move(input), "1:1");
    };
    switch (expr.vector_op) {
      case VectorOp::kSum:
        return aggregate(Aggregation::kSum);
      case VectorOp::kAvg:
        return aggregate(Aggregation::kAvg);
      case VectorOp::kMax:
        return aggregate(Aggregation::kMax);
      case VectorOp::kMin:
        return aggregate(Aggregation::kMin);
      case VectorOp::kCount:
        return aggregate(Aggregation::kCount);
      case VectorOp::kStddev:
        return aggregate(Aggregation::kStddev);
      case VectorOp::kStdvar:
        return aggregate(Aggregation::kStdvar);
      case VectorOp::kGroup:
        return aggregate(Aggregation::kGroup);
      case VectorOp::kQuantile:
        return AggregateQuantile(exec_, GroupingOf(expr.grouping), std::move(input), "1:1",
                                 ConstantScalar(exec_, grid, *expr.parameter), "1:1");
      case VectorOp::kTopk:
      case VectorOp::kApproxTopk:
      case VectorOp::kBottomk:
        return SelectSeries(
            exec_, expr.vector_op == VectorOp::kBottomk ? Selecting::kBottomk : Selecting::kTopk,
            GroupingOf(expr.grouping), std::move(input),
            ConstantScalar(exec_, grid, *expr.parameter), "1:1", "1:1");
      case VectorOp::kSort:
      case VectorOp::kSortDesc:
        // Over a range the order of series is that of their labels, whatever their values.
        if (grid.count > 1) return input;
        return SortByValue(exec_, std::move(input), expr.vector_op == VectorOp::kSortDesc);
      case VectorOp::kCountValues:
        return CountValues(exec_, expr.label, GroupingOf(expr.grouping), std::move(input));
    }
    return MakeStatus(StatusCode::kInternal, "no such aggregation");
  }

  Result<OperatorPtr> BuildBinary(const Expr& expr, const StepGrid& grid, const LogSteps& steps) {
    const Expr& left_expr = *expr.children[0];
    const Expr& right_expr = *expr.children[1];
    VARVE_ASSIGN_OR_RETURN(OperatorPtr left, Build(left_expr, grid, steps));
    VARVE_ASSIGN_OR_RETURN(OperatorPtr right, Build(right_expr, grid, steps));
    if (IsSet(expr.binary_op)) {
      const SetFunction function = expr.binary_op == BinaryOp::kAnd  ? SetFunction::kAnd
                                   : expr.binary_op == BinaryOp::kOr ? SetFunction::kOr
                                                                     : SetFunction::kUnless;
      return SetPair(exec_, function, expr.matching.on, expr.matching.labels, std::move(left),
                     std::move(right));
    }
    const BinaryFunction function = FunctionOf(expr.binary_op);
    if (expr.binary_op == BinaryOp::kDiv || expr.binary_op == BinaryOp::kMod) {
      right = std::make_unique<ZeroToNan>(exec_, std::move(right));
    }
    const bool left_scalar = IsScalar(left_expr);
    const bool right_scalar = IsScalar(right_expr);
    if (left_scalar && right_scalar)
      return ScalarPair(exec_, function, std::move(left), std::move(right));
    if (left_scalar || right_scalar) {
      VectorScalarSpec spec;
      spec.function = function;
      spec.scalar_left = left_scalar;
      spec.return_bool = expr.return_bool;
      spec.place = "1:1";
      return VectorScalar(exec_, std::move(spec), left_scalar ? std::move(right) : std::move(left),
                          left_scalar ? std::move(left) : std::move(right));
    }
    Matching matching;
    switch (expr.matching.cardinality) {
      case logql::Matching::Cardinality::kOneToOne:
        matching.cardinality = Matching::Cardinality::kOneToOne;
        break;
      case logql::Matching::Cardinality::kManyToOne:
        matching.cardinality = Matching::Cardinality::kManyToOne;
        break;
      case logql::Matching::Cardinality::kOneToMany:
        matching.cardinality = Matching::Cardinality::kOneToMany;
        break;
    }
    matching.on = expr.matching.on;
    matching.labels = expr.matching.labels;
    matching.include = expr.matching.include;
    return VectorPair(exec_, function, expr.return_bool, std::move(matching), std::move(left),
                      std::move(right), "1:1");
  }

  LogContext& context_;
  ExecContext& exec_;
};

}  // namespace

Result<OperatorPtr> BuildLogOperators(LogContext& context, const logql::Expr& expr,
                                      const StepGrid& grid, const LogSteps& steps) {
  return Builder(context).Build(expr, grid, steps);
}

}  // namespace varve::query
