#include "engine/metrics/block_writer.h"

#include <algorithm>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/block/container.h"
#include "engine/codec/gorilla.h"
#include "engine/codec/histogram_codec.h"
#include "engine/index/label_index.h"
#include "engine/metrics/block_format.h"
#include "engine/metrics/chunk_merge.h"

namespace varve::metrics {
namespace {

constexpr size_t kChunkSamples = 480;

class Writer final : public MetricsBlockWriter {
 public:
  explicit Writer(std::unique_ptr<block::BlockWriter> file) : file_(std::move(file)) {}

  Status BeginSeries(LabelsView labels) override {
    VARVE_RETURN_IF_ERROR(EndSeries());
    VARVE_RETURN_IF_ERROR(labels_.Add(labels));
    open_ = true;
    return absl::OkStatus();
  }
  Status AddFloats(std::span<const int64_t> times, std::span<const double> values,
                   std::span<const int64_t> starts) override {
    for (size_t at = 0; at < times.size(); at += kChunkSamples) {
      const size_t count = std::min(kChunkSamples, times.size() - at);
      codec::GorillaChunk chunk;
      std::vector<double> column(values.begin() + at, values.begin() + at + count);
      for (size_t i = 0; i < count; ++i) chunk.Append(times[at + i], column[i]);
      VARVE_RETURN_IF_ERROR(PutChunk(ChunkKind::kFloat, FlagsOf(column), times.subspan(at, count),
                                     starts.empty() ? starts : starts.subspan(at, count),
                                     chunk.bytes()));
    }
    return absl::OkStatus();
  }
  Status AddHistograms(std::span<const int64_t> times, std::span<const Histogram> histograms,
                       std::span<const int64_t> starts) override {
    for (size_t at = 0; at < times.size(); at += kChunkSamples) {
      const size_t count = std::min(kChunkSamples, times.size() - at);
      codec::HistogramChunk chunk;
      for (size_t i = 0; i < count; ++i) chunk.Append(times[at + i], histograms[at + i]);
      VARVE_RETURN_IF_ERROR(PutChunk(ChunkKind::kHistogram, 0, times.subspan(at, count),
                                     starts.empty() ? starts : starts.subspan(at, count),
                                     chunk.bytes()));
    }
    return absl::OkStatus();
  }
  Status AddExemplars(std::span<const Exemplar> exemplars) override {
    for (const Exemplar& exemplar : exemplars) {
      ++exemplars_;
      PutVarint(&exemplar_bytes_, labels_.size() - 1);
      exemplar_bytes_.push_back(exemplar.has_time ? 1 : 0);
      PutSigned(&exemplar_bytes_, exemplar.time_ms);
      PutDouble(&exemplar_bytes_, exemplar.value);
      PutVarint(&exemplar_bytes_, exemplar.labels.size());
      for (const LabelView& label : exemplar.labels) {
        PutString(&exemplar_bytes_, label.name);
        PutString(&exemplar_bytes_, label.value);
      }
    }
    return absl::OkStatus();
  }
  Status AddMetadata(std::string_view family, const Metadata& metadata) override {
    ++families_;
    PutString(&metadata_bytes_, family);
    metadata_bytes_.push_back(static_cast<char>(metadata.type));
    PutString(&metadata_bytes_, metadata.help);
    PutString(&metadata_bytes_, metadata.unit);
    return absl::OkStatus();
  }
  Result<block::BlockMeta> Finish(block::BlockMeta meta) override {
    VARVE_RETURN_IF_ERROR(EndSeries());
    if (started_) VARVE_RETURN_IF_ERROR(file_->EndPagedSection(0, samples_));
    meta.series = labels_.size();
    meta.rows = samples_;
    meta.min_time = min_time_;
    meta.max_time = max_time_;
    VARVE_RETURN_IF_ERROR(file_->AddSection(kLabelsSection, 0, 0, labels_.Finish()));
    VARVE_RETURN_IF_ERROR(file_->AddSection(kDirectorySection, 0, 0, directory_, 0, chunks_));
    if (exemplars_ > 0) {
      VARVE_RETURN_IF_ERROR(
          file_->AddSection(kExemplarsSection, 0, 0, exemplar_bytes_, 0, exemplars_));
    }
    if (families_ > 0) {
      VARVE_RETURN_IF_ERROR(
          file_->AddSection(kMetadataSection, 0, 0, metadata_bytes_, 0, families_));
    }
    return file_->Finish(std::move(meta));
  }

 private:
  Status PutChunk(ChunkKind kind, uint32_t flags, std::span<const int64_t> times,
                  std::span<const int64_t> starts, std::string_view bytes) {
    if (!started_) {
      VARVE_RETURN_IF_ERROR(file_->BeginPagedSection(kChunksSection, 0, 0));
      started_ = true;
    }
    std::string start_bytes;
    if (!starts.empty()) {
      flags |= kChunkHasStartTimes;
      for (const int64_t start : starts) PutSigned(&start_bytes, start);
    }
    series_.push_back(static_cast<char>(kind));
    PutVarint(&series_, flags);
    PutVarint(&series_, times.size());
    PutSigned(&series_, times.front());
    PutSigned(&series_, times.back());
    PutVarint(&series_, file_->section_offset());
    PutVarint(&series_, bytes.size());
    PutVarint(&series_, start_bytes.size());
    ++series_chunks_;
    ++chunks_;
    samples_ += times.size();
    min_time_ = std::min(min_time_, times.front());
    max_time_ = std::max(max_time_, times.back());
    VARVE_RETURN_IF_ERROR(file_->Append(bytes));
    return file_->Append(start_bytes);
  }
  Status EndSeries() {
    if (!open_) return absl::OkStatus();
    PutVarint(&directory_, series_chunks_);
    directory_ += series_;
    series_.clear();
    series_chunks_ = 0;
    open_ = false;
    return absl::OkStatus();
  }

  std::unique_ptr<block::BlockWriter> file_;
  index::LabelIndexBuilder labels_;
  std::string directory_, series_, exemplar_bytes_, metadata_bytes_;
  uint64_t series_chunks_ = 0, chunks_ = 0, samples_ = 0, exemplars_ = 0, families_ = 0;
  int64_t min_time_ = kMaxTime, max_time_ = kMinTime;
  bool open_ = false, started_ = false;
};

}  // namespace

Result<std::unique_ptr<MetricsBlockWriter>> MetricsBlockWriter::Create(
    std::shared_ptr<io::FileSystem> fs, const std::string& dir, uint64_t id) {
  VARVE_ASSIGN_OR_RETURN(auto file,
                         block::BlockWriter::Create(std::move(fs), dir, id, block::Wing::kMetrics));
  return std::make_unique<Writer>(std::move(file));
}

}  // namespace varve::metrics
