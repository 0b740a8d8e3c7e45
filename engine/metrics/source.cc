#include "engine/metrics/source.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <optional>

#include "engine/base/macros.h"
#include "engine/metrics/chunk_merge.h"
#include "engine/metrics/fingerprint.h"

namespace varve::metrics {
namespace {

void AddStrings(const index::LabelStrings& from, std::vector<std::string>* out) {
  for (const std::string_view value : from.values) out->emplace_back(value);
}

index::Postings ToPostings(const std::vector<uint32_t>& series) {
  return index::Postings::FromUnsorted(series);
}

class HeadSource final : public Source {
 public:
  explicit HeadSource(std::shared_ptr<const Head> head)
      : head_(std::move(head)), pin_(head_->Pin()), range_(head_->range()) {}
  ~HeadSource() override { head_->Unpin(pin_); }

  Result<std::vector<uint32_t>> Select(std::span<const index::CompiledMatcher> matchers,
                                       TimeRange range) const override {
    if (!range.Overlaps(range_)) return std::vector<uint32_t>();
    return head_->Select(matchers, range);
  }
  void GetLabels(uint32_t series, std::vector<LabelView>* out) const override {
    head_->GetLabels(series, out);
  }
  std::string_view GetLabel(uint32_t series, std::string_view name) const override {
    return head_->GetLabel(series, name);
  }
  Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const override {
    return head_->GetChunks(series, pin_, range, out);
  }
  void Prefetch(uint32_t series) const override { head_->Prefetch(series); }
  TimeRange range() const override { return range_; }
  void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                  std::vector<std::string>* out) const override {
    head_->WithIndex([&](const index::MemoryIndex& index) {
      if (within == nullptr) return AddStrings(index.LabelNames(nullptr, limit), out);
      const index::Postings series = ToPostings(*within);
      AddStrings(index.LabelNames(&series, limit), out);
    });
  }
  void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                   std::vector<std::string>* out) const override {
    head_->WithIndex([&](const index::MemoryIndex& index) {
      if (within == nullptr) return AddStrings(index.LabelValues(name, nullptr, limit), out);
      const index::Postings series = ToPostings(*within);
      AddStrings(index.LabelValues(name, &series, limit), out);
    });
  }
  bool has_hidden_series() const override { return head_->has_empty_series(); }
  Status GetExemplars(const std::vector<uint32_t>& series, TimeRange range,
                      std::vector<std::pair<uint32_t, Exemplar>>* out) const override {
    std::map<uint32_t, uint32_t> positions;
    for (uint32_t i = 0; i < series.size(); ++i) positions.emplace(series[i], i);
    for (auto& [ordinal, exemplar] : head_->Exemplars(pin_)) {
      const auto at = positions.find(ordinal);
      if (at == positions.end() || !range.Contains(exemplar.time_ms)) continue;
      out->emplace_back(at->second, std::move(exemplar));
    }
    return absl::OkStatus();
  }
  Status AddMetadata(std::map<std::string, std::vector<Metadata>>* out) const override {
    for (auto& [family, list] : head_->AllMetadata()) {
      std::vector<Metadata>& all = (*out)[family];
      for (Metadata& metadata : list) {
        if (std::find(all.begin(), all.end(), metadata) == all.end()) {
          all.push_back(std::move(metadata));
        }
      }
    }
    return absl::OkStatus();
  }
  Cardinality CardinalityStats(size_t top) const override {
    Cardinality out;
    head_->WithIndex([&](const index::MemoryIndex& index) { out = index.CardinalityStats(top); });
    out.chunks = head_->chunks();
    out.min_time_ms = range_.min_ms;
    out.max_time_ms = range_.max_ms;
    return out;
  }

 private:
  std::shared_ptr<const Head> head_;
  uint64_t pin_;
  TimeRange range_;
};

class BlockSource final : public Source {
 public:
  BlockSource(std::shared_ptr<const MetricsBlock> block, std::vector<HiddenRange> hidden)
      : block_(std::move(block)), hidden_(std::move(hidden)) {}

  Result<std::vector<uint32_t>> Select(std::span<const index::CompiledMatcher> matchers,
                                       TimeRange range) const override {
    std::vector<uint32_t> out;
    if (!range.Overlaps(block_->range())) return out;
    const index::Postings found = block_->labels().Select(matchers);
    out.reserve(found.size());
    Status status;
    found.ForEach([&](uint32_t series) {
      if (!block_->SeriesRange(series).Overlaps(range)) return;
      if (!hidden_.empty() && status.ok()) {
        std::vector<Chunk> chunks;
        if (IsHidden(series)) {
          status = GetChunks(series, range, &chunks);
          if (chunks.empty()) return;
        }
      }
      out.push_back(series);
    });
    VARVE_RETURN_IF_ERROR(status);
    return out;
  }
  void GetLabels(uint32_t series, std::vector<LabelView>* out) const override {
    block_->labels().GetLabels(series, out);
  }
  std::string_view GetLabel(uint32_t series, std::string_view name) const override {
    return block_->labels().GetLabel(series, name);
  }
  Status GetChunks(uint32_t series, TimeRange range, std::vector<Chunk>* out) const override {
    if (!IsHidden(series)) return block_->GetChunks(series, range, out);
    std::vector<TimeRange> ranges;
    for (const HiddenRange& hidden : hidden_) {
      if (hidden.series.Contains(series)) ranges.push_back(hidden.range);
    }
    std::sort(ranges.begin(), ranges.end(),
              [](const TimeRange& a, const TimeRange& b) { return a.min_ms < b.min_ms; });
    std::vector<TimeRange> joined;
    for (const TimeRange& next : ranges) {
      if (!joined.empty() && next.min_ms <= joined.back().max_ms) {
        joined.back().max_ms = std::max(joined.back().max_ms, next.max_ms);
      } else {
        joined.push_back(next);
      }
    }
    std::vector<Chunk> chunks;
    VARVE_RETURN_IF_ERROR(block_->GetChunks(series, range, &chunks));
    VARVE_RETURN_IF_ERROR(CutChunks(joined, &chunks));
    std::move(chunks.begin(), chunks.end(), std::back_inserter(*out));
    return absl::OkStatus();
  }
  TimeRange range() const override { return block_->range(); }
  void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                  std::vector<std::string>* out) const override {
    if (within == nullptr) return AddStrings(block_->labels().LabelNames(nullptr, limit), out);
    const index::Postings series = ToPostings(*within);
    AddStrings(block_->labels().LabelNames(&series, limit), out);
  }
  void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                   std::vector<std::string>* out) const override {
    if (within == nullptr) {
      return AddStrings(block_->labels().LabelValues(name, nullptr, limit), out);
    }
    const index::Postings series = ToPostings(*within);
    AddStrings(block_->labels().LabelValues(name, &series, limit), out);
  }
  bool has_hidden_series() const override { return !hidden_.empty(); }
  Status GetExemplars(const std::vector<uint32_t>& series, TimeRange range,
                      std::vector<std::pair<uint32_t, Exemplar>>* out) const override {
    if (!block_->has_exemplars()) return absl::OkStatus();
    for (uint32_t i = 0; i < series.size(); ++i) {
      std::vector<Exemplar> found;
      VARVE_RETURN_IF_ERROR(block_->GetExemplars(series[i], &found));
      for (Exemplar& exemplar : found) {
        const bool gone = std::any_of(hidden_.begin(), hidden_.end(), [&](const HiddenRange& h) {
          return h.range.Contains(exemplar.time_ms) && h.series.Contains(series[i]);
        });
        if (!gone && range.Contains(exemplar.time_ms)) out->emplace_back(i, std::move(exemplar));
      }
    }
    return absl::OkStatus();
  }
  Status AddMetadata(std::map<std::string, std::vector<Metadata>>* out) const override {
    return block_->AddMetadata(out);
  }
  Cardinality CardinalityStats(size_t top) const override {
    Cardinality out = block_->labels().CardinalityStats(top);
    out.chunks = block_->chunk_count();
    out.min_time_ms = block_->range().min_ms;
    out.max_time_ms = block_->range().max_ms;
    return out;
  }

 private:
  bool IsHidden(uint32_t series) const {
    return std::any_of(hidden_.begin(), hidden_.end(),
                       [series](const HiddenRange& h) { return h.series.Contains(series); });
  }

  std::shared_ptr<const MetricsBlock> block_;
  std::vector<HiddenRange> hidden_;
};

}  // namespace

SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
  return std::make_shared<const HeadSource>(std::move(head));
}

SourcePtr MakeBlockSource(std::shared_ptr<const MetricsBlock> block,
                          std::vector<HiddenRange> hidden) {
  return std::make_shared<const BlockSource>(std::move(block), std::move(hidden));
}

void FindNewest(const MetricsBlock& block, const Source& source, LabelsView labels,
                NewestSample* newest) {
  if (newest->known && block.range().max_ms <= newest->time_ms) return;
  const std::optional<uint32_t> series = block.labels().Find(labels);
  if (!series.has_value()) return;
  const TimeRange newer{newest->known ? newest->time_ms + 1 : kMinTime, kMaxTime};
  std::vector<Chunk> chunks;
  if (!source.GetChunks(*series, newer, &chunks).ok() || chunks.empty()) return;
  const Chunk& last = chunks.back();
  // A deletion may have taken from a chunk what was newer.
  if (!newer.Contains(last.max_time_ms)) return;
  NewestSample found{last.max_time_ms, 0, last.kind, true};
  if (last.kind == ChunkKind::kFloat) {
    std::vector<double> values(last.count);
    if (!last.DecodeValues(values).ok()) return;
    found.value_bits = std::bit_cast<uint64_t>(values.back());
  } else {
    std::vector<Histogram> histograms;
    if (!last.DecodeHistograms(&histograms).ok() || histograms.empty()) return;
    found.value_bits = Fingerprint(histograms.back());
  }
  *newest = found;
}

Status MergedSeries::GetChunks(size_t i, TimeRange range, std::vector<Chunk>* out) const {
  // Readers ask for one series after another.
  constexpr size_t kAhead = 3;
  if (i + kAhead < size()) {
    for (const Member& member : members(i + kAhead)) {
      sources()[member.source]->Prefetch(member.series);
    }
  }
  const std::span<const Member> all = members(i);
  if (all.size() == 1) return sources()[all[0].source]->GetChunks(all[0].series, range, out);
  std::vector<std::vector<Chunk>> chunks;
  for (const Member& member : all) {
    std::vector<Chunk> part;
    VARVE_RETURN_IF_ERROR(sources()[member.source]->GetChunks(member.series, range, &part));
    if (!part.empty()) chunks.push_back(std::move(part));
  }
  return MergeChunks(std::move(chunks), out);
}

}  // namespace varve::metrics
