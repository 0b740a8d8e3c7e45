#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/promqltest/storage.h"
#include "varve/query.h"
#include "varve/status.h"

namespace varve::promqltest {

/// Gives the engine that Prometheus runs its own scripts with: everything experimental, delayed
/// name removal, start timestamps, lookback 5m, 10,000 samples, subquery step 1m.
query::EngineOptions ScriptEngineOptions();

/// What happens between the last load and an evaluation, besides what the script says.
enum class Before : uint8_t {
  kNothing,
  kFlush,
  kCompact,
  kRestart,
  kCrash,
};

struct RunOptions {
  Before before_evals = Before::kNothing;
  /// Runs each instant evaluation again with `@` on its selectors at five other times, and as the
  /// middle of a range query, as Prometheus does.
  bool hidden_reruns = true;
};

struct Failure {
  uint32_t line = 0;    // of the script, from 1
  std::string query;    // as run: hidden reruns differ from the script
  std::string message;  // what was expected and what came
};
struct RunResult {
  size_t evals = 0;
  size_t passed = 0;
  size_t queries = 0;             // hidden reruns included
  std::vector<Failure> failures;  // one for each evaluation that failed
};

/// Runs a script from its beginning, each evaluation whatever became of the ones before. Errors:
/// a script that does not parse, or a command other than an evaluation that fails.
Result<RunResult> RunScript(std::string_view script, query::Engine& engine,
                            const StorageFactory& storage, const RunOptions& options = {});

}  // namespace varve::promqltest
