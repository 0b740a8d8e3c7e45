#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/varve/shell/source.h"

namespace varve::cli::shell {

enum class Language : uint8_t { kPromQl, kLogQl, kTraceQl };

/// What could stand in place of the word before the cursor.
struct Completion {
  size_t begin = 0;                // where that word begins in the line
  std::vector<std::string> words;  // sorted; whole words, not only their rest
};

/// Completes dot commands and their arguments, metric names, functions and
/// keywords; inside braces label names; after an operator there, label values
/// with their quotes. `line` ends at the cursor.
Completion Complete(std::string_view line, Language language, Source& source);

/// Returns the longest beginning that all words share.
std::string CommonPrefix(const std::vector<std::string>& words);

}  // namespace varve::cli::shell
