#pragma once

#include <cstdint>

#include "engine/block/container.h"

namespace varve::logs {

/// Section types of a logs block. Spec: engine/docs/format/logs-block.md. These values live on
/// disk: add, never renumber.
inline constexpr block::SectionType kLabelsSection = 1;
inline constexpr block::SectionType kDirectorySection = 2;
inline constexpr block::SectionType kGroupsSection = 3;
inline constexpr block::SectionType kVocabularySection = 5;  // skippable; may be missing
inline constexpr block::SectionType kFiltersSection = 7;  // 4 had no pairs of words, 6 no numbers

/// A row group is closed when its lines reach this, or its rows the other; a single longer line
/// makes a group of its own.
inline constexpr uint64_t kGroupLineBytes = 1u << 20;
inline constexpr uint32_t kGroupRows = 64 * 1024;

/// The share of a full row group that lines and rows make.
constexpr double GroupShare(uint64_t line_bytes, uint64_t rows) {
  const double bytes = static_cast<double>(line_bytes) / kGroupLineBytes;
  const double count = static_cast<double>(rows) / kGroupRows;
  return bytes > count ? bytes : count;
}

/// Bounds that readers check before they allocate.
inline constexpr uint64_t kGroupRawBytesMax = uint64_t{1} << 30;
inline constexpr uint32_t kGroupRowsMax = 1u << 20;
/// A block with more bytes of words has no vocabulary.
inline constexpr uint64_t kVocabularyBytesMax = 8u << 20;

}  // namespace varve::logs
