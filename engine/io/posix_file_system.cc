#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/io/file_system.h"

namespace varve::io {
namespace {

Status ErrnoStatus(int error, std::string_view call, std::string_view path) {
  StatusCode code = StatusCode::kUnavailable;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = StatusCode::kResourceExhausted;
  if (error == ENOENT) code = StatusCode::kNotFound;
  char buffer[128];
  // The GNU strerror_r may return a text of its own instead of filling the buffer.
  const char* text = strerror_r(error, buffer, sizeof buffer);
  return MakeStatus(code, Concat(path, ": ", call, ": ", std::string_view(text)));
}

/// Calls `f` until it is not interrupted by a signal.
template <typename F>
auto Retry(F f) {
  decltype(f()) result;
  do {
    result = f();
  } while (result == -1 && errno == EINTR);
  return result;
}

const char* DirPath(const std::string& dir) { return dir.empty() ? "." : dir.c_str(); }

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Result<Descriptor> OpenDescriptor(const std::string& path, int flags) {
  const int fd = Retry([&] { return open(DirPath(path), flags | O_CLOEXEC, 0600); });
  if (fd < 0) return ErrnoStatus(errno, "open", path);
  return Descriptor(fd);
}

Result<uint64_t> SizeOf(int fd, const std::string& path) {
  struct stat info;
  if (fstat(fd, &info) != 0) return ErrnoStatus(errno, "fstat", path);
  if (!S_ISREG(info.st_mode)) {
    return MakeStatus(StatusCode::kUnavailable, Concat(path, ": not a regular file"));
  }
  return static_cast<uint64_t>(info.st_size);
}

class PosixWritableFile final : public WritableFile {
 public:
  PosixWritableFile(Descriptor fd, std::string path, uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}

  Status WriteAt(uint64_t offset, std::string_view bytes) override {
    VARVE_CHECK(offset <= size_);
    uint64_t at = offset;
    while (!bytes.empty()) {
      // Linux writes at most this much a call; asking for more is legal but never answered whole.
      const size_t ask = std::min<size_t>(bytes.size(), 1u << 30);
      const ssize_t wrote =
          Retry([&] { return pwrite(fd_.get(), bytes.data(), ask, static_cast<off_t>(at)); });
      if (wrote < 0) return ErrnoStatus(errno, "write", path_);
      if (wrote == 0) return ErrnoStatus(EIO, "write", path_);
      at += static_cast<uint64_t>(wrote);
      bytes.remove_prefix(static_cast<size_t>(wrote));
    }
    size_ = std::max(size_, at);
    return {};
  }

  uint64_t size() const override { return size_; }

  Status Truncate(uint64_t bytes) override {
    VARVE_CHECK(bytes <= size_);
    if (Retry([&] { return ftruncate(fd_.get(), static_cast<off_t>(bytes)); }) != 0) {
      return ErrnoStatus(errno, "ftruncate", path_);
    }
    size_ = bytes;
    return {};
  }

  Status Preallocate(uint64_t bytes) override {
    if (bytes <= size_) return {};
    const int result = Retry([&] {
      return fallocate(fd_.get(), 0, static_cast<off_t>(size_), static_cast<off_t>(bytes - size_));
    });
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return {};
    return ErrnoStatus(errno, "fallocate", path_);
  }

  Status Sync() override {
    if (Retry([&] { return fdatasync(fd_.get()); }) != 0) {
      // A full disk found this late has lost data like any other failure: never worth a retry.
      return MakeStatus(StatusCode::kUnavailable,
                        ToStd(ErrnoStatus(errno, "fdatasync", path_).message()));
    }
    return {};
  }

  Status Close() override {
    if (fd_.get() < 0) return {};
    // The descriptor is gone even if close is interrupted: never call it twice.
    if (close(fd_.Release()) != 0 && errno != EINTR) return ErrnoStatus(errno, "close", path_);
    return {};
  }

 private:
  Descriptor fd_;
  const std::string path_;
  uint64_t size_;
};

class MappedFile final : public RandomAccessFile {
 public:
  MappedFile(const char* data, uint64_t size, std::string path)
      : data_(data), size_(size), path_(std::move(path)) {}
  ~MappedFile() override {
    if (size_ != 0) munmap(const_cast<char*>(data_), size_);
  }
  uint64_t size() const override { return size_; }
  Result<std::string_view> Read(uint64_t offset, uint64_t bytes) const override {
    if (offset > size_ || bytes > size_ - offset) {
      return DataLossError(path_, offset,
                           Concat("needs ", bytes, " bytes, the file has ", size_, " in all"));
    }
    return std::string_view(data_ + offset, bytes);
  }

 private:
  const char* const data_;
  const uint64_t size_;
  const std::string path_;
};

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  Descriptor fd_;  // closing it releases the lock
};

class Posix final : public FileSystem {
 public:
  Result<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDWR | O_CREAT | O_TRUNC));
    return std::unique_ptr<WritableFile>(
        std::make_unique<PosixWritableFile>(std::move(fd), path, 0));
  }

  Result<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDWR));
    VARVE_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(fd.get(), path));
    return std::unique_ptr<WritableFile>(
        std::make_unique<PosixWritableFile>(std::move(fd), path, size));
  }

  Result<std::unique_ptr<RandomAccessFile>> Open(const std::string& path) override {
    VARVE_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(path, O_RDONLY));
    VARVE_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(fd.get(), path));
    const char* data = "";
    if (size != 0) {
      void* map = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
      if (map == MAP_FAILED) return ErrnoStatus(errno, "mmap", path);
      data = static_cast<const char*>(map);
    }
    return std::unique_ptr<RandomAccessFile>(std::make_unique<MappedFile>(data, size, path));
  }

  Result<std::string> ReadFile(const std::string& path, uint64_t bytes_max) override {
    VARVE_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(path, O_RDONLY));
    VARVE_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(fd.get(), path));
    if (size > bytes_max) {
      return MakeStatus(StatusCode::kResourceExhausted,
                        Concat(path, ": ", size, " bytes, at most ", bytes_max, " are read"));
    }
    std::string out(size, '\0');
    size_t at = 0;
    while (at < size) {
      const ssize_t got = Retry(
          [&] { return pread(fd.get(), out.data() + at, size - at, static_cast<off_t>(at)); });
      if (got < 0) return ErrnoStatus(errno, "read", path);
      if (got == 0) break;
      at += static_cast<size_t>(got);
    }
    out.resize(at);
    return out;
  }

  Result<std::vector<std::string>> List(const std::string& dir) override {
    DIR* stream = opendir(DirPath(dir));
    if (stream == nullptr) return ErrnoStatus(errno, "opendir", dir);
    std::vector<std::string> names;
    int error = 0;
    while (true) {
      errno = 0;
      const dirent* entry = readdir(stream);
      if (entry == nullptr) {
        error = errno;
        break;
      }
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    closedir(stream);
    if (error != 0) return ErrnoStatus(error, "readdir", dir);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<bool> Exists(const std::string& path) override {
    struct stat info;
    if (stat(DirPath(path), &info) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    return ErrnoStatus(errno, "stat", path);
  }

  Result<uint64_t> FileSize(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "stat", path);
    return static_cast<uint64_t>(info.st_size);
  }

  Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, "unlink", path);
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoStatus(errno, "rename", Concat(from, " -> ", to));
    }
    return {};
  }

  Status HardLink(const std::string& from, const std::string& to) override {
    if (link(from.c_str(), to.c_str()) == 0) return {};
    if (errno == EEXIST) {
      return MakeStatus(StatusCode::kAlreadyExists, Concat(to, ": exists already"));
    }
    if (errno == EPERM || errno == EXDEV || errno == EOPNOTSUPP || errno == EMLINK ||
        errno == ENOSYS) {
      return CopyFile(*this, from, to);
    }
    return ErrnoStatus(errno, "link", Concat(from, " -> ", to));
  }

  Status MakeDirs(const std::string& dir) override {
    if (dir.empty() || dir == "/") return {};
    if (mkdir(dir.c_str(), 0700) != 0) {
      if (errno == EEXIST) {
        struct stat info;
        if (stat(dir.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
        return MakeStatus(StatusCode::kUnavailable, Concat(dir, ": not a directory"));
      }
      if (errno != ENOENT) return ErrnoStatus(errno, "mkdir", dir);
      const std::string parent = DirName(dir);
      if (parent == dir) return ErrnoStatus(ENOENT, "mkdir", dir);
      VARVE_RETURN_IF_ERROR(MakeDirs(parent));
      if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
        return ErrnoStatus(errno, "mkdir", dir);
      }
    }
    return SyncDir(DirName(dir));
  }

  Status RemoveAll(const std::string& dir) override {
    Result<std::vector<std::string>> names = List(dir);
    if (!names.ok()) {
      return names.status().code() == StatusCode::kNotFound ? Status() : names.status();
    }
    for (const std::string& name : *names) {
      const std::string path = JoinPath(dir, name);
      struct stat info;
      // A symbolic link is removed, never followed.
      if (lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT) continue;
        return ErrnoStatus(errno, "lstat", path);
      }
      VARVE_RETURN_IF_ERROR(S_ISDIR(info.st_mode) ? RemoveAll(path) : Remove(path));
    }
    if (rmdir(dir.c_str()) != 0) return ErrnoStatus(errno, "rmdir", dir);
    return {};
  }

  Status SyncDir(const std::string& dir) override {
    VARVE_ASSIGN_OR_RETURN(const Descriptor fd, OpenDescriptor(dir, O_RDONLY | O_DIRECTORY));
    if (Retry([&] { return fsync(fd.get()); }) != 0) {
      // Some file systems cannot sync a directory and say so; they order names themselves.
      if (errno == EINVAL || errno == ENOTSUP) return {};
      return ErrnoStatus(errno, "fsync", dir);
    }
    return {};
  }

  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenDescriptor(path, O_RDWR | O_CREAT));
    if (Retry([&] { return flock(fd.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno == EWOULDBLOCK) {
        return MakeStatus(StatusCode::kFailedPrecondition,
                          Concat(path, ": held by another process or another handle"));
      }
      return ErrnoStatus(errno, "flock", path);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixLock>(std::move(fd)));
  }

  Result<uint64_t> FreeBytes(const std::string& path) override {
    struct statvfs info;
    if (Retry([&] { return statvfs(DirPath(path), &info); }) != 0) {
      return ErrnoStatus(errno, "statvfs", path);
    }
    return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
  }
};

}  // namespace

std::shared_ptr<FileSystem> PosixFileSystem() {
  static const std::shared_ptr<FileSystem> instance = std::make_shared<Posix>();
  return instance;
}

}  // namespace varve::io
