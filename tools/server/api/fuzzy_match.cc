#include "tools/server/api/fuzzy_match.h"

#include <algorithm>
#include <vector>

namespace varve::api {
namespace {

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

/// Scores how unbroken a subsequence is: runs count by the square of their length, so that one run
/// at the front of a short name comes first. Nothing if it is no subsequence.
std::optional<double> SubsequenceScore(std::string_view typed, std::string_view name) {
  if (typed == name) return 1;
  double runs = 0;
  size_t run = 0;
  size_t t = 0;
  size_t first = name.size();
  for (size_t i = 0; i < name.size() && t < typed.size(); ++i) {
    if (name[i] == typed[t]) {
      first = std::min(first, i);
      ++run;
      ++t;
    } else {
      runs += static_cast<double>(run * run);
      run = 0;
    }
  }
  if (t < typed.size()) return std::nullopt;
  runs += static_cast<double>(run * run);
  // A greedy walk breaks up runs that come whole later: "ab" in "a_ab".
  if (const size_t whole = name.find(typed); whole != std::string_view::npos) {
    runs = static_cast<double>(typed.size() * typed.size());
    first = whole;
  }
  const auto size = static_cast<double>(typed.size());
  const auto length = static_cast<double>(name.size());
  const double unbroken = runs / (size * size);
  const double early = 1 - static_cast<double>(first) / length;
  const double covered = size / length;
  return 0.7 * unbroken + 0.15 * early + 0.15 * covered;
}

}  // namespace

FuzzyMatcher::FuzzyMatcher(std::string_view typed, double threshold, bool case_sensitive,
                           Algorithm algorithm)
    : threshold_(threshold),
      case_sensitive_(case_sensitive),
      algorithm_(algorithm),
      typed_(case_sensitive ? std::string(typed) : Lower(typed)) {}

std::optional<double> FuzzyMatcher::Score(std::string_view name) const {
  std::string lower;
  if (!case_sensitive_) name = lower = Lower(name);
  std::optional<double> score;
  if (algorithm_ == Algorithm::kSubsequence) {
    score = SubsequenceScore(typed_, name);
  } else {
    // Only the beginning of a monstrous name is looked at.
    score = JaroWinkler(typed_, name.substr(0, 2 * kBytesMax));
    // A part of the name matches however high the threshold.
    if (name.find(typed_) != std::string_view::npos) return std::max(*score, threshold_);
  }
  if (!score || *score < threshold_) return std::nullopt;
  return score;
}

double JaroWinkler(std::string_view a, std::string_view b) {
  if (a == b) return 1;
  if (a.empty() || b.empty()) return 0;
  const size_t longer = std::max(a.size(), b.size());
  const size_t reach = longer / 2 > 0 ? longer / 2 - 1 : 0;
  std::vector<bool> taken(b.size());
  std::string matched;  // of `a`, in order
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t begin = i > reach ? i - reach : 0;
    const size_t end = std::min(b.size(), i + reach + 1);
    for (size_t k = begin; k < end; ++k) {
      if (taken[k] || a[i] != b[k]) continue;
      taken[k] = true;
      matched.push_back(a[i]);
      break;
    }
  }
  if (matched.empty()) return 0;
  size_t swapped = 0;
  size_t at = 0;
  for (size_t k = 0; k < b.size(); ++k) {
    if (taken[k]) swapped += matched[at++] != b[k];
  }
  const auto m = static_cast<double>(matched.size());
  const double jaro = (m / static_cast<double>(a.size()) + m / static_cast<double>(b.size()) +
                       (m - static_cast<double>(swapped) / 2) / m) /
                      3;
  size_t prefix = 0;
  while (prefix < std::min({a.size(), b.size(), size_t{4}}) && a[prefix] == b[prefix]) ++prefix;
  return jaro + static_cast<double>(prefix) * 0.1 * (1 - jaro);
}

}  // namespace varve::api
