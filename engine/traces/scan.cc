#include "engine/traces/scan.h"

#include <cmath>
#include <utility>

#include "engine/base/compare_numbers.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::traces {
namespace {

using Op = SpanPredicate::Op;

bool Holds(Op op, int order) {
  switch (op) {
    case Op::kEqual:
      return order == 0;
    case Op::kNotEqual:
      return order != 0;
    case Op::kLess:
      return order < 0;
    case Op::kLessEqual:
      return order <= 0;
    case Op::kGreater:
      return order > 0;
    case Op::kGreaterEqual:
      return order >= 0;
    default:
      return false;
  }
}

/// Orders a value against a predicate's; nothing where they have no order (types, NaN).
std::optional<int> Order(const ValueView& value, const SpanPredicate::Value& other, bool id) {
  const auto sign = [](auto a, auto b) { return a < b ? -1 : b < a ? 1 : 0; };
  switch (value.type) {
    case ValueType::kString:
    case ValueType::kBytes: {
      const auto* text = std::get_if<std::string>(&other);
      // Ids are bytes; bytes of attributes never equal a string.
      if (text == nullptr || (value.type == ValueType::kBytes && !id)) return std::nullopt;
      return sign(value.text, std::string_view(*text));
    }
    case ValueType::kBool: {
      const auto* boolean = std::get_if<bool>(&other);
      if (boolean == nullptr) return std::nullopt;
      return sign(value.boolean, *boolean);
    }
    case ValueType::kInt:
      if (const auto* integer = std::get_if<int64_t>(&other)) return sign(value.integer, *integer);
      if (const auto* number = std::get_if<double>(&other)) {
        return CompareNumbers(value.integer, *number);
      }
      return std::nullopt;
    case ValueType::kDouble:
      if (const auto* integer = std::get_if<int64_t>(&other)) {
        const std::optional<int> order = CompareNumbers(*integer, value.number);
        return order.has_value() ? std::optional<int>(-*order) : std::nullopt;
      }
      if (const auto* number = std::get_if<double>(&other)) {
        if (std::isnan(value.number) || std::isnan(*number)) return std::nullopt;
        return sign(value.number, *number);
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

bool IsId(Intrinsic intrinsic) {
  switch (intrinsic) {
    case Intrinsic::kTraceId:
    case Intrinsic::kSpanId:
    case Intrinsic::kParentId:
    case Intrinsic::kLinkTraceId:
    case Intrinsic::kLinkSpanId:
      return true;
    default:
      return false;
  }
}

/// Ids may be asked for as bytes or as hex: hex is twice as long.
void NormaliseId(SpanPredicate* predicate) {
  auto* text = std::get_if<std::string>(&predicate->value);
  if (text == nullptr) return;
  const Intrinsic intrinsic = predicate->field.intrinsic;
  const bool trace = intrinsic == Intrinsic::kTraceId || intrinsic == Intrinsic::kLinkTraceId;
  if (trace && text->size() == 32) {
    if (const auto id = ParseTraceId(*text)) *text = std::string(BytesOf(*id));
  }
  if (!trace && text->size() == 16) {
    if (const auto id = ParseSpanId(*text)) *text = std::string(BytesOf(*id));
  }
  if (predicate->op == Op::kTextEqual) predicate->op = Op::kEqual;
}

}  // namespace

bool CompiledPredicate::TestScalar(const ValueView& value) const {
  switch (predicate.op) {
    case Op::kExists:
      return true;
    case Op::kNotExists:
      return false;
    case Op::kRegex:
    case Op::kNotRegex:
      return value.type == ValueType::kString &&
             regex->Accepts(value.text) == (predicate.op == Op::kRegex);
    case Op::kTextEqual: {
      const auto* text = std::get_if<std::string>(&predicate.value);
      if (text == nullptr) return false;
      if (value.type == ValueType::kString) return value.text == *text;
      return ToString(value) == *text;
    }
    default: {
      const std::optional<int> order =
          Order(value, predicate.value, IsId(predicate.field.intrinsic));
      // What has no order differs.
      if (!order.has_value()) return predicate.op == Op::kNotEqual;
      return Holds(predicate.op, *order);
    }
  }
}

bool CompiledPredicate::TestValue(const ValueView& value) const {
  if (value.type != ValueType::kArray) return TestScalar(value);
  if (predicate.op == Op::kTextEqual && TestScalar(value)) return true;
  std::string_view wire = value.text;
  ValueView element;
  bool malformed = false;
  while (NextElement(&wire, &element, &malformed)) {
    if (TestScalar(element)) return true;
  }
  return false;
}

const std::string* CompiledPredicate::only_string() const {
  if (predicate.op != Op::kEqual) return nullptr;
  return std::get_if<std::string>(&predicate.value);
}

Result<std::shared_ptr<const CompiledScan>> CompiledScan::Make(const SpanScanSpec& spec) {
  auto scan = std::make_shared<CompiledScan>();
  scan->spec = spec;
  for (const SpanPredicate& predicate : spec.predicates) {
    CompiledPredicate compiled;
    compiled.predicate = predicate;
    if (IsId(predicate.field.intrinsic)) NormaliseId(&compiled.predicate);
    if (predicate.op == Op::kRegex || predicate.op == Op::kNotRegex) {
      const auto* pattern = std::get_if<std::string>(&predicate.value);
      if (pattern == nullptr) {
        return MakeStatus(StatusCode::kInvalidArgument, "a regular expression must be a string");
      }
      const std::string name = predicate.field.key.empty() ? "span" : predicate.field.key;
      VARVE_ASSIGN_OR_RETURN(
          compiled.regex, index::CompiledMatcher::Make(Matcher{MatchType::kRegex, name, *pattern}));
    }
    scan->predicates.push_back(std::move(compiled));
  }
  return std::shared_ptr<const CompiledScan>(std::move(scan));
}

}  // namespace varve::traces
