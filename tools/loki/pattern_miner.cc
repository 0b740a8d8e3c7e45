#include "tools/loki/pattern_miner.h"

#include <algorithm>

#include "engine/base/hash.h"

namespace varve::loki {
namespace {

bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '-' || c == '.' || c == '/' || (static_cast<unsigned char>(c) & 0x80) != 0;
}
bool HasDigit(std::string_view word) {
  return std::any_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

constexpr std::string_view kWildcard = "<_>";

}  // namespace

// Words are runs of letters, digits and what holds them together; all else stands alone. A word
// with a digit is taken for a variable from the start: numbers, ids, addresses.
void PatternMiner::Tokenize(std::string_view line) {
  tokens_.clear();
  for (size_t i = 0; i < line.size();) {
    if (tokens_.size() >= options_.tokens_max) {
      tokens_.emplace_back();
      return;
    }
    const size_t begin = i;
    if (!IsWord(line[i])) {
      ++i;
      tokens_.push_back(line.substr(begin, 1));
      continue;
    }
    while (i < line.size() && IsWord(line[i])) ++i;
    const std::string_view word = line.substr(begin, i - begin);
    tokens_.push_back(HasDigit(word) ? std::string_view() : word);
  }
}

uint64_t PatternMiner::LeafKey(std::string_view level) const {
  constexpr size_t kDepth = 3;
  uint64_t key = Hash64(level) + tokens_.size();
  size_t words = 0;
  for (const std::string_view token : tokens_) {
    if (token.size() == 1 && !IsWord(token.front())) continue;
    key = key * 0x9e3779b97f4a7c15u + Hash64(token);
    if (++words == kDepth) break;
  }
  return key;
}

void PatternMiner::Add(int64_t time_ns, std::string_view level, std::string_view line) {
  Tokenize(line);
  std::vector<uint32_t>& leaf = leaves_[LeafKey(level)];
  Cluster* best = nullptr;
  double best_share = options_.similarity_min;
  for (const uint32_t index : leaf) {
    Cluster& cluster = clusters_[index];
    if (cluster.tokens.size() != tokens_.size() || cluster.level != level) continue;
    size_t equal = 0;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (cluster.tokens[i] == tokens_[i]) ++equal;
    }
    const double share =
        tokens_.empty() ? 1 : static_cast<double>(equal) / static_cast<double>(tokens_.size());
    if (share >= best_share) {
      best_share = share;
      best = &cluster;
      if (equal == tokens_.size()) break;
    }
  }
  if (best == nullptr) {
    if (clusters_.size() >= options_.patterns_max) return;
    leaf.push_back(static_cast<uint32_t>(clusters_.size()));
    best = &clusters_.emplace_back();
    best->tokens.assign(tokens_.begin(), tokens_.end());
    best->level = level;
  } else {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      if (!best->tokens[i].empty() && best->tokens[i] != tokens_[i]) best->tokens[i].clear();
    }
  }
  ++best->count;
  int64_t bucket = time_ns / step_ns_;
  if (time_ns % step_ns_ < 0) --bucket;
  ++best->samples[bucket * step_ns_];
}

std::vector<PatternMiner::Pattern> PatternMiner::Patterns() const {
  std::vector<Pattern> out;
  // Clusters that have grown alike are one pattern.
  std::map<std::pair<std::string, std::string>, size_t> known;
  std::vector<std::map<int64_t, uint64_t>> samples;
  for (const Cluster& cluster : clusters_) {
    std::string text;
    for (const std::string& token : cluster.tokens) {
      if (!token.empty()) {
        text += token;
      } else if (!text.ends_with(kWildcard)) {
        text += kWildcard;
      }
    }
    const auto [at, fresh] = known.try_emplace({text, cluster.level}, out.size());
    if (fresh) {
      out.push_back({text, cluster.level, 0, {}});
      samples.emplace_back();
    }
    out[at->second].count += cluster.count;
    for (const auto& [time, count] : cluster.samples) samples[at->second][time] += count;
  }
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].samples.assign(samples[i].begin(), samples[i].end());
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const Pattern& a, const Pattern& b) { return a.count > b.count; });
  return out;
}

}  // namespace varve::loki
