#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve::index {

/// What can be said about an anchored regular expression without running it.
///
/// The expression is read as alternatives, each a row of literal texts with gaps between them:
/// `a.*b|c.+` has the alternatives a GAP b and c GAP. A gap stands for `.*` (any string), `.+`
/// (any but the empty one) or something that the analysis does not follow; the last kind makes
/// the alternative inexact: matching it is necessary, not sufficient.
///
/// The analysis gives up (nothing known) on flags, case folding, escapes it does not know and
/// whatever else it is not sure to read as RE2 does. Small character classes and optional parts
/// become alternatives, up to the bounds below. Texts are UTF-8 and never contain U+FFFD, so
/// that testing raw bytes is the same as testing them with stray bytes replaced by U+FFFD.
class RegexPlan {
 public:
  static constexpr size_t kAlternativesMax = 16384;
  static constexpr size_t kWorkMax = size_t{16} << 20;  // bytes copied to make them
  static constexpr size_t kTestedMax = 64;    // alternatives tried on a value; more are left to RE2
  static constexpr size_t kProductMax = 256;  // alternatives made by multiplying (a|b)(c|d)
  static constexpr size_t kClassMax = 32;     // runes of a class that become alternatives
  static constexpr size_t kPrefixesMax = 256;

  enum class Verdict : uint8_t { kNo, kYes, kMaybe };

  struct Alternative {
    /// texts.size() - 1 gaps; the first text is a prefix, the last a suffix (both may be empty).
    std::vector<std::string> texts;
    std::vector<uint8_t> gap_bytes_min;  // 0 or 1
    bool exact = true;
  };

  /// Reads `pattern`.
  static RegexPlan Analyse(std::string_view pattern);

  /// Tests a value against the alternatives.
  Verdict Test(std::string_view value) const;

  /// Tells that RE2 surely accepts the pattern; where this is false RE2 must be asked.
  bool valid() const { return valid_; }
  /// Tells that Test never answers kMaybe.
  bool exact() const { return exact_; }
  /// All accepted values, sorted and unique; null if they cannot be listed.
  const std::vector<std::string>* literals() const { return literals_ ? &*literals_ : nullptr; }
  const std::vector<std::string>& prefixes() const { return prefixes_; }
  std::string_view needle() const { return needle_; }
  bool needle_suffices() const { return needle_suffices_; }
  bool accepts_all() const { return accepts_all_; }
  bool accepts_all_but_empty() const { return accepts_all_but_empty_; }

 private:
  void Summarise();

  std::vector<Alternative> alternatives_;
  bool valid_ = false;
  bool exact_ = false;
  std::optional<std::vector<std::string>> literals_;
  std::vector<std::string> prefixes_;
  std::string needle_;
  bool needle_suffices_ = false;
  bool accepts_all_ = false;
  bool accepts_all_but_empty_ = false;
};

/// Rewrites a pattern of Go's syntax for this RE2: `(?<name>` becomes `(?P<name>`. Returns
/// nullopt if the pattern uses `\C`, which Go does not know.
std::optional<std::string> FromGoSyntax(std::string_view pattern);

}  // namespace varve::index
