#include "engine/traces/seal.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "engine/base/macros.h"
#include "engine/traces/block_writer.h"

namespace varve::traces {
namespace {

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

}  // namespace

Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>& sources,
                                                    NsRange range, const block::SealMeta& meta,
                                                    const block::SealTarget& target,
                                                    const KeepFn& keep) {
  Survey survey;
  std::vector<MergePiece> pieces;
  for (uint32_t s = 0; s < sources.size(); ++s) {
    VARVE_RETURN_IF_ERROR(sources[s]->AddSurvey(range, &survey));
    VARVE_ASSIGN_OR_RETURN(const std::vector<TracePiece> own, sources[s]->ListTraces(range));
    pieces.reserve(pieces.size() + own.size());
    for (const TracePiece& piece : own) {
      if (keep != nullptr && !keep(piece.id)) continue;
      pieces.push_back({piece.id, piece.start_ns, s, piece.token});
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](const MergePiece& a, const MergePiece& b) {
    return std::tie(a.id, a.source, a.token) < std::tie(b.id, b.source, b.token);
  });
  std::vector<MergeTrace> traces;
  for (size_t i = 0; i < pieces.size();) {
    MergeTrace trace{pieces[i].start_ns, i, i + 1};
    while (trace.end < pieces.size() && pieces[trace.end].id == pieces[i].id) {
      trace.start_ns = std::min(trace.start_ns, pieces[trace.end++].start_ns);
    }
    traces.push_back(trace);
    i = trace.end;
  }
  std::sort(traces.begin(), traces.end(), [](const MergeTrace& a, const MergeTrace& b) {
    return std::tie(a.start_ns, a.begin) < std::tie(b.start_ns, b.begin);
  });

  std::unique_ptr<TraceBlockWriter> writer;
  std::optional<ScopeNumbers> numbers;
  const uint64_t id = target.next_id();
  SpanBatch spans;
  std::vector<uint32_t> scopes;
  std::vector<uint32_t> order;
  absl::flat_hash_set<std::pair<std::string_view, SpanKind>> seen;
  for (const MergeTrace& trace : traces) {
    spans.Clear();
    scopes.clear();
    order.clear();
    for (size_t p = trace.begin; p < trace.end; ++p) {
      const MergePiece& piece = pieces[p];
      const size_t before = spans.spans().size();
      VARVE_RETURN_IF_ERROR(sources[piece.source]->ReadPiece(piece.token, range, &spans));
      if (spans.spans().size() > before && writer == nullptr) {
        VARVE_ASSIGN_OR_RETURN(writer, TraceBlockWriter::Create(target, id, &survey));
        numbers.emplace(sources, writer.get());
      }
      for (size_t i = before; i < spans.spans().size(); ++i) {
        scopes.push_back(numbers->Of(piece.source, spans.spans()[i].scope));
      }
    }
    const std::vector<SpanBatch::Span>& rows = spans.spans();
    if (rows.empty()) continue;
    // Pieces come in order of precedence, so that the first of a key is the one to keep.
    seen.clear();
    const bool alone = trace.end - trace.begin == 1 && rows.size() == 1;
    for (uint32_t i = 0; i < rows.size(); ++i) {
      if (alone || seen.insert({BytesOf(rows[i].span_id), rows[i].kind}).second) order.push_back(i);
    }
    std::sort(order.begin(), order.end(), [&rows](uint32_t a, uint32_t b) {
      return std::tie(rows[a].start_ns, rows[a].span_id, rows[a].kind) <
             std::tie(rows[b].start_ns, rows[b].span_id, rows[b].kind);
    });
    VARVE_RETURN_IF_ERROR(writer->AddTrace(spans, order, scopes));
  }
  if (writer == nullptr) return std::optional<block::BlockMeta>();
  block::BlockMeta block_meta;
  block::ApplySealMeta(meta, id, &block_meta);
  block_meta.id = id;
  block_meta.wing = block::Wing::kTraces;
  VARVE_ASSIGN_OR_RETURN(block_meta, writer->Finish(std::move(block_meta)));
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
