#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "engine/index/matchers.h"
#include "engine/traces/block_reader.h"
#include "varve/options.h"

namespace varve::traces {

/// Decides how long traces are kept when rules say so. A trace matches a rule if one of its spans,
/// in whatever block or head, does; a rule's matchers look at the span's own attributes, then its
/// resource's, values printed, at `name`, and at `status` (unset, ok, error). Thread-safe.
///
/// The age of a trace in a block is the age of the block's newest span: traces live up to one
/// block range longer than asked. What a block holds is looked at once; its traces are weighed
/// again only when the next of them comes of age.
class TraceRetention {
 public:
  /// `keep_ms` holds for traces that no rule matches; 0 is for ever. Errors: kInvalidArgument for
  /// a bad matcher.
  static Result<std::unique_ptr<TraceRetention>> Make(const std::vector<RetentionRule>& rules,
                                                      int64_t keep_ms);

  struct Decision {
    uint64_t block = 0;
    bool whole = false;                        // nothing of it stays
    absl::flat_hash_set<std::string> expired;  // ids of traces to leave out, if not whole
  };
  /// Weighs all blocks of the wing. Spans in `heads` have a say about their traces, but only blocks
  /// lose any. Take the heads first: what is sealed meanwhile is then in both, never in neither.
  /// Errors: kDataLoss, kUnavailable.
  Result<std::vector<Decision>> Plan(std::span<const SourcePtr> heads,
                                     std::span<const std::shared_ptr<const TraceBlock>> blocks,
                                     int64_t now_ns);

 private:
  struct Rule {
    std::vector<index::CompiledMatcher> matchers;
    int64_t keep_ms = 0;
  };
  /// By rule: the ids of traces that match.
  using MatchSets = std::vector<absl::flat_hash_set<std::string>>;
  struct BlockFacts {
    MatchSets matches;
    int64_t next_ns = INT64_MIN;  // nothing comes of age before
  };
  TraceRetention() = default;
  Status LookInto(const Source& source, MatchSets* matches) const;
  /// Ages in ns; INT64_MAX is for ever.
  static int64_t AgeOf(int64_t keep_ms);

  std::vector<Rule> rules_;  // the one to follow first comes first
  int64_t keep_ms_ = 0;
  absl::Mutex mutex_;
  std::map<uint64_t, BlockFacts> facts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::traces
