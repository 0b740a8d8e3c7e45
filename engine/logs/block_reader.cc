#include "engine/logs/block_reader.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/index/value_scan.h"
#include "engine/logs/block_format.h"
#include "engine/logs/columns.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/line_table.h"
#include "engine/logs/rows.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

constexpr std::array<block::SectionType, 5> kKnownSections = {
    kVocabularySection, kLabelsSection, kDirectorySection, kGroupsSection, kFiltersSection};

class LogsBlockImpl final : public LogsBlock, public std::enable_shared_from_this<LogsBlockImpl> {
 public:
  explicit LogsBlockImpl(std::shared_ptr<const block::BlockReader> file) : file_(std::move(file)) {}

  Status Init() {
    if (file_->meta().wing != block::Wing::kLogs) {
      return DataLossError(file_->path(), 0, "not a block of logs");
    }
    VARVE_RETURN_IF_ERROR(file_->CheckKnown(kKnownSections));
    VARVE_ASSIGN_OR_RETURN(groups_, file_->Paged(kGroupsSection));
    VARVE_ASSIGN_OR_RETURN(filters_, file_->Paged(kFiltersSection));
    VARVE_ASSIGN_OR_RETURN(const std::string_view labels, file_->Section(kLabelsSection));
    VARVE_ASSIGN_OR_RETURN(
        labels_,
        index::LabelIndexView::Open(labels, file_->path(), file_->Find(kLabelsSection)->offset));
    VARVE_ASSIGN_OR_RETURN(const std::string_view directory, file_->Section(kDirectorySection));
    VARVE_RETURN_IF_ERROR(DecodeDirectory(directory, labels_->size(), groups_->size(),
                                          filters_->size(), file_->path(),
                                          file_->Find(kDirectorySection)->offset, &directory_));
    {
      absl::MutexLock lock(&filters_mutex_);
      parsed_filters_.resize(directory_.groups.size());
    }
    uint64_t rows = 0;
    for (const LogsPart& part : directory_.parts) {
      range_.min_ns = std::min(range_.min_ns, part.min_time_ns);
      range_.max_ns = std::max(range_.max_ns, part.max_time_ns);
      rows += part.rows;
    }
    const block::BlockMeta& meta = file_->meta();
    if (rows != meta.rows || meta.series != labels_->size() || meta.min_time != range_.min_ns ||
        meta.max_time != range_.max_ns) {
      return DataLossError(file_->path(), file_->Find(kDirectorySection)->offset,
                           "directory and meta disagree");
    }
    return absl::OkStatus();
  }

  const block::BlockMeta& meta() const override { return file_->meta(); }
  NsRange range() const override { return range_; }
  NsRange StreamRange(uint32_t stream) const override {
    const std::span<const LogsPart> parts = parts_of(stream);
    return {parts.front().min_time_ns, parts.back().max_time_ns};
  }
  const index::LabelIndexView& labels() const override { return *labels_; }
  std::span<const LogsPart> parts_of(uint32_t stream) const override {
    const uint32_t begin = directory_.stream_part[stream];
    return std::span(directory_.parts).subspan(begin, directory_.stream_part[stream + 1] - begin);
  }
  uint32_t index_of(const LogsPart& part) const override {
    return static_cast<uint32_t>(&part - directory_.parts.data());
  }
  const BlockDirectory& directory() const override { return directory_; }

  Status ReadPart(uint32_t index, const LogScan& scan,
                  std::span<const std::shared_ptr<const LogScan>> hidden, LogRows* out,
                  LogScanStats* stats) const override {
    const LogsPart& part = directory_.parts[index];
    const LogsGroup& group = directory_.groups[part.group];
    const LogScanSpec& spec = scan.spec();
    ++stats->groups;
    RowStorage* storage = StorageOf(out);
    const auto nothing = [&] {
      EmitRows(scan, Rows(), {}, out);
      return absl::OkStatus();
    };
    if (!spec.range.Overlaps({part.min_time_ns, part.max_time_ns})) {
      stats->skipped_time.Add({1, part.line_bytes});
      return nothing();
    }
    if (!scan.needed().empty() && group.filter_bytes > 0) {
      VARVE_ASSIGN_OR_RETURN(const auto ruled_out, FilterRulesOut(part.group, scan));
      if (ruled_out.has_value()) {
        SkippedBy(*ruled_out, stats).Add({1, part.line_bytes});
        return nothing();
      }
    }
    if (!scan.required().empty()) {
      VARVE_ASSIGN_OR_RETURN(const bool may, LinesAllow(part.group, scan, storage, stats));
      if (!may) {
        stats->skipped_statistics.Add({1, part.line_bytes});
        return nothing();
      }
    }
    bool lines = scan.tests_lines() || spec.lines != LogScanSpec::Lines::kNone;
    bool metadata = scan.tests_metadata() || spec.with_metadata;
    for (const auto& one : hidden) {
      lines = lines || one->tests_lines();
      metadata = metadata || one->tests_metadata();
    }
    const Rows& rows = storage->rows;
    const bool hidden_lines = std::any_of(hidden.begin(), hidden.end(),
                                          [](const auto& one) { return one->tests_lines(); });
    bool matched = false;
    if (scan.tests_lines() && !hidden_lines) {
      VARVE_RETURN_IF_ERROR(Load(part.group, false, metadata, storage, stats));
      VARVE_ASSIGN_OR_RETURN(matched, MatchEncoded(part.group, scan, storage, stats));
    }
    if (matched) {
      const auto begin =
          std::lower_bound(storage->matched.begin(), storage->matched.end(), part.row);
      const auto end = std::lower_bound(begin, storage->matched.end(), part.row + part.rows);
      storage->selected.assign(begin, end);
      if (scan.tests_metadata()) {
        std::erase_if(storage->selected,
                      [&](uint32_t row) { return !scan.MatchesMetadata(rows.metadata_of(row)); });
      }
    } else {
      VARVE_RETURN_IF_ERROR(Load(part.group, lines, metadata, storage, stats));
      // Rows of the part ascend; those of a group shared by streams do not.
      VARVE_RETURN_IF_ERROR(
          SelectRows(scan, rows, part.row, part.row + part.rows, &storage->selected));
    }
    for (const auto& one : hidden) {
      if (storage->selected.empty()) break;
      std::vector<uint32_t> gone;
      VARVE_RETURN_IF_ERROR(SelectRows(*one, rows, part.row, part.row + part.rows, &gone));
      std::erase_if(storage->selected, [&, at = size_t{0}](uint32_t row) mutable {
        while (at < gone.size() && gone[at] < row) ++at;
        return at < gone.size() && gone[at] == row;
      });
    }
    stats->entries += part.rows;
    stats->line_bytes += part.line_bytes;
    stats->entries_matched += storage->selected.size();
    EmitRows(scan, rows, storage->selected, out);
    return absl::OkStatus();
  }

  Result<GroupBytes> ReadGroup(uint32_t index) const override {
    const LogsGroup& group = directory_.groups[index];
    GroupBytes out;
    VARVE_ASSIGN_OR_RETURN(out.rows, groups_->Read(group.offset, group.bytes()));
    if (group.filter_bytes > 0) {
      VARVE_ASSIGN_OR_RETURN(out.filter, filters_->Read(group.filter_offset, group.filter_bytes));
    }
    return out;
  }

  std::optional<std::string> ReadVocabulary() const override {
    const auto packed = file_->Section(kVocabularySection);
    std::string words;
    // Without it, or if it is damaged, queries are slower; Verify tells.
    if (packed.ok() && GetZstdPage(*packed, kVocabularyBytesMax, &words).ok() &&
        (words.empty() || words.back() == '\n')) {
      return words;
    }
    return std::nullopt;
  }

  bool MayContain(const LogScan& scan) const override {
    if (scan.needed().empty()) return true;
    const std::shared_ptr<const NeededKeys> needed = Needed(scan);
    return std::none_of(needed->begin(), needed->end(),
                        [](const auto& alternatives) { return alternatives.empty(); });
  }

  void MetadataNames(const std::vector<uint32_t>& streams, NsRange range,
                     std::vector<std::string>* out) const override {
    std::vector<bool> seen(directory_.metadata_names.size());
    for (const uint32_t stream : streams) {
      for (const LogsPart& part : parts_of(stream)) {
        if (!range.Overlaps({part.min_time_ns, part.max_time_ns})) continue;
        for (const uint32_t name : directory_.groups[part.group].metadata_names) seen[name] = true;
      }
    }
    for (size_t i = 0; i < seen.size(); ++i) {
      if (seen[i]) out->push_back(directory_.metadata_names[i]);
    }
  }

  LogBlockStats Stats() const override {
    LogBlockStats out;
    out.id = meta().id;
    out.file = file_->path();
    out.level = meta().level;
    out.range = range_;
    out.streams = meta().series;
    out.entries = meta().rows;
    out.bytes = meta().bytes;
    SectionStats times{"times"}, lines{"lines"}, metadata{"metadata"}, filters{"filters"};
    for (const LogsGroup& group : directory_.groups) {
      out.line_bytes += group.line_bytes;
      times.bytes += group.time_bytes;
      lines.bytes += group.text_bytes;
      metadata.bytes += group.metadata_bytes;
      filters.bytes += group.filter_bytes;
    }
    times.items = lines.items = meta().rows;
    lines.raw_bytes = out.line_bytes;
    out.columns = {times, lines, metadata, filters};
    for (const block::SectionInfo& section : file_->sections()) {
      SectionStats stats;
      switch (section.type) {
        case kLabelsSection:
          stats.name = "labels";
          break;
        case kDirectorySection:
          stats.name = "directory";
          break;
        case kGroupsSection:
          stats.name = "groups";
          break;
        case kFiltersSection:
          stats.name = "filters";
          break;
        case kVocabularySection:
          stats.name = "vocabulary";
          break;
        default:
          stats.name = "meta";
          break;
      }
      stats.bytes = section.stored_bytes();
      stats.raw_bytes = section.raw_bytes;
      stats.items = section.items;
      out.sections.push_back(std::move(stats));
    }
    return out;
  }

  std::vector<Status> VerifyAll() const override {
    std::vector<Status> damage = file_->VerifyAll();
    if (!damage.empty()) return damage;
    RowStorage storage;
    LogScanStats stats;
    for (uint32_t g = 0; g < directory_.groups.size(); ++g) {
      const Status status = Load(g, true, true, &storage, &stats);
      if (!status.ok()) damage.push_back(status);
    }
    std::string words;
    const auto packed = file_->Section(kVocabularySection);
    if (packed.ok()) {
      const Status status = GetZstdPage(*packed, kVocabularyBytesMax, &words);
      if (!status.ok()) {
        damage.push_back(DataLossError(file_->path(), file_->Find(kVocabularySection)->offset,
                                       ToStd(status.message())));
      }
    }
    return damage;
  }

 private:
  /// Tells which keys in the filter of a group stop a scan, if any do; filters are parsed once.
  Result<std::optional<LogScan::KeyKind>> FilterRulesOut(uint32_t index,
                                                         const LogScan& scan) const {
    const index::BinaryFuse* filter = nullptr;
    {
      absl::MutexLock lock(&filters_mutex_);
      std::unique_ptr<const index::BinaryFuse>& kept = parsed_filters_[index];
      if (kept == nullptr) {
        const LogsGroup& group = directory_.groups[index];
        VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                               filters_->Read(group.filter_offset, group.filter_bytes));
        auto parsed = index::BinaryFuse::Parse(bytes);
        if (!parsed.ok()) {
          return DataLossError(file_->path(),
                               file_->Find(kFiltersSection)->offset + group.filter_offset,
                               ToStd(parsed.status().message()));
        }
        kept = std::make_unique<const index::BinaryFuse>(std::move(*parsed));
      }
      filter = kept.get();
    }
    return RuledOutBy(*filter, *Needed(scan));
  }

  /// Returns the keys that a scan needs here; those of the last few scans are kept.
  std::shared_ptr<const NeededKeys> Needed(const LogScan& scan) const {
    absl::MutexLock lock(&filters_mutex_);
    for (const auto& [id, needed] : resolved_) {
      if (id == scan.id()) return needed;
    }
    if (!vocabulary_read_) {
      vocabulary_read_ = true;
      std::optional<std::string> words = ReadVocabulary();
      if (words.has_value()) {
        words->append(index::kScanPadding, '\0');
        vocabulary_ = std::make_unique<const std::string>(*std::move(words));
      }
    }
    auto needed = std::make_shared<const NeededKeys>(ResolveNeeded(scan, vocabulary_.get()));
    constexpr size_t kResolvedMax = 8;
    if (resolved_.size() == kResolvedMax) resolved_.erase(resolved_.begin());
    resolved_.emplace_back(scan.id(), needed);
    return needed;
  }

  /// Tells whether templates and texts of a group let a scan pass. What is decoded already needs
  /// no such test.
  Result<bool> LinesAllow(uint32_t index, const LogScan& scan, RowStorage* storage,
                          LogScanStats* stats) const {
    VARVE_RETURN_IF_ERROR(Begin(index, storage));
    if (storage->has_lines) return true;
    VARVE_RETURN_IF_ERROR(OpenLines(index, storage));
    // Which texts are required depends on the scan, and readers go from part to part with one.
    if (storage->matched_scan == scan.id()) return !storage->ruled_out;
    for (const std::vector<std::string>& texts : scan.required()) {
      bool may = false;
      for (const std::string& text : texts) {
        auto found = storage->table->MayContain(text);
        if (!found.ok()) return LinesError(index, found.status(), storage);
        may = may || *found;
        if (may) break;
      }
      if (may) continue;
      storage->matched.clear();
      storage->matched_scan = scan.id();
      storage->ruled_out = true;
      return false;
    }
    return true;
  }

  /// Makes `storage` that of a group, empty unless it was before.
  Status Begin(uint32_t index, RowStorage* storage) const {
    if (storage->owner.get() == this && storage->group == index) return absl::OkStatus();
    ForgetGroup(storage);
    storage->owner = shared_from_this();
    storage->group = index;
    return absl::OkStatus();
  }

  /// Opens the encoded lines of the group that `storage` is of.
  Status OpenLines(uint32_t index, RowStorage* storage) const {
    if (storage->has_table) return absl::OkStatus();
    const LogsGroup& group = directory_.groups[index];
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                           groups_->Read(group.offset + group.time_bytes, group.text_bytes));
    if (storage->table == nullptr) storage->table = std::make_shared<LineTable>();
    const Status status = storage->table->Open(bytes, group.rows, group.line_bytes);
    if (!status.ok()) return LinesError(index, status, storage);
    storage->has_table = true;
    return absl::OkStatus();
  }
  Status LinesError(uint32_t index, const Status& status, RowStorage* storage) const {
    storage->owner = nullptr;
    const LogsGroup& group = directory_.groups[index];
    return At(group.offset + group.time_bytes, status);
  }

  /// Runs the filters of a scan over the encoded lines of a group, once for all of its parts.
  /// Returns false where the lines are decoded already, or must be.
  Result<bool> MatchEncoded(uint32_t index, const LogScan& scan, RowStorage* storage,
                            LogScanStats* stats) const {
    if (storage->has_lines) return false;
    if (storage->matched_scan == scan.id()) return true;
    VARVE_RETURN_IF_ERROR(OpenLines(index, storage));
    if (!storage->table->templated()) return false;
    const LogsGroup& group = directory_.groups[index];
    const LogScanSpec& spec = scan.spec();
    storage->matched_scan = 0;
    storage->matched.clear();
    for (uint32_t row = 0; row < group.rows; ++row) {
      if (spec.range.Contains(storage->rows.times[row])) storage->matched.push_back(row);
    }
    const Status status =
        scan.KeepMatchingLines(storage->table.get(), spec.lines != LogScanSpec::Lines::kNone,
                               &storage->rows, &storage->matched);
    if (status.code() == StatusCode::kDataLoss) return LinesError(index, status, storage);
    VARVE_RETURN_IF_ERROR(status);
    storage->matched_scan = scan.id();
    storage->ruled_out = false;
    stats->bytes_decompressed += group.line_bytes;
    stats->bytes_compressed += group.text_bytes;
    return true;
  }

  /// Decodes what is not decoded yet of a row group.
  Status Load(uint32_t index, bool lines, bool metadata, RowStorage* storage,
              LogScanStats* stats) const {
    const LogsGroup& group = directory_.groups[index];
    Rows& rows = storage->rows;
    VARVE_RETURN_IF_ERROR(Begin(index, storage));
    if (rows.times.empty()) {
      VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                             groups_->Read(group.offset, group.time_bytes));
      Status status = At(group.offset, DecodeTimes(bytes, group.rows, &rows.times));
      if (status.ok()) status = CheckTimes(index, rows.times);
      if (!status.ok()) storage->owner = nullptr;
      VARVE_RETURN_IF_ERROR(status);
      ++stats->groups_read;
    }
    if (lines && !storage->has_lines) {
      VARVE_RETURN_IF_ERROR(OpenLines(index, storage));
      storage->matched_scan = 0;
      const Status status = storage->table->Render(&rows);
      if (!status.ok()) return LinesError(index, status, storage);
      storage->has_lines = true;
      stats->bytes_decompressed += group.line_bytes;
      stats->bytes_compressed += group.text_bytes;
    }
    if (metadata && !storage->has_metadata) {
      if (group.metadata_bytes > 0) {
        const uint64_t offset = group.offset + group.time_bytes + group.text_bytes;
        VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                               groups_->Read(offset, group.metadata_bytes));
        std::vector<std::string_view> names;
        for (const uint32_t name : group.metadata_names) {
          names.push_back(directory_.metadata_names[name]);
        }
        const Status status = DecodeMetadata(bytes, group.rows, names, &rows);
        if (!status.ok()) storage->owner = nullptr;
        VARVE_RETURN_IF_ERROR(At(offset, status));
        stats->bytes_compressed += group.metadata_bytes;
      }
      storage->has_metadata = true;
    }
    return absl::OkStatus();
  }

  /// What the directory says of the times must hold: chunks are merged by it.
  Status CheckTimes(uint32_t index, const std::vector<int64_t>& times) const {
    const LogsGroup& group = directory_.groups[index];
    for (size_t p = group.first_part;
         p < directory_.parts.size() && directory_.parts[p].group == index; ++p) {
      const LogsPart& part = directory_.parts[p];
      const auto begin = times.begin() + part.row;
      if (*begin != part.min_time_ns || *(begin + part.rows - 1) != part.max_time_ns ||
          !std::is_sorted(begin, begin + part.rows)) {
        return At(group.offset, DataLossError("times", 0, "directory and times disagree"));
      }
    }
    return absl::OkStatus();
  }

  /// Puts file and offset into an error of a decoder.
  Status At(uint64_t offset, const Status& status) const {
    if (status.ok()) return status;
    return DataLossError(file_->path(), file_->Find(kGroupsSection)->offset + offset,
                         ToStd(status.message()));
  }

  const std::shared_ptr<const block::BlockReader> file_;
  const block::PagedSection* groups_ = nullptr;
  const block::PagedSection* filters_ = nullptr;
  std::unique_ptr<index::LabelIndexView> labels_;
  BlockDirectory directory_;
  NsRange range_{kMaxTime, kMinTime};
  mutable absl::Mutex filters_mutex_;
  mutable std::vector<std::unique_ptr<const index::BinaryFuse>> parsed_filters_
      ABSL_GUARDED_BY(filters_mutex_);  // by group; null: not yet
  mutable bool vocabulary_read_ ABSL_GUARDED_BY(filters_mutex_) = false;
  mutable std::unique_ptr<const std::string> vocabulary_ ABSL_GUARDED_BY(filters_mutex_);
  mutable std::vector<std::pair<uint64_t, std::shared_ptr<const NeededKeys>>> resolved_
      ABSL_GUARDED_BY(filters_mutex_);  // by LogScan::id()
};

}  // namespace

Result<std::shared_ptr<const LogsBlock>> LogsBlock::Open(io::FileSystem& fs,
                                                         const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(auto file, block::BlockReader::Open(fs, path));
  auto block = std::make_shared<LogsBlockImpl>(std::move(file));
  VARVE_RETURN_IF_ERROR(block->Init());
  return std::shared_ptr<const LogsBlock>(std::move(block));
}

}  // namespace varve::logs
