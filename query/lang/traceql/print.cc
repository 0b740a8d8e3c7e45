#include <charconv>
#include <cmath>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"
#include "query/lang/traceql/ast.h"
#include "query/lang/traceql/literals.h"

namespace varve::traceql {
namespace {

// Levels of the grammar, loosest first. An operand of a lower level needs parentheses.
constexpr int kPipeLevel = 0;
constexpr int kLogicLevel = 1;
constexpr int kCompareLevel = 2;
constexpr int kAddLevel = 3;
constexpr int kNegateLevel = 4;
constexpr int kNotLevel = 5;
constexpr int kMulLevel = 6;
constexpr int kPowLevel = 7;
constexpr int kAtomLevel = 8;

int LevelOf(Op op) {
  switch (op) {
    case Op::kPow:
      return kPowLevel;
    case Op::kMul:
    case Op::kDiv:
    case Op::kMod:
      return kMulLevel;
    case Op::kNot:
      return kNotLevel;
    case Op::kNegate:
      return kNegateLevel;
    case Op::kAdd:
    case Op::kSub:
      return kAddLevel;
    case Op::kAnd:
    case Op::kOr:
      return kLogicLevel;
    case Op::kPipe:
      return kPipeLevel;
    default:
      return kCompareLevel;
  }
}

bool IsNegative(const TraceValue& value) {
  switch (value.type) {
    case TraceValue::Type::kInt:
    case TraceValue::Type::kDuration:
      return value.integer < 0;
    case TraceValue::Type::kDouble:
      return std::signbit(value.number);
    default:
      return false;
  }
}

int LevelOf(const FieldExpr& expr) {
  switch (expr.kind) {
    case FieldExpr::Kind::kLiteral:
      return IsNegative(expr.literal) ? kNegateLevel : kAtomLevel;
    case FieldExpr::Kind::kUnary:
    case FieldExpr::Kind::kBinary:
      return LevelOf(expr.op);
    default:
      return kAtomLevel;
  }
}

int LevelOf(const Expr& expr) {
  switch (expr.kind) {
    case Expr::Kind::kNumber:
      return IsNegative(expr.number) ? kNegateLevel : kAtomLevel;
    case Expr::Kind::kNegate:
      return kNegateLevel;
    case Expr::Kind::kBinary:
      return LevelOf(expr.op);
    case Expr::Kind::kPipeline:
      return kPipeLevel;
    default:
      return kAtomLevel;
  }
}

template <typename T>
void AppendOperand(const T& operand, int least, std::string* out);

void Append(const FieldExpr& expr, std::string* out) {
  switch (expr.kind) {
    case FieldExpr::Kind::kLiteral:
      out->append(LiteralToString(expr.literal));
      return;
    case FieldExpr::Kind::kArray:
      out->push_back('[');
      for (size_t i = 0; i < expr.array.size(); ++i) {
        if (i > 0) out->append(", ");
        out->append(LiteralToString(expr.array[i]));
      }
      out->push_back(']');
      return;
    case FieldExpr::Kind::kField:
      out->append(ToString(expr.field));
      return;
    case FieldExpr::Kind::kUnary:
      out->append(ToString(expr.op));
      AppendOperand(*expr.left, LevelOf(expr.op), out);
      return;
    case FieldExpr::Kind::kBinary: {
      const int level = LevelOf(expr.op);
      const bool to_right = expr.op == Op::kPow;
      AppendOperand(*expr.left, level + to_right, out);
      out->append(Concat(" ", ToString(expr.op), " "));
      AppendOperand(*expr.right, level + !to_right, out);
      return;
    }
  }
}

void AppendList(const std::vector<FieldExprPtr>& fields, std::string* out) {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) out->append(", ");
    Append(*fields[i], out);
  }
}

void AppendFilter(const FieldExpr* filter, std::string* out) {
  if (filter == nullptr) {
    out->append("{ }");
    return;
  }
  out->append("{ ");
  Append(*filter, out);
  out->append(" }");
}

void AppendCall(const Expr& expr, std::string* out) {
  out->append(ToString(expr.function));
  out->push_back('(');
  bool first = true;
  const auto separate = [&] {
    if (!first) out->append(", ");
    first = false;
  };
  if (expr.function == Function::kCompare) {
    separate();
    AppendFilter(expr.filter.get(), out);
  }
  if (!expr.fields.empty()) {
    separate();
    AppendList(expr.fields, out);
  }
  for (const double number : expr.numbers) {
    separate();
    out->append(FormatDouble(number));
  }
  for (const int64_t integer : expr.integers) {
    separate();
    out->append(std::to_string(integer));
  }
  out->push_back(')');
  if (!expr.by.empty()) {
    out->append(" by (");
    AppendList(expr.by, out);
    out->push_back(')');
  }
}

void Append(const Expr& expr, std::string* out) {
  switch (expr.kind) {
    case Expr::Kind::kFilter:
      AppendFilter(expr.filter.get(), out);
      return;
    case Expr::Kind::kGroup:
      out->append("by(");
      AppendList(expr.fields, out);
      out->push_back(')');
      return;
    case Expr::Kind::kCall:
      AppendCall(expr, out);
      return;
    case Expr::Kind::kNumber:
      out->append(LiteralToString(expr.number));
      return;
    case Expr::Kind::kNegate:
      out->push_back('-');
      AppendOperand(*expr.left, kNegateLevel, out);
      return;
    case Expr::Kind::kBinary: {
      const int level = LevelOf(expr.op);
      const bool to_right = expr.op == Op::kPow;
      AppendOperand(*expr.left, level + to_right, out);
      out->append(Concat(" ", ToString(expr.op), " "));
      AppendOperand(*expr.right, level + !to_right, out);
      return;
    }
    case Expr::Kind::kPipeline:
      for (size_t i = 0; i < expr.stages.size(); ++i) {
        if (i > 0) out->append(" | ");
        AppendOperand(*expr.stages[i], kPipeLevel + 1, out);
      }
      return;
  }
}

template <typename T>
void AppendOperand(const T& operand, int least, std::string* out) {
  const bool parentheses = LevelOf(operand) < least;
  if (parentheses) out->push_back('(');
  Append(operand, out);
  if (parentheses) out->push_back(')');
}

}  // namespace

std::string LiteralToString(const TraceValue& value) {
  if (value.type == TraceValue::Type::kString) return QuoteString(value.text);
  if (value.type == TraceValue::Type::kDouble) return FormatDouble(value.number);
  return query::ToString(value);
}

std::string ToString(const FieldExpr& expr) {
  std::string out;
  Append(expr, &out);
  return out;
}
std::string ToString(const Expr& expr) {
  std::string out;
  Append(expr, &out);
  return out;
}
std::string ToString(const Query& query) {
  std::string out = ToString(*query.expr);
  if (query.hints.empty()) return out;
  out.append(" with(");
  for (size_t i = 0; i < query.hints.size(); ++i) {
    if (i > 0) out.append(", ");
    out.append(Concat(query.hints[i].name, "=", query.hints[i].value));
  }
  out.push_back(')');
  return out;
}

}  // namespace varve::traceql
