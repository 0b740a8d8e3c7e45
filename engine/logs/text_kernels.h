#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace varve::logs {

/// What the bytes of texts are, a bit for each, found many at a time: who looks for words then
/// steps from word to word and not from byte to byte. Classes of bytes: char_class.h.

/// Texts that are looked at here are read in steps of so many bytes: behind the last byte of each
/// there are as many more that may be read, whatever they are.
inline constexpr size_t kTextPadding = 64;

/// What the words in 64 bytes are made of.
struct WordBytes {
  uint64_t words;
  uint64_t digits;
  uint64_t upper;  // capitals, and some that are none: underscores
  uint64_t beyond_hex;
};

/// One implementation. All give the same bits.
struct TextKernel {
  std::string_view name;
  /// Looks at the 64 bytes at `text`.
  WordBytes (*word_bytes)(const char* text);
};

/// Lists what this processor can run, the fastest last. The first one runs everywhere.
std::span<const TextKernel> AllTextKernels();

/// Returns the fastest one.
const TextKernel& BestTextKernel();

}  // namespace varve::logs
