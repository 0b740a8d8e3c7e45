#include "engine/traces/head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/base/any_value.h"
#include "engine/base/compare_numbers.h"
#include "engine/base/strings.h"
#include "engine/traces/snapshot.h"
#include "tests/traces/span_model.h"

namespace varve::traces {
namespace {

using ::testing::HasSubstr;

/// Keeps the records that a head logs.
struct Log {
  std::vector<std::string> records;
  Status next;
  LogFn fn() {
    return [this](std::span<const std::string_view> pieces) {
      if (!next.ok()) return next;
      std::string record;
      for (const std::string_view piece : pieces) record += piece;
      records.push_back(std::move(record));
      return absl::OkStatus();
    };
  }
};

SpanBatch OneSpan(uint64_t trace, uint64_t span) {
  SpanBatch batch;
  const AttributeView service{"service.name", ValueView::String("shop")};
  batch.AddResource({&service, 1});
  batch.AddScope(0, "lib", "1");
  SpanBatch::Span made;
  made.trace_id = TraceIdOf(trace);
  made.span_id = SpanIdOf(span);
  made.name = "GET";
  made.start_ns = 1000;
  made.end_ns = 2000;
  batch.AddSpan(made, {});
  return batch;
}

std::shared_ptr<Head> NewHead(const Limits& limits = {}) {
  return std::make_shared<Head>(limits, INT64_MIN);
}

TEST(TracesHead, EqualsTheModelAndReplaysToTheSame) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(Concat("seed ", seed));
    std::mt19937_64 random(seed);
    auto head = NewHead();
    Log log;
    SpanModel model;
    for (int i = 0; i < 30; ++i) {
      SpanBatch batch;
      AddRandomSpans(&random, 1 + random() % 100, {}, &batch);
      const auto result = head->Append(batch, {}, log.fn());
      ASSERT_TRUE(result.ok()) << result.status().ToString();
      EXPECT_EQ(result->spans, batch.spans().size());
      model.Add(batch);
    }
    ASSERT_EQ(head->rows(), model.spans());
    model.Check(*MakeSnapshot({MakeHeadSource(head)}), &random);

    auto again = NewHead();
    for (const std::string& record : log.records) {
      const Status status = again->Replay(record);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
    model.Check(*MakeSnapshot({MakeHeadSource(again)}), &random);
    EXPECT_EQ(again->newest_time_ns(), head->newest_time_ns());
  }
}

TEST(TracesHead, ManyUnits) {
  std::mt19937_64 random(5);
  auto head = NewHead();
  Log log;
  SpanModel model;
  RandomSpanOptions options;
  options.traces = 3000;
  options.rare_things = false;
  for (int i = 0; i < 10; ++i) {
    SpanBatch batch;
    AddRandomSpans(&random, 1500, options, &batch);
    ASSERT_TRUE(head->Append(batch, {}, log.fn()).ok());
    model.Add(batch);
  }
  ASSERT_GT(head->rows(), 3 * Head::kUnitRows);
  model.Check(*MakeSnapshot({MakeHeadSource(head)}), &random);
}

TEST(TracesHead, SeveralSourcesAreOne) {
  std::mt19937_64 random(11);
  std::vector<std::shared_ptr<Head>> heads{NewHead(), NewHead(), NewHead()};
  std::vector<SpanModel> parts(3);
  Log log;
  SpanModel model;
  std::vector<SpanBatch> batches(12);
  for (size_t i = 0; i < batches.size(); ++i) {
    AddRandomSpans(&random, 200, {}, &batches[i]);
    // The earliest source wins, so the model sees them in that order.
    ASSERT_TRUE(heads[i / 4]->Append(batches[i], {}, log.fn()).ok());
    model.Add(batches[i]);
  }
  std::vector<SourcePtr> sources;
  for (const auto& head : heads) sources.push_back(MakeHeadSource(head));
  model.Check(*MakeSnapshot(sources), &random);
}

TEST(TracesHead, SharedSpansOfZipkinAreTwo) {
  auto head = NewHead();
  Log log;
  SpanBatch client = OneSpan(1, 1);
  ASSERT_TRUE(head->Append(client, {}, log.fn()).ok());
  SpanBatch server = OneSpan(1, 1);
  SpanBatch::Span span = server.spans()[0];
  server.Clear();
  server.AddResource({});
  server.AddScope(0, "", "");
  span.kind = SpanKind::kServer;
  server.AddSpan(span, {});
  ASSERT_TRUE(head->Append(server, {}, log.fn()).ok());
  ASSERT_TRUE(head->Append(server, {}, log.fn()).ok());
  SpanBatch out;
  ASSERT_TRUE(MakeSnapshot({MakeHeadSource(head)})->GetTrace(TraceIdOf(1), &out).ok());
  EXPECT_EQ(out.spans().size(), 2u);
  EXPECT_EQ(log.records.size(), 2u) << "a repeat is not logged";
}

TEST(TracesHead, RepeatedKeyKeepsFirstPlaceAndLastValue) {
  auto head = NewHead();
  Log log;
  SpanBatch batch = OneSpan(1, 1);
  SpanBatch::Span span = batch.spans()[0];
  span.span_id = SpanIdOf(2);
  const AttributeView attributes[] = {
      {"a", ValueView::Int(1)}, {"b", ValueView::Int(2)}, {"a", ValueView::String("last")}};
  batch.AddSpan(span, attributes);
  ASSERT_TRUE(head->Append(batch, {}, log.fn()).ok());
  SpanBatch out;
  ASSERT_TRUE(MakeSnapshot({MakeHeadSource(head)})->GetTrace(TraceIdOf(1), &out).ok());
  for (const SpanBatch::Span& found : out.spans()) {
    if (found.span_id != SpanIdOf(2)) continue;
    const AttributesView have = out.attributes(found.attributes);
    ASSERT_EQ(have.size(), 2u);
    EXPECT_EQ(have[0].key, "a");
    EXPECT_EQ(have[0].value, ValueView::String("last"));
    EXPECT_EQ(have[1].key, "b");
  }
}

TEST(TracesHead, RejectsByName) {
  Limits limits;
  limits.span_bytes_max = 4096;
  limits.attributes_max = 10;
  limits.attribute_depth_max = 5;
  std::string deep;
  for (int i = 0; i < 10'000; ++i) {
    std::string outer;
    AppendElement(ValueView::Array(deep), &outer);
    deep = std::move(outer);
    if (i == 40) break;
  }
  const std::string large(5000, 'x');
  std::vector<AttributeView> many;
  for (int i = 0; i < 11; ++i) many.push_back({"k", ValueView::Int(i)});
  struct Case {
    std::vector<AttributeView> attributes;
    bool zero_trace;
    bool zero_span;
    SpanRejectReason reason;
    const char* what;
  };
  const Case cases[] = {
      {{}, true, false, SpanRejectReason::kInvalidId, "trace id is zero"},
      {{}, false, true, SpanRejectReason::kInvalidId, "span id is zero"},
      {{{"long", ValueView::String(large)}}, false, false, SpanRejectReason::kTooLarge, "4096"},
      {many, false, false, SpanRejectReason::kTooLarge, "11 attributes"},
      {{{"deep", ValueView::Array(deep)}},
       false,
       false,
       SpanRejectReason::kInvalidAttribute,
       "\"deep\""},
      {{{"bad", ValueView::Map("\xff\xff")}},
       false,
       false,
       SpanRejectReason::kInvalidAttribute,
       "\"bad\""},
  };
  auto head = NewHead(limits);
  Log log;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    SpanBatch batch = OneSpan(1, 1);
    SpanBatch::Span span = batch.spans()[0];
    span.trace_id = c.zero_trace ? TraceId() : TraceIdOf(1);
    span.span_id = c.zero_span ? SpanId() : SpanIdOf(2);
    batch.AddSpan(span, c.attributes);
    const uint32_t before = head->rows();
    const auto whole = head->Append(batch, {}, log.fn());
    EXPECT_EQ(whole.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ToStd(whole.status().message())), HasSubstr(c.what));
    EXPECT_EQ(head->rows(), before);
    WriteOptions partial;
    partial.partial = true;
    const auto part = head->Append(batch, partial, log.fn());
    ASSERT_TRUE(part.ok());
    EXPECT_EQ(part->spans, 1u);
    ASSERT_EQ(part->rejections.size(), 1u);
    EXPECT_EQ(part->rejections[0].span, 1u);
    EXPECT_EQ(part->rejections[0].reason, c.reason);
    EXPECT_THAT(part->rejections[0].detail, HasSubstr(c.what));
  }
  EXPECT_EQ(head->rows(), 1u);

  // A resource that breaks a limit takes its spans with it.
  SpanBatch batch;
  const AttributeView long_one{"long", ValueView::String(large)};
  batch.AddResource({&long_one, 1});
  batch.AddScope(0, "", "");
  SpanBatch::Span span = OneSpan(3, 3).spans()[0];
  span.name = "x";
  batch.AddSpan(span, {});
  EXPECT_THAT(std::string(ToStd(head->Append(batch, {}, log.fn()).status().message())),
              HasSubstr("resource"));
}

TEST(TracesHead, LogThatFailsLeavesNothing) {
  auto head = NewHead();
  Log log;
  SpanBatch first = OneSpan(1, 1);
  ASSERT_TRUE(head->Append(first, {}, log.fn()).ok());
  SpanBatch more = OneSpan(1, 2);
  SpanBatch::Span span = more.spans()[0];
  span.trace_id = TraceIdOf(2);
  more.AddSpan(span, {});
  log.next = MakeStatus(StatusCode::kResourceExhausted, "disk full");
  EXPECT_EQ(head->Append(more, {}, log.fn()).status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(head->rows(), 1u);
  const auto snapshot = MakeSnapshot({MakeHeadSource(head)});
  SpanBatch out;
  ASSERT_TRUE(snapshot->GetTrace(TraceIdOf(1), &out).ok());
  EXPECT_EQ(out.spans().size(), 1u);
  SpanBatch none;
  ASSERT_TRUE(snapshot->GetTrace(TraceIdOf(2), &none).ok());
  EXPECT_TRUE(none.empty());
  log.next = absl::OkStatus();
  ASSERT_TRUE(head->Append(more, {}, log.fn()).ok());
  EXPECT_EQ(head->rows(), 3u);
}

TEST(TracesHead, SnapshotDoesNotMoveUnderAppends) {
  std::mt19937_64 random(3);
  auto head = NewHead();
  Log log;
  SpanModel model;
  SpanBatch first;
  AddRandomSpans(&random, 500, {}, &first);
  ASSERT_TRUE(head->Append(first, {}, log.fn()).ok());
  model.Add(first);
  const auto snapshot = MakeSnapshot({MakeHeadSource(head)});
  std::vector<SpanBatch> later(50);
  for (SpanBatch& batch : later) AddRandomSpans(&random, 300, {}, &batch);
  std::thread writer([&] {
    for (const SpanBatch& batch : later) ASSERT_TRUE(head->Append(batch, {}, log.fn()).ok());
  });
  for (int i = 0; i < 5; ++i) {
    for (const TraceId& id : model.traces()) {
      SpanBatch out;
      ASSERT_TRUE(snapshot->GetTrace(id, &out).ok());
    }
    SpanScanSpec spec;
    spec.columns.push_back({Intrinsic::kName, AttributeScope::kAny, ""});
    auto cursor = snapshot->Scan(spec);
    ASSERT_TRUE(cursor.ok());
    SpanColumns columns;
    size_t spans = 0;
    while (*(*cursor)->Next(&columns)) spans += columns.size();
    EXPECT_EQ(spans, model.spans());
  }
  writer.join();
}

TEST(TracesHead, BadPatternIsAnError) {
  auto head = NewHead();
  SpanScanSpec spec;
  spec.predicates.push_back(
      {{Intrinsic::kName, AttributeScope::kAny, ""}, SpanPredicate::Op::kRegex, std::string("(")});
  EXPECT_EQ(MakeSnapshot({MakeHeadSource(head)})->Scan(spec).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(TracesWalBatch, DamagedBytesAreDataLoss) {
  std::mt19937_64 random(1);
  auto head = NewHead();
  Log log;
  SpanBatch batch;
  AddRandomSpans(&random, 20, {}, &batch);
  ASSERT_TRUE(head->Append(batch, {}, log.fn()).ok());
  const std::string& record = log.records[0];
  for (size_t cut = 0; cut < record.size(); cut += 1 + cut / 16) {
    SpanBatch out;
    EXPECT_EQ(DecodeWalBatch(record.substr(0, cut), &out).code(), StatusCode::kDataLoss) << cut;
  }
  for (int i = 0; i < 3000; ++i) {
    std::string changed = record;
    changed[random() % changed.size()] = static_cast<char>(random());
    SpanBatch out;
    const Status status = DecodeWalBatch(changed, &out);
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kDataLoss);
  }
}

TEST(TracesScan, NumbersCompareExactly) {
  EXPECT_EQ(CompareNumbers(1, 1.0), 0);
  EXPECT_EQ(CompareNumbers(1, 1.5), -1);
  EXPECT_EQ(CompareNumbers(-1, -1.5), 1);
  EXPECT_EQ(CompareNumbers(9007199254740993, 9007199254740992.0), 1);
  EXPECT_EQ(CompareNumbers(INT64_MAX, 9223372036854775808.0), -1);
  EXPECT_EQ(CompareNumbers(INT64_MIN, -9223372036854775808.0), 0);
  EXPECT_EQ(CompareNumbers(INT64_MIN, -1e300), 1);
  EXPECT_EQ(CompareNumbers(0, std::nan("")), std::nullopt);
}

}  // namespace
}  // namespace varve::traces
