// Runs the scripts with which Prometheus tests its own engine.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/memory_snapshot.h"
#include "tests/support/shared_data.h"
#include "tools/promqltest/runner.h"
#include "tools/promqltest/storage.h"

namespace varve::promqltest {
namespace {

/// Runs every script and reports each evaluation that differs.
void RunAll(const query::EngineOptions& engine_options, const StorageFactory& storage,
            const RunOptions& options) {
  const auto folder = testing::SharedPath("conformance/promql");
  if (!folder) GTEST_SKIP() << "skipped: no shared folder, so no scripts of Prometheus";
  const auto engine = query::Engine::Make(engine_options);
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() == ".test") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  size_t evals = 0;
  size_t passed = 0;
  for (const std::string& file : files) {
    const std::string name = std::filesystem::path(file).filename().string();
    const auto result = RunScript(testing::ReadFile(file), *engine, storage, options);
    ASSERT_TRUE(result.ok()) << name << ": " << result.status();
    std::printf("%s: %zu/%zu\n", name.c_str(), result->passed, result->evals);
    evals += result->evals;
    passed += result->passed;
    for (const Failure& failure : result->failures) {
      ADD_FAILURE() << name << ":" << failure.line << ": " << failure.query << "\n  "
                    << failure.message;
    }
  }
  std::printf("total: %zu/%zu\n", passed, evals);
  EXPECT_EQ(evals, 2214u);
}

TEST(PromqlScripts, InMemory) { RunAll(ScriptEngineOptions(), testing::MemoryStorage(), {}); }

TEST(PromqlScripts, OnDatabase) { RunAll(ScriptEngineOptions(), DatabaseStorage(Options()), {}); }
TEST(PromqlScripts, AfterFlush) {
  RunAll(ScriptEngineOptions(), DatabaseStorage(Options()), {Before::kFlush});
}
TEST(PromqlScripts, AfterCompaction) {
  RunAll(ScriptEngineOptions(), DatabaseStorage(Options()), {Before::kCompact});
}
TEST(PromqlScripts, AfterRestart) {
  RunAll(ScriptEngineOptions(), DatabaseStorage(Options()), {Before::kRestart});
}
TEST(PromqlScripts, AfterCrash) {
  RunAll(ScriptEngineOptions(), DatabaseStorage(Options()), {Before::kCrash});
}

TEST(PromqlScripts, OneSeriesAndOneStepATile) {
  query::EngineOptions options = ScriptEngineOptions();
  options.tile_series = 1;
  options.tile_steps = 1;
  RunAll(options, testing::MemoryStorage(), {});
}

}  // namespace
}  // namespace varve::promqltest
