#include "engine/metrics/block_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/codec/histogram_codec.h"
#include "engine/codec/int_stream.h"
#include "engine/codec/time_axis.h"
#include "engine/codec/value_column.h"
#include "engine/index/label_index.h"
#include "engine/metrics/block_directory.h"
#include "engine/metrics/block_format.h"
#include "engine/metrics/block_split.h"

namespace varve::metrics {
namespace {

// Histograms are large, and all of a column are decoded to get at one.
constexpr size_t kHistogramSamplesMax = 256;

template <typename T>
std::string_view BytesOf(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

uint8_t FlagsOf(std::span<const double> values) {
  bool nan = false;
  bool stale = false;
  bool decreases = false;
  bool changes = false;
  double before = values[0];
  for (const double value : values) {
    nan |= std::isnan(value);
    stale |= IsStaleNan(value);
    decreases |= !(value >= before);
    changes |= std::bit_cast<uint64_t>(value) != std::bit_cast<uint64_t>(before);
    before = value;
  }
  uint32_t flags = 0;
  if (!nan) flags |= kChunkHasNoNan;
  if (!stale) flags |= kChunkHasNoStale;
  if (!decreases) flags |= kChunkNonDecreasing;
  if (!changes) flags |= kChunkConstant;
  return static_cast<uint8_t>(flags);
}

Status Misuse(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("metrics block: ", what));
}

class Writer final : public MetricsBlockWriter {
 public:
  explicit Writer(std::unique_ptr<block::BlockWriter> file) : file_(std::move(file)) {
    directory_.begins.push_back(0);
  }

  Status BeginSeries(LabelsView labels) override {
    VARVE_RETURN_IF_ERROR(error_);
    return Keep(DoBeginSeries(labels));
  }
  Status AddFloats(std::span<const int64_t> times, std::span<const double> values,
                   std::span<const int64_t> starts) override {
    VARVE_RETURN_IF_ERROR(error_);
    if (values.size() != times.size()) return Keep(Misuse("as many values as times are needed"));
    return Keep(AddRun(times, starts, kChunkSamplesMax,
                       [&](size_t begin, size_t end) { return FloatColumn(values, begin, end); }));
  }
  Status AddHistograms(std::span<const int64_t> times, std::span<const Histogram> histograms,
                       std::span<const int64_t> starts) override {
    VARVE_RETURN_IF_ERROR(error_);
    if (histograms.size() != times.size()) {
      return Keep(Misuse("as many histograms as times are needed"));
    }
    return Keep(AddRun(times, starts, kHistogramSamplesMax, [&](size_t begin, size_t end) {
      return HistogramColumn(histograms, begin, end);
    }));
  }
  Status AddExemplars(std::span<const Exemplar> exemplars) override {
    VARVE_RETURN_IF_ERROR(error_);
    if (labels_.size() == 0) return Keep(Misuse("exemplars before a series"));
    if (exemplars.empty()) return absl::OkStatus();
    const uint32_t series = labels_.size() - 1;
    PutVarint(&exemplar_bytes_, series - exemplar_series_);
    exemplar_series_ = series;
    PutVarint(&exemplar_bytes_, exemplars.size());
    int64_t time = 0;
    for (const Exemplar& exemplar : exemplars) {
      exemplar_bytes_.push_back(exemplar.has_time ? 1 : 0);
      PutSigned(&exemplar_bytes_, WrapSub(exemplar.time_ms, time));
      time = exemplar.time_ms;
      PutDouble(&exemplar_bytes_, exemplar.value);
      PutVarint(&exemplar_bytes_, exemplar.labels.size());
      for (const LabelView& label : exemplar.labels) {
        PutString(&exemplar_bytes_, label.name);
        PutString(&exemplar_bytes_, label.value);
      }
    }
    exemplars_ += exemplars.size();
    return absl::OkStatus();
  }
  Status AddMetadata(std::string_view family, const Metadata& metadata) override {
    VARVE_RETURN_IF_ERROR(error_);
    ++families_;
    PutString(&metadata_bytes_, family);
    metadata_bytes_.push_back(static_cast<char>(metadata.type));
    PutString(&metadata_bytes_, metadata.help);
    PutString(&metadata_bytes_, metadata.unit);
    return absl::OkStatus();
  }
  Result<block::BlockMeta> Finish(block::BlockMeta meta) override {
    VARVE_RETURN_IF_ERROR(error_);
    VARVE_RETURN_IF_ERROR(Keep(WriteRest()));
    meta.series = series_;
    meta.rows = samples_;
    meta.min_time = min_time_;
    meta.max_time = max_time_;
    return file_->Finish(std::move(meta));
  }

 private:
  struct Key {
    SeriesKey content;
    uint64_t tag = 0;  // what else must agree
    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.content.low, key.tag);
    }
  };
  using PieceMap = absl::flat_hash_map<Key, uint32_t>;

  Status Keep(Status status) {
    if (!status.ok()) error_ = status;
    return status;
  }

  Status DoBeginSeries(LabelsView labels) {
    VARVE_RETURN_IF_ERROR(Open());
    if (labels_.size() > 0) directory_.begins.push_back(Chunks());
    VARVE_RETURN_IF_ERROR(labels_.Add(labels));
    has_last_time_ = false;
    return absl::OkStatus();
  }
  uint32_t Chunks() const { return static_cast<uint32_t>(directory_.chunks.size()); }

  Status Open() {
    if (open_) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(file_->BeginPagedSection(kChunksSection, 0, 0));
    open_ = true;
    return absl::OkStatus();
  }

  /// Cuts a run into chunks; `column(begin, end)` returns the column of samples [begin, end).
  template <typename F>
  Status AddRun(std::span<const int64_t> times, std::span<const int64_t> starts, size_t samples_max,
                F column) {
    if (times.empty()) return absl::OkStatus();
    if (labels_.size() == 0) return Misuse("samples before a series");
    if (!starts.empty() && starts.size() != times.size()) {
      return Misuse("as many start timestamps as times are needed");
    }
    if (has_last_time_ && times.front() <= last_time_) return Misuse("runs that overlap");
    if (std::adjacent_find(times.begin(), times.end(), std::greater_equal<>()) != times.end()) {
      return Misuse("times that do not ascend");
    }
    if (samples_ == 0) origin_ = times.front();
    size_t begin = 0;
    for (const size_t end : SplitRun(times, samples_max, origin_)) {
      VARVE_RETURN_IF_ERROR(AddChunk(times, starts, begin, end, column));
      begin = end;
    }
    last_time_ = times.back();
    has_last_time_ = true;
    min_time_ = std::min(min_time_, times.front());
    max_time_ = std::max(max_time_, times.back());
    return absl::OkStatus();
  }

  template <typename F>
  Status AddChunk(std::span<const int64_t> times, std::span<const int64_t> starts, size_t begin,
                  size_t end, F column) {
    if (directory_.chunks.size() >= kChunksMax) {
      return MakeStatus(StatusCode::kResourceExhausted, "too many chunks for one metrics block");
    }
    // Histograms that do not fit one column are cut finer before anything of them is written.
    VARVE_ASSIGN_OR_RETURN(const bool fits, column(begin, end));
    if (!fits) {
      if (end - begin == 1) {
        return MakeStatus(StatusCode::kResourceExhausted,
                          "a histogram is too large for a metrics block");
      }
      const size_t middle = begin + (end - begin) / 2;
      VARVE_RETURN_IF_ERROR(AddChunk(times, starts, begin, middle, column));
      return AddChunk(times, starts, middle, end, column);
    }
    BlockDirectory::ChunkEntry entry;
    VARVE_ASSIGN_OR_RETURN(entry.axis, Axis(times.subspan(begin, end - begin)));
    VARVE_ASSIGN_OR_RETURN(entry.column, PutColumn());
    uint32_t starts_piece = BlockDirectory::kNoStarts;
    if (!starts.empty()) {
      const auto own = starts.subspan(begin, end - begin);
      if (std::any_of(own.begin(), own.end(), [](int64_t s) { return s != kNoStartTime; })) {
        VARVE_ASSIGN_OR_RETURN(starts_piece, Starts(own));
      }
    }
    directory_.chunks.push_back(entry);
    directory_.chunk_starts.push_back(starts_piece);
    samples_ += end - begin;
    return absl::OkStatus();
  }

  /// Appends bytes_ to the bulk section.
  Status AppendPiece() { return file_->Append(bytes_); }

  Result<uint32_t> Axis(std::span<const int64_t> times) {
    const auto next = static_cast<uint32_t>(directory_.axes.size());
    const auto [at, fresh] = axes_.try_emplace(Key{Hash128(BytesOf(times)), times.size()}, next);
    if (!fresh) return at->second;
    bytes_.clear();
    axis_encoder_.Encode(times, &bytes_);
    directory_.axes.push_back({.bytes = static_cast<uint32_t>(bytes_.size()),
                               .count = static_cast<uint32_t>(times.size()),
                               .min_time = times.front(),
                               .max_time = times.back()});
    VARVE_RETURN_IF_ERROR(AppendPiece());
    return next;
  }

  Result<uint32_t> Starts(std::span<const int64_t> starts) {
    const auto next = static_cast<uint32_t>(directory_.starts.size());
    const auto [at, fresh] =
        starts_.try_emplace(Key{Hash128(BytesOf(starts)), starts.size()}, next);
    if (!fresh) return at->second;
    bytes_.clear();
    stream_encoder_.Encode(starts, &bytes_);
    directory_.starts.push_back({.bytes = static_cast<uint32_t>(bytes_.size())});
    VARVE_RETURN_IF_ERROR(AppendPiece());
    return next;
  }

  /// Prepares a column for PutColumn: finds the same one written before, or encodes it.
  Result<bool> FloatColumn(std::span<const double> all, size_t begin, size_t end) {
    const auto values = all.subspan(begin, end - begin);
    column_ = {.kind = ChunkKind::kFloat};
    column_key_ = Key{Hash128(BytesOf(values)), values.size() * 2};
    column_bytes_.clear();
    if (columns_.contains(column_key_)) return true;
    column_.flags = FlagsOf(values);
    value_encoder_.Encode(values, &column_bytes_);
    return true;
  }
  Result<bool> HistogramColumn(std::span<const Histogram> all, size_t begin, size_t end) {
    const auto histograms = all.subspan(begin, end - begin);
    column_ = {.kind = ChunkKind::kHistogram};
    column_bytes_.clear();
    if (!codec::PutHistogramColumn(histograms, &column_bytes_)) return false;
    if (std::none_of(histograms.begin(), histograms.end(),
                     [](const Histogram& h) { return h.is_stale(); })) {
      column_.flags = kChunkHasNoStale;
    }
    column_key_ = Key{Hash128(column_bytes_), histograms.size() * 2 + 1};
    return true;
  }
  Result<uint32_t> PutColumn() {
    const auto next = static_cast<uint32_t>(directory_.columns.size());
    const auto [at, fresh] = columns_.try_emplace(column_key_, next);
    if (!fresh) return at->second;
    column_.bytes = static_cast<uint32_t>(column_bytes_.size());
    directory_.columns.push_back(column_);
    VARVE_RETURN_IF_ERROR(file_->Append(column_bytes_));
    return next;
  }

  Status WriteRest() {
    VARVE_RETURN_IF_ERROR(Open());
    VARVE_RETURN_IF_ERROR(file_->EndPagedSection(samples_ * 16, samples_));
    series_ = labels_.size();
    if (series_ > 0) directory_.begins.push_back(Chunks());
    if (directory_.starts.empty()) directory_.chunk_starts.clear();
    const std::string directory = EncodeDirectory(directory_);
    VARVE_RETURN_IF_ERROR(file_->AddSection(kLabelsSection, 0, 0, labels_.Finish(), 0, series_));
    VARVE_RETURN_IF_ERROR(
        file_->AddSection(kDirectorySection, 0, 0, directory, 0, directory_.chunks.size()));
    if (exemplars_ > 0) {
      VARVE_RETURN_IF_ERROR(
          file_->AddSection(kExemplarsSection, 0, 0, exemplar_bytes_, 0, exemplars_));
    }
    if (families_ > 0) {
      VARVE_RETURN_IF_ERROR(
          file_->AddSection(kMetadataSection, 0, 0, metadata_bytes_, 0, families_));
    }
    return absl::OkStatus();
  }

  static constexpr size_t kChunksMax = size_t{1} << 24;

  std::unique_ptr<block::BlockWriter> file_;
  Status error_;
  bool open_ = false;
  index::LabelIndexBuilder labels_;
  uint32_t series_ = 0;
  BlockDirectory directory_;
  PieceMap axes_;
  PieceMap columns_;
  PieceMap starts_;
  codec::TimeAxisEncoder axis_encoder_;
  codec::ValueColumnEncoder value_encoder_;
  codec::IntStreamEncoder stream_encoder_;
  BlockDirectory::Column column_;
  Key column_key_;
  std::string column_bytes_;
  std::string bytes_;
  int64_t origin_ = 0;
  int64_t last_time_ = 0;
  bool has_last_time_ = false;
  std::string exemplar_bytes_;
  std::string metadata_bytes_;
  uint32_t exemplar_series_ = 0;
  uint64_t exemplars_ = 0;
  uint64_t families_ = 0;
  uint64_t samples_ = 0;
  int64_t min_time_ = kMaxTime;
  int64_t max_time_ = kMinTime;
};

}  // namespace

Result<std::unique_ptr<MetricsBlockWriter>> MetricsBlockWriter::Create(
    std::shared_ptr<io::FileSystem> fs, const std::string& dir, uint64_t id, uint64_t fixed_tag) {
  VARVE_ASSIGN_OR_RETURN(auto file, block::BlockWriter::Create(std::move(fs), dir, id,
                                                               block::Wing::kMetrics, fixed_tag));
  return std::make_unique<Writer>(std::move(file));
}

}  // namespace varve::metrics
