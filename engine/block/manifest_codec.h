#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/block/manifest.h"

/// Bytes of the manifest, version 1. Spec: engine/docs/format/manifest.md; change both or neither.
/// These values live on disk: add, never renumber.
namespace varve::block {

inline constexpr std::string_view kManifestMagic = "VARVEMF1";
inline constexpr uint32_t kManifestVersion = 1;
inline constexpr char kCurrentFile[] = "CURRENT";
/// Every edit is written twice in one go; either copy is enough.
inline constexpr uint8_t kEditRecord = 1;
inline constexpr uint8_t kEditCopyRecord = 2;

/// Readers skip unknown fields that carry this bit and refuse others.
inline constexpr uint16_t kSkippableField = 0x8000;
enum class EditField : uint16_t {
  kAddBlock = 1,
  kRemoveBlock = 2,
  kWalFloor = 3,
  kNextBlockId = 4,
  kAddTombstone = 5,
  kRemoveTombstone = 6,
  kSnapshot = 7,  // first of all: the state starts empty
};

void EncodeEdit(const ManifestEdit& edit, bool snapshot, std::string* out);

struct DecodedEdit {
  ManifestEdit edit;
  bool snapshot = false;
};
/// Errors: kInvalidArgument for bytes that are no edit, kUnimplemented for an unknown field.
Result<DecodedEdit> DecodeEdit(std::string_view bytes);

/// Returns the edit that makes `state` out of an empty one.
ManifestEdit SnapshotEdit(const ManifestState& state);

/// Names manifest files: 7 -> "MANIFEST-000007"; ManifestNumberOfFile returns 0 for other names.
std::string ManifestFileName(uint64_t number);
uint64_t ManifestNumberOfFile(std::string_view name);

/// Encode and decode CURRENT; decoding returns 0 for anything but what encoding writes.
std::string EncodeCurrent(uint64_t number);
uint64_t DecodeCurrent(std::string_view bytes);

}  // namespace varve::block
