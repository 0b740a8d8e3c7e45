#include "query/logs/log_scan_units.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::query {

Status LogContext::AddScan(const LogScanStats& stats) {
  {
    absl::MutexLock lock(&mutex_);
    stats_.Add(stats);
  }
  const uint64_t read =
      bytes_read.fetch_add(stats.line_bytes, std::memory_order_relaxed) + stats.line_bytes;
  if (bytes_read_max != 0 && read > bytes_read_max) {
    return MakeStatus(
        StatusCode::kResourceExhausted,
        Concat("the query would read too many bytes (query: ", read, ", limit: ", bytes_read_max,
               "); consider adding more specific stream selectors or reduce the time range of "
               "the query"));
  }
  return absl::OkStatus();
}

Result<ScanPlan> PlanScan(LogContext& context, std::span<const Matcher> matchers,
                          const Pipeline& pipeline, NsRange range, LogScanSpec::Lines unread) {
  ScanPlan out;
  if (range.empty()) return out;
  LogScanSpec spec;
  spec.range = range;
  spec.line_filters = pipeline.line_filters();
  spec.lines = pipeline.reads_line() ? LogScanSpec::Lines::kBytes : unread;
  const ParserHints& hints = pipeline.hints();
  if (!hints.required.empty()) {
    spec.metadata_names = hints.required;
    for (const std::string_view name : {kErrorLabel, kErrorDetailsLabel}) {
      spec.metadata_names.emplace_back(name);
    }
    std::sort(spec.metadata_names.begin(), spec.metadata_names.end());
  } else if (hints.no_labels) {
    // Only an error that somebody stored as metadata could show.
    spec.metadata_names = {std::string(kErrorLabel), std::string(kErrorDetailsLabel)};
  }
  VARVE_ASSIGN_OR_RETURN(out.scan, CompileLogScan(spec));
  VARVE_RETURN_IF_ERROR(context.exec.Poll());
  VARVE_ASSIGN_OR_RETURN(out.set, context.snapshot->Select(matchers, range, out.scan.get()));

  const size_t count = out.set->size();
  out.streams.resize(count);
  std::vector<Matcher> metadata = pipeline.early_matchers();
  std::vector<LogChunk> chunks;
  for (size_t i = 0; i < count; ++i) {
    if (i % 256 == 0) VARVE_RETURN_IF_ERROR(context.exec.Poll());
    out.set->GetLabels(i, &out.streams[i]);
    if (!metadata.empty()) {
      // Where a stream has the label, the test is about that.
      std::erase_if(metadata, [&](const Matcher& matcher) {
        return std::any_of(out.streams[i].begin(), out.streams[i].end(),
                           [&](const LabelView& label) { return label.name == matcher.name; });
      });
    }
    VARVE_RETURN_IF_ERROR(out.set->GetChunks(i, range, &chunks));
    for (LogChunk& chunk : chunks) {
      if (chunk.range().Overlaps(range))
        out.units.push_back({static_cast<uint32_t>(i), std::move(chunk)});
    }
  }
  VARVE_RETURN_IF_ERROR(context.exec.budget.Take(
      0, out.units.size() * sizeof(ScanUnit) + count * sizeof(std::vector<LabelView>)));
  if (!metadata.empty()) {
    spec.metadata = std::move(metadata);
    VARVE_ASSIGN_OR_RETURN(out.scan, CompileLogScan(spec));
  }
  context.streams.fetch_add(count, std::memory_order_relaxed);
  context.chunks.fetch_add(out.units.size(), std::memory_order_relaxed);
  return out;
}

}  // namespace varve::query
