// The first line is a regular expression, the others are lines: the automaton made of it must never
// answer otherwise than RE2.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/line_automaton.h"
#include "engine/logs/log_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (size > 512) return 0;
  const size_t end = std::min(input.find('\n'), input.size());
  const std::string pattern(input.substr(0, end));
  LogScanSpec spec;
  spec.line_filters = {{LineFilter::Op::kMatches, {pattern}}};
  const auto scan = CompileLogScan(spec);
  if (!scan.ok()) return 0;
  const std::vector<std::string> patterns{pattern};
  const auto automaton = logs::LineAutomaton::OfPatterns(patterns);
  if (automaton == nullptr) return 0;
  for (size_t at = end + 1; at <= size;) {
    const size_t stop = std::min(input.find('\n', at), size);
    const std::string_view line = input.substr(at, stop - at);
    at = stop + 1;
    using Verdict = logs::LineAutomaton::Verdict;
    const Verdict verdict = automaton->verdict(automaton->Run(logs::LineAutomaton::start(), line));
    if (verdict == Verdict::kUnsure) continue;
    if ((verdict == Verdict::kYes) != LineMatches(**scan, line)) __builtin_trap();
  }
  return 0;
}
