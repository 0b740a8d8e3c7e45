#include "engine/logs/seal.h"

#include <set>
#include <utility>

#include "engine/base/macros.h"
#include "engine/logs/block_format.h"
#include "engine/logs/block_writer.h"

namespace varve::logs {

namespace {

/// Row groups with less of what one may have are not copied but joined.
constexpr double kCopyShareMin = 0.5;
/// Copying closes the group that is being filled. One with less in it is worth that only where this
/// many groups are copied in a row.
constexpr double kCloseShareMin = 0.25;
constexpr size_t kCopyRunMin = 4;

/// Tells which chunk is a row group that may be copied.
std::optional<GroupRef> CopyableGroup(const LogChunk& chunk, NsRange range) {
  const std::optional<GroupRef> group = WholeGroupOf(chunk, range);
  if (!group.has_value() || GroupShare(chunk.line_bytes, chunk.count) < kCopyShareMin) {
    return std::nullopt;
  }
  return group;
}

/// Tells whether to copy the row group that chunk `at` is.
bool WorthCopying(std::span<const LogChunk> chunks, size_t at, NsRange range, double open_share) {
  if (open_share == 0 || open_share >= kCloseShareMin) return true;
  for (size_t i = at + 1; i < at + kCopyRunMin; ++i) {
    if (i == chunks.size() || !CopyableGroup(chunks[i], range).has_value()) return false;
  }
  return true;
}

}  // namespace

Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    NsRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target) {
  LogScanSpec spec;
  spec.range = range;
  VARVE_ASSIGN_OR_RETURN(const std::shared_ptr<const LogScan> scan, CompileLogScan(spec));
  std::vector<std::vector<uint32_t>> selected;
  for (const SourcePtr& source : sources) selected.push_back(source->Select({}, range, nullptr));
  const MergedStreams streams(sources, selected);

  const uint64_t id = target.next_id();
  std::unique_ptr<LogsBlockWriter> writer;
  std::vector<LabelView> labels;
  std::vector<LogChunk> chunks;
  LogRows rows;
  LogScanStats stats;
  for (size_t i = 0; i < streams.size(); ++i) {
    streams.GetChunks(i, range, &chunks);
    bool begun = false;
    const auto begin = [&]() -> Status {
      if (writer == nullptr) {
        VARVE_ASSIGN_OR_RETURN(writer, LogsBlockWriter::Create(target.fs, target.dir, id));
      }
      if (begun) return absl::OkStatus();
      streams.GetLabels(i, &labels);
      begun = true;
      return writer->BeginStream(labels);
    };
    for (size_t c = 0; c < chunks.size(); ++c) {
      const std::optional<GroupRef> group = CopyableGroup(chunks[c], range);
      if (group.has_value() &&
          WorthCopying(chunks, c, range, writer == nullptr ? 0 : writer->open_share())) {
        VARVE_RETURN_IF_ERROR(begin());
        VARVE_RETURN_IF_ERROR(writer->AddGroup(*group->block, group->group));
        continue;
      }
      VARVE_RETURN_IF_ERROR(chunks[c].Read(*scan, &rows, &stats));
      if (rows.size() == 0) continue;
      VARVE_RETURN_IF_ERROR(begin());
      VARVE_RETURN_IF_ERROR(writer->Add(rows));
    }
  }
  if (writer == nullptr) return std::optional<block::BlockMeta>();
  block::BlockMeta block_meta;
  block_meta.wing = block::Wing::kLogs;
  block::ApplySealMeta(meta, id, &block_meta);
  VARVE_ASSIGN_OR_RETURN(block_meta, writer->Finish(std::move(block_meta)));
  return std::optional<block::BlockMeta>(std::move(block_meta));
}

Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target) {
  // Which windows hold entries? Chunks inside one window tell without being read.
  LogScanSpec spec;
  spec.lines = LogScanSpec::Lines::kNone;
  spec.with_metadata = false;
  VARVE_ASSIGN_OR_RETURN(const std::shared_ptr<const LogScan> scan, CompileLogScan(spec));
  std::set<int64_t> windows;
  std::vector<LogChunk> chunks;
  LogRows rows;
  LogScanStats stats;
  for (const uint32_t stream : head->Select({}, NsRange{}, nullptr)) {
    chunks.clear();
    head->GetChunks(stream, NsRange{}, &chunks);
    for (const LogChunk& chunk : chunks) {
      const int64_t first = block::WindowOf(chunk.min_time_ns, 0, options);
      const int64_t last = block::WindowOf(chunk.max_time_ns, 0, options);
      windows.insert(first);
      windows.insert(last);
      if (last - first <= 1) continue;
      VARVE_RETURN_IF_ERROR(chunk.Read(*scan, &rows, &stats));
      for (const int64_t time : rows.times_ns) windows.insert(block::WindowOf(time, 0, options));
    }
  }
  std::vector<block::BlockMeta> out;
  const std::vector<block::TimeSpan> spans = block::PlanSeal(windows, options);
  for (size_t i = 0; i < spans.size(); ++i) {
    block::SealMeta own = meta;
    if (i + 1 < spans.size()) {
      own.sources.clear();
      own.wal_floor = 0;
    }
    VARVE_ASSIGN_OR_RETURN(auto block,
                           WriteMerged({head}, NsRange{spans[i].min, spans[i].max}, own, target));
    if (block.has_value()) out.push_back(std::move(*block));
  }
  return out;
}

}  // namespace varve::logs
