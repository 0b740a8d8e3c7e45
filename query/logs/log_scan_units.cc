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
      if (!chunk.range().Overlaps(range)) continue;
      out.listed_bytes += chunk.line_bytes;
      out.units.push_back({static_cast<uint32_t>(i), std::move(chunk)});
    }
  }
  VARVE_RETURN_IF_ERROR(context.exec.budget.Take(
      0, out.units.size() * sizeof(ScanUnit) + count * sizeof(std::vector<LabelView>)));
  if (!metadata.empty()) {
    spec.metadata = std::move(metadata);
    VARVE_ASSIGN_OR_RETURN(out.scan, CompileLogScan(spec));
  }
  if (context.analyze) {
    VARVE_ASSIGN_OR_RETURN(const LogVolume stored, context.snapshot->Volume({}, range));
    VARVE_ASSIGN_OR_RETURN(const LogVolume selected, context.snapshot->Volume(matchers, range));
    out.stored_bytes = stored.line_bytes;
    out.selected_bytes = selected.line_bytes;
  }
  context.streams.fetch_add(count, std::memory_order_relaxed);
  context.chunks.fetch_add(out.units.size(), std::memory_order_relaxed);
  return out;
}

void ScanCounts::Add(const LogScanStats& stats, const EntryContext* entry) {
  scan.Add(stats);
  if (entry == nullptr) return;
  stages.resize(std::max(stages.size(), entry->counts.size()));
  for (size_t i = 0; i < entry->counts.size(); ++i) {
    stages[i].in += entry->counts[i].in;
    stages[i].out += entry->counts[i].out;
  }
}

std::vector<LogStageStats> StagesOf(const ScanPlan& plan, const Pipeline& pipeline,
                                    const ScanCounts& counts, uint32_t depth) {
  std::vector<LogStageStats> out;
  const auto add = [&](std::string name, uint32_t at) -> LogStageStats& {
    out.emplace_back();
    out.back().name = std::move(name);
    out.back().depth = at;
    return out.back();
  };
  LogStageStats& scan = add(Concat("scan of ", plan.streams.size(), " streams, ", plan.units.size(),
                                   " chunks, ", counts.scan.groups_read, " row groups"),
                            depth);
  scan.counted = true;
  scan.rows_in = counts.scan.entries;
  scan.rows_out = counts.scan.entries_matched;
  for (std::string& filter : pipeline.StoreFilters()) add(std::move(filter), depth + 1);
  const auto skipped = [&](std::string_view by, uint64_t groups, uint64_t bytes) {
    if (groups == 0 && bytes == 0) return;
    LogStageStats& stage = add(Concat("skipped by ", by), depth + 1);
    stage.groups_skipped = groups;
    stage.bytes_skipped = bytes;
  };
  const auto left = [](uint64_t all, uint64_t part) { return all > part ? all - part : 0; };
  skipped("stream selector", 0, left(plan.stored_bytes, plan.selected_bytes));
  skipped("words of whole blocks", 0, left(plan.selected_bytes, plan.listed_bytes));
  const LogScanStats& stats = counts.scan;
  skipped("time", stats.skipped_time.groups, stats.skipped_time.bytes);
  skipped("word filter", stats.skipped_words.groups, stats.skipped_words.bytes);
  skipped("id filter", stats.skipped_ids.groups, stats.skipped_ids.bytes);
  skipped("metadata filter", stats.skipped_metadata.groups, stats.skipped_metadata.bytes);
  skipped("statistics", stats.skipped_statistics.groups, stats.skipped_statistics.bytes);
  for (size_t i = 0; i < pipeline.stage_names().size(); ++i) {
    LogStageStats& stage = add(pipeline.stage_names()[i], depth);
    stage.counted = true;
    if (i >= counts.stages.size()) continue;
    stage.rows_in = counts.stages[i].in;
    stage.rows_out = counts.stages[i].out;
  }
  for (std::string& note : pipeline.ParserNotes()) {
    add(std::move(note), depth);
  }
  return out;
}

}  // namespace varve::query
