#include "query/lang/traceql/check.h"

#include <re2/re2.h>

#include "engine/base/bounded_regex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/ast.h"

namespace varve::traceql {
namespace {

/// What is known of a field expression's value before it is evaluated.
enum class ValueKind : uint8_t { kUnknown, kNil, kString, kBool, kNumber, kStatus, kKind, kArray };

ValueKind KindOf(const TraceValue& value) {
  switch (value.type) {
    case TraceValue::Type::kNil:
      return ValueKind::kNil;
    case TraceValue::Type::kString:
      return ValueKind::kString;
    case TraceValue::Type::kBool:
      return ValueKind::kBool;
    case TraceValue::Type::kInt:
    case TraceValue::Type::kDouble:
    case TraceValue::Type::kDuration:
      return ValueKind::kNumber;
    case TraceValue::Type::kStatus:
      return ValueKind::kStatus;
    case TraceValue::Type::kKind:
      return ValueKind::kKind;
    default:
      return ValueKind::kUnknown;
  }
}

ValueKind KindOf(const Field& field) {
  switch (field.kind) {
    case FieldKind::kAttribute:
      return ValueKind::kUnknown;
    case FieldKind::kDuration:
    case FieldKind::kEventTime:
    case FieldKind::kStart:
    case FieldKind::kChildCount:
    case FieldKind::kNestedSetLeft:
    case FieldKind::kNestedSetRight:
    case FieldKind::kNestedSetParent:
    case FieldKind::kTraceDuration:
      return ValueKind::kNumber;
    case FieldKind::kStatus:
      return ValueKind::kStatus;
    case FieldKind::kSpanKind:
      return ValueKind::kKind;
    default:
      return ValueKind::kString;
  }
}

bool ReadsSpan(const FieldExpr& expr) {
  return expr.kind == FieldExpr::Kind::kField || (expr.left != nullptr && ReadsSpan(*expr.left)) ||
         (expr.right != nullptr && ReadsSpan(*expr.right));
}

/// Tells whether the leftmost operand of a metric is a function that still lacks its pipeline.
bool TakesInput(const Expr& metric) {
  if (metric.kind == Expr::Kind::kBinary) return TakesInput(*metric.left);
  return metric.kind == Expr::Kind::kCall;
}

class Checker {
 public:
  explicit Checker(std::string_view text) : text_(text) {}

  Status Filter(const FieldExpr& filter) {
    VARVE_ASSIGN_OR_RETURN(const ValueKind kind, Check(filter));
    if (kind != ValueKind::kBool && kind != ValueKind::kUnknown) {
      return Error(filter.span, Concat("span filter field expressions must resolve to a boolean: ",
                                       ToString(filter)));
    }
    return absl::OkStatus();
  }

  Status Root(ExprPtr* expr) {
    VARVE_RETURN_IF_ERROR(Check(**expr));
    switch ((*expr)->type) {
      case Type::kSpanset:
      case Type::kMetric:
        return absl::OkStatus();
      case Type::kStage: {
        // A query may start with by() and the like: they get every span.
        auto pipeline = std::make_unique<Expr>();
        pipeline->kind = Expr::Kind::kPipeline;
        pipeline->span = (*expr)->span;
        pipeline->stages.push_back(std::move(*expr));
        *expr = std::move(pipeline);
        return absl::OkStatus();
      }
      case Type::kScalar:
        return Error((*expr)->span, Concat("the query ends in a number (", ToString(**expr),
                                           "); compare it with something to select spans"));
      case Type::kNumber:
        return Error((*expr)->span, "the query is a number; it selects no spans");
      case Type::kSecond:
        return Error((*expr)->span,
                     Concat(ToString(**expr), " may only follow a metrics function"));
    }
    return absl::OkStatus();
  }

 private:
  Status Error(TextSpan span, std::string_view what) const { return QueryError(text_, span, what); }

  // --- Fields ---

  Result<ValueKind> Check(const FieldExpr& expr) {
    switch (expr.kind) {
      case FieldExpr::Kind::kLiteral:
        return KindOf(expr.literal);
      case FieldExpr::Kind::kArray:
        return ValueKind::kArray;
      case FieldExpr::Kind::kField:
        return KindOf(expr.field);
      case FieldExpr::Kind::kUnary: {
        VARVE_ASSIGN_OR_RETURN(const ValueKind kind, Check(*expr.left));
        const ValueKind wanted = expr.op == Op::kNot ? ValueKind::kBool : ValueKind::kNumber;
        if (kind != wanted && kind != ValueKind::kUnknown) {
          return Error(expr.span, Concat("illegal operation for the given type: ", ToString(expr)));
        }
        return wanted;
      }
      case FieldExpr::Kind::kBinary:
        return CheckBinary(expr);
    }
    return ValueKind::kUnknown;
  }

  Result<ValueKind> CheckBinary(const FieldExpr& expr) {
    VARVE_ASSIGN_OR_RETURN(const ValueKind left, Check(*expr.left));
    VARVE_ASSIGN_OR_RETURN(const ValueKind right, Check(*expr.right));
    const Op op = expr.op;
    const auto illegal = [&] {
      return Error(expr.span, Concat("illegal operation for the given types: ", ToString(expr)));
    };
    if (left == ValueKind::kArray || right == ValueKind::kArray) {
      if (left == ValueKind::kArray) {
        return Error(expr.left->span, "an array may only stand on the right of =, !=, =~ and !~");
      }
      if (op != Op::kEqual && op != Op::kNotEqual && op != Op::kRegex && op != Op::kNotRegex) {
        return illegal();
      }
      for (const TraceValue& element : expr.right->array) {
        const ValueKind kind = KindOf(element);
        if (left != ValueKind::kUnknown && kind != left) return illegal();
        if (op == Op::kRegex || op == Op::kNotRegex) {
          VARVE_RETURN_IF_ERROR(CheckRegex(expr, element, left));
        }
      }
      return ValueKind::kBool;
    }
    if (op == Op::kRegex || op == Op::kNotRegex) {
      if (expr.right->kind != FieldExpr::Kind::kLiteral) {
        return Error(expr.right->span, "the right side of =~ and !~ must be a string");
      }
      VARVE_RETURN_IF_ERROR(CheckRegex(expr, expr.right->literal, left));
      return ValueKind::kBool;
    }
    if (left == ValueKind::kNil || right == ValueKind::kNil) {
      if (op != Op::kEqual && op != Op::kNotEqual) return illegal();
      return ValueKind::kBool;
    }
    const bool known = left != ValueKind::kUnknown && right != ValueKind::kUnknown;
    if (known && left != right) {
      return Error(expr.span,
                   Concat("binary operations must operate on the same type: ", ToString(expr)));
    }
    const ValueKind kind = left != ValueKind::kUnknown ? left : right;
    const auto fits = [&](std::initializer_list<ValueKind> allowed) {
      if (kind == ValueKind::kUnknown) return true;
      for (const ValueKind a : allowed) {
        if (a == kind) return true;
      }
      return false;
    };
    switch (op) {
      case Op::kAnd:
      case Op::kOr:
        if (!fits({ValueKind::kBool})) return illegal();
        return ValueKind::kBool;
      case Op::kEqual:
      case Op::kNotEqual:
      case Op::kTextEqual:
        return ValueKind::kBool;
      case Op::kLess:
      case Op::kLessEqual:
      case Op::kGreater:
      case Op::kGreaterEqual:
        if (!fits({ValueKind::kNumber, ValueKind::kString})) return illegal();
        return ValueKind::kBool;
      default:
        if (!fits({ValueKind::kNumber})) return illegal();
        return ValueKind::kNumber;
    }
  }

  Status CheckRegex(const FieldExpr& expr, const TraceValue& pattern, ValueKind left) {
    if (pattern.type != TraceValue::Type::kString) {
      return Error(expr.right->span, "the right side of =~ and !~ must be a string");
    }
    if (left != ValueKind::kUnknown && left != ValueKind::kString) {
      return Error(expr.span, Concat("illegal operation for the given types: ", ToString(expr)));
    }
    if (BoundedRegex::HasTooManyParts(pattern.text)) {
      return Error(expr.right->span, "invalid regex: expression too large");
    }
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    const re2::RE2 regex(re2::StringPiece(pattern.text.data(), pattern.text.size()), options);
    if (!regex.ok()) {
      return Error(expr.right->span, Concat("invalid regex: ", regex.error()));
    }
    return absl::OkStatus();
  }

  Status NumberArgument(const Expr& call) {
    for (const auto& field : call.fields) {
      VARVE_ASSIGN_OR_RETURN(const ValueKind kind, Check(*field));
      if (kind != ValueKind::kNumber && kind != ValueKind::kUnknown) {
        return Error(field->span, Concat("aggregate field expressions must resolve to a number: ",
                                         ToString(call)));
      }
      if (!ReadsSpan(*field)) {
        return Error(field->span, Concat("aggregate field expressions must reference the span: ",
                                         ToString(call)));
      }
    }
    return absl::OkStatus();
  }

  Status Grouping(const std::vector<FieldExprPtr>& fields) {
    for (const auto& field : fields) {
      VARVE_ASSIGN_OR_RETURN(const ValueKind kind, Check(*field));
      if (kind == ValueKind::kArray) return Error(field->span, "cannot group by an array");
      if (!ReadsSpan(*field)) {
        return Error(field->span, Concat("grouping field expressions must reference the span: ",
                                         ToString(*field)));
      }
    }
    return absl::OkStatus();
  }

  // --- Spansets, scalars, metrics ---

  Status Check(Expr& expr) {
    switch (expr.kind) {
      case Expr::Kind::kFilter:
        expr.type = Type::kSpanset;
        return expr.filter == nullptr ? absl::OkStatus() : Filter(*expr.filter);
      case Expr::Kind::kGroup:
        expr.type = Type::kStage;
        return Grouping(expr.fields);
      case Expr::Kind::kNumber:
        expr.type = Type::kNumber;
        return absl::OkStatus();
      case Expr::Kind::kNegate:
        VARVE_RETURN_IF_ERROR(Check(*expr.left));
        if (expr.left->type != Type::kScalar && expr.left->type != Type::kNumber) {
          return Error(expr.span, "only numbers have signs");
        }
        expr.type = expr.left->type;
        return absl::OkStatus();
      case Expr::Kind::kCall:
        return CheckCall(expr);
      case Expr::Kind::kBinary:
        return CheckBinary(expr);
      case Expr::Kind::kPipeline:
        return CheckPipeline(expr);
    }
    return absl::OkStatus();
  }

  Status CheckCall(Expr& expr) {
    if (IsAggregate(expr.function)) {
      expr.type = Type::kScalar;
      return NumberArgument(expr);
    }
    switch (expr.function) {
      case Function::kCoalesce:
      case Function::kSelect:
        expr.type = Type::kStage;
        return absl::OkStatus();
      case Function::kTopk:
      case Function::kBottomk:
        expr.type = Type::kSecond;
        return absl::OkStatus();
      case Function::kCompare:
        expr.type = Type::kMetric;
        return expr.filter == nullptr ? absl::OkStatus() : Filter(*expr.filter);
      default:
        expr.type = Type::kMetric;
        VARVE_RETURN_IF_ERROR(NumberArgument(expr));
        return Grouping(expr.by);
    }
  }

  Status CheckBinary(Expr& expr) {
    VARVE_RETURN_IF_ERROR(Check(*expr.left));
    VARVE_RETURN_IF_ERROR(Check(*expr.right));
    const Type left = expr.left->type;
    const Type right = expr.right->type;
    const auto refuse = [&](std::string_view what) {
      return Error(expr.span, Concat(what, ": ", ToString(expr)));
    };
    if (left == Type::kStage || right == Type::kStage) {
      return refuse("by, coalesce and select are stages of a pipeline, not operands");
    }
    if (left == Type::kSpanset && right == Type::kSpanset) {
      if (expr.op == Op::kLess) expr.op = Op::kParent;
      if (expr.op == Op::kGreater) expr.op = Op::kChild;
      if (expr.op == Op::kNotRegex) expr.op = Op::kNotSibling;
      if (expr.op != Op::kAnd && expr.op != Op::kOr && !IsStructural(expr.op)) {
        return refuse(Concat("spansets cannot be combined by ", ToString(expr.op)));
      }
      expr.type = Type::kSpanset;
      return absl::OkStatus();
    }
    if (left == Type::kSpanset || right == Type::kSpanset) {
      return refuse("a spanset and a number cannot be combined");
    }
    if (!IsArithmetic(expr.op) &&
        (!IsComparison(expr.op) || expr.op == Op::kRegex || expr.op == Op::kNotRegex)) {
      return refuse(Concat("numbers cannot be combined by ", ToString(expr.op)));
    }
    const auto is_metric = [](Type type) { return type == Type::kMetric || type == Type::kSecond; };
    if (is_metric(left) || is_metric(right)) {
      if (left == Type::kScalar || right == Type::kScalar) {
        return refuse("metrics and aggregates of traces cannot be combined");
      }
      if (right == Type::kSecond) return refuse("topk and bottomk may only follow a metric");
      if (left == Type::kSecond && (right != Type::kNumber || !IsComparison(expr.op))) {
        return refuse("only a comparison with a number may follow topk and bottomk");
      }
      expr.type = left == Type::kSecond ? Type::kSecond : Type::kMetric;
      return absl::OkStatus();
    }
    if (left == Type::kNumber && right == Type::kNumber) {
      if (IsComparison(expr.op)) return refuse("two numbers are compared; this selects no spans");
      expr.type = Type::kNumber;
      return absl::OkStatus();
    }
    expr.type = IsComparison(expr.op) ? Type::kSpanset : Type::kScalar;
    return absl::OkStatus();
  }

  Status CheckPipeline(Expr& expr) {
    Type at = Type::kSpanset;  // what flows
    for (size_t i = 0; i < expr.stages.size(); ++i) {
      Expr& stage = *expr.stages[i];
      VARVE_RETURN_IF_ERROR(Check(stage));
      const auto refuse = [&](std::string_view what) {
        return Error(stage.span, Concat(what, ": ", ToString(stage)));
      };
      if (stage.type == Type::kNumber) return refuse("a number cannot be a stage of a pipeline");
      if (i == 0) {
        if (stage.type == Type::kSecond) return refuse("topk and bottomk may only follow a metric");
        at = stage.type == Type::kStage ? Type::kSpanset : stage.type;
        continue;
      }
      if (at == Type::kScalar) {
        return refuse("nothing may follow an aggregate that is not compared");
      }
      if (at == Type::kMetric) {
        if (stage.type != Type::kSecond) {
          return refuse("only topk and bottomk may follow a metrics function");
        }
        continue;
      }
      if (stage.type == Type::kSecond) return refuse("topk and bottomk may only follow a metric");
      if (stage.type == Type::kMetric && !TakesInput(stage)) {
        return refuse("a query of its own cannot be a stage of another");
      }
      if (stage.type != Type::kStage) at = stage.type;
    }
    expr.type = at;
    return absl::OkStatus();
  }

  std::string_view text_;
};

}  // namespace

Status QueryError(std::string_view text, TextSpan span, std::string_view what) {
  const TextPlace place = promql::PlaceOf(text, span.begin);
  return TextError(place, Concat("invalid TraceQL query: parse error at line ", place.line,
                                 ", col ", place.column, ": ", what));
}

Status CheckQuery(std::string_view text, Query* query) { return Checker(text).Root(&query->expr); }
Status CheckFilter(std::string_view text, const FieldExpr& filter) {
  return Checker(text).Filter(filter);
}

}  // namespace varve::traceql
