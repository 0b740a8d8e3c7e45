#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "varve/status.h"

namespace varve::ingest {

/// Holds a file of the operating system in the address space, read-only. The file must not shrink
/// meanwhile. Errors of Open: kNotFound, kUnavailable; both name the file.
class MappedFile {
 public:
  static Result<MappedFile> Open(const std::string& path);
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::string_view bytes() const { return bytes_; }

 private:
  std::string path_;
  std::string_view bytes_;
};

}  // namespace varve::ingest
