#include "tools/promqltest/command.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "tools/promqltest/runner.h"

namespace varve::promqltest {
namespace {

int Usage() {
  std::fputs(
      "usage: varve promqltest [--verbose] [--before=flush|compact|restart|crash] FILE...\n"
      "Runs scripts of Prometheus's test language, with our flush, compact, restart [crash] and\n"
      "delete SELECTOR. --before does that before each first evaluation after a load.\n",
      stderr);
  return 2;
}

std::optional<Before> ParseBefore(std::string_view name) {
  if (name == "flush") return Before::kFlush;
  if (name == "compact") return Before::kCompact;
  if (name == "restart") return Before::kRestart;
  if (name == "crash") return Before::kCrash;
  return std::nullopt;
}

}  // namespace

int RunPromqlTestOn(int argc, const char* const* argv, const StorageFactory& storage) {
  RunOptions options;
  bool verbose = false;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--verbose" || arg == "-v") {
      verbose = true;
    } else if (arg.starts_with("--before=")) {
      const auto before = ParseBefore(arg.substr(9));
      if (!before) return Usage();
      options.before_evals = *before;
    } else if (arg.starts_with("-")) {
      return Usage();
    } else {
      files.emplace_back(arg);
    }
  }
  if (files.empty()) return Usage();

  const auto engine = query::Engine::Make(ScriptEngineOptions());
  size_t evals = 0;
  size_t passed = 0;
  bool broken = false;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string script{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    if (!in.good() && !in.eof()) {
      std::fprintf(stderr, "%s: cannot be read\n", file.c_str());
      broken = true;
      continue;
    }
    const auto result = RunScript(script, *engine, storage, options);
    if (!result.ok()) {
      std::printf("%s: %s\n", file.c_str(), std::string(result.status().message()).c_str());
      broken = true;
      continue;
    }
    evals += result->evals;
    passed += result->passed;
    std::printf("%s: %zu/%zu\n", file.c_str(), result->passed, result->evals);
    const size_t shown =
        verbose ? result->failures.size() : std::min<size_t>(3, result->failures.size());
    for (size_t i = 0; i < shown; ++i) {
      const Failure& failure = result->failures[i];
      std::printf("  line %u: %s\n    %s\n", failure.line, failure.query.c_str(),
                  failure.message.c_str());
    }
  }
  if (files.size() > 1) std::printf("total: %zu/%zu\n", passed, evals);
  return broken || passed != evals ? 1 : 0;
}

}  // namespace varve::promqltest
