#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace varve::loki {

/// Finds the templates of log lines in one pass, in the manner of Drain (He et al., "Drain: An
/// Online Log Parsing Approach with Fixed Depth Tree", ICWS 2017): lines are cut into tokens,
/// looked up by token count and first words, and join the most similar template there, which then
/// keeps only what its lines share; the rest reads `<_>`. Memory is bounded by the number of
/// templates. Not thread-safe.
class PatternMiner {
 public:
  struct Options {
    size_t patterns_max = 500;
    size_t tokens_max = 128;      // of a line; what follows is one `<_>`
    double similarity_min = 0.6;  // share of equal tokens
  };
  struct Pattern {
    std::string text;
    std::string level;
    uint64_t count = 0;
    std::vector<std::pair<int64_t, uint64_t>> samples;  // bucket start, lines; ascending
  };

  /// `step_ns` is the width of the buckets that lines are counted in.
  PatternMiner(const Options& options, int64_t step_ns) : options_(options), step_ns_(step_ns) {}

  void Add(int64_t time_ns, std::string_view level, std::string_view line);
  /// Returns what was found, the most frequent first.
  std::vector<Pattern> Patterns() const;

 private:
  struct Cluster {
    std::vector<std::string> tokens;  // an empty one is a wildcard
    std::string level;
    uint64_t count = 0;
    std::map<int64_t, uint64_t> samples;
  };

  void Tokenize(std::string_view line);
  uint64_t LeafKey(std::string_view level) const;

  const Options options_;
  const int64_t step_ns_;
  std::vector<Cluster> clusters_;
  absl::flat_hash_map<uint64_t, std::vector<uint32_t>> leaves_;
  std::vector<std::string_view> tokens_;  // of the line at hand; empty: a wildcard
};

}  // namespace varve::loki
