#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "query/lang/traceql/ast.h"
#include "varve/span.h"
#include "varve/traceql.h"

namespace varve::query {

/// A value of a span while a query runs: TraceValue without ownership.
struct Val {
  using Type = TraceValue::Type;
  Type type = Type::kNil;
  union {
    bool boolean;
    int64_t integer = 0;
    double number;
  };
  std::string_view text;

  static Val String(std::string_view text);
  static Val Bool(bool value);
  static Val Int(int64_t value, Type type = Type::kInt);
  static Val Double(double value);
  /// Borrows the text of `value`.
  static Val Of(const TraceValue& value);
  /// Types a stored value by the field that it belongs to. Identifiers stay bytes.
  static Val Of(traceql::FieldKind kind, const ValueView& value);

  bool is_nil() const { return type == Type::kNil; }
  bool is_integer() const { return type == Type::kInt || type == Type::kDuration; }
  bool is_number() const { return is_integer() || type == Type::kDouble; }
  double as_double() const { return is_integer() ? static_cast<double>(integer) : number; }
};
using Vals = absl::InlinedVector<Val, 2>;

TraceValue ToTraceValue(const Val& value);
/// Prints as ToString(TraceValue) does.
std::string PrintVal(const Val& value);

/// Tests one scalar against another: false if their types do not compare. Not for regular
/// expressions.
bool CompareVals(traceql::Op op, const Val& left, const Val& right);
/// Computes; nil if an operand is no number, or where integers are divided by zero.
Val ComputeVals(traceql::Op op, const Val& left, const Val& right);
Val NegateVal(const Val& value);

}  // namespace varve::query
