#include "query/lang/traceql/ast.h"

#include <array>

#include "engine/base/strings.h"

namespace varve::traceql {
namespace {

struct Intrinsics {
  std::string_view word;
  FieldKind kind;
};
// The first word of a kind is the one that is printed.
constexpr std::array kIntrinsics = {
    Intrinsics{"duration", FieldKind::kDuration},
    Intrinsics{"name", FieldKind::kName},
    Intrinsics{"status", FieldKind::kStatus},
    Intrinsics{"statusMessage", FieldKind::kStatusMessage},
    Intrinsics{"kind", FieldKind::kSpanKind},
    Intrinsics{"rootName", FieldKind::kRootName},
    Intrinsics{"rootServiceName", FieldKind::kRootServiceName},
    Intrinsics{"traceDuration", FieldKind::kTraceDuration},
    Intrinsics{"nestedSetLeft", FieldKind::kNestedSetLeft},
    Intrinsics{"nestedSetRight", FieldKind::kNestedSetRight},
    Intrinsics{"nestedSetParent", FieldKind::kNestedSetParent},
    Intrinsics{"span:childCount", FieldKind::kChildCount},
    Intrinsics{"span:id", FieldKind::kSpanId},
    Intrinsics{"span:parentID", FieldKind::kParentId},
    Intrinsics{"trace:id", FieldKind::kTraceId},
    Intrinsics{"event:name", FieldKind::kEventName},
    Intrinsics{"event:timeSinceStart", FieldKind::kEventTime},
    Intrinsics{"link:traceID", FieldKind::kLinkTraceId},
    Intrinsics{"link:spanID", FieldKind::kLinkSpanId},
    Intrinsics{"instrumentation:name", FieldKind::kScopeName},
    Intrinsics{"instrumentation:version", FieldKind::kScopeVersion},
    Intrinsics{"span:duration", FieldKind::kDuration},
    Intrinsics{"span:name", FieldKind::kName},
    Intrinsics{"span:status", FieldKind::kStatus},
    Intrinsics{"span:statusMessage", FieldKind::kStatusMessage},
    Intrinsics{"span:kind", FieldKind::kSpanKind},
    Intrinsics{"trace:duration", FieldKind::kTraceDuration},
    Intrinsics{"trace:rootName", FieldKind::kRootName},
    Intrinsics{"trace:rootService", FieldKind::kRootServiceName},
    Intrinsics{"childCount", FieldKind::kChildCount},
    Intrinsics{"parent", FieldKind::kParentId},
};

struct Scopes {
  std::string_view word;
  AttributeScope scope;
};
constexpr std::array kScopes = {
    Scopes{"span", AttributeScope::kSpan},
    Scopes{"resource", AttributeScope::kResource},
    Scopes{"event", AttributeScope::kEvent},
    Scopes{"link", AttributeScope::kLink},
    Scopes{"instrumentation", AttributeScope::kInstrumentation},
};

bool IsNameByte(char c) {
  switch (c) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case '\v':
    case '\f':
    case '{':
    case '}':
    case '(':
    case ')':
    case '=':
    case '~':
    case '!':
    case '<':
    case '>':
    case '&':
    case '|':
    case '^':
    case ',':
    case '"':
    case '`':
      return false;
    default:
      return true;
  }
}

/// Takes "span." and the like off the front of a token.
AttributeScope TakeScope(std::string_view* token) {
  for (const auto& [word, scope] : kScopes) {
    if (token->starts_with(word) && token->size() > word.size() && (*token)[word.size()] == '.') {
      token->remove_prefix(word.size());
      return scope;
    }
  }
  return AttributeScope::kAny;
}

}  // namespace

bool NeedsTrace(const Field& field) {
  return field.of_parent || field.kind >= FieldKind::kChildCount;
}

bool IsMultiple(const Field& field) {
  switch (field.kind) {
    case FieldKind::kAttribute:
      return field.scope == AttributeScope::kAny || field.scope == AttributeScope::kEvent ||
             field.scope == AttributeScope::kLink;
    case FieldKind::kEventName:
    case FieldKind::kEventTime:
    case FieldKind::kLinkTraceId:
    case FieldKind::kLinkSpanId:
      return true;
    default:
      return false;
  }
}

SpanField ToSpanField(const Field& field) {
  SpanField out;
  switch (field.kind) {
    case FieldKind::kAttribute:
      out.scope = field.scope;
      out.key = field.key;
      break;
    case FieldKind::kDuration:
      out.intrinsic = Intrinsic::kDuration;
      break;
    case FieldKind::kName:
      out.intrinsic = Intrinsic::kName;
      break;
    case FieldKind::kStatus:
      out.intrinsic = Intrinsic::kStatus;
      break;
    case FieldKind::kStatusMessage:
      out.intrinsic = Intrinsic::kStatusMessage;
      break;
    case FieldKind::kSpanKind:
      out.intrinsic = Intrinsic::kKind;
      break;
    case FieldKind::kSpanId:
      out.intrinsic = Intrinsic::kSpanId;
      break;
    case FieldKind::kParentId:
      out.intrinsic = Intrinsic::kParentId;
      break;
    case FieldKind::kTraceId:
      out.intrinsic = Intrinsic::kTraceId;
      break;
    case FieldKind::kScopeName:
      out.intrinsic = Intrinsic::kScopeName;
      break;
    case FieldKind::kScopeVersion:
      out.intrinsic = Intrinsic::kScopeVersion;
      break;
    case FieldKind::kEventName:
      out.intrinsic = Intrinsic::kEventName;
      break;
    case FieldKind::kEventTime:
      out.intrinsic = Intrinsic::kEventTime;
      break;
    case FieldKind::kLinkTraceId:
      out.intrinsic = Intrinsic::kLinkTraceId;
      break;
    case FieldKind::kLinkSpanId:
      out.intrinsic = Intrinsic::kLinkSpanId;
      break;
    case FieldKind::kStart:
      out.intrinsic = Intrinsic::kStart;
      break;
    case FieldKind::kServiceName:
      out.intrinsic = Intrinsic::kServiceName;
      break;
    default:
      break;
  }
  return out;
}

Field FromSpanField(const SpanField& field) {
  Field out;
  switch (field.intrinsic) {
    case Intrinsic::kNone:
      out.scope = field.scope;
      out.key = field.key;
      break;
    case Intrinsic::kTraceId:
      out.kind = FieldKind::kTraceId;
      break;
    case Intrinsic::kSpanId:
      out.kind = FieldKind::kSpanId;
      break;
    case Intrinsic::kParentId:
      out.kind = FieldKind::kParentId;
      break;
    case Intrinsic::kName:
      out.kind = FieldKind::kName;
      break;
    case Intrinsic::kServiceName:
      out.kind = FieldKind::kServiceName;
      break;
    case Intrinsic::kKind:
      out.kind = FieldKind::kSpanKind;
      break;
    case Intrinsic::kStatus:
      out.kind = FieldKind::kStatus;
      break;
    case Intrinsic::kStatusMessage:
      out.kind = FieldKind::kStatusMessage;
      break;
    case Intrinsic::kStart:
      out.kind = FieldKind::kStart;
      break;
    case Intrinsic::kDuration:
      out.kind = FieldKind::kDuration;
      break;
    case Intrinsic::kScopeName:
      out.kind = FieldKind::kScopeName;
      break;
    case Intrinsic::kScopeVersion:
      out.kind = FieldKind::kScopeVersion;
      break;
    case Intrinsic::kEventName:
      out.kind = FieldKind::kEventName;
      break;
    case Intrinsic::kEventTime:
      out.kind = FieldKind::kEventTime;
      break;
    case Intrinsic::kLinkTraceId:
      out.kind = FieldKind::kLinkTraceId;
      break;
    case Intrinsic::kLinkSpanId:
      out.kind = FieldKind::kLinkSpanId;
      break;
  }
  return out;
}

bool ParseIntrinsic(std::string_view word, Field* out) {
  for (const auto& intrinsic : kIntrinsics) {
    if (intrinsic.word == word) {
      *out = Field();
      out->kind = intrinsic.kind;
      return true;
    }
  }
  return false;
}

Result<Field> ParseAttribute(std::string_view token) {
  Field out;
  constexpr std::string_view kParent = "parent.";
  if (token.starts_with(kParent)) {
    out.of_parent = true;
    token.remove_prefix(kParent.size() - 1);
    // parent.span.x names the parent's span attribute x, parent.x its attribute x of any scope.
    std::string_view rest = token.substr(1);
    out.scope = TakeScope(&rest);
    if (out.scope != AttributeScope::kAny && rest.size() > 1) {
      token = rest;
    } else {
      out.scope = AttributeScope::kAny;
    }
  } else {
    out.scope = TakeScope(&token);
  }
  token.remove_prefix(1);  // the dot
  for (size_t at = 0; at < token.size();) {
    if (token[at] != '"') {
      out.key.push_back(token[at++]);
      continue;
    }
    for (++at;;) {
      if (at >= token.size()) {
        return MakeStatus(StatusCode::kInvalidArgument, "unterminated quoted attribute");
      }
      if (token[at] == '"') break;
      if (token[at] == '\\') {
        ++at;
        if (at >= token.size() || (token[at] != '"' && token[at] != '\\')) {
          return MakeStatus(StatusCode::kInvalidArgument,
                            "only \\\" and \\\\ are escapes in a quoted attribute");
        }
      }
      out.key.push_back(token[at++]);
    }
    ++at;
  }
  if (out.key.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "an attribute needs a name");
  }
  return out;
}

std::string ToString(const Field& field) {
  if (field.kind == FieldKind::kStart) return "span:start";
  if (field.kind == FieldKind::kServiceName) return "resource.service.name";
  if (field.kind != FieldKind::kAttribute) {
    for (const auto& intrinsic : kIntrinsics) {
      if (intrinsic.kind == field.kind) return std::string(intrinsic.word);
    }
  }
  std::string out = field.of_parent ? "parent" : "";
  for (const auto& [word, scope] : kScopes) {
    if (scope != field.scope) continue;
    if (!out.empty()) out.push_back('.');
    out.append(word);
  }
  out.push_back('.');
  std::string_view first = field.key;
  bool plain = !field.key.empty();
  for (const char c : field.key) plain = plain && IsNameByte(c);
  // What would be read as a number or, after "parent.", as a scope needs quotes.
  plain = plain && !(field.key[0] >= '0' && field.key[0] <= '9');
  if (field.of_parent && TakeScope(&first) != AttributeScope::kAny) plain = false;
  if (plain) return out + field.key;
  out.push_back('"');
  for (const char c : field.key) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

std::string_view ToString(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSub:
    case Op::kNegate:
      return "-";
    case Op::kMul:
      return "*";
    case Op::kDiv:
      return "/";
    case Op::kMod:
      return "%";
    case Op::kPow:
      return "^";
    case Op::kEqual:
      return "=";
    case Op::kNotEqual:
      return "!=";
    case Op::kLess:
    case Op::kParent:
      return "<";
    case Op::kLessEqual:
      return "<=";
    case Op::kGreater:
    case Op::kChild:
      return ">";
    case Op::kGreaterEqual:
      return ">=";
    case Op::kRegex:
    case Op::kTextEqual:
      return "=~";
    case Op::kNotRegex:
    case Op::kNotSibling:
      return "!~";
    case Op::kAnd:
      return "&&";
    case Op::kOr:
      return "||";
    case Op::kNot:
      return "!";
    case Op::kDescendant:
      return ">>";
    case Op::kAncestor:
      return "<<";
    case Op::kSibling:
      return "~";
    case Op::kNotChild:
      return "!>";
    case Op::kNotParent:
      return "!<";
    case Op::kNotDescendant:
      return "!>>";
    case Op::kNotAncestor:
      return "!<<";
    case Op::kUnionChild:
      return "&>";
    case Op::kUnionParent:
      return "&<";
    case Op::kUnionDescendant:
      return "&>>";
    case Op::kUnionAncestor:
      return "&<<";
    case Op::kUnionSibling:
      return "&~";
    case Op::kPipe:
      return "|";
  }
  return "?";
}

bool IsArithmetic(Op op) { return op <= Op::kPow; }
bool IsComparison(Op op) { return op >= Op::kEqual && op <= Op::kTextEqual; }
bool IsStructural(Op op) { return op >= Op::kChild && op <= Op::kUnionSibling; }

FieldExprPtr MakeLiteral(TraceValue value) {
  auto out = std::make_unique<FieldExpr>();
  out->literal = std::move(value);
  return out;
}
FieldExprPtr MakeField(Field field) {
  auto out = std::make_unique<FieldExpr>();
  out->kind = FieldExpr::Kind::kField;
  out->field = std::move(field);
  return out;
}
FieldExprPtr MakeBinary(Op op, FieldExprPtr left, FieldExprPtr right) {
  auto out = std::make_unique<FieldExpr>();
  out->kind = FieldExpr::Kind::kBinary;
  out->op = op;
  out->left = std::move(left);
  out->right = std::move(right);
  return out;
}
FieldExprPtr Clone(const FieldExpr& expr) {
  auto out = std::make_unique<FieldExpr>();
  out->kind = expr.kind;
  out->span = expr.span;
  out->literal = expr.literal;
  out->array = expr.array;
  out->field = expr.field;
  out->op = expr.op;
  if (expr.left != nullptr) out->left = Clone(*expr.left);
  if (expr.right != nullptr) out->right = Clone(*expr.right);
  return out;
}

std::string_view ToString(Function function) {
  switch (function) {
    case Function::kCount:
      return "count";
    case Function::kAvg:
      return "avg";
    case Function::kMin:
      return "min";
    case Function::kMax:
      return "max";
    case Function::kSum:
      return "sum";
    case Function::kCoalesce:
      return "coalesce";
    case Function::kSelect:
      return "select";
    case Function::kRate:
      return "rate";
    case Function::kCountOverTime:
      return "count_over_time";
    case Function::kMinOverTime:
      return "min_over_time";
    case Function::kMaxOverTime:
      return "max_over_time";
    case Function::kAvgOverTime:
      return "avg_over_time";
    case Function::kSumOverTime:
      return "sum_over_time";
    case Function::kQuantileOverTime:
      return "quantile_over_time";
    case Function::kHistogramOverTime:
      return "histogram_over_time";
    case Function::kCompare:
      return "compare";
    case Function::kTopk:
      return "topk";
    case Function::kBottomk:
      return "bottomk";
  }
  return "?";
}
bool IsAggregate(Function function) { return function <= Function::kSum; }
bool IsMetrics(Function function) {
  return function >= Function::kRate && function <= Function::kCompare;
}

std::string_view Query::hint(std::string_view name) const {
  for (const Hint& hint : hints) {
    if (hint.name == name) return hint.value;
  }
  return {};
}

}  // namespace varve::traceql

namespace varve::query {

std::vector<std::string> TraceIntrinsics() {
  std::vector<std::string> out;
  for (const auto& intrinsic : traceql::kIntrinsics) {
    if (intrinsic.word != "parent" && intrinsic.word != "childCount") {
      out.emplace_back(intrinsic.word);
    }
  }
  return out;
}

}  // namespace varve::query
