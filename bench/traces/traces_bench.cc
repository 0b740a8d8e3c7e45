/// Measures the trace wing. `traces_bench trainticket [copies]` loads the recorded traces, each
/// copy with ids of its own and later than the one before (31 copies are ten million spans);
/// `traces_bench synthetic [spans]` makes spans with ten attributes. Both report CPU a span by
/// step, bytes a span by section, and the times of look-ups and searches. `--dir DIR` keeps the
/// database; one that is there already is measured as it is.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bench/traces/otlp_lines.h"
#include "tests/support/shared_data.h"
#include "varve/database.h"
#include "varve/traceql.h"

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
  std::printf("scan   %-34s %9.2f ms CPU  %10llu spans\n", what, best,
              static_cast<unsigned long long>(found));
}

/// What a user asks: the newest twenty traces, through the engine.
void Query(const Database& db, const char* text) {
  const auto engine = query::TraceEngine::Make({});
  const auto snapshot = db.TakeTraceSnapshot();
  Check(snapshot.status(), "snapshot");
  double cpu = 1e9;
  double wall = 1e9;
  std::string found;
  const auto metrics = engine->Parse(text);
  Check(metrics.status(), "parse");
  for (int i = 0; i < 3; ++i) {
    const double before = CpuSeconds();
    wall = std::min(wall, WallMs([&] {
                      if (metrics->metrics) {
                        const NsRange range = (*snapshot)->time_range();
                        const auto result =
                            engine->MetricsInstant(**snapshot, text, range.min_ns / 1'000'000 - 1,
                                                   range.max_ns / 1'000'000 + 1, {});
                        Check(result.status(), "metrics");
                        found = std::to_string(result->scan.spans) + " spans read";
                        return;
                      }
                      query::TraceSearch search;
                      search.range = (*snapshot)->time_range();
                      const auto result = engine->Search(**snapshot, text, search, {});
                      Check(result.status(), "search");
                      found = std::to_string(result->traces.size()) + " traces, " +
                              std::to_string(result->stats.scan.spans) + " spans read";
                    }));
    cpu = std::min(cpu, (CpuSeconds() - before) * 1e3);
  }
  std::printf("query  %-50s %9.2f ms CPU %9.2f ms  %s\n", text, cpu, wall, found.c_str());
}

SpanPredicate On(AttributeScope scope, const char* key, SpanPredicate::Op op,
                 SpanPredicate::Value value) {
  return {{Intrinsic::kNone, scope, key}, op, std::move(value)};
}
SpanPredicate On(Intrinsic intrinsic, SpanPredicate::Op op, SpanPredicate::Value value) {
  return {{intrinsic, AttributeScope::kAny, ""}, op, std::move(value)};
}

Options BenchOptions(const std::string& dir) {
  Options options;
  options.dir = dir;
  options.background_threads = 0;
  options.durability = Durability::kProcessCrash;
  return options;
}

/// Spreads an id over another for each copy; equal ids stay equal.
void Renew(uint64_t copy, uint8_t* bytes, size_t size) {
  for (size_t i = 0; copy != 0 && i < size; i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + i, 8);
    word ^= (copy + i) * 0x9e3779b97f4a7c15ull;
    word *= 0xff51afd7ed558ccdull;
    word ^= word >> 32;
    std::memcpy(bytes + i, &word, 8);
  }
}

void Seal(Database* db, uint64_t spans) {
  {
    const Timer timer("seal what is left", spans);
    Check(db->Flush(), "flush");
  }
  PrintSizes(*db, false);
  {
    const Timer timer("compact", spans);
    Check(db->Compact(), "compact");
  }
}

std::vector<TraceId> TrainTicket(Database* db, uint64_t copies) {
  const auto path = testing::SharedPath(
      "data/traces/trainticket/"
      "trainticket-2023-01-29.otlp-traces.jsonl.zst");
  if (!path.has_value()) {
    std::printf("skipped: no shared data\n");
    return {};
  }
  std::vector<SpanBatch> batches = LoadOtlpLines(*path);
  NsRange range{INT64_MAX, INT64_MIN};
  uint64_t spans = 0;
  std::vector<TraceId> ids;
  for (const SpanBatch& batch : batches) {
    spans += batch.spans().size();
    for (const SpanBatch::Span& span : batch.spans()) {
      range.min_ns = std::min(range.min_ns, span.start_ns);
      range.max_ns = std::max(range.max_ns, span.start_ns);
    }
  }
  const int64_t shift = range.max_ns - range.min_ns + 1'000'000'000;
  double append = 0;
  double maintain = 0;
  SpanBatch made;
  for (uint64_t copy = 0; copy < copies; ++copy) {
    for (const SpanBatch& batch : batches) {
      made.Clear();
      for (const SpanBatch::Resource& resource : batch.resources()) {
        made.AddResource(batch.attributes(resource.attributes), resource.schema_url);
      }
      for (const SpanBatch::Scope& scope : batch.scopes()) {
        made.AddScope(scope.resource, scope.name, scope.version);
      }
      for (SpanBatch::Span span : batch.spans()) {
        Renew(copy, span.trace_id.bytes.data(), 16);
        Renew(copy, span.span_id.bytes.data(), 8);
        if (!span.parent_id.empty()) Renew(copy, span.parent_id.bytes.data(), 8);
        span.start_ns += shift * static_cast<int64_t>(copy);
        span.end_ns += shift * static_cast<int64_t>(copy);
        made.AddSpan(span, {});
      }
      ids.push_back(made.spans()[0].trace_id);
      double before = CpuSeconds();
      Check(db->AppendSpans(made).status(), "append");
      append += CpuSeconds() - before;
      before = CpuSeconds();
      if (copies > 1) Check(db->Maintain(), "maintain");
      maintain += CpuSeconds() - before;
    }
  }
  spans *= copies;
  std::printf("%llu spans: append %.3f us a span, seal and merge meanwhile %.3f us\n",
              static_cast<unsigned long long>(spans), append * 1e6 / static_cast<double>(spans),
              maintain * 1e6 / static_cast<double>(spans));
  std::printf("head %.1f bytes a span, log %.1f\n",
              static_cast<double>(db->Stats().head_bytes) / static_cast<double>(spans),
              static_cast<double>(db->Stats().wal_bytes) / static_cast<double>(spans));
  Seal(db, spans);
  return ids;
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

std::vector<TraceId> Synthetic(Database* db, uint64_t spans_wanted) {
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
    Check(db->AppendSpans(batch).status(), "append");
    append += CpuSeconds() - before;
    before = CpuSeconds();
    Check(db->Maintain(), "maintain");
    maintain += CpuSeconds() - before;
  }
  std::printf("%llu spans: append %.3f us a span, seal and merge meanwhile %.3f us\n",
              static_cast<unsigned long long>(spans), append * 1e6 / static_cast<double>(spans),
              maintain * 1e6 / static_cast<double>(spans));
  Seal(db, spans);
  return ids;
}

/// Finds the ids of some traces in a database that was made before.
std::vector<TraceId> SomeTraces(const Database& db) {
  const auto snapshot = db.TakeTraceSnapshot();
  Check(snapshot.status(), "snapshot");
  auto cursor = (*snapshot)->Scan({});
  Check(cursor.status(), "scan");
  std::vector<TraceId> out;
  SpanColumns columns;
  for (uint64_t at = 0;;) {
    const auto more = (*cursor)->Next(&columns);
    Check(more.status(), "scan");
    if (!*more) break;
    for (; at < columns.size(); at += 9973) out.push_back(columns.trace_ids[at]);
    at -= columns.size();
  }
  return out;
}

void MeasureReading(const Database& db, std::vector<TraceId> ids, bool synthetic) {
  std::shuffle(ids.begin(), ids.end(), std::mt19937_64(7));
  if (ids.size() > 2000) ids.resize(2000);
  Lookups(db, ids);
  using Op = SpanPredicate::Op;
  const auto search = [&](const char* what, std::vector<SpanPredicate> predicates) {
    SpanScanSpec spec;
    spec.predicates = std::move(predicates);
    Search(db, what, std::move(spec));
  };
  if (!synthetic) {
    search("service = ts-order-service",
           {On(Intrinsic::kServiceName, Op::kEqual, std::string("ts-order-service"))});
    search("duration > 1 s", {On(Intrinsic::kDuration, Op::kGreater, int64_t{1'000'000'000})});
    search("name =~ .*order.*", {On(Intrinsic::kName, Op::kRegex, std::string(".*order.*"))});
    Query(db, "{ resource.service.name = \"ts-order-service\" }");
    Query(db, "{ resource.service.name = \"ts-order-service\" && duration > 2s }");
    Query(db, "{ name =~ \".*Refresh.*\" } | count() > 1000");
    Query(db, "{ duration > 1s } | rate() by (resource.service.name)");
    return;
  }
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
  Query(db, "{ span.http.response.status_code = 500 }");
  Query(db, "{ .http.response.status_code = 500 && .region = \"eu-west-1\" }");
  Query(db, "{ span.user.id = \"user-7\" }");
  Query(db, "{ span.net.peer.port = 1025 && span.cart.total > 999 }");
  Query(db, "{ span.http.response.status_code = 500 } && { span.net.peer.port = 1025 }");
  Query(db, "{ status = error } | rate() by (span.region)");
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  using namespace varve::bench;  // NOLINT(google-build-using-namespace)
  std::vector<std::string> words;
  std::string dir;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
      dir = argv[++i];
    } else {
      words.emplace_back(argv[i]);
    }
  }
  const bool keep = !dir.empty();
  if (!keep) {
    dir = std::filesystem::temp_directory_path() / "varve_traces_bench";
    std::filesystem::remove_all(dir);
  }
  const bool known = std::filesystem::exists(dir);
  const bool synthetic = !words.empty() && words[0] == "synthetic";
  const uint64_t size = words.size() > 1 ? std::strtoull(words[1].c_str(), nullptr, 10)
                        : synthetic      ? 1'000'000
                                         : 1;
  const auto db = varve::Database::Open(BenchOptions(dir));
  Check(db.status(), "open");
  std::vector<varve::TraceId> ids = known       ? SomeTraces(**db)
                                    : synthetic ? Synthetic(db->get(), size)
                                                : TrainTicket(db->get(), size);
  PrintSizes(**db, true);
  if (!ids.empty()) MeasureReading(**db, std::move(ids), synthetic);
  Check((*db)->Close(), "close");
  if (!keep) std::filesystem::remove_all(dir);
  return 0;
}
