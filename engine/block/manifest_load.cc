#include "engine/block/manifest_load.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/manifest_codec.h"
#include "engine/io/record_log.h"

namespace varve::block {
namespace {

constexpr uint64_t kCurrentBytesMax = 4096;
constexpr uint64_t kManifestBytesMax = 4ull << 30;

/// What one manifest file says.
struct FileContent {
  bool usable = false;  // has a good header and a good first edit
  ManifestState state;
  std::set<uint64_t> removed_blocks;
  std::vector<ManifestEdit> edits_without_base;  // of a file that is not usable
  uint64_t edits = 0;
  uint64_t copies_repaired = 0;
  uint64_t tail_bytes_cut = 0;
  std::vector<Status> damage;
};

/// Applies what can be applied of an edit that follows a lost one.
void ApplyLeniently(const ManifestEdit& edit, ManifestState* state) {
  for (const uint64_t id : edit.remove_blocks) state->blocks.erase(id);
  for (const BlockMeta& meta : edit.add_blocks) {
    state->blocks[meta.id] = meta;
    state->next_block_id = std::max(state->next_block_id, meta.id + 1);
  }
  if (edit.next_block_id) {
    state->next_block_id = std::max(state->next_block_id, *edit.next_block_id);
  }
  for (const auto& [wing, floor] : edit.wal_floors) {
    uint64_t& old = state->wal_floors[wing];
    old = std::max(old, floor);
  }
  for (const auto& key : edit.remove_tombstones) state->tombstones.erase(key);
  for (const Tombstone& tombstone : edit.add_tombstones) {
    state->tombstones[{tombstone.wing, tombstone.id}] = tombstone;
  }
}

/// Reads one manifest file. Errors: kUnavailable, kNotFound, kUnimplemented.
Result<FileContent> ReadManifestFile(io::FileSystem& fs, const std::string& path, uint64_t number) {
  FileContent out;
  // A copy, not a mapping: a writer beside this reader may cut the file after a full disk.
  VARVE_ASSIGN_OR_RETURN(const std::string content, fs.ReadFile(path, kManifestBytesMax));
  const std::string_view bytes = content;
  const Result<io::DecodedLogHeader> header =
      io::DecodeLogHeader(bytes, kManifestMagic, kManifestVersion, path);
  if (!header.ok()) {
    if (header.status().code() == StatusCode::kUnimplemented) return header.status();
    out.damage.push_back(header.status());
    return out;
  }
  if (header->header.number != number) {
    out.damage.push_back(DataLossError(path, 0, "file header has the number of another manifest"));
    return out;
  }
  if (header->copy_damaged) ++out.copies_repaired;

  // First the records that are good, in any order: an edit counts if either copy is good.
  struct Found {
    std::string_view payload;
    uint64_t offset = 0;
    uint32_t copies = 0;
  };
  std::map<uint64_t, Found> found;
  uint64_t good_end = io::kLogHeaderBytes;
  io::RecordScanner scanner(bytes, header->header.tag, io::kLogHeaderBytes);
  io::RecordScanner::Step step;
  while ((step = scanner.Next()) != io::RecordScanner::Step::kEnd) {
    if (step == io::RecordScanner::Step::kDamage) continue;
    const io::RecordView& record = scanner.record();
    good_end = record.end;
    if (record.type != kEditRecord && record.type != kEditCopyRecord) continue;
    Found& edit = found[record.sequence];
    if (edit.copies++ == 0) {
      edit.payload = record.payload;
      edit.offset = record.offset;
    }
  }
  const size_t last_byte = bytes.find_last_not_of('\0');
  if (last_byte != std::string_view::npos && last_byte >= good_end) {
    out.tail_bytes_cut = last_byte + 1 - good_end;
  }

  uint64_t expected = header->header.first_sequence;
  for (const auto& [sequence, edit] : found) {
    // Every Commit synced before the next one began: a hole is damage, never a torn write.
    if (sequence != expected) {
      out.damage.push_back(DataLossError(
          path, edit.offset, Concat("edits ", expected, " to ", sequence - 1, " are damaged")));
    }
    const bool first = sequence == header->header.first_sequence;
    expected = sequence + 1;
    Result<DecodedEdit> decoded = DecodeEdit(edit.payload);
    if (!decoded.ok()) {
      if (decoded.status().code() == StatusCode::kUnimplemented) return decoded.status();
      out.damage.push_back(DataLossError(path, edit.offset, ToStd(decoded.status().message())));
      continue;
    }
    if (edit.copies < 2) ++out.copies_repaired;
    if (first && decoded->snapshot) out.usable = true;
    if (decoded->snapshot) out.state = ManifestState();
    if (!out.usable) out.edits_without_base.push_back(decoded->edit);
    for (const uint64_t id : decoded->edit.remove_blocks) out.removed_blocks.insert(id);
    ++out.edits;
    if (out.damage.empty()) {
      const Status status = ApplyEdit(decoded->edit, &out.state);
      if (status.ok()) continue;
      out.damage.push_back(DataLossError(path, edit.offset, ToStd(status.message())));
    }
    ApplyLeniently(decoded->edit, &out.state);
  }
  if (!out.usable && out.damage.empty()) {
    out.damage.push_back(DataLossError(path, io::kLogHeaderBytes, "has no first edit"));
  }
  return out;
}

class Loader {
 public:
  Loader(io::FileSystem& fs, const std::string& dir, bool read_only, ManifestReport* report)
      : fs_(fs), dir_(dir), read_only_(read_only), report_(*report) {}

  Result<LoadedManifest> Run() {
    VARVE_RETURN_IF_ERROR(ListFiles());
    VARVE_ASSIGN_OR_RETURN(const bool current_good, ReadCurrent());
    if (!current_good) {
      VARVE_ASSIGN_OR_RETURN(const bool is_new, IsNew());
      if (is_new) return std::move(out_);
    }
    if (!current_good) {
      Damage(DataLossError(io::JoinPath(dir_, kCurrentFile), 0,
                           has_current_ ? "is damaged" : "is missing"),
             has_current_ ? kCurrentFile : "");
    }
    FileContent content;
    std::vector<ManifestEdit> later_edits;
    std::set<uint64_t> removed;
    if (current_good) {
      VARVE_ASSIGN_OR_RETURN(content, Read(current_));
      // A file that lost its first edit goes on where its predecessor ended.
      later_edits = std::move(content.edits_without_base);
      removed = std::move(content.removed_blocks);
    }
    // An older manifest, or one that was not yet current, is a better start than none.
    for (auto number = out_.numbers.rbegin(); !content.usable && number != out_.numbers.rend();
         ++number) {
      if (*number == current_ && current_good) continue;
      VARVE_ASSIGN_OR_RETURN(content, Read(*number));
    }
    if (content.usable) {
      out_.state = std::move(content.state);
      report_.edits = content.edits;
      report_.tail_bytes_cut = content.tail_bytes_cut;
      report_.copies_repaired = content.copies_repaired;
    } else {
      // With no manifest at all nothing is known of the logs: they are read from their beginning.
      for (const Wing wing : {Wing::kMetrics, Wing::kLogs, Wing::kTraces}) {
        out_.state.wal_floors[wing] = 0;
      }
    }
    for (const ManifestEdit& edit : later_edits) ApplyLeniently(edit, &out_.state);
    removed.insert(content.removed_blocks.begin(), content.removed_blocks.end());
    if (!report_.damage.empty()) VARVE_RETURN_IF_ERROR(Salvage(removed));
    return std::move(out_);
  }

 private:
  Status ListFiles() {
    VARVE_ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(dir_));
    for (const std::string& name : names) {
      if (name == kCurrentFile) has_current_ = true;
      const uint64_t number = ManifestNumberOfFile(name);
      if (number != 0) out_.numbers.push_back(number);
    }
    std::sort(out_.numbers.begin(), out_.numbers.end());
    if (!out_.numbers.empty()) out_.last_number = out_.numbers.back();
    const Result<std::vector<std::string>> blocks = fs_.List(io::JoinPath(dir_, "blocks"));
    if (blocks.ok()) {
      for (const std::string& name : *blocks) {
        const uint64_t id = BlockIdOfFile(name);
        if (id != 0) block_files_.insert(id);
      }
    } else if (blocks.status().code() != StatusCode::kNotFound) {
      return blocks.status();
    }
    return {};
  }

  /// Reads CURRENT; false if it is missing or names no manifest.
  Result<bool> ReadCurrent() {
    if (!has_current_) return false;
    const Result<std::string> bytes =
        fs_.ReadFile(io::JoinPath(dir_, kCurrentFile), kCurrentBytesMax);
    if (!bytes.ok()) {
      // Too long to be one of ours.
      if (bytes.status().code() == StatusCode::kResourceExhausted) return false;
      return bytes.status();
    }
    current_ = DecodeCurrent(*bytes);
    return current_ != 0;
  }

  /// Tells a database that never finished its first Open from one that lost CURRENT: its manifests,
  /// whole or torn, hold nothing, since nothing is committed before CURRENT is durable.
  Result<bool> IsNew() {
    if (has_current_ || !block_files_.empty()) return false;
    for (const uint64_t number : out_.numbers) {
      VARVE_ASSIGN_OR_RETURN(
          const FileContent content,
          ReadManifestFile(fs_, io::JoinPath(dir_, ManifestFileName(number)), number));
      if (content.edits > 1 || content.state != ManifestState()) return false;
    }
    return true;
  }

  /// Reads a manifest file and takes over what it reports.
  Result<FileContent> Read(uint64_t number) {
    const std::string name = ManifestFileName(number);
    const std::string path = io::JoinPath(dir_, name);
    Result<FileContent> content = ReadManifestFile(fs_, path, number);
    if (!content.ok()) {
      if (content.status().code() != StatusCode::kNotFound) return content.status();
      Damage(DataLossError(path, 0, "is missing"), "");
      return FileContent();
    }
    for (const Status& damage : content->damage) Damage(damage, name);
    if (content->usable) out_.base = number;
    return content;
  }

  void Damage(const Status& damage, const std::string& keep) {
    report_.damage.push_back(damage);
    if (keep.empty() || read_only_ || !kept_.insert(keep).second) return;
    const Result<std::string> kept = io::Quarantine(
        fs_, io::JoinPath(dir_, keep), io::JoinPath(dir_, "quarantine"), keep, /*copy=*/false);
    if (kept.ok()) {
      report_.quarantined.push_back(*kept);
    } else {
      report_.damage.push_back(
          DataLossError(io::JoinPath(dir_, keep), 0,
                        Concat("not kept in quarantine: ", ToStd(kept.status().message()))));
    }
  }

  /// Adds the blocks that no surviving edit names and takes away those that another replaced.
  Status Salvage(const std::set<uint64_t>& removed) {
    report_.salvaged = true;
    ManifestState& state = out_.state;
    std::map<uint64_t, BlockMeta> found;
    for (const uint64_t id : block_files_) {
      state.next_block_id = std::max(state.next_block_id, id + 1);
      if (state.blocks.contains(id) || removed.contains(id)) continue;
      const std::string path = io::JoinPath(io::JoinPath(dir_, "blocks"), BlockFileName(id));
      const auto block = BlockReader::Open(fs_, path);
      if (!block.ok()) {
        if (block.status().code() == StatusCode::kUnavailable) return block.status();
        report_.damage.push_back(block.status());
        continue;
      }
      if ((*block)->meta().id != id) {
        report_.damage.push_back(DataLossError(path, 0, "is a block with another id"));
        continue;
      }
      found[id] = (*block)->meta();
    }
    std::set<uint64_t> replaced;
    const auto note_sources = [&replaced](const BlockMeta& meta) {
      for (const uint64_t source : meta.sources) {
        // A block can only replace older ones.
        if (source < meta.id) replaced.insert(source);
      }
    };
    for (auto block = state.blocks.begin(); block != state.blocks.end();) {
      if (block_files_.contains(block->first)) {
        note_sources(block->second);
        ++block;
        continue;
      }
      report_.blocks_lost.push_back(block->first);
      report_.damage.push_back(
          DataLossError(io::JoinPath(io::JoinPath(dir_, "blocks"), BlockFileName(block->first)), 0,
                        "is in the manifest but not there"));
      block = state.blocks.erase(block);
    }
    for (const auto& entry : found) note_sources(entry.second);
    for (const auto& [id, meta] : found) {
      if (meta.wal_floor != 0) {
        uint64_t& floor = state.wal_floors[meta.wing];
        floor = std::max(floor, meta.wal_floor);
      }
      if (replaced.contains(id)) continue;
      state.blocks[id] = meta;
      report_.blocks_found.push_back(id);
    }
    for (const uint64_t id : replaced) state.blocks.erase(id);
    return {};
  }

  io::FileSystem& fs_;
  const std::string& dir_;
  const bool read_only_;
  ManifestReport& report_;

  LoadedManifest out_;
  bool has_current_ = false;
  uint64_t current_ = 0;
  std::set<uint64_t> block_files_;
  std::set<std::string> kept_;
};

}  // namespace

Result<LoadedManifest> LoadManifest(io::FileSystem& fs, const std::string& dir, bool read_only,
                                    ManifestReport* report) {
  return Loader(fs, dir, read_only, report).Run();
}

}  // namespace varve::block
