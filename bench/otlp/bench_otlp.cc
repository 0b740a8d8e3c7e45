// Decoding of OTLP, in spans a second of CPU time. Needs the shared data: TrainTicket, as bodies of
// about a thousand spans.

#include <benchmark/benchmark.h>

#include "tests/support/shared_data.h"
#include "tools/otlp/json_wire.h"
#include "tools/otlp/traces.h"
#include "tools/tracing/span_metrics.h"

namespace varve::otlp {
namespace {

struct Bodies {
  std::vector<std::string> json;
  std::vector<std::string> protobuf;
  size_t spans = 0;
  size_t json_bytes = 0;
  size_t protobuf_bytes = 0;
};

const Bodies& TrainTicket() {
  static const Bodies bodies = [] {
    Bodies out;
    const auto path = varve::testing::SharedPath(
        "data/traces/trainticket/trainticket-2023-01-29.otlp-traces.jsonl.zst");
    if (!path.has_value()) return out;
    const std::string text = varve::testing::ReadFile(*path);
    std::string body;  // messages of one type concatenate to a message
    size_t body_spans = 0;
    for (const std::string_view line : varve::testing::SplitLines(text)) {
      out.json.emplace_back(line);
      out.json_bytes += line.size();
      std::string wire;
      if (!JsonToWire(line, kTraceRequest, &wire).ok()) std::abort();
      SpanBatch batch;
      DecodeReport report;
      if (!DecodeTraces(wire, &batch, &report).ok()) std::abort();
      out.spans += batch.spans().size();
      body_spans += batch.spans().size();
      body += wire;
      if (body_spans >= 1000) {
        out.protobuf_bytes += body.size();
        out.protobuf.push_back(std::move(body));
        body.clear();
        body_spans = 0;
      }
    }
    out.protobuf_bytes += body.size();
    out.protobuf.push_back(std::move(body));
    return out;
  }();
  return bodies;
}

void Finish(benchmark::State& state, size_t spans, size_t bytes) {
  if (spans != TrainTicket().spans * state.iterations()) state.SkipWithError("spans are missing");
  state.counters["spans/s"] =
      benchmark::Counter(static_cast<double>(spans), benchmark::Counter::kIsRate);
  state.SetBytesProcessed(static_cast<int64_t>(bytes));
}

void BM_DecodeProtobuf(benchmark::State& state) {
  const Bodies& bodies = TrainTicket();
  if (bodies.spans == 0) return state.SkipWithError("no shared data");
  SpanBatch batch;
  size_t spans = 0;
  for (auto _ : state) {
    for (const std::string& body : bodies.protobuf) {
      batch.Clear();
      DecodeReport report;
      if (!DecodeTraces(body, &batch, &report).ok()) std::abort();
      spans += batch.spans().size();
    }
  }
  Finish(state, spans, bodies.protobuf_bytes * state.iterations());
}
BENCHMARK(BM_DecodeProtobuf)->Unit(benchmark::kMillisecond);

void BM_DecodeJson(benchmark::State& state) {
  const Bodies& bodies = TrainTicket();
  if (bodies.spans == 0) return state.SkipWithError("no shared data");
  SpanBatch batch;
  std::string wire;
  size_t spans = 0;
  for (auto _ : state) {
    for (const std::string& body : bodies.json) {
      batch.Clear();
      wire.clear();
      DecodeReport report;
      if (!JsonToWire(body, kTraceRequest, &wire).ok()) std::abort();
      if (!DecodeTraces(wire, &batch, &report).ok()) std::abort();
      spans += batch.spans().size();
    }
  }
  Finish(state, spans, bodies.json_bytes * state.iterations());
}
BENCHMARK(BM_DecodeJson)->Unit(benchmark::kMillisecond);

void BM_DecodeAndCount(benchmark::State& state) {
  const Bodies& bodies = TrainTicket();
  if (bodies.spans == 0) return state.SkipWithError("no shared data");
  SpanBatch batch;
  tracing::SpanMetrics metrics({});
  size_t spans = 0;
  for (auto _ : state) {
    for (const std::string& body : bodies.protobuf) {
      batch.Clear();
      DecodeReport report;
      if (!DecodeTraces(body, &batch, &report).ok()) std::abort();
      metrics.Add(batch, {}, 0);
      spans += batch.spans().size();
    }
  }
  Finish(state, spans, bodies.protobuf_bytes * state.iterations());
}
BENCHMARK(BM_DecodeAndCount)->Unit(benchmark::kMillisecond);

void BM_EncodeProtobuf(benchmark::State& state) {
  const Bodies& bodies = TrainTicket();
  if (bodies.spans == 0) return state.SkipWithError("no shared data");
  size_t spans = 0;
  std::string out;
  SpanBatch batch;
  for (auto _ : state) {
    for (const std::string& body : bodies.protobuf) {
      batch.Clear();
      DecodeReport report;
      if (!DecodeTraces(body, &batch, &report).ok()) std::abort();
      out.clear();
      TraceWriter(TraceWriter::Format::kProtobuf, batch).All(&out);
      benchmark::DoNotOptimize(out.data());
      spans += batch.spans().size();
    }
  }
  Finish(state, spans, bodies.protobuf_bytes * state.iterations());
}
BENCHMARK(BM_EncodeProtobuf)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace varve::otlp

BENCHMARK_MAIN();
