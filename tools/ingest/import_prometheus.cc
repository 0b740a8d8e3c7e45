#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/importers.h"
#include "tools/ingest/mapped_file.h"
#include "tools/ingest/prometheus_chunk.h"
#include "tools/ingest/prometheus_index.h"
#include "tools/ingest/prometheus_wal.h"

namespace varve::ingest {
namespace {

namespace fs = std::filesystem;

bool IsNumber(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

uint64_t FileBytes(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<uint64_t>(size);
}

/// Lists files whose names are numbers, in numeric order.
std::vector<fs::path> NumberedFiles(const fs::path& folder) {
  std::vector<std::pair<uint64_t, fs::path>> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!entry.is_regular_file(error) || !IsNumber(name)) continue;
    uint64_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    found.emplace_back(number, entry.path());
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> out;
  for (auto& [number, path] : found) out.push_back(std::move(path));
  return out;
}

bool IsBlock(const fs::path& folder) {
  std::error_code error;
  return fs::is_regular_file(folder / "index", error) && fs::is_directory(folder / "chunks", error);
}

/// What meta.json says of a block.
struct BlockMeta {
  int64_t min_time_ms = kMinTime;
  uint64_t samples = 0;
  uint64_t series = 0;
  bool has_stats = false;
};

Result<BlockMeta> ReadMeta(const fs::path& folder) {
  const std::string path = (folder / "meta.json").string();
  VARVE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  simdjson::dom::parser parser;
  simdjson::dom::element json;
  if (const auto error = parser.parse(file.bytes().data(), file.bytes().size()).get(json)) {
    return DataLossError(path, 0, simdjson::error_message(error));
  }
  BlockMeta meta;
  int64_t version = 0;
  if (json["version"].get_int64().get(version) == simdjson::SUCCESS && version != 1) {
    return MakeStatus(StatusCode::kUnimplemented,
                      Concat(path, ": block version ", version, " is not known; 1 is"));
  }
  if (json["minTime"].get_int64().get(meta.min_time_ms) != simdjson::SUCCESS) {
    meta.min_time_ms = kMinTime;
  }
  meta.has_stats =
      json["stats"]["numSamples"].get_uint64().get(meta.samples) == simdjson::SUCCESS &&
      json["stats"]["numSeries"].get_uint64().get(meta.series) == simdjson::SUCCESS;
  return meta;
}

class Importer {
 public:
  Importer(const ImportOptions& options, BulkLoader* loader, ImportSummary* summary)
      : options_(options), loader_(loader), summary_(summary) {}

  Status Run(const std::string& path) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      return MakeStatus(StatusCode::kNotFound,
                        Concat(path,
                               ": not a directory; give a Prometheus data directory or one "
                               "of its blocks (archives must be unpacked first)"));
    }
    if (IsBlock(path)) {
      total_ = BlockBytes(path);
      return ImportBlock(path);
    }
    std::vector<std::pair<int64_t, fs::path>> blocks;
    for (const auto& entry : fs::directory_iterator(path, error)) {
      if (!entry.is_directory(error) || !IsBlock(entry.path())) continue;
      // Folders with other names are leftovers of an unfinished compaction or deletion.
      if (entry.path().filename().string().find('.') != std::string::npos) continue;
      VARVE_ASSIGN_OR_RETURN(const BlockMeta meta, ReadMeta(entry.path()));
      blocks.emplace_back(meta.min_time_ms, entry.path());
      total_ += BlockBytes(entry.path());
    }
    const fs::path wal = fs::path(path) / "wal";
    const bool has_wal = fs::is_directory(wal, error);
    if (blocks.empty() && !has_wal) {
      return MakeStatus(StatusCode::kNotFound,
                        Concat(path,
                               ": neither a Prometheus block (index and chunks/) nor a data "
                               "directory (blocks and wal/)"));
    }
    if (has_wal) total_ += WalFiles(path, nullptr);
    std::sort(blocks.begin(), blocks.end());
    for (const auto& [time, block] : blocks) VARVE_RETURN_IF_ERROR(ImportBlock(block));
    return has_wal ? ImportWal(path) : absl::OkStatus();
  }

 private:
  static uint64_t BlockBytes(const fs::path& folder) {
    uint64_t bytes = FileBytes(folder / "index");
    for (const fs::path& segment : NumberedFiles(folder / "chunks")) bytes += FileBytes(segment);
    return bytes;
  }

  void Progress(uint64_t bytes) {
    summary_->bytes_read += bytes;
    if (options_.progress) options_.progress(summary_->bytes_read, total_);
  }

  // --- Blocks ---

  Status ImportBlock(const fs::path& folder) {
    VARVE_ASSIGN_OR_RETURN(const BlockMeta meta, ReadMeta(folder));
    const std::string index_path = (folder / "index").string();
    VARVE_ASSIGN_OR_RETURN(const MappedFile index_file, MappedFile::Open(index_path));
    VARVE_ASSIGN_OR_RETURN(const PrometheusIndex index,
                           PrometheusIndex::Open(index_file.bytes(), index_path));
    std::map<uint64_t, MappedFile> segments;  // by number, from 1
    for (const fs::path& path : NumberedFiles(folder / "chunks")) {
      const std::string name = path.filename().string();
      uint64_t number = 0;
      std::from_chars(name.data(), name.data() + name.size(), number);
      VARVE_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path.string()));
      VARVE_RETURN_IF_ERROR(CheckPrometheusSegment(file.bytes(), file.path()));
      segments.emplace(number, std::move(file));
    }
    std::map<uint64_t, std::vector<std::pair<int64_t, int64_t>>> deleted;
    const fs::path stones_path = folder / "tombstones";
    std::error_code error;
    if (fs::exists(stones_path, error)) {
      VARVE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(stones_path.string()));
      VARVE_ASSIGN_OR_RETURN(const std::vector<PrometheusTombstone> stones,
                             ReadPrometheusTombstones(file.bytes(), file.path()));
      for (const PrometheusTombstone& stone : stones) {
        deleted[stone.series].emplace_back(stone.min_time_ms, stone.max_time_ms);
      }
    }
    const ImportSummary before = *summary_;
    std::vector<LabelView> labels;
    std::vector<PrometheusIndex::ChunkRef> chunks;
    for (size_t i = 0; i < index.series_count(); ++i) {
      VARVE_RETURN_IF_ERROR(index.ReadSeries(i, &labels, &chunks));
      const auto stones = deleted.find(index.SeriesRef(i));
      times_.clear();
      values_.clear();
      for (const PrometheusIndex::ChunkRef& ref : chunks) {
        // The index counts segments from 0, their files from 1.
        const auto segment = segments.find((ref.ref >> 32) + 1);
        if (segment == segments.end()) {
          return DataLossError(
              index_path, 0,
              Concat("series ", ToString(LabelsView(labels)), " is in chunk segment ",
                     (ref.ref >> 32) + 1, ", which is missing"));
        }
        const MappedFile& file = segment->second;
        const auto offset = static_cast<uint32_t>(ref.ref);
        VARVE_ASSIGN_OR_RETURN(const auto chunk,
                               FindPrometheusChunk(file.bytes(), file.path(), offset));
        if (const Status status = DecodePrometheusChunk(chunk.first, chunk.second, &chunk_);
            !status.ok()) {
          if (status.code() == StatusCode::kDataLoss) {
            return DataLossError(file.path(), offset, ToStd(status.message()));
          }
          return MakeStatus(status.code(),
                            Concat(file.path(), ":", offset, ": ", ToStd(status.message())));
        }
        if (stones != deleted.end()) RemoveDeleted(stones->second);
        if (chunk_.is_histogram) {
          VARVE_RETURN_IF_ERROR(AddHistograms(labels, chunk_.times_ms, chunk_.histograms));
        } else {
          VARVE_RETURN_IF_ERROR(Collect(labels, chunk_.times_ms, chunk_.values));
        }
        Progress(chunk.second.size());
      }
      VARVE_RETURN_IF_ERROR(FlushSamples(labels));
      ++summary_->series;
    }
    ++summary_->blocks;
    Progress(index_file.bytes().size());
    const uint64_t read = summary_->samples - before.samples + summary_->histograms -
                          before.histograms + summary_->samples_deleted - before.samples_deleted;
    if (meta.has_stats && (meta.samples != read || meta.series != index.series_count())) {
      summary_->warnings.push_back(Concat(folder.string(), ": meta.json speaks of ", meta.samples,
                                          " samples in ", meta.series, " series, the block has ",
                                          read, " in ", index.series_count()));
    }
    return absl::OkStatus();
  }

  void RemoveDeleted(const std::vector<std::pair<int64_t, int64_t>>& intervals) {
    const auto gone = [&](int64_t time) {
      return std::any_of(intervals.begin(), intervals.end(), [&](const auto& interval) {
        return time >= interval.first && time <= interval.second;
      });
    };
    size_t kept = 0;
    for (size_t i = 0; i < chunk_.times_ms.size(); ++i) {
      if (gone(chunk_.times_ms[i])) continue;
      chunk_.times_ms[kept] = chunk_.times_ms[i];
      if (chunk_.is_histogram) {
        if (kept != i) chunk_.histograms[kept] = std::move(chunk_.histograms[i]);
      } else {
        chunk_.values[kept] = chunk_.values[i];
      }
      ++kept;
    }
    summary_->samples_deleted += chunk_.times_ms.size() - kept;
    chunk_.times_ms.resize(kept);
    if (chunk_.is_histogram) {
      chunk_.histograms.resize(kept);
    } else {
      chunk_.values.resize(kept);
    }
  }

  /// Gathers the chunks of a series into one call of the loader, as long as time moves on.
  Status Collect(LabelsView labels, const std::vector<int64_t>& times,
                 const std::vector<double>& values) {
    for (size_t i = 0; i < times.size(); ++i) {
      if (!times_.empty() && times[i] <= times_.back()) {
        VARVE_RETURN_IF_ERROR(FlushSamples(labels));
      }
      times_.push_back(times[i]);
      values_.push_back(values[i]);
    }
    return absl::OkStatus();
  }

  Status FlushSamples(LabelsView labels) {
    if (times_.empty()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(loader_->AddSamples(labels, times_, values_));
    summary_->samples += times_.size();
    for (const double value : values_) summary_->stale_markers += IsStaleNan(value);
    Extend(times_);
    times_.clear();
    values_.clear();
    return absl::OkStatus();
  }

  Status AddHistograms(LabelsView labels, std::span<const int64_t> times,
                       std::span<const Histogram> histograms) {
    if (times.empty()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(loader_->AddHistograms(labels, times, histograms));
    summary_->histograms += times.size();
    for (const Histogram& histogram : histograms) summary_->stale_markers += histogram.is_stale();
    Extend(times);
    return absl::OkStatus();
  }

  void Extend(std::span<const int64_t> times) {
    summary_->min_time_ms = std::min(summary_->min_time_ms, times.front());
    summary_->max_time_ms = std::max(summary_->max_time_ms, times.back());
  }

  // --- Write-ahead log ---

  /// Lists the files of the log in order: the newest checkpoint, the segments after it, and the
  /// log of late samples, which names series by the same references. Returns their size.
  static uint64_t WalFiles(const fs::path& data, std::vector<fs::path>* out) {
    std::optional<uint64_t> checkpoint;
    fs::path checkpoint_path;
    std::error_code error;
    constexpr std::string_view kPrefix = "checkpoint.";
    for (const auto& entry : fs::directory_iterator(data / "wal", error)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with(kPrefix) || !IsNumber(std::string_view(name).substr(kPrefix.size()))) {
        continue;
      }
      uint64_t number = 0;
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
      if (!checkpoint || number > *checkpoint) {
        checkpoint = number;
        checkpoint_path = entry.path();
      }
    }
    std::vector<fs::path> files;
    if (checkpoint) files = NumberedFiles(checkpoint_path);
    for (const fs::path& path : NumberedFiles(data / "wal")) {
      const std::string name = path.filename().string();
      uint64_t number = 0;
      std::from_chars(name.data(), name.data() + name.size(), number);
      if (!checkpoint || number > *checkpoint) files.push_back(path);
    }
    for (const fs::path& path : NumberedFiles(data / "wbl")) files.push_back(path);
    uint64_t bytes = 0;
    for (const fs::path& path : files) bytes += FileBytes(path);
    if (out != nullptr) *out = std::move(files);
    return bytes;
  }

  Status ImportWal(const fs::path& data) {
    std::vector<fs::path> files;
    WalFiles(data, &files);
    PrometheusWal wal;
    for (size_t i = 0; i < files.size(); ++i) {
      VARVE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(files[i].string()));
      if (const Status status = wal.ReadSegment(file.bytes(), file.path()); !status.ok()) {
        // A log that ends in a half-written record is what a kill leaves; Prometheus cuts it, too.
        const bool newest =
            i + 1 == files.size() || files[i + 1].parent_path() != files[i].parent_path();
        if (!newest) return status;
        summary_->warnings.push_back(
            Concat(ToStd(status.message()), "; the log ends here and the rest was left out"));
      }
      Progress(file.bytes().size());
    }
    if (wal.unknown_records() > 0) {
      summary_->warnings.push_back(
          Concat((data / "wal").string(), ": ", wal.unknown_records(),
                 " records of kinds that a newer Prometheus writes were left out; let it compact "
                 "its head into a block (stop it after a clean run, or take a snapshot through "
                 "/api/v1/admin/tsdb/snapshot) and import that"));
    }
    if (wal.orphans() > 0) {
      summary_->warnings.push_back(Concat((data / "wal").string(), ": ", wal.orphans(),
                                          " samples of series that the log does not name were "
                                          "left out"));
    }
    for (PrometheusWal::Series& series : wal.series()) {
      const auto by_time = [](const auto& a, const auto& b) { return a.first < b.first; };
      const auto same_time = [](const auto& a, const auto& b) { return a.first == b.first; };
      std::stable_sort(series.samples.begin(), series.samples.end(), by_time);
      series.samples.erase(std::unique(series.samples.begin(), series.samples.end(), same_time),
                           series.samples.end());
      times_.clear();
      values_.clear();
      for (const auto& [time, value] : series.samples) {
        times_.push_back(time);
        values_.push_back(value);
      }
      VARVE_RETURN_IF_ERROR(FlushSamples(series.labels));
      std::stable_sort(series.histograms.begin(), series.histograms.end(), by_time);
      series.histograms.erase(
          std::unique(series.histograms.begin(), series.histograms.end(), same_time),
          series.histograms.end());
      std::vector<int64_t> times;
      std::vector<Histogram> histograms;
      for (auto& [time, histogram] : series.histograms) {
        times.push_back(time);
        histograms.push_back(std::move(histogram));
      }
      VARVE_RETURN_IF_ERROR(AddHistograms(series.labels, times, histograms));
      if (!series.samples.empty() || !times.empty()) ++summary_->series;
      series = PrometheusWal::Series();
    }
    return absl::OkStatus();
  }

  const ImportOptions& options_;
  BulkLoader* const loader_;
  ImportSummary* const summary_;
  uint64_t total_ = 0;
  PrometheusChunk chunk_;
  std::vector<int64_t> times_;
  std::vector<double> values_;
};

}  // namespace

Status ImportPrometheus(const std::string& path, const ImportOptions& options, BulkLoader* loader,
                        ImportSummary* summary) {
  return Importer(options, loader, summary).Run(path);
}

}  // namespace varve::ingest
