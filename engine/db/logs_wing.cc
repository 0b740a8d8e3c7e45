#include "engine/db/logs_wing.h"

#include <algorithm>
#include <utility>

#include "engine/db/wing_store_impl.h"
#include "engine/logs/log_scan.h"
#include "engine/logs/seal.h"
#include "engine/logs/tombstone.h"

namespace varve::db {

template class WingStore<LogsWing>;

namespace {
/// Larger blocks are not merged any more: rewriting them would cost more than it saves.
constexpr uint64_t kMergeBytesMax = 512ull << 20;
}  // namespace

Status LogsWing::Replay(Head* head, uint8_t type, std::string_view payload) {
  if (type == kBatchRecord) return head->Replay(payload);
  return MakeStatus(StatusCode::kUnimplemented, Concat("logs WAL record of type ", type));
}

Result<LogsWing::Deletion> LogsWing::CompileDeletion(const std::string& payload) {
  VARVE_ASSIGN_OR_RETURN(const logs::Deletion deletion, logs::DecodeDeletion(payload));
  Deletion out;
  VARVE_ASSIGN_OR_RETURN(out.matchers, index::CompileMatchers(deletion.matchers));
  LogScanSpec spec;
  spec.range = deletion.range;
  spec.line_filters = deletion.filters;
  spec.metadata = deletion.metadata;
  VARVE_ASSIGN_OR_RETURN(out.scan, LogScan::Make(spec, LogScan::Effort::kUnbounded));
  return out;
}

std::optional<LogsWing::Hidden> LogsWing::Hide(const Deletion& deletion, const Block& block) {
  if (!deletion.scan->spec().range.Overlaps(block.range())) return std::nullopt;
  index::Postings streams = block.labels().Select(deletion.matchers);
  if (streams.empty()) return std::nullopt;
  return Hidden{std::move(streams), deletion.scan};
}

Result<std::vector<block::BlockMeta>> LogsWing::Seal(const SourcePtr& head,
                                                     const block::SealMeta& meta,
                                                     const block::PlanOptions& plan,
                                                     const block::SealTarget& target) {
  return logs::SealHead(head, meta, plan, target);
}

Result<std::optional<block::BlockMeta>> LogsWing::Merge(const std::vector<SourcePtr>& sources,
                                                        const block::SealMeta& meta,
                                                        const block::SealTarget& target) {
  return logs::WriteMerged(sources, NsRange{}, meta, target);
}

Result<std::unique_ptr<StreamRetention>> StreamRetention::Make(
    const std::vector<RetentionRule>& rules, int64_t otherwise_ms) {
  auto out = std::make_unique<StreamRetention>();
  out->otherwise_ms_ = otherwise_ms;
  for (const RetentionRule& rule : rules) {
    VARVE_ASSIGN_OR_RETURN(auto matchers, index::CompileMatchers(rule.matchers));
    out->rules_.push_back({rule.priority, rule.keep.count(), std::move(matchers)});
  }
  // By priority, then the shorter time; 0 is the longest.
  std::stable_sort(out->rules_.begin(), out->rules_.end(), [](const Rule& a, const Rule& b) {
    const auto length = [](const Rule& rule) {
      return rule.keep_ms == 0 ? INT64_MAX : rule.keep_ms;
    };
    return a.priority != b.priority ? a.priority > b.priority : length(a) < length(b);
  });
  return out;
}

int64_t StreamRetention::Cutoff(LabelsView labels, int64_t now_ns) const {
  int64_t keep_ms = otherwise_ms_;
  for (const Rule& rule : rules_) {
    const bool matches = std::all_of(
        rule.matchers.begin(), rule.matchers.end(),
        [&](const auto& matcher) { return matcher.Matches(FindLabel(labels, matcher.name())); });
    if (!matches) continue;
    keep_ms = rule.keep_ms;
    break;
  }
  int64_t keep = 0;
  int64_t cutoff = 0;
  if (keep_ms == 0 || __builtin_mul_overflow(keep_ms, LogsWing::kTicksPerMs, &keep) ||
      __builtin_sub_overflow(now_ns, keep, &cutoff)) {
    return INT64_MIN;
  }
  return cutoff;
}

StreamRetention::Verdict StreamRetention::Judge(const logs::LogsBlock& block,
                                                int64_t now_ns) const {
  constexpr uint64_t kShare = 4;
  uint64_t all = 0;
  uint64_t expired = 0;
  bool alive = false;
  std::vector<LabelView> labels;
  for (uint32_t stream = 0; stream < block.labels().size(); ++stream) {
    block.labels().GetLabels(stream, &labels);
    const int64_t cutoff = Cutoff(labels, now_ns);
    for (const logs::LogsPart& part : block.parts_of(stream)) {
      // Empty lines count as well.
      const uint64_t bytes = part.line_bytes + part.rows;
      all += bytes;
      if (part.max_time_ns < cutoff) {
        expired += bytes;
      } else {
        alive = true;
      }
    }
  }
  if (!alive) return Verdict::kDrop;
  return expired > 0 && expired >= all / kShare ? Verdict::kRewrite : Verdict::kKeep;
}

std::unique_ptr<LogsStore> MakeLogsStore(const WingHost& host) {
  const Options& options = *host.options;
  WingSettings settings;
  const int64_t range_ms = std::max<int64_t>(1, options.block_range.count());
  if (__builtin_mul_overflow(range_ms, LogsWing::kTicksPerMs, &settings.plan.block_range)) {
    settings.plan.block_range = INT64_MAX;
  }
  settings.plan.levels = std::max<uint32_t>(1, options.block_levels);
  settings.plan.merge_bytes_max = kMergeBytesMax;
  settings.plan.tiered_early_merges = true;
  if (__builtin_mul_overflow(options.out_of_order_window.count(), LogsWing::kTicksPerMs,
                             &settings.lateness)) {
    settings.lateness = INT64_MAX;
  }
  settings.head_bytes_max = options.head_bytes_max;
  settings.wal_bytes_max = options.wal_bytes_max;
  const Limits limits = options.limits;
  return std::make_unique<LogsStore>(
      host, settings,
      [limits](int64_t newest_time, const std::shared_ptr<const logs::Head>& previous) {
        const uint32_t id = previous == nullptr ? 1 : previous->id() + 1;
        return std::make_shared<logs::Head>(id, limits, newest_time);
      });
}

}  // namespace varve::db
