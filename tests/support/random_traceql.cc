#include "tests/support/random_traceql.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"
#include "query/lang/traceql/literals.h"
#include "query/lang/traceql/parse.h"
#include "tests/support/memory_trace_snapshot.h"

namespace varve::testing {
namespace {

using traceql::Expr;
using traceql::Field;
using traceql::FieldExpr;
using traceql::FieldKind;
using traceql::Function;
using traceql::Op;
using Span = SpanBatch::Span;

constexpr std::string_view kNames[] = {"get", "put", "work"};
constexpr std::string_view kServices[] = {"front", "back", "db"};
constexpr std::string_view kKeys[] = {"a", "b", "c"};
constexpr std::string_view kTexts[] = {"x", "y", "xy", ""};

ValueView RandomValue(Choices& choices, SpanBatch* out, bool nested = false) {
  switch (choices.Pick(nested ? 4 : 6)) {
    case 0:
    case 1:
      return ValueView::String(kTexts[choices.Pick(4)]);
    case 2:
      return ValueView::Int(choices.Pick(4));
    case 3:
      return choices.Pick(2) ? ValueView::Double(choices.Pick(8) * 0.5)
                             : ValueView::Bool(choices.Pick(2) == 1);
    case 4: {
      std::string wire;
      for (uint32_t i = choices.Pick(3); i > 0; --i) {
        AppendElement(RandomValue(choices, out, true), &wire);
      }
      return ValueView::Array(out->Copy(wire));
    }
    default:
      return ValueView::Int(choices.Pick(3));
  }
}

std::vector<AttributeView> RandomAttributes(Choices& choices, SpanBatch* out, uint32_t percent) {
  std::vector<AttributeView> attributes;
  for (const std::string_view key : kKeys) {
    if (choices.Chance(percent)) attributes.push_back({key, RandomValue(choices, out)});
  }
  return attributes;
}

TraceId TraceOf(uint32_t n) {
  TraceId id;
  id.bytes[15] = static_cast<uint8_t>(n);
  return id;
}
SpanId SpanOf(uint32_t n) {
  SpanId id;
  id.bytes[7] = static_cast<uint8_t>(n);
  id.bytes[6] = static_cast<uint8_t>(n >> 8);
  return id;
}

// --- Queries ---

std::string RandomNumber(Choices& choices) {
  switch (choices.Pick(4)) {
    case 0:
      return std::to_string(choices.Pick(4));
    case 1:
      return traceql::FormatDouble(choices.Pick(8) * 0.5);
    case 2:
      return Concat(choices.Pick(20), "ms");
    default:
      return Concat("-", choices.Pick(3));
  }
}

std::string RandomField(Choices& choices, bool numbers) {
  if (numbers && choices.Chance(50)) {
    constexpr std::string_view kNumbers[] = {
        "duration",        "traceDuration",   "nestedSetLeft",       "nestedSetRight",
        "nestedSetParent", "span:childCount", "event:timeSinceStart"};
    return std::string(kNumbers[choices.Pick(7)]);
  }
  constexpr std::string_view kScopes[] = {
      ".", "span.", "resource.", "event.", "link.", "instrumentation.", "parent.", "parent.span."};
  return Concat(kScopes[choices.Chance(60) ? choices.Pick(2) : choices.Pick(8)],
                kKeys[choices.Pick(3)]);
}

std::string RandomText(Choices& choices) { return Concat("\"", kTexts[choices.Pick(4)], "\""); }

std::string RandomFilter(Choices& choices, int depth) {
  constexpr std::string_view kCompare[] = {"=", "!=", "<", "<=", ">", ">="};
  if (depth > 0) {
    switch (choices.Pick(6)) {
      case 0:
      case 1:
        return Concat(RandomFilter(choices, depth - 1), " && ", RandomFilter(choices, depth - 1));
      case 2:
        return Concat(RandomFilter(choices, depth - 1), " || ", RandomFilter(choices, depth - 1));
      case 3:
        return Concat("!(", RandomFilter(choices, depth - 1), ")");
      case 4:
        return Concat("(", RandomFilter(choices, depth - 1), ")");
      default:
        break;
    }
  }
  switch (choices.Pick(12)) {
    case 0:
      return Concat("name ", kCompare[choices.Pick(2)], " \"", kNames[choices.Pick(3)], "\"");
    case 1:
      return Concat("resource.service.name = \"", kServices[choices.Pick(3)], "\"");
    case 2: {
      constexpr std::string_view kStatus[] = {"error", "ok", "unset"};
      return Concat("status ", kCompare[choices.Pick(2)], " ", kStatus[choices.Pick(3)]);
    }
    case 3: {
      constexpr std::string_view kKind[] = {"server", "client", "internal"};
      return Concat("kind ", kCompare[choices.Pick(2)], " ", kKind[choices.Pick(3)]);
    }
    case 4:
      return Concat(RandomField(choices, false), choices.Pick(2) ? " = nil" : " != nil");
    case 5:
      return Concat(RandomField(choices, false), choices.Pick(2) ? " =~ " : " !~ ",
                    choices.Pick(2) ? "\"x.*\"" : "\"(y|)\"");
    case 6:
      return Concat(RandomField(choices, false), " ", kCompare[choices.Pick(6)], " ",
                    RandomText(choices));
    case 7:
      return RandomField(choices, false);
    case 8:
      return Concat(RandomField(choices, false), choices.Pick(2) ? " = [" : " != [",
                    RandomText(choices), ", ",
                    choices.Pick(2) ? RandomText(choices) : RandomNumber(choices), "]");
    case 9: {
      constexpr std::string_view kMath[] = {"+", "-", "*", "/", "%"};
      return Concat(RandomField(choices, true), " ", kMath[choices.Pick(5)], " ",
                    RandomNumber(choices), " ", kCompare[choices.Pick(6)], " ",
                    choices.Pick(2) ? RandomNumber(choices) : RandomField(choices, true));
    }
    case 10:
      return Concat("event:name ", choices.Pick(2) ? "=" : "!=", " \"", kNames[choices.Pick(3)],
                    "\"");
    default:
      return Concat(RandomField(choices, true), " ", kCompare[choices.Pick(6)], " ",
                    RandomNumber(choices));
  }
}

std::string RandomSpanset(Choices& choices, int depth) {
  if (depth > 0 && choices.Chance(60)) {
    constexpr std::string_view kOps[] = {"&&", "||",  ">",  ">>", "<",   "<<", "~",   "!>", "!>>",
                                         "!<", "!<<", "!~", "&>", "&>>", "&<", "&<<", "&~"};
    const std::string left = RandomSpanset(choices, depth - 1);
    const std::string right = RandomSpanset(choices, depth - 1);
    return Concat("(", left, ") ", kOps[choices.Pick(17)], " (", right, ")");
  }
  if (choices.Chance(10)) return "{ }";
  return Concat("{ ", RandomFilter(choices, static_cast<int>(choices.Pick(3))), " }");
}

// --- Plain evaluation ---

using Scalar = std::variant<bool, int64_t, double, std::string>;
/// What a field expression is worth; status and kind are texts with a mark of their own.
struct Worth {
  enum class Kind : uint8_t { kNone, kBool, kNumber, kText, kEnum, kArray } kind = Kind::kNone;
  bool boolean = false;
  bool whole = false;  // integer holds the number
  bool time = false;   // a duration
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<Worth> elements;
};

Worth OfNumber(double value) {
  Worth out;
  out.kind = Worth::Kind::kNumber;
  out.number = value;
  return out;
}
Worth OfInt(int64_t value, bool time = false) {
  Worth out = OfNumber(static_cast<double>(value));
  out.whole = true;
  out.time = time;
  out.integer = value;
  return out;
}
Worth OfText(std::string_view text) {
  Worth out;
  out.kind = Worth::Kind::kText;
  out.text = text;
  return out;
}
Worth OfBool(bool value) {
  Worth out;
  out.kind = Worth::Kind::kBool;
  out.boolean = value;
  return out;
}
Worth OfEnum(std::string_view kind, int64_t value) {
  Worth out;
  out.kind = Worth::Kind::kEnum;
  out.text = Concat(kind, value);
  return out;
}

Worth OfValue(const ValueView& value) {
  switch (value.type) {
    case ValueType::kString:
      return OfText(value.text);
    case ValueType::kBool:
      return OfBool(value.boolean);
    case ValueType::kInt:
      return OfInt(value.integer);
    case ValueType::kDouble:
      return OfNumber(value.number);
    case ValueType::kArray: {
      Worth out;
      out.kind = Worth::Kind::kArray;
      std::string_view wire = value.text;
      ValueView element;
      bool malformed = false;
      while (NextElement(&wire, &element, &malformed)) out.elements.push_back(OfValue(element));
      return out;
    }
    default:
      return {};
  }
}

Worth OfLiteral(const query::TraceValue& value) {
  using Type = query::TraceValue::Type;
  switch (value.type) {
    case Type::kString:
      return OfText(value.text);
    case Type::kBool:
      return OfBool(value.boolean);
    case Type::kInt:
      return OfInt(value.integer);
    case Type::kDuration:
      return OfInt(value.integer, true);
    case Type::kDouble:
      return OfNumber(value.number);
    case Type::kStatus:
      return OfEnum("status", value.integer);
    case Type::kKind:
      return OfEnum("kind", value.integer);
    default:
      return {};
  }
}

/// One trace, spans by start and id.
struct PlainTrace {
  const SpanBatch* batch = nullptr;
  std::vector<const Span*> spans;
  std::vector<int> parent;  // -1 root, -2 parent missing
  std::vector<int> left, right, set_parent;

  int Find(const SpanId& id) const {
    for (size_t i = 0; i < spans.size(); ++i) {
      if (spans[i]->span_id == id) return static_cast<int>(i);
    }
    return -2;
  }
  void Number(int at, int up, int* counter) {
    left[at] = ++*counter;
    set_parent[at] = up;
    for (size_t i = 0; i < spans.size(); ++i) {
      if (parent[i] == at) Number(static_cast<int>(i), left[at], counter);
    }
    right[at] = ++*counter;
  }
  void Build() {
    std::sort(spans.begin(), spans.end(), [](const Span* a, const Span* b) {
      return std::pair(a->start_ns, a->span_id) < std::pair(b->start_ns, b->span_id);
    });
    const size_t n = spans.size();
    for (const Span* span : spans) {
      parent.push_back(span->parent_id.empty() ? -1 : Find(span->parent_id));
    }
    left.assign(n, 0);
    right.assign(n, 0);
    set_parent.assign(n, 0);
    int counter = 0;
    for (const int kind : {-1, -2}) {
      for (size_t i = 0; i < n; ++i) {
        if (parent[i] == kind) Number(static_cast<int>(i), kind == -1 ? -1 : 0, &counter);
      }
    }
  }
  /// Walks up from a numbered span.
  bool IsAncestor(int a, int b) const {
    if (left[b] == 0) return false;
    for (int at = parent[b]; at >= 0; at = parent[at]) {
      if (at == a) return true;
    }
    return false;
  }
};

std::vector<Worth> FieldWorth(const PlainTrace& trace, int row, const Field& field) {
  if (field.of_parent) {
    row = trace.parent[row];
    if (row < 0) return {};
  }
  const Span& span = *trace.spans[row];
  const auto duration = [](const Span& s) { return std::max<int64_t>(0, s.end_ns - s.start_ns); };
  std::vector<Worth> out;
  switch (field.kind) {
    case FieldKind::kDuration:
      return {OfInt(duration(span), true)};
    case FieldKind::kName:
      return {OfText(span.name)};
    case FieldKind::kStatus:
      return {OfEnum("status", static_cast<int64_t>(span.status))};
    case FieldKind::kSpanKind:
      return {OfEnum("kind", static_cast<int64_t>(span.kind))};
    case FieldKind::kChildCount:
      return {OfInt(std::count(trace.parent.begin(), trace.parent.end(), row))};
    case FieldKind::kNestedSetLeft:
      return {OfInt(trace.left[row])};
    case FieldKind::kNestedSetRight:
      return {OfInt(trace.right[row])};
    case FieldKind::kNestedSetParent:
      return {OfInt(trace.set_parent[row])};
    case FieldKind::kTraceDuration: {
      int64_t end = INT64_MIN;
      for (const Span* s : trace.spans) end = std::max(end, s->start_ns + duration(*s));
      return {OfInt(end - trace.spans[0]->start_ns, true)};
    }
    case FieldKind::kEventName:
      for (const auto& event : trace.batch->events(span)) out.push_back(OfText(event.name));
      return out;
    case FieldKind::kEventTime:
      for (const auto& event : trace.batch->events(span)) {
        out.push_back(OfInt(event.time_ns - span.start_ns, true));
      }
      return out;
    default:
      break;
  }
  std::vector<ValueView> values;
  FieldValues(*trace.batch, span, {Intrinsic::kNone, field.scope, field.key}, &values);
  for (const ValueView& value : values) out.push_back(OfValue(value));
  return out;
}

bool Ordered(Op op, int order) {
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
    default:
      return order >= 0;
  }
}

bool ScalarHolds(Op op, const Worth& a, const Worth& b) {
  if (a.kind != b.kind || a.kind == Worth::Kind::kNone || a.kind == Worth::Kind::kArray) {
    return false;
  }
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  switch (a.kind) {
    case Worth::Kind::kBool:
      return Ordered(op, order(a.boolean, b.boolean));
    case Worth::Kind::kNumber:
      if (std::isnan(a.number) || std::isnan(b.number)) return op == Op::kNotEqual;
      return Ordered(op, order(a.number, b.number));
    default:
      return Ordered(op, order(a.text, b.text));
  }
}

class PlainEvaluator {
 public:
  explicit PlainEvaluator(const PlainTrace& trace) : trace_(trace) {}

  std::vector<Worth> Evaluate(const FieldExpr& expr, int row) const {
    switch (expr.kind) {
      case FieldExpr::Kind::kLiteral:
        if (expr.literal.type == query::TraceValue::Type::kNil) return {};
        return {OfLiteral(expr.literal)};
      case FieldExpr::Kind::kArray:
        return {};
      case FieldExpr::Kind::kField:
        return FieldWorth(trace_, row, expr.field);
      default:
        break;
    }
    if (!traceql::IsArithmetic(expr.op) && expr.op != Op::kNegate) {
      return {OfBool(Holds(expr, row))};
    }
    const auto left = Evaluate(*expr.left, row);
    if (left.empty() || left[0].kind != Worth::Kind::kNumber) return {};
    if (expr.op == Op::kNegate) {
      return {left[0].whole ? OfInt(-left[0].integer, left[0].time) : OfNumber(-left[0].number)};
    }
    const auto right = Evaluate(*expr.right, row);
    if (right.empty() || right[0].kind != Worth::Kind::kNumber) return {};
    const Worth& a = left[0];
    const Worth& b = right[0];
    const bool time = a.time || b.time;
    double value = 0;
    switch (expr.op) {
      case Op::kAdd:
        value = a.number + b.number;
        break;
      case Op::kSub:
        value = a.number - b.number;
        break;
      case Op::kMul:
        value = a.number * b.number;
        break;
      case Op::kDiv:
        if (b.whole && b.integer == 0) return {};
        value = a.number / b.number;
        if (a.time && b.time) return {OfNumber(value)};
        break;
      default:
        if (a.whole && b.whole && b.integer == 0) return {};
        value = std::fmod(a.number, b.number);
    }
    if (time && std::fabs(value) < 1e18) return {OfInt(std::llround(value), true)};
    return {OfNumber(value)};
  }

  bool Holds(const FieldExpr& expr, int row) const {
    const auto is_bool = [&](const FieldExpr& field, bool wanted) {
      for (const Worth& worth : Evaluate(field, row)) {
        if (worth.kind == Worth::Kind::kBool && worth.boolean == wanted) return true;
        for (const Worth& element : worth.elements) {
          if (element.kind == Worth::Kind::kBool && element.boolean == wanted) return true;
        }
      }
      return false;
    };
    if (expr.kind == FieldExpr::Kind::kLiteral || expr.kind == FieldExpr::Kind::kField) {
      return is_bool(expr, true);
    }
    switch (expr.op) {
      case Op::kNot:
        if (expr.left->kind == FieldExpr::Kind::kField) return is_bool(*expr.left, false);
        return !Holds(*expr.left, row);
      case Op::kAnd:
        return Holds(*expr.left, row) && Holds(*expr.right, row);
      case Op::kOr:
        return Holds(*expr.left, row) || Holds(*expr.right, row);
      default:
        return Compares(expr, row);
    }
  }

 private:
  bool Compares(const FieldExpr& expr, int row) const {
    const auto nil = [](const FieldExpr& side) {
      return side.kind == FieldExpr::Kind::kLiteral &&
             side.literal.type == query::TraceValue::Type::kNil;
    };
    if (nil(*expr.right)) return Evaluate(*expr.left, row).empty() == (expr.op == Op::kEqual);
    const bool negative = expr.op == Op::kNotEqual || expr.op == Op::kNotRegex;
    // One value of several must do; of an array one element, or all of them for != and !~.
    const auto spread = [&](const Worth& worth, const auto& test) {
      if (worth.kind != Worth::Kind::kArray) return test(worth);
      size_t holding = 0;
      for (const Worth& element : worth.elements) holding += test(element);
      return negative ? holding > 0 && holding == worth.elements.size() : holding > 0;
    };
    const auto right = Evaluate(*expr.right, row);
    for (const Worth& value : Evaluate(*expr.left, row)) {
      const bool holds = spread(value, [&](const Worth& a) {
        if (expr.op == Op::kRegex || expr.op == Op::kNotRegex) {
          if (a.kind != Worth::Kind::kText) return false;
          return re2::RE2::FullMatch(a.text, expr.right->literal.text) != negative;
        }
        if (expr.right->kind == FieldExpr::Kind::kArray) {
          bool equal = false;
          for (const auto& element : expr.right->array) {
            equal = equal || ScalarHolds(Op::kEqual, a, OfLiteral(element));
          }
          return equal != negative;
        }
        for (const Worth& b : right) {
          if (spread(b, [&](const Worth& one) { return ScalarHolds(expr.op, a, one); })) {
            return true;
          }
        }
        return false;
      });
      if (holds) return true;
    }
    return false;
  }

  const PlainTrace& trace_;
};

using RowsOfTrace = std::set<int>;

bool Relates(const PlainTrace& trace, Op op, int a, int b) {
  switch (op) {
    case Op::kChild:
    case Op::kNotChild:
    case Op::kUnionChild:
      return trace.parent[b] == a;
    case Op::kParent:
    case Op::kNotParent:
    case Op::kUnionParent:
      return trace.parent[a] == b;
    case Op::kDescendant:
    case Op::kNotDescendant:
    case Op::kUnionDescendant:
      return trace.IsAncestor(a, b);
    case Op::kAncestor:
    case Op::kNotAncestor:
    case Op::kUnionAncestor:
      return trace.IsAncestor(b, a);
    default:
      return a != b && !trace.spans[a]->parent_id.empty() &&
             trace.spans[a]->parent_id == trace.spans[b]->parent_id;
  }
}

RowsOfTrace PlainSpanset(const PlainTrace& trace, const Expr& expr) {
  RowsOfTrace out;
  if (expr.kind == Expr::Kind::kFilter) {
    const PlainEvaluator evaluator(trace);
    for (int i = 0; i < static_cast<int>(trace.spans.size()); ++i) {
      if (expr.filter == nullptr || evaluator.Holds(*expr.filter, i)) out.insert(i);
    }
    return out;
  }
  const RowsOfTrace left = PlainSpanset(trace, *expr.left);
  const RowsOfTrace right = PlainSpanset(trace, *expr.right);
  switch (expr.op) {
    case Op::kAnd:
      if (left.empty() || right.empty()) return {};
      [[fallthrough]];
    case Op::kOr:
      out = left;
      out.insert(right.begin(), right.end());
      return out;
    default:
      break;
  }
  const bool negative = expr.op >= Op::kNotChild && expr.op <= Op::kNotSibling;
  const bool both = expr.op >= Op::kUnionChild;
  for (const int b : right) {
    bool related = false;
    for (const int a : left) {
      if (!Relates(trace, expr.op, a, b)) continue;
      related = true;
      if (both) out.insert(a);
    }
    if (related != negative) out.insert(b);
  }
  return out;
}

std::vector<PlainTrace> PlainTraces(const SpanBatch& batch) {
  std::map<TraceId, PlainTrace> traces;
  std::set<std::pair<TraceId, SpanId>> seen;
  for (const Span& span : batch.spans()) {
    if (seen.emplace(span.trace_id, span.span_id).second) {
      traces[span.trace_id].spans.push_back(&span);
    }
  }
  std::vector<PlainTrace> out;
  for (auto& [id, trace] : traces) {
    trace.batch = &batch;
    trace.Build();
    out.push_back(std::move(trace));
  }
  return out;
}

}  // namespace

void RandomTraces(Choices& choices, SpanBatch* out) {
  const uint32_t traces = 1 + choices.Pick(5);
  uint32_t next = 0;
  for (uint32_t t = 0; t < traces; ++t) {
    const uint32_t count = 1 + choices.Pick(8);
    const uint32_t first = next + 1;
    next += count;
    for (uint32_t i = 0; i < count; ++i) {
      Span span;
      span.trace_id = TraceOf(t + 1);
      span.span_id = SpanOf(first + i);
      if (i > 0 && choices.Chance(90)) span.parent_id = SpanOf(first + choices.Pick(i));
      if (choices.Chance(5)) span.parent_id = SpanOf(first + choices.Pick(count));  // a circle
      if (choices.Chance(5)) span.parent_id = SpanOf(4000 + choices.Pick(2));       // missing
      span.name = kNames[choices.Pick(3)];
      span.kind = static_cast<SpanKind>(1 + choices.Pick(3));
      span.status = static_cast<SpanStatus>(choices.Pick(3));
      span.start_ns = 1'000'000'000 + choices.Pick(40) * 1'000'000;
      span.end_ns = span.start_ns + choices.Pick(20) * 1'000'000 - 1'000'000;
      std::vector<AttributeView> resource = RandomAttributes(choices, out, 20);
      if (choices.Chance(90)) {
        resource.push_back({"service.name", ValueView::String(kServices[choices.Pick(3)])});
      }
      const auto scope_attributes = RandomAttributes(choices, out, 10);
      span.scope = out->AddScope(out->AddResource(resource), "lib", "1", scope_attributes);
      out->AddSpan(span, RandomAttributes(choices, out, 50));
      for (uint32_t e = choices.Chance(30) ? choices.Pick(3) : 0; e > 0; --e) {
        const auto attributes = RandomAttributes(choices, out, 40);
        out->AddEvent(span.start_ns + choices.Pick(20) * 1'000'000, kNames[choices.Pick(3)],
                      attributes);
      }
      if (choices.Chance(10)) {
        SpanBatch::Link link;
        link.trace_id = TraceOf(1 + choices.Pick(5));
        link.span_id = SpanOf(1 + choices.Pick(8));
        out->AddLink(link, RandomAttributes(choices, out, 40));
      }
    }
  }
}

std::string RandomSearch(Choices& choices) {
  return RandomSpanset(choices, static_cast<int>(choices.Pick(3)));
}

std::string NaiveSearch(const SpanBatch& spans, std::string_view text) {
  const auto query = traceql::Parse(text);
  if (!query.ok()) return Concat("does not parse: ", ToStd(query.status().message()));
  std::set<std::string> lines;
  for (const PlainTrace& trace : PlainTraces(spans)) {
    const RowsOfTrace rows = PlainSpanset(trace, *(*query)->expr);
    if (rows.empty()) continue;
    std::string line = ToString(trace.spans[0]->trace_id);
    for (const int row : rows) line.append(Concat(" ", ToString(trace.spans[row]->span_id)));
    lines.insert(line);
  }
  std::string out;
  for (const std::string& line : lines) out.append(line + "\n");
  return out;
}

std::string PrintSearch(const query::SearchResult& result) {
  std::set<std::string> lines;
  for (const auto& trace : result.traces) {
    for (const auto& set : trace.spansets) {
      std::string line = ToString(trace.id);
      for (const auto& span : set.spans) line.append(Concat(" ", ToString(span.id)));
      lines.insert(line);
    }
  }
  std::string out;
  for (const std::string& line : lines) out.append(line + "\n");
  return out;
}

uint64_t NaiveCount(const SpanBatch& spans, std::string_view text, int64_t start_ns,
                    int64_t end_ns) {
  const auto query = traceql::Parse(text);
  if (!query.ok()) return 0;
  uint64_t count = 0;
  for (const PlainTrace& trace : PlainTraces(spans)) {
    for (const int row : PlainSpanset(trace, *(*query)->expr)) {
      count += trace.spans[row]->start_ns > start_ns && trace.spans[row]->start_ns <= end_ns;
    }
  }
  return count;
}

std::string CompareWithNaive(query::TraceEngine& engine, Choices& choices, int queries) {
  SpanBatch spans;
  RandomTraces(choices, &spans);
  MemoryTraceStore store({.batch_rows = 1 + choices.Pick(6),
                          .block_spans = choices.Pick(5),
                          .seed = choices.Pick(100)});
  store.Append(spans);
  const auto snapshot = store.TakeSnapshot();
  for (int q = 0; q < queries; ++q) {
    const std::string text = RandomSearch(choices);
    const std::string expected = NaiveSearch(spans, text);
    query::TraceSearch search;
    search.limit = 1000;
    search.spans_per_spanset = 0;
    const auto found = engine.Search(*snapshot, text, search, {});
    const std::string actual =
        found.ok() ? PrintSearch(*found) : std::string(ToStd(found.status().message()));
    if (actual != expected) {
      return Concat("query ", text, "\nexpected\n", expected, "found\n", actual);
    }
    // Page by page the order is the same.
    std::vector<TraceId> whole;
    if (found.ok()) {
      for (const auto& trace : found->traces) whole.push_back(trace.id);
    }
    std::vector<TraceId> paged;
    search.limit = 1 + choices.Pick(2);
    do {
      const auto page = engine.Search(*snapshot, text, search, {});
      if (!page.ok()) break;
      for (const auto& trace : page->traces) paged.push_back(trace.id);
      search.cursor = page->next;
    } while (!search.cursor.empty() && paged.size() <= whole.size());
    if (paged != whole) return Concat("query ", text, " gives other traces in pages");
    // The same spans as a count over a part of the time.
    const int64_t start_ms = 1000 + choices.Pick(20);
    const int64_t end_ms = start_ms + 1 + choices.Pick(20);
    const auto counted = engine.MetricsInstant(
        *snapshot, Concat("(", text, ") | count_over_time()"), start_ms, end_ms, {});
    uint64_t count = 0;
    if (counted.ok()) {
      for (const auto& sample : std::get<query::Vector>(counted->value)) {
        count += static_cast<uint64_t>(sample.value);
      }
    }
    const uint64_t wanted = NaiveCount(spans, text, start_ms * 1'000'000, end_ms * 1'000'000);
    if (!counted.ok() || count != wanted) {
      return Concat("query ", text, " counts ", count, " spans, not ", wanted,
                    counted.ok() ? "" : ToStd(counted.status().message()));
    }
  }
  return {};
}

}  // namespace varve::testing
