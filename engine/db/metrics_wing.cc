#include "engine/db/metrics_wing.h"

#include <algorithm>
#include <utility>

#include "engine/db/wing_store_impl.h"
#include "engine/metrics/seal.h"
#include "engine/metrics/tombstone.h"

namespace varve::db {

template class WingStore<MetricsWing>;

Status MetricsWing::Replay(Head* head, uint8_t type, std::string_view payload) {
  switch (static_cast<metrics::WalRecord>(type)) {
    case metrics::WalRecord::kEpoch:
      head->ReplayEpoch();
      return absl::OkStatus();
    case metrics::WalRecord::kBatch:
      return head->ReplayBatch(payload);
  }
  return MakeStatus(StatusCode::kUnimplemented, Concat("metrics WAL record of type ", type));
}

Result<MetricsWing::Deletion> MetricsWing::CompileDeletion(const std::string& payload) {
  VARVE_ASSIGN_OR_RETURN(const metrics::Deletion deletion, metrics::DecodeDeletion(payload));
  VARVE_ASSIGN_OR_RETURN(auto matchers, index::CompileMatchers(deletion.matchers));
  return Deletion{deletion.range, std::move(matchers)};
}

std::optional<MetricsWing::Hidden> MetricsWing::Hide(const Deletion& deletion, const Block& block) {
  if (!deletion.range.Overlaps(block.range())) return std::nullopt;
  index::Postings series = block.labels().Select(deletion.matchers);
  if (series.empty()) return std::nullopt;
  return Hidden{std::move(series), deletion.range};
}

Result<std::vector<block::BlockMeta>> MetricsWing::Seal(const SourcePtr& head,
                                                        const block::SealMeta& meta,
                                                        const block::PlanOptions& plan,
                                                        const block::SealTarget& target) {
  return metrics::SealHead(head, meta, plan, target);
}

Result<std::optional<block::BlockMeta>> MetricsWing::Merge(const std::vector<SourcePtr>& sources,
                                                           const block::SealMeta& meta,
                                                           const block::SealTarget& target) {
  return metrics::WriteMerged(sources, TimeRange{}, meta, target);
}

metrics::HeadOptions MetricsHeadOptions(const Options& options) {
  metrics::HeadOptions out;
  out.limits = options.limits;
  out.out_of_order_window_ms = options.out_of_order_window.count();
  out.block_range_ms = std::max<int64_t>(1, options.block_range.count());
  return out;
}

std::unique_ptr<MetricsStore> MakeMetricsStore(const WingHost& host) {
  const Options& options = *host.options;
  const metrics::HeadOptions head_options = MetricsHeadOptions(options);
  WingSettings settings;
  settings.plan.block_range = head_options.block_range_ms;
  settings.plan.levels = std::max<uint32_t>(1, options.block_levels);
  settings.lateness = head_options.out_of_order_window_ms;
  settings.head_bytes_max = options.head_bytes_max;
  settings.wal_bytes_max = options.wal_bytes_max;
  // Heads ask the store, which does not exist yet, about its blocks, and only while it appends.
  auto store = std::make_shared<const MetricsStore*>(nullptr);
  metrics::SealedSamples sealed;
  sealed.newest_time_ms = [store] { return (*store)->blocks()->newest_time(); };
  sealed.find = [store](LabelsView labels, int64_t since_ms) {
    metrics::NewestSample newest;
    const std::shared_ptr<const MetricsStore::Blocks> blocks = (*store)->blocks();
    // Where samples coincide, those of the first block are read.
    for (const MetricsStore::Blocks::Entry& entry : blocks->entries()) {
      if (entry.block->range().max_ms < since_ms) continue;
      metrics::FindNewest(*entry.block, *entry.source, labels, &newest);
    }
    return newest;
  };
  auto made = std::make_unique<MetricsStore>(
      host, settings,
      [head_options, sealed](int64_t newest_time,
                             const std::shared_ptr<const metrics::Head>& previous) {
        const uint32_t id = previous == nullptr ? 1 : previous->id() + 1;
        return std::make_shared<metrics::Head>(id, head_options, newest_time, sealed, previous);
      });
  *store = made.get();
  return made;
}

namespace {

class BulkLoaderImpl final : public BulkLoader {
 public:
  BulkLoaderImpl(MetricsStore* store, const WingHost& host)
      : store_(store), host_(host), head_options_(MetricsHeadOptions(*host.options)) {
    NewHead();
  }
  ~BulkLoaderImpl() override {
    for (const block::BlockMeta& meta : blocks_) {
      const std::string name = block::BlockFileName(meta.id);
      host_.fs->Remove(io::JoinPath(host_.blocks_dir(), name)).IgnoreError();
    }
  }

  Status AddSamples(LabelsView labels, std::span<const int64_t> times_ms,
                    std::span<const double> values) override {
    VARVE_RETURN_IF_ERROR(Check(labels, times_ms, values.size()));
    head_->LoadSamples(labels, times_ms, values);
    return SpillIfFull();
  }
  Status AddHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                       std::span<const Histogram> histograms) override {
    VARVE_RETURN_IF_ERROR(Check(labels, times_ms, histograms.size()));
    for (const Histogram& histogram : histograms) VARVE_RETURN_IF_ERROR(Validate(histogram));
    head_->LoadHistograms(labels, times_ms, histograms);
    return SpillIfFull();
  }
  Status AddMetadata(std::string_view family, const Metadata& metadata) override {
    if (finished_) return Finished();
    head_->LoadMetadata(family, metadata);
    return absl::OkStatus();
  }
  Status Finish() override {
    if (finished_) return Finished();
    VARVE_RETURN_IF_ERROR(Spill());
    VARVE_RETURN_IF_ERROR(store_->CommitLoaded(blocks_));
    blocks_.clear();
    finished_ = true;
    return absl::OkStatus();
  }

 private:
  static Status Finished() {
    return MakeStatus(StatusCode::kFailedPrecondition, "bulk load is finished");
  }
  Status Check(LabelsView labels, std::span<const int64_t> times_ms, size_t values) const {
    if (finished_) return Finished();
    if (times_ms.size() != values) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("bulk load: ", times_ms.size(), " times, ", values, " values"));
    }
    for (size_t i = 1; i < times_ms.size(); ++i) {
      if (times_ms[i] <= times_ms[i - 1]) {
        return MakeStatus(
            StatusCode::kInvalidArgument,
            Concat("bulk load: times do not ascend at sample ", i, " of ", ToString(labels)));
      }
    }
    return head_->CheckLabels(labels);
  }
  void NewHead() {
    head_ = std::make_shared<metrics::Head>(1, head_options_, kMinTime, metrics::SealedSamples{},
                                            nullptr);
  }
  Status SpillIfFull() {
    return head_->approximate_bytes() > host_.options->head_bytes_max ? Spill() : absl::OkStatus();
  }
  Status Spill() {
    if (head_->samples() == 0) return absl::OkStatus();
    const block::SealTarget target = store_->Target();
    block::SealMeta meta;
    meta.order = target.next_id();
    VARVE_ASSIGN_OR_RETURN(
        std::vector<block::BlockMeta> blocks,
        metrics::SealHead(metrics::MakeHeadSource(head_), meta, store_->settings().plan, target));
    std::move(blocks.begin(), blocks.end(), std::back_inserter(blocks_));
    NewHead();
    return absl::OkStatus();
  }

  MetricsStore* store_;
  const WingHost host_;
  const metrics::HeadOptions head_options_;
  std::shared_ptr<metrics::Head> head_;
  std::vector<block::BlockMeta> blocks_;  // written, not committed
  bool finished_ = false;
};

}  // namespace

std::unique_ptr<BulkLoader> MakeBulkLoader(MetricsStore* store, const WingHost& host) {
  return std::make_unique<BulkLoaderImpl>(store, host);
}

}  // namespace varve::db
