#include "engine/io/file_system.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::io {

std::string JoinPath(std::string_view dir, std::string_view name) {
  if (dir.empty()) return std::string(name);
  if (dir.ends_with('/')) return Concat(dir, name);
  return Concat(dir, "/", name);
}

std::string DirName(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return "";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

std::string BaseName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

Status WriteFileAtomically(FileSystem& fs, const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".tmp";
  const auto write = [&]() -> Status {
    VARVE_ASSIGN_OR_RETURN(auto file, fs.Create(temporary));
    VARVE_RETURN_IF_ERROR(file->Append(bytes));
    VARVE_RETURN_IF_ERROR(file->Sync());
    VARVE_RETURN_IF_ERROR(file->Close());
    return fs.Rename(temporary, path);
  };
  if (Status status = write(); !status.ok()) {
    fs.Remove(temporary).IgnoreError();
    return status;
  }
  return fs.SyncDir(DirName(path));
}

Status CopyFile(FileSystem& fs, const std::string& from, const std::string& to) {
  VARVE_ASSIGN_OR_RETURN(const bool exists, fs.Exists(to));
  if (exists) return MakeStatus(StatusCode::kAlreadyExists, Concat(to, ": exists already"));
  VARVE_ASSIGN_OR_RETURN(const auto source, fs.Open(from));
  const auto copy = [&]() -> Status {
    VARVE_ASSIGN_OR_RETURN(auto target, fs.Create(to));
    constexpr uint64_t kStep = 1u << 20;
    for (uint64_t at = 0; at < source->size(); at += kStep) {
      VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                             source->Read(at, std::min(kStep, source->size() - at)));
      VARVE_RETURN_IF_ERROR(target->Append(bytes));
    }
    VARVE_RETURN_IF_ERROR(target->Sync());
    return target->Close();
  };
  Status status = copy();
  if (!status.ok()) fs.Remove(to).IgnoreError();
  return status;
}

Result<std::string> Quarantine(FileSystem& fs, const std::string& path, const std::string& dir,
                               const std::string& name, bool copy) {
  VARVE_RETURN_IF_ERROR(fs.MakeDirs(dir));
  VARVE_ASSIGN_OR_RETURN(const auto source, fs.Open(path));
  VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, source->Read(0, source->size()));
  for (uint32_t attempt = 0;; ++attempt) {
    std::string target = JoinPath(dir, attempt == 0 ? name : Concat(name, ".", attempt));
    VARVE_ASSIGN_OR_RETURN(const bool exists, fs.Exists(target));
    if (exists) {
      VARVE_ASSIGN_OR_RETURN(const auto kept, fs.Open(target));
      VARVE_ASSIGN_OR_RETURN(const std::string_view kept_bytes, kept->Read(0, kept->size()));
      if (kept_bytes == bytes) return target;
      continue;
    }
    VARVE_RETURN_IF_ERROR(copy ? CopyFile(fs, path, target) : fs.HardLink(path, target));
    VARVE_RETURN_IF_ERROR(fs.SyncDir(dir));
    return target;
  }
}

}  // namespace varve::io
