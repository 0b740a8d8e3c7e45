// Times the parser on TraceQL queries, from a filter to metrics with structure and comments, and on
// one that is refused. Whole queries over ten million spans: bench/traces.

#include <benchmark/benchmark.h>

#include <iterator>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "query/lang/traceql/parse.h"

namespace varve::traceql {
namespace {

constexpr std::string_view kQueries[] = {
    R"({ status = error })",
    // What Grafana's search form makes.
    R"({ resource.service.name = "checkout" && span.http.response.status_code >= 500 && duration > 250ms })",
    R"({ name =~ "GET /api/v[12]/.*" } >> { span.db.system = "postgresql" && duration > 1s } | by(resource.service.name) | count() > 2)",
    R"({ kind = server } | quantile_over_time(duration, 0.5, 0.95, 0.99) by (resource.service.name, span.http.route))",
    "// errors of one shop\n"
    R"({ resource.service.name = "checkout" /* and what it calls */ } &>> { status = error } | select(span.http.url, statusMessage))",
};

void BM_Parse(benchmark::State& state) {
  const std::string query(kQueries[state.range(0)]);
  for (auto _ : state) {
    auto parsed = Parse(query);
    VARVE_CHECK(parsed.ok());
    benchmark::DoNotOptimize(parsed);
  }
  state.SetLabel(query.substr(0, 60));
  state.counters["bytes"] = static_cast<double>(query.size());
}
BENCHMARK(BM_Parse)->DenseRange(0, std::size(kQueries) - 1)->Unit(benchmark::kMicrosecond);

void BM_Refuse(benchmark::State& state) {
  for (auto _ : state) {
    auto parsed = Parse(R"({ resource.service.name = "checkout" && span.http.status_code >= })");
    VARVE_CHECK(!parsed.ok());
    benchmark::DoNotOptimize(parsed);
  }
}
BENCHMARK(BM_Refuse)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace varve::traceql

BENCHMARK_MAIN();
