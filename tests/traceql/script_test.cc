#include "tests/traceql/script.h"

#include <gtest/gtest.h>
#include <re2/re2.h>

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

/// TraceQL's operators, intrinsics, scopes and functions, each as a regular expression that a query
/// with it satisfies.
constexpr const char* kVocabulary[] = {
    // Field operators and literals.
    R"(&&)", R"(\|\|)", R"(\{ ?!)", R"( = )", R"(!= )", R"( < )", R"( <= )", R"( > )", R"( >= )",
    R"(=~)", R"(!~)", R"( \+ )", R"( - )", R"( \* )", R"( / )", R"( % )", R"( \^ )", R"(-\w)",
    R"(= nil)", R"(!= nil)", R"(\[.+,.+\])", R"("[^"]*")", R"(`[^`]*`)", R"(\b\d+\.\d+\b)",
    R"(\d(ns|us|ms|s|m|h)\b)", R"(\btrue\b)", R"(\bfalse\b)", R"(= error)", R"(= ok)", R"(= unset)",
    R"(\bserver\b)", R"(\bclient\b)", R"(\bproducer\b)", R"(\bconsumer\b)", R"(\binternal\b)",
    R"(\bunspecified\b)",
    // Scopes.
    R"(\bspan\.)", R"(\bresource\.)", R"(\bevent\.)", R"(\blink\.)", R"(\binstrumentation\.)",
    R"([ {]\.\w)", R"(\."[^"]+")",
    // Intrinsics.
    R"([ {(]duration\b)", R"([ {(]name\b)", R"([ {(]status\b)", R"(\bstatusMessage\b)",
    R"([ {(]kind\b)", R"(\brootName\b)", R"(\brootServiceName\b)", R"(\btraceDuration\b)",
    R"(\bnestedSetLeft\b)", R"(\bnestedSetRight\b)", R"(\bnestedSetParent\b)", R"(\bspan:id\b)",
    R"(\bspan:parentID\b)", R"(\bspan:name\b)", R"(\bspan:kind\b)", R"(\bspan:status\b)",
    R"(\bspan:statusMessage\b)", R"(\bspan:duration\b)", R"(\bspan:childCount\b)",
    R"(\btrace:id\b)", R"(\btrace:duration\b)", R"(\btrace:rootName\b)", R"(\btrace:rootService\b)",
    R"(\bevent:name\b)", R"(\bevent:timeSinceStart\b)", R"(\blink:traceID\b)", R"(\blink:spanID\b)",
    R"(\binstrumentation:name\b)", R"(\binstrumentation:version\b)",
    // Spanset operators.
    R"(\} && )", R"(\} \|\| )", R"(\} > )", R"(\} >> )", R"(\} < )", R"(\} << )", R"(\} ~ )",
    R"(\} !> )", R"(\} !>> )", R"(\} !< )", R"(\} !<< )", R"(\} !~ )", R"(\} &> )", R"(\} &>> )",
    R"(\} &< )", R"(\} &<< )", R"(\} &~ )",
    // Pipelines.
    R"(\| ?by ?\()", R"(\| ?coalesce\(\))", R"(\| ?select ?\()", R"(\| ?count\(\))", R"(\bavg\()",
    R"(\bmin\()", R"(\bmax\()", R"(\bsum\()",
    // Metrics.
    R"(\brate\(\))", R"(\bcount_over_time\(\))", R"(\bmin_over_time\()", R"(\bmax_over_time\()",
    R"(\bavg_over_time\()", R"(\bsum_over_time\()", R"(\bquantile_over_time\()",
    R"(\bhistogram_over_time\()", R"(\bcompare\()", R"(\btopk\()", R"(\bbottomk\()", R"(\) by ?\()",
    R"(\) > \d)", R"(\) [-+*/] \()",
    // Hints.
    R"(\bsample=)", R"(\btrace_sample=)", R"(\bspan_sample=)", R"(\bexemplars=)",
    R"(\bmost_recent=)", R"(\bextrapolate=)"};

TEST(TraceQLScripts, UseEveryWordOfTheLanguage) {
  std::string queries;  // those that are answered, a line each
  for (const auto& path : ScriptFiles()) {
    for (const ScriptCase& one : ParseScript(ReadFile(path)).cases) {
      const bool refused = !one.expected.empty() && one.expected[0].starts_with("error");
      if (one.command != "format" && !refused) queries += Concat(one.text, "\n");
    }
  }
  for (const char* const word : kVocabulary) {
    EXPECT_TRUE(re2::RE2::PartialMatch(queries, word)) << "no script uses " << word;
  }
}

}  // namespace
}  // namespace varve::testing
