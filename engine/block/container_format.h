#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/block/container.h"

/// Constants of the block file, version 1. Spec: engine/docs/format/block-container.md; change both
/// or neither. These values live on disk: add, never renumber.
namespace varve::block {

inline constexpr std::string_view kBlockMagic = "VARVEBK1";
inline constexpr std::string_view kBlockEndMagic = "VARVEEND";
inline constexpr uint32_t kBlockVersion = 1;
inline constexpr uint64_t kBlockHeaderBytes = 64;
inline constexpr uint64_t kBlockFooterBytes = 64;
inline constexpr uint64_t kTocEntryBytes = 48;

inline uint64_t PadTo8(uint64_t bytes) { return (bytes + 7) / 8 * 8; }
inline uint64_t PageCount(uint64_t padded_bytes) {
  return (padded_bytes + kPageBytes - 1) / kPageBytes;
}

}  // namespace varve::block
