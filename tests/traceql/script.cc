#include "tests/traceql/script.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"
#include "query/lang/traceql/literals.h"

namespace varve::testing {
namespace {

using query::TraceSummary;

std::string Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t") - begin + 1));
}

/// Throws what is wrong with a script; never leaves ParseScript.
[[noreturn]] void Fail(std::string_view what) { throw std::string(what); }

/// Reads the words of a line; quoted parts, (...) and [...] keep their blanks.
std::vector<std::string> Words(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  int depth = 0;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c == '(' || c == '[')) ++depth;
    if (!quoted && (c == ')' || c == ']')) --depth;
    if (c == ' ' && !quoted && depth == 0) {
      if (!word.empty()) out.push_back(std::exchange(word, {}));
    } else {
      word.push_back(c);
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

std::string Unquote(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return std::string(text.substr(1, text.size() - 2));
  }
  return std::string(text);
}

int64_t Duration(std::string_view text) {
  const bool negative = text.starts_with("-");
  const auto value = traceql::ParseDuration(negative ? text.substr(1) : text);
  if (!value.ok()) Fail(Concat("bad duration ", text));
  return negative ? -*value : *value;
}

ValueView Value(std::string_view text, SpanBatch* batch) {
  if (text.starts_with("\"")) return ValueView::String(batch->Copy(Unquote(text)));
  if (text == "true" || text == "false") return ValueView::Bool(text == "true");
  if (text.starts_with("[")) {
    std::string wire;
    std::string_view rest = text.substr(1, text.size() - 2);
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      AppendElement(Value(Trim(rest.substr(0, end)), batch), &wire);
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return ValueView::Array(batch->Copy(wire));
  }
  if (text.starts_with("0x")) {
    std::string bytes;
    for (size_t i = 2; i + 1 < text.size(); i += 2) {
      int byte = 0;
      std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
      bytes.push_back(static_cast<char>(byte));
    }
    return ValueView::Bytes(batch->Copy(bytes));
  }
  const auto end = text.data() + text.size();
  int64_t integer = 0;
  if (const auto read = std::from_chars(text.data(), end, integer);
      read.ec == std::errc() && read.ptr == end) {
    return ValueView::Int(integer);
  }
  double number = 0;
  if (const auto read = std::from_chars(text.data(), end, number);
      read.ec == std::errc() && read.ptr == end) {
    return ValueView::Double(number);
  }
  Fail(Concat("bad value ", text));
}

AttributeView Attribute(std::string_view word, SpanBatch* batch) {
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) Fail(Concat("not an attribute: ", word));
  return {batch->Copy(Unquote(word.substr(0, equals))), Value(word.substr(equals + 1), batch)};
}

/// Reads "(a=1, b=2)".
std::vector<AttributeView> Attributes(std::string_view text, SpanBatch* batch) {
  std::vector<AttributeView> out;
  if (text.empty()) return out;
  text = text.substr(1, text.size() - 2);
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    out.push_back(Attribute(Trim(text.substr(0, end)), batch));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

TraceId Trace(std::string_view text) {
  const auto id = ParseTraceId(text);
  if (!id) Fail(Concat("bad trace id ", text));
  return *id;
}
SpanId SpanOf(std::string_view text) {
  const auto id = ParseSpanId(text);
  if (!id) Fail(Concat("bad span id ", text));
  return *id;
}

const std::map<std::string_view, SpanKind> kKinds = {
    {"unspecified", SpanKind::kUnspecified}, {"internal", SpanKind::kInternal},
    {"server", SpanKind::kServer},           {"client", SpanKind::kClient},
    {"producer", SpanKind::kProducer},       {"consumer", SpanKind::kConsumer}};
const std::map<std::string_view, SpanStatus> kStatuses = {
    {"unset", SpanStatus::kUnset}, {"ok", SpanStatus::kOk}, {"error", SpanStatus::kError}};

/// Reads one span: ID SERVICE NAME [kind] +start duration [status] [what=value]...
SpanId AddSpan(const TraceId& trace, const SpanId& parent, std::string_view line, SpanBatch* out) {
  const std::vector<std::string> words = Words(line);
  if (words.size() < 5) Fail("a span is: id service name [kind] +start duration ...");
  SpanBatch::Span span;
  span.trace_id = trace;
  span.span_id = SpanOf(words[0]);
  span.parent_id = parent;
  span.kind = SpanKind::kInternal;
  span.name = out->Copy(Unquote(words[2]));
  std::vector<AttributeView> attributes;
  std::vector<AttributeView> resource;
  std::vector<AttributeView> scope_attributes;
  if (words[1] != "-") {
    resource.push_back({"service.name", ValueView::String(out->Copy(Unquote(words[1])))});
  }
  std::string scope_name;
  std::string scope_version;
  std::vector<std::string> events;
  std::vector<std::string> links;
  bool started = false;
  for (size_t i = 3; i < words.size(); ++i) {
    const std::string& word = words[i];
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (const auto kind = kKinds.find(word); kind != kKinds.end()) {
      span.kind = kind->second;
    } else if (const auto status = kStatuses.find(word); status != kStatuses.end()) {
      span.status = status->second;
    } else if (word.starts_with("+") && !started) {
      span.start_ns = kScriptStartNs + Duration(std::string_view(word).substr(1));
      if (++i == words.size()) Fail("a duration must follow the start");
      span.end_ns = span.start_ns + Duration(words[i]);
      started = true;
    } else if (key == "parent") {
      span.parent_id = SpanOf(value);
    } else if (key == "message") {
      span.status_message = out->Copy(Unquote(value));
    } else if (key == "scope") {
      scope_name = value.substr(0, value.find('/'));
      if (value.find('/') != std::string::npos) scope_version = value.substr(value.find('/') + 1);
    } else if (key == "event") {
      events.push_back(value);
    } else if (key == "link") {
      links.push_back(value);
    } else if (key.starts_with("resource.")) {
      resource.push_back(Attribute(std::string_view(word).substr(9), out));
    } else if (key.starts_with("instrumentation.")) {
      scope_attributes.push_back(Attribute(std::string_view(word).substr(16), out));
    } else {
      attributes.push_back(Attribute(word, out));
    }
  }
  if (!started) Fail("a span needs +start and a duration");
  const uint32_t owner = out->AddResource(resource);
  span.scope =
      out->AddScope(owner, out->Copy(scope_name), out->Copy(scope_version), scope_attributes);
  out->AddSpan(span, attributes);
  for (const std::string& event : events) {  // name@5ms(key=value)
    const size_t at = event.find('@');
    const size_t open = std::min(event.find('('), event.size());
    if (at == std::string::npos) Fail("an event is: event=name@time(key=value)");
    out->AddEvent(span.start_ns + Duration(event.substr(at + 1, open - at - 1)),
                  out->Copy(Unquote(event.substr(0, at))),
                  Attributes(std::string_view(event).substr(open), out));
  }
  for (const std::string& text : links) {  // trace/span(key=value)
    const size_t slash = text.find('/');
    const size_t open = std::min(text.find('('), text.size());
    if (slash == std::string::npos) Fail("a link is: link=trace/span(key=value)");
    SpanBatch::Link link;
    link.trace_id = Trace(text.substr(0, slash));
    link.span_id = SpanOf(text.substr(slash + 1, open - slash - 1));
    out->AddLink(link, Attributes(std::string_view(text).substr(open), out));
  }
  return span.span_id;
}

// --- Running ---

template <typename Id>
std::string Short(const Id& id) {
  const std::string hex = ToString(id);
  const size_t begin = hex.find_first_not_of('0');
  return begin == std::string::npos ? "0" : hex.substr(begin);
}

/// Options of a command: "limit=1, range=0s..5s".
std::map<std::string, std::string> Options(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string one = Trim(text.substr(0, end));
    const size_t equals = one.find('=');
    out[one.substr(0, equals)] = equals == std::string::npos ? "" : one.substr(equals + 1);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::pair<int64_t, int64_t> Times(std::string_view text) {
  const size_t dots = text.find("..");
  if (dots == std::string_view::npos) Fail("a range is: start..end");
  return {kScriptStartNs + Duration(text.substr(0, dots)),
          kScriptStartNs + Duration(text.substr(dots + 2))};
}

std::string ErrorLine(const Status& status) {
  std::string where;
  if (const auto place = TextPlaceOf(status)) {
    where = Concat(place->line, ":", place->column, " ");
  }
  std::string what(ToStd(status.message()));
  if (const size_t at = what.find(", col "); at != std::string::npos) {
    what = what.substr(what.find(": ", at) + 2);
  }
  return Concat("error ", where, what);
}

std::vector<std::string> Lines(const TraceSummary& trace) {
  std::vector<std::string> out;
  for (const query::Spanset& set : trace.spansets) {
    std::string line = Short(trace.id);
    for (const auto& value : set.values) {
      line.append(Concat(" ", value.name, "=", ToString(value.value)));
    }
    line.push_back(':');
    for (const auto& span : set.spans) line.append(Concat(" ", Short(span.id)));
    if (set.matched > set.spans.size()) line.append(Concat(" of ", set.matched));
    out.push_back(std::move(line));
  }
  return out;
}

query::TraceSearch SearchOf(const std::map<std::string, std::string>& options) {
  query::TraceSearch search;
  search.spans_per_spanset = 0;
  search.limit = 1000;
  if (const auto found = options.find("limit"); found != options.end()) {
    search.limit = static_cast<uint32_t>(std::stoul(found->second));
  }
  if (const auto found = options.find("spans"); found != options.end()) {
    search.spans_per_spanset = static_cast<uint32_t>(std::stoul(found->second));
  }
  if (const auto found = options.find("range"); found != options.end()) {
    const auto [start, end] = Times(found->second);
    search.range = {start, end};
  }
  return search;
}

/// Runs a search, and the same page by page.
template <typename Run>
std::vector<std::string> SearchLines(query::TraceSearch search, const Run& run) {
  std::vector<std::string> out;
  const Result<query::SearchResult> found = run(search);
  if (!found.ok()) return {ErrorLine(found.status())};
  for (const TraceSummary& trace : found->traces) {
    for (std::string& line : Lines(trace)) out.push_back(std::move(line));
  }
  for (const uint32_t page : {1u, 2u}) {
    std::vector<std::string> paged;
    query::TraceSearch part = search;
    size_t traces = 0;
    part.limit = page;
    do {
      const Result<query::SearchResult> more = run(part);
      if (!more.ok()) return {ErrorLine(more.status())};
      for (const TraceSummary& trace : more->traces) {
        if (traces++ == search.limit) break;
        for (std::string& line : Lines(trace)) paged.push_back(std::move(line));
      }
      if (!part.cursor.empty() && more->traces.empty()) out.push_back("an empty page");
      part.cursor = more->next;
    } while (!part.cursor.empty() && traces < search.limit);
    if (paged == out) continue;
    out.push_back(Concat("in pages of ", page, ":"));
    out.insert(out.end(), paged.begin(), paged.end());
  }
  return out;
}

std::string LabelText(const Labels& labels) {
  std::string out = "{";
  for (const LabelView& label : labels.view()) {
    if (out.size() > 1) out.append(", ");
    out.append(Concat(label.name, "=", label.value));
  }
  return out + "}";
}

std::string NumberText(double value) {
  if (std::isnan(value)) return "NaN";
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.9g", value);
  return buffer;
}

std::vector<std::string> MetricLines(const ScriptCase& command, query::TraceEngine& engine,
                                     const TraceSnapshot& snapshot) {
  std::string_view times = command.options;
  int64_t step_ms = 0;
  if (const size_t slash = times.find('/'); slash != std::string_view::npos) {
    step_ms = Duration(times.substr(slash + 1)) / 1'000'000;
    times = times.substr(0, slash);
  }
  const auto [start_ns, end_ns] = Times(times);
  std::vector<std::string> out;
  if (command.command == "instant") {
    const auto result =
        engine.MetricsInstant(snapshot, command.text, start_ns / 1'000'000, end_ns / 1'000'000, {});
    if (!result.ok()) return {ErrorLine(result.status())};
    for (const auto& sample : std::get<query::Vector>(result->value)) {
      out.push_back(Concat(LabelText(sample.labels), " ", NumberText(sample.value)));
    }
    return out;
  }
  const query::QueryRange range{start_ns / 1'000'000, end_ns / 1'000'000, step_ms};
  const auto result = engine.MetricsRange(snapshot, command.text, range, {});
  if (!result.ok()) return {ErrorLine(result.status())};
  for (const auto& series : std::get<query::Matrix>(result->value)) {
    std::string line = LabelText(series.labels);
    size_t at = 0;
    for (int64_t time = range.start_ms; time <= range.end_ms; time += step_ms) {
      if (at < series.times_ms.size() && series.times_ms[at] == time) {
        line.append(Concat(" ", NumberText(series.values[at++])));
      } else {
        line.append(" _");
      }
    }
    out.push_back(std::move(line));
  }
  return out;
}

/// Reads a filter: service=x operation="y" tag=k:v min=1ms max=2s errors roots where=(...)
query::TraceFilter Filter(std::string_view text) {
  query::TraceFilter out;
  for (const std::string& word : Words(text)) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "service") {
      out.service = Unquote(value);
    } else if (key == "operation") {
      out.operation = Unquote(value);
    } else if (key == "tag") {
      const std::string tag = Unquote(value);
      out.tags.emplace_back(tag.substr(0, tag.find(':')), tag.substr(tag.find(':') + 1));
    } else if (key == "min") {
      out.min_duration_ns = Duration(value);
    } else if (key == "max") {
      out.max_duration_ns = Duration(value);
    } else if (key == "errors") {
      out.errors_only = true;
    } else if (key == "roots") {
      out.roots_only = true;
    } else if (key == "where") {
      out.expression = value;
    } else {
      Fail(Concat("bad filter ", word));
    }
  }
  return out;
}

std::vector<std::string> TagLines(const ScriptCase& command, query::TraceEngine& engine,
                                  const TraceSnapshot& snapshot) {
  static constexpr std::string_view kScopes[] = {"any",   "span", "resource", "instrumentation",
                                                 "event", "link"};
  std::vector<std::string> out;
  if (command.command == "names") {
    std::optional<AttributeScope> scope;
    for (uint8_t i = 1; i < 6; ++i) {
      if (command.options == kScopes[i]) scope = static_cast<AttributeScope>(i);
    }
    const auto names = engine.TagNames(snapshot, scope, {}, command.text, {});
    if (!names.ok()) return {ErrorLine(names.status())};
    for (const TagName& name : *names) {
      out.push_back(Concat(kScopes[static_cast<size_t>(name.scope)], " ", name.key));
    }
    return out;
  }
  const auto values = engine.TagValues(snapshot, command.options, {}, command.text, 0, {});
  if (!values.ok()) return {ErrorLine(values.status())};
  for (const auto& value : *values) out.push_back(value.text);
  return out;
}

}  // namespace

Script ParseScript(std::string_view text) {
  Script out;
  TraceId trace;
  std::vector<SpanId> path;  // of the span above, by indentation
  bool in_trace = false;
  int number = 0;
  try {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      ++number;
      const std::string trimmed = Trim(line);
      if (trimmed.empty() || trimmed[0] == '#') continue;
      if (line[0] == ' ') {
        if (in_trace) {
          const size_t depth = line.find_first_not_of(' ') / 2;
          if (depth == 0 || depth > path.size() + 1) Fail("bad indentation");
          path.resize(depth - 1);
          path.push_back(
              AddSpan(trace, path.empty() ? SpanId() : path.back(), trimmed, &out.spans));
        } else if (out.cases.empty()) {
          Fail("nothing to expect this from");
        } else if (trimmed != "nothing") {
          out.cases.back().expected.push_back(trimmed);
        }
        continue;
      }
      if (trimmed.starts_with("trace ")) {
        trace = Trace(Trim(trimmed.substr(6)));
        in_trace = true;
        path.clear();
        continue;
      }
      in_trace = false;
      ScriptCase added;
      added.line = number;
      const size_t word = trimmed.find_first_of(" [");
      added.command = trimmed.substr(0, word);
      if (word != std::string::npos) {
        size_t rest = word;
        if (trimmed[word] == '[') {
          rest = trimmed.find(']', word);
          if (rest == std::string::npos) Fail("unclosed options");
          added.options = trimmed.substr(word + 1, rest - word - 1);
          ++rest;
        }
        added.text = Trim(trimmed.substr(rest));
      }
      out.cases.push_back(std::move(added));
    }
  } catch (const std::string& what) {
    out.error = Concat("line ", number, ": ", what);
  }
  return out;
}

std::vector<std::string> RunCase(const ScriptCase& command, query::TraceEngine& engine,
                                 const TraceSnapshot& snapshot) {
  try {
    if (command.command == "search") {
      const auto search = SearchOf(Options(command.options));
      std::vector<std::string> out = SearchLines(search, [&](const query::TraceSearch& s) {
        return engine.Search(snapshot, command.text, s, {});
      });
      // The printed form means the same.
      if (const auto parsed = engine.Parse(command.text); parsed.ok()) {
        std::vector<std::string> again = SearchLines(search, [&](const query::TraceSearch& s) {
          return engine.Search(snapshot, parsed->text, s, {});
        });
        if (again != out) out.push_back(Concat("differs when printed as ", parsed->text));
      }
      return out;
    }
    if (command.command == "find") {
      const query::TraceFilter filter = Filter(command.text);
      return SearchLines(SearchOf(Options(command.options)), [&](const query::TraceSearch& s) {
        return engine.FindTraces(snapshot, filter, s, {});
      });
    }
    if (command.command == "traceql") {
      const auto printed = engine.ToTraceQL(Filter(command.text));
      return {printed.ok() ? *printed : ErrorLine(printed.status())};
    }
    if (command.command == "spans") {  // the values of matched spans
      const auto found = engine.Search(snapshot, command.text, SearchOf({}), {});
      if (!found.ok()) return {ErrorLine(found.status())};
      std::vector<std::string> out;
      for (const TraceSummary& trace : found->traces) {
        for (const auto& set : trace.spansets) {
          for (const auto& span : set.spans) {
            std::string line = Concat(Short(trace.id), "/", Short(span.id));
            for (const auto& value : span.values) {
              line.append(Concat(" ", value.name, "=", ToString(value.value)));
            }
            out.push_back(std::move(line));
          }
        }
      }
      return out;
    }
    if (command.command == "summary") {
      const auto found = engine.Search(snapshot, command.text, SearchOf({}), {});
      if (!found.ok()) return {ErrorLine(found.status())};
      std::vector<std::string> out;
      for (const TraceSummary& trace : found->traces) {
        std::string line = Concat(
            Short(trace.id), trace.root_found ? " root " : " no root ", trace.root_service, "/",
            trace.root_name, " +", traceql::FormatDuration(trace.start_ns - kScriptStartNs), " ",
            traceql::FormatDuration(trace.duration_ns), " spans ", trace.spans, " errors ",
            trace.errors, " orphans ", trace.orphans);
        for (const auto& service : trace.services) {
          line.append(Concat(" ", service.service, "=", service.spans, "/", service.errors));
        }
        out.push_back(std::move(line));
      }
      return out;
    }
    if (command.command == "metrics" || command.command == "instant") {
      return MetricLines(command, engine, snapshot);
    }
    if (command.command == "exemplars") {
      const auto [start_ns, end_ns] = Times(command.options);
      const auto result = engine.MetricsInstant(snapshot, command.text, start_ns / 1'000'000,
                                                end_ns / 1'000'000, {});
      if (!result.ok()) return {ErrorLine(result.status())};
      std::vector<std::string> out;
      for (const auto& exemplar : result->exemplars) {
        out.push_back(Concat(LabelText(exemplar.labels), " ", Short(exemplar.trace_id), "/",
                             Short(exemplar.span_id), " ", NumberText(exemplar.value), " +",
                             traceql::FormatDuration(exemplar.time_ns - kScriptStartNs)));
      }
      return out;
    }
    if (command.command == "names" || command.command == "values") {
      return TagLines(command, engine, snapshot);
    }
    if (command.command == "format") {
      const auto parsed = engine.Parse(command.text);
      if (!parsed.ok()) return {ErrorLine(parsed.status())};
      std::vector<std::string> out = {parsed->text};
      const auto again = engine.Parse(parsed->text);
      if (!again.ok() || again->text != parsed->text) out.push_back("does not read back");
      return out;
    }
    if (command.command == "explain") {
      const auto plan = engine.Explain(command.text);
      if (!plan.ok()) return {ErrorLine(plan.status())};
      std::vector<std::string> out;
      std::string_view rest = *plan;
      while (!rest.empty()) {
        const size_t end = std::min(rest.find('\n'), rest.size());
        out.push_back(Trim(rest.substr(0, end)));
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
      return out;
    }
    return {Concat("unknown command ", command.command)};
  } catch (const std::string& what) {
    return {Concat("bad script: ", what)};
  }
}

}  // namespace varve::testing
