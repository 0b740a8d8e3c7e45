#include "engine/metrics/block_reader.h"

#include <algorithm>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/block/container.h"
#include "engine/codec/gorilla.h"
#include "engine/codec/histogram_codec.h"
#include "engine/metrics/block_format.h"
#include "engine/metrics/chunk_merge.h"

namespace varve::metrics {
namespace {

constexpr uint64_t kChunkSamplesMax = 65535;

struct Entry {
  ChunkKind kind;
  uint32_t flags;
  uint32_t count;
  int64_t min_time;
  int64_t max_time;
  uint64_t offset;
  uint64_t bytes;
  uint64_t start_bytes;
};

class Block final : public MetricsBlock,
                    public Chunk::Impl,
                    public std::enable_shared_from_this<Block> {
 public:
  Status Init(std::shared_ptr<const block::BlockReader> file) {
    file_ = std::move(file);
    const block::SectionType known[] = {kLabelsSection, kDirectorySection, kChunksSection,
                                        kExemplarsSection, kMetadataSection};
    VARVE_RETURN_IF_ERROR(file_->CheckKnown(known));
    VARVE_ASSIGN_OR_RETURN(const std::string_view labels, file_->Section(kLabelsSection));
    VARVE_ASSIGN_OR_RETURN(
        labels_,
        index::LabelIndexView::Open(labels, file_->path(), file_->Find(kLabelsSection)->offset));
    VARVE_ASSIGN_OR_RETURN(chunks_, file_->Paged(kChunksSection));
    VARVE_ASSIGN_OR_RETURN(const std::string_view directory, file_->Section(kDirectorySection));
    ByteReader in(directory);
    begins_.push_back(0);
    for (uint32_t series = 0; series < labels_->size(); ++series) {
      const uint64_t count = in.Count(8);
      for (uint64_t i = 0; i < count; ++i) {
        Entry entry;
        const auto kind = in.Fixed<uint8_t>();
        if (kind > 1) in.Fail();
        entry.kind = static_cast<ChunkKind>(kind);
        entry.flags = static_cast<uint32_t>(in.Varint());
        const uint64_t samples = in.Varint();
        if (samples == 0 || samples > kChunkSamplesMax) in.Fail();
        entry.count = static_cast<uint32_t>(samples);
        entry.min_time = in.Signed();
        entry.max_time = in.Signed();
        entry.offset = in.Varint();
        entry.bytes = in.Varint();
        entry.start_bytes = in.Varint();
        if (!in.ok() || entry.min_time > entry.max_time) return Broken(in.position());
        entries_.push_back(entry);
        range_.min_ms = std::min(range_.min_ms, entry.min_time);
        range_.max_ms = std::max(range_.max_ms, entry.max_time);
      }
      begins_.push_back(entries_.size());
    }
    if (!in.ok() || in.left() != 0) return Broken(in.position());
    return absl::OkStatus();
  }

  const block::BlockMeta& meta() const override { return file_->meta(); }
  TimeRange range() const override { return range_; }
  TimeRange SeriesRange(uint32_t series) const override {
    if (begins_[series] == begins_[series + 1]) return {kMaxTime, kMinTime};
    return {entries_[begins_[series]].min_time, entries_[begins_[series + 1] - 1].max_time};
  }
  const index::LabelIndexView& labels() const override { return *labels_; }
  uint64_t chunk_count() const override { return entries_.size(); }

  Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const override {
    for (size_t i = begins_[series]; i < begins_[series + 1]; ++i) {
      const Entry& entry = entries_[i];
      if (entry.min_time > range.max_ms || entry.max_time < range.min_ms) continue;
      Chunk chunk;
      chunk.kind = entry.kind;
      chunk.flags = entry.flags;
      chunk.count = entry.count;
      chunk.min_time_ms = entry.min_time;
      chunk.max_time_ms = entry.max_time;
      chunk.impl = shared_from_this();
      chunk.token = static_cast<uint32_t>(i);
      out->push_back(std::move(chunk));
    }
    return absl::OkStatus();
  }

  Status DecodeTimes(uint32_t token, std::span<int64_t> out) const override {
    if (entries_[token].kind == ChunkKind::kHistogram) {
      std::vector<Histogram> unused;
      return DecodeHistogramChunk(token, out, &unused);
    }
    std::vector<double> values(out.size());
    return DecodeFloats(token, out, values);
  }
  Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const override {
    std::vector<int64_t> times(entries_[token].count);
    std::vector<double> values(entries_[token].count);
    VARVE_RETURN_IF_ERROR(DecodeFloats(token, times, values));
    std::copy_n(values.begin() + begin, out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeFloats(uint32_t token, std::span<int64_t> times,
                      std::span<double> values) const override {
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                           chunks_->Read(entries_[token].offset, entries_[token].bytes));
    if (!codec::DecodeGorilla(bytes, times, values)) return BadChunk(token);
    return absl::OkStatus();
  }
  Status DecodeStartTimes(uint32_t token, std::span<int64_t> out) const override {
    const Entry& entry = entries_[token];
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                           chunks_->Read(entry.offset + entry.bytes, entry.start_bytes));
    ByteReader in(bytes);
    for (int64_t& start : out) start = in.Signed();
    return in.ok() ? absl::OkStatus() : BadChunk(token);
  }
  Status DecodeHistograms(uint32_t token, std::vector<Histogram>* out) const override {
    std::vector<int64_t> times(entries_[token].count);
    return DecodeHistogramChunk(token, times, out);
  }

  bool has_exemplars() const override { return file_->Find(kExemplarsSection) != nullptr; }
  Status GetExemplars(uint32_t series, std::vector<Exemplar>* out) const override {
    if (!has_exemplars()) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(kExemplarsSection));
    ByteReader in(bytes);
    while (in.ok() && in.left() > 0) {
      const uint64_t owner = in.Varint();
      Exemplar exemplar;
      exemplar.has_time = in.Fixed<uint8_t>() != 0;
      exemplar.time_ms = in.Signed();
      exemplar.value = in.Double();
      std::vector<LabelView> labels(in.Count(2));
      for (LabelView& label : labels) {
        label.name = in.String();
        label.value = in.String();
      }
      if (!in.ok()) break;
      if (owner != series) continue;
      exemplar.labels = Labels(LabelsView(labels));
      out->push_back(std::move(exemplar));
    }
    if (in.ok()) return absl::OkStatus();
    return DataLossError(file_->path(), file_->Find(kExemplarsSection)->offset + in.position(),
                         "exemplars do not decode");
  }
  Status AddMetadata(std::map<std::string, std::vector<Metadata>>* out) const override {
    if (file_->Find(kMetadataSection) == nullptr) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(kMetadataSection));
    ByteReader in(bytes);
    while (in.ok() && in.left() > 0) {
      std::string family(in.String());
      Metadata metadata;
      const auto type = in.Fixed<uint8_t>();
      if (type > static_cast<uint8_t>(MetricType::kStateSet)) in.Fail();
      metadata.type = static_cast<MetricType>(type);
      metadata.help = std::string(in.String());
      metadata.unit = std::string(in.String());
      if (!in.ok()) break;
      std::vector<Metadata>& list = (*out)[family];
      if (std::find(list.begin(), list.end(), metadata) == list.end()) {
        list.push_back(std::move(metadata));
      }
    }
    if (in.ok()) return absl::OkStatus();
    return DataLossError(file_->path(), file_->Find(kMetadataSection)->offset + in.position(),
                         "metadata does not decode");
  }

  BlockStats Stats() const override {
    BlockStats out;
    out.id = meta().id;
    out.file = file_->path();
    out.level = meta().level;
    out.range = range_;
    out.series = labels_->size();
    out.samples = meta().rows;
    out.bytes = file_->file_bytes();
    static constexpr const char* kNames[] = {"",       "labels",    "directory",
                                             "chunks", "exemplars", "metadata"};
    for (const block::SectionInfo& section : file_->sections()) {
      out.sections.push_back({section.type <= kMetadataSection ? kNames[section.type] : "meta",
                              section.stored_bytes(), section.raw_bytes, section.items});
    }
    return out;
  }
  std::vector<Status> VerifyAll() const override {
    std::vector<Status> damage = file_->VerifyAll();
    if (!damage.empty()) return damage;
    std::vector<Chunk> chunks;
    for (uint32_t series = 0; series < labels_->size(); ++series) {
      chunks.clear();
      Status status = GetChunks(series, TimeRange{}, &chunks);
      for (const Chunk& chunk : chunks) {
        SampleRun run;
        if (status.ok()) status = DecodeChunk(chunk, &run);
      }
      if (!status.ok()) damage.push_back(status);
    }
    return damage;
  }

 private:
  Status Broken(size_t position) const {
    return DataLossError(file_->path(), file_->Find(kDirectorySection)->offset + position,
                         "chunk directory does not decode");
  }
  Status BadChunk(uint32_t token) const {
    return DataLossError(file_->path(),
                         file_->Find(kChunksSection)->offset + entries_[token].offset,
                         "chunk does not decode");
  }
  Status DecodeHistogramChunk(uint32_t token, std::span<int64_t> times,
                              std::vector<Histogram>* out) const {
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                           chunks_->Read(entries_[token].offset, entries_[token].bytes));
    return codec::DecodeHistogramChunk(bytes, times, out) ? absl::OkStatus() : BadChunk(token);
  }

  std::shared_ptr<const block::BlockReader> file_;
  std::unique_ptr<index::LabelIndexView> labels_;
  const block::PagedSection* chunks_ = nullptr;
  std::vector<Entry> entries_;
  std::vector<size_t> begins_;  // into entries_, one more than there are series
  TimeRange range_{kMaxTime, kMinTime};
};

}  // namespace

Result<std::shared_ptr<const MetricsBlock>> MetricsBlock::Open(io::FileSystem& fs,
                                                               const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(auto file, block::BlockReader::Open(fs, path));
  auto block = std::make_shared<Block>();
  VARVE_RETURN_IF_ERROR(block->Init(std::move(file)));
  return std::shared_ptr<const MetricsBlock>(std::move(block));
}

}  // namespace varve::metrics
