#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace varve::logs {

/// A deterministic automaton that reads a line byte by byte and tells whether some text is in it or
/// some expression matches it. Unlike RE2's it can be stopped and gone on with anywhere, so that
/// lines can be tested piece by piece, and pieces that many lines share are read once.
///
/// It never answers kNo for a line in which RE2 finds a match. It answers kUnsure where it is not
/// sure to read as RE2 does: what it takes for a match crosses bytes from 0x80 on while the
/// expression has classes of such characters, or the expression asks for the ends of words.
/// Immutable and thread-safe.
class LineAutomaton {
 public:
  using State = uint16_t;
  static constexpr size_t kStatesMax = 512;
  static constexpr State kNone = UINT16_MAX;

  /// Returns an automaton for lines that hold any of `texts`, or null if it would be too large.
  static std::unique_ptr<const LineAutomaton> OfTexts(std::span<const std::string> texts);
  /// Returns an automaton for lines in which any of `patterns` matches, or null if it would be too
  /// large or some part of a pattern is not understood. Precondition: RE2 takes the patterns.
  static std::unique_ptr<const LineAutomaton> OfPatterns(std::span<const std::string> patterns);

  enum class Verdict : uint8_t { kNo, kYes, kUnsure };

  size_t states() const { return verdicts_.size(); }
  static constexpr State start() { return 0; }
  State Step(State state, uint8_t byte) const {
    return next_[(size_t{state} << shift_) + class_of_[byte]];
  }
  State Run(State state, std::string_view text) const {
    for (const char c : text) state = Step(state, static_cast<uint8_t>(c));
    return state;
  }
  /// Reads texts[i] from states[i] on, several at a time: one step waits for the one before, but
  /// not for those of other texts.
  void RunAll(std::span<const std::string_view> texts, State* states) const;

  /// Reads two decimal digits, `number` below 100.
  State StepPair(State state, uint32_t number) const {
    return pairs_[size_t{state} * kPairs + number];
  }
  /// Reads the two digits of a byte in lower-case hexadecimal.
  State StepHex(State state, uint8_t byte) const { return hex_[size_t{state} * 256 + byte]; }
  /// Returns the state that any decimal digit, any digit of lower-case hexadecimal leads to; kNone
  /// where that depends on the digit.
  State AnyDigit(State state) const { return any_digit_[state]; }
  State AnyHexDigit(State state) const { return any_hex_digit_[state]; }

  /// Returns the answer for a line that ends in `state`.
  Verdict verdict(State state) const { return verdicts_[state]; }

 private:
  friend class AutomatonBuilder;
  /// Texts that are read at the same time.
  struct Lane {
    const char* at;
    size_t left;
    State state;
    size_t text;
  };
  static constexpr size_t kLanes = 4;
  /// Longer texts are cut into pieces that are read at the same time.
  static constexpr size_t kLongBytes = 1024;
  void Advance(std::array<Lane, kLanes>* lanes, size_t steps) const;
  template <typename F>
  static void AdvanceBy(std::array<Lane, kLanes>* lanes, size_t steps, F&& step);
  State RunLong(State state, std::string_view text) const;
  static constexpr size_t kPairs = 128;
  LineAutomaton() = default;
  void MakeTables();

  std::array<uint8_t, 256> class_of_{};  // bytes that no expression tells apart share a class
  uint32_t shift_ = 0;
  std::vector<State> next_;  // states << shift_
  // By state * 256 + byte, what comes next times 256; empty if there are more states than fit. One
  // load a byte instead of two.
  static constexpr size_t kWideStatesMax = 256;
  std::vector<State> wide_;
  std::vector<Verdict> verdicts_;
  std::vector<State> pairs_, hex_;
  std::vector<State> any_digit_, any_hex_digit_;
  std::vector<uint8_t> absorbing_;  // by state: no byte leads out of it
};

}  // namespace varve::logs
