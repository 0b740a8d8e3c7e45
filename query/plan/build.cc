#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/exec/aggregate.h"
#include "query/exec/elementwise.h"
#include "query/exec/histogram_ops.h"
#include "query/exec/info.h"
#include "query/exec/scan.h"
#include "query/exec/shared.h"
#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

using promql::AggregateOp;
using promql::BinaryOp;
using promql::FunctionId;
using promql::ValueType;

static_assert(static_cast<int>(BinaryFunction::kTrimLower) ==
                  static_cast<int>(BinaryOp::kTrimLower),
              "operators are converted by number");
static_assert(static_cast<int>(ElementFunction::kAtanh) == static_cast<int>(FunctionId::kAtanh));

std::optional<ElementFunction> ElementOf(FunctionId id) {
  if (id <= FunctionId::kAtanh) return static_cast<ElementFunction>(id);
  if (id >= FunctionId::kMinute && id <= FunctionId::kYear) {
    return static_cast<ElementFunction>(static_cast<int>(ElementFunction::kMinute) +
                                        static_cast<int>(id) -
                                        static_cast<int>(FunctionId::kMinute));
  }
  return std::nullopt;
}

std::optional<HistogramFunction> HistogramElementOf(FunctionId id) {
  switch (id) {
    case FunctionId::kHistogramCount:
      return HistogramFunction::kCount;
    case FunctionId::kHistogramSum:
      return HistogramFunction::kSum;
    case FunctionId::kHistogramAvg:
      return HistogramFunction::kAverage;
    case FunctionId::kHistogramStddev:
      return HistogramFunction::kStddev;
    case FunctionId::kHistogramStdvar:
      return HistogramFunction::kStdvar;
    default:
      return std::nullopt;
  }
}

std::optional<WindowFunction> WindowOf(FunctionId id) {
  switch (id) {
    case FunctionId::kRate:
      return WindowFunction::kRate;
    case FunctionId::kIncrease:
      return WindowFunction::kIncrease;
    case FunctionId::kDelta:
      return WindowFunction::kDelta;
    case FunctionId::kIrate:
      return WindowFunction::kIrate;
    case FunctionId::kIdelta:
      return WindowFunction::kIdelta;
    case FunctionId::kResets:
      return WindowFunction::kResets;
    case FunctionId::kChanges:
      return WindowFunction::kChanges;
    case FunctionId::kDeriv:
      return WindowFunction::kDeriv;
    case FunctionId::kPredictLinear:
      return WindowFunction::kPredictLinear;
    case FunctionId::kAvgOverTime:
      return WindowFunction::kAvg;
    case FunctionId::kMinOverTime:
      return WindowFunction::kMin;
    case FunctionId::kMaxOverTime:
      return WindowFunction::kMax;
    case FunctionId::kSumOverTime:
      return WindowFunction::kSum;
    case FunctionId::kCountOverTime:
      return WindowFunction::kCount;
    case FunctionId::kStddevOverTime:
      return WindowFunction::kStddev;
    case FunctionId::kStdvarOverTime:
      return WindowFunction::kStdvar;
    case FunctionId::kLastOverTime:
      return WindowFunction::kLast;
    case FunctionId::kFirstOverTime:
      return WindowFunction::kFirst;
    case FunctionId::kPresentOverTime:
    case FunctionId::kAbsentOverTime:
      return WindowFunction::kPresent;
    case FunctionId::kQuantileOverTime:
      return WindowFunction::kQuantile;
    case FunctionId::kMadOverTime:
      return WindowFunction::kMad;
    case FunctionId::kTsOfFirstOverTime:
      return WindowFunction::kTsOfFirst;
    case FunctionId::kTsOfLastOverTime:
      return WindowFunction::kTsOfLast;
    case FunctionId::kTsOfMinOverTime:
      return WindowFunction::kTsOfMin;
    case FunctionId::kTsOfMaxOverTime:
      return WindowFunction::kTsOfMax;
    case FunctionId::kDoubleExponentialSmoothing:
      return WindowFunction::kSmoothing;
    default:
      return std::nullopt;
  }
}

Aggregation FoldOf(AggregateOp op) {
  switch (op) {
    case AggregateOp::kAvg:
      return Aggregation::kAvg;
    case AggregateOp::kCount:
      return Aggregation::kCount;
    case AggregateOp::kMin:
      return Aggregation::kMin;
    case AggregateOp::kMax:
      return Aggregation::kMax;
    case AggregateOp::kGroup:
      return Aggregation::kGroup;
    case AggregateOp::kStddev:
      return Aggregation::kStddev;
    case AggregateOp::kStdvar:
      return Aggregation::kStdvar;
    default:
      VARVE_CHECK(op == AggregateOp::kSum);
      return Aggregation::kSum;
  }
}

/// Takes the labels that absent() can know: those matched by one equality and nothing else.
Labels AbsentLabels(const Node& arg) {
  if (arg.kind != NodeKind::kSelector && arg.kind != NodeKind::kMatrix) return Labels();
  std::vector<std::pair<std::string, std::string>> labels;
  std::set<std::string> seen;
  for (const Matcher& m : arg.selection.matchers) {
    if (m.name == kMetricName) continue;
    if (m.type == MatchType::kEqual && seen.insert(m.name).second) {
      labels.emplace_back(m.name, m.value);
    } else {
      std::erase_if(labels, [&](const auto& label) { return label.first == m.name; });
    }
  }
  std::vector<LabelView> views;
  for (const auto& [name, value] : labels) {
    if (!value.empty()) views.push_back({name, value});
  }
  std::sort(views.begin(), views.end());
  return Labels(LabelsView(views));
}

class Builder {
 public:
  explicit Builder(ExecContext& context) : context_(context) {}

  Result<OperatorPtr> Build(const Node& node, const StepGrid& grid) {
    switch (node.kind) {
      case NodeKind::kNumber:
        return ConstantScalar(context_, grid, node.number);
      case NodeKind::kString:
        return MakeStatus(StatusCode::kInternal, "a string where a vector belongs");
      case NodeKind::kSelector:
        return BuildScan(node, grid);
      case NodeKind::kMatrix:
      case NodeKind::kSubquery:
        return MakeStatus(StatusCode::kInternal, "a range vector where an instant vector belongs");
      case NodeKind::kOnce: {
        StepGrid first = grid;
        first.count = 1;
        const SampleAccount account = context_.account;
        if (account.kind == SampleAccount::Kind::kPerStep) {
          context_.account.kind = SampleAccount::Kind::kEveryStep;
        }
        auto built = Build(*node.children[0], first);
        context_.account = account;
        VARVE_ASSIGN_OR_RETURN(OperatorPtr inner, std::move(built));
        if (grid.count == 1) return inner;
        return Broadcast(context_, grid, std::move(inner));
      }
      case NodeKind::kShared:
        return BuildShared(node, grid);
      case NodeKind::kNegate: {
        VARVE_ASSIGN_OR_RETURN(OperatorPtr inner, Build(*node.children[0], grid));
        return Dropped(Negate(context_, std::move(inner)));
      }
      case NodeKind::kBinary:
        return BuildBinary(node, grid);
      case NodeKind::kAggregate:
        return BuildAggregate(node, grid);
      case NodeKind::kCall:
        return BuildCall(node, grid);
    }
    return MakeStatus(StatusCode::kInternal, "unknown kind of plan node");
  }

 private:
  /// Makes the first reader of a shared part with the part itself, the others beside it.
  Result<OperatorPtr> BuildShared(const Node& node, const StepGrid& grid) {
    std::shared_ptr<SharedRows>& rows = shared_[node.shared_id];
    const bool first = rows == nullptr;
    const SampleAccount account = context_.account;
    if (first) {
      context_.account.times *= node.shared_uses;
      auto built = Build(*node.children[0], grid);
      context_.account = account;
      VARVE_ASSIGN_OR_RETURN(OperatorPtr source, std::move(built));
      rows = std::make_shared<SharedRows>(context_, std::move(source));
    }
    // The first one has counted the samples of all.
    return ReadShared(
        context_, rows, first, [&context = context_, &part = *node.children[0], grid] {
          const SampleAccount before =
              std::exchange(context.account, SampleAccount{SampleAccount::Kind::kNone});
          auto again = Builder(context).Build(part, grid);
          context.account = before;
          return again;
        });
  }

  /// Finishes an operator that drops names: rows that become equal are joined, now or, with
  /// delayed names, at the end.
  OperatorPtr Dropped(OperatorPtr op) {
    if (context_.delayed_names) return op;
    return MergeDuplicates(context_, std::move(op), false);
  }

  Result<OperatorPtr> BuildBinary(const Node& node, const StepGrid& grid) {
    const Node& a = *node.children[0];
    const Node& b = *node.children[1];
    VARVE_ASSIGN_OR_RETURN(OperatorPtr left, Build(a, grid));
    VARVE_ASSIGN_OR_RETURN(OperatorPtr right, Build(b, grid));
    if (promql::IsSetOperator(node.binary)) {
      const SetFunction function = node.binary == BinaryOp::kAnd  ? SetFunction::kAnd
                                   : node.binary == BinaryOp::kOr ? SetFunction::kOr
                                                                  : SetFunction::kUnless;
      return MergeDuplicates(context_,
                             SetPair(context_, function, node.matching->on, node.matching->labels,
                                     std::move(left), std::move(right)),
                             false);
    }
    const auto function = static_cast<BinaryFunction>(node.binary);
    const bool left_scalar = a.type == ValueType::kScalar;
    const bool right_scalar = b.type == ValueType::kScalar;
    if (left_scalar && right_scalar) {
      return ScalarPair(context_, function, std::move(left), std::move(right));
    }
    if (left_scalar || right_scalar) {
      VectorScalarSpec spec{function, left_scalar, node.return_bool, node.place};
      OperatorPtr vector = left_scalar ? std::move(right) : std::move(left);
      OperatorPtr scalar = left_scalar ? std::move(left) : std::move(right);
      const bool drops = IsArithmetic(function) || node.return_bool;
      OperatorPtr op =
          VectorScalar(context_, std::move(spec), std::move(vector), std::move(scalar));
      return drops ? Dropped(std::move(op)) : std::move(op);
    }
    Matching matching;
    switch (node.matching->cardinality) {
      case promql::VectorMatching::Cardinality::kManyToOne:
        matching.cardinality = Matching::Cardinality::kManyToOne;
        break;
      case promql::VectorMatching::Cardinality::kOneToMany:
        matching.cardinality = Matching::Cardinality::kOneToMany;
        break;
      default:
        break;
    }
    matching.on = node.matching->on;
    matching.labels = node.matching->labels;
    matching.include = node.matching->include;
    matching.fill_left = node.matching->fill_left;
    matching.fill_right = node.matching->fill_right;
    return MergeDuplicates(context_,
                           VectorPair(context_, function, node.return_bool, std::move(matching),
                                      std::move(left), std::move(right), node.place),
                           false);
  }

  Result<OperatorPtr> BuildAggregate(const Node& node, const StepGrid& grid) {
    const Node& vector = *node.children[0];
    Grouping grouping{node.grouping, node.without};
    if (node.in_scan) {
      VARVE_ASSIGN_OR_RETURN(ScanPtr scan, BuildScan(vector, grid));
      return AggregateInScan(context_, FoldOf(node.aggregate), std::move(grouping), std::move(scan),
                             vector.place);
    }
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(vector, grid));
    OperatorPtr parameter;
    std::string parameter_place;
    if (node.children.size() > 1 && node.children[1]->kind != NodeKind::kString) {
      VARVE_ASSIGN_OR_RETURN(parameter, Build(*node.children[1], grid));
      parameter_place = node.children[1]->place;
    }
    const auto select = [&](Selecting selecting) {
      return SelectSeries(context_, selecting, std::move(grouping), std::move(input),
                          std::move(parameter), node.place, std::move(parameter_place));
    };
    switch (node.aggregate) {
      case AggregateOp::kQuantile:
        return AggregateQuantile(context_, std::move(grouping), std::move(input), vector.place,
                                 std::move(parameter), std::move(parameter_place));
      case AggregateOp::kTopk:
        return select(Selecting::kTopk);
      case AggregateOp::kBottomk:
        return select(Selecting::kBottomk);
      case AggregateOp::kLimitk:
        return select(Selecting::kLimitk);
      case AggregateOp::kLimitRatio:
        return select(Selecting::kLimitRatio);
      case AggregateOp::kCountValues:
        return MergeDuplicates(
            context_,
            CountValues(context_, node.children[1]->text, std::move(grouping), std::move(input)),
            false);
      default:
        return Aggregate(context_, FoldOf(node.aggregate), std::move(grouping), std::move(input),
                         vector.place);
    }
  }

  /// A window function's call and the range vector that it is over.
  struct Window {
    WindowCall call;
    WindowParameters parameters;
    const Node* range = nullptr;
  };
  Result<Window> PrepareWindow(const Node& node, WindowFunction function, const StepGrid& grid) {
    Window out;
    out.call.spec.function = function;
    out.call.place = node.children[0]->place;
    out.call.keeps_name = function == WindowFunction::kLast || function == WindowFunction::kFirst;
    int next = 0;
    for (const NodePtr& child : node.children) {
      if (child->kind == NodeKind::kMatrix || child->kind == NodeKind::kSubquery) {
        out.range = child.get();
      } else {
        VARVE_ASSIGN_OR_RETURN(out.parameters.operators[next], Build(*child, grid));
        ++next;
      }
    }
    VARVE_CHECK(out.range != nullptr);
    out.call.spec.range_ms = out.range->range_ms;
    return out;
  }

  /// Makes a selector, or a window function over stored samples.
  Result<ScanPtr> BuildScan(const Node& node, const StepGrid& grid) {
    if (node.kind == NodeKind::kSelector) {
      if (node.selection.edges == WindowEdges::kAnchored) {
        return ExecutionError("anchored modifier can only be used with range vectors");
      }
      return InstantSelector(context_, grid, node.selection, SelectorValue::kSample);
    }
    const WindowFunction function = *WindowOf(node.function->id);
    VARVE_ASSIGN_OR_RETURN(Window window, PrepareWindow(node, function, grid));
    WindowCall& call = window.call;
    call.spec.edges = window.range->selection.edges;
    VARVE_RETURN_IF_ERROR(CheckEdges(node, call.spec));
    call.start_timestamps =
        context_.options.use_start_timestamps && call.spec.edges == WindowEdges::kPlain &&
        (function == WindowFunction::kRate || function == WindowFunction::kIncrease ||
         function == WindowFunction::kIrate || function == WindowFunction::kResets);
    return RangeFunction(context_, grid, window.range->selection, std::move(call),
                         std::move(window.parameters));
  }

  Result<OperatorPtr> BuildWindow(const Node& node, WindowFunction function, const StepGrid& grid) {
    const auto child = std::ranges::find_if(node.children, [](const NodePtr& c) {
      return c->kind == NodeKind::kMatrix || c->kind == NodeKind::kSubquery;
    });
    VARVE_CHECK(child != node.children.end());
    const Node* range = child->get();
    OperatorPtr op;
    if (range->kind == NodeKind::kMatrix) {
      VARVE_ASSIGN_OR_RETURN(op, BuildScan(node, grid));
    } else {
      VARVE_ASSIGN_OR_RETURN(Window window, PrepareWindow(node, function, grid));
      VARVE_ASSIGN_OR_RETURN(const StepGrid inner_grid, SubqueryGrid(*range, grid));
      if (inner_grid.count == 0) {
        op = Nothing(context_, grid);
      } else {
        const SampleAccount account =
            std::exchange(context_.account, SampleAccount{SampleAccount::Kind::kNone});
        auto built = Build(*range->children[0], inner_grid);
        context_.account = account;
        VARVE_ASSIGN_OR_RETURN(OperatorPtr inner, std::move(built));
        op = SubqueryFunction(context_, grid, std::move(inner), range->offset_ms, range->at_ms,
                              std::move(window.call), std::move(window.parameters));
      }
    }
    if (node.function->id == FunctionId::kAbsentOverTime) {
      return Absent(context_, std::move(op), AbsentLabels(*range));
    }
    // Here equal labels are an error even if the rows never meet.
    if (context_.delayed_names) return op;
    return MergeDuplicates(context_, std::move(op), true);
  }

  static Status CheckEdges(const Node& node, const WindowSpec& spec) {
    using enum WindowFunction;
    const bool rates =
        spec.function == kRate || spec.function == kIncrease || spec.function == kDelta;
    const bool events = spec.function == kResets || spec.function == kChanges;
    if (spec.edges == WindowEdges::kAnchored && !rates && !events) {
      return ExecutionError(
          Concat("anchored modifier can only be used with: changes, delta, "
                 "increase, rate, resets - not with ",
                 node.function->name));
    }
    if (spec.edges == WindowEdges::kSmoothed && !rates) {
      return ExecutionError(
          Concat("smoothed modifier can only be used with: delta, increase, rate - not with ",
                 node.function->name));
    }
    return absl::OkStatus();
  }

  static const Node& SkipOnce(const Node& node) {
    return node.kind == NodeKind::kOnce ? *node.children[0] : node;
  }

  Result<OperatorPtr> BuildCall(const Node& node, const StepGrid& grid) {
    const FunctionId id = node.function->id;
    if (const auto window = WindowOf(id)) return BuildWindow(node, *window, grid);
    if (const auto element = ElementOf(id)) return BuildElements(node, *element, grid);
    if (const auto histogram = HistogramElementOf(id)) {
      VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
      return Dropped(HistogramElements(context_, *histogram, std::move(input)));
    }
    switch (id) {
      case FunctionId::kTime:
        return TimeScalar(context_, grid);
      case FunctionId::kMaxOf:
      case FunctionId::kMinOf:
        return BuildScalarExtreme(node, grid);
      case FunctionId::kVector:
        return Build(*node.children[0], grid);
      case FunctionId::kScalar: {
        VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
        return VectorToScalar(context_, std::move(input));
      }
      case FunctionId::kTimestamp:
      case FunctionId::kStartTimestamp:
        return BuildTimestamp(node, grid);
      case FunctionId::kAbsent: {
        VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
        return Absent(context_, std::move(input), AbsentLabels(*node.children[0]));
      }
      case FunctionId::kRound:
      case FunctionId::kClamp:
      case FunctionId::kClampMin:
      case FunctionId::kClampMax:
        return BuildRounding(node, grid);
      case FunctionId::kHistogramQuantile:
      case FunctionId::kHistogramQuantiles:
      case FunctionId::kHistogramFraction:
        return BuildHistogramQuantiles(node, grid);
      case FunctionId::kInfo:
        return BuildInfo(node, grid);
      case FunctionId::kLabelReplace:
      case FunctionId::kLabelJoin:
        return BuildLabelChange(node, grid);
      case FunctionId::kSort:
      case FunctionId::kSortDesc:
      case FunctionId::kSortByLabel:
      case FunctionId::kSortByLabelDesc:
        return BuildSort(node, grid);
      default:
        return MakeStatus(StatusCode::kInternal, Concat("no such function: ", node.function->name));
    }
  }

  /// Functions of one element; those of dates are over the time of the step if nothing is given.
  Result<OperatorPtr> BuildElements(const Node& node, ElementFunction function,
                                    const StepGrid& grid) {
    OperatorPtr input;
    if (node.children.empty()) {
      input = TimeScalar(context_, grid);
    } else {
      VARVE_ASSIGN_OR_RETURN(input, Build(*node.children[0], grid));
    }
    return Dropped(Elements(context_, function, std::move(input)));
  }

  Result<OperatorPtr> BuildScalarExtreme(const Node& node, const StepGrid& grid) {
    const bool max = node.function->id == FunctionId::kMaxOf;
    VARVE_ASSIGN_OR_RETURN(OperatorPtr left, Build(*node.children[0], grid));
    VARVE_ASSIGN_OR_RETURN(OperatorPtr right, Build(*node.children[1], grid));
    return ScalarExtreme(context_, max ? ScalarChoice::kMax : ScalarChoice::kMin, std::move(left),
                         std::move(right));
  }

  /// round() and clamp*(): elements against scalars.
  Result<OperatorPtr> BuildRounding(const Node& node, const StepGrid& grid) {
    const FunctionId id = node.function->id;
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
    if (id == FunctionId::kRound) {
      OperatorPtr nearest;
      if (node.children.size() > 1) {
        VARVE_ASSIGN_OR_RETURN(nearest, Build(*node.children[1], grid));
      }
      return Dropped(Round(context_, std::move(input), std::move(nearest)));
    }
    OperatorPtr low;
    OperatorPtr high;
    if (id != FunctionId::kClampMax) {
      VARVE_ASSIGN_OR_RETURN(low, Build(*node.children[1], grid));
    }
    if (id != FunctionId::kClampMin) {
      VARVE_ASSIGN_OR_RETURN(high, Build(*node.children.back(), grid));
    }
    return Dropped(Clamp(context_, std::move(input), std::move(low), std::move(high)));
  }

  /// The texts of the arguments from `from` on.
  static std::vector<std::string> TextsFrom(const Node& node, size_t from) {
    std::vector<std::string> out;
    for (size_t i = from; i < node.children.size(); ++i) out.push_back(node.children[i]->text);
    return out;
  }

  Result<OperatorPtr> BuildLabelChange(const Node& node, const StepGrid& grid) {
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
    const auto text = [&](size_t i) { return node.children[i]->text; };
    OperatorPtr changed =
        node.function->id == FunctionId::kLabelReplace
            ? LabelReplace(context_, std::move(input), text(1), text(2), text(3), text(4))
            : LabelJoin(context_, std::move(input), text(1), text(2), TextsFrom(node, 3));
    return MergeDuplicates(context_, std::move(changed), false);
  }

  Result<OperatorPtr> BuildSort(const Node& node, const StepGrid& grid) {
    const FunctionId id = node.function->id;
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
    const bool by_value = id == FunctionId::kSort || id == FunctionId::kSortDesc;
    const bool descending = id == FunctionId::kSortDesc || id == FunctionId::kSortByLabelDesc;
    if (context_.query_grid.count > 1) {
      context_.annotations.Add(
          AnnotationSink::Kind::kWarning,
          "sort is ineffective for range queries since results are always ordered by labels",
          node.place);
    }
    if (grid.count > 1) {
      return by_value ? FloatsOnly(context_, std::move(input)) : std::move(input);
    }
    return by_value ? SortByValue(context_, std::move(input), descending)
                    : SortByLabel(context_, std::move(input), TextsFrom(node, 1), descending);
  }

  Result<OperatorPtr> BuildTimestamp(const Node& node, const StepGrid& grid) {
    const bool start = node.function->id == FunctionId::kStartTimestamp;
    const Node& arg = SkipOnce(*node.children[0]);
    if (arg.kind == NodeKind::kSelector && arg.selection.edges == WindowEdges::kPlain) {
      return Dropped(
          InstantSelector(context_, grid, arg.selection,
                          start ? SelectorValue::kStartTimestamp : SelectorValue::kTimestamp));
    }
    if (start) return Nothing(context_, grid);  // computed values have no start
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
    return Dropped(StepTimestamps(context_, std::move(input)));
  }

  Result<OperatorPtr> BuildHistogramQuantiles(const Node& node, const StepGrid& grid) {
    HistogramQuery query;
    size_t vector = 0;
    std::vector<size_t> scalars;
    if (node.function->id == FunctionId::kHistogramQuantiles) {
      query.kind = HistogramQuery::Kind::kQuantiles;
      query.label = node.children[1]->text;
      for (size_t i = 2; i < node.children.size(); ++i) scalars.push_back(i);
    } else {
      vector = node.children.size() - 1;
      if (node.function->id == FunctionId::kHistogramFraction) {
        query.kind = HistogramQuery::Kind::kFraction;
      }
      for (size_t i = 0; i < vector; ++i) scalars.push_back(i);
    }
    query.place = node.children[vector]->place;
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[vector], grid));
    std::vector<OperatorPtr> operators;
    for (const size_t i : scalars) {
      VARVE_ASSIGN_OR_RETURN(OperatorPtr scalar, Build(*node.children[i], grid));
      operators.push_back(std::move(scalar));
      query.scalar_places.push_back(node.children[i]->place);
    }
    return Dropped(
        HistogramQuantiles(context_, std::move(query), std::move(input), std::move(operators)));
  }

  /// Where a selector looks, seen from the top of an expression.
  struct Look {
    int64_t offset_ms = 0;
    std::optional<int64_t> at_ms;
  };
  /// Finds where the first selector below a node looks, subqueries around it included: info()
  /// looks there too. Gives false if there is no selector.
  static bool FirstLook(const Node& node, Look look, Look* out) {
    const bool selector = node.kind == NodeKind::kSelector || node.kind == NodeKind::kMatrix;
    if (selector || node.kind == NodeKind::kSubquery) {
      const int64_t offset = selector ? node.selection.offset_ms : node.offset_ms;
      const std::optional<int64_t>& at = selector ? node.selection.at_ms : node.at_ms;
      if (at) {
        look = {offset, at};
      } else {
        look.offset_ms += offset;
      }
    }
    if (selector) {
      *out = look;
      return true;
    }
    for (const NodePtr& child : node.children) {
      if (FirstLook(*child, look, out)) return true;
    }
    return false;
  }

  Result<OperatorPtr> BuildInfo(const Node& node, const StepGrid& grid) {
    VARVE_ASSIGN_OR_RETURN(OperatorPtr input, Build(*node.children[0], grid));
    std::vector<Matcher> matchers;
    if (node.children.size() > 1) matchers = SkipOnce(*node.children[1]).selection.matchers;
    Look look;
    FirstLook(*node.children[0], Look(), &look);
    return MergeDuplicates(
        context_,
        JoinInfo(context_, std::move(input), std::move(matchers), look.offset_ms, look.at_ms),
        false);
  }

  ExecContext& context_;
  std::map<uint32_t, std::shared_ptr<SharedRows>> shared_;
};

}  // namespace

Result<OperatorPtr> BuildOperators(ExecContext& context, const Node& node, const StepGrid& grid) {
  return Builder(context).Build(node, grid);
}

Result<StepGrid> SubqueryGrid(const Node& subquery, const StepGrid& grid) {
  const int64_t step = subquery.step_ms;
  const auto end_at = [&](int64_t time) {
    return subquery.at_ms.value_or(time) - subquery.offset_ms;
  };
  const int64_t after = end_at(grid.start_ms) - subquery.range_ms;
  const int64_t end = end_at(grid.last());
  int64_t start = step * (after / step);
  if (start <= after) start += step;
  StepGrid inner{start, step, 0};
  if (end < start) return inner;
  const int64_t count = (end - start) / step + 1;
  constexpr int64_t kStepsMax = 50'000'000;
  if (count > kStepsMax) {
    return MakeStatus(
        StatusCode::kResourceExhausted,
        "query processing would load too many samples into memory in query execution");
  }
  inner.count = static_cast<uint32_t>(count);
  return inner;
}

}  // namespace varve::query::plan
