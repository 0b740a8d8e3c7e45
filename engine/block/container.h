#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "varve/status.h"

namespace varve::block {

/// Names a section; its meaning is the wing's. Types from kOwnTypesMin on belong to the container.
using SectionType = uint16_t;
inline constexpr SectionType kOwnTypesMin = 0xff00;
inline constexpr SectionType kMetaSection = 0xff00;

/// Set: a reader that does not know the type may ignore the section.
inline constexpr uint8_t kSkippable = 0x01;
/// Set by the writer: checksums per page in a table behind the content.
inline constexpr uint8_t kPaged = 0x02;

inline constexpr uint64_t kPageBytes = 64 * 1024;
inline constexpr uint32_t kSectionsMax = 4096;

/// Describes one section: a line of the table of contents.
struct SectionInfo {
  SectionType type = 0;
  uint8_t flags = 0;
  uint8_t codec = 0;       // meaning is the wing's; the container never compresses
  uint64_t offset = 0;     // in the file, a multiple of 8
  uint64_t bytes = 0;      // of the content
  uint64_t raw_bytes = 0;  // before compression; 0 where that has no meaning
  uint64_t items = 0;      // as the wing counts; for inspection
  uint64_t checksum = 0;   // of the content, or of the page table
  bool paged() const { return (flags & kPaged) != 0; }
  bool skippable() const { return (flags & kSkippable) != 0; }
  uint64_t stored_bytes() const;  // with padding and page table
};

/// Writes one block file: streams sections to `path`.tmp and publishes all at once in Finish.
/// Destroyed without Finish, it removes what it wrote. Not thread-safe. After an error every later
/// call fails with it. Memory: one buffer of 256 KiB and 8 bytes a page.
class BlockWriter {
 public:
  /// Starts a block in `dir`, to be named BlockFileName(id). `fixed_tag` is for golden files only.
  static Result<std::unique_ptr<BlockWriter>> Create(std::shared_ptr<io::FileSystem> fs,
                                                     const std::string& dir, uint64_t id, Wing wing,
                                                     uint64_t fixed_tag = 0);
  virtual ~BlockWriter() = default;

  /// Adds a whole section, verified as one when read. Each type may occur once. Errors:
  /// kInvalidArgument for a type that is taken or not the wing's, kResourceExhausted, kUnavailable.
  virtual Status AddSection(SectionType type, uint8_t flags, uint8_t codec, std::string_view bytes,
                            uint64_t raw_bytes = 0, uint64_t items = 0) = 0;

  /// Add a section bit by bit; its pages are verified one by one when read. Between Begin and End
  /// no other section can be added.
  virtual Status BeginPagedSection(SectionType type, uint8_t flags, uint8_t codec) = 0;
  virtual Status Append(std::string_view bytes) = 0;
  /// Returns how many bytes the open section has: where the next Append will stand in it.
  virtual uint64_t section_offset() const = 0;
  virtual Status EndPagedSection(uint64_t raw_bytes = 0, uint64_t items = 0) = 0;

  /// Writes meta, table of contents and footer, syncs, renames, syncs the directory. Returns
  /// `meta` with `bytes` filled in. Precondition: id and wing of `meta` are those of Create.
  virtual Result<BlockMeta> Finish(BlockMeta meta) = 0;

  /// Returns the bytes so far, without table and footer.
  virtual uint64_t file_bytes() const = 0;
};

/// Reads a section whose pages are verified when first touched. Thread-safe; owned by its
/// BlockReader.
class PagedSection {
 public:
  virtual ~PagedSection() = default;
  virtual uint64_t size() const = 0;
  /// Returns bytes [offset, offset + bytes), verified; they live as long as the reader. Errors:
  /// kDataLoss with file and offset, also for a range past the end. Costs one hash per 64 KiB page
  /// the first time, a bit test later.
  virtual Result<std::string_view> Read(uint64_t offset, uint64_t bytes) const = 0;
};

/// Reads one block file, mapped. Thread-safe.
class BlockReader {
 public:
  /// Verifies header, footer, table of contents and meta; reads nothing else. Errors: kDataLoss
  /// with file and offset, kUnimplemented for a later version, kNotFound, kUnavailable.
  static Result<std::shared_ptr<const BlockReader>> Open(io::FileSystem& fs,
                                                         const std::string& path);
  virtual ~BlockReader() = default;

  virtual const std::string& path() const = 0;
  virtual uint64_t file_bytes() const = 0;
  virtual const BlockMeta& meta() const = 0;
  /// Lists the sections in file order, meta included.
  virtual std::span<const SectionInfo> sections() const = 0;
  /// Returns nullptr if there is none of this type.
  virtual const SectionInfo* Find(SectionType type) const = 0;

  /// Fails with kUnimplemented if the file has a section that is neither skippable nor in `known`.
  virtual Status CheckKnown(std::span<const SectionType> known) const = 0;

  /// Returns a whole section, verified the first time; it lives as long as the reader. Errors:
  /// kNotFound, kDataLoss with file and offset; kInvalidArgument for a paged section.
  virtual Result<std::string_view> Section(SectionType type) const = 0;
  /// Returns a paged section, its page table verified the first time. Errors likewise.
  virtual Result<const PagedSection*> Paged(SectionType type) const = 0;

  /// Checks every byte of the file, also those verified before. Returns all damage, each kDataLoss
  /// with file and offset.
  virtual std::vector<Status> VerifyAll() const = 0;
};

}  // namespace varve::block
