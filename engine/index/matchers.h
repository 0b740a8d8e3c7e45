#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/status.h"

namespace varve::index {

/// Bound what one regular expression may cost. A pattern of a program is at most this long;
/// dashboards that select hundreds of hosts by name stay well below.
inline constexpr size_t kPatternBytesMax = 256 * 1024;
/// The memory that RE2 may spend on one compiled pattern and its automaton.
inline constexpr int64_t kRegexMemoryBytesMax = int64_t{8} << 20;

class RegexPlan;

/// A matcher ready to run: a regular expression is analysed (RegexPlan) and, only where the
/// analysis does not decide alone, compiled by RE2.
///
/// Semantics are Prometheus's: an absent label has the empty value; expressions are anchored at
/// both ends; the dot matches a newline; the syntax is the common one of RE2 and Go (`\C` is
/// refused, `(?<name>...)` accepted). In a value that is not UTF-8 each stray byte counts as
/// U+FFFD, as in Go.
///
/// A cheap handle (two words); immutable and thread-safe.
class CompiledMatcher {
 public:
  /// Errors: kInvalidArgument naming the matcher: bad or too long pattern, or one whose program
  /// needs more than kRegexMemoryBytesMax. Cost: microseconds; a large set of alternatives that
  /// the analysis understands never reaches RE2.
  static Result<CompiledMatcher> Make(const Matcher& matcher);

  const Matcher& matcher() const;
  const std::string& name() const { return matcher().name; }
  MatchType type() const { return matcher().type; }
  bool negative() const { return type() == MatchType::kNotEqual || type() == MatchType::kNotRegex; }

  /// Tests a label value; the empty one stands for an absent label.
  bool Matches(std::string_view value) const { return Accepts(value) != negative(); }
  /// Tells Matches("") without running anything: whether series without the label match.
  bool MatchesEmpty() const { return accepts_empty() != negative(); }

  /// The rest describes the matcher without its negation: Accepts is = or =~.
  bool Accepts(std::string_view value) const;
  bool accepts_empty() const;
  /// Tells that every value is accepted, or every value but the empty one.
  bool accepts_all() const;
  bool accepts_all_but_empty() const;
  /// Returns all accepted values, sorted and unique, if they are few enough to be listed; null
  /// otherwise. An equality has one. May hold the empty string.
  const std::vector<std::string>* literals() const;
  /// Returns strings, sorted and none the beginning of another, one of which begins each accepted
  /// value. Empty when nothing is known.
  std::span<const std::string> prefixes() const;
  /// Returns a string that every accepted value contains; empty when nothing is known.
  std::string_view needle() const;
  /// Tells that containing needle() is enough to be accepted.
  bool needle_suffices() const;

 private:
  struct Compiled;
  explicit CompiledMatcher(std::shared_ptr<const Compiled> compiled)
      : compiled_(std::move(compiled)) {}

  std::shared_ptr<const Compiled> compiled_;
};

/// Compiles all, in order; the first error wins.
Result<std::vector<CompiledMatcher>> CompileMatchers(std::span<const Matcher> matchers);

}  // namespace varve::index
