// The first byte chooses: decode the rest as encoded lines, times or metadata of a row group; or
// take it as text, and what is encoded must decode to the same lines, whose own words must pass the
// test of templates, and in which an automaton must end as it does on the lines themselves.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/columns.h"
#include "engine/logs/line_automaton.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/line_table.h"
#include "tests/support/padded_lines.h"

namespace {

const varve::logs::LineAutomaton* Automaton() {
  static const auto automaton = [] {
    const std::vector<std::string> patterns{"[0-9]{2}[a-f]|x.*7", "^a", "9$"};
    return varve::logs::LineAutomaton::OfPatterns(patterns);
  }();
  return automaton.get();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::logs;
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  Rows rows;
  switch (data[0] % 4) {
    case 0:
      DecodeLines(rest.substr(1), static_cast<uint8_t>(rest[0]), 4096, &rows).IgnoreError();
      LinesMayContain(rest.substr(1), static_cast<uint8_t>(rest[0]), 4096, "some word")
          .status()
          .IgnoreError();
      {
        LineTable table;
        std::vector<LineAutomaton::State> ends;
        if (!table.Open(rest.substr(1), static_cast<uint8_t>(rest[0]), 4096).ok()) break;
        if (!table.templated()) break;
        table.Run(*Automaton(), &ends).IgnoreError();
        std::vector<uint32_t> some;
        for (uint32_t row = 0; row < table.count(); row += 3) some.push_back(row);
        table.RenderSome(some, &rows).IgnoreError();
      }
      break;
    case 1: {
      std::vector<int64_t> times;
      DecodeTimes(rest.substr(1), static_cast<uint8_t>(rest[0]), &times).IgnoreError();
      break;
    }
    case 2: {
      const std::vector<std::string_view> names{"a", "b"};
      DecodeMetadata(rest.substr(1), static_cast<uint8_t>(rest[0]), names, &rows).IgnoreError();
      break;
    }
    default: {
      std::vector<std::string_view> lines;
      uint64_t bytes = 0;
      // Short inputs say little about templates: each line is there several times, shifted.
      for (int copy = 0; copy < 5; ++copy) {
        for (size_t at = static_cast<size_t>(copy % 2); at <= rest.size();) {
          const size_t end = std::min(rest.find('\n', at), rest.size());
          lines.push_back(rest.substr(at, end - at));
          bytes += end - at;
          at = end + 1;
        }
      }
      std::string encoded;
      std::vector<uint64_t> keys;
      EncodeLines(PaddedLines(lines).lines(), &encoded, &keys);
      if (!DecodeLines(encoded, static_cast<uint32_t>(lines.size()), bytes, &rows).ok()) {
        __builtin_trap();
      }
      for (uint32_t i = 0; i < lines.size(); ++i) {
        if (rows.line(i) != lines[i]) __builtin_trap();
      }
      const auto may = LinesMayContain(encoded, static_cast<uint32_t>(lines.size()), bytes,
                                       lines[lines.size() / 2]);
      if (!may.ok() || !*may) __builtin_trap();
      LineTable table;
      std::vector<LineAutomaton::State> ends;
      if (!table.Open(encoded, static_cast<uint32_t>(lines.size()), bytes).ok()) __builtin_trap();
      if (!table.templated()) break;
      if (!table.Run(*Automaton(), &ends).ok()) __builtin_trap();
      for (size_t i = 0; i < lines.size(); ++i) {
        if (ends[i] != Automaton()->Run(LineAutomaton::start(), lines[i])) __builtin_trap();
      }
    }
  }
  return 0;
}
