#include "tools/varve/trace_command.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/correlate/correlate.h"
#include "tools/ingest/protobuf.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/server/api/parameters.h"
#include "tools/server/http/client.h"
#include "tools/server/http/coding.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/json_decode.h"
#include "tools/varve/commands.h"
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

Status LoadFromUrl(const TraceCommand& command, const TraceId& id, Loaded* out) {
  std::string_view url = command.url;
  if (!url.starts_with("http://")) {
    return MakeStatus(StatusCode::kInvalidArgument, "--url must start with http://");
  }
  url.remove_prefix(7);
  while (url.ends_with('/')) url.remove_suffix(1);
  VARVE_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(std::string(url)));
  http::ClientRequest request;
  request.path = Concat("/api/v3/traces/", ToString(id));
  VARVE_ASSIGN_OR_RETURN(const http::ClientResponse response,
                         http::Fetch(address.host, address.port, request));
  if (response.status == 404) return MakeStatus(StatusCode::kNotFound, "no such trace");
  if (response.status != 200) {
    return MakeStatus(StatusCode::kUnavailable,
                      Concat("the server answered ", response.status, ": ", response.body));
  }
  // {"result": TracesData}
  const otlp::FieldSchema fields[] = {
      {"result", 1, otlp::FieldKind::kMessage, false, &otlp::kTraceRequest}};
  VARVE_RETURN_IF_ERROR(otlp::JsonToWire(response.body, {fields}, &out->wire));
  ingest::WireFault fault;
  fault.body = out->wire.data();
  ingest::WireReader reader(out->wire, &fault, "result");
  std::string_view result;
  while (reader.Next() && reader.Bytes(&result)) {
  }
  otlp::DecodeReport report;
  return otlp::DecodeTraces(result, &out->batch, &report);
}

Status Load(const TraceCommand& command, const TraceId& id, Loaded* out) {
  if (!command.url.empty()) return LoadFromUrl(command, id, out);
  Options options;
  options.dir = command.data;
  options.create_if_missing = false;
  options.read_only = true;
  VARVE_ASSIGN_OR_RETURN(out->database, Database::Open(options));
  VARVE_ASSIGN_OR_RETURN(out->snapshot, out->database->TakeTraceSnapshot());
  return out->snapshot->GetTrace(id, &out->batch);
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

int PrintLogs(const Loaded& loaded, const TraceId& id, std::ostream& out) {
  const auto logs = correlate::LogsOfTrace(*loaded.database, id, {});
  if (!logs.ok()) return Fail(logs.status());
  out << "\n" << FormatCount(logs->size()) << " log entries\n";
  for (const correlate::TraceLog& log : *logs) {
    out << api::FormatTime(log.time_ns / 1'000'000) << " " << ToString(log.stream.view()) << " "
        << Fit(log.line, std::max<size_t>(log.line.size(), 1)) << "\n";
  }
  return kOk;
}

// --- Import ---

Result<std::string> ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in.good() && !in.eof()) {
    return MakeStatus(StatusCode::kUnavailable, Concat("cannot read ", path));
  }
  http::DecodeLimits limits;
  limits.output_bytes_max = size_t{16} << 30;
  limits.zstd_window_log_max = 27;
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) {
    return http::Decode(http::Coding::kZstd, bytes, limits);
  }
  if (bytes.starts_with("\x1f\x8b")) return http::Decode(http::Coding::kGzip, bytes, limits);
  return bytes;
}

enum class FileKind : uint8_t { kOtlpProtobuf, kOtlpJson, kJaeger, kZipkin };

// Tells by the first keys of the text: no two formats share them.
FileKind KindOf(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || (text[begin] != '{' && text[begin] != '[')) {
    return FileKind::kOtlpProtobuf;
  }
  const std::string_view head = text.substr(begin, 64 << 10);
  // A protobuf request starts with a line feed, too (the tag of its first field), and the length
  // after it may be a bracket; but its inner tags are bytes that JSON has no place for.
  const bool binary = std::any_of(head.begin(), head.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\r' && c != '\n';
  });
  if (binary) return FileKind::kOtlpProtobuf;
  const size_t otlp = head.find("\"resourceSpans\"");
  const size_t jaeger = head.find("\"traceID\"");
  const size_t zipkin = head.find("\"traceId\"");
  if (otlp != std::string_view::npos && otlp < std::min(jaeger, zipkin)) return FileKind::kOtlpJson;
  if (jaeger != std::string_view::npos && jaeger < zipkin) return FileKind::kJaeger;
  if (zipkin != std::string_view::npos) return FileKind::kZipkin;
  return head[0] == '{' && head.find("\"data\"") == std::string_view::npos ? FileKind::kOtlpJson
                                                                           : FileKind::kJaeger;
}

class Importer {
 public:
  explicit Importer(Database& database) : database_(database) {}

  Status File(const std::string& path) {
    VARVE_ASSIGN_OR_RETURN(const std::string text, ReadAll(path));
    const auto named = [&](const Status& status) {
      return status.ok() ? status
                         : MakeStatus(status.code(), Concat(path, ": ", ToStd(status.message())));
    };
    switch (KindOf(text)) {
      case FileKind::kJaeger:
        VARVE_RETURN_IF_ERROR(named(tracing::DecodeJaegerJson(text, &batch_)));
        return Store();
      case FileKind::kZipkin:
        VARVE_RETURN_IF_ERROR(named(tracing::DecodeZipkinJson(text, &batch_)));
        return Store();
      case FileKind::kOtlpProtobuf:
        VARVE_RETURN_IF_ERROR(named(otlp::DecodeTraces(text, &batch_, &report_)));
        return Store();
      case FileKind::kOtlpJson:
        break;
    }
    // One document a line, or one in all.
    std::string_view rest = text;
    size_t line_number = 0;
    while (!rest.empty()) {
      ++line_number;
      const size_t end = rest.find('\n');
      std::string_view line = rest.substr(0, end);
      const bool whole = line_number == 1 && line.find_last_of('}') == std::string_view::npos;
      if (whole) line = rest;
      rest.remove_prefix(whole || end == std::string_view::npos ? rest.size() : end + 1);
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      auto wire = std::make_shared<std::string>();
      Status status = otlp::JsonToWire(line, otlp::kTraceRequest, wire.get());
      if (!status.ok() && line_number == 1 && !rest.empty()) {
        // A document over several lines.
        wire->clear();
        status = otlp::JsonToWire(text, otlp::kTraceRequest, wire.get());
        rest = {};
      }
      if (status.ok()) status = otlp::DecodeTraces(*wire, &batch_, &report_);
      if (!status.ok()) {
        return MakeStatus(status.code(),
                          Concat(path, ":", line_number, ": ", ToStd(status.message())));
      }
      batch_.Keep(std::move(wire));
      if (batch_.spans().size() >= kBatchSpans) VARVE_RETURN_IF_ERROR(Store());
    }
    return Store();
  }

  uint64_t spans() const { return spans_; }
  uint64_t rejected() const { return rejected_ + report_.rejected; }

 private:
  static constexpr size_t kBatchSpans = 10'000;

  Status Store() {
    if (!batch_.empty()) {
      WriteOptions write;
      write.partial = true;
      write.durability = Durability::kProcessCrash;  // the flush at the end makes all durable
      VARVE_ASSIGN_OR_RETURN(const SpanAppendResult result, database_.AppendSpans(batch_, write));
      spans_ += result.spans;
      rejected_ += result.rejected;
    }
    batch_.Clear();
    return absl::OkStatus();
  }

  Database& database_;
  SpanBatch batch_;
  otlp::DecodeReport report_;
  uint64_t spans_ = 0;
  uint64_t rejected_ = 0;
};

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
  if (loaded.database == nullptr) return Fail("--logs needs --data");
  return PrintLogs(loaded, id, std::cout);
}

int RunImportTraces(const ImportTracesCommand& command) {
  auto database = Database::Open(command.database);
  if (!database.ok()) return Fail(database.status());
  Importer importer(**database);
  for (const std::string& file : command.files) {
    if (const Status status = importer.File(file); !status.ok()) return Fail(status);
  }
  if (const Status status = (*database)->Flush(); !status.ok()) return Fail(status);
  if (const Status status = (*database)->Close(); !status.ok()) return Fail(status);
  if (command.json) {
    std::cout << "{\"spans\":" << importer.spans() << ",\"rejected\":" << importer.rejected()
              << "}\n";
  } else {
    std::cout << FormatCount(importer.spans()) << " spans imported, "
              << FormatCount(importer.rejected()) << " rejected\n";
  }
  return kOk;
}

}  // namespace varve::cli
