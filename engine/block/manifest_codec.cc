#include "engine/block/manifest_codec.h"

#include <algorithm>
#include <cstdio>
#include <set>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::block {
namespace {

constexpr std::string_view kManifestPrefix = "MANIFEST-";

void PutField(EditField field, std::string_view payload, std::string* out) {
  PutFixed<uint16_t>(out, static_cast<uint16_t>(field));
  PutFixed<uint16_t>(out, 0);
  PutFixed<uint32_t>(out, static_cast<uint32_t>(payload.size()));
  out->append(payload);
}

Status BadEdit(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("manifest edit: ", what));
}

Status DecodeField(EditField field, std::string_view payload, DecodedEdit* out) {
  ByteReader reader(payload);
  ManifestEdit& edit = out->edit;
  switch (field) {
    case EditField::kAddBlock: {
      VARVE_ASSIGN_OR_RETURN(BlockMeta meta, DecodeBlockMeta(payload));
      edit.add_blocks.push_back(std::move(meta));
      return {};
    }
    case EditField::kRemoveBlock:
      edit.remove_blocks.push_back(reader.Fixed<uint64_t>());
      break;
    case EditField::kWalFloor: {
      const auto wing = static_cast<Wing>(reader.Fixed<uint8_t>());
      edit.wal_floors[wing] = reader.Fixed<uint64_t>();
      break;
    }
    case EditField::kNextBlockId:
      edit.next_block_id = reader.Fixed<uint64_t>();
      break;
    case EditField::kAddTombstone: {
      Tombstone tombstone;
      tombstone.wing = static_cast<Wing>(reader.Fixed<uint8_t>());
      tombstone.id = reader.Fixed<uint64_t>();
      tombstone.up_to_block = reader.Fixed<uint64_t>();
      tombstone.payload = std::string(reader.Bytes(reader.left()));
      edit.add_tombstones.push_back(std::move(tombstone));
      break;
    }
    case EditField::kRemoveTombstone: {
      const auto wing = static_cast<Wing>(reader.Fixed<uint8_t>());
      edit.remove_tombstones.emplace_back(wing, reader.Fixed<uint64_t>());
      break;
    }
    case EditField::kSnapshot:
      out->snapshot = true;
      break;
    default:
      if ((static_cast<uint16_t>(field) & kSkippableField) != 0) return {};
      return MakeStatus(StatusCode::kUnimplemented,
                        Concat("manifest edit: field ", static_cast<uint16_t>(field),
                               " is required and unknown to this build"));
  }
  if (!reader.ok() || reader.left() != 0) return BadEdit("field of a wrong length");
  return {};
}

}  // namespace

void EncodeEdit(const ManifestEdit& edit, bool snapshot, std::string* out) {
  std::string payload;
  if (snapshot) PutField(EditField::kSnapshot, "", out);
  const auto put = [&](EditField field) {
    PutField(field, payload, out);
    payload.clear();
  };
  for (const BlockMeta& meta : edit.add_blocks) {
    EncodeBlockMeta(meta, &payload);
    put(EditField::kAddBlock);
  }
  for (const uint64_t id : edit.remove_blocks) {
    PutFixed<uint64_t>(&payload, id);
    put(EditField::kRemoveBlock);
  }
  for (const auto& [wing, floor] : edit.wal_floors) {
    PutFixed<uint8_t>(&payload, static_cast<uint8_t>(wing));
    PutFixed<uint64_t>(&payload, floor);
    put(EditField::kWalFloor);
  }
  if (edit.next_block_id) {
    PutFixed<uint64_t>(&payload, *edit.next_block_id);
    put(EditField::kNextBlockId);
  }
  for (const Tombstone& tombstone : edit.add_tombstones) {
    PutFixed<uint8_t>(&payload, static_cast<uint8_t>(tombstone.wing));
    PutFixed<uint64_t>(&payload, tombstone.id);
    PutFixed<uint64_t>(&payload, tombstone.up_to_block);
    payload.append(tombstone.payload);
    put(EditField::kAddTombstone);
  }
  for (const auto& [wing, id] : edit.remove_tombstones) {
    PutFixed<uint8_t>(&payload, static_cast<uint8_t>(wing));
    PutFixed<uint64_t>(&payload, id);
    put(EditField::kRemoveTombstone);
  }
}

Result<DecodedEdit> DecodeEdit(std::string_view bytes) {
  DecodedEdit out;
  ByteReader reader(bytes);
  bool first = true;
  while (reader.left() > 0) {
    const auto field = static_cast<EditField>(reader.Fixed<uint16_t>());
    const auto reserved = reader.Fixed<uint16_t>();
    const std::string_view payload = reader.Bytes(reader.Fixed<uint32_t>());
    if (!reader.ok() || reserved != 0) return BadEdit("framing of a field is broken");
    if (field == EditField::kSnapshot && !first) return BadEdit("snapshot in the middle");
    VARVE_RETURN_IF_ERROR(DecodeField(field, payload, &out));
    first = false;
  }
  if (!reader.ok()) return BadEdit("cut off");
  return out;
}

ManifestEdit SnapshotEdit(const ManifestState& state) {
  ManifestEdit edit;
  for (const auto& entry : state.blocks) edit.add_blocks.push_back(entry.second);
  edit.wal_floors = state.wal_floors;
  edit.next_block_id = state.next_block_id;
  for (const auto& entry : state.tombstones) edit.add_tombstones.push_back(entry.second);
  return edit;
}

Status ApplyEdit(const ManifestEdit& edit, ManifestState* state) {
  // All checks first: a refused edit leaves no trace.
  std::set<uint64_t> removed;
  for (const uint64_t id : edit.remove_blocks) {
    if (!state->blocks.contains(id)) return BadEdit(Concat("removes unknown block ", id));
    if (!removed.insert(id).second) return BadEdit(Concat("removes block ", id, " twice"));
  }
  std::set<uint64_t> added;
  for (const BlockMeta& meta : edit.add_blocks) {
    if (meta.id == 0) return BadEdit("adds block 0");
    if (state->blocks.contains(meta.id) || !added.insert(meta.id).second) {
      return BadEdit(Concat("adds block ", meta.id, " a second time"));
    }
    if (meta.opaque.size() > kOpaqueBytesMax || meta.sources.size() > kSourcesMax) {
      return BadEdit(Concat("meta of block ", meta.id, " is too large"));
    }
  }
  for (const auto& [wing, floor] : edit.wal_floors) {
    const auto old = state->wal_floors.find(wing);
    if (old != state->wal_floors.end() && floor < old->second) {
      return BadEdit(Concat("WAL floor goes back from ", old->second, " to ", floor));
    }
  }
  if (edit.next_block_id && *edit.next_block_id < state->next_block_id) {
    return BadEdit(Concat("next block id goes back to ", *edit.next_block_id));
  }
  std::set<std::pair<Wing, uint64_t>> dropped;
  for (const auto& key : edit.remove_tombstones) {
    if (!state->tombstones.contains(key) || !dropped.insert(key).second) {
      return BadEdit(Concat("removes unknown tombstone ", key.second));
    }
  }
  std::set<std::pair<Wing, uint64_t>> new_tombstones;
  for (const Tombstone& tombstone : edit.add_tombstones) {
    const std::pair<Wing, uint64_t> key(tombstone.wing, tombstone.id);
    if (state->tombstones.contains(key) || !new_tombstones.insert(key).second) {
      return BadEdit(Concat("adds tombstone ", tombstone.id, " a second time"));
    }
  }

  for (const uint64_t id : edit.remove_blocks) state->blocks.erase(id);
  if (edit.next_block_id) state->next_block_id = *edit.next_block_id;
  for (const BlockMeta& meta : edit.add_blocks) {
    state->blocks[meta.id] = meta;
    state->next_block_id = std::max(state->next_block_id, meta.id + 1);
  }
  for (const auto& [wing, floor] : edit.wal_floors) state->wal_floors[wing] = floor;
  for (const auto& key : edit.remove_tombstones) state->tombstones.erase(key);
  for (const Tombstone& tombstone : edit.add_tombstones) {
    state->tombstones[{tombstone.wing, tombstone.id}] = tombstone;
  }
  return {};
}

std::string ManifestFileName(uint64_t number) {
  char name[40];
  std::snprintf(name, sizeof name, "MANIFEST-%06llu", static_cast<unsigned long long>(number));
  return name;
}

uint64_t ManifestNumberOfFile(std::string_view name) {
  if (!name.starts_with(kManifestPrefix)) return 0;
  const std::string_view digits = name.substr(kManifestPrefix.size());
  if (digits.size() < 6 || digits.size() > 18) return 0;
  uint64_t number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return ManifestFileName(number) == name ? number : 0;
}

std::string EncodeCurrent(uint64_t number) {
  const std::string name = ManifestFileName(number);
  char checksum[20];
  std::snprintf(checksum, sizeof checksum, "%016llx",
                static_cast<unsigned long long>(Hash64(name)));
  return Concat(name, " ", std::string_view(checksum), "\n");
}

uint64_t DecodeCurrent(std::string_view bytes) {
  const size_t space = bytes.find(' ');
  if (space == std::string_view::npos) return 0;
  const uint64_t number = ManifestNumberOfFile(bytes.substr(0, space));
  return number != 0 && EncodeCurrent(number) == bytes ? number : 0;
}

}  // namespace varve::block
