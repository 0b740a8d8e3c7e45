#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace varve::api {

/// Tells how much names look like what somebody typed. Compares bytes; case by ASCII.
class FuzzyMatcher {
 public:
  enum class Algorithm : uint8_t {
    kSubsequence,  // all typed characters come, in that order
    kJaroWinkler,  // the typed text is a part of the name, or the two are similar
  };
  /// Bounds the typed text, since similarity costs its length times that of a name.
  static constexpr size_t kBytesMax = 1024;

  /// Names that score below `threshold` (0 to 1) do not match.
  FuzzyMatcher(std::string_view typed, double threshold, bool case_sensitive, Algorithm algorithm);

  /// Gives a score from 0 to 1, which is equality; nothing if the name does not match.
  std::optional<double> Score(std::string_view name) const;

 private:
  const double threshold_;
  const bool case_sensitive_;
  const Algorithm algorithm_;
  const std::string typed_;  // in lower case unless case_sensitive_
};

/// Jaro's similarity, raised for a common prefix of up to four bytes (Winkler, 1990).
double JaroWinkler(std::string_view a, std::string_view b);

}  // namespace varve::api
