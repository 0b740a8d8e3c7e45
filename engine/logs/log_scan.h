#pragma once

#include <memory>
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
  /// Tests a line against all line filters.
  bool MatchesLine(std::string_view line) const;
  /// Tests an entry's structured metadata against all of spec().metadata.
  bool MatchesMetadata(LabelsView metadata) const;

 private:
  struct Filter;
  LogScan();

  LogScanSpec spec_;
  std::vector<Filter> filters_;
  std::vector<index::CompiledMatcher> metadata_;
};

}  // namespace varve
