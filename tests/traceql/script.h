#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "varve/span_batch.h"
#include "varve/span_scan.h"
#include "varve/traceql.h"

/// The language of the scripts in tests/traceql/scripts; its README describes it.
namespace varve::testing {

/// One command with the lines that it must print.
struct ScriptCase {
  int line = 0;
  std::string command;  // "search", "metrics", ...
  std::string options;  // what stands in brackets behind it
  std::string text;     // the query
  std::vector<std::string> expected;
};

struct Script {
  SpanBatch spans;
  std::vector<ScriptCase> cases;
  std::string error;  // empty if the script makes sense
};
Script ParseScript(std::string_view text);

/// Runs a command and gives the lines that it prints. Searches also run page by page, and again
/// from their printed form; a difference is printed as a line of its own.
std::vector<std::string> RunCase(const ScriptCase& command, query::TraceEngine& engine,
                                 const TraceSnapshot& snapshot);

/// The time that "+0ms" of a script means.
inline constexpr int64_t kScriptStartNs = 1'000'000'000'000;

}  // namespace varve::testing
