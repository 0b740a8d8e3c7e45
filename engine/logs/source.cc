#include "engine/logs/source.h"

#include <algorithm>
#include <utility>

#include "engine/base/macros.h"
#include "engine/logs/chunk_merge.h"

namespace varve::logs {
namespace {

void AddStrings(const index::LabelStrings& from, std::vector<std::string>* out) {
  for (const std::string_view value : from.values) out->emplace_back(value);
}
index::Postings ToPostings(const std::vector<uint32_t>& streams) {
  return index::Postings::FromUnsorted(streams);
}

class HeadSource final : public Source {
 public:
  explicit HeadSource(std::shared_ptr<const Head> head)
      : head_(std::move(head)), pin_(head_->Pin()), range_(head_->range()) {}

  std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers, NsRange range,
                               const LogScan*) const override {
    if (!range.Overlaps(range_)) return {};
    return head_->Select(matchers, pin_, range);
  }
  void GetLabels(uint32_t stream, std::vector<LabelView>* out) const override {
    head_->GetLabels(stream, out);
  }
  std::string_view GetLabel(uint32_t stream, std::string_view name) const override {
    return head_->GetLabel(stream, name);
  }
  void GetChunks(uint32_t stream, NsRange range, std::vector<LogChunk>* out) const override {
    head_->GetChunks(stream, pin_, range, out);
  }
  bool ordered() const override { return false; }
  NsRange range() const override { return range_; }
  void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                  std::vector<std::string>* out) const override {
    head_->WithIndex([&](const index::MemoryIndex& index) {
      if (within == nullptr) return AddStrings(index.LabelNames(nullptr, limit), out);
      const index::Postings streams = ToPostings(*within);
      AddStrings(index.LabelNames(&streams, limit), out);
    });
  }
  void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                   std::vector<std::string>* out) const override {
    head_->WithIndex([&](const index::MemoryIndex& index) {
      if (within == nullptr) return AddStrings(index.LabelValues(name, nullptr, limit), out);
      const index::Postings streams = ToPostings(*within);
      AddStrings(index.LabelValues(name, &streams, limit), out);
    });
  }
  // Streams may have come after the pin.
  bool has_hidden_streams() const override { return true; }
  void MetadataNames(const std::vector<uint32_t>&, NsRange,
                     std::vector<std::string>* out) const override {
    for (std::string& name : head_->MetadataNames()) out->push_back(std::move(name));
  }
  void AddVolume(uint32_t stream, NsRange range, LogVolume* out) const override {
    head_->AddVolume(stream, pin_, range, out);
  }

 private:
  std::shared_ptr<const Head> head_;
  uint64_t pin_;
  NsRange range_;
};

/// The chunks of a block as its tombstones leave them.
struct BlockChunk final : LogChunk::Impl {
  std::shared_ptr<const LogsBlock> block;
  std::vector<std::shared_ptr<const LogScan>> hidden;  // rows that any of these finds are gone

  Status Read(uint32_t part, const LogScan& scan, LogRows* out,
              LogScanStats* stats) const override {
    return block->ReadPart(part, scan, hidden, out, stats);
  }
};

class BlockSource final : public Source {
 public:
  BlockSource(std::shared_ptr<const LogsBlock> block, std::vector<HiddenRows> hidden)
      : block_(std::move(block)), hidden_(std::move(hidden)) {
    auto plain = std::make_shared<BlockChunk>();
    plain->block = block_;
    plain_ = std::move(plain);
  }

  std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers, NsRange range,
                               const LogScan* scan) const override {
    std::vector<uint32_t> out;
    if (!range.Overlaps(block_->range())) return out;
    if (scan != nullptr && !block_->MayContain(*scan)) return out;
    std::vector<LogChunk> chunks;
    block_->labels().Select(matchers).ForEach([&](uint32_t stream) {
      if (!block_->StreamRange(stream).Overlaps(range)) return;
      if (!HiddenOf(stream).empty()) {
        chunks.clear();
        GetChunks(stream, range, &chunks);
        if (chunks.empty()) return;
      }
      out.push_back(stream);
    });
    return out;
  }
  void GetLabels(uint32_t stream, std::vector<LabelView>* out) const override {
    block_->labels().GetLabels(stream, out);
  }
  std::string_view GetLabel(uint32_t stream, std::string_view name) const override {
    return block_->labels().GetLabel(stream, name);
  }
  void GetChunks(uint32_t stream, NsRange range, std::vector<LogChunk>* out) const override {
    std::vector<std::shared_ptr<const LogScan>> hidden = HiddenOf(stream);
    std::shared_ptr<const LogChunk::Impl> impl = plain_;
    if (!hidden.empty()) {
      auto own = std::make_shared<BlockChunk>();
      own->block = block_;
      own->hidden = hidden;
      impl = std::move(own);
    }
    const std::span<const LogsPart> parts = block_->parts_of(stream);
    for (const LogsPart& part : parts) {
      const NsRange times{part.min_time_ns, part.max_time_ns};
      if (!times.Overlaps(range)) continue;
      const bool gone = std::any_of(hidden.begin(), hidden.end(), [&](const auto& scan) {
        return !scan->tests_lines() && !scan->tests_metadata() &&
               scan->spec().range.Contains(times.min_ns) &&
               scan->spec().range.Contains(times.max_ns);
      });
      if (gone) continue;
      out->push_back(
          {part.rows, times.min_ns, times.max_ns, part.line_bytes, impl, block_->index_of(part)});
    }
  }
  bool ordered() const override { return true; }
  NsRange range() const override { return block_->range(); }
  void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                  std::vector<std::string>* out) const override {
    if (within == nullptr) return AddStrings(block_->labels().LabelNames(nullptr, limit), out);
    const index::Postings streams = ToPostings(*within);
    AddStrings(block_->labels().LabelNames(&streams, limit), out);
  }
  void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                   std::vector<std::string>* out) const override {
    if (within == nullptr) {
      return AddStrings(block_->labels().LabelValues(name, nullptr, limit), out);
    }
    const index::Postings streams = ToPostings(*within);
    AddStrings(block_->labels().LabelValues(name, &streams, limit), out);
  }
  bool has_hidden_streams() const override { return !hidden_.empty(); }
  void MetadataNames(const std::vector<uint32_t>& streams, NsRange range,
                     std::vector<std::string>* out) const override {
    block_->MetadataNames(streams, range, out);
  }
  void AddVolume(uint32_t stream, NsRange range, LogVolume* out) const override {
    std::vector<LogChunk> chunks;
    GetChunks(stream, range, &chunks);
    out->chunks += chunks.size();
    for (const LogChunk& chunk : chunks) {
      out->entries += chunk.count;
      out->line_bytes += chunk.line_bytes;
    }
  }

 private:
  std::vector<std::shared_ptr<const LogScan>> HiddenOf(uint32_t stream) const {
    std::vector<std::shared_ptr<const LogScan>> out;
    for (const HiddenRows& hidden : hidden_) {
      if (hidden.streams.Contains(stream)) out.push_back(hidden.scan);
    }
    return out;
  }

  std::shared_ptr<const LogsBlock> block_;
  std::vector<HiddenRows> hidden_;
  std::shared_ptr<const LogChunk::Impl> plain_;
};

class TrimmedSource final : public Source {
 public:
  TrimmedSource(SourcePtr source, CutoffFn cutoff)
      : source_(std::move(source)), cutoff_(std::move(cutoff)) {}

  std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers, NsRange range,
                               const LogScan* scan) const override {
    std::vector<uint32_t> out = source_->Select(matchers, range, scan);
    std::vector<LogChunk> chunks;
    std::erase_if(out, [&](uint32_t stream) {
      chunks.clear();
      GetChunks(stream, range, &chunks);
      return chunks.empty();
    });
    return out;
  }
  void GetLabels(uint32_t stream, std::vector<LabelView>* out) const override {
    source_->GetLabels(stream, out);
  }
  std::string_view GetLabel(uint32_t stream, std::string_view name) const override {
    return source_->GetLabel(stream, name);
  }
  void GetChunks(uint32_t stream, NsRange range, std::vector<LogChunk>* out) const override {
    std::vector<LabelView> labels;
    source_->GetLabels(stream, &labels);
    range.min_ns = std::max(range.min_ns, cutoff_(labels));
    if (!range.empty()) source_->GetChunks(stream, range, out);
  }
  bool ordered() const override { return source_->ordered(); }
  NsRange range() const override { return source_->range(); }
  void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                  std::vector<std::string>* out) const override {
    source_->LabelNames(within, limit, out);
  }
  void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                   std::vector<std::string>* out) const override {
    source_->LabelValues(name, within, limit, out);
  }
  bool has_hidden_streams() const override { return true; }
  void MetadataNames(const std::vector<uint32_t>& streams, NsRange range,
                     std::vector<std::string>* out) const override {
    source_->MetadataNames(streams, range, out);
  }
  void AddVolume(uint32_t stream, NsRange range, LogVolume* out) const override {
    source_->AddVolume(stream, range, out);
  }

 private:
  SourcePtr source_;
  CutoffFn cutoff_;
};

}  // namespace

std::optional<GroupRef> WholeGroupOf(const LogChunk& chunk, NsRange range) {
  const auto* const own = dynamic_cast<const BlockChunk*>(chunk.impl.get());
  if (own == nullptr || !own->hidden.empty()) return std::nullopt;
  const BlockDirectory& directory = own->block->directory();
  const LogsPart& part = directory.parts[chunk.token];
  if (part.rows != directory.groups[part.group].rows || !range.Contains(part.min_time_ns) ||
      !range.Contains(part.max_time_ns)) {
    return std::nullopt;
  }
  return GroupRef{own->block.get(), part.group};
}

SourcePtr MakeTrimmedSource(SourcePtr source, CutoffFn cutoff) {
  return std::make_shared<const TrimmedSource>(std::move(source), std::move(cutoff));
}

SourcePtr MakeHeadSource(std::shared_ptr<const Head> head) {
  return std::make_shared<const HeadSource>(std::move(head));
}

SourcePtr MakeBlockSource(std::shared_ptr<const LogsBlock> block, std::vector<HiddenRows> hidden) {
  return std::make_shared<const BlockSource>(std::move(block), std::move(hidden));
}

void MergedStreams::GetChunks(size_t i, NsRange range, std::vector<LogChunk>* out) const {
  out->clear();
  const std::span<const Member> all = members(i);
  if (all.size() == 1 && sources()[all[0].source]->ordered()) {
    sources()[all[0].source]->GetChunks(all[0].series, range, out);
    return;
  }
  std::vector<MergePiece> pieces;
  std::vector<LogChunk> chunks;
  for (const Member& member : all) {
    chunks.clear();
    const Source& source = *sources()[member.source];
    source.GetChunks(member.series, range, &chunks);
    for (LogChunk& chunk : chunks) {
      pieces.push_back({std::move(chunk), member.source, source.ordered()});
    }
  }
  MergeChunks(std::move(pieces), out);
}

}  // namespace varve::logs
