// Clients of Jaeger over the ports that they know: an agent's datagrams of both protocols, the
// collector's HTTP and gRPC, remote sampling with a file that changes, queries by gRPC.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "engine/base/strings.h"
#include "tests/otlp/grpc_client.h"
#include "tests/otlp/thrift_writer.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/http/client.h"
#include "tools/tracing/jaeger_json.h"
#include "tools/tracing/jaeger_protobuf.h"

namespace varve::api {
namespace {

using ::testing::HasSubstr;
using varve::testing::GrpcAnswer;
using varve::testing::GrpcClient;
using varve::testing::kJaegerExpected;

/// "127.0.0.1:1" as a number.
uint16_t PortOf(const std::string& address) {
  return static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
}

void SendDatagram(const std::string& address, std::string_view bytes) {
  const int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_GE(socket, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(PortOf(address));
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  EXPECT_EQ(sendto(socket, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                   sizeof to),
            static_cast<ssize_t>(bytes.size()));
  close(socket);
}

// The trace of `kJaegerExpected` as the API answers it.
std::string ExpectedAnswer() {
  return Concat(R"({"data":)", kJaegerExpected,
                R"(,"total":0,"limit":0,"offset":0,"errors":null})");
}

class Ports : public ::testing::Test {
 protected:
  Ports() {
    WriteStrategies(R"({"default_strategy":{"type":"probabilistic","param":0.5}})");
    TraceOptions options = Server::Defaults();
    options.span_metrics_interval = std::chrono::milliseconds(20);  // looks at the file as often
    options.sampling_file = strategies_;
    options.grpc_ports.push_back({"grpc"});
    options.compact_ports.push_back({"compact"});
    options.binary_ports.push_back({"binary"});
    options.sampling_ports.push_back({"sampling"});
    server_ = std::make_unique<Server>(options);
    const Status status = server_->traces().Listen();
    EXPECT_TRUE(status.ok()) << status;
    for (const auto& [name, address] : server_->traces().addresses()) addresses_[name] = address;
    grpc_ = std::make_unique<GrpcClient>(addresses_["grpc"]);
  }
  ~Ports() override {
    grpc_.reset();
    server_->traces().Shutdown(std::chrono::milliseconds(0));
    server_.reset();
    std::filesystem::remove(strategies_);
  }

  void WriteStrategies(std::string_view text) {
    // In one step, as a reader could come between.
    std::ofstream(strategies_ + ".new") << text;
    std::filesystem::rename(strategies_ + ".new", strategies_);
  }
  http::ClientResponse GetSampling(std::string path) {
    http::ClientRequest request;
    request.path = std::move(path);
    auto response = http::Fetch("127.0.0.1", PortOf(addresses_["sampling"]), request);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *std::move(response) : http::ClientResponse();
  }
  /// Asks until `what` is in the answer or half a minute has passed; sends `again` meanwhile.
  template <typename Ask, typename Again>
  std::string Wait(std::string_view what, Ask ask, Again again) {
    std::string body;
    for (int i = 0; i < 1500; ++i) {
      body = ask();
      if (body.find(what) != std::string::npos) break;
      again();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return body;
  }

  void CheckAgent(const std::string& port, std::string_view bytes) {
    // What is none is counted and forgotten.
    SendDatagram(addresses_[port], "\x82\x81");
    SendDatagram(addresses_[port], "");
    const auto send = [&] { SendDatagram(addresses_[port], bytes); };
    send();
    const auto ask = [&] { return server_->Get("/api/traces/1122").body; };
    EXPECT_EQ(Wait("\"op\"", ask, send), ExpectedAnswer());
  }

  const std::string strategies_ =
      Concat(::testing::TempDir(), "varve_strategies_", getpid(), ".json");
  std::unique_ptr<Server> server_;
  std::map<std::string, std::string> addresses_;
  std::unique_ptr<GrpcClient> grpc_;
};

TEST_F(Ports, AgentsDatagramsOfTheCompactProtocol) {
  CheckAgent("compact", varve::testing::CompactDatagram());
}
TEST_F(Ports, AgentsDatagramsOfTheBinaryProtocol) {
  CheckAgent("binary", varve::testing::BinaryDatagram());
}

TEST_F(Ports, CollectorOverHttpAndGrpc) {
  const std::string batch = varve::testing::JaegerBatch(varve::testing::BinaryThriftWriter());
  for (const char* const type : {"application/x-thrift", "application/vnd.apache.thrift.binary"}) {
    EXPECT_EQ(server_->Post("/api/traces?format=jaeger.thrift", batch, type).status, 202);
  }
  EXPECT_EQ(server_->Get("/api/traces/1122").body, ExpectedAnswer());

  // The same span as model.proto has it, of another trace: PostSpansRequest{Batch{spans}}.
  SpanBatch spans;
  ASSERT_TRUE(tracing::DecodeJaegerJson(kJaegerExpected, &spans).ok());
  SpanBatch::Span span = spans.spans()[0];
  span.trace_id.bytes[0] = 9;
  std::string request;
  {
    const otlp::Submessage message(1, &request);
    const otlp::Submessage inner(1, &request);
    tracing::AppendJaegerSpan(spans, span, &request);
  }
  const GrpcAnswer posted = grpc_->Call("/jaeger.api_v2.CollectorService/PostSpans", request,
                                        varve::testing::GrpcCoding::kGzip, 1);
  EXPECT_EQ(posted.code, 0) << posted.message;
  const std::string id = ToString(span.trace_id);
  const std::string stored = server_->Get(Concat("/api/traces/", id)).body;
  EXPECT_THAT(stored, HasSubstr(R"("operationName":"op")"));
  EXPECT_THAT(stored, HasSubstr(R"("key":"bin","type":"binary","value":"AQI=")"));

  // Read back by both generations of the query service.
  std::string by_bytes;
  otlp::AppendBytesField(
      1, std::string_view(reinterpret_cast<const char*>(span.trace_id.bytes.data()), 16),
      &by_bytes);
  EXPECT_EQ(grpc_->Stream("/jaeger.api_v2.QueryService/GetTrace", by_bytes).messages.size(), 1u);
  std::string by_hex;
  otlp::AppendBytesField(1, id, &by_hex);
  EXPECT_EQ(grpc_->Stream("/jaeger.api_v3.QueryService/GetTrace", by_hex).messages.size(), 1u);
  EXPECT_EQ(grpc_->Call("/jaeger.api_v3.QueryService/GetServices", "").body,
            "\x0a\x03"
            "api");
  EXPECT_EQ(grpc_->Call("/grpc.health.v1.Health/Check", "").body, "\x08\x01");  // SERVING
}

TEST_F(Ports, SamplingFollowsItsFile) {
  constexpr std::string_view kHalf =
      R"({"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0.5}})";
  for (const std::string path : {"/sampling?service=x", "/api/sampling?service=x", "/?service=x"}) {
    EXPECT_EQ(GetSampling(path).body, kHalf) << path;
  }
  EXPECT_EQ(GetSampling("/sampling").status, 400);
  EXPECT_EQ(GetSampling("/sampling?service=x&service=y").status, 400);
  EXPECT_EQ(GetSampling("/api/traces").status, 404);  // sampling only
  std::string request;
  otlp::AppendBytesField(1, "x", &request);
  const std::string method = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy";
  const std::string before = grpc_->Call(method, request).body;
  EXPECT_NE(before, "");
  WriteStrategies(R"({"service_strategies":[{"service":"x","type":"ratelimiting","param":7}]})");
  const auto ask = [&] { return GetSampling("/sampling?service=x").body; };
  EXPECT_THAT(Wait("RATE_LIMITING", ask, [] {}), HasSubstr(R"("maxTracesPerSecond":7)"));
  EXPECT_NE(grpc_->Call(method, request).body, before);
  // What cannot be used changes nothing.
  WriteStrategies("{");
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_THAT(ask(), HasSubstr(R"("maxTracesPerSecond":7)"));
}

}  // namespace
}  // namespace varve::api
