#include "varve/write_batch.h"

#include "engine/base/arena.h"

namespace varve {

class WriteBatch::ByteArena : public Arena {
 public:
  ByteArena() : Arena(64 * 1024) {}
};

WriteBatch::WriteBatch() : arena_(std::make_unique<ByteArena>()) {}
WriteBatch::~WriteBatch() = default;
WriteBatch::WriteBatch(WriteBatch&&) noexcept = default;
WriteBatch& WriteBatch::operator=(WriteBatch&&) noexcept = default;

uint32_t WriteBatch::AddSeries(LabelsView labels) {
  Series series;
  series.labels_begin = static_cast<uint32_t>(label_views_.size());
  series.labels_count = static_cast<uint32_t>(labels.size());
  for (const LabelView& label : labels) {
    label_views_.push_back({arena_->Copy(label.name), arena_->Copy(label.value)});
  }
  series_.push_back(series);
  return static_cast<uint32_t>(series_.size() - 1);
}

void WriteBatch::AddHistogram(uint32_t series, int64_t time_ms, Histogram histogram,
                              int64_t start_ms) {
  histograms_.push_back({time_ms, start_ms, series, std::move(histogram)});
}
void WriteBatch::AddExemplar(uint32_t series, Exemplar exemplar) {
  exemplars_.push_back({series, std::move(exemplar)});
}
void WriteBatch::AddMetadata(std::string_view family, Metadata metadata) {
  metadata_.push_back({std::string(family), std::move(metadata)});
}

void WriteBatch::Clear() {
  series_.clear();
  samples_.clear();
  histograms_.clear();
  exemplars_.clear();
  metadata_.clear();
  label_views_.clear();
  arena_->Clear();
}

std::string_view ToString(RejectReason reason) {
  switch (reason) {
    case RejectReason::kOutOfOrder:
      return "out of order sample";
    case RejectReason::kOutOfBounds:
      return "out of bounds";
    case RejectReason::kTooOld:
      return "too old sample";
    case RejectReason::kDuplicate:
      return "duplicate sample for timestamp";
    case RejectReason::kInvalidLabels:
      return "invalid labels";
    case RejectReason::kInvalidHistogram:
      return "invalid histogram";
    case RejectReason::kSeriesLimit:
      return "series limit reached";
  }
  return "unknown";
}

}  // namespace varve
