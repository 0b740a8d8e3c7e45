#include <algorithm>
#include <set>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/container_format.h"
#include "engine/io/record_log.h"

namespace varve::block {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;

class Writer final : public BlockWriter {
 public:
  Writer(std::shared_ptr<io::FileSystem> fs, std::string dir, uint64_t id, Wing wing, uint64_t tag)
      : fs_(std::move(fs)),
        dir_(std::move(dir)),
        path_(io::JoinPath(dir_, BlockFileName(id))),
        temporary_(path_ + ".tmp"),
        id_(id),
        wing_(wing),
        tag_(tag) {}

  ~Writer() override {
    if (file_ == nullptr) return;
    file_.reset();
    fs_->Remove(temporary_).IgnoreError();
  }

  Status Start() {
    VARVE_ASSIGN_OR_RETURN(file_, fs_->Create(temporary_));
    buffer_.reserve(kBufferBytes);
    std::string header;
    header.append(kBlockMagic);
    PutFixed<uint32_t>(&header, kBlockVersion);
    PutFixed<uint8_t>(&header, static_cast<uint8_t>(wing_));
    header.append(3, '\0');
    PutFixed<uint64_t>(&header, id_);
    PutFixed<uint64_t>(&header, tag_);
    header.append(24, '\0');
    const uint64_t checksum = Hash64(header);
    PutFixed<uint64_t>(&header, checksum);
    VARVE_CHECK(header.size() == kBlockHeaderBytes);
    return Write(header);
  }

  Status AddSection(SectionType type, uint8_t flags, uint8_t codec, std::string_view bytes,
                    uint64_t raw_bytes, uint64_t items) override {
    VARVE_RETURN_IF_ERROR(CheckNew(type, flags));
    return AddWhole(type, flags, codec, bytes, raw_bytes, items);
  }

  Status BeginPagedSection(SectionType type, uint8_t flags, uint8_t codec) override {
    VARVE_RETURN_IF_ERROR(CheckNew(type, flags));
    types_.insert(type);
    open_ = true;
    current_ = {};
    current_.type = type;
    current_.flags = flags | kPaged;
    current_.codec = codec;
    current_.offset = offset_;
    page_table_.clear();
    XXH3_64bits_reset(&page_hash_);
    return {};
  }

  Status Append(std::string_view bytes) override {
    VARVE_RETURN_IF_ERROR(status_);
    if (!open_) return Refuse("Append without an open paged section");
    VARVE_RETURN_IF_ERROR(Write(bytes));
    HashPages(bytes, current_.bytes);
    current_.bytes += bytes.size();
    return {};
  }

  uint64_t section_offset() const override { return open_ ? current_.bytes : 0; }

  Status EndPagedSection(uint64_t raw_bytes, uint64_t items) override {
    VARVE_RETURN_IF_ERROR(status_);
    if (!open_) return Refuse("EndPagedSection without an open paged section");
    open_ = false;
    const uint64_t padded = PadTo8(current_.bytes);
    const std::string padding(padded - current_.bytes, '\0');
    VARVE_RETURN_IF_ERROR(Write(padding));
    HashPages(padding, current_.bytes);
    if (padded % kPageBytes != 0) EndPage();
    VARVE_CHECK(page_table_.size() == PageCount(padded) * sizeof(uint64_t));
    VARVE_RETURN_IF_ERROR(Write(page_table_));
    current_.raw_bytes = raw_bytes;
    current_.items = items;
    current_.checksum = Hash64(page_table_);
    sections_.push_back(current_);
    return {};
  }

  Result<BlockMeta> Finish(BlockMeta meta) override {
    VARVE_RETURN_IF_ERROR(status_);
    VARVE_CHECK(!open_ && meta.id == id_ && meta.wing == wing_);
    std::string encoded;
    EncodeBlockMeta(meta, &encoded);
    const uint64_t toc_offset = offset_ + PadTo8(encoded.size());
    meta.bytes = toc_offset + (sections_.size() + 1) * kTocEntryBytes + kBlockFooterBytes;
    encoded.clear();
    EncodeBlockMeta(meta, &encoded);
    VARVE_RETURN_IF_ERROR(AddWhole(kMetaSection, 0, 0, encoded, 0, 0));

    std::string toc;
    for (const SectionInfo& section : sections_) {
      PutFixed<uint16_t>(&toc, section.type);
      PutFixed<uint8_t>(&toc, section.flags);
      PutFixed<uint8_t>(&toc, section.codec);
      PutFixed<uint32_t>(&toc, 0);
      PutFixed<uint64_t>(&toc, section.offset);
      PutFixed<uint64_t>(&toc, section.bytes);
      PutFixed<uint64_t>(&toc, section.raw_bytes);
      PutFixed<uint64_t>(&toc, section.items);
      PutFixed<uint64_t>(&toc, section.checksum);
    }
    std::string footer;
    PutFixed<uint64_t>(&footer, toc_offset);
    PutFixed<uint32_t>(&footer, static_cast<uint32_t>(sections_.size()));
    PutFixed<uint32_t>(&footer, 0);
    PutFixed<uint64_t>(&footer, id_);
    PutFixed<uint64_t>(&footer, tag_);
    PutFixed<uint64_t>(&footer, Hash64(toc, tag_));
    PutFixed<uint64_t>(&footer, meta.bytes);
    footer.append(kBlockEndMagic);
    const uint64_t checksum = Hash64(footer, tag_);
    PutFixed<uint64_t>(&footer, checksum);
    VARVE_RETURN_IF_ERROR(Write(toc));
    VARVE_RETURN_IF_ERROR(Write(footer));
    VARVE_CHECK(offset_ == meta.bytes);
    VARVE_RETURN_IF_ERROR(Keep(Publish()));
    return meta;
  }

  uint64_t file_bytes() const override { return offset_; }

 private:
  Status Keep(Status status) {
    if (!status.ok()) status_ = status;
    return status;
  }
  Status Refuse(std::string_view what) {
    return Keep(MakeStatus(StatusCode::kInvalidArgument, Concat(path_, ": ", what)));
  }

  Status CheckNew(SectionType type, uint8_t flags) {
    VARVE_RETURN_IF_ERROR(status_);
    if (open_) return Refuse("a paged section is open");
    if (type >= kOwnTypesMin) return Refuse(Concat("section type ", type, " is the container's"));
    if ((flags & ~kSkippable) != 0) return Refuse("unknown section flag");
    if (types_.contains(type)) return Refuse(Concat("section type ", type, " occurs twice"));
    if (sections_.size() + 1 >= kSectionsMax) return Refuse("too many sections");
    return {};
  }

  Status AddWhole(SectionType type, uint8_t flags, uint8_t codec, std::string_view bytes,
                  uint64_t raw_bytes, uint64_t items) {
    const std::string_view pieces[] = {bytes};
    types_.insert(type);
    sections_.push_back(
        {type, flags, codec, offset_, bytes.size(), raw_bytes, items, io::PayloadChecksum(pieces)});
    VARVE_RETURN_IF_ERROR(Write(bytes));
    return Write(std::string(PadTo8(bytes.size()) - bytes.size(), '\0'));
  }

  void HashPages(std::string_view bytes, uint64_t at) {
    while (!bytes.empty()) {
      const size_t take = std::min<uint64_t>(bytes.size(), kPageBytes - at % kPageBytes);
      XXH3_64bits_update(&page_hash_, bytes.data(), take);
      bytes.remove_prefix(take);
      at += take;
      if (at % kPageBytes == 0) EndPage();
    }
  }
  void EndPage() {
    PutFixed<uint64_t>(&page_table_, XXH3_64bits_digest(&page_hash_));
    XXH3_64bits_reset(&page_hash_);
  }

  Status Write(std::string_view bytes) {
    offset_ += bytes.size();
    if (buffer_.size() + bytes.size() > kBufferBytes) {
      VARVE_RETURN_IF_ERROR(FlushBuffer());
      if (bytes.size() >= kBufferBytes) return Keep(file_->Append(bytes));
    }
    buffer_.append(bytes);
    return {};
  }
  Status FlushBuffer() {
    VARVE_RETURN_IF_ERROR(Keep(file_->Append(buffer_)));
    buffer_.clear();
    return {};
  }

  Status Publish() {
    VARVE_RETURN_IF_ERROR(FlushBuffer());
    VARVE_RETURN_IF_ERROR(file_->Sync());
    VARVE_RETURN_IF_ERROR(file_->Close());
    VARVE_RETURN_IF_ERROR(fs_->Rename(temporary_, path_));
    // From here on the file is the caller's: without a commit it is a leftover.
    file_.reset();
    return fs_->SyncDir(dir_);
  }

  const std::shared_ptr<io::FileSystem> fs_;
  const std::string dir_;
  const std::string path_;
  const std::string temporary_;
  const uint64_t id_;
  const Wing wing_;
  const uint64_t tag_;

  std::unique_ptr<io::WritableFile> file_;
  Status status_;  // the first error
  std::string buffer_;
  uint64_t offset_ = 0;  // in the file, the buffer included
  std::vector<SectionInfo> sections_;
  std::set<SectionType> types_;
  bool open_ = false;  // a paged section
  SectionInfo current_;
  std::string page_table_;
  XXH3_state_t page_hash_;
};

}  // namespace

Result<std::unique_ptr<BlockWriter>> BlockWriter::Create(std::shared_ptr<io::FileSystem> fs,
                                                         const std::string& dir, uint64_t id,
                                                         Wing wing, uint64_t fixed_tag) {
  VARVE_CHECK(id != 0);
  auto writer = std::make_unique<Writer>(std::move(fs), dir, id, wing,
                                         fixed_tag != 0 ? fixed_tag : io::RandomTag());
  VARVE_RETURN_IF_ERROR(writer->Start());
  return std::unique_ptr<BlockWriter>(std::move(writer));
}

uint64_t SectionInfo::stored_bytes() const {
  const uint64_t padded = PadTo8(bytes);
  return paged() ? padded + PageCount(padded) * sizeof(uint64_t) : padded;
}

}  // namespace varve::block
