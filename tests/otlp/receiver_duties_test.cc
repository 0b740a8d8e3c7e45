// The duties of an OTLP receiver as the protocol lists them, over real ports: HTTP in both
// encodings, and gRPC; each for all three signals.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>

#include <future>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tests/otlp/grpc_client.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/receiver.h"
#include "tools/server/grpc/grpc_server.h"
#include "tools/server/http/client.h"
#include "tools/server/http/coding.h"
#include "tools/server/http/server.h"

namespace varve::api {
namespace {

using otlp::BodyFormat;
using otlp::Signal;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using varve::testing::GrpcAnswer;
using varve::testing::GrpcClient;
using varve::testing::GrpcCoding;

/// A signal: where it is sent, and bodies of it in JSON.
struct SignalCase {
  Signal signal;
  std::string path;
  std::string method;
  const otlp::MessageSchema* schema;
  std::string good;
  std::string partial;         // of two items the second one cannot be stored
  std::string rejected;        // what the answer's JSON calls its count
  std::string unknown_fields;  // as `good`, with fields of some later version
  std::string enum_by_name;    // what JSON may not do; empty: the signal has no place for it
};

std::vector<SignalCase> Signals(int64_t now_ns) {
  const auto span = [&](std::string_view id, std::string_view more) {
    return Concat(R"({"traceId":")", kTrace, R"(","spanId":")", id,
                  R"(","name":"op","startTimeUnixNano":")", now_ns, "\"", more, "}");
  };
  const auto traces = [](std::string_view spans, std::string_view more) {
    return Concat(R"({"resourceSpans":[{"scopeSpans":[{"spans":[)", spans, "]", more, "}]", more,
                  "}]", more, "}");
  };
  const auto point = [](int64_t time_ns) {
    return Concat(R"({"asInt":"1","timeUnixNano":")", time_ns, "\"}");
  };
  const auto metrics = [](std::string_view points, std::string_view more) {
    return Concat(
        R"({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[)",
        points, "]", more, "}}]", more, "}]}]}");
  };
  const auto record = [&](std::string_view line, std::string_view more) {
    return Concat(R"({"timeUnixNano":")", now_ns, R"(","body":{"stringValue":")", line, "\"}", more,
                  "}");
  };
  const auto logs = [](std::string_view records, std::string_view more) {
    return Concat(R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[)", records, "]", more, "}]}]}");
  };
  constexpr std::string_view kMore = R"(,"fromTheFuture":{"a":[1,{"b":null}]})";
  constexpr std::string_view kFirst = "0000000000000001";
  constexpr int64_t kHour = 3'600'000'000'000;
  constexpr std::string_view kMethod = "/opentelemetry.proto.collector.";
  return {
      {Signal::kTraces, "/v1/traces", Concat(kMethod, "trace.v1.TraceService/Export"),
       &otlp::kTraceRequest, traces(span(kFirst, ""), ""),
       traces(Concat(span(kFirst, ""), ",", span("0000000000000000", "")), ""), "rejectedSpans",
       traces(span(kFirst, kMore), kMore),
       traces(span(kFirst, R"(,"kind":"SPAN_KIND_SERVER")"), "")},
      {Signal::kMetrics, "/v1/metrics", Concat(kMethod, "metrics.v1.MetricsService/Export"),
       &otlp::kMetricRequest, metrics(point(now_ns), ""),
       metrics(Concat(point(now_ns), ",", point(now_ns + kHour)), ""), "rejectedDataPoints",
       metrics(point(now_ns), kMore), ""},
      {Signal::kLogs, "/v1/logs", Concat(kMethod, "logs.v1.LogsService/Export"), &otlp::kLogRequest,
       logs(record("line", ""), ""),
       logs(Concat(record("line", ""), ",", record("refuse me", "")), ""), "rejectedLogRecords",
       logs(record("line", kMore), kMore),
       logs(record("line", R"(,"severityNumber":"SEVERITY_NUMBER_INFO")"), "")},
  };
}

std::string WireOf(const SignalCase& signal, std::string_view json) {
  std::string wire;
  const Status status = otlp::JsonToWire(json, *signal.schema, &wire);
  EXPECT_TRUE(status.ok()) << status << " " << json;
  return wire;
}

std::string Packed(http::Coding coding, std::string_view bytes) {
  std::string out;
  EXPECT_TRUE(http::Encoder::Make(coding)->Write(bytes, true, &out).ok());
  return out;
}

/// A server with its ports, and its clients.
class ReceiverDuties : public ::testing::Test {
 protected:
  static constexpr size_t kBodyBytesMax = 3 << 20;  // as sent

  ReceiverDuties() : server_(MakeOptions()) {
    EXPECT_TRUE(server_.traces().Listen().ok());
    http::ServerOptions options;
    options.port = 0;
    options.body_bytes_max = kBodyBytesMax;
    options.bodies_bytes_max = 2 << 20;
    auto http = http::Server::Start(options, &server_.router(), nullptr);
    EXPECT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    grpc_ = std::make_unique<GrpcClient>(server_.traces().addresses()[0].second);
    signals_ = Signals(server_.clock().NowMs() * 1'000'000);
  }
  ~ReceiverDuties() override {
    grpc_.reset();
    server_.traces().Shutdown(std::chrono::milliseconds(0));
    http_.reset();
  }

  TraceOptions MakeOptions() {
    TraceOptions options = Server::Defaults();
    options.grpc_ports.push_back({"otlp"});
    options.append_logs = [this](const LogBatch& batch) -> Result<otlp::LogOutcome> {
      VARVE_RETURN_IF_ERROR(pressure_);
      otlp::LogOutcome outcome;
      outcome.accepted = batch.entries().size();
      for (const auto& entry : batch.entries()) {
        if (entry.line.starts_with("refuse")) ++outcome.rejected;
      }
      if (outcome.rejected != 0) outcome.message = "asked to";
      return outcome;
    };
    return options;
  }

  http::ClientResponse Send(http::Method method, std::string_view path, std::string body,
                            const std::vector<std::pair<std::string, std::string>>& headers) {
    http::ClientRequest request;
    request.method = method;
    request.path = path;
    request.body = std::move(body);
    for (const auto& [name, value] : headers) {
      if (!value.empty()) request.headers.Add(name, value);
    }
    auto response = http::Fetch("127.0.0.1", http_->port(), request, std::chrono::seconds(120));
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : http::ClientResponse();
  }
  http::ClientResponse Post(std::string_view path, std::string_view type, std::string body,
                            std::string_view encoding = {}) {
    return Send(http::Method::kPost, path, std::move(body),
                {{"Content-Type", std::string(type)}, {"Content-Encoding", std::string(encoding)}});
  }

  /// Calls `check` for every signal in both encodings of HTTP.
  template <typename Check>
  void ForEachEncoding(Check check) {
    for (const SignalCase& signal : signals_) {
      for (const BodyFormat format : {BodyFormat::kJson, BodyFormat::kProtobuf}) {
        const std::string type = format == BodyFormat::kJson ? kJson : kProtobuf;
        SCOPED_TRACE(Concat(signal.path, " ", type));
        check(signal, format, type);
      }
    }
  }
  static std::string In(const SignalCase& signal, BodyFormat format, const std::string& json) {
    return format == BodyFormat::kJson ? json : WireOf(signal, json);
  }

  Server server_;
  std::unique_ptr<http::Server> http_;
  std::unique_ptr<GrpcClient> grpc_;
  std::vector<SignalCase> signals_;
  Status pressure_;  // what storing log entries ends with
};

// A google.rpc.Status in the encoding of the request.
void ExpectStatus(const http::ClientResponse& response, BodyFormat format, int status, int code) {
  EXPECT_EQ(response.status, status);
  if (format == BodyFormat::kJson) {
    EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
    EXPECT_THAT(response.body, StartsWith(Concat(R"({"code":)", code, R"(,"message":")")));
  } else {
    EXPECT_EQ(response.headers.Get("Content-Type"), "application/x-protobuf");
    EXPECT_THAT(response.body, StartsWith(Concat("\x08", std::string(1, static_cast<char>(code)),
                                                 "\x12")));  // code = 1, message = 2
  }
  EXPECT_EQ(response.headers.Has("Retry-After"), status == 429 || status == 503);
}

TEST_F(ReceiverDuties, OverHttp) {
  struct Duty {
    std::string_view duty;
    std::string SignalCase::* body;  // null: an empty body
    std::string_view type_suffix;    // of the Content-Type
    std::string_view encoding;
    bool partial;
  };
  const Duty duties[] = {
      {"an empty request succeeds", nullptr, "", "", false},
      {"a good request succeeds", &SignalCase::good, "", "", false},
      {"the same request again does: delivery is at-least-once", &SignalCase::good, "", "", false},
      {"a type with parameters is answered without", &SignalCase::good, "; charset=utf-8", "",
       false},
      {"unknown fields are passed over", &SignalCase::unknown_fields, "", "", false},
      {"gzip", &SignalCase::good, "", "gzip", false},
      {"deflate", &SignalCase::good, "", "deflate", false},
      {"zlib, deflate's name with the Collector", &SignalCase::good, "", "zlib", false},
      {"zstd", &SignalCase::good, "", "zstd", false},
      {"snappy", &SignalCase::good, "", "snappy", false},
      {"identity, said aloud", &SignalCase::good, "", "identity", false},
      {"what cannot be stored is counted, the rest stored", &SignalCase::partial, "", "", true},
  };
  for (const Duty& duty : duties) {
    SCOPED_TRACE(duty.duty);
    ForEachEncoding([&](const SignalCase& signal, BodyFormat format, const std::string& type) {
      const bool is_json = format == BodyFormat::kJson;
      std::string body;
      if (duty.body != nullptr) body = In(signal, format, signal.*duty.body);
      if (duty.body == nullptr && is_json) body = "{}";
      if (duty.encoding == "gzip") body = Packed(http::Coding::kGzip, body);
      if (duty.encoding == "zstd") body = Packed(http::Coding::kZstd, body);
      if (duty.encoding == "deflate" || duty.encoding == "zlib") {
        body = Packed(http::Coding::kDeflate, body);
      }
      if (duty.encoding == "snappy") {
        std::string packed;
        snappy::Compress(body.data(), body.size(), &packed);
        body = packed;
      }
      const http::ClientResponse response =
          Post(signal.path, Concat(type, duty.type_suffix), body, duty.encoding);
      EXPECT_EQ(response.status, 200);
      // The Collector compares the whole value: nothing may be appended to it.
      EXPECT_EQ(response.headers.Get("Content-Type"), type);
      if (!duty.partial) {
        EXPECT_EQ(response.body, is_json ? R"({"partialSuccess":{}})" : "");
      } else if (is_json) {
        EXPECT_THAT(response.body, StartsWith(Concat(R"({"partialSuccess":{")", signal.rejected,
                                                     R"(":"1","errorMessage":")")));
      } else {
        EXPECT_EQ(response.body[0], '\x0a');                // partial_success = 1
        EXPECT_EQ(response.body.substr(2, 2), "\x08\x01");  // rejected = 1
        EXPECT_EQ(response.body[4], '\x12');                // error_message = 2
      }
      EXPECT_LE(response.body.size(), 64u << 10);  // what the Collector reads
    });
  }
  // What came several times is there once.
  const http::ClientResponse trace =
      Send(http::Method::kGet, Concat("/api/traces/", kTrace), "", {});
  const size_t first = trace.body.find("\"spanID\"");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(trace.body.find("\"spanID\"", first + 1), std::string::npos);
}

TEST_F(ReceiverDuties, RefusalsOverHttp) {
  // 40 MiB of what compresses well are 40 KiB on the wire.
  const std::string bomb = Packed(http::Coding::kGzip, std::string(40 << 20, ' '));
  const std::string large(kBodyBytesMax + 1, ' ');
  const std::string many(kBodyBytesMax - 1, ' ');  // more than all bodies may have together
  struct Refusal {
    std::string_view what;
    std::string body;
    std::string_view encoding;
    int status;
    int code;
  };
  const Refusal refusals[] = {
      {"bad data", "\xff", "", 400, 3},
      {"bad data under a good coding", Packed(http::Coding::kZstd, "\xff"), "zstd", 400, 3},
      {"a body that is not of its coding", "plain", "gzip", 400, 3},
      {"too large when decompressed", bomb, "gzip", 413, 8},
      {"too large as sent", large, "", 413, 8},
      {"no room for its body now", many, "", 503, 14},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.what);
    ForEachEncoding([&](const SignalCase& signal, BodyFormat format, const std::string& type) {
      ExpectStatus(Post(signal.path, type, refusal.body, refusal.encoding), format, refusal.status,
                   refusal.code);
    });
  }
  for (const SignalCase& signal : signals_) {
    SCOPED_TRACE(signal.path);
    // Names of enums are not OTLP's JSON, nor are names with underscores, which count as unknown.
    if (!signal.enum_by_name.empty()) {
      ExpectStatus(Post(signal.path, kJson, signal.enum_by_name), BodyFormat::kJson, 400, 3);
    }
    // What has no encoding that an answer could be in is answered with text.
    for (const std::string_view type : {"text/plain", "application/grpc", ""}) {
      const http::ClientResponse response = Post(signal.path, type, signal.good);
      EXPECT_EQ(response.status, 415) << type;
      EXPECT_THAT(std::string(response.headers.Get("Content-Type")), StartsWith("text/plain"));
    }
    EXPECT_EQ(Post(signal.path, kJson, signal.good, "br").status, 415);
    // Nothing that may be tried again.
    const std::string deep =
        Concat("{\"x\":", std::string(100'000, '['), std::string(100'000, ']'), "}");
    ExpectStatus(Post(signal.path, kJson, deep), BodyFormat::kJson, 400, 3);
    const http::ClientResponse get = Send(http::Method::kGet, signal.path, "", {});
    EXPECT_EQ(get.status, 405);
    EXPECT_THAT(std::string(get.headers.Get("Content-Type")), StartsWith("text/plain"));
    EXPECT_THAT(std::string(get.headers.Get("Allow")), HasSubstr("POST"));
    // CORS is off: no page of another origin may send, or read an answer.
    const http::ClientResponse page =
        Send(http::Method::kPost, signal.path, signal.good,
             {{"Content-Type", kJson}, {"Origin", "https://page.example"}});
    EXPECT_EQ(page.status, 403);
    EXPECT_FALSE(page.headers.Has("Access-Control-Allow-Origin"));
    const http::ClientResponse preflight =
        Send(http::Method::kOptions, signal.path, "",
             {{"Origin", "https://page.example"}, {"Access-Control-Request-Method", "POST"}});
    EXPECT_FALSE(preflight.headers.Has("Access-Control-Allow-Origin"));
  }
}

TEST_F(ReceiverDuties, PressureOverHttpIsRetryable) {
  // A limit of the store for log entries: come back later.
  pressure_ = MakeStatus(StatusCode::kResourceExhausted, "too fast");
  const SignalCase& logs = signals_[2];
  ExpectStatus(Post(logs.path, kJson, logs.good), BodyFormat::kJson, 429, 8);
  // A store that cannot write: never 500, which would lose data.
  ASSERT_TRUE(server_.database().Close().ok());
  pressure_ = MakeStatus(StatusCode::kInternal, "closed");
  ForEachEncoding([&](const SignalCase& signal, BodyFormat format, const std::string& type) {
    ExpectStatus(Post(signal.path, type, In(signal, format, signal.good)), format, 503, 14);
  });
  // Nor one that is not open, or any more.
  server_.traces().Close();
  ForEachEncoding([&](const SignalCase& signal, BodyFormat format, const std::string& type) {
    ExpectStatus(Post(signal.path, type, In(signal, format, signal.good)), format, 503, 14);
  });
}

TEST_F(ReceiverDuties, OverGrpc) {
  const std::string zeros(1 << 20, '\0');
  for (const SignalCase& signal : signals_) {
    SCOPED_TRACE(signal.method);
    const std::string good = WireOf(signal, signal.good);
    std::string unknown = good;
    unknown += "\x7a\x03xyz";  // field 15
    struct Duty {
      std::string_view duty;
      std::string_view body;
      GrpcCoding coding;
      size_t repeat;
      int code;
    };
    const Duty duties[] = {
        {"an empty request succeeds", "", GrpcCoding::kIdentity, 1, 0},
        {"a good request succeeds", good, GrpcCoding::kIdentity, 1, 0},
        {"gzip", good, GrpcCoding::kGzip, 1, 0},
        {"gzip of what compresses", good, GrpcCoding::kGzip, 50, 0},
        {"deflate of what compresses", good, GrpcCoding::kDeflate, 50, 0},
        {"unknown fields are passed over", unknown, GrpcCoding::kIdentity, 1, 0},
        {"bad data", "\xff", GrpcCoding::kIdentity, 1, 3},
        {"bad data of a coding", "\xff", GrpcCoding::kGzip, 1000, 3},
        {"too large as sent", zeros, GrpcCoding::kIdentity, 5, 8},
        {"too large when decompressed", zeros, GrpcCoding::kGzip, 5, 8},
        {"too large when decompressed", zeros, GrpcCoding::kDeflate, 5, 8},
    };
    for (const Duty& duty : duties) {
      SCOPED_TRACE(duty.duty);
      const GrpcAnswer answer = grpc_->Call(signal.method, duty.body, duty.coding, duty.repeat);
      EXPECT_EQ(answer.code, duty.code) << answer.message;
      EXPECT_EQ(answer.body, "");
      EXPECT_EQ(answer.message.empty(), duty.code == 0);
      // RESOURCE_EXHAUSTED without RetryInfo: the same message will never fit.
      EXPECT_THAT(answer.details, Not(HasSubstr("RetryInfo")));
    }
    const GrpcAnswer partial = grpc_->Call(signal.method, WireOf(signal, signal.partial));
    EXPECT_EQ(partial.code, 0);
    ASSERT_GT(partial.body.size(), 5u);
    EXPECT_EQ(partial.body[0], '\x0a');
    EXPECT_EQ(partial.body.substr(2, 2), "\x08\x01");
    EXPECT_EQ(partial.body[4], '\x12');
  }
  EXPECT_EQ(grpc_->Call("/opentelemetry.proto.collector.trace.v1.TraceService/Import", "").code,
            12);
  // Pressure: RESOURCE_EXHAUSTED with RetryInfo, UNAVAILABLE for a store that cannot write.
  const SignalCase& logs = signals_[2];
  pressure_ = MakeStatus(StatusCode::kResourceExhausted, "too fast");
  const GrpcAnswer busy = grpc_->Call(logs.method, WireOf(logs, logs.good));
  EXPECT_EQ(busy.code, 8);
  EXPECT_THAT(busy.details, HasSubstr("type.googleapis.com/google.rpc.RetryInfo"));
  ASSERT_TRUE(server_.database().Close().ok());
  pressure_ = MakeStatus(StatusCode::kInternal, "closed");
  for (const SignalCase& signal : signals_) {
    EXPECT_EQ(grpc_->Call(signal.method, WireOf(signal, signal.good)).code, 14) << signal.method;
  }
  server_.traces().Close();
  for (const SignalCase& signal : signals_) {
    EXPECT_EQ(grpc_->Call(signal.method, WireOf(signal, signal.good)).code, 14) << signal.method;
  }
}

TEST(ReceiverPressure, CallsThatFindNoThreadAreAskedToRetry) {
  std::promise<void> release;
  const std::shared_future<void> released = release.get_future().share();
  rpc::ServerOptions options;
  options.ports.push_back({"otlp"});
  options.threads = 1;
  options.queue_max = 1;
  rpc::Methods methods;
  methods["/test/Wait"].unary = [released](std::string_view, std::string*) {
    released.wait();
    return rpc::CallStatus();
  };
  auto server = rpc::Server::Start(options, std::move(methods));
  ASSERT_TRUE(server.ok()) << server.status();
  GrpcClient client((*server)->addresses()[0].second);
  // One runs and one waits, so at least one of three is sent away; the others end well.
  std::vector<std::future<GrpcAnswer>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(std::async(std::launch::async, [&] { return client.Call("/test/Wait", ""); }));
  }
  size_t refused = 0;
  const auto look = [&](std::future<GrpcAnswer>& call) {
    const GrpcAnswer answer = call.get();
    if (answer.code == 0) return;
    ++refused;
    EXPECT_EQ(answer.code, 8) << answer.message;
    EXPECT_THAT(answer.details, HasSubstr("google.rpc.RetryInfo"));
  };
  while (refused == 0) {
    for (auto& call : calls) {
      if (call.valid() &&
          call.wait_for(std::chrono::milliseconds(10)) == std::future_status::ready) {
        look(call);
      }
    }
  }
  release.set_value();
  for (auto& call : calls) {
    if (call.valid()) look(call);
  }
  EXPECT_LE(refused, 2u);
}

}  // namespace
}  // namespace varve::api
