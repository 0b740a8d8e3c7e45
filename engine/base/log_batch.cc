#include "varve/log_batch.h"

#include "engine/base/arena.h"
#include "varve/log_scan.h"

namespace varve {

class LogBatch::ByteArena : public Arena {
 public:
  ByteArena() : Arena(64 * 1024) {}
};

LogBatch::LogBatch() : arena_(std::make_unique<ByteArena>()) {}
LogBatch::~LogBatch() = default;
LogBatch::LogBatch(LogBatch&&) noexcept = default;
LogBatch& LogBatch::operator=(LogBatch&&) noexcept = default;

uint32_t LogBatch::AddStream(LabelsView labels) {
  Stream stream;
  stream.labels_begin = static_cast<uint32_t>(label_views_.size());
  stream.labels_count = static_cast<uint32_t>(labels.size());
  for (const LabelView& label : labels) {
    label_views_.push_back({arena_->Copy(label.name), arena_->Copy(label.value)});
  }
  streams_.push_back(stream);
  return static_cast<uint32_t>(streams_.size() - 1);
}

uint32_t LogBatch::AddStream(StreamRef ref) {
  streams_.push_back(Stream{ref, 0, 0});
  return static_cast<uint32_t>(streams_.size() - 1);
}

void LogBatch::AddEntry(uint32_t stream, int64_t time_ns, std::string_view line,
                        LabelsView metadata) {
  entries_.push_back({time_ns, line, stream, static_cast<uint32_t>(metadata_views_.size()),
                      static_cast<uint32_t>(metadata.size())});
  metadata_views_.insert(metadata_views_.end(), metadata.begin(), metadata.end());
  line_bytes_ += line.size();
}

std::string_view LogBatch::Copy(std::string_view bytes) { return arena_->Copy(bytes); }

void LogBatch::Clear() {
  streams_.clear();
  entries_.clear();
  label_views_.clear();
  metadata_views_.clear();
  line_bytes_ = 0;
  arena_->Clear();
}

std::string_view ToString(LogRejectReason reason) {
  switch (reason) {
    case LogRejectReason::kInvalidLabels:
      return "invalid labels";
    case LogRejectReason::kInvalidMetadata:
      return "invalid structured metadata";
    case LogRejectReason::kLineTooLong:
      return "line too long";
    case LogRejectReason::kStreamLimit:
      return "stream limit reached";
  }
  return "unknown";
}

void LogScanStats::Add(const LogScanStats& other) {
  entries += other.entries;
  entries_matched += other.entries_matched;
  line_bytes += other.line_bytes;
  bytes_decompressed += other.bytes_decompressed;
  bytes_compressed += other.bytes_compressed;
  skipped_time.Add(other.skipped_time);
  skipped_words.Add(other.skipped_words);
  skipped_ids.Add(other.skipped_ids);
  skipped_metadata.Add(other.skipped_metadata);
  skipped_statistics.Add(other.skipped_statistics);
  groups += other.groups;
  groups_read += other.groups_read;
}

void LogRows::Clear() {
  times_ns.clear();
  lines.clear();
  line_lengths.clear();
  metadata_begin.clear();
  metadata.clear();
}

}  // namespace varve
