#include "engine/io/memory_file_system.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::io {
namespace {

using Random = std::mt19937_64;

/// One change of a file's bytes that is not synced yet.
struct Change {
  enum class Kind : uint8_t { kWrite, kTruncate, kExtend };
  uint64_t id = 0;
  Kind kind = Kind::kWrite;
  uint64_t offset = 0;  // kWrite: where; the others: the new length
  std::string bytes;
};

/// A file or a directory. Guarded by the mutex of the file system that it belongs to.
struct Node {
  bool is_dir = false;
  uint32_t links = 0;
  // Of a file. Shared with readers, who keep what they opened: cloned before a change then.
  std::shared_ptr<std::string> content = std::make_shared<std::string>();
  std::string synced;
  std::vector<Change> unsynced;
  // Of a directory.
  using Entries = std::map<std::string, std::shared_ptr<Node>>;
  Entries entries;
  Entries durable_entries;

  std::string& MutableContent() {
    if (content.use_count() > 1) content = std::make_shared<std::string>(*content);
    return *content;
  }
};
using NodePtr = std::shared_ptr<Node>;

/// One change of names that is not synced yet: a new name, a lost name, or both (a rename).
struct NameChange {
  NodePtr node;
  NodePtr from_dir;  // null: no name is lost
  std::string from;
  NodePtr to_dir;  // null: no name is new
  std::string to;
};

void WriteInto(std::string* content, uint64_t offset, std::string_view bytes) {
  if (content->size() < offset + bytes.size()) content->resize(offset + bytes.size(), '\0');
  content->replace(offset, bytes.size(), bytes);
}

void ApplyChange(const Change& change, std::string* content) {
  switch (change.kind) {
    case Change::Kind::kWrite:
      WriteInto(content, change.offset, change.bytes);
      break;
    case Change::Kind::kTruncate:
      content->resize(change.offset, '\0');
      break;
    case Change::Kind::kExtend:
      if (content->size() < change.offset) content->resize(change.offset, '\0');
      break;
  }
}

std::vector<std::string> SplitPath(std::string_view path) {
  std::vector<std::string> parts;
  size_t at = 0;
  while (at <= path.size()) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    at = slash + 1;
  }
  return parts;
}

Status NotFound(std::string_view path) {
  return MakeStatus(StatusCode::kNotFound, Concat(path, ": no such file or directory"));
}

Status NoSpace(std::string_view path) {
  return MakeStatus(StatusCode::kResourceExhausted, Concat(path, ": no space left on device"));
}

/// Decides what a crash keeps of one file.
std::string CrashContent(const Node& node, CrashPolicy policy, Random& random) {
  std::string out = node.synced;
  const uint64_t sector = random() % 2 == 0 ? 512 : 4096;
  switch (policy) {
    case CrashPolicy::kKeepAll:
      return *node.content;
    case CrashPolicy::kDropUnsynced:
      return out;
    case CrashPolicy::kPrefix: {
      const size_t kept = random() % (node.unsynced.size() + 1);
      for (size_t i = 0; i < kept; ++i) ApplyChange(node.unsynced[i], &out);
      if (kept < node.unsynced.size() && node.unsynced[kept].kind == Change::Kind::kWrite) {
        const Change& torn = node.unsynced[kept];
        const uint64_t end = torn.offset + random() % (torn.bytes.size() + 1);
        const uint64_t cut = end / sector * sector;
        if (cut > torn.offset) {
          WriteInto(&out, torn.offset, std::string_view(torn.bytes).substr(0, cut - torn.offset));
        }
      }
      return out;
    }
    case CrashPolicy::kReorder: {
      const uint64_t keep_percent = std::array<uint64_t, 4>{10, 50, 90, 97}[random() % 4];
      // Some systems write the length before the bytes.
      const bool keep_length = random() % 2 == 0;
      for (const Change& change : node.unsynced) {
        if (change.kind != Change::Kind::kWrite) {
          if (random() % 100 < keep_percent) ApplyChange(change, &out);
          continue;
        }
        uint64_t at = change.offset;
        const uint64_t end = change.offset + change.bytes.size();
        while (at < end) {
          const uint64_t next = std::min(end, (at / sector + 1) * sector);
          if (random() % 100 < keep_percent) {
            WriteInto(&out, at,
                      std::string_view(change.bytes).substr(at - change.offset, next - at));
          }
          at = next;
        }
        if (keep_length && out.size() < end) out.resize(end, '\0');
      }
      return out;
    }
    case CrashPolicy::kGarbageTail:
    case CrashPolicy::kZeroTail:
      for (const Change& change : node.unsynced) {
        Change spoiled = change;
        for (char& c : spoiled.bytes) {
          c = policy == CrashPolicy::kZeroTail ? '\0' : static_cast<char>(random());
        }
        ApplyChange(spoiled, &out);
      }
      return out;
  }
  return out;
}

}  // namespace

const char* ToString(CrashPolicy policy) {
  switch (policy) {
    case CrashPolicy::kKeepAll:
      return "keep all";
    case CrashPolicy::kDropUnsynced:
      return "drop unsynced";
    case CrashPolicy::kPrefix:
      return "prefix";
    case CrashPolicy::kReorder:
      return "reorder";
    case CrashPolicy::kGarbageTail:
      return "garbage tail";
    case CrashPolicy::kZeroTail:
      return "zero tail";
  }
  return "?";
}

struct MemoryFileSystem::State {
  struct ArmedFault {
    Fault fault;
    Random random;
  };

  absl::Mutex mutex;
  NodePtr root ABSL_GUARDED_BY(mutex) = MakeRoot();
  std::vector<NameChange> pending ABSL_GUARDED_BY(mutex);
  std::set<std::string> locks ABSL_GUARDED_BY(mutex);
  std::vector<ArmedFault> faults ABSL_GUARDED_BY(mutex);
  uint64_t operations ABSL_GUARDED_BY(mutex) = 0;
  uint64_t syncs ABSL_GUARDED_BY(mutex) = 0;
  uint64_t dir_syncs ABSL_GUARDED_BY(mutex) = 0;
  uint64_t stop_after ABSL_GUARDED_BY(mutex) = kForever;
  uint64_t capacity ABSL_GUARDED_BY(mutex) = kForever;
  uint64_t used ABSL_GUARDED_BY(mutex) = 0;
  uint64_t next_change_id ABSL_GUARDED_BY(mutex) = 1;
  std::chrono::microseconds sync_delay ABSL_GUARDED_BY(mutex){0};

  static NodePtr MakeRoot() {
    auto node = std::make_shared<Node>();
    node->is_dir = true;
    node->links = 1;
    return node;
  }

  /// Counts a call that would change the disk, and fails it if the world has stopped or a fault
  /// says so.
  Status BeginChange(OpKind kind, std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    ++operations;
    if (operations > stop_after) {
      return MakeStatus(StatusCode::kUnavailable, Concat(path, ": crashed"));
    }
    return CheckFaults(kind, path);
  }

  Status CheckFaults(OpKind kind, std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (ArmedFault& armed : faults) {
      Fault& fault = armed.fault;
      if ((fault.kinds & kind) == 0 || path.find(fault.path_contains) == std::string_view::npos) {
        continue;
      }
      if (fault.skip > 0) {
        --fault.skip;
        continue;
      }
      if (fault.times == 0) continue;
      if (fault.times != kForever) --fault.times;
      if (std::uniform_real_distribution<double>(0, 1)(armed.random) >= fault.probability) continue;
      return MakeStatus(fault.code, Concat(path, ": injected fault"));
    }
    return {};
  }

  NodePtr Find(std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    NodePtr node = root;
    for (const std::string& part : SplitPath(path)) {
      if (!node->is_dir) return nullptr;
      const auto found = node->entries.find(part);
      if (found == node->entries.end()) return nullptr;
      node = found->second;
    }
    return node;
  }

  Result<NodePtr> FindFile(std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    NodePtr node = Find(path);
    if (node == nullptr) return NotFound(path);
    if (node->is_dir) {
      return MakeStatus(StatusCode::kUnavailable, Concat(path, ": is a directory"));
    }
    return node;
  }

  Result<NodePtr> FindParent(std::string_view path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    NodePtr node = Find(DirName(path));
    if (node == nullptr || !node->is_dir) return NotFound(path);
    return node;
  }

  void AddChange(Node* node, Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const uint64_t before = node->content->size();
    ApplyChange(change, &node->MutableContent());
    if (node->links > 0) used = used - before + node->content->size();
    change.id = next_change_id++;
    node->unsynced.push_back(std::move(change));
  }

  void DropLink(const NodePtr& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (--node->links == 0) used -= node->content->size();
  }

  void AddName(const NodePtr& dir, const std::string& name, const NodePtr& node)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    if (node->links++ == 0) used += node->content->size();
    dir->entries[name] = node;
    pending.push_back({node, nullptr, "", dir, name});
  }

  void RemoveName(const NodePtr& dir, const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const NodePtr node = dir->entries.at(name);
    dir->entries.erase(name);
    DropLink(node);
    pending.push_back({node, dir, name, nullptr, ""});
  }

  static void ApplyNames(const NameChange& change, Node::Entries* from, Node::Entries* to) {
    if (change.from_dir != nullptr) {
      const auto found = from->find(change.from);
      if (found != from->end() && found->second == change.node) from->erase(found);
    }
    if (change.to_dir != nullptr) (*to)[change.to] = change.node;
  }

  void SyncNames(const NodePtr& dir) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    // A rename between two directories is one change: what came before it in the other directory
    // must become durable as well, or it would come undone later.
    std::set<const Node*> touched = {dir.get()};
    std::vector<bool> chosen(pending.size());
    for (size_t i = pending.size(); i-- > 0;) {
      const NameChange& change = pending[i];
      if (!touched.contains(change.from_dir.get()) && !touched.contains(change.to_dir.get())) {
        continue;
      }
      chosen[i] = true;
      if (change.from_dir != nullptr) touched.insert(change.from_dir.get());
      if (change.to_dir != nullptr) touched.insert(change.to_dir.get());
    }
    std::vector<NameChange> left;
    for (size_t i = 0; i < pending.size(); ++i) {
      const NameChange& change = pending[i];
      if (!chosen[i]) {
        left.push_back(change);
        continue;
      }
      ApplyNames(change, change.from_dir ? &change.from_dir->durable_entries : nullptr,
                 change.to_dir ? &change.to_dir->durable_entries : nullptr);
    }
    pending = std::move(left);
  }

  Result<NodePtr> MakeOneDir(const NodePtr& parent, const std::string& name,
                             const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    VARVE_RETURN_IF_ERROR(BeginChange(kOpMakeDir, path));
    auto node = std::make_shared<Node>();
    node->is_dir = true;
    AddName(parent, name, node);
    VARVE_RETURN_IF_ERROR(BeginChange(kOpSyncDir, DirName(path)));
    ++dir_syncs;
    SyncNames(parent);
    return node;
  }

  Status MakePath(const std::string& dir) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    NodePtr node = root;
    std::string path;
    for (const std::string& part : SplitPath(dir)) {
      path = JoinPath(path, part);
      const auto found = node->entries.find(part);
      if (found == node->entries.end()) {
        VARVE_ASSIGN_OR_RETURN(node, MakeOneDir(node, part, path));
      } else if (!found->second->is_dir) {
        return MakeStatus(StatusCode::kUnavailable, Concat(path, ": not a directory"));
      } else {
        node = found->second;
      }
    }
    return {};
  }

  Status RemoveTree(const NodePtr& parent, const std::string& name, const std::string& path)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    const NodePtr node = parent->entries.at(name);
    while (node->is_dir && !node->entries.empty()) {
      const std::string child = node->entries.begin()->first;
      VARVE_RETURN_IF_ERROR(RemoveTree(node, child, JoinPath(path, child)));
    }
    VARVE_RETURN_IF_ERROR(BeginChange(kOpRemove, path));
    RemoveName(parent, name);
    return {};
  }
};

/// A handle for writing.
class MemoryFileSystem::File final : public WritableFile {
 public:
  File(std::shared_ptr<State> state, NodePtr node, std::string path, uint64_t size)
      : state_(std::move(state)), node_(std::move(node)), path_(std::move(path)), size_(size) {}

  Status WriteAt(uint64_t offset, std::string_view bytes) override {
    VARVE_CHECK(offset <= size_);
    const absl::MutexLock lock(&state_->mutex);
    VARVE_RETURN_IF_ERROR(CheckOpen());
    Status status = state_->BeginChange(kOpWrite, path_);
    size_t kept = bytes.size();
    if (!status.ok()) {
      if (state_->operations > state_->stop_after) return status;
      // Any prefix may have arrived; the operation's number makes it differ from call to call.
      kept = bytes.empty() ? 0 : (state_->operations * 0x9e3779b97f4a7c15u >> 32) % bytes.size();
    }
    const uint64_t length = node_->content->size();
    const uint64_t end = std::max<uint64_t>(length, offset + kept);
    const uint64_t room =
        state_->capacity - std::min(state_->capacity, state_->used) + (length - offset);
    if (end > length && kept > room) {
      kept = room;
      status = NoSpace(path_);
    }
    if (kept > 0) {
      state_->AddChange(node_.get(),
                        {0, Change::Kind::kWrite, offset, std::string(bytes.substr(0, kept))});
    }
    if (status.ok()) size_ = std::max<uint64_t>(size_, offset + bytes.size());
    return status;
  }

  uint64_t size() const override { return size_; }

  Status Truncate(uint64_t bytes) override {
    VARVE_CHECK(bytes <= size_);
    const absl::MutexLock lock(&state_->mutex);
    VARVE_RETURN_IF_ERROR(CheckOpen());
    VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpTruncate, path_));
    state_->AddChange(node_.get(), {0, Change::Kind::kTruncate, bytes, ""});
    size_ = bytes;
    return {};
  }

  Status Preallocate(uint64_t bytes) override {
    const absl::MutexLock lock(&state_->mutex);
    VARVE_RETURN_IF_ERROR(CheckOpen());
    VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpPreallocate, path_));
    const uint64_t length = node_->content->size();
    if (bytes <= length) return {};
    if (bytes - length > state_->capacity - std::min(state_->capacity, state_->used)) {
      return NoSpace(path_);
    }
    state_->AddChange(node_.get(), {0, Change::Kind::kExtend, bytes, ""});
    return {};
  }

  Status Sync() override {
    uint64_t last = 0;
    std::chrono::microseconds delay{0};
    Status status;
    {
      const absl::MutexLock lock(&state_->mutex);
      VARVE_RETURN_IF_ERROR(CheckOpen());
      status = state_->BeginChange(kOpSync, path_);
      if (state_->operations > state_->stop_after) return status;
      ++state_->syncs;
      last = state_->next_change_id - 1;
      delay = state_->sync_delay;
    }
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    const absl::MutexLock lock(&state_->mutex);
    size_t covered = 0;
    while (covered < node_->unsynced.size() && node_->unsynced[covered].id <= last) {
      if (status.ok()) ApplyChange(node_->unsynced[covered], &node_->synced);
      ++covered;
    }
    node_->unsynced.erase(node_->unsynced.begin(),
                          node_->unsynced.begin() + static_cast<ptrdiff_t>(covered));
    return status;
  }

  Status Close() override {
    open_ = false;
    return {};
  }

 private:
  Status CheckOpen() const {
    if (open_) return {};
    return MakeStatus(StatusCode::kUnavailable, Concat(path_, ": closed"));
  }

  const std::shared_ptr<State> state_;
  const NodePtr node_;
  const std::string path_;
  uint64_t size_;
  bool open_ = true;
};

/// A handle for reading.
class MemoryFileSystem::Handle final : public RandomAccessFile {
 public:
  Handle(std::shared_ptr<const std::string> content, std::string path)
      : content_(std::move(content)), path_(std::move(path)) {}
  uint64_t size() const override { return content_->size(); }
  Result<std::string_view> Read(uint64_t offset, uint64_t bytes) const override {
    if (offset > content_->size() || bytes > content_->size() - offset) {
      return DataLossError(
          path_, offset,
          Concat("needs ", bytes, " bytes, the file has ", content_->size(), " in all"));
    }
    return std::string_view(*content_).substr(offset, bytes);
  }

 private:
  const std::shared_ptr<const std::string> content_;
  const std::string path_;
};

class MemoryFileSystem::Held final : public FileLock {
 public:
  Held(std::shared_ptr<State> state, std::string path)
      : state_(std::move(state)), path_(std::move(path)) {}
  ~Held() override {
    const absl::MutexLock lock(&state_->mutex);
    state_->locks.erase(path_);
  }

 private:
  const std::shared_ptr<State> state_;
  const std::string path_;
};

MemoryFileSystem::MemoryFileSystem() : state_(std::make_shared<State>()) {}
MemoryFileSystem::~MemoryFileSystem() = default;

std::shared_ptr<MemoryFileSystem> MemoryFileSystem::Crash(CrashPolicy policy, uint64_t seed) const {
  const absl::MutexLock lock(&state_->mutex);
  Random random(seed * 2 + 1);

  // Which names are there: the durable ones of every directory, and some of the pending changes.
  const bool all_names = policy == CrashPolicy::kKeepAll || policy == CrashPolicy::kGarbageTail ||
                         policy == CrashPolicy::kZeroTail;
  std::map<const Node*, Node::Entries> changed;
  const auto entries_of = [&changed](const NodePtr& dir) -> Node::Entries* {
    if (dir == nullptr) return nullptr;
    return &changed.try_emplace(dir.get(), dir->durable_entries).first->second;
  };
  if (policy == CrashPolicy::kPrefix || policy == CrashPolicy::kReorder) {
    const size_t kept = random() % (state_->pending.size() + 1);
    for (size_t i = 0; i < state_->pending.size(); ++i) {
      const bool keep = policy == CrashPolicy::kPrefix ? i < kept : random() % 2 == 0;
      if (!keep) continue;
      const NameChange& change = state_->pending[i];
      Node::Entries* from = entries_of(change.from_dir);
      Node::Entries* to = entries_of(change.to_dir);
      State::ApplyNames(change, from, to);
    }
  }

  auto out = std::make_shared<MemoryFileSystem>();
  const absl::MutexLock out_lock(&out->state_->mutex);
  std::map<const Node*, NodePtr> copies;  // one copy of a file that has several names
  uint64_t used = 0;
  const auto copy_dir = [&](const auto& self, const Node& dir) -> NodePtr {
    NodePtr copy = State::MakeRoot();
    const auto found = changed.find(&dir);
    const Node::Entries& entries = all_names                ? dir.entries
                                   : found != changed.end() ? found->second
                                                            : dir.durable_entries;
    for (const auto& [name, node] : entries) {
      NodePtr& child = copies[node.get()];
      if (child == nullptr) {
        if (node->is_dir) {
          child = self(self, *node);
        } else {
          child = std::make_shared<Node>();
          child->synced = CrashContent(*node, policy, random);
          child->content = std::make_shared<std::string>(child->synced);
          used += child->synced.size();
        }
        child->links = 0;
      }
      ++child->links;
      copy->entries[name] = child;
    }
    copy->durable_entries = copy->entries;
    return copy;
  };
  out->state_->root = copy_dir(copy_dir, *state_->root);
  out->state_->used = used;
  return out;
}

uint64_t MemoryFileSystem::operations() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->operations;
}
uint64_t MemoryFileSystem::syncs() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->syncs;
}
uint64_t MemoryFileSystem::dir_syncs() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->dir_syncs;
}
void MemoryFileSystem::StopAfter(uint64_t operation) {
  const absl::MutexLock lock(&state_->mutex);
  state_->stop_after = operation;
}
bool MemoryFileSystem::stopped() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->operations > state_->stop_after;
}
void MemoryFileSystem::Inject(const Fault& fault) {
  const absl::MutexLock lock(&state_->mutex);
  state_->faults.push_back({fault, Random(fault.seed)});
}
void MemoryFileSystem::ClearFaults() {
  const absl::MutexLock lock(&state_->mutex);
  state_->faults.clear();
}
void MemoryFileSystem::SetCapacity(uint64_t bytes) {
  const absl::MutexLock lock(&state_->mutex);
  state_->capacity = bytes;
}
uint64_t MemoryFileSystem::bytes_used() const {
  const absl::MutexLock lock(&state_->mutex);
  return state_->used;
}
void MemoryFileSystem::SetSyncDelay(std::chrono::microseconds delay) {
  const absl::MutexLock lock(&state_->mutex);
  state_->sync_delay = delay;
}

Status MemoryFileSystem::Corrupt(const std::string& path, uint64_t offset, std::string_view bytes) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
  if (offset > node->content->size() || bytes.size() > node->content->size() - offset) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat(path, ": shorter than that"));
  }
  WriteInto(&node->MutableContent(), offset, bytes);
  for (uint64_t i = 0; i < bytes.size() && offset + i < node->synced.size(); ++i) {
    node->synced[offset + i] = bytes[i];
  }
  return {};
}

Status MemoryFileSystem::FlipBit(const std::string& path, uint64_t bit) {
  char byte = 0;
  {
    const absl::MutexLock lock(&state_->mutex);
    VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
    if (bit / 8 >= node->content->size()) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat(path, ": shorter than that"));
    }
    byte = static_cast<char>((*node->content)[bit / 8] ^ (1 << (bit % 8)));
  }
  return Corrupt(path, bit / 8, std::string_view(&byte, 1));
}

Status MemoryFileSystem::Put(const std::string& path, std::string_view bytes) {
  VARVE_RETURN_IF_ERROR(MakeDirs(DirName(path)));
  VARVE_ASSIGN_OR_RETURN(const auto file, Create(path));
  VARVE_RETURN_IF_ERROR(file->Append(bytes));
  VARVE_RETURN_IF_ERROR(file->Sync());
  return SyncDir(DirName(path));
}

std::vector<std::string> MemoryFileSystem::AllFiles() const {
  const absl::MutexLock lock(&state_->mutex);
  std::vector<std::string> out;
  const auto walk = [&out](const auto& self, const Node& dir, const std::string& path) -> void {
    for (const auto& [name, node] : dir.entries) {
      if (node->is_dir) {
        self(self, *node, JoinPath(path, name));
      } else {
        out.push_back(JoinPath(path, name));
      }
    }
  };
  walk(walk, *state_->root, "");
  std::sort(out.begin(), out.end());
  return out;
}

Result<std::unique_ptr<WritableFile>> MemoryFileSystem::Create(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpCreate, path));
  NodePtr node = state_->Find(path);
  if (node == nullptr) {
    VARVE_ASSIGN_OR_RETURN(const NodePtr parent, state_->FindParent(path));
    node = std::make_shared<Node>();
    state_->AddName(parent, BaseName(path), node);
  } else if (node->is_dir) {
    return MakeStatus(StatusCode::kUnavailable, Concat(path, ": is a directory"));
  } else if (!node->content->empty()) {
    state_->AddChange(node.get(), {0, Change::Kind::kTruncate, 0, ""});
  }
  return std::unique_ptr<WritableFile>(std::make_unique<File>(state_, node, path, 0));
}

Result<std::unique_ptr<WritableFile>> MemoryFileSystem::OpenForWrite(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpCreate, path));
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
  return std::unique_ptr<WritableFile>(
      std::make_unique<File>(state_, node, path, node->content->size()));
}

Result<std::unique_ptr<RandomAccessFile>> MemoryFileSystem::Open(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->CheckFaults(kOpRead, path));
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
  return std::unique_ptr<RandomAccessFile>(std::make_unique<Handle>(node->content, path));
}

Result<std::string> MemoryFileSystem::ReadFile(const std::string& path, uint64_t bytes_max) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->CheckFaults(kOpRead, path));
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
  if (node->content->size() > bytes_max) {
    return MakeStatus(StatusCode::kResourceExhausted,
                      Concat(path, ": longer than ", bytes_max, " bytes"));
  }
  return *node->content;
}

Result<std::vector<std::string>> MemoryFileSystem::List(const std::string& dir) {
  const absl::MutexLock lock(&state_->mutex);
  const NodePtr node = state_->Find(dir);
  if (node == nullptr || !node->is_dir) return NotFound(dir);
  std::vector<std::string> names;
  for (const auto& entry : node->entries) names.push_back(entry.first);
  return names;
}

Result<bool> MemoryFileSystem::Exists(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  return state_->Find(path) != nullptr;
}

Result<uint64_t> MemoryFileSystem::FileSize(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(path));
  return node->content->size();
}

Status MemoryFileSystem::Remove(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpRemove, path));
  VARVE_RETURN_IF_ERROR(state_->FindFile(path).status());
  VARVE_ASSIGN_OR_RETURN(const NodePtr parent, state_->FindParent(path));
  state_->RemoveName(parent, BaseName(path));
  return {};
}

Status MemoryFileSystem::Rename(const std::string& from, const std::string& to) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpRename, to));
  const NodePtr node = state_->Find(from);
  if (node == nullptr) return NotFound(from);
  VARVE_ASSIGN_OR_RETURN(const NodePtr from_dir, state_->FindParent(from));
  VARVE_ASSIGN_OR_RETURN(const NodePtr to_dir, state_->FindParent(to));
  const std::string from_name = BaseName(from);
  const std::string to_name = BaseName(to);
  const auto replaced = to_dir->entries.find(to_name);
  if (replaced != to_dir->entries.end()) {
    if (replaced->second == node) return {};
    if (replaced->second->is_dir && !replaced->second->entries.empty()) {
      return MakeStatus(StatusCode::kUnavailable, Concat(to, ": directory not empty"));
    }
    state_->DropLink(replaced->second);
  }
  from_dir->entries.erase(from_name);
  to_dir->entries[to_name] = node;
  state_->pending.push_back({node, from_dir, from_name, to_dir, to_name});
  return {};
}

Status MemoryFileSystem::HardLink(const std::string& from, const std::string& to) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpLink, to));
  VARVE_ASSIGN_OR_RETURN(const NodePtr node, state_->FindFile(from));
  VARVE_ASSIGN_OR_RETURN(const NodePtr to_dir, state_->FindParent(to));
  if (to_dir->entries.contains(BaseName(to))) {
    return MakeStatus(StatusCode::kAlreadyExists, Concat(to, ": exists already"));
  }
  state_->AddName(to_dir, BaseName(to), node);
  return {};
}

Status MemoryFileSystem::MakeDirs(const std::string& dir) {
  const absl::MutexLock lock(&state_->mutex);
  return state_->MakePath(dir);
}

Status MemoryFileSystem::RemoveAll(const std::string& dir) {
  const absl::MutexLock lock(&state_->mutex);
  if (state_->Find(dir) == nullptr) return {};
  VARVE_ASSIGN_OR_RETURN(const NodePtr parent, state_->FindParent(dir));
  return state_->RemoveTree(parent, BaseName(dir), dir);
}

Status MemoryFileSystem::SyncDir(const std::string& dir) {
  const absl::MutexLock lock(&state_->mutex);
  VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpSyncDir, dir));
  const NodePtr node = state_->Find(dir);
  if (node == nullptr || !node->is_dir) return NotFound(dir);
  ++state_->dir_syncs;
  state_->SyncNames(node);
  return {};
}

Result<std::unique_ptr<FileLock>> MemoryFileSystem::Lock(const std::string& path) {
  {
    const absl::MutexLock lock(&state_->mutex);
    if (state_->locks.contains(path)) {
      return MakeStatus(StatusCode::kFailedPrecondition, Concat(path, ": held by another handle"));
    }
    if (state_->Find(path) == nullptr) {
      VARVE_RETURN_IF_ERROR(state_->BeginChange(kOpCreate, path));
      VARVE_ASSIGN_OR_RETURN(const NodePtr parent, state_->FindParent(path));
      state_->AddName(parent, BaseName(path), std::make_shared<Node>());
    }
    state_->locks.insert(path);
  }
  return std::unique_ptr<FileLock>(std::make_unique<Held>(state_, path));
}

Result<uint64_t> MemoryFileSystem::FreeBytes(const std::string& path) {
  const absl::MutexLock lock(&state_->mutex);
  return state_->capacity - std::min(state_->capacity, state_->used);
}

}  // namespace varve::io
