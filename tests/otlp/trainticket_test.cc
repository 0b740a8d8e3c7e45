// All of TrainTicket through the server: every trace comes back equal, with its log entries.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tests/support/shared_data.h"
#include "tools/correlate/correlate.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"

namespace varve::api {
namespace {

using varve::testing::ReadFile;
using varve::testing::SharedPath;

constexpr std::string_view kFolder = "data/traces/trainticket/trainticket-2023-01-29.";

/// Sums the spans of an OTLP document, whatever their order and grouping: hashes of their JSON.
struct Sum {
  uint64_t spans = 0;
  uint64_t hash = 0;
  friend bool operator==(const Sum&, const Sum&) = default;
};
Sum SumOf(std::string_view json) {
  std::string wire;
  EXPECT_TRUE(otlp::JsonToWire(json, otlp::kTraceRequest, &wire).ok());
  SpanBatch batch;
  otlp::DecodeReport report;
  EXPECT_TRUE(otlp::DecodeTraces(wire, &batch, &report).ok());
  Sum out;
  std::set<std::string> seen;  // a recorded span that comes twice is stored once
  std::string text;
  for (uint32_t i = 0; i < batch.spans().size(); ++i) {
    text.clear();
    otlp::TraceWriter(otlp::TraceWriter::Format::kJson, batch, {i}).All(&text);
    if (!seen.insert(text).second) continue;
    ++out.spans;
    out.hash += Hash64(text);
  }
  return out;
}

size_t Count(std::string_view text, std::string_view what) {
  size_t out = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1)) {
    ++out;
  }
  return out;
}

/// The text behind `key` up to the next quote; the recorded files are regular.
std::string_view Behind(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + key.size());
  return rest.substr(0, rest.find('"'));
}

class TrainTicket : public ::testing::Test {
 protected:
  /// Loads all traces as protobuf bodies of about a thousand spans; false without the data.
  bool Load() {
    const auto path = SharedPath(Concat(kFolder, "otlp-traces.jsonl.zst"));
    if (!path.has_value()) {
      std::printf("skipped: no shared data for the TrainTicket traces\n");
      return false;
    }
    text_ = ReadFile(*path);
    lines_ = varve::testing::SplitLines(text_);
    std::string body;
    for (size_t i = 0; i < lines_.size(); ++i) {
      EXPECT_TRUE(otlp::JsonToWire(lines_[i], otlp::kTraceRequest, &body).ok());
      if (body.size() < 200'000 && i + 1 < lines_.size()) continue;
      EXPECT_EQ(server_.Post("/v1/traces", body, kProtobuf).status, 200);
      body.clear();
    }
    return true;
  }
  std::string IdOf(size_t line) const {
    return std::string(Behind(lines_[line], "\"traceId\":\""));
  }

  Server server_;
  std::string text_;
  std::vector<std::string_view> lines_;
};

TEST_F(TrainTicket, EveryTraceComesBackEqual) {
  if (!Load()) return;
  std::vector<Sum> expected;
  uint64_t spans = 0;
  for (const std::string_view line : lines_) {
    expected.push_back(SumOf(line));
    spans += expected.back().spans;
  }
  EXPECT_GT(spans, 300'000u);
  const auto check = [&](const char* state) {
    SCOPED_TRACE(state);
    for (size_t i = 0; i < lines_.size(); ++i) {
      const std::string id = IdOf(i);
      const http::Response otlp_json = server_.Get(Concat("/api/v3/traces/", id));
      ASSERT_EQ(otlp_json.status, 200) << id;
      // {"result":DOCUMENT}
      const std::string_view document =
          std::string_view(otlp_json.body).substr(10, otlp_json.body.size() - 11);
      ASSERT_EQ(SumOf(document), expected[i]) << id;
    }
  };
  // The same spans in Jaeger's JSON.
  const auto check_jaeger = [&] {
    for (size_t i = 0; i < lines_.size(); ++i) {
      const http::Response jaeger = server_.Get(Concat("/api/traces/", IdOf(i)));
      ASSERT_EQ(jaeger.status, 200);
      ASSERT_EQ(Count(jaeger.body, "\"operationName\""), expected[i].spans) << IdOf(i);
    }
  };
  check("head");
  ASSERT_TRUE(server_.database().Flush().ok());
  check("flushed");
  ASSERT_TRUE(server_.database().Compact().ok());
  check("compacted");
  server_.Restart();
  check("restarted");
  check_jaeger();
}

TEST_F(TrainTicket, LogsCorrelateWithTheirTraces) {
  const auto path = SharedPath(Concat(kFolder, "logs.ndjson.zst"));
  if (!path.has_value() || !Load()) {
    std::printf("skipped: no shared data for the TrainTicket logs\n");
    return;
  }
  const std::string logs = ReadFile(*path);
  std::map<std::string, size_t, std::less<>> expected;  // entries by trace
  std::string records;
  size_t count = 0;
  const auto flush = [&] {
    if (records.empty()) return;
    const http::Response response = server_.Post(
        "/v1/logs", Concat(R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[)", records, "]}]}]}"),
        kJson);
    ASSERT_EQ(response.status, 200);
    ASSERT_EQ(response.body, R"({"partialSuccess":{}})");
    records.clear();
  };
  for (const std::string_view line : varve::testing::SplitLines(logs)) {
    const std::string_view trace = Behind(line, "\"trace_id\": \"");
    const std::string_view span = Behind(line, "\"span_id\": \"");
    constexpr std::string_view kLine = "\"line\": ";
    const size_t at = line.find(kLine);
    ASSERT_NE(at, std::string_view::npos);
    std::string_view body = line.substr(at + kLine.size());
    body.remove_suffix(1);  // the object's brace
    if (!records.empty()) records.push_back(',');
    records += Concat(R"({"timeUnixNano":")", Behind(line, "\"ts\": \""),
                      R"(","body":{"stringValue":)", body, "}");
    if (trace.size() == 32) records += Concat(R"(,"traceId":")", trace, "\"");
    if (trace.size() == 32 && span.size() == 16) records += Concat(R"(,"spanId":")", span, "\"");
    records.push_back('}');
    // Times that repeat with equal text and ids are one entry.
    if (trace.size() == 32) ++expected[std::string(trace)];
    if (++count % 5000 == 0) flush();
  }
  flush();
  EXPECT_GT(count, 170'000u);
  ASSERT_TRUE(server_.database().Compact().ok());
  size_t with_logs = 0;
  size_t entries = 0;
  for (size_t i = 0; i < lines_.size(); i += 16) {
    const std::string id = IdOf(i);
    const auto found = expected.find(id);
    if (found == expected.end()) continue;
    ++with_logs;
    correlate::TraceLogsOptions options;
    options.limit = 100'000;
    const auto got = correlate::LogsOfTrace(server_.database(), *ParseTraceId(id), options);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_LE(got->size(), found->second) << id;
    ASSERT_GT(got->size(), 0u) << id;
    entries += got->size();
    for (const correlate::TraceLog& log : *got) {
      const bool named = std::ranges::any_of(log.metadata, [&](const auto& pair) {
        return pair.first == "trace_id" && pair.second == id;
      });
      ASSERT_TRUE(named || log.line.find(id) != std::string::npos) << log.line;
    }
  }
  EXPECT_GT(with_logs, 200u);
  EXPECT_GT(entries, 5'000u);
}

}  // namespace
}  // namespace varve::api
