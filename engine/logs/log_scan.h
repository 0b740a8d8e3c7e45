#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "engine/index/matchers.h"
#include "varve/log_scan.h"

namespace re2 {
class RE2;
}

namespace varve {

/// A LogScanSpec ready to run. Immutable and thread-safe.
class LogScan {
 public:
  static Result<std::shared_ptr<const LogScan>> Make(const LogScanSpec& spec);
  ~LogScan();

  const LogScanSpec& spec() const { return spec_; }
  /// The same filters and range, returning whole lines and all metadata: what merging needs.
  const LogScan& whole() const { return whole_ == nullptr ? *this : *whole_; }
  bool tests_lines() const { return !filters_.empty(); }
  bool tests_metadata() const { return !metadata_.empty(); }
  const std::vector<index::CompiledMatcher>& metadata() const { return metadata_; }

  /// What filters must hold for any row to match: for each element, all keys of one of the
  /// alternatives. See line_codec.h and columns.h for the keys.
  const std::vector<std::vector<std::vector<uint64_t>>>& needed() const { return needed_; }
  /// Texts of which every matching line has one, for each filter that has such texts: what
  /// LinesMayContain can test.
  const std::vector<std::vector<std::string>>& required() const { return required_; }

  /// Keeps those of the rows in `selected` (ascending) whose lines match. Line i is
  /// text[line_begin[i], line_begin[i + 1]); index::kScanPadding bytes behind the last are
  /// readable.
  void KeepMatchingLines(std::string_view text, std::span<const uint32_t> line_begin,
                         std::vector<uint32_t>* selected) const;
  /// Tests a line against all line filters.
  bool MatchesLine(std::string_view line) const;
  /// Tests an entry's structured metadata against all of spec().metadata.
  bool MatchesMetadata(LabelsView metadata) const;

 private:
  struct Filter;
  LogScan();
  void FindKeys();

  LogScanSpec spec_;
  std::shared_ptr<const LogScan> whole_;
  std::vector<Filter> filters_;
  std::vector<index::CompiledMatcher> metadata_;
  std::vector<std::vector<std::vector<uint64_t>>> needed_;
  std::vector<std::vector<std::string>> required_;
};

}  // namespace varve
