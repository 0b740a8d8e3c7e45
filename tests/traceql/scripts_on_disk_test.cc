#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tests/traceql/script.h"
#include "tests/traceql/script_files.h"
#include "varve/database.h"

namespace varve::testing {
namespace {

Options TestOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options;
  options.dir = "db";
  options.background_threads = 0;
  options.file_system = std::move(fs);
  return options;
}

std::string Join(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out.append(Concat("  ", line, "\n"));
  return out;
}

void Check(const Database& db, const Script& script, std::string_view where) {
  const auto engine = query::TraceEngine::Make({.threads = 3});
  const auto snapshot = db.TakeTraceSnapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  for (const ScriptCase& one : script.cases) {
    EXPECT_EQ(Join(RunCase(one, *engine, **snapshot)), Join(one.expected))
        << where << ", line " << one.line << ": " << one.command << " " << one.text;
  }
}

/// Every script gives the same in the head, in blocks, after compaction and after a restart.
TEST(TraceQLOnDisk, ScriptsDoNotDependOnThePlaceOfTheData) {
  for (const auto& path : ScriptFiles()) {
    const Script script = ParseScript(ReadFile(path));
    ASSERT_EQ(script.error, "") << path;
    const std::string name = path.filename().string();
    const auto fs = std::make_shared<io::MemoryFileSystem>();
    auto db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    ASSERT_TRUE((*db)->AppendSpans(script.spans).ok());
    Check(**db, script, name + " in the head");
    ASSERT_TRUE((*db)->Flush().ok());
    Check(**db, script, name + " flushed");
    // Repeats of spans collapse, wherever they lie.
    ASSERT_TRUE((*db)->AppendSpans(script.spans).ok());
    Check(**db, script, name + " repeated");
    ASSERT_TRUE((*db)->Flush().ok());
    ASSERT_TRUE((*db)->Compact().ok());
    Check(**db, script, name + " compacted");
    ASSERT_TRUE((*db)->Close().ok());
    db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    Check(**db, script, name + " reopened");
  }
}

}  // namespace
}  // namespace varve::testing
