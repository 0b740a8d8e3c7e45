#pragma once

#include <re2/re2.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace varve {

/// An expression for texts that may be long: log lines, values parsed from them. RE2's time grows
/// with the product of the expression's size and the text's, and nothing can interrupt it; mostly
/// its automaton makes it far faster than that, but nothing tells beforehand. So where the product
/// is large the search is tried on beginnings of the text, each twice as long, and given up once
/// the whole would take more than about a second of CPU. What people write does not come near:
/// 1,000 alternatives of 36 bytes search a line of 200 KB in less than a millisecond. Immutable and
/// thread-safe.
class BoundedRegex {
 public:
  enum class Answer : uint8_t { kNo, kYes, kRefused };
  /// The largest program, in RE2's instructions: about one a byte of plain text.
  static constexpr int kInstructionsMax = 100'000;
  /// The most groups and repetitions: compiling takes time with the square of what may be missing
  /// in a row, 0.4 s here.
  static constexpr size_t kPartsMax = 10'000;
  static bool HasTooManyParts(std::string_view pattern);

  /// `memory_bytes` bounds the program and its automaton.
  static constexpr int64_t kMemoryBytesMax = int64_t{8} << 20;
  explicit BoundedRegex(std::string_view pattern, int64_t memory_bytes = kMemoryBytesMax);

  /// Says that RE2 takes the expression and that it is not too large.
  bool ok() const { return regex_.ok() && !too_large(); }
  bool too_large() const {
    return too_many_parts_ || (regex_.ok() ? regex_.ProgramSize() > kInstructionsMax
                                           : regex_.error_code() == re2::RE2::ErrorPatternTooLarge);
  }
  /// Says why it is not ok, in RE2's words.
  std::string error() const { return too_large() ? "expression too large" : regex_.error(); }
  const re2::RE2& re2() const { return regex_; }
  /// Gives the pattern in quotes, its beginning where it is long.
  const std::string& Describe() const { return shown_; }

  /// Bounds what a search of the text may cost: instructions times bytes, at worst 16 ns each.
  uint64_t Steps(std::string_view text) const {
    return static_cast<uint64_t>(regex_.ProgramSize()) * text.size();
  }

  /// Tells whether the expression matches somewhere in the text.
  Answer Find(std::string_view text) const { return Capture(text, 0, nullptr, 0); }
  /// Finds the first match at or behind `at` and what its groups hold, as RE2::Match does.
  Answer Capture(std::string_view text, size_t at, re2::StringPiece* captures, int count) const;

 private:
  static constexpr uint64_t kStepsMax = uint64_t{8} << 20;  // done without trying
  static constexpr uint64_t kTriedStepsMax = uint64_t{1} << 33;
  static constexpr double kSecondsMax = 1;

  const std::string shown_;
  const bool too_many_parts_;
  const re2::RE2 regex_;  // of nothing where there are too many parts
};

}  // namespace varve
