#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/text_kernels.h"

namespace varve::logs {

/// Copies of lines, one after the other, with the bytes behind them that may be read where lines
/// are encoded. No more than those: a sanitizer sees any step outside.
class PaddedLines {
 public:
  explicit PaddedLines(std::span<const std::string_view> lines) {
    size_t bytes = kTextPadding;
    for (const std::string_view line : lines) bytes += line.size();
    text_.reserve(bytes);
    for (const std::string_view line : lines) {
      text_.insert(text_.end(), line.begin(), line.end());
      lines_.emplace_back(text_.data() + text_.size() - line.size(), line.size());
    }
    text_.resize(bytes);
  }
  PaddedLines(const PaddedLines&) = delete;
  PaddedLines& operator=(const PaddedLines&) = delete;

  std::span<const std::string_view> lines() const { return lines_; }

 private:
  std::vector<char> text_;
  std::vector<std::string_view> lines_;
};

}  // namespace varve::logs
