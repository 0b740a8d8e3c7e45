#include "query/traces/program.h"

#include <re2/re2.h>

#include <algorithm>

#include "engine/base/any_value.h"
#include "engine/base/macros.h"
#include "engine/base/stray_bytes.h"
#include "engine/base/strings.h"

namespace varve::query {

using traceql::Field;
using traceql::FieldExpr;
using traceql::FieldKind;
using traceql::Op;

struct Program::Node {
  FieldExpr::Kind kind = FieldExpr::Kind::kLiteral;
  Op op = Op::kAdd;
  uint32_t slot = 0;
  Val literal;
  std::vector<Val> array;
  std::vector<std::unique_ptr<re2::RE2>> regexes;  // of =~ and !~: any of them
  std::string text;                                // what literal points to, if it was rewritten
  NodePtr left;
  NodePtr right;
};

namespace {

/// Writes an identifier as fields show it: full length, lower case.
bool NormaliseId(FieldKind kind, std::string_view text, std::string* out) {
  switch (kind) {
    case FieldKind::kTraceId:
    case FieldKind::kLinkTraceId:
      if (const auto id = ParseTraceId(text)) {
        *out = varve::ToString(*id);
        return true;
      }
      return false;
    case FieldKind::kSpanId:
    case FieldKind::kParentId:
    case FieldKind::kLinkSpanId:
      if (const auto id = ParseSpanId(text)) {
        *out = varve::ToString(*id);
        return true;
      }
      return false;
    default:
      return false;
  }
}

/// Tests one value, arrays through their elements: one must hold, or all for != and !~.
template <typename TestScalar>
bool TestValue(const Val& value, bool negative, const TestScalar& test) {
  if (value.type != Val::Type::kArray) return test(value);
  std::string_view wire = value.text;
  ValueView element;
  bool malformed = false;
  bool any = false;
  while (NextElement(&wire, &element, &malformed)) {
    any = true;
    const bool holds = test(Val::Of(FieldKind::kAttribute, element));
    if (holds != negative) return holds;
  }
  return any && negative;
}

/// Tests for a boolean, in arrays too: a field alone means that it equals true.
bool AnyBool(const Vals& values, bool wanted) {
  return std::any_of(values.begin(), values.end(), [&](const Val& value) {
    return TestValue(value, false, [&](const Val& one) {
      return one.type == Val::Type::kBool && one.boolean == wanted;
    });
  });
}

}  // namespace

Program::Program() = default;
Program::~Program() = default;

uint32_t Program::AddField(const Field& field) {
  for (uint32_t i = 0; i < fields_.size(); ++i) {
    if (fields_[i] == field) return i;
  }
  fields_.push_back(field);
  needs_trace_ = needs_trace_ || traceql::NeedsTrace(field);
  has_multiple_ = has_multiple_ || traceql::IsMultiple(field);
  return static_cast<uint32_t>(fields_.size() - 1);
}

Status Program::Add(const FieldExpr& expr) {
  if (nodes_.contains(&expr)) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(NodePtr node, Compile(expr));
  nodes_.emplace(&expr, std::move(node));
  return absl::OkStatus();
}

Result<Program::NodePtr> Program::Compile(const FieldExpr& expr) {
  auto node = std::make_unique<Node>();
  node->kind = expr.kind;
  node->op = expr.op;
  switch (expr.kind) {
    case FieldExpr::Kind::kLiteral:
      node->literal = Val::Of(expr.literal);
      return node;
    case FieldExpr::Kind::kArray:
      for (const TraceValue& element : expr.array) node->array.push_back(Val::Of(element));
      return node;
    case FieldExpr::Kind::kField:
      node->slot = AddField(expr.field);
      return node;
    case FieldExpr::Kind::kUnary: {
      VARVE_ASSIGN_OR_RETURN(node->left, Compile(*expr.left));
      return node;
    }
    case FieldExpr::Kind::kBinary:
      break;
  }
  VARVE_ASSIGN_OR_RETURN(node->left, Compile(*expr.left));
  VARVE_ASSIGN_OR_RETURN(node->right, Compile(*expr.right));
  if (expr.op == Op::kRegex || expr.op == Op::kNotRegex) {
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    const auto add = [&](std::string_view pattern) {
      node->regexes.push_back(
          std::make_unique<re2::RE2>(re2::StringPiece(pattern.data(), pattern.size()), options));
      if (node->regexes.back()->ok()) return absl::OkStatus();
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("invalid regex: ", node->regexes.back()->error()));
    };
    if (expr.right->kind == FieldExpr::Kind::kArray) {
      for (const TraceValue& pattern : expr.right->array) VARVE_RETURN_IF_ERROR(add(pattern.text));
    } else {
      VARVE_RETURN_IF_ERROR(add(expr.right->literal.text));
    }
  } else if (expr.op == Op::kEqual || expr.op == Op::kNotEqual) {
    // Identifiers are compared by value, not by their spelling.
    const auto rewrite = [&](const FieldExpr& field, Node* literal) {
      if (field.kind != FieldExpr::Kind::kField || literal->literal.type != Val::Type::kString) {
        return;
      }
      if (NormaliseId(field.field.kind, literal->literal.text, &literal->text)) {
        literal->literal.text = literal->text;
      }
    };
    rewrite(*expr.left, node->right.get());
    rewrite(*expr.right, node->left.get());
  }
  return node;
}

bool Program::Test(const FieldExpr& expr, const Rows& rows, uint32_t row) const {
  const auto found = nodes_.find(&expr);
  VARVE_CHECK(found != nodes_.end());
  return TestNode(*found->second, rows, row);
}

Val Program::Evaluate(const FieldExpr& expr, const Rows& rows, uint32_t row) const {
  const auto found = nodes_.find(&expr);
  VARVE_CHECK(found != nodes_.end());
  Vals values;
  EvaluateNode(*found->second, rows, row, &values);
  return values.empty() ? Val() : values[0];
}

bool Program::TestNode(const Node& node, const Rows& rows, uint32_t row) {
  switch (node.kind) {
    case FieldExpr::Kind::kLiteral:
      return node.literal.type == Val::Type::kBool && node.literal.boolean;
    case FieldExpr::Kind::kArray:
      return false;
    case FieldExpr::Kind::kField: {
      Vals values;
      rows.Get(node.slot, row, &values);
      return AnyBool(values, true);
    }
    case FieldExpr::Kind::kUnary: {
      if (node.op != Op::kNot) return false;
      // Of a field that is absent or no boolean neither it nor its negation holds.
      if (node.left->kind == FieldExpr::Kind::kField) {
        Vals values;
        rows.Get(node.left->slot, row, &values);
        return AnyBool(values, false);
      }
      return !TestNode(*node.left, rows, row);
    }
    case FieldExpr::Kind::kBinary:
      if (node.op == Op::kAnd) {
        return TestNode(*node.left, rows, row) && TestNode(*node.right, rows, row);
      }
      if (node.op == Op::kOr) {
        return TestNode(*node.left, rows, row) || TestNode(*node.right, rows, row);
      }
      return traceql::IsComparison(node.op) && TestComparison(node, rows, row);
  }
  return false;
}

bool Program::TestComparison(const Node& node, const Rows& rows, uint32_t row) {
  const auto is_nil = [](const Node& side) {
    return side.kind == FieldExpr::Kind::kLiteral && side.literal.is_nil();
  };
  Vals left;
  if (is_nil(*node.right) || is_nil(*node.left)) {
    const Node& side = is_nil(*node.right) ? *node.left : *node.right;
    EvaluateNode(side, rows, row, &left);
    return left.empty() == (node.op == Op::kEqual);
  }
  EvaluateNode(*node.left, rows, row, &left);
  if (left.empty()) return false;
  const bool negative = node.op == Op::kNotEqual || node.op == Op::kNotRegex;
  const auto any = [&](const auto& test) {
    return std::any_of(left.begin(), left.end(),
                       [&](const Val& value) { return TestValue(value, negative, test); });
  };
  if (!node.regexes.empty()) {
    return any([&](const Val& value) {
      if (value.type != Val::Type::kString) return false;
      const bool matches =
          std::any_of(node.regexes.begin(), node.regexes.end(), [&](const auto& regex) {
            return AcceptsText(value.text, [&](std::string_view text) {
              return re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *regex);
            });
          });
      return matches != negative;
    });
  }
  if (node.right->kind == FieldExpr::Kind::kArray) {
    return any([&](const Val& value) {
      const bool equal =
          std::any_of(node.right->array.begin(), node.right->array.end(),
                      [&](const Val& b) { return CompareVals(Op::kEqual, value, b); });
      return equal != negative;
    });
  }
  Vals right;
  EvaluateNode(*node.right, rows, row, &right);
  if (node.op == Op::kTextEqual) {
    for (const Val& value : left) {
      if (PrintVal(value) == right[0].text) return true;
      if (TestValue(value, false,
                    [&](const Val& v) { return !v.is_nil() && PrintVal(v) == right[0].text; })) {
        return true;
      }
    }
    return false;
  }
  for (const Val& b : right) {
    if (any([&](const Val& a) {
          return TestValue(b, negative,
                           [&](const Val& element) { return CompareVals(node.op, a, element); });
        })) {
      return true;
    }
  }
  return false;
}

void Program::EvaluateNode(const Node& node, const Rows& rows, uint32_t row, Vals* out) {
  out->clear();
  switch (node.kind) {
    case FieldExpr::Kind::kLiteral:
      if (!node.literal.is_nil()) out->push_back(node.literal);
      return;
    case FieldExpr::Kind::kArray:
      return;
    case FieldExpr::Kind::kField:
      rows.Get(node.slot, row, out);
      return;
    default:
      break;
  }
  if (traceql::IsArithmetic(node.op) || node.op == Op::kNegate) {
    Vals operand;
    EvaluateNode(*node.left, rows, row, &operand);
    if (operand.empty()) return;
    Val value;
    if (node.op == Op::kNegate) {
      value = NegateVal(operand[0]);
    } else {
      const Val left = operand[0];
      EvaluateNode(*node.right, rows, row, &operand);
      if (operand.empty()) return;
      value = ComputeVals(node.op, left, operand[0]);
    }
    if (!value.is_nil()) out->push_back(value);
    return;
  }
  out->push_back(Val::Bool(TestNode(node, rows, row)));
}

}  // namespace varve::query
