#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/container_format.h"
#include "engine/io/record_log.h"

namespace varve::block {
namespace {

uint64_t TableEntry(std::string_view table, uint64_t page) {
  uint64_t value;
  std::memcpy(&value, table.data() + page * sizeof value, sizeof value);
  return value;
}

class Pages final : public PagedSection {
 public:
  Pages(std::string_view file, const SectionInfo& info, const std::string& path)
      : path_(path),
        offset_(info.offset),
        size_(info.bytes),
        content_(file.substr(info.offset, PadTo8(info.bytes))),
        table_(file.substr(info.offset + content_.size(),
                           PageCount(content_.size()) * sizeof(uint64_t))),
        table_checksum_(info.checksum),
        verified_(std::make_unique<std::atomic<uint64_t>[]>(PageCount(content_.size()) / 64 + 1)) {}

  uint64_t size() const override { return size_; }

  Result<std::string_view> Read(uint64_t offset, uint64_t bytes) const override {
    if (offset > size_ || bytes > size_ - offset) {
      return DataLossError(
          path_, offset_ + std::min(offset, size_),
          Concat("reads ", bytes, " bytes at ", offset, " of a section of ", size_, " bytes"));
    }
    if (bytes == 0) return std::string_view();
    const uint64_t last = (offset + bytes - 1) / kPageBytes;
    for (uint64_t page = offset / kPageBytes; page <= last; ++page) {
      std::atomic<uint64_t>& word = verified_[page / 64];
      const uint64_t bit = uint64_t{1} << (page % 64);
      if ((word.load(std::memory_order_relaxed) & bit) != 0) continue;
      VARVE_RETURN_IF_ERROR(CheckPage(page));
      word.fetch_or(bit, std::memory_order_relaxed);
    }
    return content_.substr(offset, bytes);
  }

  Status CheckTable() const {
    if (Hash64(table_) == table_checksum_) return {};
    return DataLossError(path_, offset_ + content_.size(), "page checksum table is damaged");
  }

  Status CheckPage(uint64_t page) const {
    const std::string_view bytes = content_.substr(page * kPageBytes, kPageBytes);
    if (Hash64(bytes) == TableEntry(table_, page)) return {};
    return DataLossError(path_, offset_ + page * kPageBytes,
                         Concat("page of ", bytes.size(), " bytes is damaged"));
  }

  uint64_t page_count() const { return PageCount(content_.size()); }
  bool padding_is_zero() const { return io::AllZero(content_.substr(size_)); }

 private:
  const std::string& path_;
  const uint64_t offset_;
  const uint64_t size_;
  const std::string_view content_;  // padded
  const std::string_view table_;
  const uint64_t table_checksum_;
  const std::unique_ptr<std::atomic<uint64_t>[]> verified_;  // one bit a page
};

class Reader final : public BlockReader {
 public:
  Reader(std::unique_ptr<io::RandomAccessFile> file, std::string path)
      : file_(std::move(file)), path_(std::move(path)) {}

  Status Load() {
    VARVE_ASSIGN_OR_RETURN(bytes_, file_->Read(0, file_->size()));
    if (bytes_.size() < kBlockHeaderBytes + kBlockFooterBytes) {
      return DataLossError(
          path_, bytes_.size(),
          Concat("a block file has at least ", kBlockHeaderBytes + kBlockFooterBytes, " bytes"));
    }
    VARVE_RETURN_IF_ERROR(LoadHeader());
    VARVE_RETURN_IF_ERROR(LoadFooter());
    VARVE_RETURN_IF_ERROR(LoadMeta());
    return {};
  }

  const std::string& path() const override { return path_; }
  uint64_t file_bytes() const override { return bytes_.size(); }
  const BlockMeta& meta() const override { return meta_; }
  std::span<const SectionInfo> sections() const override { return sections_; }

  const SectionInfo* Find(SectionType type) const override {
    const auto found = index_.find(type);
    return found == index_.end() ? nullptr : &sections_[found->second];
  }

  Status CheckKnown(std::span<const SectionType> known) const override {
    for (const SectionInfo& section : sections_) {
      if (section.skippable() || section.type == kMetaSection) continue;
      if (std::find(known.begin(), known.end(), section.type) == known.end()) {
        return MakeStatus(StatusCode::kUnimplemented,
                          Concat(path_, ": section type ", section.type,
                                 " is required and unknown to this build"));
      }
    }
    return {};
  }

  Result<std::string_view> Section(SectionType type) const override {
    VARVE_ASSIGN_OR_RETURN(const size_t i, IndexOf(type));
    const SectionInfo& info = sections_[i];
    if (info.paged()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat(path_, ": section type ", type, " is paged"));
    }
    if (!verified_[i].load(std::memory_order_relaxed)) {
      VARVE_RETURN_IF_ERROR(CheckWhole(info));
      verified_[i].store(true, std::memory_order_relaxed);
    }
    return bytes_.substr(info.offset, info.bytes);
  }

  Result<const PagedSection*> Paged(SectionType type) const override {
    VARVE_ASSIGN_OR_RETURN(const size_t i, IndexOf(type));
    if (pages_[i] == nullptr) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat(path_, ": section type ", type, " is not paged"));
    }
    if (!verified_[i].load(std::memory_order_relaxed)) {
      VARVE_RETURN_IF_ERROR(pages_[i]->CheckTable());
      verified_[i].store(true, std::memory_order_relaxed);
    }
    return pages_[i].get();
  }

  std::vector<Status> VerifyAll() const override {
    std::vector<Status> damage;
    const auto note = [&damage](const Status& status) {
      if (!status.ok()) damage.push_back(status);
    };
    // Header, footer and table of contents are read again: bits may have rotted since Open.
    Reader again(nullptr, path_);
    again.bytes_ = bytes_;
    Status head = again.LoadHeader();
    note(head);
    if (head.ok()) note(again.LoadFooter());
    for (size_t i = 0; i < sections_.size(); ++i) {
      const SectionInfo& info = sections_[i];
      if (!info.paged()) {
        note(CheckWhole(info));
        continue;
      }
      const Status table = pages_[i]->CheckTable();
      note(table);
      // Without its table nothing can be said about a page.
      if (!table.ok()) continue;
      for (uint64_t page = 0; page < pages_[i]->page_count(); ++page) {
        note(pages_[i]->CheckPage(page));
      }
      if (!pages_[i]->padding_is_zero()) {
        note(DataLossError(path_, info.offset + info.bytes, "padding is not zero"));
      }
    }
    return damage;
  }

 private:
  Status LoadHeader() {
    ByteReader reader(bytes_.substr(0, kBlockHeaderBytes));
    const std::string_view magic = reader.Bytes(8);
    const auto version = reader.Fixed<uint32_t>();
    wing_ = reader.Fixed<uint8_t>();
    std::string_view reserved = reader.Bytes(3);
    id_ = reader.Fixed<uint64_t>();
    tag_ = reader.Fixed<uint64_t>();
    const std::string_view more_reserved = reader.Bytes(24);
    if (magic != kBlockMagic || reader.Fixed<uint64_t>() != Hash64(bytes_.substr(0, 56))) {
      return DataLossError(path_, 0, "block header is damaged, or this is no block");
    }
    if (version != kBlockVersion) {
      return MakeStatus(
          StatusCode::kUnimplemented,
          Concat(path_, ": block format version ", version, ", this build reads ", kBlockVersion));
    }
    if (!io::AllZero(reserved) || !io::AllZero(more_reserved) || id_ == 0) {
      return DataLossError(path_, 0, "block header makes no sense");
    }
    return {};
  }

  Status LoadFooter() {
    const uint64_t footer_offset = bytes_.size() - kBlockFooterBytes;
    const std::string_view footer = bytes_.substr(footer_offset);
    ByteReader reader(footer);
    const auto toc_offset = reader.Fixed<uint64_t>();
    const auto count = reader.Fixed<uint32_t>();
    const auto reserved = reader.Fixed<uint32_t>();
    const auto id = reader.Fixed<uint64_t>();
    const auto tag = reader.Fixed<uint64_t>();
    const auto toc_checksum = reader.Fixed<uint64_t>();
    const auto file_bytes = reader.Fixed<uint64_t>();
    const std::string_view magic = reader.Bytes(8);
    if (magic != kBlockEndMagic ||
        reader.Fixed<uint64_t>() != Hash64(footer.substr(0, kBlockFooterBytes - 8), tag_)) {
      return DataLossError(path_, footer_offset, "block footer is damaged or cut off");
    }
    if (reserved != 0 || id != id_ || tag != tag_ || file_bytes != bytes_.size() ||
        count > kSectionsMax || toc_offset < kBlockHeaderBytes || toc_offset > footer_offset ||
        footer_offset - toc_offset != count * kTocEntryBytes) {
      return DataLossError(path_, footer_offset, "block footer does not fit the file");
    }
    const std::string_view toc = bytes_.substr(toc_offset, footer_offset - toc_offset);
    if (Hash64(toc, tag_) != toc_checksum) {
      return DataLossError(path_, toc_offset, "table of contents is damaged");
    }
    return LoadToc(toc, toc_offset, count);
  }

  /// Sections lie one behind the other without gaps, so every byte of the file is under a checksum.
  Status LoadToc(std::string_view toc, uint64_t toc_offset, uint32_t count) {
    ByteReader reader(toc);
    uint64_t expected = kBlockHeaderBytes;
    verified_ = std::make_unique<std::atomic<bool>[]>(count);
    for (uint32_t i = 0; i < count; ++i) {
      SectionInfo info;
      info.type = reader.Fixed<uint16_t>();
      info.flags = reader.Fixed<uint8_t>();
      info.codec = reader.Fixed<uint8_t>();
      const auto reserved = reader.Fixed<uint32_t>();
      info.offset = reader.Fixed<uint64_t>();
      info.bytes = reader.Fixed<uint64_t>();
      info.raw_bytes = reader.Fixed<uint64_t>();
      info.items = reader.Fixed<uint64_t>();
      info.checksum = reader.Fixed<uint64_t>();
      // The length is bounded before any sum is made of it.
      if (reserved != 0 || (info.flags & ~(kSkippable | kPaged)) != 0 || info.offset != expected ||
          info.bytes > toc_offset || info.stored_bytes() > toc_offset - expected ||
          !index_.emplace(info.type, i).second) {
        return DataLossError(path_, toc_offset + i * kTocEntryBytes,
                             "entry of the table of contents makes no sense");
      }
      expected += info.stored_bytes();
      sections_.push_back(info);
      pages_.push_back(info.paged() ? std::make_unique<Pages>(bytes_, info, path_) : nullptr);
    }
    if (expected != toc_offset) {
      return DataLossError(path_, expected, "bytes that belong to no section");
    }
    return {};
  }

  Status LoadMeta() {
    const Result<std::string_view> bytes = Section(kMetaSection);
    if (!bytes.ok()) {
      if (bytes.status().code() == StatusCode::kDataLoss) return bytes.status();
      return DataLossError(path_, 0, "block has no meta section");
    }
    Result<BlockMeta> meta = DecodeBlockMeta(*bytes);
    if (!meta.ok() || meta->id != id_ || static_cast<uint8_t>(meta->wing) != wing_ ||
        meta->bytes != bytes_.size()) {
      return DataLossError(path_, Find(kMetaSection)->offset, "block meta does not fit the file");
    }
    meta_ = *std::move(meta);
    return {};
  }

  Result<size_t> IndexOf(SectionType type) const {
    const auto found = index_.find(type);
    if (found == index_.end()) {
      return MakeStatus(StatusCode::kNotFound, Concat(path_, ": no section of type ", type));
    }
    return found->second;
  }

  Status CheckWhole(const SectionInfo& info) const {
    const std::string_view padded = bytes_.substr(info.offset, PadTo8(info.bytes));
    if (Hash64(padded) != info.checksum) {
      return DataLossError(path_, info.offset,
                           Concat("section of type ", info.type, " is damaged"));
    }
    if (!io::AllZero(padded.substr(info.bytes))) {
      return DataLossError(path_, info.offset + info.bytes, "padding is not zero");
    }
    return {};
  }

  const std::unique_ptr<io::RandomAccessFile> file_;
  const std::string path_;
  std::string_view bytes_;
  uint8_t wing_ = 0;
  uint64_t id_ = 0;
  uint64_t tag_ = 0;
  BlockMeta meta_;
  std::vector<SectionInfo> sections_;
  std::map<SectionType, size_t> index_;
  std::vector<std::unique_ptr<Pages>> pages_;      // by section, null if not paged
  std::unique_ptr<std::atomic<bool>[]> verified_;  // the section, or its page table
};

}  // namespace

Result<std::shared_ptr<const BlockReader>> BlockReader::Open(io::FileSystem& fs,
                                                             const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(auto file, fs.Open(path));
  auto reader = std::make_shared<Reader>(std::move(file), path);
  VARVE_RETURN_IF_ERROR(reader->Load());
  return std::shared_ptr<const BlockReader>(std::move(reader));
}

}  // namespace varve::block
