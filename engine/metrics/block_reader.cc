#include "engine/metrics/block_reader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <map>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/codec/histogram_codec.h"
#include "engine/codec/int_stream.h"
#include "engine/codec/time_axis.h"
#include "engine/codec/value_column.h"
#include "engine/metrics/block_directory.h"
#include "engine/metrics/block_format.h"

namespace varve::metrics {
namespace {

/// Axis numbers of different blocks differ in their upper bits: the block's id, which no other
/// block of a database has.
constexpr uint32_t kAxisBits = 26;

/// Numbers open blocks, so that what a thread keeps of one is not taken for another's.
uint64_t NextSerial() {
  static std::atomic<uint64_t> serial{0};
  return ++serial;
}

/// The time axes that a thread decoded last: neighbouring series mostly have the same ones.
struct RecentAxes {
  struct Slot {
    uint64_t block = 0;
    uint32_t axis = 0;
    std::vector<int64_t> times;
  };
  std::array<Slot, 16> slots;
};
thread_local RecentAxes recent_axes;

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
        labels_, index::LabelIndexView::Open(labels, file_->path(), SectionOffset(kLabelsSection)));
    VARVE_ASSIGN_OR_RETURN(bulk_, file_->Paged(kChunksSection));
    VARVE_ASSIGN_OR_RETURN(const std::string_view directory, file_->Section(kDirectorySection));
    VARVE_RETURN_IF_ERROR(DecodeDirectory(directory, labels_->size(), bulk_->size(), file_->path(),
                                          SectionOffset(kDirectorySection), &directory_));
    for (const BlockDirectory::Axis& axis : directory_.axes) {
      range_.min_ms = std::min(range_.min_ms, axis.min_time);
      range_.max_ms = std::max(range_.max_ms, axis.max_time);
    }
    return absl::OkStatus();
  }

  const block::BlockMeta& meta() const override { return file_->meta(); }
  TimeRange range() const override { return range_; }
  TimeRange SeriesRange(uint32_t series) const override {
    const uint32_t begin = directory_.begins[series];
    const uint32_t end = directory_.begins[series + 1];
    if (begin == end) return {kMaxTime, kMinTime};
    return {AxisOf(begin).min_time, AxisOf(end - 1).max_time};
  }
  const index::LabelIndexView& labels() const override { return *labels_; }
  uint64_t chunk_count() const override { return directory_.chunks.size(); }

  Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const override {
    std::shared_ptr<const Chunk::Impl> self;
    for (uint32_t i = directory_.begins[series]; i < directory_.begins[series + 1]; ++i) {
      const BlockDirectory::Axis& axis = AxisOf(i);
      if (axis.min_time > range.max_ms) break;
      if (axis.max_time < range.min_ms) continue;
      const BlockDirectory::Column& column = ColumnOf(i);
      if (self == nullptr) self = shared_from_this();
      Chunk chunk;
      chunk.kind = column.kind;
      chunk.flags = column.flags;
      if (directory_.starts_of(i) != BlockDirectory::kNoStarts) chunk.flags |= kChunkHasStartTimes;
      chunk.count = axis.count;
      chunk.min_time_ms = axis.min_time;
      chunk.max_time_ms = axis.max_time;
      chunk.axis = (meta().id << kAxisBits) + directory_.chunks[i].axis + 1;
      chunk.impl = self;
      chunk.token = i;
      out->push_back(std::move(chunk));
    }
    return absl::OkStatus();
  }

  Status DecodeTimes(uint32_t token, std::span<int64_t> out) const override {
    const uint32_t index = directory_.chunks[token].axis;
    const BlockDirectory::Axis& axis = directory_.axes[index];
    RecentAxes::Slot& slot = recent_axes.slots[index % recent_axes.slots.size()];
    if (slot.block == serial_ && slot.axis == index && slot.times.size() == out.size()) {
      std::copy(slot.times.begin(), slot.times.end(), out.begin());
      return absl::OkStatus();
    }
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, bulk_->Read(axis.offset, axis.bytes));
    if (out.size() != axis.count || !codec::DecodeTimeAxis(bytes, out) ||
        out.front() != axis.min_time || out.back() != axis.max_time) {
      return Broken(axis.offset, "time axis");
    }
    slot.block = serial_;
    slot.axis = index;
    slot.times.assign(out.begin(), out.end());
    return absl::OkStatus();
  }
  Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const override {
    const BlockDirectory::Column& column = ColumnOf(token);
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, bulk_->Read(column.offset, column.bytes));
    const uint32_t count = AxisOf(token).count;
    if (column.kind != ChunkKind::kFloat || begin > count || out.size() > count - begin ||
        !codec::DecodeValueColumn(bytes, count, begin, out)) {
      return Broken(column.offset, "value column");
    }
    return absl::OkStatus();
  }
  Status DecodeFloats(uint32_t token, std::span<int64_t> times,
                      std::span<double> values) const override {
    VARVE_RETURN_IF_ERROR(DecodeTimes(token, times));
    return DecodeValues(token, 0, values);
  }
  Status DecodeStartTimes(uint32_t token, std::span<int64_t> out) const override {
    const uint32_t piece = directory_.starts_of(token);
    if (piece == BlockDirectory::kNoStarts) {
      std::fill(out.begin(), out.end(), kNoStartTime);
      return absl::OkStatus();
    }
    const BlockDirectory::Starts& starts = directory_.starts[piece];
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, bulk_->Read(starts.offset, starts.bytes));
    const uint32_t count = AxisOf(token).count;
    ByteReader in(bytes);
    codec::IntStreamReader stream;
    if (out.size() != count || !stream.Open(&in, bytes, count) || in.left() != 0 ||
        !stream.Decode(0, count, out.data())) {
      return Broken(starts.offset, "start timestamps");
    }
    return absl::OkStatus();
  }
  Status DecodeHistograms(uint32_t token, std::vector<Histogram>* out) const override {
    const BlockDirectory::Column& column = ColumnOf(token);
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, bulk_->Read(column.offset, column.bytes));
    if (column.kind != ChunkKind::kHistogram ||
        !codec::DecodeHistogramColumn(bytes, AxisOf(token).count, out)) {
      return Broken(column.offset, "histogram column");
    }
    return absl::OkStatus();
  }

  bool has_exemplars() const override { return file_->Find(kExemplarsSection) != nullptr; }
  Status GetExemplars(uint32_t series, std::vector<Exemplar>* out) const override {
    if (!has_exemplars()) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, file_->Section(kExemplarsSection));
    ByteReader in(bytes);
    uint64_t owner = 0;
    while (in.ok() && in.left() > 0) {
      owner += in.Varint();
      if (owner > series) break;
      const uint64_t count = in.Count(11);
      int64_t time = 0;
      for (uint64_t i = 0; i < count && in.ok(); ++i) {
        Exemplar exemplar;
        const auto has_time = in.Fixed<uint8_t>();
        if (has_time > 1) in.Fail();
        exemplar.has_time = has_time != 0;
        exemplar.time_ms = time = WrapAdd(time, in.Signed());
        exemplar.value = in.Double();
        const uint64_t labels = in.Count(2);
        std::vector<LabelView> views(owner == series ? labels : 0);
        for (uint64_t k = 0; k < labels; ++k) {
          const std::string_view name = in.String();
          const std::string_view value = in.String();
          if (k < views.size()) views[k] = {name, value};
        }
        if (!in.ok() || owner != series) continue;
        exemplar.labels = Labels(LabelsView(views));
        out->push_back(std::move(exemplar));
      }
    }
    if (in.ok()) return absl::OkStatus();
    return DataLossError(file_->path(), SectionOffset(kExemplarsSection) + in.position(),
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
    return DataLossError(file_->path(), SectionOffset(kMetadataSection) + in.position(),
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
    static constexpr std::string_view kNames[] = {"",       "labels",    "directory",
                                                  "chunks", "exemplars", "metadata"};
    for (const block::SectionInfo& section : file_->sections()) {
      const bool ours = section.type >= 1 && section.type <= kMetadataSection;
      out.sections.push_back({std::string(ours ? kNames[section.type] : "meta"),
                              section.stored_bytes(), section.raw_bytes, section.items});
    }
    out.codecs = Codecs();
    return out;
  }

  std::vector<Status> VerifyAll() const override {
    std::vector<Status> damage = file_->VerifyAll();
    if (!damage.empty()) return damage;
    std::vector<int64_t> times;
    std::vector<double> values;
    std::vector<Histogram> histograms;
    std::vector<bool> axis_seen(directory_.axes.size());
    std::vector<bool> column_seen(directory_.columns.size());
    const auto keep = [&](Status status) {
      if (!status.ok()) damage.push_back(std::move(status));
    };
    uint64_t samples = 0;
    for (uint32_t i = 0; i < directory_.chunks.size(); ++i) {
      const BlockDirectory::ChunkEntry& chunk = directory_.chunks[i];
      times.resize(AxisOf(i).count);
      samples += times.size();
      if (!axis_seen[chunk.axis]) keep(DecodeTimes(i, times));
      axis_seen[chunk.axis] = true;
      // Chunks that share a column decode alike if their axes agree about its length, which
      // decoding checks.
      if (ColumnOf(i).kind == ChunkKind::kHistogram) {
        if (!column_seen[chunk.column]) keep(DecodeHistograms(i, &histograms));
      } else {
        values.resize(times.size());
        keep(DecodeValues(i, 0, values));
      }
      column_seen[chunk.column] = true;
      if (directory_.starts_of(i) != BlockDirectory::kNoStarts) keep(DecodeStartTimes(i, times));
    }
    if (samples != meta().rows) {
      keep(DataLossError(
          file_->path(), SectionOffset(kDirectorySection),
          Concat("the chunks have ", samples, " samples, the block says ", meta().rows)));
    }
    std::vector<Exemplar> exemplars;
    for (uint32_t series = 0; has_exemplars() && series < labels_->size(); ++series) {
      const Status status = GetExemplars(series, &exemplars);
      keep(status);
      exemplars.clear();
      if (!status.ok()) break;
    }
    std::map<std::string, std::vector<Metadata>> metadata;
    keep(AddMetadata(&metadata));
    return damage;
  }

 private:
  const BlockDirectory::Axis& AxisOf(uint32_t chunk) const {
    return directory_.axes[directory_.chunks[chunk].axis];
  }
  const BlockDirectory::Column& ColumnOf(uint32_t chunk) const {
    return directory_.columns[directory_.chunks[chunk].column];
  }
  uint64_t SectionOffset(block::SectionType type) const { return file_->Find(type)->offset; }
  Status Broken(uint64_t piece, std::string_view what) const {
    return DataLossError(file_->path(), SectionOffset(kChunksSection) + piece,
                         Concat(what, " does not decode"));
  }

  /// Adds up bytes and samples by how pieces are written. Pieces that do not decode are left out.
  std::vector<SectionStats> Codecs() const {
    struct Sum {
      uint64_t bytes = 0;
      uint64_t samples = 0;
    };
    std::map<std::string, Sum> sums;
    Sum& axes = sums["time axes"];
    for (const BlockDirectory::Axis& axis : directory_.axes) {
      axes.bytes += axis.bytes;
      axes.samples += axis.count;
    }
    for (const BlockDirectory::Starts& starts : directory_.starts) {
      sums["start timestamps"].bytes += starts.bytes;
    }
    std::vector<bool> seen(directory_.columns.size());
    for (uint32_t i = 0; i < directory_.chunks.size(); ++i) {
      const BlockDirectory::Column& column = ColumnOf(i);
      const uint32_t count = AxisOf(i).count;
      if (seen[directory_.chunks[i].column]) {
        sums["values: shared with an equal column"].samples += count;
        continue;
      }
      seen[directory_.chunks[i].column] = true;
      std::string name = "histograms";
      if (column.kind == ChunkKind::kFloat) {
        const auto bytes = bulk_->Read(column.offset, column.bytes);
        codec::ColumnSummary summary;
        if (!bytes.ok() || !codec::DescribeValueColumn(*bytes, count, &summary)) continue;
        name = Concat("values: ", codec::ToString(summary.domain), " ",
                      codec::ToString(summary.form), summary.sparse ? ", changes only" : "",
                      summary.residual ? ", with rounding errors" : "");
      }
      sums[name].bytes += column.bytes;
      sums[name].samples += count;
    }
    std::vector<SectionStats> out;
    for (const auto& [name, sum] : sums) {
      out.push_back({name, sum.bytes, sum.samples * 8, sum.samples});
    }
    return out;
  }

  const uint64_t serial_ = NextSerial();
  std::shared_ptr<const block::BlockReader> file_;
  std::unique_ptr<index::LabelIndexView> labels_;
  const block::PagedSection* bulk_ = nullptr;
  BlockDirectory directory_;
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
