#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/index/matchers.h"
#include "varve/log_scan.h"

namespace varve {

namespace logs {
class LineTable;
struct Rows;
}  // namespace logs

/// A LogScanSpec ready to run. Immutable and thread-safe.
class LogScan {
 public:
  /// Says what happens where an expression needs too many steps for a line (base/bounded_regex.h):
  /// queries are refused, deletions go on for as long as it takes.
  enum class Effort : uint8_t { kBounded, kUnbounded };
  static Result<std::shared_ptr<const LogScan>> Make(const LogScanSpec& spec,
                                                     Effort effort = Effort::kBounded);
  ~LogScan();

  const LogScanSpec& spec() const { return spec_; }
  /// The same filters and range, returning whole lines and all metadata: what merging needs.
  const LogScan& whole() const { return whole_ == nullptr ? *this : *whole_; }
  bool tests_lines() const { return !filters_.empty(); }
  bool tests_metadata() const { return !metadata_.empty(); }
  const std::vector<index::CompiledMatcher>& metadata() const { return metadata_; }

  enum class KeyKind : uint8_t { kWord, kPair, kId, kMetadata };
  /// A key of a group's filter; see line_keys.h, columns.h.
  struct Key {
    uint64_t hash = 0;
    KeyKind kind = KeyKind::kWord;
  };
  /// One way in which a filter can hold for a line.
  struct Alternative {
    std::vector<Key> keys;  // all of them
    /// Where there are no keys: a piece of some word, which a vocabulary may list. Empty: unknown.
    std::string piece;
  };
  /// What must be found for any row to match: of each element, one alternative.
  const std::vector<std::vector<Alternative>>& needed() const { return needed_; }
  /// Differs between scans of a process.
  uint64_t id() const { return id_; }
  /// Texts of which every matching line has one, for each filter that has such texts: what
  /// LinesMayContain can test.
  const std::vector<std::vector<std::string>>& required() const { return required_; }

  /// Keeps those of the rows in `selected` (ascending) whose lines match. Line i is
  /// text[line_begin[i], line_begin[i + 1]); index::kScanPadding bytes behind the last are
  /// readable. Errors: kInvalidArgument for a line too long for an expression, of InterruptCheck.
  Status KeepMatchingLines(std::string_view text, std::span<const uint32_t> line_begin,
                           std::vector<uint32_t>* selected) const;
  /// The same for encoded lines (LineTable::templated). Renders those that stay into `rows`, if
  /// `render` or if a filter needs them. Errors: also kDataLoss.
  Status KeepMatchingLines(logs::LineTable* table, bool render, logs::Rows* rows,
                           std::vector<uint32_t>* selected) const;
  /// Tests a line against all line filters. One that is too long for an expression sets `fault`.
  bool MatchesLine(std::string_view line, Status* fault) const;
  /// Tests an entry's structured metadata against all of spec().metadata.
  bool MatchesMetadata(LabelsView metadata) const;

 private:
  struct Filter;
  LogScan();
  void FindKeys();

  LogScanSpec spec_;
  std::shared_ptr<const LogScan> whole_;
  std::vector<std::shared_ptr<const Filter>> filters_;
  std::vector<index::CompiledMatcher> metadata_;
  std::vector<std::vector<Alternative>> needed_;
  uint64_t id_ = 0;
  std::vector<std::vector<std::string>> required_;
};

}  // namespace varve
