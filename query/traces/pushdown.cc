#include "query/traces/pushdown.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/strings.h"
#include "query/lang/traceql/literals.h"
#include "varve/span.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::Field;
using traceql::FieldExpr;
using traceql::FieldKind;
using traceql::Op;
using PredicateOp = SpanPredicate::Op;

// More alternatives than this cost more scans than they save.
constexpr size_t kAlternativesMax = 8;

Pushdown Everything(bool exact) { return {{{}}, exact}; }
Pushdown Nothing() { return {{}, true}; }
Pushdown One(const Field& field, PredicateOp op, SpanPredicate::Value value, bool exact) {
  SpanPredicate predicate;
  predicate.field = traceql::ToSpanField(field);
  predicate.op = op;
  predicate.value = std::move(value);
  return {{{std::move(predicate)}}, exact};
}

bool IsId(FieldKind kind) {
  return kind == FieldKind::kTraceId || kind == FieldKind::kLinkTraceId ||
         kind == FieldKind::kSpanId || kind == FieldKind::kParentId ||
         kind == FieldKind::kLinkSpanId;
}

/// Gives the bytes of an identifier that a text spells; nothing if it spells none in full.
std::optional<std::string> IdBytes(FieldKind kind, std::string_view text) {
  if (kind == FieldKind::kTraceId || kind == FieldKind::kLinkTraceId) {
    const auto id = ParseTraceId(text);
    if (!id) return std::nullopt;
    return std::string(id->bytes.begin(), id->bytes.end());
  }
  const auto id = ParseSpanId(text);
  if (!id) return std::nullopt;
  return std::string(id->bytes.begin(), id->bytes.end());
}

Op Mirror(Op op) {
  switch (op) {
    case Op::kLess:
      return Op::kGreater;
    case Op::kLessEqual:
      return Op::kGreaterEqual;
    case Op::kGreater:
      return Op::kLess;
    case Op::kGreaterEqual:
      return Op::kLessEqual;
    default:
      return op;
  }
}

PredicateOp PredicateOf(Op op) {
  switch (op) {
    case Op::kEqual:
      return PredicateOp::kEqual;
    case Op::kNotEqual:
      return PredicateOp::kNotEqual;
    case Op::kLess:
      return PredicateOp::kLess;
    case Op::kLessEqual:
      return PredicateOp::kLessEqual;
    case Op::kGreater:
      return PredicateOp::kGreater;
    case Op::kGreaterEqual:
      return PredicateOp::kGreaterEqual;
    case Op::kRegex:
      return PredicateOp::kRegex;
    case Op::kNotRegex:
      return PredicateOp::kNotRegex;
    default:
      return PredicateOp::kTextEqual;
  }
}

/// A field against a literal.
Pushdown PushComparison(const Field& field, Op op, const TraceValue& literal) {
  using Type = TraceValue::Type;
  const bool is_attribute = field.kind == FieldKind::kAttribute;
  const bool is_event =
      field.kind == FieldKind::kEventName || field.kind == FieldKind::kEventTime ||
      field.kind == FieldKind::kLinkTraceId || field.kind == FieldKind::kLinkSpanId;
  // Roots are the spans without a parent; every other number of the nested sets needs the trace.
  if (field.kind == FieldKind::kNestedSetParent && !field.of_parent && literal.type == Type::kInt) {
    const bool root = (op == Op::kLess && literal.integer == 0) ||
                      (op == Op::kLessEqual && literal.integer == -1) ||
                      (op == Op::kEqual && literal.integer == -1);
    if (root) {
      Field parent;
      parent.kind = FieldKind::kParentId;
      return One(parent, PredicateOp::kEqual, std::string(), true);
    }
  }
  if (traceql::NeedsTrace(field)) return Everything(false);
  if (literal.type == Type::kNil) {
    const bool exists = op == Op::kNotEqual;
    if (is_attribute || is_event) {
      return One(field, exists ? PredicateOp::kExists : PredicateOp::kNotExists, {}, true);
    }
    if (field.kind == FieldKind::kParentId) {
      return One(field, exists ? PredicateOp::kNotEqual : PredicateOp::kEqual, std::string(), true);
    }
    return exists ? Everything(true) : Nothing();  // the other intrinsics always exist
  }
  if (IsId(field.kind)) {
    if (op != Op::kEqual && op != Op::kNotEqual) return Everything(false);
    const auto bytes = IdBytes(field.kind, literal.text);
    if (!bytes) return op == Op::kEqual ? Nothing() : Everything(false);
    if (op == Op::kNotEqual) return Everything(false);
    return One(field, PredicateOp::kEqual, *bytes, true);
  }
  switch (literal.type) {
    case Type::kBool:
      if (!is_attribute) return Nothing();
      // Stores count other types as different, we do not; and arrays must differ in all elements.
      return One(field, PredicateOf(op), literal.boolean, op == Op::kEqual);
    case Type::kInt:
    case Type::kDuration:
      return One(field, PredicateOf(op), literal.integer,
                 op != Op::kNotEqual || field.kind == FieldKind::kDuration);
    case Type::kDouble:
      return One(field, PredicateOf(op), literal.number,
                 op != Op::kNotEqual || field.kind == FieldKind::kDuration);
    case Type::kStatus:
      if (field.kind != FieldKind::kStatus) return Nothing();
      return One(field, PredicateOf(op), literal.integer, true);
    case Type::kKind:
      if (field.kind != FieldKind::kSpanKind) return Nothing();
      return One(field, PredicateOf(op), literal.integer, true);
    case Type::kString: {
      // Every string of a span is one there; attributes may be of other types or arrays.
      const bool always_string = !is_attribute && !is_event;
      switch (op) {
        case Op::kEqual:
        case Op::kRegex:
        case Op::kTextEqual:
          return One(field, PredicateOf(op), literal.text, true);
        case Op::kNotEqual:
        case Op::kNotRegex:
          return One(field, PredicateOf(op), literal.text, always_string || is_event);
        default:
          // The order of texts is not for stores.
          return is_attribute || is_event ? One(field, PredicateOp::kExists, {}, false)
                                          : Everything(false);
      }
    }
    default:
      return Everything(false);
  }
}

/// Joins texts to one expression that matches any of them; nothing if one is no valid UTF-8.
std::optional<std::string> Alternation(const std::vector<std::string_view>& texts) {
  std::string out;
  for (const std::string_view text : texts) {
    if (!IsValidUtf8(text) || text.find('\0') != std::string_view::npos) return std::nullopt;
    if (!out.empty()) out.push_back('|');
    out.append(re2::RE2::QuoteMeta(re2::StringPiece(text.data(), text.size())));
  }
  return out;
}

Pushdown PushArray(const Field& field, Op op, const std::vector<TraceValue>& array) {
  if (traceql::NeedsTrace(field) || array.empty() || op == Op::kNotEqual || op == Op::kNotRegex) {
    return Everything(false);
  }
  std::vector<std::string_view> texts;
  bool strings = op == Op::kEqual && !IsId(field.kind);
  for (const TraceValue& value : array) {
    strings = strings && value.type == TraceValue::Type::kString && !value.text.empty();
    texts.push_back(value.text);
  }
  if (strings && array.size() > 1) {
    if (const auto regex = Alternation(texts)) {
      return One(field, PredicateOp::kRegex, *regex, true);
    }
  }
  if (array.size() > kAlternativesMax || IsId(field.kind)) return Everything(false);
  Pushdown out;
  for (const TraceValue& value : array) {
    Pushdown one = PushComparison(field, op, value);
    out.exact = out.exact && one.exact;
    for (auto& alternative : one.alternatives) out.alternatives.push_back(std::move(alternative));
  }
  return out;
}

/// Finds out whether an `||` chain tests one field for equality with strings: one expression does.
bool CollectEqualities(const FieldExpr& expr, const Field** field,
                       std::vector<std::string_view>* texts) {
  if (expr.kind != FieldExpr::Kind::kBinary) return false;
  if (expr.op == Op::kOr) {
    return CollectEqualities(*expr.left, field, texts) &&
           CollectEqualities(*expr.right, field, texts);
  }
  if (expr.op != Op::kEqual || expr.left->kind != FieldExpr::Kind::kField ||
      expr.right->kind != FieldExpr::Kind::kLiteral ||
      expr.right->literal.type != TraceValue::Type::kString || expr.right->literal.text.empty()) {
    return false;
  }
  const Field& own = expr.left->field;
  if (traceql::NeedsTrace(own) || IsId(own.kind)) return false;
  if (*field != nullptr && **field != own) return false;
  *field = &own;
  texts->push_back(expr.right->literal.text);
  return true;
}

int WeightOf(const SpanPredicate& predicate) {
  switch (predicate.op) {
    case PredicateOp::kEqual:
    case PredicateOp::kTextEqual:
      return predicate.field.intrinsic == Intrinsic::kTraceId ? 100 : 8;
    case PredicateOp::kRegex:
    case PredicateOp::kExists:
      return 4;
    case PredicateOp::kNotExists:
    case PredicateOp::kNotEqual:
    case PredicateOp::kNotRegex:
      return 1;
    default:
      return 3;
  }
}

int WeightOf(const Pushdown::Predicates& predicates) {
  int weight = 0;
  for (const SpanPredicate& predicate : predicates) weight += WeightOf(predicate);
  return weight;
}

/// Tells how much a drive narrows a search: by its worst scan.
int WeightOf(const Drive& drive) {
  int weight = 1000;
  for (const DriveScan& scan : drive.scans) {
    weight = std::min(weight, WeightOf(scan.predicates) * 2 + (scan.residual != nullptr));
  }
  return weight;
}

/// Of two drives either of which will do: the narrower, or the right one.
Drive Narrower(Drive left, Drive right) {
  return WeightOf(left) > WeightOf(right) ? std::move(left) : std::move(right);
}

Drive Union(Drive left, Drive right) {
  for (DriveScan& scan : right.scans) left.scans.push_back(std::move(scan));
  if (!left.text.empty() && !right.text.empty()) left.text.append(" or ");
  left.text.append(right.text);
  return left;
}

bool SuitsColumns(const FieldExpr& expr) {
  if (expr.kind == FieldExpr::Kind::kField) {
    return !traceql::NeedsTrace(expr.field) && !traceql::IsMultiple(expr.field);
  }
  return (expr.left == nullptr || SuitsColumns(*expr.left)) &&
         (expr.right == nullptr || SuitsColumns(*expr.right));
}

/// What a drive is for: traces that may match, or the spans of their answers.
enum class Aim : uint8_t { kTraces, kSpans };
Drive Plan(const Expr& expr, Aim aim);

Drive DriveOfFilter(const Expr& expr) {
  Drive out;
  out.text = traceql::ToString(expr);
  if (expr.filter == nullptr) {
    out.scans.emplace_back();
    return out;
  }
  Pushdown pushed = PushDown(*expr.filter);
  const FieldExpr* residual =
      !pushed.exact && SuitsColumns(*expr.filter) ? expr.filter.get() : nullptr;
  for (auto& predicates : pushed.alternatives) {
    out.scans.push_back({std::move(predicates), residual});
  }
  return out;
}

/// Finds the pipelines that the numbers of a comparison come from; false if one takes its input
/// from outside.
bool DriveOfScalars(const Expr& expr, Aim aim, Drive* out) {
  switch (expr.kind) {
    case Expr::Kind::kNumber:
      return true;
    case Expr::Kind::kNegate:
      return DriveOfScalars(*expr.left, aim, out);
    case Expr::Kind::kBinary:
      return DriveOfScalars(*expr.left, aim, out) && DriveOfScalars(*expr.right, aim, out);
    case Expr::Kind::kPipeline:
      *out = Union(std::move(*out), Plan(expr, aim));
      return true;
    default:
      return false;
  }
}

Drive All() {
  Drive out;
  out.scans.emplace_back();
  out.text = "{ }";
  return out;
}

Drive Plan(const Expr& expr, Aim aim) {
  switch (expr.kind) {
    case Expr::Kind::kFilter:
      return DriveOfFilter(expr);
    case Expr::Kind::kBinary:
      if (traceql::IsComparison(expr.op)) {
        Drive out;
        return DriveOfScalars(expr, aim, &out) ? std::move(out) : All();
      }
      switch (expr.op) {
        case Op::kAnd:
        case Op::kUnionChild:
        case Op::kUnionParent:
        case Op::kUnionDescendant:
        case Op::kUnionAncestor:
        case Op::kUnionSibling:
          if (aim == Aim::kTraces) {
            return Narrower(Plan(*expr.left, aim), Plan(*expr.right, aim));
          }
          [[fallthrough]];
        case Op::kOr:
          return Union(Plan(*expr.left, aim), Plan(*expr.right, aim));
        case Op::kNotChild:
        case Op::kNotParent:
        case Op::kNotDescendant:
        case Op::kNotAncestor:
        case Op::kNotSibling:
          return Plan(*expr.right, aim);
        default:
          if (aim == Aim::kSpans) return Plan(*expr.right, aim);
          return Narrower(Plan(*expr.left, aim), Plan(*expr.right, aim));
      }
    case Expr::Kind::kPipeline: {
      // Every filter of a pipeline must hold for some span of the trace: the narrowest will do.
      std::optional<Drive> out;
      for (const auto& stage : expr.stages) {
        if (stage->type != traceql::Type::kSpanset) continue;
        Drive own = Plan(*stage, aim);
        out = out ? Narrower(std::move(own), *std::move(out)) : std::move(own);
      }
      return out ? *std::move(out) : All();
    }
    default:
      return All();
  }
}

}  // namespace

Pushdown PushDown(const FieldExpr& filter) {
  switch (filter.kind) {
    case FieldExpr::Kind::kLiteral:
      return filter.literal.type == TraceValue::Type::kBool && filter.literal.boolean
                 ? Everything(true)
                 : Nothing();
    case FieldExpr::Kind::kArray:
      return Nothing();
    case FieldExpr::Kind::kField:
      return PushComparison(filter.field, Op::kEqual, traceql::BoolLiteral(true));
    case FieldExpr::Kind::kUnary:
      return Everything(false);
    case FieldExpr::Kind::kBinary:
      break;
  }
  if (filter.op == Op::kAnd) {
    Pushdown left = PushDown(*filter.left);
    Pushdown right = PushDown(*filter.right);
    const bool exact = left.exact && right.exact;
    if (left.alternatives.size() * right.alternatives.size() > kAlternativesMax) {
      // Keep the side with fewer scans; the other is left to the residual.
      Pushdown& kept = left.alternatives.size() <= right.alternatives.size() ? left : right;
      kept.exact = false;
      return std::move(kept);
    }
    Pushdown out;
    out.exact = exact;
    for (const auto& a : left.alternatives) {
      for (const auto& b : right.alternatives) {
        out.alternatives.push_back(a);
        out.alternatives.back().insert(out.alternatives.back().end(), b.begin(), b.end());
      }
    }
    return out;
  }
  if (filter.op == Op::kOr) {
    const Field* field = nullptr;
    std::vector<std::string_view> texts;
    if (CollectEqualities(filter, &field, &texts)) {
      if (const auto regex = Alternation(texts)) {
        return One(*field, PredicateOp::kRegex, *regex, true);
      }
    }
    Pushdown left = PushDown(*filter.left);
    Pushdown right = PushDown(*filter.right);
    const bool exact = left.exact && right.exact;
    if (left.alternatives.size() + right.alternatives.size() > kAlternativesMax) {
      return Everything(false);
    }
    for (auto& alternative : right.alternatives) {
      left.alternatives.push_back(std::move(alternative));
    }
    left.exact = exact;
    for (const auto& alternative : left.alternatives) {
      if (alternative.empty()) return Everything(exact);  // one of them lets everything through
    }
    return left;
  }
  if (!traceql::IsComparison(filter.op)) return Everything(false);
  const FieldExpr& left = *filter.left;
  const FieldExpr& right = *filter.right;
  if (left.kind == FieldExpr::Kind::kField && right.kind == FieldExpr::Kind::kLiteral) {
    return PushComparison(left.field, filter.op, right.literal);
  }
  if (left.kind == FieldExpr::Kind::kLiteral && right.kind == FieldExpr::Kind::kField) {
    return PushComparison(right.field, Mirror(filter.op), left.literal);
  }
  if (left.kind == FieldExpr::Kind::kField && right.kind == FieldExpr::Kind::kArray) {
    return PushArray(left.field, filter.op, right.array);
  }
  return Everything(false);
}

Drive PlanDrive(const Expr& expr) { return Plan(expr, Aim::kTraces); }
Drive PlanResultDrive(const Expr& expr) { return Plan(expr, Aim::kSpans); }

std::string ToString(const SpanPredicate& predicate) {
  std::string out = traceql::ToString(traceql::FromSpanField(predicate.field));
  const auto op = [&]() -> std::string_view {
    switch (predicate.op) {
      case PredicateOp::kExists:
        return "exists";
      case PredicateOp::kNotExists:
        return "is absent";
      case PredicateOp::kEqual:
        return "=";
      case PredicateOp::kNotEqual:
        return "!=";
      case PredicateOp::kLess:
        return "<";
      case PredicateOp::kLessEqual:
        return "<=";
      case PredicateOp::kGreater:
        return ">";
      case PredicateOp::kGreaterEqual:
        return ">=";
      case PredicateOp::kRegex:
        return "=~";
      case PredicateOp::kNotRegex:
        return "!~";
      case PredicateOp::kTextEqual:
        return "prints as";
    }
    return "?";
  };
  out.append(Concat(" ", op()));
  if (const auto* b = std::get_if<bool>(&predicate.value)) {
    out.append(*b ? " true" : " false");
  } else if (const auto* i = std::get_if<int64_t>(&predicate.value)) {
    out.append(Concat(" ", *i));
  } else if (const auto* d = std::get_if<double>(&predicate.value)) {
    out.append(Concat(" ", traceql::FormatDouble(*d)));
  } else if (const auto* s = std::get_if<std::string>(&predicate.value)) {
    out.append(Concat(" ", traceql::QuoteString(*s)));
  }
  return out;
}

}  // namespace varve::query
