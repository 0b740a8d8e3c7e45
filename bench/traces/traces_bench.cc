/// Measures the trace wing: `traces_bench trainticket` loads the recorded traces and reports bytes
/// a span by section and CPU a span by step; `traces_bench synthetic [spans]` makes spans with ten
/// attributes and reports the same and the times of look-ups and searches.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bench/traces/otlp_lines.h"
#include "tests/support/shared_data.h"
#include "varve/database.h"

namespace varve::bench {
namespace {

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

void Check(const Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, std::string(status.ToString()).c_str());
  std::exit(1);
}

class Timer {
 public:
  explicit Timer(const char* what, uint64_t items) : what_(what), items_(items) {}
  ~Timer() {
    const double cpu = CpuSeconds() - cpu_;
    std::printf("%-28s %8.2f s CPU  %8.3f us a span\n", what_, cpu,
                cpu * 1e6 / static_cast<double>(std::max<uint64_t>(1, items_)));
  }

 private:
  const char* what_;
  uint64_t items_;
  double cpu_ = CpuSeconds();
};

void PrintSizes(const Database& db, bool details) {
  const DatabaseStats stats = db.Stats();
  uint64_t spans = 0;
  uint64_t bytes = 0;
  std::map<std::string, uint64_t> sections;
  std::map<std::string, uint64_t> chunks;
  for (const BlockStats& block : stats.blocks) {
    spans += block.samples;
    bytes += block.bytes;
    for (const SectionStats& section : block.sections) sections[section.name] += section.bytes;
    for (const SectionStats& chunk : block.codecs) chunks["  " + chunk.name] += chunk.bytes;
  }
  const double each = static_cast<double>(std::max<uint64_t>(1, spans));
  std::printf("%zu blocks, %llu spans, %llu bytes: %.2f bytes a span\n", stats.blocks.size(),
              static_cast<unsigned long long>(spans), static_cast<unsigned long long>(bytes),
              static_cast<double>(bytes) / each);
  if (!details) return;
  for (const auto& names : {sections, chunks}) {
    for (const auto& [name, size] : names) {
      std::printf("  %-30s %12llu  %7.3f a span\n", name.c_str(),
                  static_cast<unsigned long long>(size), static_cast<double>(size) / each);
    }
  }
}

double WallMs(const std::function<void()>& run) {
  const auto before = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before)
      .count();
}

void Lookups(const Database& db, const std::vector<TraceId>& ids) {
  const auto snapshot = db.TakeTraceSnapshot();
  Check(snapshot.status(), "snapshot");
  std::vector<double> times;
  SpanBatch out;
  for (const TraceId& id : ids) {
    out.Clear();
    times.push_back(WallMs([&] { Check((*snapshot)->GetTrace(id, &out), "get trace"); }));
    if (out.empty()) Check(Status(StatusCode::kInternal, "trace is missing"), "get trace");
  }
  std::sort(times.begin(), times.end());
  std::printf("trace by id                  p50 %.3f ms  p99 %.3f ms  (%zu ids)\n",
              times[times.size() / 2], times[times.size() * 99 / 100], times.size());
  times.clear();
  for (TraceId id : ids) {
    id.bytes[3] ^= 0x5a;
    id.bytes[9] ^= 0x33;
    out.Clear();
    times.push_back(WallMs([&] { Check((*snapshot)->GetTrace(id, &out), "get trace"); }));
  }
  std::sort(times.begin(), times.end());
  std::printf("absent id                    p50 %.4f ms  p99 %.4f ms\n", times[times.size() / 2],
              times[times.size() * 99 / 100]);
}

void Search(const Database& db, const char* what, SpanScanSpec spec) {
  const auto snapshot = db.TakeTraceSnapshot();
  Check(snapshot.status(), "snapshot");
  double best = 1e9;
  uint64_t found = 0;
  for (int i = 0; i < 3; ++i) {
    const double cpu = CpuSeconds();
    auto cursor = (*snapshot)->Scan(spec);
    Check(cursor.status(), "scan");
    SpanColumns columns;
    found = 0;
    while (true) {
      const auto more = (*cursor)->Next(&columns);
      Check(more.status(), "scan");
      if (!*more) break;
      found += columns.size();
    }
    best = std::min(best, (CpuSeconds() - cpu) * 1e3);
  }
  std::printf("search %-30s %9.2f ms CPU  %10llu spans\n", what, best,
              static_cast<unsigned long long>(found));
}

SpanPredicate On(AttributeScope scope, const char* key, SpanPredicate::Op op,
                 SpanPredicate::Value value) {
  return {{Intrinsic::kNone, scope, key}, op, std::move(value)};
}
SpanPredicate On(Intrinsic intrinsic, SpanPredicate::Op op, SpanPredicate::Value value) {
  return {{intrinsic, AttributeScope::kAny, ""}, op, std::move(value)};
}

Options BenchOptions(const std::string& dir) {
  std::filesystem::remove_all(dir);
  Options options;
  options.dir = dir;
  options.background_threads = 0;
  options.durability = Durability::kProcessCrash;
  return options;
}

int TrainTicket(const std::string& dir) {
  const auto path = testing::SharedPath(
      "data/traces/trainticket/"
      "trainticket-2023-01-29.otlp-traces.jsonl.zst");
  if (!path.has_value()) {
    std::printf("skipped: no shared data\n");
    return 0;
  }
  const std::vector<SpanBatch> batches = LoadOtlpLines(*path);
  uint64_t spans = 0;
  std::vector<TraceId> ids;
  for (const SpanBatch& batch : batches) {
    spans += batch.spans().size();
    ids.push_back(batch.spans()[0].trace_id);
  }
  auto db = Database::Open(BenchOptions(dir));
  Check(db.status(), "open");
  {
    const Timer timer("append", spans);
    for (const SpanBatch& batch : batches) Check((*db)->AppendSpans(batch).status(), "append");
  }
  std::printf("head %.1f bytes a span, log %.1f\n",
              static_cast<double>((*db)->Stats().head_bytes) / static_cast<double>(spans),
              static_cast<double>((*db)->Stats().wal_bytes) / static_cast<double>(spans));
  {
    const Timer timer("seal", spans);
    Check((*db)->Flush(), "flush");
  }
  PrintSizes(**db, false);
  {
    const Timer timer("compact", spans);
    Check((*db)->Compact(), "compact");
  }
  PrintSizes(**db, true);
  Lookups(**db, ids);
  Check((*db)->Close(), "close");
  std::filesystem::remove_all(dir);
  return 0;
}

/// Ten attributes a span in the manner of a web shop: three of few values, three numbers, one
/// nearly unique id, the rest between.
void AddTrace(std::mt19937_64* random, int64_t start, SpanBatch* out) {
  static const char* const kMethods[] = {"GET", "POST", "PUT", "DELETE"};
  TraceId id;
  for (size_t i = 0; i < 16; i += 8) {
    const uint64_t word = (*random)();
    std::memcpy(id.bytes.data() + i, &word, 8);
  }
  uint64_t root = 0;
  uint32_t scopes[3];
  for (uint32_t& scope : scopes) {
    const uint64_t service = (*random)() % 50;
    const AttributeView attributes[] = {
        {"service.name", ValueView::String(out->Copy("service-" + std::to_string(service)))},
        {"host.name", ValueView::String(out->Copy("host-" + std::to_string((*random)() % 20)))},
        {"service.version", ValueView::String("1.4.2")}};
    scope = out->AddScope(out->AddResource(attributes), "otel", "1.0");
  }
  const uint64_t count = 10 + (*random)() % 11;
  for (uint64_t i = 0; i < count; ++i) {
    SpanBatch::Span span;
    span.scope = scopes[(*random)() % 3];
    span.trace_id = id;
    const uint64_t own = (*random)();
    std::memcpy(span.span_id.bytes.data(), &own, 8);
    if (i == 0) {
      root = own;
    } else {
      std::memcpy(span.parent_id.bytes.data(), &root, 8);
    }
    span.kind = static_cast<SpanKind>(1 + (*random)() % 5);
    span.start_ns = start + static_cast<int64_t>((*random)() % 50'000'000);
    span.end_ns = span.start_ns + static_cast<int64_t>((*random)() % 80'000'000);
    const uint64_t route = (*random)() % 200;
    span.name = out->Copy("route-" + std::to_string(route));
    const bool error = (*random)() % 100 == 0;
    if (error) span.status = SpanStatus::kError;
    const AttributeView attributes[] = {
        {"http.request.method", ValueView::String(kMethods[route % 4])},
        {"http.route", ValueView::String(out->Copy("/api/v1/" + std::to_string(route)))},
        {"http.response.status_code", ValueView::Int(error ? 500 : 200)},
        {"user.id",
         ValueView::String(out->Copy("user-" + std::to_string((*random)() % 5'000'000)))},
        {"net.peer.port", ValueView::Int(static_cast<int64_t>(1024 + (*random)() % 60'000))},
        {"thread.id", ValueView::Int(static_cast<int64_t>((*random)() % 200))},
        {"cart.total", ValueView::Double(static_cast<double>((*random)() % 100'000) / 100)},
        {"cache.hit", ValueView::Bool((*random)() % 3 != 0)},
        {"region", ValueView::String(route % 3 == 0 ? "eu-west-1" : "us-east-1")},
        {"tier", ValueView::String(route % 7 == 0 ? "gold" : "basic")}};
    out->AddSpan(span, attributes);
  }
}

int Synthetic(const std::string& dir, uint64_t spans_wanted) {
  auto db = Database::Open(BenchOptions(dir));
  Check(db.status(), "open");
  std::mt19937_64 random(1);
  std::vector<TraceId> ids;
  uint64_t spans = 0;
  double append = 0;
  double maintain = 0;
  int64_t start = 1'700'000'000'000'000'000;
  SpanBatch batch;
  while (spans < spans_wanted) {
    batch.Clear();
    while (batch.spans().size() < 500) {
      AddTrace(&random, start, &batch);
      start += 300'000;
      if (random() % 1000 == 0) ids.push_back(batch.spans().back().trace_id);
    }
    spans += batch.spans().size();
    double before = CpuSeconds();
    Check((*db)->AppendSpans(batch).status(), "append");
    append += CpuSeconds() - before;
    before = CpuSeconds();
    Check((*db)->Maintain(), "maintain");
    maintain += CpuSeconds() - before;
  }
  std::printf("%llu spans: append %.3f us a span, seal and merge %.3f us\n",
              static_cast<unsigned long long>(spans), append * 1e6 / static_cast<double>(spans),
              maintain * 1e6 / static_cast<double>(spans));
  {
    const Timer timer("flush", spans);
    Check((*db)->Flush(), "flush");
  }
  PrintSizes(**db, true);
  {
    const Timer timer("compact", spans);
    Check((*db)->Compact(), "compact");
  }
  PrintSizes(**db, false);
  Lookups(**db, ids);
  using Op = SpanPredicate::Op;
  const auto search = [&](const char* what, std::vector<SpanPredicate> predicates) {
    SpanScanSpec spec;
    spec.predicates = std::move(predicates);
    Search(**db, what, std::move(spec));
  };
  search("status_code = 500",
         {On(AttributeScope::kSpan, "http.response.status_code", Op::kEqual, int64_t{500})});
  search(".status_code = 500 (any scope)",
         {On(AttributeScope::kAny, "http.response.status_code", Op::kEqual, int64_t{500})});
  search("status = error", {On(Intrinsic::kStatus, Op::kEqual, int64_t{2})});
  search("user.id = user-7",
         {On(AttributeScope::kSpan, "user.id", Op::kEqual, std::string("user-7"))});
  search("route =~ .*199 and gold",
         {On(AttributeScope::kSpan, "http.route", Op::kRegex, std::string(".*/199")),
          On(AttributeScope::kSpan, "tier", Op::kEqual, std::string("gold"))});
  search("duration > 79.9 ms", {On(Intrinsic::kDuration, Op::kGreater, int64_t{79'900'000})});
  search("service-7 and error", {On(Intrinsic::kServiceName, Op::kEqual, std::string("service-7")),
                                 On(Intrinsic::kStatus, Op::kEqual, int64_t{2})});
  search("no such value", {On(AttributeScope::kSpan, "region", Op::kEqual, std::string("mars"))});
  search("peer.port = 1025",
         {On(AttributeScope::kSpan, "net.peer.port", Op::kEqual, int64_t{1025})});
  Check((*db)->Close(), "close");
  std::filesystem::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  const std::string dir = std::filesystem::temp_directory_path() / "varve_traces_bench";
  if (argc > 1 && std::strcmp(argv[1], "synthetic") == 0) {
    return varve::bench::Synthetic(dir, argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000);
  }
  return varve::bench::TrainTicket(dir);
}
