#include "engine/logs/block_writer.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/index/label_index.h"
#include "engine/logs/block_directory.h"
#include "engine/logs/block_format.h"
#include "engine/logs/block_reader.h"
#include "engine/logs/columns.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/line_filter.h"
#include "engine/logs/text_kernels.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

class LogsBlockWriterImpl final : public LogsBlockWriter {
 public:
  explicit LogsBlockWriterImpl(std::unique_ptr<block::BlockWriter> out) : out_(std::move(out)) {}

  Status Begin() { return out_->BeginPagedSection(kGroupsSection, 0, 0); }

  Status BeginStream(LabelsView labels) override {
    VARVE_RETURN_IF_ERROR(labels_.Add(labels));
    stream_ = labels_.size() - 1;
    begun_ = false;
    return absl::OkStatus();
  }

  Status Add(const LogRows& rows) override {
    for (size_t row = 0; row < rows.size();) {
      const auto fits = [&](size_t bytes, size_t count) {
        return count == 0 ||
               (bytes + rows.lines[row].size() <= kGroupLineBytes && count < kGroupRows);
      };
      if (!fits(text_.size(), times_.size())) VARVE_RETURN_IF_ERROR(CloseGroup());
      const size_t begin = row;
      const size_t count = times_.size();
      size_t bytes = text_.size();
      for (; row < rows.size() && fits(bytes, count + row - begin); ++row) {
        bytes += rows.lines[row].size();
        line_end_.push_back(bytes);
      }
      AddToGroup(rows, begin, row);
    }
    return absl::OkStatus();
  }

  Status AddGroup(const LogsBlock& from, uint32_t index) override {
    VARVE_RETURN_IF_ERROR(CloseGroup());
    const LogsGroup& old = from.directory().groups[index];
    VARVE_ASSIGN_OR_RETURN(const LogsBlock::GroupBytes bytes, from.ReadGroup(index));
    LogsPart part = from.directory().parts[old.first_part];
    VARVE_CHECK(part.rows == old.rows);
    part.stream = stream_;
    part.group = static_cast<uint32_t>(directory_.groups.size());
    directory_.parts.push_back(part);
    LogsGroup group = old;
    // The columns of metadata say where in this list their names are: the order stays.
    for (uint32_t& name : group.metadata_names) {
      name = NumberOf(from.directory().metadata_names[name]);
    }
    VARVE_RETURN_IF_ERROR(out_->Append(bytes.rows));
    filters_.append(bytes.filter);
    entries_ += old.rows;
    line_bytes_ += old.line_bytes;
    directory_.groups.push_back(std::move(group));
    if (words_from_.insert(&from).second) {
      const std::optional<std::string> words = from.ReadVocabulary();
      if (words.has_value()) {
        vocabulary_.AddAll(*words);
      } else {
        vocabulary_.Forget();
      }
    }
    return absl::OkStatus();
  }

  double open_share() const override { return GroupShare(text_.size(), times_.size()); }

  Result<block::BlockMeta> Finish(block::BlockMeta meta) override {
    VARVE_RETURN_IF_ERROR(CloseGroup());
    VARVE_CHECK(!directory_.parts.empty());
    VARVE_RETURN_IF_ERROR(out_->EndPagedSection(line_bytes_, entries_));
    VARVE_RETURN_IF_ERROR(out_->BeginPagedSection(kFiltersSection, 0, 0));
    VARVE_RETURN_IF_ERROR(out_->Append(filters_));
    VARVE_RETURN_IF_ERROR(out_->EndPagedSection(0, directory_.groups.size()));
    // Names of metadata are numbered in order of first use until now.
    std::vector<uint32_t> number(names_.size());
    for (const auto& [name, first] : names_) {
      number[first] = static_cast<uint32_t>(directory_.metadata_names.size());
      directory_.metadata_names.push_back(name);
    }
    for (LogsGroup& group : directory_.groups) {
      for (uint32_t& name : group.metadata_names) name = number[name];
      std::sort(group.metadata_names.begin(), group.metadata_names.end());
    }
    meta.series = labels_.size();
    meta.rows = entries_;
    meta.min_time = kMaxTime;
    meta.max_time = kMinTime;
    for (const LogsPart& part : directory_.parts) {
      meta.min_time = std::min(meta.min_time, part.min_time_ns);
      meta.max_time = std::max(meta.max_time, part.max_time_ns);
    }
    const std::string labels = labels_.Finish();
    VARVE_RETURN_IF_ERROR(
        out_->AddSection(kLabelsSection, 0, 0, labels, labels.size(), meta.series));
    const std::string directory = EncodeDirectory(directory_);
    VARVE_RETURN_IF_ERROR(out_->AddSection(kDirectorySection, 0, 0, directory, directory.size(),
                                           directory_.parts.size()));
    VARVE_RETURN_IF_ERROR(AddVocabulary());
    return out_->Finish(std::move(meta));
  }

 private:
  /// Adds rows [begin, end), of which there is one, to the open group; line_end_ has them already.
  void AddToGroup(const LogRows& rows, size_t begin, size_t end) {
    if (!begun_) {
      LogsPart part;
      part.stream = stream_;
      part.group = static_cast<uint32_t>(directory_.groups.size());
      part.min_time_ns = rows.times_ns[begin];
      directory_.parts.push_back(part);
      begun_ = true;
    }
    LogsPart& part = directory_.parts.back();
    part.max_time_ns = rows.times_ns[end - 1];
    part.line_bytes += line_end_.back() - text_.size();
    part.rows += static_cast<uint32_t>(end - begin);
    times_.insert(times_.end(), rows.times_ns.begin() + static_cast<ptrdiff_t>(begin),
                  rows.times_ns.begin() + static_cast<ptrdiff_t>(end));
    for (size_t row = begin; row < end; ++row) metadata_.Add(rows.metadata_of(row));
    // Lines that lie one after the other, as those of a page do, are copied in one piece.
    for (size_t row = begin; row < end;) {
      const char* const first = rows.lines[row].data();
      size_t bytes = 0;
      for (; row < end && rows.lines[row].data() == first + bytes; ++row) {
        bytes += rows.lines[row].size();
      }
      text_.append(first, bytes);
    }
  }

  Status AddVocabulary() {
    if (vocabulary_.full()) return absl::OkStatus();
    const std::string raw = vocabulary_.Sorted();
    std::string packed;
    PutZstdPage(raw, 3, &packed);
    return out_->AddSection(kVocabularySection, block::kSkippable, 0, packed, raw.size(),
                            vocabulary_.size());
  }

  /// Numbers a name of metadata, in order of first use.
  uint32_t NumberOf(std::string_view name) {
    return static_cast<uint32_t>(
        names_.try_emplace(std::string(name), names_.size()).first->second);
  }

  Status CloseGroup() {
    if (times_.empty()) return absl::OkStatus();
    LogsGroup group;
    std::vector<std::string_view> lines;
    lines.reserve(times_.size());
    size_t begin = 0;
    const size_t text_bytes = text_.size();
    text_.append(kTextPadding, '\0');
    const std::string_view text = text_;
    for (const size_t end : line_end_) {
      lines.push_back(text.substr(begin, end - begin));
      begin = end;
    }
    bytes_.clear();
    EncodeTimes(times_, &bytes_);
    group.time_bytes = bytes_.size();
    keys_.clear();
    EncodeLines(lines, &bytes_, &keys_, &vocabulary_);
    group.text_bytes = bytes_.size() - group.time_bytes;
    if (!metadata_.empty()) {
      for (const std::string_view name : metadata_.names()) {
        group.metadata_names.push_back(NumberOf(name));
      }
      // Columns name their metadata by its place in the group's sorted list: that does not depend
      // on what later groups bring.
      std::vector<std::string_view> sorted = metadata_.names();
      std::sort(sorted.begin(), sorted.end());
      std::vector<uint32_t> places;
      for (const std::string_view name : metadata_.names()) {
        places.push_back(static_cast<uint32_t>(
            std::lower_bound(sorted.begin(), sorted.end(), name) - sorted.begin()));
      }
      metadata_.Encode(places, &bytes_);
      group.metadata_bytes = bytes_.size() - group.time_bytes - group.text_bytes;
    }
    const size_t filters_before = filters_.size();
    const size_t keys = keys_.size();
    VARVE_RETURN_IF_ERROR(EncodeGroupFilter(std::move(keys_), metadata_, &filters_));
    keys_ = {};
    keys_.reserve(keys);  // the next group has about as many
    group.filter_bytes = filters_.size() - filters_before;
    VARVE_RETURN_IF_ERROR(out_->Append(bytes_));
    entries_ += times_.size();
    line_bytes_ += text_bytes;
    directory_.groups.push_back(std::move(group));
    times_.clear();
    text_.clear();
    line_end_.clear();
    metadata_.Clear();
    begun_ = false;
    return absl::OkStatus();
  }

  std::unique_ptr<block::BlockWriter> out_;
  index::LabelIndexBuilder labels_;
  BlockDirectory directory_;
  std::map<std::string, size_t> names_;  // of metadata, to their order of first use
  std::string filters_;
  Vocabulary vocabulary_;
  std::set<const LogsBlock*> words_from_;  // whose words it has
  uint64_t entries_ = 0;
  uint64_t line_bytes_ = 0;

  uint32_t stream_ = 0;
  bool begun_ = false;  // the open group has a part of this stream
  std::vector<int64_t> times_;
  std::string text_;
  std::vector<size_t> line_end_;
  MetadataColumns metadata_;
  std::string bytes_;
  std::vector<uint64_t> keys_;
};

}  // namespace

Result<std::unique_ptr<LogsBlockWriter>> LogsBlockWriter::Create(std::shared_ptr<io::FileSystem> fs,
                                                                 const std::string& dir,
                                                                 uint64_t id, uint64_t fixed_tag) {
  VARVE_ASSIGN_OR_RETURN(
      auto out, block::BlockWriter::Create(std::move(fs), dir, id, block::Wing::kLogs, fixed_tag));
  auto writer = std::make_unique<LogsBlockWriterImpl>(std::move(out));
  VARVE_RETURN_IF_ERROR(writer->Begin());
  return std::unique_ptr<LogsBlockWriter>(std::move(writer));
}

}  // namespace varve::logs
