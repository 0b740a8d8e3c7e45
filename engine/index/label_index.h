#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/index/matchers.h"
#include "engine/index/postings.h"
#include "varve/labels.h"
#include "varve/scan.h"
#include "varve/status.h"

namespace varve::index {

/// Limits of one serialised label index; a builder refuses more and a reader calls it corrupt.
/// They bound what hostile bytes can make a reader allocate.
inline constexpr uint32_t kSeriesMax = 1u << 28;
inline constexpr uint32_t kLabelNamesMax = 1u << 20;
inline constexpr uint32_t kLabelsPerSeriesMax = 4096;
inline constexpr uint64_t kLabelIndexBytesMax = uint64_t{1} << 32;  // of memory, opened

/// Sorted, unique strings; the bytes live as long as the index they came from.
struct LabelStrings {
  std::vector<std::string_view> values;
  bool truncated = false;  // more would have matched
};

/// Makes the bytes of a label index. Needs memory for all of it; not thread-safe.
class LabelIndexBuilder {
 public:
  LabelIndexBuilder();
  ~LabelIndexBuilder();
  LabelIndexBuilder(LabelIndexBuilder&&) noexcept;
  LabelIndexBuilder& operator=(LabelIndexBuilder&&) noexcept;

  /// Adds the series with the next ordinal: 0, 1, 2 ... Errors: kInvalidArgument if `labels` are
  /// not canonical or not greater (CompareLabels) than the previous ones; kResourceExhausted past
  /// a limit above. After an error the builder is as before the call.
  Status Add(LabelsView labels);
  uint32_t size() const;
  /// Returns the serialised index, the same bytes for the same series, and empties the builder.
  /// The bytes carry no checksum of their own: the container does. Cost: about 1 us a series.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A label index as a block stores it: immutable, all methods const and thread-safe. Strings that
/// it hands out live as long as it does; it keeps nothing of the bytes it was opened from.
///
/// Memory: the label strings plus about 10-20 bytes a series; postings of a label name are made
/// from that when a query first needs them, and kept (4 bytes a series and label at most).
class LabelIndexView {
 public:
  /// Parses and validates `bytes`, which may be anything. Errors: kDataLoss that carries `file`
  /// and `offset` + the position inside `bytes`. Cost: about 0.2 us a series.
  static Result<std::unique_ptr<LabelIndexView>> Open(std::string_view bytes,
                                                      std::string_view file = "bytes",
                                                      uint64_t offset = 0);
  ~LabelIndexView();
  LabelIndexView(const LabelIndexView&) = delete;
  LabelIndexView& operator=(const LabelIndexView&) = delete;

  /// The number of series; ordinals are below it and follow the order of labels.
  uint32_t size() const;
  /// Replaces `out` by the labels of a series, canonical. Cost: tens of ns. Precondition for this
  /// and the next: ordinal < size().
  void GetLabels(uint32_t ordinal, std::vector<LabelView>* out) const;
  /// Returns the value of one label, or an empty view.
  std::string_view GetLabel(uint32_t ordinal, std::string_view name) const;
  /// Returns the ordinal of the series with exactly these labels. Cost: a binary search.
  std::optional<uint32_t> Find(LabelsView labels) const;

  /// Returns the series for which all matchers hold; all series if there are none. Results of
  /// regular expressions over many values are cached (bounded).
  Postings Select(std::span<const CompiledMatcher> matchers) const;
  /// Returns the series with this label; empty if there are none.
  Postings SeriesOf(std::string_view name, std::string_view value) const;
  bool Contains(std::string_view name, std::string_view value) const;

  /// List the label names of, or the values of one label over, the series in `within` (all if
  /// null); at most `limit` (0: all).
  LabelStrings LabelNames(const Postings* within, size_t limit) const;
  LabelStrings LabelValues(std::string_view name, const Postings* within, size_t limit) const;

  /// Counts the `top` largest of each kind, largest first, then by name (0: all). `chunks` and
  /// the times are left at zero: the index does not know them.
  Cardinality CardinalityStats(size_t top) const;

  /// Bytes of memory in use now: grows as queries make postings.
  size_t memory_bytes() const;

  struct State;  // for the implementation's own files

 private:
  explicit LabelIndexView(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace varve::index
