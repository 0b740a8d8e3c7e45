#include "tools/tracing/span_filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "engine/base/compare_numbers.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/tracing/filter_node.h"
#include "tools/tracing/filter_terms.h"
#include "tools/tracing/go_text.h"

namespace varve::tracing {
namespace {

using Node = SpanFilter::Node;
using Domain = FilterScalar::Domain;
using OperandKind = FilterOperand::Kind;

constexpr std::array<std::string_view, 16> kOperators = {
    "and", "or",    "not",    "eq", "ne",     "gt",   "lt",     "gte",
    "lte", "regex", "exists", "in", "not_in", "some", "phrase", "fulltext"};
constexpr std::array<std::string_view, 5> kLevels = {"span", "resource", "scope", "event", "link"};
constexpr std::array<std::string_view, 6> kKinds = {"unspecified", "internal", "server",
                                                    "client",      "producer", "consumer"};
constexpr std::array<std::string_view, 3> kStatuses = {"unset", "ok", "error"};

struct FieldInfo {
  FilterLevel level;
  std::string_view name;
  FilterField field;
  FieldType type;
};
constexpr FieldInfo kFields[] = {
    {FilterLevel::kSpan, "traceID", FilterField::kTraceId, FieldType::kText},
    {FilterLevel::kSpan, "spanID", FilterField::kSpanId, FieldType::kText},
    {FilterLevel::kSpan, "parentSpanID", FilterField::kParentSpanId, FieldType::kText},
    {FilterLevel::kSpan, "traceState", FilterField::kTraceState, FieldType::kText},
    {FilterLevel::kSpan, "name", FilterField::kName, FieldType::kText},
    {FilterLevel::kSpan, "kind", FilterField::kKind, FieldType::kKind},
    {FilterLevel::kSpan, "startTime", FilterField::kStartTime, FieldType::kInstant},
    {FilterLevel::kSpan, "endTime", FilterField::kEndTime, FieldType::kInstant},
    {FilterLevel::kSpan, "status", FilterField::kStatus, FieldType::kStatus},
    {FilterLevel::kSpan, "statusMessage", FilterField::kStatusMessage, FieldType::kText},
    {FilterLevel::kSpan, "duration", FilterField::kDuration, FieldType::kDuration},
    {FilterLevel::kResource, "service", FilterField::kService, FieldType::kText},
    {FilterLevel::kResource, "schemaURL", FilterField::kResourceSchemaUrl, FieldType::kText},
    {FilterLevel::kScope, "name", FilterField::kScopeName, FieldType::kText},
    {FilterLevel::kScope, "version", FilterField::kScopeVersion, FieldType::kText},
    {FilterLevel::kScope, "schemaURL", FilterField::kScopeSchemaUrl, FieldType::kText},
    {FilterLevel::kEvent, "name", FilterField::kEventName, FieldType::kText},
    {FilterLevel::kEvent, "time", FilterField::kEventTime, FieldType::kInstant},
    {FilterLevel::kEvent, "timeSinceStart", FilterField::kEventTimeSinceStart,
     FieldType::kDuration},
    {FilterLevel::kLink, "traceID", FilterField::kLinkTraceId, FieldType::kText},
    {FilterLevel::kLink, "spanID", FilterField::kLinkSpanId, FieldType::kText},
    {FilterLevel::kLink, "traceState", FilterField::kLinkTraceState, FieldType::kText},
};

Status Invalid(std::string_view op, std::string_view message) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("filter: ", op, ": ", message));
}

bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         static_cast<uint8_t>(c) >= 0x80;
}
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// --- Compiling ---

std::optional<double> ParseNumber(std::string_view text) {
  // Words that C++ reads as numbers are words here.
  if (text.empty() || text.find_first_not_of("+-.eE0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  double value = 0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || at != text.data() + text.size()) return std::nullopt;
  return value;
}

FilterScalar Scalar(Domain domain, int64_t integer) {
  FilterScalar out;
  out.domain = domain;
  out.integer = integer;
  return out;
}
FilterScalar Text(std::string_view text) {
  FilterScalar out;
  out.text = text;
  return out;
}
FilterScalar Number(double number) {
  FilterScalar out;
  out.domain = Domain::kDouble;
  out.number = number;
  return out;
}

// Reads a constant beside a field.
Result<FilterScalars> ReadAs(std::string_view op, FieldType field, std::string_view text,
                             std::string_view type) {
  const bool textual =
      field == FieldType::kText || field == FieldType::kKind || field == FieldType::kStatus;
  if (!type.empty() && !(textual && type == "string")) {
    return Invalid(op, Concat("the field holds no ", type));
  }
  const auto one_of = [&](std::span<const std::string_view> words) -> Status {
    if (std::ranges::find(words, text) != words.end()) return absl::OkStatus();
    return Invalid(op, Concat("the field is never ", GoQuote(text)));
  };
  switch (field) {
    case FieldType::kDuration: {
      const std::optional<int64_t> ns = ParseGoDuration(text);
      if (!ns) return Invalid(op, Concat("not a duration: ", GoQuote(text)));
      return FilterScalars{Scalar(Domain::kDuration, *ns)};
    }
    case FieldType::kInstant: {
      const std::optional<int64_t> ns = ParseRfc3339Ns(text);
      if (!ns) return Invalid(op, Concat("not a time in RFC 3339: ", GoQuote(text)));
      return FilterScalars{Scalar(Domain::kInstant, *ns)};
    }
    case FieldType::kKind:
      VARVE_RETURN_IF_ERROR(one_of(kKinds));
      break;
    case FieldType::kStatus:
      VARVE_RETURN_IF_ERROR(one_of(kStatuses));
      break;
    default:
      break;
  }
  return FilterScalars{Text(text)};
}

// Reads a constant beside an attribute: as all that it may have been stored as, or as its type.
Result<FilterScalars> ReadAny(std::string_view op, std::string_view text, std::string_view type,
                              bool ordered) {
  FilterScalars out;
  const std::optional<int64_t> integer = ParseInt(text);
  const std::optional<double> number = ParseNumber(text);
  const bool boolean = text == "true" || text == "false";
  if (type == "bool" && ordered) return Invalid(op, "booleans have no order");
  if (type.empty() || type == "string") out.push_back(Text(text));
  if (integer && (type.empty() || type == "int")) out.push_back(Scalar(Domain::kInt, *integer));
  if (number && ((type.empty() && !integer) || type == "double")) out.push_back(Number(*number));
  if (boolean && !ordered && (type.empty() || type == "bool")) {
    out.push_back(Scalar(Domain::kBool, text == "true" ? 1 : 0));
  }
  if (out.empty()) {
    constexpr std::string_view kTypes[] = {"int", "double", "bool"};
    return std::ranges::find(kTypes, type) == std::end(kTypes)
               ? Invalid(op, Concat("unknown type ", GoQuote(type)))
               : Invalid(op, Concat("not of type ", type, ": ", GoQuote(text)));
  }
  for (FilterScalar& reading : out) reading.declared = !type.empty();
  return out;
}

// Refuses what the engines behind Jaeger do not agree about, as its own query service does.
Status CheckPortable(std::string_view op, std::string_view pattern) {
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const char next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\') {
      if (!in_class && std::string_view("bBAzZ").find(next) != std::string_view::npos) {
        return Invalid(op, "anchors and word boundaries are not supported");
      }
      ++i;
    } else if (in_class) {
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
      // A "]" that comes first is one of the class.
      if (next == '^') ++i;
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') ++i;
    } else if (c == '^' || c == '$') {
      return Invalid(op, "anchors are not supported");
    } else if (std::string_view("*+?}").find(c) != std::string_view::npos && next == '?') {
      return Invalid(op, "lazy quantifiers are not supported");
    } else if (c == '(' && next == '?' && pattern.substr(i + 2, 1) != ":" &&
               pattern.substr(i + 2, 2) != "P<") {
      return Invalid(op, "inline flags are not supported");
    }
  }
  return absl::OkStatus();
}

class Compiler {
 public:
  Result<Node> Call(const FilterTerm& term) {
    if (term.kind != FilterTerm::Kind::kCall) {
      return MakeStatus(StatusCode::kInvalidArgument, "filter: a predicate must be a call");
    }
    const std::string& op = term.name;
    if (std::ranges::find(kOperators, op) == kOperators.end()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("filter: unknown operator ", GoQuote(op)));
    }
    const bool variadic = op == "and" || op == "or";
    const size_t arity = op == "not" || op == "exists" ? 1 : 2;
    if (variadic ? term.args.size() < 2 : term.args.size() != arity) {
      return Invalid(op, Concat("takes ", variadic ? "at least " : "", arity, " arguments"));
    }
    if (variadic || op == "not") return Combination(term);
    if (op == "exists") return Exists(term);
    if (op == "in" || op == "not_in") return In(term);
    if (op == "regex") return Regex(term);
    if (op == "some") return Some(term);
    if (op == "phrase" || op == "fulltext") return Words(term);
    return Comparison(term);
  }

 private:
  Result<Node> Combination(const FilterTerm& term) {
    Node out;
    out.op = term.name == "and"  ? Node::Op::kAnd
             : term.name == "or" ? Node::Op::kOr
                                 : Node::Op::kNot;
    for (const FilterTerm& arg : term.args) {
      VARVE_ASSIGN_OR_RETURN(out.children.emplace_back(), Call(arg));
    }
    return out;
  }

  Result<Node> Exists(const FilterTerm& term) {
    Node out;
    out.op = Node::Op::kExists;
    VARVE_ASSIGN_OR_RETURN(out.left, Reference(term.name, term.args[0]));
    return out;
  }

  Result<Node> In(const FilterTerm& term) {
    VARVE_ASSIGN_OR_RETURN(Node out, OverList(Node::Op::kIn, term));
    out.negated = term.name == "not_in";
    const FilterTerm& list = term.args[1];
    for (const std::string& value : list.values) {
      VARVE_ASSIGN_OR_RETURN(out.list.emplace_back(),
                             Constant(term.name, value, list.type, out.left.type, false));
    }
    return out;
  }

  Result<Node> Regex(const FilterTerm& term) {
    Node out;
    out.op = Node::Op::kRegex;
    VARVE_ASSIGN_OR_RETURN(out.left, Reference(term.name, term.args[0]));
    const FilterTerm& pattern = term.args[1];
    if (out.left.type == FieldType::kDuration || out.left.type == FieldType::kInstant) {
      return Invalid(term.name, "the field holds no text");
    }
    if (pattern.kind != FilterTerm::Kind::kScalar ||
        !(pattern.type.empty() || pattern.type == "string")) {
      return Invalid(term.name, "the pattern is a string");
    }
    VARVE_RETURN_IF_ERROR(CheckPortable(term.name, pattern.name));
    re2::RE2::Options options;
    options.set_log_errors(false);
    out.pattern = pattern.name;
    auto regex = std::make_shared<re2::RE2>(pattern.name, options);
    if (!regex->ok()) return Invalid(term.name, regex->error());
    out.regex = std::move(regex);
    return out;
  }

  Result<Node> Some(const FilterTerm& term) {
    Node out;
    out.op = Node::Op::kSome;
    if (term.args[0].kind != FilterTerm::Kind::kNested) {
      return Invalid(term.name, "the first argument is the events or the links");
    }
    VARVE_ASSIGN_OR_RETURN(out.left.level, Level(term.name, term.args[0].level));
    if (out.left.level != FilterLevel::kEvent && out.left.level != FilterLevel::kLink) {
      return Invalid(term.name, Concat("a span has no several of ", term.args[0].level));
    }
    VARVE_ASSIGN_OR_RETURN(out.children.emplace_back(), Call(term.args[1]));
    return out;
  }

  Result<Node> Words(const FilterTerm& term) {
    VARVE_ASSIGN_OR_RETURN(Node out, OverList(Node::Op::kWords, term));
    out.in_order = term.name == "phrase";
    const FilterTerm& list = term.args[1];
    if (out.left.kind != OperandKind::kAttribute) {
      return Invalid(term.name, "the first argument is an attribute");
    }
    if (!list.type.empty() && list.type != "string") return Invalid(term.name, "words are strings");
    for (const std::string& word : list.values) {
      if (word.empty() || !std::ranges::all_of(word, IsWordByte)) {
        return Invalid(term.name, Concat("not one word: ", GoQuote(word)));
      }
      std::string& lower = out.words.emplace_back(word);
      std::ranges::transform(lower, lower.begin(), Lower);
    }
    return out;
  }

  Result<Node> Comparison(const FilterTerm& term) {
    const std::string& op = term.name;
    Node out;
    out.op = Node::Op::kCompare;
    out.negated = op == "ne";
    out.compare = op == "gt"    ? Node::Compare::kGreater
                  : op == "gte" ? Node::Compare::kGreaterEqual
                  : op == "lt"  ? Node::Compare::kLess
                  : op == "lte" ? Node::Compare::kLessEqual
                                : Node::Compare::kEqual;
    const bool ordered = out.compare != Node::Compare::kEqual;
    const auto is_constant = [](const FilterTerm& arg) {
      return arg.kind == FilterTerm::Kind::kScalar;
    };
    if (is_constant(term.args[0]) && is_constant(term.args[1])) {
      return Invalid(op, "two constants say nothing about a span");
    }
    for (const auto& [arg, operand] :
         {std::pair{&term.args[0], &out.left}, std::pair{&term.args[1], &out.right}}) {
      if (is_constant(*arg)) continue;
      VARVE_ASSIGN_OR_RETURN(*operand, Reference(op, *arg));
      if (ordered && (operand->type == FieldType::kKind || operand->type == FieldType::kStatus)) {
        return Invalid(op, "words have no order");
      }
    }
    if (is_constant(term.args[0])) {
      VARVE_ASSIGN_OR_RETURN(out.left.readings, Constant(op, term.args[0].name, term.args[0].type,
                                                         out.right.type, ordered));
    } else if (is_constant(term.args[1])) {
      VARVE_ASSIGN_OR_RETURN(out.right.readings, Constant(op, term.args[1].name, term.args[1].type,
                                                          out.left.type, ordered));
    } else if (out.left.type != out.right.type && out.left.type != FieldType::kNone &&
               out.right.type != FieldType::kNone) {
      return Invalid(op, "the fields hold different kinds of values");
    }
    return out;
  }

  static Result<FilterScalars> Constant(std::string_view op, std::string_view text,
                                        std::string_view type, FieldType field, bool ordered) {
    return field == FieldType::kNone ? ReadAny(op, text, type, ordered)
                                     : ReadAs(op, field, text, type);
  }

  // Begins a call of a reference and a list with something in it.
  static Result<Node> OverList(Node::Op op, const FilterTerm& term) {
    Node out;
    out.op = op;
    VARVE_ASSIGN_OR_RETURN(out.left, Reference(term.name, term.args[0]));
    const FilterTerm& list = term.args[1];
    if (list.kind != FilterTerm::Kind::kList) return Invalid(term.name, "takes a list");
    if (list.values.empty()) return Invalid(term.name, "the list is empty");
    return out;
  }

  static Result<FilterLevel> Level(std::string_view op, std::string_view name) {
    const auto* const found = std::ranges::find(kLevels, name);
    if (found == kLevels.end()) return Invalid(op, Concat("unknown level ", GoQuote(name)));
    return static_cast<FilterLevel>(found - kLevels.begin() + 1);
  }

  static Result<FilterOperand> Reference(std::string_view op, const FilterTerm& term) {
    FilterOperand out;
    if (term.kind == FilterTerm::Kind::kAttribute) {
      out.kind = OperandKind::kAttribute;
      out.key = term.name;
      if (out.key.empty()) return Invalid(op, "an attribute needs a key");
      if (!term.level.empty()) {
        VARVE_ASSIGN_OR_RETURN(out.level, Level(op, term.level));
      }
      return out;
    }
    if (term.kind != FilterTerm::Kind::kField) return Invalid(op, "takes a reference");
    VARVE_ASSIGN_OR_RETURN(out.level, Level(op, term.level));
    out.kind = OperandKind::kField;
    for (const FieldInfo& info : kFields) {
      if (info.level != out.level || info.name != term.name) continue;
      out.field = info.field;
      out.type = info.type;
      return out;
    }
    return Invalid(op, Concat("unknown field ", term.level, ".", term.name));
  }
};

// --- Running ---

/// A span, and the one event or link that `some` looks at.
struct Row {
  const SpanBatch& batch;
  const SpanBatch::Span& span;
  const SpanBatch::Event* event = nullptr;
  const SpanBatch::Link* link = nullptr;

  std::span<const SpanBatch::Event> events() const {
    return event != nullptr ? std::span(event, 1) : batch.events(span);
  }
  std::span<const SpanBatch::Link> links() const {
    return link != nullptr ? std::span(link, 1) : batch.links(span);
  }
};

/// What a reference stands for on one span. Something may be there that no constant equals.
struct Values {
  bool present = false;
  FilterScalars scalars;

  void Add(FilterScalar scalar) {
    present = true;
    scalars.push_back(std::move(scalar));
  }
  void AddUnlessEmpty(std::string_view text) {
    if (!text.empty()) Add(Text(text));
  }
  // Types an attribute as the field beside it, if there is one.
  void AddAttribute(const ValueView& value, FieldType beside) {
    present = true;
    switch (value.type) {
      case ValueType::kString:
        if (beside == FieldType::kDuration) {
          if (const auto ns = ParseGoDuration(value.text)) Add(Scalar(Domain::kDuration, *ns));
        } else if (beside == FieldType::kInstant) {
          if (const auto ns = ParseRfc3339Ns(value.text)) Add(Scalar(Domain::kInstant, *ns));
        } else {
          Add(Text(value.text));
        }
        break;
      case ValueType::kBool:
        Add(Scalar(Domain::kBool, value.boolean ? 1 : 0));
        break;
      case ValueType::kInt:
        Add(Scalar(Domain::kInt, value.integer));
        break;
      case ValueType::kDouble:
        Add(Number(value.number));
        break;
      default:
        break;
    }
  }
};

void AddAttributes(const FilterOperand& operand, const Row& row, FieldType beside, Values* out) {
  const auto add = [&](SpanBatch::Range range) {
    const ValueView* const value = FindAttribute(row.batch.attributes(range), operand.key);
    if (value != nullptr) out->AddAttribute(*value, beside);
  };
  const bool any = operand.level == FilterLevel::kAny;
  if (any || operand.level == FilterLevel::kSpan) add(row.span.attributes);
  if (any || operand.level == FilterLevel::kResource) {
    add(row.batch.resource_of(row.span).attributes);
  }
  if (operand.level == FilterLevel::kScope) add(row.batch.scopes()[row.span.scope].attributes);
  if (operand.level == FilterLevel::kEvent) {
    for (const SpanBatch::Event& event : row.events()) add(event.attributes);
  }
  if (operand.level == FilterLevel::kLink) {
    for (const SpanBatch::Link& link : row.links()) add(link.attributes);
  }
}

// The difference of two times, bounded where it does not fit.
int64_t Since(int64_t later_ns, int64_t earlier_ns) {
  int64_t out = 0;
  if (!__builtin_sub_overflow(later_ns, earlier_ns, &out)) return out;
  return later_ns < earlier_ns ? INT64_MIN : INT64_MAX;
}

void AddField(FilterField field, const Row& row, Values* out) {
  const SpanBatch::Span& span = row.span;
  const SpanBatch::Scope& scope = row.batch.scopes()[span.scope];
  switch (field) {
    case FilterField::kTraceId:
      return out->Add(Text(ToString(span.trace_id)));
    case FilterField::kSpanId:
      return out->Add(Text(ToString(span.span_id)));
    case FilterField::kParentSpanId:
      if (!span.parent_id.empty()) out->Add(Text(ToString(span.parent_id)));
      return;
    case FilterField::kTraceState:
      return out->AddUnlessEmpty(span.trace_state);
    case FilterField::kName:
      return out->Add(Text(span.name));
    case FilterField::kKind:
      return out->Add(Text(kKinds[std::min<size_t>(static_cast<size_t>(span.kind), 5)]));
    case FilterField::kStartTime:
      return out->Add(Scalar(Domain::kInstant, span.start_ns));
    case FilterField::kEndTime:
      return out->Add(Scalar(Domain::kInstant, span.end_ns));
    case FilterField::kStatus:
      return out->Add(Text(kStatuses[std::min<size_t>(static_cast<size_t>(span.status), 2)]));
    case FilterField::kStatusMessage:
      return out->AddUnlessEmpty(span.status_message);
    case FilterField::kDuration:
      return out->Add(
          Scalar(Domain::kDuration, std::max<int64_t>(0, Since(span.end_ns, span.start_ns))));
    case FilterField::kService: {
      const auto attributes = row.batch.attributes(row.batch.resource_of(span).attributes);
      const ValueView* const name = FindAttribute(attributes, "service.name");
      if (name != nullptr) out->AddAttribute(*name, FieldType::kText);
      return;
    }
    case FilterField::kResourceSchemaUrl:
      return out->AddUnlessEmpty(row.batch.resource_of(span).schema_url);
    case FilterField::kScopeName:
      return out->AddUnlessEmpty(scope.name);
    case FilterField::kScopeVersion:
      return out->AddUnlessEmpty(scope.version);
    case FilterField::kScopeSchemaUrl:
      return out->AddUnlessEmpty(scope.schema_url);
    case FilterField::kEventName:
      for (const SpanBatch::Event& event : row.events()) out->Add(Text(event.name));
      return;
    case FilterField::kEventTime:
      for (const SpanBatch::Event& event : row.events()) {
        out->Add(Scalar(Domain::kInstant, event.time_ns));
      }
      return;
    case FilterField::kEventTimeSinceStart:
      for (const SpanBatch::Event& event : row.events()) {
        out->Add(Scalar(Domain::kDuration, Since(event.time_ns, span.start_ns)));
      }
      return;
    case FilterField::kLinkTraceId:
      for (const SpanBatch::Link& link : row.links()) out->Add(Text(ToString(link.trace_id)));
      return;
    case FilterField::kLinkSpanId:
      for (const SpanBatch::Link& link : row.links()) out->Add(Text(ToString(link.span_id)));
      return;
    case FilterField::kLinkTraceState:
      for (const SpanBatch::Link& link : row.links()) out->AddUnlessEmpty(link.trace_state);
      return;
  }
}

Values ValuesOf(const FilterOperand& operand, const Row& row, FieldType beside) {
  Values out;
  switch (operand.kind) {
    case OperandKind::kConstant:
      out.present = true;
      out.scalars = operand.readings;
      break;
    case OperandKind::kAttribute:
      AddAttributes(operand, row, beside, &out);
      break;
    case OperandKind::kField:
      AddField(operand.field, row, &out);
      break;
  }
  return out;
}

template <typename T>
bool Holds(Node::Compare compare, const T& a, const T& b) {
  switch (compare) {
    case Node::Compare::kEqual:
      return a == b;
    case Node::Compare::kLess:
      return a < b;
    case Node::Compare::kLessEqual:
      return a <= b;
    case Node::Compare::kGreater:
      return a > b;
    case Node::Compare::kGreaterEqual:
      return a >= b;
  }
  return false;
}

bool Holds(Node::Compare compare, const FilterScalar& a, const FilterScalar& b) {
  const auto is_number = [](Domain domain) {
    return domain == Domain::kInt || domain == Domain::kDouble;
  };
  if (a.domain != b.domain) {
    if (!is_number(a.domain) || !is_number(b.domain) || a.declared || b.declared) return false;
    // Exactly, as the store compares them.
    const bool integer_first = a.domain == Domain::kInt;
    const std::optional<int> order =
        integer_first ? CompareNumbers(a.integer, b.number) : CompareNumbers(b.integer, a.number);
    return order.has_value() && Holds(compare, integer_first ? *order : -*order, 0);
  }
  switch (a.domain) {
    case Domain::kText:
      return Holds(compare, a.text, b.text);
    case Domain::kDouble:
      return Holds(compare, a.number, b.number);
    default:
      return Holds(compare, a.integer, b.integer);
  }
}

bool AnyHolds(Node::Compare compare, const FilterScalars& left, const FilterScalars& right) {
  return std::ranges::any_of(left, [&](const FilterScalar& a) {
    return std::ranges::any_of(right, [&](const FilterScalar& b) { return Holds(compare, a, b); });
  });
}

bool HasWords(const Node& node, std::string_view text) {
  std::vector<std::string> words;
  for (size_t i = 0; i < text.size();) {
    if (!IsWordByte(text[i])) {
      ++i;
      continue;
    }
    std::string& word = words.emplace_back();
    for (; i < text.size() && IsWordByte(text[i]); ++i) word.push_back(Lower(text[i]));
  }
  if (node.in_order) return !std::ranges::search(words, node.words).empty();
  return std::ranges::all_of(node.words, [&](const std::string& word) {
    return std::ranges::find(words, word) != words.end();
  });
}

bool Test(const Node& node, const Row& row) {
  const auto test = [&row](const Node& child) { return Test(child, row); };
  switch (node.op) {
    case Node::Op::kAnd:
      return std::ranges::all_of(node.children, test);
    case Node::Op::kOr:
      return std::ranges::any_of(node.children, test);
    case Node::Op::kNot:
      return !test(node.children[0]);
    case Node::Op::kSome:
      if (node.left.level == FilterLevel::kEvent) {
        return std::ranges::any_of(row.batch.events(row.span), [&](const SpanBatch::Event& event) {
          return Test(node.children[0], {row.batch, row.span, &event, row.link});
        });
      }
      return std::ranges::any_of(row.batch.links(row.span), [&](const SpanBatch::Link& link) {
        return Test(node.children[0], {row.batch, row.span, row.event, &link});
      });
    default:
      break;
  }
  const Values left = ValuesOf(node.left, row, node.right.type);
  if (!left.present) return false;
  switch (node.op) {
    case Node::Op::kCompare: {
      const Values right = ValuesOf(node.right, row, node.left.type);
      return right.present && AnyHolds(node.compare, left.scalars, right.scalars) != node.negated;
    }
    case Node::Op::kIn:
      return std::ranges::any_of(node.list, [&](const FilterScalars& readings) {
               return AnyHolds(Node::Compare::kEqual, left.scalars, readings);
             }) != node.negated;
    case Node::Op::kRegex:
      return std::ranges::any_of(left.scalars, [&](const FilterScalar& value) {
        return value.domain == Domain::kText && re2::RE2::PartialMatch(value.text, *node.regex);
      });
    case Node::Op::kWords:
      return std::ranges::any_of(left.scalars, [&](const FilterScalar& value) {
        return value.domain == Domain::kText && HasWords(node, value.text);
      });
    default:
      return true;  // kExists
  }
}

Result<SpanFilter> Compile(const Result<FilterTerm>& term) {
  if (!term.ok()) return term.status();
  VARVE_ASSIGN_OR_RETURN(Node root, Compiler().Call(*term));
  return SpanFilter(std::make_shared<const Node>(std::move(root)));
}

}  // namespace

Result<SpanFilter> SpanFilter::FromJson(std::string_view json) {
  return Compile(ReadFilterJson(json));
}
Result<SpanFilter> SpanFilter::FromProtobuf(std::string_view wire) {
  return Compile(ReadFilterProtobuf(wire));
}

bool SpanFilter::Matches(const SpanBatch& batch, const SpanBatch::Span& span) const {
  return Test(*root_, {batch, span});
}

std::span<const std::string_view> SpanFilter::operators() { return kOperators; }
std::span<const std::string_view> SpanFilter::levels() { return kLevels; }

}  // namespace varve::tracing
