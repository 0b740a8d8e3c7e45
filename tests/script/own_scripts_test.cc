// Runs the scripts of this folder.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "tests/support/memory_snapshot.h"
#include "tests/support/shared_data.h"
#include "tools/promqltest/runner.h"
#include "tools/promqltest/storage.h"

namespace varve::promqltest {
namespace {

std::vector<std::string> Scripts() {
  const char* source = std::getenv("VARVE_SOURCE");
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(source == nullptr ? "." : source) / "tests/script")) {
    if (entry.path().extension() == ".test") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void RunAll(const StorageFactory& storage, const RunOptions& options,
            const query::EngineOptions& engine_options) {
  const auto engine = query::Engine::Make(engine_options);
  const auto files = Scripts();
  ASSERT_GE(files.size(), 8u);
  for (const std::string& file : files) {
    const auto result = RunScript(testing::ReadFile(file), *engine, storage, options);
    ASSERT_TRUE(result.ok()) << file << ": " << result.status();
    EXPECT_GT(result->evals, 0u) << file;
    for (const Failure& failure : result->failures) {
      ADD_FAILURE() << file << ":" << failure.line << ": " << failure.query << "\n  "
                    << failure.message;
    }
  }
}

TEST(OwnScripts, OnDatabase) { RunAll(DatabaseStorage(Options()), {}, ScriptEngineOptions()); }
TEST(OwnScripts, AfterFlush) {
  RunAll(DatabaseStorage(Options()), {Before::kFlush}, ScriptEngineOptions());
}
TEST(OwnScripts, AfterCompaction) {
  RunAll(DatabaseStorage(Options()), {Before::kCompact}, ScriptEngineOptions());
}
TEST(OwnScripts, AfterRestart) {
  RunAll(DatabaseStorage(Options()), {Before::kRestart}, ScriptEngineOptions());
}
TEST(OwnScripts, AfterCrash) {
  RunAll(DatabaseStorage(Options()), {Before::kCrash}, ScriptEngineOptions());
}
TEST(OwnScripts, OnPlainMaps) { RunAll(testing::MemoryStorage(), {}, ScriptEngineOptions()); }
TEST(OwnScripts, WithTilesOfOne) {
  query::EngineOptions options = ScriptEngineOptions();
  options.tile_series = 1;
  options.tile_steps = 1;
  RunAll(DatabaseStorage(Options()), {}, options);
}

}  // namespace
}  // namespace varve::promqltest
