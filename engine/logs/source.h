#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/index/matchers.h"
#include "engine/index/merged_selection.h"
#include "engine/index/postings.h"
#include "engine/logs/block_reader.h"
#include "engine/logs/head.h"
#include "varve/log_scan.h"

namespace varve::logs {

/// One place that streams live in, frozen for its reader: a head at a sequence, or a block under
/// its tombstones. Streams are named by ordinals of the source. Immutable and thread-safe; views
/// and chunks live as long as the source.
class Source {
 public:
  virtual ~Source() = default;
  /// Finds streams that match and may have entries in `range`, in label order. `scan` may be null.
  virtual std::vector<uint32_t> Select(std::span<const index::CompiledMatcher> matchers,
                                       NsRange range, const LogScan* scan) const = 0;
  virtual void GetLabels(uint32_t stream, std::vector<LabelView>* out) const = 0;
  virtual std::string_view GetLabel(uint32_t stream, std::string_view name) const = 0;
  /// Appends chunks that may hold entries in `range`, in arrival order; each is ascending and
  /// collapsed in itself.
  virtual void GetChunks(uint32_t stream, NsRange range, std::vector<LogChunk>* out) const = 0;
  /// Tells that chunks of a stream follow each other in time and no two hold the same entry.
  virtual bool ordered() const = 0;
  /// The times of all entries; min > max if there are none.
  virtual NsRange range() const = 0;
  /// Add names, or values of `name`, over the streams in `within` (all if null) to `out`.
  virtual void LabelNames(const std::vector<uint32_t>* within, size_t limit,
                          std::vector<std::string>* out) const = 0;
  virtual void LabelValues(std::string_view name, const std::vector<uint32_t>* within, size_t limit,
                           std::vector<std::string>* out) const = 0;
  /// Tells that some streams may have no entries left, so that listings must select first.
  virtual bool has_hidden_streams() const = 0;
  virtual void MetadataNames(const std::vector<uint32_t>& streams, NsRange range,
                             std::vector<std::string>* out) const = 0;
  virtual void AddVolume(uint32_t stream, NsRange range, LogVolume* out) const = 0;
};
using SourcePtr = std::shared_ptr<const Source>;

/// Pins `head` at its current state. Call under the append lock.
SourcePtr MakeHeadSource(std::shared_ptr<const Head> head);

/// Entries that a deletion hides in one block.
struct HiddenRows {
  index::Postings streams;
  std::shared_ptr<const LogScan> scan;  // what of them
};
SourcePtr MakeBlockSource(std::shared_ptr<const LogsBlock> block, std::vector<HiddenRows> hidden);

/// A row group of a block.
struct GroupRef {
  const LogsBlock* block = nullptr;
  uint32_t group = 0;
};
/// Tells which row group it is whose rows, all of them and nothing else, a chunk of a source finds
/// in `range`; nothing if there is none.
std::optional<GroupRef> WholeGroupOf(const LogChunk& chunk, NsRange range);

/// Leaves out the entries of `source` that are older than `cutoff` says for their stream, chunk by
/// chunk: what shares a chunk with newer ones stays.
using CutoffFn = std::function<int64_t(LabelsView labels)>;
SourcePtr MakeTrimmedSource(SourcePtr source, CutoffFn cutoff);

/// The streams of several sources seen as one.
class MergedStreams : public index::MergedSelection<SourcePtr> {
 public:
  using MergedSelection::MergedSelection;
  /// Replaces `out` by the chunks of entry `i` as StreamSet::GetChunks promises.
  void GetChunks(size_t i, NsRange range, std::vector<LogChunk>* out) const;
};

}  // namespace varve::logs
