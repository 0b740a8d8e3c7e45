#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/block/container.h"
#include "varve/span.h"

/// Constants of traces blocks, version 1. Spec: engine/docs/format/traces-block.md; change both or
/// neither. These values live on disk: add, never renumber.
namespace varve::traces {

inline constexpr block::SectionType kResourcesSection = 1;     // keys, resources, scopes
inline constexpr block::SectionType kShapesSection = 2;        // attribute shapes
inline constexpr block::SectionType kColumnsSection = 3;       // text and attribute columns
inline constexpr block::SectionType kDictionariesSection = 4;  // paged
inline constexpr block::SectionType kPostingsSection = 5;      // paged
inline constexpr block::SectionType kGroupsSection = 6;        // directory of groups
inline constexpr block::SectionType kSpansSection = 7;         // paged: chunks of all groups
inline constexpr block::SectionType kTraceFilterSection = 8;
inline constexpr block::SectionType kTraceTableSection = 9;
inline constexpr block::SectionType kOperationsSection = 10;

inline constexpr uint8_t kCodecRaw = 0;
inline constexpr uint8_t kCodecZstd = 1;

/// Whose attributes a column holds.
enum class Family : uint8_t { kSpan = 0, kEvent = 1, kLink = 2 };
inline constexpr uint32_t kFamilies = 3;

/// Chunks of a group; those that would hold zeros or nothing are left out. Attribute columns come
/// behind kAttributeChunks, by their place in the columns section.
enum Chunk : uint32_t {
  kTraceIdsChunk = 0,  // 16 bytes a piece, then the rows of each
  kSpanIdsChunk = 1,   // 8 bytes a row
  kParentsChunk = 2,   // codes, then 8 bytes for each parent outside of the piece
  kStartsChunk = 3,
  kDurationsChunk = 4,  // end - start
  kScopesChunk = 5,
  kKindsChunk = 6,  // kind | status << 4
  kNamesChunk = 7,
  kFlagsChunk = 8,
  kDroppedAttributesChunk = 9,
  kDroppedEventsChunk = 10,
  kDroppedLinksChunk = 11,
  kTraceStatesChunk = 12,
  kStatusMessagesChunk = 13,
  kSpanShapesChunk = 14,
  kEventCountsChunk = 15,
  kEventTimesChunk = 16,  // after the span's start
  kEventNamesChunk = 17,
  kEventDroppedChunk = 18,
  kEventShapesChunk = 19,
  kLinkCountsChunk = 20,
  kLinkIdsChunk = 21,  // 24 bytes a link
  kLinkStatesChunk = 22,
  kLinkDroppedChunk = 23,
  kLinkFlagsChunk = 24,
  kLinkShapesChunk = 25,
  kSpanColdChunk = 26,  // values without a column of their own
  kEventColdChunk = 27,
  kLinkColdChunk = 28,
  kAttributeChunks = 32,
};

/// The columns of texts that are no attributes: the first ones of the columns section.
inline constexpr std::array<uint32_t, 5> kTextChunks = {
    kNamesChunk, kTraceStatesChunk, kStatusMessagesChunk, kEventNamesChunk, kLinkStatesChunk};

/// How a column's values are written.
enum class Coding : uint8_t {
  kIntegers = 0,    // an integer stream: integers, bits of doubles, booleans
  kDictionary = 1,  // an integer stream of places in the column's dictionary
  kPlain = 2,       // texts, see TextMode
  kCold = 3,        // no column: in the family's cold chunk
  kNothing = 4,     // empty values: nothing to write
};
enum class TextMode : uint8_t {
  kRaw = 0,   // lengths, bytes
  kZstd = 1,  // lengths, a zstd frame
  kHex = 2,   // lower-case hex of one even length, as bytes
  kUuid = 3,  // lower-case UUIDs, as 16 bytes
};

inline constexpr uint32_t kGroupRows = 4096;  // a group is closed when it has these
inline constexpr uint32_t kGroupRowsMax = 3 * kGroupRows;
inline constexpr uint64_t kGroupBytes = 16ull << 20;       // or this much text
inline constexpr uint32_t kGroupEventsMax = 1u << 22;      // and links: what a reader believes
inline constexpr uint32_t kGroupAttributesMax = 1u << 22;  // of all families together
inline constexpr uint32_t kSpanPartsMax = 1u << 20;        // attributes, events, links of one span
inline constexpr uint64_t kRawBytesMax = 1ull << 30;       // of one compressed piece, inflated
inline constexpr uint32_t kDictionaryValuesMax = 65536;
inline constexpr uint64_t kDictionaryBytesMax = 4ull << 20;
inline constexpr uint32_t kPostingsValuesMax = 4096;
inline constexpr uint32_t kShapesMax = 65536;
inline constexpr uint32_t kShapeAttributesMax = 256;
inline constexpr uint32_t kInlineShape = 1;  // keys and types stand beside the values; 0 is empty
inline constexpr uint32_t kHotColumnsMax = 1024;
inline constexpr uint32_t kOperationsMax = 65536;
inline constexpr uint32_t kTraceBucketPieces = 8;  // of the trace table, on average

inline bool IsTextType(ValueType type) {
  return type == ValueType::kString || type == ValueType::kBytes || type == ValueType::kArray ||
         type == ValueType::kMap;
}

/// Appends a zstd frame of `bytes`.
void Compress(std::string_view bytes, std::string* out);
/// Inflates a frame of exactly `raw_bytes`. Returns false on damaged bytes, and for sizes that
/// such a frame cannot have.
[[nodiscard]] bool Inflate(std::string_view frame, uint64_t raw_bytes, std::string* out);

}  // namespace varve::traces
