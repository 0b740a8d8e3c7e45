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

// engine/docs/format/loki-deletions.md
constexpr std::string_view kMagic = "varve deletions 1\n";
constexpr uint64_t kFileBytesMax = 256u << 20;  // a thousand queries of at most 128 KiB

}  // namespace

std::string DeleteLog::Encode(const Contents& contents) {
  std::string body;
  PutVarint(&body, contents.count);
  for (const Item& item : contents.items) {
    PutString(&body, item.id);
    PutString(&body, item.query);
    PutSigned(&body, item.range.min_ns);
    PutSigned(&body, item.range.max_ns);
    PutSigned(&body, item.created_ns);
  }
  std::string bytes(kMagic);
  PutFixed(&bytes, Hash64(body));
  return bytes + body;
}

Result<DeleteLog::Contents> DeleteLog::Decode(std::string_view bytes, std::string_view file) {
  ByteReader in(bytes);
  const std::string_view magic = in.Bytes(kMagic.size());
  const auto checksum = in.Fixed<uint64_t>();
  if (!in.ok() || magic != kMagic) return DataLossError(file, 0, "not a list of deletions");
  if (checksum != Hash64(bytes.substr(in.position()))) {
    return DataLossError(file, kMagic.size(), "wrong checksum");
  }
  Contents contents;
  contents.count = in.Varint();
  while (in.ok() && in.left() > 0) {
    Item item;
    item.id = std::string(in.String());
    item.query = std::string(in.String());
    item.range.min_ns = in.Signed();
    item.range.max_ns = in.Signed();
    item.created_ns = in.Signed();
    contents.items.push_back(std::move(item));
  }
  if (!in.ok()) return DataLossError(file, in.position(), "a deletion is cut off");
  return contents;
}

Status DeleteLog::Open(const std::string& path) {
  const absl::MutexLock lock(&mutex_);
  path_ = path;
  const auto fs = io::PosixFileSystem();
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs->Exists(path));
  if (!exists) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const std::string bytes, fs->ReadFile(path, kFileBytesMax));
  VARVE_ASSIGN_OR_RETURN(contents_, Decode(bytes, path));
  return absl::OkStatus();
}

Result<std::string> DeleteLog::Add(Item item) {
  const absl::MutexLock lock(&mutex_);
  char id[32];
  std::snprintf(id, sizeof id, "%08llx", static_cast<unsigned long long>(++contents_.count));
  item.id = id;
  contents_.items.push_back(std::move(item));
  if (contents_.items.size() > kItemsMax) contents_.items.pop_front();
  if (!path_.empty()) {
    VARVE_RETURN_IF_ERROR(
        io::WriteFileAtomically(*io::PosixFileSystem(), path_, Encode(contents_)));
  }
  return std::string(id);
}

std::deque<DeleteLog::Item> DeleteLog::items() const {
  const absl::MutexLock lock(&mutex_);
  return contents_.items;
}

bool DeleteLog::Has(std::string_view id) const {
  const absl::MutexLock lock(&mutex_);
  return std::any_of(contents_.items.begin(), contents_.items.end(),
                     [id](const Item& item) { return item.id == id; });
}

}  // namespace varve::loki
