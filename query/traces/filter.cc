#include "query/traces/filter.h"

#include <re2/re2.h>

#include <array>
#include <optional>
#include <utility>

#include "engine/base/bounded_regex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/traceql/literals.h"
#include "query/lang/traceql/parse.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::Field;
using traceql::FieldExprPtr;
using traceql::FieldKind;
using traceql::MakeBinary;
using traceql::MakeField;
using traceql::MakeLiteral;
using traceql::Op;

FieldExprPtr Intrinsically(FieldKind kind) {
  Field field;
  field.kind = kind;
  return MakeField(std::move(field));
}
FieldExprPtr Attribute(AttributeScope scope, std::string_view key) {
  Field field;
  field.scope = scope;
  field.key = key;
  return MakeField(std::move(field));
}
FieldExprPtr Status(SpanStatus status, Op op) {
  TraceValue value;
  value.type = TraceValue::Type::kStatus;
  value.integer = static_cast<int64_t>(status);
  return MakeBinary(op, Intrinsically(FieldKind::kStatus), MakeLiteral(std::move(value)));
}
FieldExprPtr Text(FieldExprPtr field, std::string_view text) {
  return MakeBinary(Op::kTextEqual, std::move(field), MakeLiteral(traceql::StringLiteral(text)));
}
FieldExprPtr Never() { return MakeLiteral(traceql::BoolLiteral(false)); }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; };
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

std::optional<SpanStatus> StatusOf(std::string_view text) {
  for (const auto& [name, status] :
       {std::pair{"unset", SpanStatus::kUnset}, std::pair{"ok", SpanStatus::kOk},
        std::pair{"error", SpanStatus::kError}}) {
    if (EqualsIgnoringCase(text, name)) return status;
  }
  return std::nullopt;
}

/// Words a tag of Jaeger's.
FieldExprPtr Tag(std::string_view key, std::string_view value) {
  if (key == "error") {
    if (EqualsIgnoringCase(value, "true")) return Status(SpanStatus::kError, Op::kEqual);
    if (EqualsIgnoringCase(value, "false")) return Status(SpanStatus::kError, Op::kNotEqual);
  }
  if (key == "span.status" || key == "otel.status_code") {
    const auto status = StatusOf(value);
    return status ? Status(*status, Op::kEqual) : Never();
  }
  if (key == "span.kind") {
    constexpr std::array<std::string_view, 6> kKinds = {"unspecified", "internal", "server",
                                                        "client",      "producer", "consumer"};
    for (size_t i = 0; i < kKinds.size(); ++i) {
      if (!EqualsIgnoringCase(value, kKinds[i])) continue;
      TraceValue kind;
      kind.type = TraceValue::Type::kKind;
      kind.integer = static_cast<int64_t>(i);
      return MakeBinary(Op::kEqual, Intrinsically(FieldKind::kSpanKind),
                        MakeLiteral(std::move(kind)));
    }
    return Never();
  }
  if (key == "otel.status_description") {
    return Text(Intrinsically(FieldKind::kStatusMessage), value);
  }
  if (key == "otel.scope.name" || key == "otel.library.name" || key == "scope.name") {
    return Text(Intrinsically(FieldKind::kScopeName), value);
  }
  if (key == "otel.scope.version" || key == "otel.library.version" || key == "scope.version") {
    return Text(Intrinsically(FieldKind::kScopeVersion), value);
  }
  constexpr std::string_view kResource = "resource.";
  constexpr std::string_view kScope = "scope.";
  if (key.starts_with(kResource) && key.size() > kResource.size()) {
    return Text(Attribute(AttributeScope::kResource, key.substr(kResource.size())), value);
  }
  if (key.starts_with(kScope) && key.size() > kScope.size()) {
    return Text(Attribute(AttributeScope::kInstrumentation, key.substr(kScope.size())), value);
  }
  FieldExprPtr out = Text(Attribute(AttributeScope::kAny, key), value);
  // The name of an event is the field "event" of Jaeger's logs.
  if (key == "event") {
    out = MakeBinary(Op::kOr, std::move(out), Text(Intrinsically(FieldKind::kEventName), value));
  }
  return out;
}

Result<FieldExprPtr> Predicate(const SpanPredicate& predicate) {
  using PredicateOp = SpanPredicate::Op;
  Field field = traceql::FromSpanField(predicate.field);
  if (field.kind == FieldKind::kAttribute && field.key.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "a predicate needs the key of an attribute");
  }
  TraceValue value;
  if (const auto* b = std::get_if<bool>(&predicate.value)) {
    value = traceql::BoolLiteral(*b);
  } else if (const auto* i = std::get_if<int64_t>(&predicate.value)) {
    value = traceql::IntLiteral(*i);
    if (field.kind == FieldKind::kStatus) value.type = TraceValue::Type::kStatus;
    if (field.kind == FieldKind::kSpanKind) value.type = TraceValue::Type::kKind;
  } else if (const auto* d = std::get_if<double>(&predicate.value)) {
    value = traceql::DoubleLiteral(*d);
  } else if (const auto* s = std::get_if<std::string>(&predicate.value)) {
    value = traceql::StringLiteral(*s);
    const bool is_id = field.kind == FieldKind::kTraceId || field.kind == FieldKind::kSpanId ||
                       field.kind == FieldKind::kParentId ||
                       field.kind == FieldKind::kLinkTraceId ||
                       field.kind == FieldKind::kLinkSpanId;
    // Predicates hold the bytes of identifiers, the language their digits.
    if (is_id) {
      static constexpr char kHex[] = "0123456789abcdef";
      value.text.clear();
      for (const char c : *s) {
        value.text.push_back(kHex[static_cast<uint8_t>(c) >> 4]);
        value.text.push_back(kHex[static_cast<uint8_t>(c) & 15]);
      }
    }
  }
  Op op = Op::kEqual;
  switch (predicate.op) {
    case PredicateOp::kExists:
    case PredicateOp::kNotExists:
      op = predicate.op == PredicateOp::kExists ? Op::kNotEqual : Op::kEqual;
      value = TraceValue();
      break;
    case PredicateOp::kEqual:
      break;
    case PredicateOp::kNotEqual:
      op = Op::kNotEqual;
      break;
    case PredicateOp::kLess:
      op = Op::kLess;
      break;
    case PredicateOp::kLessEqual:
      op = Op::kLessEqual;
      break;
    case PredicateOp::kGreater:
      op = Op::kGreater;
      break;
    case PredicateOp::kGreaterEqual:
      op = Op::kGreaterEqual;
      break;
    case PredicateOp::kRegex:
    case PredicateOp::kNotRegex: {
      op = predicate.op == PredicateOp::kRegex ? Op::kRegex : Op::kNotRegex;
      if (value.type != TraceValue::Type::kString) {
        return MakeStatus(StatusCode::kInvalidArgument, "a regular expression must be a string");
      }
      if (BoundedRegex::HasTooManyParts(value.text)) {
        return MakeStatus(StatusCode::kInvalidArgument, "invalid regex: expression too large");
      }
      re2::RE2::Options options;
      options.set_log_errors(false);
      const re2::RE2 regex(value.text, options);
      if (!regex.ok()) {
        return MakeStatus(StatusCode::kInvalidArgument, Concat("invalid regex: ", regex.error()));
      }
      break;
    }
    case PredicateOp::kTextEqual:
      op = Op::kTextEqual;
      if (value.type != TraceValue::Type::kString) {
        return MakeStatus(StatusCode::kInvalidArgument, "a printed value is a string");
      }
      break;
  }
  const bool no_value = std::holds_alternative<std::monostate>(predicate.value);
  if (no_value && predicate.op != PredicateOp::kExists && predicate.op != PredicateOp::kNotExists) {
    return MakeStatus(StatusCode::kInvalidArgument, "a predicate needs a value");
  }
  return MakeBinary(op, MakeField(std::move(field)), MakeLiteral(std::move(value)));
}

}  // namespace

Result<traceql::ExprPtr> ToExpr(const TraceFilter& filter) {
  FieldExprPtr all;
  const auto add = [&](FieldExprPtr one) {
    all = all == nullptr ? std::move(one) : MakeBinary(Op::kAnd, std::move(all), std::move(one));
  };
  // The tree leans to the left: as deep as there are tests.
  if (filter.tags.size() + filter.predicates.size() > 256) {
    return MakeStatus(StatusCode::kInvalidArgument, "a search takes at most 256 tests");
  }
  if (filter.min_duration_ns && filter.max_duration_ns &&
      *filter.min_duration_ns > *filter.max_duration_ns) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "the maximum duration must not be below the minimum duration");
  }
  if (!filter.service.empty()) {
    add(MakeBinary(Op::kEqual, Intrinsically(FieldKind::kServiceName),
                   MakeLiteral(traceql::StringLiteral(filter.service))));
  }
  if (!filter.operation.empty()) {
    add(MakeBinary(Op::kEqual, Intrinsically(FieldKind::kName),
                   MakeLiteral(traceql::StringLiteral(filter.operation))));
  }
  for (const auto& [key, value] : filter.tags) add(Tag(key, value));
  for (const SpanPredicate& predicate : filter.predicates) {
    VARVE_ASSIGN_OR_RETURN(FieldExprPtr one, Predicate(predicate));
    add(std::move(one));
  }
  if (filter.min_duration_ns) {
    add(MakeBinary(Op::kGreaterEqual, Intrinsically(FieldKind::kDuration),
                   MakeLiteral(traceql::DurationLiteral(*filter.min_duration_ns))));
  }
  if (filter.max_duration_ns) {
    add(MakeBinary(Op::kLessEqual, Intrinsically(FieldKind::kDuration),
                   MakeLiteral(traceql::DurationLiteral(*filter.max_duration_ns))));
  }
  if (filter.errors_only) add(Status(SpanStatus::kError, Op::kEqual));
  if (filter.roots_only) {
    add(MakeBinary(Op::kLess, Intrinsically(FieldKind::kNestedSetParent),
                   MakeLiteral(traceql::IntLiteral(0))));
  }
  if (!filter.expression.empty()) {
    VARVE_ASSIGN_OR_RETURN(FieldExprPtr one, traceql::ParseFilter(filter.expression));
    add(std::move(one));
  }
  auto out = std::make_unique<Expr>();
  out->kind = Expr::Kind::kFilter;
  out->type = traceql::Type::kSpanset;
  out->filter = std::move(all);
  return out;
}

}  // namespace varve::query
