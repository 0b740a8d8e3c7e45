// All of TrainTicket through the server: every trace comes back equal to its input, in OTLP and in
// Jaeger's JSON, from the head, after a flush, after compaction and after a restart.

#include "tests/otlp/trainticket.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/tracing/jaeger_json.h"

namespace varve::api {
namespace {

/// A set of texts in any order, summed: how many there are, and their hashes. What comes twice
/// counts once, as it is stored once.
class Sum {
 public:
  void Add(std::string_view text) {
    if (const uint64_t hash = Hash64(text); seen_.insert(hash).second) sum_ += hash;
  }
  size_t size() const { return seen_.size(); }
  friend bool operator==(const Sum& a, const Sum& b) {
    return a.size() == b.size() && a.sum_ == b.sum_;
  }

 private:
  absl::flat_hash_set<uint64_t> seen_;
  uint64_t sum_ = 0;
};

/// Sums the spans of a batch as OTLP's JSON: every field counts.
Sum SumOf(const SpanBatch& batch) {
  Sum out;
  std::string text;
  for (uint32_t i = 0; i < batch.spans().size(); ++i) {
    text.clear();
    otlp::TraceWriter(otlp::TraceWriter::Format::kJson, batch, {i}).All(&text);
    out.Add(text);
  }
  return out;
}

void Decode(std::string_view json, std::string* wire, SpanBatch* batch) {
  wire->clear();
  batch->Clear();
  otlp::DecodeReport report;
  EXPECT_TRUE(otlp::JsonToWire(json, otlp::kTraceRequest, wire).ok());
  EXPECT_TRUE(otlp::DecodeTraces(*wire, batch, &report).ok());
  EXPECT_EQ(report.rejected, 0u);
}

// --- What Jaeger's JSON can say ---

void AppendValue(const ValueView& value, std::string* out) {
  *out += Concat(static_cast<int>(value.type), ":", ToString(value));
}
void AppendSorted(AttributesView attributes, std::string* out) {
  std::vector<std::string> parts;
  for (const AttributeView& attribute : attributes) {
    AppendValue(attribute.value, &parts.emplace_back(Concat(attribute.key, "=")));
  }
  std::ranges::sort(parts);
  for (const std::string& part : parts) *out += Concat(part, "\n");
}

/// Prints a span with times in microseconds, as Jaeger has them, fields and tags in one order.
std::string JaegerTextOf(const SpanBatch& batch, const SpanBatch::Span& span) {
  const SpanBatch::Scope& scope = batch.scopes()[span.scope];
  std::string out =
      Concat(ToString(span.trace_id), " ", ToString(span.span_id), " ", ToString(span.parent_id),
             " ", span.name, " ", static_cast<int>(span.kind), " ", static_cast<int>(span.status),
             " ", span.status_message, " ");
  out += Concat(span.trace_state, " ", span.start_ns / 1000, " ",
                std::max<int64_t>(span.end_ns - span.start_ns, 0) / 1000, " ", scope.name, " ",
                scope.version, "\n");
  AppendSorted(batch.attributes(span.attributes), &out);
  AppendSorted(batch.attributes(batch.resource_of(span).attributes), &out);
  for (const SpanBatch::Event& event : batch.events(span)) {
    out += Concat(event.time_ns / 1000, " ", event.name, "\n");
    AppendSorted(batch.attributes(event.attributes), &out);
  }
  for (const SpanBatch::Link& link : batch.links(span)) {
    out += Concat(ToString(link.trace_id), " ", ToString(link.span_id), "\n");
  }
  return out;
}

Sum JaegerSumOf(const SpanBatch& batch) {
  Sum out;
  for (const SpanBatch::Span& span : batch.spans()) out.Add(JaegerTextOf(batch, span));
  return out;
}

TEST_F(TrainTicket, EveryTraceComesBackEqual) {
  if (!Read()) return;
  Load();
  std::vector<Sum> expected;
  std::vector<Sum> expected_jaeger;
  size_t spans = 0;
  std::string wire;
  SpanBatch batch;
  for (const std::string_view line : lines_) {
    Decode(line, &wire, &batch);
    expected.push_back(SumOf(batch));
    expected_jaeger.push_back(JaegerSumOf(batch));
    spans += expected.back().size();
  }
  EXPECT_GT(spans, 300'000u);
  const auto check = [&](const char* state) {
    SCOPED_TRACE(state);
    for (size_t i = 0; i < lines_.size(); ++i) {
      const std::string id = IdOf(i);
      const http::Response otlp_json = server_.Get(Concat("/api/v3/traces/", id));
      ASSERT_EQ(otlp_json.status, 200) << id;
      // {"result":DOCUMENT}
      Decode(std::string_view(otlp_json.body).substr(10, otlp_json.body.size() - 11), &wire,
             &batch);
      ASSERT_TRUE(SumOf(batch) == expected[i]) << id;
    }
  };
  // The same in Jaeger's JSON, read back by a reader that knows nothing of the store.
  const auto check_jaeger = [&](const char* state) {
    SCOPED_TRACE(state);
    for (size_t i = 0; i < lines_.size(); ++i) {
      const std::string id = IdOf(i);
      const http::Response jaeger = server_.Get(Concat("/api/traces/", id));
      ASSERT_EQ(jaeger.status, 200) << id;
      batch.Clear();
      ASSERT_TRUE(tracing::DecodeJaegerJson(jaeger.body, &batch).ok()) << id;
      ASSERT_TRUE(JaegerSumOf(batch) == expected_jaeger[i]) << id;
    }
  };
  check("head");
  ASSERT_TRUE(server_.database().Flush().ok());
  check_jaeger("flushed");
  ASSERT_TRUE(server_.database().Compact().ok());
  check("compacted");
  check_jaeger("compacted");
  server_.Restart();
  check("restarted");
  check_jaeger("restarted");
}

}  // namespace
}  // namespace varve::api
