#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/protobuf.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/server/http/coding.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/json_decode.h"
#include "tools/varve/commands.h"
#include "tools/varve/trace_command.h"
#include "tools/varve/trace_document.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

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

enum class FileKind : uint8_t {
  kOtlpProtobuf,
  kOtlpJson,
  kJaeger,
  kZipkin,
  kZipkinV1,
  kEmptyList,
  kUnknown,
};

// Tells by the first keys of the text: no two formats share them.
FileKind KindOf(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return FileKind::kUnknown;
  if (text[begin] != '{' && text[begin] != '[') return FileKind::kOtlpProtobuf;
  const std::string_view json = text.substr(begin);
  // A protobuf request starts with a line feed, too (the tag of its first field), and the length
  // after it may be a bracket; but its inner tags are bytes that JSON has no place for.
  const std::string_view head = json.substr(0, 64 << 10);
  const bool binary = std::any_of(head.begin(), head.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' && c != '\t' && c != '\r' && c != '\n';
  });
  if (binary) return FileKind::kOtlpProtobuf;
  const size_t otlp = json.find("\"resourceSpans\"");
  const size_t jaeger = json.find("\"traceID\"");
  const size_t zipkin = json.find("\"traceId\"");
  if (otlp < std::min(jaeger, zipkin)) return FileKind::kOtlpJson;
  if (jaeger < zipkin) return FileKind::kJaeger;
  if (zipkin != std::string_view::npos) {
    return json.find("\"binaryAnnotations\"") != std::string_view::npos ? FileKind::kZipkinV1
                                                                        : FileKind::kZipkin;
  }
  // Without a span: an export of nothing is one of nothing, whatever its format.
  if (json.find("\"data\"") != std::string_view::npos) return FileKind::kJaeger;
  const size_t second = json.find_first_not_of(" \t\r\n", 1);
  const bool list = json[0] == '[' && second != std::string_view::npos && json[second] == ']' &&
                    json.find_first_not_of(" \t\r\n", second + 1) == std::string_view::npos;
  return list ? FileKind::kEmptyList : FileKind::kUnknown;
}

class Importer {
 public:
  explicit Importer(Database& database) : database_(database) {}

  /// Errors: kUnimplemented for a file of none of the formats.
  Status File(const std::string& path) {
    VARVE_ASSIGN_OR_RETURN(const std::string text, ReadAll(path));
    const auto stored = [&](const Status& decoded) {
      if (decoded.ok()) return Store();
      return MakeStatus(decoded.code(), Concat(path, ": ", ToStd(decoded.message())));
    };
    switch (KindOf(text)) {
      case FileKind::kOtlpProtobuf:
        return stored(otlp::DecodeTraces(text, &batch_, &report_));
      case FileKind::kOtlpJson:
        return OtlpJson(path, text);
      case FileKind::kJaeger:
        return stored(tracing::DecodeJaegerJson(text, &batch_));
      case FileKind::kZipkin:
        return stored(tracing::DecodeZipkinJson(text, &batch_));
      case FileKind::kZipkinV1:
        return stored(tracing::DecodeZipkinV1Json(text, &batch_));
      case FileKind::kEmptyList:
        return absl::OkStatus();
      case FileKind::kUnknown:
        break;
    }
    return MakeStatus(
        StatusCode::kUnimplemented,
        Concat(path, text.empty() ? ": the file is empty"
                                  : ": neither traces of OTLP nor Jaeger's nor Zipkin's"));
  }

  uint64_t spans() const { return spans_; }
  uint64_t rejected() const { return rejected_ + report_.rejected; }

 private:
  static constexpr size_t kBatchSpans = 10'000;

  // One document a line, or one in all.
  Status OtlpJson(const std::string& path, std::string_view text) {
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
      Status status = DecodeTraceDocument(line, wire.get(), &batch_, &report_);
      if (!status.ok() && line_number == 1 && !rest.empty()) {
        // A document over several lines.
        wire->clear();
        status = DecodeTraceDocument(text, wire.get(), &batch_, &report_);
        rest = {};
      }
      if (!status.ok()) {
        return MakeStatus(status.code(),
                          Concat(path, ":", line_number, ": ", ToStd(status.message())));
      }
      batch_.Keep(std::move(wire));
      if (batch_.spans().size() >= kBatchSpans) VARVE_RETURN_IF_ERROR(Store());
    }
    return Store();
  }

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

Status DecodeTraceDocument(std::string_view json, std::string* wire, SpanBatch* batch,
                           otlp::DecodeReport* report) {
  constexpr uint32_t kResult = 2;  // a number that the request does not use
  const otlp::FieldSchema fields[] = {
      otlp::kTraceRequest.fields[0],
      {"result", kResult, otlp::FieldKind::kMessage, false, &otlp::kTraceRequest}};
  VARVE_RETURN_IF_ERROR(otlp::JsonToWire(json, {fields}, wire));
  ingest::WireFault fault;
  fault.body = wire->data();
  ingest::WireReader reader(*wire, &fault, "document");
  while (reader.Next()) {
    std::string_view result;
    if (reader.field() != kResult) {
      if (!reader.Skip()) break;
    } else if (reader.Bytes(&result)) {
      VARVE_RETURN_IF_ERROR(otlp::DecodeTraces(result, batch, report));
    }
  }
  if (!fault.ok()) return fault.ToStatus();
  return otlp::DecodeTraces(*wire, batch, report);
}

int RunImportTraces(const ImportTracesCommand& command) {
  auto database = Database::Open(command.database);
  if (!database.ok()) return Fail(database.status());
  Importer importer(**database);
  for (const std::string& file : command.files) {
    const Status status = importer.File(file);
    if (status.ok()) continue;
    Fail(status);
    return status.code() == StatusCode::kUnimplemented ? kUsage : kFailed;
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
