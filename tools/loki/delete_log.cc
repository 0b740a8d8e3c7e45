#include "tools/loki/delete_log.h"

#include <algorithm>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/io/file_system.h"

namespace varve::loki {
namespace {

// The file: this text, Hash64 of the rest, the number of deletions that ever were, and the items:
// id, query, ends of the range, time of the request.
constexpr std::string_view kMagic = "varve deletions 1\n";
constexpr uint64_t kFileBytesMax = 256u << 20;  // a thousand queries of at most 128 KiB

}  // namespace

Status DeleteLog::Open(const std::string& path) {
  const absl::MutexLock lock(&mutex_);
  path_ = path;
  const auto fs = io::PosixFileSystem();
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs->Exists(path));
  if (!exists) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const std::string bytes, fs->ReadFile(path, kFileBytesMax));
  return Load(bytes);
}

Status DeleteLog::Load(std::string_view bytes) {
  ByteReader in(bytes);
  const std::string_view magic = in.Bytes(kMagic.size());
  const auto checksum = in.Fixed<uint64_t>();
  if (!in.ok() || magic != kMagic || checksum != Hash64(bytes.substr(in.position()))) {
    return MakeStatus(StatusCode::kDataLoss, Concat(path_, ": not a list of deletions"));
  }
  const uint64_t count = in.Varint();
  std::deque<Item> items;
  while (in.ok() && in.left() > 0) {
    Item item;
    item.id = std::string(in.String());
    item.query = std::string(in.String());
    item.range.min_ns = in.Signed();
    item.range.max_ns = in.Signed();
    item.created_ns = in.Signed();
    items.push_back(std::move(item));
  }
  if (!in.ok()) return MakeStatus(StatusCode::kDataLoss, Concat(path_, ": malformed"));
  items_ = std::move(items);
  count_ = count;
  return absl::OkStatus();
}

Status DeleteLog::Save() const {
  std::string items;
  PutVarint(&items, count_);
  for (const Item& item : items_) {
    PutString(&items, item.id);
    PutString(&items, item.query);
    PutSigned(&items, item.range.min_ns);
    PutSigned(&items, item.range.max_ns);
    PutSigned(&items, item.created_ns);
  }
  std::string bytes(kMagic);
  PutFixed(&bytes, Hash64(items));
  bytes += items;
  return io::WriteFileAtomically(*io::PosixFileSystem(), path_, bytes);
}

Result<std::string> DeleteLog::Add(Item item) {
  const absl::MutexLock lock(&mutex_);
  char id[32];
  std::snprintf(id, sizeof id, "%08llx", static_cast<unsigned long long>(++count_));
  item.id = id;
  items_.push_back(std::move(item));
  if (items_.size() > kItemsMax) items_.pop_front();
  if (!path_.empty()) VARVE_RETURN_IF_ERROR(Save());
  return std::string(id);
}

std::deque<DeleteLog::Item> DeleteLog::items() const {
  const absl::MutexLock lock(&mutex_);
  return items_;
}

bool DeleteLog::Has(std::string_view id) const {
  const absl::MutexLock lock(&mutex_);
  return std::any_of(items_.begin(), items_.end(),
                     [id](const Item& item) { return item.id == id; });
}

}  // namespace varve::loki
