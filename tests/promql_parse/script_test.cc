// Reads scripts of the test language.

#include "tools/promqltest/script.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/shared_data.h"

namespace varve::promqltest {
namespace {

TEST(Script, ReadsAllOfPrometheus) {
  const auto folder = testing::SharedPath("conformance/promql");
  if (!folder) GTEST_SKIP() << "skipped: no shared folder, so no scripts of Prometheus";
  size_t files = 0;
  size_t evals = 0;
  size_t ranges = 0;
  size_t loads = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".test") continue;
    ++files;
    const auto commands = ParseScript(testing::ReadFile(entry.path().string()));
    ASSERT_TRUE(commands.ok()) << entry.path() << ": " << commands.status();
    for (const Command& command : *commands) {
      if (const auto* eval = std::get_if<EvalCommand>(&command.what)) {
        ++evals;
        ranges += eval->is_range;
      }
      loads += std::holds_alternative<LoadCommand>(command.what);
    }
  }
  EXPECT_EQ(files, 21u);
  EXPECT_EQ(evals, 2214u);
  EXPECT_EQ(ranges, 329u);
  EXPECT_EQ(loads, 310u);
}

}  // namespace
}  // namespace varve::promqltest
