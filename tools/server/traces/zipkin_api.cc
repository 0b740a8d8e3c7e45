#include "engine/base/strings.h"
#include "tools/server/http/coding.h"
#include "tools/server/traces/trace_server.h"
#include "tools/tracing/json_decode.h"
#include "tools/tracing/wire_formats.h"

/// Where spans come in over HTTP in other formats than OTLP: Zipkin's, and Jaeger's Thrift.
namespace varve::api {
namespace {

using Decode = Status (*)(std::string_view, SpanBatch*);

http::Response Accept(TraceContext& context, http::Request& request, Decode decode) {
  tracing::TraceIngest* const traces = context.ingest.load(std::memory_order_acquire);
  const ingest::IngestContext* const ingest = context.base->ingest.load(std::memory_order_acquire);
  const auto busy = [](std::string_view why) {
    http::Response response = http::Response::Text(503, Concat(why, "\n"));
    response.headers.Set("Retry-After", "1");
    return response;
  };
  if (traces == nullptr || ingest == nullptr) return busy("the store is not open yet");
  http::DecodeLimits limits;
  limits.output_bytes_max = ingest->options().decoded_bytes_max;
  const Result<std::string> body =
      http::DecodeBody(request.headers.Joined("Content-Encoding"), std::move(request.body), limits);
  if (!body.ok()) {
    const int status = body.status().code() == StatusCode::kResourceExhausted ? 413
                       : body.status().code() == StatusCode::kUnimplemented   ? 415
                                                                              : 400;
    return http::Response::Text(status, Concat(ToStd(body.status().message()), "\n"));
  }
  SpanBatch batch;
  if (const Status status = decode(*body, &batch); !status.ok()) {
    return http::Response::Text(400, Concat(ToStd(status.message()), "\n"));
  }
  http::Response accepted;
  accepted.status = 202;
  if (batch.empty()) return accepted;
  const Result<SpanAppendResult> appended = traces->Append(batch);
  if (!appended.ok()) {
    const std::string_view message = ToStd(appended.status().message());
    if (otlp::IsRetryable(appended.status())) return busy(message);
    return http::Response::Text(appended.status().code() == StatusCode::kUnimplemented ? 501 : 400,
                                Concat(message, "\n"));
  }
  if (appended->spans == 0 && appended->rejected > 0) {
    const std::string why = appended->rejections.empty()
                                ? "refused"
                                : std::string(ToString(appended->rejections[0].reason));
    return http::Response::Text(400, Concat("no span could be stored: ", why, "\n"));
  }
  return accepted;
}

std::string MediaType(const http::Request& request) {
  const std::string_view value = request.headers.Get("Content-Type");
  std::string type(http::Trim(value.substr(0, value.find(';'))));
  for (char& c : type) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return type;
}

bool IsThrift(std::string_view type) {
  return type == "application/x-thrift" || type == "application/vnd.apache.thrift.binary";
}

http::Response UnsupportedType(std::string_view type) {
  return http::Response::Text(415, Concat("unsupported Content-Type ", GoQuote(type), "\n"));
}

}  // namespace

void AddZipkinRoutes(TraceContext* context, http::Router* router) {
  constexpr http::RouteOptions kWrite{.lane = http::Lane::kWrite, .ignore_disconnect = true};
  router->Add(
      http::kPostOnly, "/api/v2/spans",
      [context](http::Request& request) {
        const std::string type = MediaType(request);
        if (type == "application/x-protobuf") {
          return Accept(*context, request, tracing::DecodeZipkinProtobuf);
        }
        if (type.empty() || type == "application/json") {
          return Accept(*context, request, tracing::DecodeZipkinJson);
        }
        return UnsupportedType(type);
      },
      kWrite);
  router->Add(
      http::kPostOnly, "/api/v1/spans",
      [context](http::Request& request) {
        const std::string type = MediaType(request);
        if (IsThrift(type)) return Accept(*context, request, tracing::DecodeZipkinThrift);
        if (type.empty() || type == "application/json") {
          return Accept(*context, request, tracing::DecodeZipkinV1Json);
        }
        return UnsupportedType(type);
      },
      kWrite);
  // Jaeger's collector. Searching is a GET of the same path.
  router->Add(
      http::kPostOnly, "/api/traces",
      [context](http::Request& request) {
        const std::string type = MediaType(request);
        if (!IsThrift(type)) return UnsupportedType(type);
        return Accept(*context, request, tracing::DecodeJaegerThriftBatch);
      },
      kWrite);
}

}  // namespace varve::api
