// Compares a matcher (analysis, then RE2) with RE2 alone. The input is a pattern, a line feed, and
// values separated by line feeds.

#include "engine/index/regex_plan.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/index/matchers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;         // NOLINT
  using namespace varve::index;  // NOLINT
  if (size > 4096) return 0;
  std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string pattern(input.substr(0, input.find('\n')));
  const auto made = CompiledMatcher::Make({MatchType::kRegex, "label", pattern});
  const auto go = FromGoSyntax(pattern);
  VARVE_CHECK(go.has_value() || !made.ok());
  if (!go) return 0;
  RE2::Options options(RE2::Quiet);
  options.set_dot_nl(true);
  options.set_max_mem(kRegexMemoryBytesMax);
  const RE2 regex(re2::StringPiece(*go), options);
  // The analysis needs no program where RE2's would be too large.
  VARVE_CHECK(made.ok() == regex.ok() ||
              (made.ok() && regex.error_code() == RE2::ErrorPatternTooLarge));
  if (!regex.ok()) return 0;
  const auto compare = [&](std::string_view value) {
    if (!IsValidUtf8(value)) {
      made->Matches(value);
      return;
    }
    const bool wanted = RE2::FullMatch(re2::StringPiece(value.data(), value.size()), regex);
    VARVE_CHECK(made->Matches(value) == wanted);
    VARVE_CHECK(!wanted || value.find(made->needle()) != std::string_view::npos);
    VARVE_CHECK(wanted || !made->needle_suffices() ||
                value.find(made->needle()) == std::string_view::npos);
    const auto prefixes = made->prefixes();
    VARVE_CHECK(!wanted || prefixes.empty() ||
                std::any_of(prefixes.begin(), prefixes.end(),
                            [&](const std::string& p) { return value.starts_with(p); }));
  };
  compare("");
  while (input.find('\n') != std::string_view::npos) {
    input.remove_prefix(input.find('\n') + 1);
    compare(input.substr(0, input.find('\n')));
  }
  if (made->literals() != nullptr) {
    for (size_t i = 0; i < std::min<size_t>(20, made->literals()->size()); ++i) {
      const std::string& literal = (*made->literals())[i];
      compare(literal);
      VARVE_CHECK(made->Matches(literal));
    }
  }
  return 0;
}
