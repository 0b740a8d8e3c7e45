#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

namespace varve::io {

/// Writes one file. Not thread-safe, with one exception: Sync may run on one thread while
/// another one writes; it then covers at least what was written before it began.
///
/// Writes go to the operating system at once (they survive kill -9), unbuffered: callers gather
/// small pieces themselves. Only Sync makes them survive power loss.
class WritableFile {
 public:
  /// Closes without reporting errors and without syncing.
  virtual ~WritableFile() = default;

  /// Writes all of `bytes` at `offset`, which must not lie past size(). Short writes are continued.
  /// After an error size() is what it was and the bytes from `offset` on are unspecified up to
  /// offset + bytes.size(): writing the same range again repairs them.
  virtual Status WriteAt(uint64_t offset, std::string_view bytes) = 0;
  /// Writes at the end.
  Status Append(std::string_view bytes) { return WriteAt(size(), bytes); }

  /// Returns the end of what was written: preallocated bytes do not count.
  virtual uint64_t size() const = 0;

  /// Sets the length, giving up what was preallocated. Precondition: bytes <= size().
  virtual Status Truncate(uint64_t bytes) = 0;

  /// Makes room up to `bytes`, so that later syncs need not grow the file (measured on ext4: 72
  /// instead of 97 us each). The file may then end in zeros past size() until Truncate. Where the
  /// system has no such call this does nothing and succeeds.
  virtual Status Preallocate(uint64_t bytes) = 0;

  /// Makes the content and the length durable (fdatasync); not the directory entry: see
  /// FileSystem::SyncDir. After an error nothing unsynced may be trusted, not even after a later
  /// Sync that succeeds, because systems mark the pages clean.
  virtual Status Sync() = 0;

  /// Releases the handle; every later call fails. Does not sync.
  virtual Status Close() = 0;
};

/// Reads one file at any place. Thread-safe. Shows the bytes that were there at Open; a file
/// must not shrink while it is open.
class RandomAccessFile {
 public:
  virtual ~RandomAccessFile() = default;
  virtual uint64_t size() const = 0;
  /// Returns `bytes` bytes from `offset` without copying; they live as long as this object.
  /// Errors: kDataLoss with file and offset if they reach past the end.
  virtual Result<std::string_view> Read(uint64_t offset, uint64_t bytes) const = 0;
};

/// Holds a lock file until destroyed.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

/// Stands for what Varve needs from an operating system. Thread-safe; the files it hands out
/// outlive it.
///
/// Errors everywhere: kResourceExhausted when the disk, the quota or the file size limit is full,
/// kNotFound when the path is missing, kUnavailable for anything else; messages name the path.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  /// Opens an empty file for writing; cuts an existing one to nothing.
  virtual Result<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  /// Opens an existing file for writing; size() is its length.
  virtual Result<std::unique_ptr<WritableFile>> OpenForWrite(const std::string& path) = 0;
  virtual Result<std::unique_ptr<RandomAccessFile>> Open(const std::string& path) = 0;
  /// Returns the whole file. Errors: kResourceExhausted if it is longer than `bytes_max`.
  virtual Result<std::string> ReadFile(const std::string& path, uint64_t bytes_max) = 0;

  /// Returns the names in a directory, sorted, without "." and "..".
  virtual Result<std::vector<std::string>> List(const std::string& dir) = 0;
  virtual Result<bool> Exists(const std::string& path) = 0;
  virtual Result<uint64_t> FileSize(const std::string& path) = 0;

  virtual Status Remove(const std::string& path) = 0;
  /// Replaces `to` if it exists, atomically. Durable after SyncDir of the directory.
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  /// Makes a second name for a file, or a copy where links are not possible; the copy is synced,
  /// the name is not. Errors: kAlreadyExists if `to` exists.
  virtual Status HardLink(const std::string& from, const std::string& to) = 0;

  /// Makes a directory and the missing ones above it. Each new one is durable on return.
  virtual Status MakeDirs(const std::string& dir) = 0;
  /// Removes a directory with all that is in it. Succeeds if there is none.
  virtual Status RemoveAll(const std::string& dir) = 0;
  /// Makes the entries of a directory durable: names created, renamed and removed in it.
  virtual Status SyncDir(const std::string& dir) = 0;

  /// Takes a lock that dies with the process. Errors: kFailedPrecondition if it is held, by another
  /// process or in this one.
  virtual Result<std::unique_ptr<FileLock>> Lock(const std::string& path) = 0;
  /// Returns how many bytes this process may still write on the file system of `path`.
  virtual Result<uint64_t> FreeBytes(const std::string& path) = 0;
};

/// Returns the file system of the operating system, shared by all. Files are made with mode 0600,
/// directories with 0700.
std::shared_ptr<FileSystem> PosixFileSystem();

/// Take paths apart and put them together; "" is the current directory.
std::string JoinPath(std::string_view dir, std::string_view name);
std::string DirName(std::string_view path);
std::string BaseName(std::string_view path);

/// Replaces a small file so that after a crash it holds all of the old or all of `bytes`; durable
/// on return. Uses `path`.tmp.
Status WriteFileAtomically(FileSystem& fs, const std::string& path, std::string_view bytes);

/// Copies a file, syncs the copy, not its name. Fails with kAlreadyExists if `to` exists.
Status CopyFile(FileSystem& fs, const std::string& from, const std::string& to);

/// Keeps damaged bytes: links `path` into `dir` as `name`, or copies it if the file will change
/// (`copy`). Returns the path, with a number added if another file has the name already; the same
/// bytes are kept once.
Result<std::string> Quarantine(FileSystem& fs, const std::string& path, const std::string& dir,
                               const std::string& name, bool copy);

}  // namespace varve::io
