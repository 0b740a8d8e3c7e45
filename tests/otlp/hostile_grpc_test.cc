// What means harm, over the gRPC port: each gets a bounded answer that names its fault, and the
// store stays whole.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <limits>

#include "engine/base/strings.h"
#include "tests/otlp/grpc_client.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"

namespace varve::api {
namespace {

using otlp::AppendBytesField;
using otlp::AppendFixed64Field;
using otlp::Submessage;
using ::testing::HasSubstr;
using varve::testing::GrpcAnswer;
using varve::testing::GrpcClient;
using varve::testing::GrpcCoding;

constexpr int kOk = 0;
constexpr int kInvalidArgument = 3;
constexpr int kNotFound = 5;
constexpr int kResourceExhausted = 8;

const std::string kExport = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const std::string kPostSpans = "/jaeger.api_v2.CollectorService/PostSpans";
const std::string kGetTrace = "/jaeger.api_v2.QueryService/GetTrace";
const std::string kGetTraceV3 = "/jaeger.api_v3.QueryService/GetTrace";
const std::string kFindTraces = "/jaeger.api_v3.QueryService/FindTraces";

/// The most memory that this process has had.
size_t PeakBytes() {
  size_t kilobytes = 0;
  if (FILE* const file = std::fopen("/proc/self/status", "r")) {
    char line[256];
    while (std::fgets(line, sizeof line, file) != nullptr) {
      if (std::sscanf(line, "VmHWM: %zu", &kilobytes) == 1) break;
    }
    std::fclose(file);
  }
  return kilobytes << 10;
}

std::string Hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(static_cast<uint8_t>(c)));
    out += digits;
  }
  return out;
}

struct SpanParts {
  std::string trace_id = std::string(16, '\x31');
  std::string span_id = std::string(8, '\x01');
  uint64_t start_ns = 1'700'000'000'000'000'000;
  uint64_t end_ns = 1'700'000'000'000'000'001;
  std::string attribute;  // an AnyValue
};

/// A request of one service and these spans.
std::string Request(const std::vector<SpanParts>& spans) {
  std::string out;
  {
    const Submessage resource_spans(1, &out);
    const Submessage scope_spans(2, &out);
    for (const SpanParts& span : spans) {
      const Submessage message(2, &out);
      AppendBytesField(1, span.trace_id, &out);
      AppendBytesField(2, span.span_id, &out);
      AppendBytesField(5, "op", &out);
      AppendFixed64Field(7, span.start_ns, &out);
      AppendFixed64Field(8, span.end_ns, &out);
      if (span.attribute.empty()) continue;
      const Submessage attribute(9, &out);
      AppendBytesField(1, "key", &out);
      AppendBytesField(2, span.attribute, &out);
    }
  }
  return out;
}

class HostileGrpc : public ::testing::Test {
 protected:
  HostileGrpc() : server_(Options()) {
    EXPECT_TRUE(server_.traces().Listen().ok());
    client_ = std::make_unique<GrpcClient>(server_.traces().addresses()[0].second);
  }
  /// Whatever a test did: the store is whole, and good requests are served.
  ~HostileGrpc() override {
    SpanParts good;
    good.trace_id = std::string(16, '\x7f');
    EXPECT_EQ(client_->Call(kExport, Request({good})).code, kOk);
    EXPECT_EQ(SpansOf(good.trace_id), 1u);
    EXPECT_TRUE(server_.database().Compact().ok());
    const auto damage = server_.database().Verify();
    EXPECT_TRUE(damage.ok() && damage->empty());
    EXPECT_EQ(SpansOf(good.trace_id), 1u);
    client_.reset();
    server_.traces().Shutdown(std::chrono::milliseconds(0));
  }
  static TraceOptions Options() {
    TraceOptions options = Server::Defaults();
    options.grpc_ports.push_back({"grpc"});
    return options;
  }

  /// Reads a trace as a client does that takes no message of more than 4 MiB.
  size_t SpansOf(std::string_view trace_id) {
    std::string request;
    AppendBytesField(1, Hex(trace_id), &request);
    const GrpcAnswer answer = client_->Stream(kGetTraceV3, request);
    EXPECT_TRUE(answer.code == kOk || answer.code == kNotFound) << answer.message;
    size_t spans = 0;
    for (const std::string& message : answer.messages) {
      SpanBatch batch;
      otlp::DecodeReport report;
      EXPECT_TRUE(otlp::DecodeTraces(message, &batch, &report).ok());
      spans += batch.spans().size();
    }
    return spans;
  }

  Server server_;
  std::unique_ptr<GrpcClient> client_;
};

TEST_F(HostileGrpc, BombsAreNotInflated) {
  // An eighth of a million bytes on the wire, 128 MiB behind them.
  const std::string zeros(1 << 20, '\0');
  const size_t before = PeakBytes();
  for (const GrpcCoding coding : {GrpcCoding::kGzip, GrpcCoding::kDeflate}) {
    for (const std::string& method : {kExport, kPostSpans}) {
      const GrpcAnswer answer = client_->Call(method, zeros, coding, 128);
      EXPECT_EQ(answer.code, kResourceExhausted) << answer.message;
    }
  }
  EXPECT_LT(PeakBytes() - before, 64u << 20);
  for (const std::string& method : {kExport, kPostSpans, kGetTrace}) {
    const GrpcAnswer answer = client_->Call(method, zeros, GrpcCoding::kIdentity, 5);
    EXPECT_EQ(answer.code, kResourceExhausted) << answer.message;
  }
}

TEST_F(HostileGrpc, ATraceOfVeryManySpans) {
  constexpr uint32_t kSpans = 200'000;
  constexpr uint32_t kAtOnce = 40'000;
  const std::string id(16, '\x32');
  for (uint32_t begin = 1; begin <= kSpans; begin += kAtOnce) {
    std::vector<SpanParts> spans(kAtOnce);
    for (uint32_t i = 0; i < kAtOnce; ++i) {
      spans[i].trace_id = id;
      for (size_t byte = 0; byte < 4; ++byte) {
        spans[i].span_id[7 - byte] = static_cast<char>((begin + i) >> (8 * byte));
      }
    }
    const GrpcAnswer answer = client_->Call(kExport, Request(spans), GrpcCoding::kGzip);
    ASSERT_EQ(answer.code, kOk) << answer.message;
    ASSERT_EQ(answer.body, "");
  }
  EXPECT_EQ(SpansOf(id), kSpans);
  ASSERT_TRUE(server_.database().Compact().ok());
  EXPECT_EQ(SpansOf(id), kSpans);
}

TEST_F(HostileGrpc, LargeAndDeepAttributes) {
  SpanParts large;
  AppendBytesField(1, std::string(1 << 20, 'x'), &large.attribute);
  std::vector<SpanParts> spans(3, large);
  spans[1].span_id[0] = '\x02';
  spans[2].span_id[0] = '\x03';
  EXPECT_EQ(client_->Call(kExport, Request(spans)).code, kOk);
  EXPECT_EQ(SpansOf(large.trace_id), 3u);

  // Nested 10,000 deep: that span is refused by name, its neighbour stored.
  SpanParts deep;
  deep.trace_id = std::string(16, '\x33');
  for (int i = 0; i < 10'000; ++i) {
    std::string element;
    AppendBytesField(1, deep.attribute, &element);
    deep.attribute.clear();
    AppendBytesField(5, element, &deep.attribute);
  }
  SpanParts beside;
  beside.trace_id = std::string(16, '\x34');
  const GrpcAnswer answer = client_->Call(kExport, Request({deep, beside}));
  EXPECT_EQ(answer.code, kOk);
  EXPECT_THAT(answer.body, HasSubstr("\x08\x01"));  // rejected_spans
  EXPECT_THAT(answer.body, HasSubstr("invalid attribute"));
  EXPECT_EQ(SpansOf(deep.trace_id), 0u);
  EXPECT_EQ(SpansOf(beside.trace_id), 1u);
  // The same of Jaeger's messages, and of filters.
  std::string nested = "x";
  for (int i = 0; i < 10'000; ++i) {
    std::string outer;
    AppendBytesField(1, nested, &outer);
    nested = std::move(outer);
  }
  EXPECT_EQ(client_->Call(kPostSpans, nested).code, kInvalidArgument);
  std::string call;  // Call{op = 1, args = 2}, Expression{call = 6}
  for (int i = 0; i < 10'000; ++i) {
    std::string argument;
    AppendBytesField(6, call, &argument);
    call.clear();
    AppendBytesField(1, "not", &call);
    AppendBytesField(2, argument, &call);
  }
  std::string query;
  AppendBytesField(10, call, &query);
  std::string find;
  AppendBytesField(1, query, &find);
  const GrpcAnswer refused = client_->Stream(kFindTraces, find);
  EXPECT_TRUE(refused.code == kInvalidArgument || refused.code == kResourceExhausted)
      << refused.code;
  EXPECT_THAT(refused.message, HasSubstr("filter"));
}

TEST_F(HostileGrpc, ClocksThatAreYearsOff) {
  constexpr uint64_t kTimes[] = {0, 1, 1'500'000'000'000'000'000,
                                 static_cast<uint64_t>(std::numeric_limits<int64_t>::max()),
                                 std::numeric_limits<uint64_t>::max()};
  std::vector<SpanParts> spans;
  for (const uint64_t start : kTimes) {
    for (const uint64_t end : kTimes) {
      SpanParts& span = spans.emplace_back();
      span.start_ns = start;
      span.end_ns = end;
      span.span_id[0] = static_cast<char>(spans.size());
    }
  }
  const GrpcAnswer answer = client_->Call(kExport, Request(spans));
  EXPECT_EQ(answer.code, kOk);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(SpansOf(spans[0].trace_id), spans.size());
}

TEST_F(HostileGrpc, IdsOfZeroOrOfTheWrongLength) {
  const std::string id(16, '\x35');
  const std::string span(8, '\x01');
  struct Case {
    std::string trace_id;
    std::string span_id;
  };
  const Case cases[] = {{std::string(16, '\0'), span},
                        {id, std::string(8, '\0')},
                        {id.substr(1), span},
                        {id + "x", span},
                        {id, span.substr(1)},
                        {id, span + "x"},
                        {"", ""},
                        {std::string(1 << 20, 'x'), span}};
  for (const Case& one : cases) {
    SpanParts parts;
    parts.trace_id = one.trace_id;
    parts.span_id = one.span_id;
    const GrpcAnswer answer = client_->Call(kExport, Request({parts}));
    // Refused as a message, or span by span with a reason: never stored, never silent.
    EXPECT_TRUE(answer.code == kInvalidArgument || (answer.code == kOk && !answer.body.empty()))
        << answer.code;
    EXPECT_NE(answer.message.size() + answer.body.size(), 0u);
  }
  EXPECT_EQ(SpansOf(id), 0u);
  for (const std::string& bad : {std::string(7, 'x'), std::string(17, 'x'), std::string()}) {
    std::string request;
    AppendBytesField(1, bad, &request);
    EXPECT_EQ(client_->Stream(kGetTrace, request).code, kInvalidArgument);
  }
}

TEST_F(HostileGrpc, BytesThatAreNoMessages) {
  const std::string good = Request({SpanParts()});
  for (const std::string& method : {kExport, kPostSpans}) {
    // Every cut of a good message but those between fields is malformed, and no cut does harm.
    for (size_t size = 1; size < good.size(); ++size) {
      const GrpcAnswer answer = client_->Call(method, good.substr(0, size));
      EXPECT_TRUE(answer.code == kOk || answer.code == kInvalidArgument) << answer.code;
    }
    for (const std::string_view garbage :
         {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x0b", "\x0a\xff\xff\xff\xff\x0f",
          "\x1f\x8b\x08", "\x78\x9c"}) {
      const GrpcAnswer answer = client_->Call(method, garbage);
      EXPECT_EQ(answer.code, kInvalidArgument) << Hex(garbage);
      EXPECT_NE(answer.message, "");
    }
  }
}

}  // namespace
}  // namespace varve::api
