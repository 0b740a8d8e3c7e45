#include "engine/block/manifest.h"

#include <algorithm>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/manifest_codec.h"
#include "engine/block/manifest_load.h"
#include "engine/io/record_log.h"

namespace varve::block {
namespace {

/// Appends the two copies of an edit that will stand at `offset`.
void AppendEdit(std::string_view payload, uint64_t tag, uint64_t offset, uint64_t sequence,
                std::string* out) {
  const std::string_view pieces[] = {payload};
  const uint64_t checksum = io::PayloadChecksum(pieces);
  for (const uint8_t type : {kEditRecord, kEditCopyRecord}) {
    // Each Commit syncs, so everything before this edit is durable.
    io::AppendRecord(pieces, payload.size(), checksum, tag, offset + out->size(), type, sequence,
                     sequence - 1, out);
  }
}

/// A manifest file that edits are appended to.
struct OpenFile {
  std::unique_ptr<io::WritableFile> file;
  uint64_t number = 0;
  uint64_t tag = 0;
  uint64_t next_sequence = 1;
};

/// How starting a new manifest file ended.
struct RollOutcome {
  Status status;
  bool in_doubt = false;  // CURRENT may name the new file already
};

/// Writes a new manifest file that holds `state` and makes it current.
RollOutcome WriteNewManifest(io::FileSystem& fs, const std::string& dir, uint64_t number,
                             uint64_t fixed_tag, const ManifestState& state, OpenFile* out) {
  const std::string path = io::JoinPath(dir, ManifestFileName(number));
  const std::string current = io::JoinPath(dir, kCurrentFile);
  const std::string temporary = Concat(std::string_view(current), ".tmp");
  OpenFile open;
  open.number = number;
  open.tag = fixed_tag != 0 ? fixed_tag + number : io::RandomTag();
  const auto prepare = [&]() -> Status {
    std::string payload;
    EncodeEdit(SnapshotEdit(state), /*snapshot=*/true, &payload);
    if (payload.size() > io::kRecordPayloadBytesMax) {
      return MakeStatus(StatusCode::kResourceExhausted, Concat(path, ": state is too large"));
    }
    std::string bytes =
        io::EncodeLogHeader(kManifestMagic, {kManifestVersion, number, open.tag, 1});
    std::string records;
    AppendEdit(payload, open.tag, bytes.size(), open.next_sequence++, &records);
    bytes += records;
    VARVE_ASSIGN_OR_RETURN(open.file, fs.Create(path));
    VARVE_RETURN_IF_ERROR(open.file->Append(bytes));
    VARVE_RETURN_IF_ERROR(open.file->Sync());
    // The name must be durable before CURRENT can point to it.
    VARVE_RETURN_IF_ERROR(fs.SyncDir(dir));
    VARVE_ASSIGN_OR_RETURN(auto pointer, fs.Create(temporary));
    VARVE_RETURN_IF_ERROR(pointer->Append(EncodeCurrent(number)));
    VARVE_RETURN_IF_ERROR(pointer->Sync());
    return pointer->Close();
  };
  if (Status status = prepare(); !status.ok()) {
    open.file.reset();
    fs.Remove(temporary).IgnoreError();
    fs.Remove(path).IgnoreError();
    return {status};
  }
  if (Status status = fs.Rename(temporary, current); !status.ok()) return {status, true};
  if (Status status = fs.SyncDir(dir); !status.ok()) return {status, true};
  *out = std::move(open);
  return {};
}

class ManifestImpl final : public Manifest {
 public:
  ManifestImpl(std::shared_ptr<io::FileSystem> fs, std::string dir, const ManifestOptions& options)
      : fs_(std::move(fs)), dir_(std::move(dir)), options_(options) {}

  Status Start(ManifestReport* report) {
    VARVE_ASSIGN_OR_RETURN(LoadedManifest loaded,
                           LoadManifest(*fs_, dir_, options_.read_only, report));
    const absl::MutexLock lock(&mutex_);
    state_ = std::move(loaded.state);
    reserved_ = state_.next_block_id;
    last_number_ = loaded.last_number;
    old_ = std::move(loaded.numbers);
    base_ = loaded.base;
    keep_all_ = report->salvaged;
    if (options_.read_only) return {};
    const Status status = Roll();
    // A full disk must not keep the database from being read; the first Commit tries again.
    if (status.code() == StatusCode::kResourceExhausted) return {};
    return status;
  }

  ManifestState state() const override {
    const absl::MutexLock lock(&mutex_);
    return state_;
  }

  uint64_t ReserveBlockIds(uint64_t count) override {
    const absl::MutexLock lock(&mutex_);
    reserved_ = std::max(reserved_, state_.next_block_id);
    const uint64_t first = reserved_;
    reserved_ += count;
    return first;
  }

  Status Commit(const ManifestEdit& edit) override {
    const absl::MutexLock lock(&mutex_);
    if (!failed_.ok()) {
      return MakeStatus(
          StatusCode::kFailedPrecondition,
          Concat("the manifest is read-only since it failed: ", ToStd(failed_.message())));
    }
    if (options_.read_only) {
      return MakeStatus(StatusCode::kFailedPrecondition, "the manifest was opened read-only");
    }
    ManifestEdit full = edit;
    if (!edit.add_blocks.empty()) {
      full.next_block_id =
          std::max(full.next_block_id.value_or(0), std::max(reserved_, state_.next_block_id));
    }
    ManifestState next = state_;
    VARVE_RETURN_IF_ERROR(ApplyEdit(full, &next));

    if (open_.file == nullptr || open_.file->size() >= options_.roll_bytes) {
      // A new file says what the old one said; the edit comes after it, so that no file which is
      // not current ever holds an edit that did not happen.
      const Status rolled = Roll();
      const bool no_room = rolled.code() == StatusCode::kResourceExhausted;
      // No room for a whole new file: a small edit may still fit behind the old one.
      if (!rolled.ok() && !(no_room && open_.file != nullptr)) return rolled;
    }
    const Status status = AppendToFile(full);
    if (status.ok()) state_ = std::move(next);
    return status;
  }

  bool failed() const override {
    const absl::MutexLock lock(&mutex_);
    return !failed_.ok();
  }
  uint64_t bytes() const override {
    const absl::MutexLock lock(&mutex_);
    return open_.file == nullptr ? 0 : open_.file->size();
  }
  std::string current_file() const override {
    const absl::MutexLock lock(&mutex_);
    const uint64_t number = open_.file == nullptr ? base_ : open_.number;
    return number == 0 ? "" : ManifestFileName(number);
  }

 private:
  Status Fail(const Status& cause) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    failed_ = MakeStatus(StatusCode::kUnavailable, ToStd(cause.message()));
    return failed_;
  }

  /// Starts a new file with the state as its first edit.
  Status Roll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // Every try takes a new number, so an old try is never mistaken for a newer state.
    const uint64_t number = ++last_number_;
    OpenFile next;
    const RollOutcome outcome =
        WriteNewManifest(*fs_, dir_, number, options_.fixed_tag, state_, &next);
    if (!outcome.status.ok()) {
      if (!outcome.in_doubt && outcome.status.code() == StatusCode::kResourceExhausted) {
        return outcome.status;
      }
      return Fail(outcome.status);
    }
    const uint64_t previous = open_.file != nullptr ? open_.number : base_;
    open_ = std::move(next);
    // After damage nothing is deleted until an Open found all well.
    if (!keep_all_) {
      for (const uint64_t old : old_) {
        if (old == previous) continue;
        fs_->Remove(io::JoinPath(dir_, ManifestFileName(old))).IgnoreError();
      }
      old_.clear();
      if (previous != 0) old_.push_back(previous);
    }
    old_.push_back(number);
    return {};
  }

  Status AppendToFile(const ManifestEdit& edit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::string payload;
    EncodeEdit(edit, /*snapshot=*/false, &payload);
    if (payload.size() > io::kRecordPayloadBytesMax) {
      return MakeStatus(StatusCode::kInvalidArgument, "manifest edit: too large");
    }
    const uint64_t begin = open_.file->size();
    std::string records;
    AppendEdit(payload, open_.tag, begin, open_.next_sequence, &records);
    if (Status status = open_.file->Append(records); !status.ok()) {
      if (status.code() != StatusCode::kResourceExhausted) return Fail(status);
      // A part of the edit may be in the file, enough to count after a crash. The caller is told
      // that nothing happened, so that has to be true first.
      if (Status undo = open_.file->Truncate(begin); !undo.ok()) return Fail(undo);
      if (Status undo = open_.file->Sync(); !undo.ok()) return Fail(undo);
      return status;
    }
    if (Status status = open_.file->Sync(); !status.ok()) return Fail(status);
    ++open_.next_sequence;
    return {};
  }

  const std::shared_ptr<io::FileSystem> fs_;
  const std::string dir_;
  const ManifestOptions options_;

  mutable absl::Mutex mutex_;  // held during I/O: commits are rare and one at a time
  ManifestState state_ ABSL_GUARDED_BY(mutex_);
  uint64_t reserved_ ABSL_GUARDED_BY(mutex_) = 1;  // the next block id to hand out
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<uint64_t> old_ ABSL_GUARDED_BY(mutex_);  // manifest files there are
  uint64_t base_ ABSL_GUARDED_BY(mutex_) = 0;
  bool keep_all_ ABSL_GUARDED_BY(mutex_) = false;
  OpenFile open_ ABSL_GUARDED_BY(mutex_);  // no file until there is room for one
  Status failed_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

Result<std::unique_ptr<Manifest>> Manifest::Open(std::shared_ptr<io::FileSystem> fs,
                                                 const std::string& dir,
                                                 const ManifestOptions& options,
                                                 ManifestReport* report) {
  ManifestReport unused;
  auto manifest = std::make_unique<ManifestImpl>(std::move(fs), dir, options);
  VARVE_RETURN_IF_ERROR(manifest->Start(report != nullptr ? report : &unused));
  return std::unique_ptr<Manifest>(std::move(manifest));
}

Result<std::vector<std::string>> ListLeftoverBlocks(io::FileSystem& fs, const std::string& dir,
                                                    const ManifestState& state) {
  Result<std::vector<std::string>> names = fs.List(io::JoinPath(dir, "blocks"));
  if (!names.ok()) {
    if (names.status().code() == StatusCode::kNotFound) return std::vector<std::string>();
    return names.status();
  }
  std::erase_if(*names, [&state](const std::string& name) {
    const uint64_t id = BlockIdOfFile(name);
    return id != 0 && state.blocks.contains(id);
  });
  return names;
}

Status WriteManifestSnapshot(io::FileSystem& fs, const std::string& dir,
                             const ManifestState& state) {
  OpenFile file;
  return WriteNewManifest(fs, dir, 1, 0, state, &file).status;
}

}  // namespace varve::block
