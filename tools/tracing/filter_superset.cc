#include <algorithm>
#include <utility>

#include "engine/base/strings.h"
#include "tools/tracing/filter_node.h"

/// Structured filters as TraceQL, as far as that goes: an expression never leaves out a span that
/// the filter takes. An empty text stands for "all spans".
namespace varve::tracing {
namespace {

using Node = SpanFilter::Node;
using Domain = FilterScalar::Domain;
using OperandKind = FilterOperand::Kind;

bool IsPlain(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\' && c != '`'; });
}

std::string Join(const std::vector<std::string>& parts, std::string_view op) {
  std::string out;
  for (const std::string& part : parts) out += Concat(out.empty() ? "" : op, part);
  return parts.size() > 1 ? Concat("(", out, ")") : out;
}

// The names of a reference: several where it stands for several places.
std::vector<std::string> NamesOf(const FilterOperand& operand) {
  if (operand.kind == OperandKind::kAttribute) {
    if (!IsPlain(operand.key)) return {};
    const std::string key = Concat(".\"", operand.key, "\"");
    switch (operand.level) {
      case FilterLevel::kAny:
        return {Concat("span", key), Concat("resource", key)};
      case FilterLevel::kSpan:
        return {Concat("span", key)};
      case FilterLevel::kResource:
        return {Concat("resource", key)};
      case FilterLevel::kScope:
        return {Concat("instrumentation", key)};
      case FilterLevel::kEvent:
        return {Concat("event", key)};
      case FilterLevel::kLink:
        return {Concat("link", key)};
    }
  }
  constexpr std::pair<FilterField, std::string_view> kNames[] = {
      {FilterField::kTraceId, "trace:id"},
      {FilterField::kSpanId, "span:id"},
      {FilterField::kParentSpanId, "span:parentID"},
      {FilterField::kName, "name"},
      {FilterField::kKind, "kind"},
      {FilterField::kStatus, "status"},
      {FilterField::kStatusMessage, "statusMessage"},
      {FilterField::kDuration, "duration"},
      {FilterField::kService, "resource.service.name"},
      {FilterField::kScopeName, "instrumentation:name"},
      {FilterField::kScopeVersion, "instrumentation:version"},
      {FilterField::kEventName, "event:name"},
      {FilterField::kEventTimeSinceStart, "event:timeSinceStart"},
      {FilterField::kLinkTraceId, "link:traceID"},
      {FilterField::kLinkSpanId, "link:spanID"},
  };
  for (const auto& [field, name] : kNames) {
    if (operand.kind == OperandKind::kField && operand.field == field) return {std::string(name)};
  }
  return {};
}

// A value as a literal; empty if there is none that means the same.
std::string LiteralOf(const FilterScalar& value, FieldType type) {
  switch (value.domain) {
    case Domain::kText:
      if (type == FieldType::kKind || type == FieldType::kStatus) return value.text;
      return IsPlain(value.text) ? Concat("\"", value.text, "\"") : "";
    case Domain::kInt:
      return value.integer == INT64_MIN ? "" : std::to_string(value.integer);
    case Domain::kBool:
      return value.integer != 0 ? "true" : "false";
    case Domain::kDuration:
      return value.integer >= 0 ? Concat(value.integer, "ns") : "";
    default:
      return "";
  }
}

std::string Comparisons(const FilterOperand& reference, std::string_view op,
                        const FilterScalars& readings) {
  std::vector<std::string> parts;
  const std::vector<std::string> names = NamesOf(reference);
  for (const std::string& name : names) {
    for (const FilterScalar& reading : readings) {
      const std::string literal = LiteralOf(reading, reference.type);
      if (literal.empty()) return {};
      parts.push_back(Concat(name, " ", op, " ", literal));
    }
  }
  return Join(parts, " || ");
}

std::string Presence(const FilterOperand& reference) {
  if (reference.kind != OperandKind::kAttribute) return {};
  std::vector<std::string> parts;
  for (const std::string& name : NamesOf(reference)) parts.push_back(Concat(name, " != nil"));
  return Join(parts, " || ");
}

// The operator with its sides changed, if the constant stands on the left.
std::string_view OperatorOf(Node::Compare compare, bool mirrored) {
  switch (compare) {
    case Node::Compare::kEqual:
      return "=";
    case Node::Compare::kLess:
      return mirrored ? ">" : "<";
    case Node::Compare::kLessEqual:
      return mirrored ? ">=" : "<=";
    case Node::Compare::kGreater:
      return mirrored ? "<" : ">";
    default:
      return mirrored ? "<=" : ">=";
  }
}

std::string Print(const Node& node) {
  std::vector<std::string> parts;
  switch (node.op) {
    case Node::Op::kAnd:
      for (const Node& child : node.children) {
        if (std::string part = Print(child); !part.empty()) parts.push_back(std::move(part));
      }
      return Join(parts, " && ");
    case Node::Op::kOr:
      for (const Node& child : node.children) {
        parts.push_back(Print(child));
        if (parts.back().empty()) return {};
      }
      return Join(parts, " || ");
    case Node::Op::kNot:
      return {};
    case Node::Op::kSome:
      return Print(node.children[0]);
    case Node::Op::kExists:
    case Node::Op::kWords:
      return Presence(node.left);
    case Node::Op::kRegex: {
      if (!IsPlain(node.pattern)) return Presence(node.left);
      // Both kinds and statuses are words that TraceQL has no text for.
      if (node.left.type != FieldType::kNone && node.left.type != FieldType::kText) return {};
      for (const std::string& name : NamesOf(node.left)) {
        parts.push_back(Concat(name, " =~ \".*(?:", node.pattern, ").*\""));
      }
      return Join(parts, " || ");
    }
    case Node::Op::kIn:
      if (node.negated) return Presence(node.left);
      for (const FilterScalars& readings : node.list) {
        parts.push_back(Comparisons(node.left, "=", readings));
        if (parts.back().empty()) return {};
      }
      return Join(parts, " || ");
    case Node::Op::kCompare: {
      const bool mirrored = node.left.kind == OperandKind::kConstant;
      const FilterOperand& reference = mirrored ? node.right : node.left;
      const FilterOperand& constant = mirrored ? node.left : node.right;
      if (constant.kind != OperandKind::kConstant) {
        for (const FilterOperand* operand : {&node.left, &node.right}) {
          if (std::string part = Presence(*operand); !part.empty())
            parts.push_back(std::move(part));
        }
        return Join(parts, " && ");
      }
      std::string exact;
      if (!node.negated) {
        exact = Comparisons(reference, OperatorOf(node.compare, mirrored), constant.readings);
      }
      return exact.empty() ? Presence(reference) : exact;
    }
  }
  return {};
}

}  // namespace

std::string SpanFilter::Superset() const { return Print(*root_); }

}  // namespace varve::tracing
