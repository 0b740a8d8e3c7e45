#include "tests/support/filter_cover.h"

#include <array>
#include <limits>
#include <set>
#include <vector>

#include "engine/base/strings.h"
#include "tools/otlp/wire_writer.h"

namespace varve::testing {
namespace {

constexpr size_t kSpans = 300;
constexpr int64_t kStart = 1'700'000'000'000'000'000;
constexpr std::array<std::string_view, 5> kKeys = {"a", "b", "x.y", "service.name", "a b"};
constexpr std::array<std::string_view, 13> kTexts = {
    "",           "5",        "5.0",       "true",
    "x",          "foo\nbar", "\xff foo",  "Could not Connect",
    "2s",         "B",        "GET /cart", "9007199254740993",
    "a \"b\" \\d"};

template <typename Words>
std::string_view OneOf(Choices& choices, const Words& words) {
  return words[choices.Pick(static_cast<uint32_t>(words.size()))];
}

// --- Spans ---

std::string ListWire() {
  std::string element;
  otlp::AppendBytesField(1, "x", &element);  // string_value
  std::string list;
  otlp::AppendBytesField(1, element, &list);
  return list;
}

ValueView RandomValue(Choices& choices) {
  static const std::string list = ListWire();
  constexpr int64_t kInts[] = {0,
                               5,
                               -1,
                               9007199254740993,
                               std::numeric_limits<int64_t>::max(),
                               std::numeric_limits<int64_t>::min()};
  constexpr double kDoubles[] = {5.0,
                                 5.5,
                                 -1,
                                 9007199254740992.0,
                                 std::numeric_limits<double>::quiet_NaN(),
                                 std::numeric_limits<double>::infinity()};
  switch (choices.Pick(8)) {
    case 0:
      return ValueView::Int(kInts[choices.Pick(std::size(kInts))]);
    case 1:
      return ValueView::Double(kDoubles[choices.Pick(std::size(kDoubles))]);
    case 2:
      return ValueView::Bool(choices.Chance(50));
    case 3:
      return choices.Chance(50) ? ValueView::Bytes("5") : ValueView::Array(list);
    default:
      return ValueView::String(OneOf(choices, kTexts));
  }
}

std::vector<AttributeView> RandomAttributes(Choices& choices) {
  std::vector<AttributeView> out;
  for (const std::string_view key : kKeys) {
    if (choices.Chance(40)) out.push_back({key, RandomValue(choices)});
  }
  return out;
}

void AddRandomSpan(Choices& choices, size_t index, SpanBatch* out) {
  constexpr int64_t kDurations[] = {0, 1, 2'000'000'000, -1'000'000'000, int64_t{1} << 62};
  SpanBatch::Span span;
  const uint32_t resource = out->AddResource(RandomAttributes(choices), OneOf(choices, kTexts), 0);
  span.scope = out->AddScope(resource, OneOf(choices, kTexts), OneOf(choices, kTexts),
                             RandomAttributes(choices));
  span.trace_id.bytes[14] = static_cast<uint8_t>(index >> 8);
  span.trace_id.bytes[15] = static_cast<uint8_t>(index);
  span.trace_id.bytes[0] = 1;
  span.span_id.bytes[7] = static_cast<uint8_t>(1 + choices.Pick(3));
  span.parent_id.bytes[7] = static_cast<uint8_t>(choices.Pick(3));
  span.trace_state = OneOf(choices, kTexts);
  span.name = OneOf(choices, kTexts);
  span.kind = static_cast<SpanKind>(choices.Pick(6));
  span.status = static_cast<SpanStatus>(choices.Pick(3));
  span.status_message = OneOf(choices, kTexts);
  span.start_ns = kStart + static_cast<int64_t>(choices.Pick(3));
  span.end_ns = span.start_ns + kDurations[choices.Pick(std::size(kDurations))];
  out->AddSpan(span, RandomAttributes(choices));
  for (uint32_t i = choices.Pick(3); i > 0; --i) {
    constexpr int64_t kOffsets[] = {0, 2'000'000'000, -5, -kStart, INT64_MAX - kStart - 10};
    out->AddEvent(span.start_ns + kOffsets[choices.Pick(std::size(kOffsets))],
                  OneOf(choices, kTexts), RandomAttributes(choices));
  }
  for (uint32_t i = choices.Pick(3); i > 0; --i) {
    SpanBatch::Link link;
    link.trace_id.bytes[15] = static_cast<uint8_t>(choices.Pick(3));
    link.span_id.bytes[7] = static_cast<uint8_t>(choices.Pick(3));
    link.trace_state = OneOf(choices, kTexts);
    out->AddLink(link, RandomAttributes(choices));
  }
}

// --- Filters ---

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '"' || c == '\\') {
      out += Concat("\\", std::string_view(&c, 1));
    } else if (static_cast<unsigned char>(c) < 0x80) {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::string RandomReference(Choices& choices) {
  if (choices.Chance(60)) {
    constexpr std::array<std::string_view, 6> kLevels = {"",      "span",  "resource",
                                                         "scope", "event", "link"};
    const std::string_view level = OneOf(choices, kLevels);
    return Concat(R"({"attr":{"key":)", Quoted(OneOf(choices, kKeys)),
                  level.empty() ? "" : Concat(R"(,"level":")", level, "\""), "}}");
  }
  constexpr std::pair<std::string_view, std::string_view> kFields[] = {
      {"span", "traceID"},      {"span", "spanID"},        {"span", "parentSpanID"},
      {"span", "name"},         {"span", "kind"},          {"span", "status"},
      {"span", "duration"},     {"span", "statusMessage"}, {"span", "traceState"},
      {"span", "startTime"},    {"span", "endTime"},       {"resource", "service"},
      {"scope", "name"},        {"scope", "version"},      {"scope", "schemaURL"},
      {"event", "name"},        {"event", "time"},         {"event", "timeSinceStart"},
      {"link", "traceID"},      {"link", "spanID"},        {"link", "traceState"},
      {"resource", "schemaURL"}};
  const auto& [level, name] = kFields[choices.Pick(std::size(kFields))];
  return Concat(R"({"field":{"level":")", level, R"(","name":")", name, "\"}}");
}

// A text that suits the reference as often as not.
std::string RandomConstant(Choices& choices, std::string_view reference) {
  constexpr std::array<std::string_view, 3> kTimes = {
      "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.000000001Z", "1970-01-01T00:00:00Z"};
  constexpr std::array<std::string_view, 4> kDurations = {"0s", "1ns", "2s", "-5ns"};
  constexpr std::array<std::string_view, 6> kKinds = {"unspecified", "internal", "server",
                                                      "client",      "producer", "consumer"};
  constexpr std::array<std::string_view, 3> kStatuses = {"unset", "ok", "error"};
  constexpr std::array<std::string_view, 3> kIds = {"0000000000000001",
                                                    "00000000000000000000000000000001", ""};
  const auto about = [&](std::string_view word) {
    return reference.find(Concat("\"name\":\"", word)) != std::string_view::npos;
  };
  if (about("kind")) return std::string(OneOf(choices, kKinds));
  if (about("status\"")) return std::string(OneOf(choices, kStatuses));
  if (about("duration") || about("timeSinceStart")) return std::string(OneOf(choices, kDurations));
  if (about("startTime") || about("endTime") || about("time\"")) {
    return std::string(OneOf(choices, kTimes));
  }
  if (about("traceID") || about("spanID") || about("parentSpanID")) {
    return std::string(OneOf(choices, kIds));
  }
  constexpr std::array<std::string_view, 5> kNumbers = {"0", "-1", "5.5", "9223372036854775807",
                                                        "-9223372036854775808"};
  return std::string(choices.Chance(70) ? OneOf(choices, kTexts) : OneOf(choices, kNumbers));
}

std::string Scalar(std::string_view value, std::string_view type) {
  return Concat(R"({"scalar":{"value":)", Quoted(value), R"(,"type":")", type, "\"}}");
}

std::string RandomCall(Choices& choices, int depth);

std::string Nested(Choices& choices, int depth) {
  return Concat(R"({"call":)", RandomCall(choices, depth), "}");
}

std::string RandomCall(Choices& choices, int depth) {
  const auto call = [](std::string_view op, std::string_view args) {
    return Concat(R"({"op":")", op, R"(","args":[)", args, "]}");
  };
  if (depth > 0 && choices.Chance(60)) {
    switch (choices.Pick(6)) {
      case 0:
        return call("not", Nested(choices, depth - 1));
      case 1:
        return call("some", Concat(R"({"nested":{"level":")", choices.Chance(60) ? "event" : "link",
                                   R"("}},)", Nested(choices, depth - 1)));
      case 2:
      case 3:
        return call("or", Concat(Nested(choices, depth - 1), ",", Nested(choices, depth - 1)));
      default:
        return call("and", Concat(Nested(choices, depth - 1), ",", Nested(choices, depth - 1)));
    }
  }
  const std::string left = RandomReference(choices);
  constexpr std::array<std::string_view, 6> kCompare = {"eq", "ne", "gt", "gte", "lt", "lte"};
  constexpr std::array<std::string_view, 7> kPatterns = {"foo",     "o",  "x|5",      "[0-9]+",
                                                         "Co.*ect", ".*", "\\d \"b\""};
  constexpr std::array<std::string_view, 3> kTypes = {"int", "double", "string"};
  const std::string_view type = choices.Chance(80) ? "" : OneOf(choices, kTypes);
  switch (choices.Pick(8)) {
    case 0:
      return call("exists", left);
    case 1:
      return call("regex", Concat(left, ",", Scalar(OneOf(choices, kPatterns), "")));
    case 2:
      return call(
          choices.Chance(70) ? "in" : "not_in",
          Concat(left, R"(,{"list":{"values":[)", Quoted(RandomConstant(choices, left)), ",",
                 Quoted(RandomConstant(choices, left)), R"(],"type":")", type, "\"}}"));
    case 3:
      return call(
          choices.Chance(50) ? "phrase" : "fulltext",
          Concat(R"({"attr":{"key":"a"}},{"list":{"values":["not","connect"],"type":""}})"));
    case 4: {
      const std::string right = RandomReference(choices);
      return call(OneOf(choices, kCompare), Concat(left, ",", right));
    }
    default: {
      const std::string constant = Scalar(RandomConstant(choices, left), type);
      return call(OneOf(choices, kCompare),
                  choices.Chance(80) ? Concat(left, ",", constant) : Concat(constant, ",", left));
    }
  }
}

}  // namespace

FilterCover::FilterCover() : engine_(query::TraceEngine::Make({.threads = 1})) {
  Choices choices(1);
  for (size_t i = 0; i < kSpans; ++i) AddRandomSpan(choices, i, &spans_);
  store_.Append(spans_);
}

std::string FilterCover::Missing(const tracing::SpanFilter& filter) const {
  const std::string expression = filter.Superset();
  if (expression.empty()) return {};  // all spans
  query::TraceSearch search;
  search.limit = kSpans;
  search.spans_per_spanset = 1;
  const auto found =
      engine_->Search(*store_.TakeSnapshot(), Concat("{ ", expression, " }"), search, {});
  if (!found.ok()) return Concat(expression, ": ", ToStd(found.status().message()));
  std::set<TraceId> ids;
  for (const query::TraceSummary& trace : found->traces) ids.insert(trace.id);
  for (const SpanBatch::Span& span : spans_.spans()) {
    if (ids.contains(span.trace_id) || !filter.Matches(spans_, span)) continue;
    return Concat("the span of trace ", ToString(span.trace_id), " is not in { ", expression, " }");
  }
  return {};
}

size_t FilterCover::Taken(const tracing::SpanFilter& filter) const {
  size_t out = 0;
  for (const SpanBatch::Span& span : spans_.spans()) out += filter.Matches(spans_, span) ? 1 : 0;
  return out;
}

std::string RandomFilter(Choices& choices) { return RandomCall(choices, 3); }

}  // namespace varve::testing
