#include <cstdio>
#include <iostream>
#include <variant>

#include "varve/database.h"
#include "varve/query.h"

int main(int argc, char** argv) {
  // README begins
  varve::Options options;
  options.dir = argc > 1 ? argv[1] : "obs";
  auto db = varve::Database::Open(options);
  if (!db.ok()) return std::cerr << db.status() << "\n", 1;

  varve::WriteBatch batch;
  const auto series =
      batch.AddSeries(varve::Labels{{"__name__", "requests_total"}, {"job", "api"}});
  for (int i = 0; i <= 60; ++i) batch.AddSample(series, 1'700'000'000'000 + i * 15'000, i * 30.0);
  if (auto done = (*db)->Append(batch); !done.ok()) return std::cerr << done.status() << "\n", 1;
  // Durable now. Times of metrics are Unix milliseconds.

  auto engine = varve::query::Engine::Make({});
  auto result = engine->Instant(*(*db)->TakeSnapshot(), "sum by (job) (rate(requests_total[5m]))",
                                1'700'000'000'000 + 60 * 15'000);
  if (!result.ok()) return std::cerr << result.status() << "\n", 1;
  for (const auto& sample : std::get<varve::query::Vector>(result->value)) {
    std::cout << varve::ToString(sample.labels) << " " << sample.value << "\n";
  }
  // README ends
  return 0;
}
