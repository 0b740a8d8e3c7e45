// Times the parser on dashboard queries, cold cache (each query parsed) and warm (each query
// found).

#include <benchmark/benchmark.h>
#include <simdjson.h>
#include <time.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "query/lang/promql/parse.h"
#include "query/lang/promql/print.h"
#include "tests/support/shared_data.h"

namespace varve::promql {
namespace {

constexpr std::string_view kQueries[] = {
    // A selector.
    R"(up{job="node"})",
    // The most common panel.
    R"(sum by (instance, mode) (rate(node_cpu_seconds_total{job=~"node.*", mode!="idle"}[5m])))",
    // A latency panel.
    R"(histogram_quantile(0.99, sum by (le, route) (rate(http_request_duration_seconds_bucket{cluster="$cluster", namespace=~"prod|staging"}[$__rate_interval:])) > 0))",
    // An alert with a join.
    R"((rate(alertmanager_notifications_failed_total[5m]) / ignoring(reason) group_left rate(alertmanager_notifications_total[5m])) > 0.01 and ignoring(reason) rate(alertmanager_notifications_total[5m]) > 0)",
    // A long recording rule of the Kubernetes mixin.
    R"(sum by (cluster, namespace, pod, container) (irate(container_cpu_usage_seconds_total{job="kubelet", metrics_path="/metrics/cadvisor", image!=""}[5m])) * on (cluster, namespace, pod) group_left(node) topk by (cluster, namespace, pod) (1, max by(cluster, namespace, pod, node) (kube_pod_info{node!=""})))",
};

void BM_Parse(benchmark::State& state) {
  std::string query(kQueries[state.range(0)]);
  if (const size_t at = query.find("$__rate_interval"); at != std::string::npos) {
    query.replace(at, 16, "5m");
  }
  for (auto _ : state) {
    auto expr = Parse(query);
    VARVE_CHECK(expr.ok());
    benchmark::DoNotOptimize(expr);
  }
  state.SetLabel(query.substr(0, 60));
  state.counters["bytes"] = static_cast<double>(query.size());
}
BENCHMARK(BM_Parse)->DenseRange(0, std::size(kQueries) - 1)->Unit(benchmark::kMicrosecond);

double CpuMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

/// The queries of public dashboards and rules: what a typical one is, and what it costs. Each is
/// timed alone, the best of five.
void BM_ParseRealWorld(benchmark::State& state) {
  const auto path = testing::SharedPath("conformance/promql/real_world.ndjson.zst");
  if (!path) {
    state.SkipWithError("skipped: no shared folder, so no real-world queries");
    return;
  }
  const std::string text = testing::ReadFile(*path);
  std::set<std::string> queries;
  simdjson::dom::parser json;
  for (const std::string_view line : testing::SplitLines(text)) {
    const simdjson::dom::element record = json.parse(simdjson::padded_string(line));
    std::string query{record["exec"].get_string().value()};
    if (Parse(query).ok()) queries.insert(std::move(query));
  }
  std::vector<double> bytes;
  std::vector<double> costs;
  for (auto _ : state) {
    bytes.clear();
    costs.clear();
    for (const std::string& query : queries) {
      double best = 1e9;
      for (int i = 0; i < 5; ++i) {
        const double begin = CpuMicroseconds();
        benchmark::DoNotOptimize(Parse(query));
        best = std::min(best, CpuMicroseconds() - begin);
      }
      bytes.push_back(static_cast<double>(query.size()));
      costs.push_back(best);
    }
  }
  const auto quantile = [](std::vector<double>& values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
  };
  state.counters["queries"] = static_cast<double>(queries.size());
  state.counters["bytes_p50"] = quantile(bytes, 0.5);
  state.counters["bytes_p90"] = quantile(bytes, 0.9);
  state.counters["us_p50"] = quantile(costs, 0.5);
  state.counters["us_p90"] = quantile(costs, 0.9);
  const auto below = std::lower_bound(costs.begin(), costs.end(), 100.0) - costs.begin();
  state.counters["below_100us"] = static_cast<double>(below) / static_cast<double>(costs.size());
}
BENCHMARK(BM_ParseRealWorld)->Iterations(1)->Unit(benchmark::kMillisecond);

void BM_ParseCached(benchmark::State& state) {
  for (auto _ : state) {
    auto expr = ParseCached(kQueries[1]);
    VARVE_CHECK(expr.ok());
    benchmark::DoNotOptimize(expr);
  }
}
BENCHMARK(BM_ParseCached);

void BM_Refuse(benchmark::State& state) {
  for (auto _ : state) {
    auto expr = Parse("sum by (instance) (rate(node_cpu_seconds_total[5m]) > ");
    VARVE_CHECK(!expr.ok());
    benchmark::DoNotOptimize(expr);
  }
}
BENCHMARK(BM_Refuse)->Unit(benchmark::kMicrosecond);

void BM_Print(benchmark::State& state) {
  const auto expr = Parse(kQueries[4]);
  VARVE_CHECK(expr.ok());
  for (auto _ : state) benchmark::DoNotOptimize(Print(**expr));
}
BENCHMARK(BM_Print)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace varve::promql

BENCHMARK_MAIN();
