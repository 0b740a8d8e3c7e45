#pragma once

#include "engine/block/container.h"

namespace varve::metrics {

/// Section types of a metrics block. These values live on disk: add, never renumber.
inline constexpr block::SectionType kLabelsSection = 1;
inline constexpr block::SectionType kDirectorySection = 2;
inline constexpr block::SectionType kChunksSection = 3;
inline constexpr block::SectionType kExemplarsSection = 4;
inline constexpr block::SectionType kMetadataSection = 5;

}  // namespace varve::metrics
