#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "varve/status.h"

namespace varve::logs {

/// The encoding of the lines of a row group. Spec: engine/docs/format/logs-block.md, "Lines". These
/// values live on disk: add, never renumber.
inline constexpr uint8_t kPlainLines = 0;
inline constexpr uint8_t kTemplateLines = 1;

enum class ColumnType : uint8_t {
  kConstant = 0,    // one value
  kNumbers = 1,     // decimal without leading zeros
  kPadded = 2,      // decimal of one width
  kHex = 3,         // lower-case hexadecimal of one even width
  kDictionary = 4,  // few distinct values
  kText = 5,
  kTable = 6,  // templates and columns again; not inside another
};
inline constexpr char kPlace = '\0';  // of a variable in a template

/// Longer lines stay whole.
inline constexpr size_t kTemplateLineBytesMax = 16 * 1024;
/// Templates of fewer lines are not worth their columns.
inline constexpr uint32_t kTemplateRowsMin = 4;
inline constexpr size_t kDictionaryMax = 255;
inline constexpr size_t kDigitsMax = 18;
/// Shorter columns of numbers are written one by one.
inline constexpr uint32_t kStreamRowsMin = 16;

}  // namespace varve::logs
