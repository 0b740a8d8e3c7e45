#include "engine/metrics/seal.h"

#include <algorithm>
#include <set>
#include <utility>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/metrics/block_writer.h"
#include "engine/metrics/chunk_merge.h"

namespace varve::metrics {
namespace {

/// Gives the runs of one series to a writer, neighbours of one kind as one run, so that chunks of
/// the block do not inherit the seams of their sources.
class RunJoiner {
 public:
  explicit RunJoiner(MetricsBlockWriter* writer) : writer_(writer) {}

  Status Add(SampleRun run) {
    if (run.times.empty()) return absl::OkStatus();
    if (!pending_.times.empty() && pending_.kind != run.kind) VARVE_RETURN_IF_ERROR(Flush());
    if (pending_.times.empty()) {
      pending_ = std::move(run);
      return absl::OkStatus();
    }
    if (!run.starts.empty() || !pending_.starts.empty()) {
      pending_.starts.resize(pending_.size(), kNoStartTime);
      run.starts.resize(run.size(), kNoStartTime);
    }
    const auto join = [](auto& to, auto& from) {
      to.insert(to.end(), std::make_move_iterator(from.begin()),
                std::make_move_iterator(from.end()));
    };
    join(pending_.starts, run.starts);
    join(pending_.times, run.times);
    join(pending_.values, run.values);
    join(pending_.histograms, run.histograms);
    return absl::OkStatus();
  }

  Status Flush() {
    if (pending_.times.empty()) return absl::OkStatus();
    const Status status =
        pending_.kind == ChunkKind::kFloat
            ? writer_->AddFloats(pending_.times, pending_.values, pending_.starts)
            : writer_->AddHistograms(pending_.times, pending_.histograms, pending_.starts);
    pending_ = SampleRun();
    return status;
  }

 private:
  MetricsBlockWriter* writer_;
  SampleRun pending_;
};

}  // namespace

Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    TimeRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target,
                                                    bool with_metadata) {
  std::vector<std::vector<uint32_t>> selected;
  for (const SourcePtr& source : sources) {
    VARVE_ASSIGN_OR_RETURN(std::vector<uint32_t> series, source->Select({}, range));
    selected.push_back(std::move(series));
  }
  const MergedSeries merged = MergedSeries::Merge(sources, selected);

  // Exemplars of all series at once: a head has them in arrival order.
  std::vector<std::vector<Exemplar>> exemplars(merged.size());
  for (uint32_t s = 0; s < sources.size(); ++s) {
    std::vector<uint32_t> entries;
    for (size_t i = 0; i < merged.size(); ++i) {
      for (const MergedSeries::Member& member : merged.members(i)) {
        if (member.source == s) entries.push_back(static_cast<uint32_t>(i));
      }
    }
    std::vector<std::pair<uint32_t, Exemplar>> found;
    VARVE_RETURN_IF_ERROR(sources[s]->GetExemplars(selected[s], range, &found));
    for (auto& [position, exemplar] : found) {
      exemplars[entries[position]].push_back(std::move(exemplar));
    }
  }

  const uint64_t id = target.next_id();
  std::unique_ptr<MetricsBlockWriter> writer;
  std::vector<LabelView> labels;
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < merged.size(); ++i) {
    chunks.clear();
    VARVE_RETURN_IF_ERROR(merged.GetChunks(i, range, &chunks));
    bool begun = false;
    std::unique_ptr<RunJoiner> runs;
    for (const Chunk& chunk : chunks) {
      SampleRun run;
      VARVE_RETURN_IF_ERROR(DecodeChunk(chunk, &run, range));
      if (run.times.empty()) continue;
      if (writer == nullptr) {
        VARVE_ASSIGN_OR_RETURN(writer, MetricsBlockWriter::Create(target.fs, target.dir, id));
      }
      if (!begun) {
        merged.GetLabels(i, &labels);
        VARVE_RETURN_IF_ERROR(writer->BeginSeries(labels));
        runs = std::make_unique<RunJoiner>(writer.get());
        begun = true;
      }
      VARVE_RETURN_IF_ERROR(runs->Add(std::move(run)));
    }
    if (!begun) continue;
    VARVE_RETURN_IF_ERROR(runs->Flush());
    if (!exemplars[i].empty()) {
      std::stable_sort(exemplars[i].begin(), exemplars[i].end(),
                       [](const Exemplar& a, const Exemplar& b) { return a.time_ms < b.time_ms; });
      VARVE_RETURN_IF_ERROR(writer->AddExemplars(exemplars[i]));
    }
  }
  if (writer == nullptr) return std::optional<block::BlockMeta>();
  if (with_metadata) {
    std::map<std::string, std::vector<Metadata>> metadata;
    for (const SourcePtr& source : sources) VARVE_RETURN_IF_ERROR(source->AddMetadata(&metadata));
    for (const auto& [family, list] : metadata) {
      for (const Metadata& one : list) VARVE_RETURN_IF_ERROR(writer->AddMetadata(family, one));
    }
  }
  block::BlockMeta block_meta;
  block_meta.wing = block::Wing::kMetrics;
  block::ApplySealMeta(meta, id, &block_meta);
  VARVE_ASSIGN_OR_RETURN(block_meta, writer->Finish(std::move(block_meta)));
  return std::optional<block::BlockMeta>(std::move(block_meta));
}

Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target) {
  // Which windows hold samples? Chunks inside one window tell without decoding.
  std::set<int64_t> windows;
  VARVE_ASSIGN_OR_RETURN(const std::vector<uint32_t> series, head->Select({}, TimeRange{}));
  std::vector<Chunk> chunks;
  for (const uint32_t one : series) {
    chunks.clear();
    VARVE_RETURN_IF_ERROR(head->GetChunks(one, TimeRange{}, &chunks));
    for (const Chunk& chunk : chunks) {
      const int64_t first = block::WindowOf(chunk.min_time_ms, 0, options);
      const int64_t last = block::WindowOf(chunk.max_time_ms, 0, options);
      windows.insert(first);
      windows.insert(last);
      if (last - first <= 1) continue;
      std::vector<int64_t> times(chunk.count);
      VARVE_RETURN_IF_ERROR(chunk.DecodeTimes(times));
      for (const int64_t time : times) windows.insert(block::WindowOf(time, 0, options));
    }
  }
  std::vector<block::BlockMeta> out;
  const std::vector<block::TimeSpan> spans = block::PlanSeal(windows, options);
  for (size_t i = 0; i < spans.size(); ++i) {
    block::SealMeta own = meta;
    const bool last = i + 1 == spans.size();
    if (!last) {
      own.sources.clear();
      own.wal_floor = 0;
    }
    VARVE_ASSIGN_OR_RETURN(
        auto block, WriteMerged({head}, TimeRange{spans[i].min, spans[i].max}, own, target, last));
    if (block.has_value()) out.push_back(std::move(*block));
  }
  return out;
}

}  // namespace varve::metrics
