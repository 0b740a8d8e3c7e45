#include "tests/traces/span_model.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <functional>
#include <set>
#include <thread>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"

namespace varve::traces {
namespace {

/// Runs tasks on threads, the last one first.
class BackwardThreads final : public ScanThreads {
 public:
  uint32_t count() const override { return 3; }
  void Run(uint32_t tasks, const std::function<void(uint32_t)>& body) override {
    std::atomic<uint32_t> left = tasks;
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < count(); ++t) {
      threads.emplace_back([&] {
        for (uint32_t i = left.load(); i > 0;) {
          if (left.compare_exchange_weak(i, i - 1)) body(--i);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
};

std::string PrintAttributes(AttributesView attributes) {
  std::string out = "{";
  for (const AttributeView& attribute : attributes) {
    out += Concat(GoQuote(attribute.key), ":", static_cast<int>(attribute.value.type), ":");
    switch (attribute.value.type) {
      case ValueType::kEmpty:
        break;
      case ValueType::kBool:
        out += attribute.value.boolean ? "true" : "false";
        break;
      case ValueType::kInt:
        out += std::to_string(attribute.value.integer);
        break;
      case ValueType::kDouble:
        out += std::to_string(std::bit_cast<uint64_t>(attribute.value.number));
        break;
      default:
        out += GoQuote(attribute.value.text);
    }
    out += ",";
  }
  return out + "}";
}

}  // namespace

std::string Print(const SpanBatch& batch, const SpanBatch::Span& span) {
  const SpanBatch::Scope& scope = batch.scopes()[span.scope];
  const SpanBatch::Resource& resource = batch.resources()[scope.resource];
  std::string out =
      Concat("resource ", PrintAttributes(batch.attributes(resource.attributes)),
             resource.schema_url, "/", resource.dropped_attributes, " scope ", scope.name, "/",
             scope.version, PrintAttributes(batch.attributes(scope.attributes)), scope.schema_url,
             "/", scope.dropped_attributes, "\n  ", ToString(span.trace_id), " ",
             ToString(span.span_id), "<", ToString(span.parent_id), " ", GoQuote(span.name),
             " kind ", static_cast<int>(span.kind), " ", span.start_ns, "-", span.end_ns);
  out += Concat(" state ", GoQuote(span.trace_state), " flags ", span.flags, " status ",
                static_cast<int>(span.status), GoQuote(span.status_message), " dropped ",
                span.dropped_attributes, "/", span.dropped_events, "/", span.dropped_links, " ",
                PrintAttributes(batch.attributes(span.attributes)), "\n");
  for (const SpanBatch::Event& event : batch.events(span)) {
    out +=
        Concat("  event ", event.time_ns, " ", GoQuote(event.name), " ",
               PrintAttributes(batch.attributes(event.attributes)), event.dropped_attributes, "\n");
  }
  for (const SpanBatch::Link& link : batch.links(span)) {
    out += Concat("  link ", ToString(link.trace_id), " ", ToString(link.span_id), " ",
                  GoQuote(link.trace_state), PrintAttributes(batch.attributes(link.attributes)),
                  link.dropped_attributes, "/", link.flags, "\n");
  }
  return out;
}

std::string Print(const SpanBatch& batch) {
  std::string out;
  for (const SpanBatch::Span& span : batch.spans()) out += Print(batch, span);
  return out;
}

ValueView OwnedValue::view() const {
  switch (type) {
    case ValueType::kEmpty:
      return ValueView();
    case ValueType::kBool:
      return ValueView::Bool(bits != 0);
    case ValueType::kInt:
      return ValueView::Int(bits);
    case ValueType::kDouble:
      return ValueView::Double(std::bit_cast<double>(bits));
    default: {
      ValueView out;
      out.type = type;
      out.text = text;
      return out;
    }
  }
}

TraceId TraceIdOf(uint64_t number) {
  TraceId id;
  for (size_t i = 0; i < 8; ++i) {
    id.bytes[i] = static_cast<uint8_t>((number * 0x9e3779b97f4a7c15) >> (8 * i));
    id.bytes[8 + i] = static_cast<uint8_t>((number + 1) >> (8 * i));
  }
  return id;
}
SpanId SpanIdOf(uint64_t number) {
  SpanId id;
  const uint64_t mixed = (number + 1) * 0xd6e8feb86659fd93;
  for (size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<uint8_t>(mixed >> (8 * i));
  return id;
}

namespace {

using Random = std::mt19937_64;
uint64_t Below(Random* random, uint64_t bound) { return (*random)() % bound; }

OwnedValue RandomValue(Random* random, const std::string& key, bool rare) {
  OwnedValue out;
  const uint64_t choice = Below(random, rare ? 20 : 12);
  const uint64_t hash = std::hash<std::string>()(key);
  if (rare && choice >= 12) {
    switch (choice) {
      case 12:
        out.type = ValueType::kEmpty;
        return out;
      case 13:
        out.type = ValueType::kBytes;
        out.text.assign(Below(random, 9), '\xf0');
        return out;
      case 14:
      case 15: {
        out.type = ValueType::kArray;
        for (uint64_t i = Below(random, 4); i > 0; --i) {
          AppendElement(i % 2 == 0 ? ValueView::String("red") : ValueView::Int(7), &out.text);
        }
        return out;
      }
      case 16:
        out.type = ValueType::kMap;
        AppendEntry({"inner", ValueView::String("red")}, &out.text);
        return out;
      case 17:
        out.type = ValueType::kString;
        out.text.assign(1 + Below(random, 20'000), static_cast<char>('a' + Below(random, 26)));
        return out;
      case 18:
        out.type = ValueType::kInt;
        out.bits = static_cast<int64_t>((*random)());
        return out;
      default:
        out.type = ValueType::kDouble;
        out.bits = std::bit_cast<int64_t>(Below(random, 2) == 0 ? std::nan("") : -1.0 / 3);
        return out;
    }
  }
  switch (hash % 4) {
    case 0: {
      static const char* const kColours[] = {"red", "green", "blue", "", "dark red"};
      out.type = ValueType::kString;
      out.text = kColours[Below(random, 5)];
      return out;
    }
    case 1:
      out.type = ValueType::kInt;
      out.bits = static_cast<int64_t>(Below(random, 4)) * 100 + 200;
      return out;
    case 2:
      out.type = ValueType::kString;  // nearly unique
      out.text = Concat("id-", Below(random, 1'000'000'000));
      return out;
    default:
      if (Below(random, 2) == 0) {
        out.type = ValueType::kBool;
        out.bits = static_cast<int64_t>(Below(random, 2));
      } else {
        out.type = ValueType::kDouble;
        out.bits = std::bit_cast<int64_t>(static_cast<double>(Below(random, 5)) / 2);
      }
      return out;
  }
}

std::vector<AttributeView> RandomAttributes(Random* random, size_t max, bool rare, SpanBatch* out) {
  static const char* const kKeys[] = {
      "http.method",  "http.status_code", "user.id", "retry", "a",
      "service.name", "db.system",        "peer",    "x.y",   "name"};
  std::vector<AttributeView> made;
  const size_t count = Below(random, max + 1);
  for (size_t i = 0; i < count; ++i) {
    std::string key = kKeys[Below(random, 10)];
    if (rare && Below(random, 30) == 0) key = Concat("cold.", Below(random, 200));
    const OwnedValue value = RandomValue(random, key, rare);
    ValueView view = value.view();
    view.text = out->Copy(view.text);
    // A repeated key collapses to one; the model keeps things plain and has none.
    const bool repeats =
        std::any_of(made.begin(), made.end(), [&](const AttributeView& a) { return a.key == key; });
    if (!repeats) made.push_back({out->Copy(key), view});
  }
  return made;
}

}  // namespace

void AddRandomSpans(Random* random, size_t count, const RandomSpanOptions& options,
                    SpanBatch* out) {
  static const char* const kNames[] = {"GET /", "POST /cart", "SELECT", "", "lookup", "publish"};
  std::vector<uint32_t> scopes;
  for (int r = 0; r < 3; ++r) {
    std::vector<AttributeView> attributes;
    if (Below(random, 5) != 0) {
      attributes.push_back(
          {"service.name", ValueView::String(out->Copy(Concat("service-", Below(random, 5))))});
    }
    for (const AttributeView& one : RandomAttributes(random, 2, false, out)) {
      if (one.key != "service.name") attributes.push_back(one);
    }
    const uint32_t resource =
        out->AddResource(attributes, Below(random, 4) == 0 ? "https://schema/1" : "",
                         static_cast<uint32_t>(Below(random, 8) == 0));
    scopes.push_back(out->AddScope(resource, Below(random, 2) == 0 ? "lib" : "net/http",
                                   Below(random, 2) == 0 ? "1.0" : "",
                                   RandomAttributes(random, 1, false, out)));
  }
  for (size_t i = 0; i < count; ++i) {
    SpanBatch::Span span;
    const uint64_t choice = Below(random, options.traces);
    const uint64_t trace = options.first_trace + choice;
    const uint64_t number = Below(random, options.spans_per_trace);
    span.scope = scopes[Below(random, scopes.size())];
    span.trace_id = TraceIdOf(trace);
    span.span_id = SpanIdOf(trace * 100'000 + number);
    if (number > 0) span.parent_id = SpanIdOf(trace * 100'000 + Below(random, number));
    if (Below(random, 40) == 0) span.parent_id = SpanIdOf(77'777'777);
    span.name = kNames[Below(random, 6)];
    if (Below(random, 10) == 0) span.name = out->Copy(Concat("op-", Below(random, 1000)));
    span.kind = static_cast<SpanKind>(number % 6);
    // The start follows from the ids, so that a repeat has the same.
    const int64_t base =
        static_cast<int64_t>(choice * 7919 % options.traces) * (options.span_ns / options.traces);
    span.start_ns = options.start_ns + base + static_cast<int64_t>(number) * 1'234'567;
    span.end_ns = span.start_ns + static_cast<int64_t>(Below(random, 2'000'000'000));
    if (options.rare_things && Below(random, 20) == 0) span.end_ns = span.start_ns - 5;
    if (options.rare_things && number == 59) span.start_ns -= int64_t{3} * 365 * 86400 * 1000000000;
    span.status = static_cast<SpanStatus>(Below(random, 3));
    if (Below(random, 6) == 0) span.status_message = "it broke";
    if (Below(random, 9) == 0) span.trace_state = "vendor=1";
    if (Below(random, 3) == 0) span.flags = 0x101;
    if (Below(random, 20) == 0) span.dropped_attributes = 3;
    if (Below(random, 20) == 0) span.dropped_events = 2;
    if (Below(random, 20) == 0) span.dropped_links = 1;
    out->AddSpan(span, RandomAttributes(random, 6, options.rare_things, out));
    if (Below(random, 4) == 0) {
      for (uint64_t e = Below(random, 4); e > 0; --e) {
        out->AddEvent(span.start_ns + static_cast<int64_t>(Below(random, 1000)) * 1000,
                      e % 2 == 0 ? "exception" : "log",
                      RandomAttributes(random, 3, options.rare_things, out),
                      static_cast<uint32_t>(Below(random, 2)));
      }
    }
    if (Below(random, 8) == 0) {
      for (uint64_t l = Below(random, 3); l > 0; --l) {
        SpanBatch::Link link;
        link.trace_id = TraceIdOf(Below(random, options.traces));
        link.span_id = SpanIdOf(l);
        link.trace_state = l % 2 == 0 ? "" : "k=v";
        link.flags = static_cast<uint32_t>(l);
        link.dropped_attributes = static_cast<uint32_t>(Below(random, 2));
        out->AddLink(link, RandomAttributes(random, 2, options.rare_things, out));
      }
    }
  }
}

// --- The model ---

void SpanModel::Add(const SpanBatch& batch) {
  for (const SpanBatch::Span& span : batch.spans()) {
    Stored& stored = traces_[span.trace_id][Key{span.span_id, span.kind}];
    if (stored.batch != nullptr) continue;
    stored.text = Print(batch, span);
    stored.batch = std::make_shared<SpanBatch>();
    SpanBatch& own = *stored.batch;
    std::vector<AttributeView> scratch;
    const auto copy = [&](SpanBatch::Range range) -> AttributesView {
      scratch.clear();
      for (AttributeView attribute : batch.attributes(range)) {
        attribute.key = own.Copy(attribute.key);
        attribute.value.text = own.Copy(attribute.value.text);
        scratch.push_back(attribute);
      }
      return scratch;
    };
    const SpanBatch::Scope& scope = batch.scopes()[span.scope];
    const SpanBatch::Resource& resource = batch.resources()[scope.resource];
    own.AddResource(copy(resource.attributes), own.Copy(resource.schema_url),
                    resource.dropped_attributes);
    own.AddScope(0, own.Copy(scope.name), own.Copy(scope.version), copy(scope.attributes),
                 own.Copy(scope.schema_url), scope.dropped_attributes);
    SpanBatch::Span made = span;
    made.scope = 0;
    made.name = own.Copy(span.name);
    made.trace_state = own.Copy(span.trace_state);
    made.status_message = own.Copy(span.status_message);
    own.AddSpan(made, copy(span.attributes));
    for (const SpanBatch::Event& event : batch.events(span)) {
      own.AddEvent(event.time_ns, own.Copy(event.name), copy(event.attributes),
                   event.dropped_attributes);
    }
    for (const SpanBatch::Link& link : batch.links(span)) {
      SpanBatch::Link own_link = link;
      own_link.trace_state = own.Copy(link.trace_state);
      own.AddLink(own_link, copy(link.attributes));
    }
  }
}

size_t SpanModel::spans() const {
  size_t out = 0;
  for (const auto& [id, spans] : traces_) out += spans.size();
  return out;
}

std::vector<TraceId> SpanModel::traces() const {
  std::vector<TraceId> out;
  for (const auto& [id, spans] : traces_) out.push_back(id);
  return out;
}

std::vector<ValueView> ValuesOf(const SpanBatch& batch, const SpanField& field) {
  const SpanBatch::Span& span = batch.spans()[0];
  const SpanBatch::Scope& scope = batch.scopes()[span.scope];
  const SpanBatch::Resource& resource = batch.resources()[scope.resource];
  const auto bytes = [](const auto& id) {
    return ValueView::Bytes({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
  };
  std::vector<ValueView> out;
  switch (field.intrinsic) {
    case Intrinsic::kNone:
      break;
    case Intrinsic::kTraceId:
      return {bytes(span.trace_id)};
    case Intrinsic::kSpanId:
      return {bytes(span.span_id)};
    case Intrinsic::kParentId:
      return {span.parent_id.empty() ? ValueView::Bytes("") : bytes(span.parent_id)};
    case Intrinsic::kName:
      return {ValueView::String(span.name)};
    case Intrinsic::kServiceName: {
      const ValueView* name = FindAttribute(batch.attributes(resource.attributes), "service.name");
      const bool text = name != nullptr && name->type == ValueType::kString;
      return {text ? *name : ValueView::String("")};
    }
    case Intrinsic::kKind:
      return {ValueView::Int(static_cast<int64_t>(span.kind))};
    case Intrinsic::kStatus:
      return {ValueView::Int(static_cast<int64_t>(span.status))};
    case Intrinsic::kStatusMessage:
      return {ValueView::String(span.status_message)};
    case Intrinsic::kStart:
      return {ValueView::Int(span.start_ns)};
    case Intrinsic::kDuration:
      return {ValueView::Int(std::max<int64_t>(0, span.end_ns - span.start_ns))};
    case Intrinsic::kScopeName:
      return {ValueView::String(scope.name)};
    case Intrinsic::kScopeVersion:
      return {ValueView::String(scope.version)};
    case Intrinsic::kEventName:
      for (const auto& event : batch.events(span)) out.push_back(ValueView::String(event.name));
      return out;
    case Intrinsic::kEventTime:
      for (const auto& event : batch.events(span)) {
        out.push_back(ValueView::Int(event.time_ns - span.start_ns));
      }
      return out;
    case Intrinsic::kLinkTraceId:
      for (const auto& link : batch.links(span)) out.push_back(bytes(link.trace_id));
      return out;
    case Intrinsic::kLinkSpanId:
      for (const auto& link : batch.links(span)) out.push_back(bytes(link.span_id));
      return out;
  }
  const auto level = [&](AttributeScope at) {
    std::vector<ValueView> found;
    const auto add = [&](SpanBatch::Range range) {
      const ValueView* value = FindAttribute(batch.attributes(range), field.key);
      if (value != nullptr) found.push_back(*value);
    };
    if (at == AttributeScope::kSpan) add(span.attributes);
    if (at == AttributeScope::kResource) add(resource.attributes);
    if (at == AttributeScope::kInstrumentation) add(scope.attributes);
    if (at == AttributeScope::kEvent) {
      for (const auto& event : batch.events(span)) add(event.attributes);
    }
    if (at == AttributeScope::kLink) {
      for (const auto& link : batch.links(span)) add(link.attributes);
    }
    return found;
  };
  if (field.scope != AttributeScope::kAny) return level(field.scope);
  for (const AttributeScope at :
       {AttributeScope::kSpan, AttributeScope::kResource, AttributeScope::kInstrumentation,
        AttributeScope::kEvent, AttributeScope::kLink}) {
    out = level(at);
    if (!out.empty()) break;
  }
  return out;
}

bool HoldsFor(const SpanBatch& batch, const SpanPredicate& predicate) {
  using Op = SpanPredicate::Op;
  std::vector<ValueView> values = ValuesOf(batch, predicate.field);
  if (predicate.field.intrinsic == Intrinsic::kParentId &&
      (predicate.op == Op::kExists || predicate.op == Op::kNotExists)) {
    return values[0].text.empty() == (predicate.op == Op::kNotExists);
  }
  if (predicate.op == Op::kExists) return !values.empty();
  if (predicate.op == Op::kNotExists) return values.empty();
  if (predicate.op == Op::kTextEqual) {
    for (const ValueView& value : values) {
      if (ToString(value) == std::get<std::string>(predicate.value)) return true;
    }
  }
  std::vector<ValueView> flat;
  for (const ValueView& value : values) {
    if (value.type != ValueType::kArray) {
      flat.push_back(value);
      continue;
    }
    std::string_view wire = value.text;
    bool malformed = false;
    ValueView element;
    while (NextElement(&wire, &element, &malformed)) flat.push_back(element);
  }
  const bool id = predicate.field.intrinsic != Intrinsic::kNone;
  for (const ValueView& value : flat) {
    if (predicate.op == Op::kTextEqual) {
      if (ToString(value) == std::get<std::string>(predicate.value)) return true;
      continue;
    }
    if (predicate.op == Op::kRegex || predicate.op == Op::kNotRegex) {
      if (value.type != ValueType::kString) continue;
      const std::string text(value.text);
      if (RE2::FullMatch(text, "(?s:" + std::get<std::string>(predicate.value) + ")") ==
          (predicate.op == Op::kRegex)) {
        return true;
      }
      continue;
    }
    std::optional<std::partial_ordering> order;
    if (const auto* text = std::get_if<std::string>(&predicate.value)) {
      if (value.type == ValueType::kString || (value.type == ValueType::kBytes && id)) {
        order = std::string_view(value.text) <=> std::string_view(*text);
      }
    } else if (const auto* boolean = std::get_if<bool>(&predicate.value)) {
      if (value.type == ValueType::kBool) {
        order = static_cast<int>(value.boolean) <=> static_cast<int>(*boolean);
      }
    } else if (value.type == ValueType::kInt || value.type == ValueType::kDouble) {
      const long double a =
          value.type == ValueType::kInt ? static_cast<long double>(value.integer) : value.number;
      const auto* integer = std::get_if<int64_t>(&predicate.value);
      const long double b = integer != nullptr ? static_cast<long double>(*integer)
                                               : std::get<double>(predicate.value);
      if (!std::isnan(a) && !std::isnan(b)) order = a <=> b;
    }
    bool holds = false;
    switch (predicate.op) {
      case Op::kEqual:
        holds = order.has_value() && *order == 0;
        break;
      case Op::kNotEqual:
        holds = !order.has_value() || *order != 0;
        break;
      case Op::kLess:
        holds = order.has_value() && *order < 0;
        break;
      case Op::kLessEqual:
        holds = order.has_value() && *order <= 0;
        break;
      case Op::kGreater:
        holds = order.has_value() && *order > 0;
        break;
      case Op::kGreaterEqual:
        holds = order.has_value() && *order >= 0;
        break;
      default:
        break;
    }
    if (holds) return true;
  }
  return false;
}

namespace {

SpanField RandomField(Random* random) {
  SpanField field;
  if (Below(random, 3) == 0) {
    field.intrinsic = static_cast<Intrinsic>(1 + Below(random, 16));
    return field;
  }
  static const char* const kKeys[] = {"http.method",  "http.status_code", "user.id", "retry",
                                      "service.name", "cold.7",           "x.y",     "absent"};
  field.scope = static_cast<AttributeScope>(Below(random, 6));
  field.key = kKeys[Below(random, 8)];
  return field;
}

SpanPredicate RandomPredicate(Random* random, const std::vector<ValueView>& seen) {
  using Op = SpanPredicate::Op;
  SpanPredicate out;
  out.field = RandomField(random);
  out.op = static_cast<Op>(Below(random, 11));
  if (out.op == Op::kRegex || out.op == Op::kNotRegex) {
    static const char* const kPatterns[] = {"red", "(red|blue).*", ".*e.*", "id-1.*", "", "GET.*"};
    out.value = std::string(kPatterns[Below(random, 6)]);
    return out;
  }
  if (out.op == Op::kTextEqual) {
    static const char* const kTexts[] = {"red", "200", "true", "0.5", "[\"red\"]", "GET /"};
    out.value = std::string(kTexts[Below(random, 6)]);
    return out;
  }
  if (!seen.empty() && Below(random, 2) == 0) {
    const ValueView& value = seen[Below(random, seen.size())];
    if (value.type == ValueType::kInt) out.value = value.integer;
    if (value.type == ValueType::kDouble) out.value = value.number;
    if (value.type == ValueType::kBool) out.value = value.boolean;
    if (value.type == ValueType::kString || value.type == ValueType::kBytes) {
      out.value = std::string(value.text);
    }
    if (out.value.index() != 0) return out;
  }
  switch (Below(random, 4)) {
    case 0:
      out.value = std::string(Below(random, 2) == 0 ? "red" : "blue");
      break;
    case 1:
      out.value = static_cast<int64_t>(Below(random, 4) * 100 + 200);
      break;
    case 2:
      out.value = static_cast<double>(Below(random, 8)) * 99.75;
      break;
    default:
      out.value = Below(random, 2) == 0;
  }
  return out;
}

}  // namespace

void SpanModel::Check(const TraceSnapshot& snapshot, Random* random) const {
  // Every trace, whole, in order.
  for (const auto& [id, spans] : traces_) {
    std::vector<std::tuple<int64_t, SpanId, SpanKind, const Stored*>> order;
    for (const auto& [key, stored] : spans) {
      order.push_back({stored.batch->spans()[0].start_ns, key.first, key.second, &stored});
    }
    std::sort(order.begin(), order.end());
    std::string expected;
    for (const auto& [start, span, kind, stored] : order) expected += stored->text;
    SpanBatch out;
    const Status status = snapshot.GetTrace(id, &out);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(Print(out), expected);
  }
  SpanBatch none;
  ASSERT_TRUE(snapshot.GetTrace(TraceIdOf(123'456'789), &none).ok());
  ASSERT_TRUE(none.empty());

  // Listings.
  std::set<std::string> services;
  std::set<Operation> operations;
  for (const auto& [id, spans] : traces_) {
    for (const auto& [key, stored] : spans) {
      SpanField field;
      field.intrinsic = Intrinsic::kServiceName;
      const std::string service(ValuesOf(*stored.batch, field)[0].text);
      if (!service.empty()) services.insert(service);
      operations.insert({std::string(stored.batch->spans()[0].name), key.second});
    }
  }
  const auto found_services = snapshot.Services(NsRange{});
  ASSERT_TRUE(found_services.ok());
  EXPECT_EQ(found_services->values, std::vector<std::string>(services.begin(), services.end()));
  const auto found_operations = snapshot.Operations("", NsRange{});
  ASSERT_TRUE(found_operations.ok());
  // Operations of repeats that are not shown may be listed, too.
  for (const Operation& operation : operations) {
    EXPECT_TRUE(std::find(found_operations->begin(), found_operations->end(), operation) !=
                found_operations->end())
        << operation.name;
  }

  // Scans.
  if (traces_.empty()) return;
  for (int round = 0; round < 30; ++round) {
    SpanScanSpec spec;
    const size_t predicates = Below(random, 3);
    for (size_t p = 0; p < predicates; ++p) {
      std::vector<ValueView> seen;
      const auto trace =
          std::next(traces_.begin(), static_cast<ptrdiff_t>(Below(random, traces_.size())));
      const SpanField field = RandomField(random);
      seen = ValuesOf(*trace->second.begin()->second.batch, field);
      SpanPredicate predicate = RandomPredicate(random, seen);
      if (!seen.empty() && Below(random, 2) == 0) predicate.field = field;
      spec.predicates.push_back(predicate);
    }
    for (uint64_t c = Below(random, 4); c > 0; --c) spec.columns.push_back(RandomField(random));
    spec.newest_first = Below(random, 2) == 0;
    if (Below(random, 3) == 0) {
      const auto& some =
          std::next(traces_.begin(), static_cast<ptrdiff_t>(Below(random, traces_.size())))
              ->second.begin()
              ->second;
      spec.range.min_ns = some.batch->spans()[0].start_ns;
      if (Below(random, 2) == 0) spec.range.max_ns = spec.range.min_ns + 3'000'000'000'000;
    }
    std::string told;
    for (const SpanPredicate& predicate : spec.predicates) {
      told += Concat(" intrinsic ", static_cast<int>(predicate.field.intrinsic), " scope ",
                     static_cast<int>(predicate.field.scope), " ", predicate.field.key, " op ",
                     static_cast<int>(predicate.op), " value ", predicate.value.index());
    }
    SCOPED_TRACE(told);
    std::multiset<std::string> expected;
    for (const auto& [id, spans] : traces_) {
      for (const auto& [key, stored] : spans) {
        const SpanBatch::Span& span = stored.batch->spans()[0];
        if (!spec.range.Contains(span.start_ns)) continue;
        bool holds = true;
        for (const SpanPredicate& predicate : spec.predicates) {
          holds = holds && HoldsFor(*stored.batch, predicate);
        }
        if (!holds) continue;
        std::string row = Concat(ToString(id), ToString(key.first), span.start_ns, "+",
                                 std::max<int64_t>(0, span.end_ns - span.start_ns));
        for (const SpanField& field : spec.columns) {
          const std::vector<ValueView> values = ValuesOf(*stored.batch, field);
          const AttributeView shown{"", values.empty() ? ValueView() : values[0]};
          row += PrintAttributes({&shown, 1});
        }
        expected.insert(row);
      }
    }
    // Every other scan reads ahead on threads; that it may be told by nothing.
    BackwardThreads threads;
    if (expected.size() % 2 == 1) spec.threads = &threads;
    auto cursor = snapshot.Scan(spec);
    ASSERT_TRUE(cursor.ok()) << cursor.status().ToString();
    std::multiset<std::string> found;
    SpanColumns columns;
    int64_t bound = spec.newest_first ? INT64_MAX : INT64_MIN;
    while (true) {
      const auto more = (*cursor)->Next(&columns);
      ASSERT_TRUE(more.ok()) << more.status().ToString();
      if (!*more) break;
      ASSERT_LE(columns.size(), 5000u);
      ASSERT_EQ(columns.columns.size(), spec.columns.size());
      for (size_t i = 0; i < columns.size(); ++i) {
        if (spec.newest_first) {
          ASSERT_LE(columns.starts_ns[i], bound);
        } else {
          ASSERT_GE(columns.starts_ns[i], bound);
        }
        std::string row = Concat(ToString(columns.trace_ids[i]), ToString(columns.span_ids[i]),
                                 columns.starts_ns[i], "+", columns.durations_ns[i]);
        for (const auto& column : columns.columns) {
          const AttributeView shown{"", column[i]};
          row += PrintAttributes({&shown, 1});
        }
        found.insert(row);
      }
      bound = columns.bound_ns;
    }
    ASSERT_EQ(found, expected);
  }
}

}  // namespace varve::traces
