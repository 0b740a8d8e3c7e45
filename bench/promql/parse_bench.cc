// Times the parser on dashboard queries, cold cache (each query parsed) and warm (each query
// found).

#include <benchmark/benchmark.h>

#include <string_view>

#include "engine/base/macros.h"
#include "query/lang/promql/parse.h"
#include "query/lang/promql/print.h"

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
