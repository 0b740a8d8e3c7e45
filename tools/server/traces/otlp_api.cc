#include <algorithm>

#include "engine/base/strings.h"
#include "tools/otlp/receiver.h"
#include "tools/server/http/coding.h"
#include "tools/server/traces/trace_server.h"

namespace varve::api {
namespace {

using otlp::BodyFormat;
using otlp::Signal;

constexpr size_t kRetryAfterSeconds = 1;
constexpr std::string_view kProtobuf = "application/x-protobuf";
constexpr std::string_view kJson = "application/json";

// Codes of google.rpc.Code that the HTTP codes stand for.
int RpcCodeOf(int status) {
  switch (status) {
    case 400:
      return 3;  // INVALID_ARGUMENT
    case 408:
      return 4;  // DEADLINE_EXCEEDED
    case 413:
    case 429:
      return 8;  // RESOURCE_EXHAUSTED
    case 503:
      return 14;  // UNAVAILABLE
    case 501:
      return 12;  // UNIMPLEMENTED
    default:
      return 13;  // INTERNAL
  }
}

std::optional<BodyFormat> FormatOf(std::string_view content_type) {
  const std::string_view type = http::Trim(content_type.substr(0, content_type.find(';')));
  if (http::EqualsIgnoreCase(type, kProtobuf)) return BodyFormat::kProtobuf;
  if (http::EqualsIgnoreCase(type, kJson)) return BodyFormat::kJson;
  return std::nullopt;
}

http::Response Answer(int status, BodyFormat format, std::string body) {
  http::Response response;
  response.status = status;
  // Without a charset: the Collector compares the whole value.
  response.headers.Set("Content-Type", format == BodyFormat::kJson ? kJson : kProtobuf);
  response.body = std::move(body);
  return response;
}

http::Response Failure(int status, BodyFormat format, std::string_view message) {
  http::Response response =
      Answer(status, format, otlp::StatusBody(format, RpcCodeOf(status), message));
  if (status == 429 || status == 503) {
    response.headers.Set("Retry-After", std::to_string(kRetryAfterSeconds));
  }
  return response;
}

// What the server says before a handler runs, as a handler would have said it.
void Refuse(const http::Request& request, http::Response* response) {
  const std::optional<BodyFormat> format = FormatOf(request.headers.Get("Content-Type"));
  if (!format.has_value()) return;
  *response = Failure(response->status, *format, http::Trim(response->body));
}

/// How an answer tells of items that were taken and items that were not.
enum class Manner : uint8_t {
  kOtlp,  // 200, with a partial success
  kLoki,  // 204 without a body; 400 if something was refused, though the rest is stored
};

http::Response Export(TraceContext& context, Signal signal, Manner manner, http::Request& request) {
  const std::optional<BodyFormat> format = FormatOf(request.headers.Get("Content-Type"));
  if (!format.has_value()) {
    return http::Response::Text(
        415, "415 unsupported media type, supported: [application/json, application/x-protobuf]\n");
  }
  otlp::Receiver* const receiver = context.receiver.load(std::memory_order_acquire);
  const ingest::IngestContext* const ingest = context.base->ingest.load(std::memory_order_acquire);
  if (receiver == nullptr || ingest == nullptr) {
    return Failure(503, *format, "the store is not open yet");
  }
  http::DecodeLimits limits;
  limits.output_bytes_max = ingest->options().decoded_bytes_max;
  const std::string encoding = request.headers.Joined("Content-Encoding");
  Result<std::string> body = http::DecodeBody(encoding, std::move(request.body), limits);
  if (!body.ok()) {
    const std::string_view message = ToStd(body.status().message());
    if (body.status().code() == StatusCode::kUnimplemented) {
      return http::Response::Text(415, Concat(message, "\n"));
    }
    return Failure(body.status().code() == StatusCode::kResourceExhausted ? 413 : 400, *format,
                   message);
  }
  const otlp::ExportResult result = receiver->Export(signal, *format, *body);
  if (result.status.ok() && manner == Manner::kLoki) {
    if (result.rejected != 0) return Failure(400, *format, result.message);
    http::Response response;
    response.status = 204;
    return response;
  }
  if (result.status.ok()) {
    return Answer(200, *format,
                  otlp::ResponseBody(signal, *format, result.rejected, result.message));
  }
  const std::string_view message = ToStd(result.status.message());
  // Of a limit of the store: what is nested too deep will be so again.
  if (signal == Signal::kLogs && result.retryable &&
      result.status.code() == StatusCode::kResourceExhausted) {
    return Failure(429, *format, message);
  }
  if (result.retryable) return Failure(503, *format, message);
  return Failure(result.status.code() == StatusCode::kUnimplemented ? 501 : 400, *format, message);
}

void AddRoute(TraceContext* context, http::Router* router, std::string_view path, Signal signal,
              Manner manner) {
  router->Add(http::kPostOnly, path,
              [context, signal, manner](http::Request& request) {
                return Export(*context, signal, manner, request);
              },
              {.lane = http::Lane::kWrite, .ignore_disconnect = true, .refuse = Refuse});
}

}  // namespace

void AddOtlpRoutes(TraceContext* context, http::Router* router) {
  constexpr std::pair<std::string_view, Signal> kRoutes[] = {
      {"/v1/traces", Signal::kTraces},
      {"/v1/metrics", Signal::kMetrics},
      {"/v1/logs", Signal::kLogs},
      {"/otlp/v1/traces", Signal::kTraces},
      {"/otlp/v1/metrics", Signal::kMetrics},
      {"/api/v1/otlp/v1/metrics", Signal::kMetrics},  // Prometheus's
  };
  for (const auto& [path, signal] : kRoutes) {
    AddRoute(context, router, path, signal, Manner::kOtlp);
  }
  AddLokiOtlpRoute(context, router);
}

void AddLokiOtlpRoute(TraceContext* context, http::Router* router) {
  AddRoute(context, router, "/otlp/v1/logs", Signal::kLogs, Manner::kLoki);
}

}  // namespace varve::api
