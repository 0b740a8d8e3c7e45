#include "tests/traceql/script.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "tests/support/memory_trace_snapshot.h"
#include "tests/traceql/script_files.h"

namespace varve::testing {
namespace {

std::string Join(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out.append(Concat("  ", line, "\n"));
  return out;
}

/// Runs all scripts over stores of one layout; returns the number of cases.
size_t RunAll(const MemoryTraceStore::Options& layout) {
  const auto engine = query::TraceEngine::Make({});
  size_t cases = 0;
  for (const auto& path : ScriptFiles()) {
    Script script = ParseScript(ReadFile(path));
    EXPECT_EQ(script.error, "") << path;
    MemoryTraceStore store(layout);
    store.Append(script.spans);
    const auto snapshot = store.TakeSnapshot();
    for (const ScriptCase& one : script.cases) {
      ++cases;
      EXPECT_EQ(Join(RunCase(one, *engine, *snapshot)), Join(one.expected))
          << path.filename().string() << ":" << one.line << ": " << one.command << " " << one.text;
    }
  }
  return cases;
}

TEST(TraceQLScripts, GiveWhatTheySay) {
  const size_t cases = RunAll({});
  EXPECT_GE(cases, 200u);
  std::printf("%zu cases\n", cases);
}

TEST(TraceQLScripts, DoNotDependOnLayout) {
  RunAll({.batch_rows = 1, .block_spans = 0, .seed = 7});
  RunAll({.batch_rows = 3, .block_spans = 4, .seed = 8});
  RunAll({.batch_rows = 1000, .block_spans = 1, .seed = 9});
}

}  // namespace
}  // namespace varve::testing
