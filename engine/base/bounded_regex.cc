#include "engine/base/bounded_regex.h"

#include <time.h>

#include <algorithm>

#include "engine/base/strings.h"

namespace varve {
namespace {

re2::RE2::Options OptionsOf(int64_t memory_bytes) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_max_mem(memory_bytes);
  return options;
}

std::string Shown(std::string_view pattern) {
  constexpr size_t kShownMax = 80;
  if (pattern.size() <= kShownMax) return Concat("\"", pattern, "\"");
  return Concat("\"", pattern.substr(0, kShownMax), "...\" (", pattern.size(), " bytes)");
}

/// CPU time of this thread, which other threads do not make longer.
double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

bool BoundedRegex::HasTooManyParts(std::string_view pattern) {
  return std::count_if(pattern.begin(), pattern.end(), [](char c) {
           return c == '?' || c == '*' || c == '{' || c == '(';
         }) > static_cast<ptrdiff_t>(kPartsMax);
}

BoundedRegex::BoundedRegex(std::string_view pattern, int64_t memory_bytes)
    : shown_(Shown(pattern)),
      too_many_parts_(HasTooManyParts(pattern)),
      regex_(re2::StringPiece(pattern.data(), too_many_parts_ ? 0 : pattern.size()),
             OptionsOf(memory_bytes)) {}

BoundedRegex::Answer BoundedRegex::Capture(std::string_view text, size_t at,
                                           re2::StringPiece* captures, int count) const {
  const auto search = [&](size_t bytes) {
    return regex_.Match(re2::StringPiece(text.data(), at + bytes), at, at + bytes,
                        re2::RE2::UNANCHORED, captures, count);
  };
  const size_t whole = text.size() - at;
  if (const uint64_t steps = Steps(text.substr(at)); steps > kStepsMax) [[unlikely]] {
    if (steps > kTriedStepsMax) return Answer::kRefused;
    constexpr double kStartSeconds = 0.05;  // the automaton's first states are the dear ones
    size_t bytes = static_cast<size_t>(whole * kStepsMax / steps);
    for (; bytes < whole; bytes *= 2) {
      const double begin = ThreadSeconds();
      search(bytes);
      const double share = static_cast<double>(bytes) / static_cast<double>(whole);
      if (ThreadSeconds() - begin > kSecondsMax * share + kStartSeconds) return Answer::kRefused;
    }
  }
  return search(whole) ? Answer::kYes : Answer::kNo;
}

}  // namespace varve
