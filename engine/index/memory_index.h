#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/index/label_index.h"
#include "engine/index/matchers.h"
#include "engine/index/postings.h"
#include "varve/labels.h"
#include "varve/scan.h"

namespace varve::index {

/// A label index that grows and shrinks: for a head. The caller finds a series by its key; the
/// index holds labels and answers matchers.
///
/// Life of an ordinal: Add makes it live. Remove takes it out of every selection and listing; its
/// labels can still be read. Recycle, called when nobody reads that ordinal any more, frees its
/// memory and lets Add hand the ordinal out again.
///
/// Life of strings: every distinct string is stored once and stays until the index is destroyed,
/// so views never dangle while the index is held (by shared_ptr). Strings that churn left behind
/// are counted by stats().strings_unused; a head drops them by carrying the live series over
/// with CopyLive and letting the old index go with its last snapshot.
///
/// Threads: not synchronised inside. Writers (Add, Remove, Recycle) exclude each other and
/// every reader, except this: GetLabels and GetLabel may run without a lock beside writers, for
/// an ordinal whose Add happened before (for example: found by a Select under the lock) and
/// which is not recycled meanwhile.
///
/// Ordinals are dense and not in the order of labels. At most 2^32 - 1 series and label pairs;
/// reaching that stops the process.
class MemoryIndex {
 public:
  MemoryIndex();
  ~MemoryIndex();
  MemoryIndex(const MemoryIndex&) = delete;
  MemoryIndex& operator=(const MemoryIndex&) = delete;

  /// Adds a series that is not there yet (the caller knows) and returns its ordinal: a recycled
  /// one, else the number of slots. Precondition: canonical labels. Cost: about 1 us.
  uint32_t Add(LabelsView labels);
  /// Precondition: live.
  void Remove(uint32_t ordinal);
  /// Precondition: removed, not recycled.
  void Recycle(uint32_t ordinal);

  /// The number of live series, and of slots: every ordinal is below the latter.
  uint32_t size() const;
  uint32_t slots() const;
  bool IsLive(uint32_t ordinal) const;

  /// As in LabelIndexView. Precondition: live or removed, not recycled.
  void GetLabels(uint32_t ordinal, std::vector<LabelView>* out) const;
  std::string_view GetLabel(uint32_t ordinal, std::string_view name) const;

  /// As in LabelIndexView, over the live series. Results own their memory.
  Postings Select(std::span<const CompiledMatcher> matchers) const;
  Postings SeriesOf(std::string_view name, std::string_view value) const;
  bool Contains(std::string_view name, std::string_view value) const;
  LabelStrings LabelNames(const Postings* within, size_t limit) const;
  LabelStrings LabelValues(std::string_view name, const Postings* within, size_t limit) const;
  Cardinality CardinalityStats(size_t top) const;

  /// Makes an index of the live series alone, with the same ordinals; slots between them are
  /// free for reuse. Cost: that of adding them. Nothing is shared.
  std::unique_ptr<MemoryIndex> CopyLive() const;

  struct Stats {
    uint64_t series = 0;
    uint64_t label_pairs = 0;     // distinct (name, value) in use
    uint64_t strings = 0;         // distinct strings held
    uint64_t strings_unused = 0;  // of them: no pair uses them any more
    uint64_t string_bytes = 0;    // of all strings held
    uint64_t memory_bytes = 0;    // everything, strings included
  };
  /// Cost: linear in the number of label pairs.
  Stats stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace varve::index
