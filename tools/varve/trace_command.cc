#include "tools/varve/trace_command.h"

#include <simdjson.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/otlp/traces.h"
#include "tools/server/api/parameters.h"
#include "tools/server/http/client.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/varve/commands.h"
#include "tools/varve/trace_document.h"
#include "varve/correlate.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

// --- Reading ---

struct Loaded {
  SpanBatch batch;
  std::string wire;  // what the batch may point into
  std::unique_ptr<Database> database;
  std::shared_ptr<const TraceSnapshot> snapshot;
};

Result<std::string> FetchFrom(std::string_view url, std::string path) {
  if (!url.starts_with("http://")) {
    return MakeStatus(StatusCode::kInvalidArgument, "--url must start with http://");
  }
  url.remove_prefix(7);
  while (url.ends_with('/')) url.remove_suffix(1);
  VARVE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(std::string(url)));
  http::ClientRequest request;
  request.path = std::move(path);
  VARVE_ASSIGN_OR_RETURN(http::ClientResponse response,
                         http::Fetch(address.host, address.port, request));
  if (response.status == 404) return MakeStatus(StatusCode::kNotFound, "no such trace");
  if (response.status != 200) {
    return MakeStatus(StatusCode::kUnavailable,
                      Concat("the server answered ", response.status, ": ", response.body));
  }
  return std::move(response.body);
}

Status Load(const TraceCommand& command, const TraceId& id, Loaded* out) {
  if (!command.url.empty()) {
    VARVE_ASSIGN_OR_RETURN(const std::string json,
                           FetchFrom(command.url, Concat("/api/v3/traces/", ToString(id))));
    otlp::DecodeReport report;
    return DecodeTraceDocument(json, &out->wire, &out->batch, &report);
  }
  Options options;
  options.dir = command.data;
  options.create_if_missing = false;
  options.read_only = true;
  VARVE_ASSIGN_OR_RETURN(out->database, Database::Open(options));
  VARVE_ASSIGN_OR_RETURN(out->snapshot, out->database->TakeTraceSnapshot());
  return out->snapshot->GetTrace(id, &out->batch);
}

// --- Log entries ---

// Reads {"data":{"entries":[{"timestamp":"1","stream":{},"metadata":{},"line":""}]}}.
Status ReadEntries(std::string_view json, std::vector<correlate::TraceLog>* out) {
  namespace dom = simdjson::dom;
  const auto bad = [] {
    return MakeStatus(StatusCode::kInvalidArgument, "the server's answer is malformed");
  };
  dom::parser parser;
  dom::element root;
  dom::array entries;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS ||
      root["data"]["entries"].get(entries) != simdjson::SUCCESS) {
    return bad();
  }
  for (const dom::element entry : entries) {
    std::string_view time;
    std::string_view line;
    dom::object stream;
    if (entry["timestamp"].get(time) != simdjson::SUCCESS ||
        entry["line"].get(line) != simdjson::SUCCESS ||
        entry["stream"].get(stream) != simdjson::SUCCESS) {
      return bad();
    }
    correlate::TraceLog& log = out->emplace_back();
    if (std::from_chars(time.data(), time.data() + time.size(), log.time_ns).ec != std::errc()) {
      return bad();
    }
    log.line = line;
    std::vector<LabelView> labels;
    for (const auto [name, value] : stream) {
      std::string_view text;
      if (value.get(text) != simdjson::SUCCESS) return bad();
      labels.push_back({name, text});
    }
    VARVE_ASSIGN_OR_RETURN(log.stream, Labels::Make(std::move(labels)));
  }
  return absl::OkStatus();
}

Result<std::vector<correlate::TraceLog>> LogsOf(const TraceCommand& command, const Loaded& loaded,
                                                const TraceId& id) {
  if (loaded.database != nullptr) return correlate::LogsOfTrace(*loaded.database, id, {});
  VARVE_ASSIGN_OR_RETURN(
      const std::string json,
      FetchFrom(command.url, Concat("/api/v1/correlate/traces/", ToString(id), "/logs")));
  std::vector<correlate::TraceLog> logs;
  VARVE_RETURN_IF_ERROR(ReadEntries(json, &logs));
  return logs;
}

// --- Drawing ---

// Clocks of senders may be centuries apart.
int64_t Difference(int64_t a, int64_t b) {
  int64_t difference = 0;
  if (!__builtin_sub_overflow(a, b, &difference)) return difference;
  return a > b ? kMaxTime : kMinTime;
}

std::string Duration(int64_t ns) {
  const auto print = [](double value, std::string_view unit) {
    char text[32];
    std::snprintf(text, sizeof(text), value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
    return Concat(std::string_view(text), unit);
  };
  const auto value = static_cast<double>(std::max<int64_t>(ns, 0));
  if (value < 1e3) return print(value, "ns");
  if (value < 1e6) return print(value / 1e3, "us");
  if (value < 1e9) return print(value / 1e6, "ms");
  return print(value / 1e9, "s");
}

std::string ServiceOf(const SpanBatch& batch, const SpanBatch::Span& span) {
  return std::string(
      tracing::JaegerServiceName(batch.attributes(batch.resource_of(span).attributes)));
}

// Cuts or pads to so many columns; counts characters, and keeps control characters out of the
// terminal.
std::string Fit(std::string_view text, size_t width) {
  std::string out;
  size_t columns = 0;
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    if (columns + 1 >= width && end < text.size()) {
      out += "\u2026";
      ++columns;
      break;
    }
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) {
      out.push_back('?');
    } else {
      out.append(text.substr(i, end - i));
    }
    ++columns;
    i = end;
  }
  out.append(width > columns ? width - columns : 0, ' ');
  return out;
}

size_t TerminalWidth() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 60) return size.ws_col;
  return 120;
}

struct SpanIdHash {
  size_t operator()(const SpanId& id) const {
    size_t value;
    std::memcpy(&value, id.bytes.data(), sizeof(value));
    return value;
  }
};

void Draw(const SpanBatch& batch, size_t limit, std::ostream& out) {
  const std::vector<SpanBatch::Span>& spans = batch.spans();
  int64_t start_ns = kMaxTime;
  int64_t end_ns = kMinTime;
  size_t errors = 0;
  std::map<std::string, size_t> services;
  absl::flat_hash_map<SpanId, uint32_t, SpanIdHash> by_id;
  for (uint32_t i = 0; i < spans.size(); ++i) {
    start_ns = std::min(start_ns, spans[i].start_ns);
    end_ns = std::max(end_ns, std::max(spans[i].end_ns, spans[i].start_ns));
    errors += spans[i].status == SpanStatus::kError ? 1 : 0;
    ++services[ServiceOf(batch, spans[i])];
    by_id[spans[i].span_id] = i;
  }
  out << "trace " << ToString(spans[0].trace_id) << "  " << FormatCount(spans.size()) << " spans, "
      << services.size() << (services.size() == 1 ? " service, " : " services, ")
      << Duration(Difference(end_ns, start_ns)) << ", " << errors
      << (errors == 1 ? " error" : " errors") << ", " << api::FormatTime(start_ns / 1'000'000)
      << "\n";

  std::vector<uint32_t> order(spans.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) {
    return spans[a].start_ns != spans[b].start_ns ? spans[a].start_ns < spans[b].start_ns
                                                  : spans[a].span_id < spans[b].span_id;
  });
  std::vector<std::vector<uint32_t>> children(spans.size());
  std::vector<uint32_t> roots;
  for (const uint32_t i : order) {
    const auto parent = by_id.find(spans[i].parent_id);
    if (parent != by_id.end() && parent->second != i) {
      children[parent->second].push_back(i);
    } else {
      roots.push_back(i);
    }
  }
  const size_t width = TerminalWidth();
  const size_t bar_width = std::clamp<size_t>(width / 3, 20, 60);
  const size_t name_width = width - bar_width - 14;
  const double scale = end_ns > start_ns ? static_cast<double>(bar_width) /
                                               static_cast<double>(Difference(end_ns, start_ns))
                                         : 0;
  // Depth first with a stack of our own: traces are as deep as their senders like.
  std::vector<std::pair<uint32_t, uint32_t>> stack;  // span, depth
  for (auto root = roots.rbegin(); root != roots.rend(); ++root) stack.emplace_back(*root, 0);
  std::vector<bool> drawn(spans.size());
  size_t count = 0;
  const auto draw = [&](uint32_t i, uint32_t depth) {
    const SpanBatch::Span& span = spans[i];
    const std::string indent(2 * std::min<uint32_t>(depth, 20), ' ');
    const bool orphan = depth == 0 && !span.parent_id.empty();
    const std::string label = Concat(indent, span.status == SpanStatus::kError ? "! " : "",
                                     orphan ? "? " : "", ServiceOf(batch, span), "  ", span.name);
    const auto offset = static_cast<size_t>(
        std::min(static_cast<double>(Difference(span.start_ns, start_ns)) * scale,
                 static_cast<double>(bar_width - 1)));
    const auto length = static_cast<size_t>(std::ceil(
        static_cast<double>(std::max<int64_t>(Difference(span.end_ns, span.start_ns), 0)) * scale));
    std::string bar(offset, ' ');
    const size_t blocks = std::clamp<size_t>(length, 1, bar_width - offset);
    for (size_t b = 0; b < blocks; ++b) bar += "\u2588";
    bar.append(bar_width - offset - blocks, ' ');
    out << Fit(label, name_width) << " \u2502" << bar << "\u2502 "
        << Duration(Difference(span.end_ns, span.start_ns)) << "\n";
    drawn[i] = true;
    ++count;
  };
  while (!stack.empty() && count < limit) {
    const auto [i, depth] = stack.back();
    stack.pop_back();
    if (drawn[i]) continue;
    draw(i, depth);
    for (auto child = children[i].rbegin(); child != children[i].rend(); ++child) {
      stack.emplace_back(*child, depth + 1);
    }
  }
  // Spans that are one another's parents hang from no root.
  for (const uint32_t i : order) {
    if (count >= limit) break;
    if (!drawn[i]) draw(i, 0);
  }
  if (count < spans.size()) {
    out << FormatCount(spans.size() - count) << " more spans; --limit shows more\n";
  }
}

void PrintLogs(const std::vector<correlate::TraceLog>& logs, std::ostream& out) {
  out << "\n" << FormatCount(logs.size()) << (logs.size() == 1 ? " log entry\n" : " log entries\n");
  for (const correlate::TraceLog& log : logs) {
    out << api::FormatTime(log.time_ns / 1'000'000) << " " << ToString(log.stream.view()) << " "
        << Fit(log.line, std::max<size_t>(log.line.size(), 1)) << "\n";
  }
}

}  // namespace

int RunTrace(const TraceCommand& command) {
  TraceId id;
  if (!tracing::ParseJaegerTraceId(command.id, &id)) {
    Fail(Concat("no trace id: ", command.id));
    return kUsage;
  }
  Loaded loaded;
  if (const Status status = Load(command, id, &loaded); !status.ok()) return Fail(status);
  if (loaded.batch.empty()) return Fail("no such trace");
  if (command.json) {
    std::string json;
    otlp::TraceWriter(otlp::TraceWriter::Format::kJson, loaded.batch).All(&json);
    std::cout << json << "\n";
    return kOk;
  }
  Draw(loaded.batch, command.limit, std::cout);
  if (!command.logs) return kOk;
  const auto logs = LogsOf(command, loaded, id);
  if (!logs.ok()) return Fail(logs.status());
  PrintLogs(*logs, std::cout);
  return kOk;
}

}  // namespace varve::cli
