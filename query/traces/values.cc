#include "query/traces/values.h"

#include <cmath>
#include <limits>

#include "engine/base/compare_numbers.h"
#include "query/lang/traceql/literals.h"

namespace varve::query {
namespace {

using traceql::Op;

template <typename T>
bool Holds(Op op, const T& a, const T& b) {
  switch (op) {
    case Op::kEqual:
      return a == b;
    case Op::kNotEqual:
      return a != b;
    case Op::kLess:
      return a < b;
    case Op::kLessEqual:
      return a <= b;
    case Op::kGreater:
      return a > b;
    case Op::kGreaterEqual:
      return a >= b;
    default:
      return false;
  }
}

bool HoldsMixed(Op op, int64_t a, double b) {
  const std::optional<int> order = CompareNumbers(a, b);
  return order.has_value() ? Holds(op, *order, 0) : op == Op::kNotEqual;
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

}  // namespace

Val Val::String(std::string_view text) {
  Val out;
  out.type = Type::kString;
  out.text = text;
  return out;
}
Val Val::Bool(bool value) {
  Val out;
  out.type = Type::kBool;
  out.boolean = value;
  return out;
}
Val Val::Int(int64_t value, Type type) {
  Val out;
  out.type = type;
  out.integer = value;
  return out;
}
Val Val::Double(double value) {
  Val out;
  out.type = Type::kDouble;
  out.number = value;
  return out;
}

Val Val::Of(const TraceValue& value) {
  switch (value.type) {
    case Type::kBool:
      return Bool(value.boolean);
    case Type::kDouble:
      return Double(value.number);
    case Type::kInt:
    case Type::kDuration:
    case Type::kStatus:
    case Type::kKind:
      return Int(value.integer, value.type);
    default: {
      Val out;
      out.type = value.type;
      out.text = value.text;
      return out;
    }
  }
}

Val Val::Of(traceql::FieldKind kind, const ValueView& value) {
  using traceql::FieldKind;
  switch (value.type) {
    case ValueType::kEmpty:
      return Val();
    case ValueType::kString:
      return String(value.text);
    case ValueType::kBool:
      return Bool(value.boolean);
    case ValueType::kInt:
      switch (kind) {
        case FieldKind::kStatus:
          return Int(value.integer, Type::kStatus);
        case FieldKind::kSpanKind:
          return Int(value.integer, Type::kKind);
        case FieldKind::kDuration:
        case FieldKind::kEventTime:
          return Int(value.integer, Type::kDuration);
        default:
          return Int(value.integer);
      }
    case ValueType::kDouble:
      return Double(value.number);
    case ValueType::kBytes:
    case ValueType::kArray:
    case ValueType::kMap: {
      Val out;
      out.type = value.type == ValueType::kBytes   ? Type::kBytes
                 : value.type == ValueType::kArray ? Type::kArray
                                                   : Type::kMap;
      out.text = value.text;
      return out;
    }
  }
  return Val();
}

TraceValue ToTraceValue(const Val& value) {
  TraceValue out;
  out.type = value.type;
  switch (value.type) {
    case Val::Type::kBool:
      out.boolean = value.boolean;
      break;
    case Val::Type::kDouble:
      out.number = value.number;
      break;
    case Val::Type::kInt:
    case Val::Type::kDuration:
    case Val::Type::kStatus:
    case Val::Type::kKind:
      out.integer = value.integer;
      break;
    default:
      out.text = value.text;
  }
  return out;
}

std::string PrintVal(const Val& value) {
  switch (value.type) {
    case Val::Type::kString:
      return std::string(value.text);
    case Val::Type::kInt:
      return std::to_string(value.integer);
    default:
      return ToString(ToTraceValue(value));
  }
}

bool CompareVals(Op op, const Val& left, const Val& right) {
  if (left.is_number() && right.is_number()) {
    if (left.is_integer() && right.is_integer()) return Holds(op, left.integer, right.integer);
    if (left.is_integer()) return HoldsMixed(op, left.integer, right.number);
    if (right.is_integer()) return HoldsMixed(Mirror(op), right.integer, left.number);
    return Holds(op, left.number, right.number);
  }
  if (left.type != right.type) return false;
  switch (left.type) {
    case Val::Type::kString:
    case Val::Type::kBytes:
      return Holds(op, left.text, right.text);
    case Val::Type::kBool:
      return Holds(op, left.boolean, right.boolean);
    case Val::Type::kStatus:
    case Val::Type::kKind:
      return Holds(op, left.integer, right.integer);
    default:
      return false;
  }
}

Val ComputeVals(Op op, const Val& left, const Val& right) {
  if (!left.is_number() || !right.is_number()) return Val();
  const bool durations = left.type == Val::Type::kDuration || right.type == Val::Type::kDuration;
  if (left.is_integer() && right.is_integer() && op != Op::kDiv && op != Op::kPow) {
    int64_t out = 0;
    bool overflow = false;
    switch (op) {
      case Op::kAdd:
        overflow = __builtin_add_overflow(left.integer, right.integer, &out);
        break;
      case Op::kSub:
        overflow = __builtin_sub_overflow(left.integer, right.integer, &out);
        break;
      case Op::kMul:
        overflow = __builtin_mul_overflow(left.integer, right.integer, &out);
        break;
      default:  // %
        if (right.integer == 0) return Val();
        out = right.integer == -1 ? 0 : left.integer % right.integer;
    }
    if (!overflow) return Val::Int(out, durations ? Val::Type::kDuration : Val::Type::kInt);
  }
  const double a = left.as_double();
  const double b = right.as_double();
  double out = 0;
  switch (op) {
    case Op::kAdd:
      out = a + b;
      break;
    case Op::kSub:
      out = a - b;
      break;
    case Op::kMul:
      out = a * b;
      break;
    case Op::kDiv:
      if (b == 0 && right.is_integer()) return Val();
      out = a / b;
      // The ratio of two durations is a plain number.
      if (left.type == Val::Type::kDuration && right.type == Val::Type::kDuration) {
        return Val::Double(out);
      }
      break;
    case Op::kMod:
      out = std::fmod(a, b);
      break;
    default:
      return Val::Double(std::pow(a, b));
  }
  if (durations && std::fabs(out) < 9.2e18) {
    return Val::Int(std::llround(out), Val::Type::kDuration);
  }
  return Val::Double(out);
}

Val NegateVal(const Val& value) {
  if (value.is_integer() && value.integer != std::numeric_limits<int64_t>::min()) {
    return Val::Int(-value.integer, value.type);
  }
  return value.is_number() ? Val::Double(-value.as_double()) : Val();
}

}  // namespace varve::query
