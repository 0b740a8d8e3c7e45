#include "engine/traces/seal.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/macros.h"
#include "engine/traces/block_impl.h"
#include "engine/traces/block_writer.h"
#include "engine/traces/group_copy.h"

namespace varve::traces {
namespace {

/// Groups with fewer rows are not copied but joined.
constexpr uint32_t kCopyRowsMin = kGroupRows / 4;

struct MergePiece {
  TraceId id;
  int64_t start_ns;
  uint32_t source;
  uint64_t token;
};
struct MergeTrace {
  int64_t start_ns;
  size_t begin, end;  // in the pieces, which are sorted by id
};

/// Turns numbers of scopes of sources into those of the block.
class ScopeNumbers {
 public:
  ScopeNumbers(const std::vector<SourcePtr>& sources, TraceBlockWriter* writer)
      : sources_(sources), writer_(writer), numbers_(sources.size()) {}
  uint32_t Of(size_t source, uint32_t scope) {
    std::vector<uint32_t>& numbers = numbers_[source];
    if (scope >= numbers.size()) numbers.resize(scope + 1, UINT32_MAX);
    if (numbers[scope] == UINT32_MAX) {
      const ScopeView view = sources_[source]->GetScope(scope);
      const uint32_t resource = writer_->AddResource(sources_[source]->GetResource(view.resource));
      numbers[scope] = writer_->AddScope(view, resource);
    }
    return numbers[scope];
  }

 private:
  const std::vector<SourcePtr>& sources_;
  TraceBlockWriter* writer_;
  std::vector<std::vector<uint32_t>> numbers_;
};

/// Merges what lies in several sources into one block.
class Merger {
 public:
  Merger(const std::vector<SourcePtr>& sources, NsRange range, const KeepFn& keep,
         const block::SealTarget& target)
      : sources_(sources),
        range_(range),
        keep_(keep),
        target_(target),
        id_(target.next_id()),
        copiers_(sources.size()) {}

  /// Finds out what there is: the columns' values, the traces in order.
  Status Gather();
  /// Writes it all, into a block that is not finished yet: null if there is nothing.
  Status Write();
  TraceBlockWriter* writer() { return writer_.get(); }
  uint64_t id() const { return id_; }

 private:
  /// Says whether the next traces are, one for one, those of a group that may be taken as it is.
  std::optional<uint32_t> WholeGroup(size_t next) const;
  /// Takes it. Returns false if it has to go the long way.
  Result<bool> CopyGroup(uint32_t source, uint32_t group);
  Status Read(const MergeTrace& trace);
  /// Begins the block, once there is something to write.
  Status Begin();

  const std::vector<SourcePtr>& sources_;
  const NsRange range_;
  const KeepFn& keep_;
  const block::SealTarget& target_;
  const uint64_t id_;
  Survey survey_;
  std::vector<MergePiece> pieces_;
  std::vector<MergeTrace> traces_;
  std::unique_ptr<TraceBlockWriter> writer_;
  std::optional<ScopeNumbers> numbers_;
  std::vector<std::unique_ptr<GroupCopier>> copiers_;  // by source

  // The trace at hand.
  SpanBatch spans_;
  std::vector<uint32_t> scopes_;
  std::vector<uint32_t> order_;
  absl::flat_hash_set<std::pair<std::string_view, SpanKind>> seen_;
};

Status Merger::Gather() {
  for (uint32_t s = 0; s < sources_.size(); ++s) {
    VARVE_RETURN_IF_ERROR(sources_[s]->AddSurvey(range_, &survey_));
    VARVE_ASSIGN_OR_RETURN(const std::vector<TracePiece> own, sources_[s]->ListTraces(range_));
    pieces_.reserve(pieces_.size() + own.size());
    for (const TracePiece& piece : own) {
      if (keep_ != nullptr && !keep_(piece.id)) continue;
      pieces_.push_back({piece.id, piece.start_ns, s, piece.token});
    }
  }
  std::sort(pieces_.begin(), pieces_.end(), [](const MergePiece& a, const MergePiece& b) {
    return std::tie(a.id, a.source, a.token) < std::tie(b.id, b.source, b.token);
  });
  for (size_t i = 0; i < pieces_.size();) {
    MergeTrace trace{pieces_[i].start_ns, i, i + 1};
    while (trace.end < pieces_.size() && pieces_[trace.end].id == pieces_[i].id) {
      trace.start_ns = std::min(trace.start_ns, pieces_[trace.end++].start_ns);
    }
    traces_.push_back(trace);
    i = trace.end;
  }
  std::sort(traces_.begin(), traces_.end(), [](const MergeTrace& a, const MergeTrace& b) {
    return std::tie(a.start_ns, a.begin) < std::tie(b.start_ns, b.begin);
  });
  return absl::OkStatus();
}

std::optional<uint32_t> Merger::WholeGroup(size_t next) const {
  const MergePiece& first = pieces_[traces_[next].begin];
  const Block* block = sources_[first.source]->AsBlock();
  if (block == nullptr) return std::nullopt;
  const std::vector<Block::Group>& groups = block->groups();
  const auto at = std::lower_bound(
      groups.begin(), groups.end(), first.token,
      [](const Block::Group& group, uint64_t token) { return group.first_piece < token; });
  if (at == groups.end() || at->first_piece != first.token || at->rows < kCopyRowsMin ||
      traces_.size() - next < at->pieces || !range_.Contains(at->min_start) ||
      !range_.Contains(at->max_start)) {
    return std::nullopt;
  }
  // Rows that wait for their group to be full would become a small one.
  if (writer_ != nullptr && writer_->open_rows() > 0 && writer_->open_rows() < kCopyRowsMin) {
    return std::nullopt;
  }
  for (uint32_t p = 0; p < at->pieces; ++p) {
    const MergeTrace& trace = traces_[next + p];
    const MergePiece& piece = pieces_[trace.begin];
    if (trace.end - trace.begin != 1 || piece.source != first.source ||
        piece.token != first.token + p) {
      return std::nullopt;
    }
  }
  return static_cast<uint32_t>(at - groups.begin());
}

Result<bool> Merger::CopyGroup(uint32_t source, uint32_t group) {
  VARVE_RETURN_IF_ERROR(Begin());
  std::unique_ptr<GroupCopier>& copier = copiers_[source];
  if (copier == nullptr) {
    copier = std::make_unique<GroupCopier>(
        *sources_[source]->AsBlock(), writer_.get(),
        [this, source](uint32_t scope) { return numbers_->Of(source, scope); });
  }
  return copier->Add(group);
}

/// Replaces the spans at hand by those of a trace, in the order of the block.
Status Merger::Read(const MergeTrace& trace) {
  spans_.Clear();
  scopes_.clear();
  order_.clear();
  bool may_repeat = false;
  for (size_t p = trace.begin; p < trace.end; ++p) {
    const MergePiece& piece = pieces_[p];
    const SourcePtr& source = sources_[piece.source];
    may_repeat =
        may_repeat || piece.source != pieces_[trace.begin].source || source->MayRepeatSpans();
    const size_t before = spans_.spans().size();
    VARVE_RETURN_IF_ERROR(source->ReadPiece(piece.token, range_, &spans_));
    if (spans_.spans().size() > before) VARVE_RETURN_IF_ERROR(Begin());
    for (size_t i = before; i < spans_.spans().size(); ++i) {
      scopes_.push_back(numbers_->Of(piece.source, spans_.spans()[i].scope));
    }
  }
  const std::vector<SpanBatch::Span>& rows = spans_.spans();
  // Pieces come in order of precedence, so that the first of a key is the one to keep.
  seen_.clear();
  for (uint32_t i = 0; i < rows.size(); ++i) {
    if (!may_repeat || seen_.insert({BytesOf(rows[i].span_id), rows[i].kind}).second) {
      order_.push_back(i);
    }
  }
  const auto less = [&rows](uint32_t a, uint32_t b) {
    if (rows[a].start_ns != rows[b].start_ns) return rows[a].start_ns < rows[b].start_ns;
    return std::tie(rows[a].span_id, rows[a].kind) < std::tie(rows[b].span_id, rows[b].kind);
  };
  if (!std::is_sorted(order_.begin(), order_.end(), less)) {
    std::sort(order_.begin(), order_.end(), less);
  }
  return absl::OkStatus();
}

Status Merger::Begin() {
  if (writer_ != nullptr) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(writer_, TraceBlockWriter::Create(target_, id_, &survey_));
  numbers_.emplace(sources_, writer_.get());
  return absl::OkStatus();
}

Status Merger::Write() {
  for (size_t next = 0; next < traces_.size();) {
    if (const std::optional<uint32_t> group = WholeGroup(next); group.has_value()) {
      const uint32_t source = pieces_[traces_[next].begin].source;
      VARVE_ASSIGN_OR_RETURN(const bool copied, CopyGroup(source, *group));
      if (copied) {
        next += sources_[source]->AsBlock()->groups()[*group].pieces;
        continue;
      }
    }
    VARVE_RETURN_IF_ERROR(Read(traces_[next++]));
    if (!order_.empty()) VARVE_RETURN_IF_ERROR(writer_->AddTrace(spans_, order_, scopes_));
  }
  return absl::OkStatus();
}

}  // namespace

Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    NsRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target,
                                                    const KeepFn& keep) {
  Merger merger(sources, range, keep, target);
  VARVE_RETURN_IF_ERROR(merger.Gather());
  VARVE_RETURN_IF_ERROR(merger.Write());
  if (merger.writer() == nullptr) return std::optional<block::BlockMeta>();
  block::BlockMeta block_meta;
  block::ApplySealMeta(meta, merger.id(), &block_meta);
  block_meta.wing = block::Wing::kTraces;
  VARVE_ASSIGN_OR_RETURN(block_meta, merger.writer()->Finish(std::move(block_meta)));
  return std::optional<block::BlockMeta>(std::move(block_meta));
}

Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr& head, const block::SealMeta& meta,
                                               const block::PlanOptions& options,
                                               const block::SealTarget& target) {
  std::set<int64_t> windows;
  VARVE_ASSIGN_OR_RETURN(const auto everything, CompiledScan::Make(SpanScanSpec()));
  SpanScanStats stats;
  VARVE_ASSIGN_OR_RETURN(const auto scan, head->StartScan(everything, &stats));
  FoundRows found;
  int64_t known = 0;
  for (size_t u = 0; u < scan->units().size(); ++u) {
    found.Clear();
    VARVE_RETURN_IF_ERROR(scan->Read(u, &found, &stats));
    for (const int64_t start : found.columns.starts_ns) {
      const int64_t window = block::WindowOf(start, 0, options);
      if (windows.empty() || window != known) windows.insert(window);
      known = window;
    }
  }
  std::vector<block::BlockMeta> out;
  const std::vector<block::TimeSpan> ranges = block::PlanSeal(windows, options);
  for (size_t i = 0; i < ranges.size(); ++i) {
    block::SealMeta own = meta;
    if (i + 1 != ranges.size()) {
      own.sources.clear();
      own.wal_floor = 0;
    }
    VARVE_ASSIGN_OR_RETURN(auto block,
                           WriteMerged({head}, NsRange{ranges[i].min, ranges[i].max}, own, target));
    if (block.has_value()) out.push_back(std::move(*block));
  }
  return out;
}

}  // namespace varve::traces
