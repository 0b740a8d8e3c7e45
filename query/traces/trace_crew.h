#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "query/traces/search.h"

namespace varve::query {

/// Loads traces and has something made of each, several at a time where the query has threads;
/// takes what was made in the order that was asked for. What is taken, and what the query counts,
/// never depends on the threads.
class TraceCrew {
 public:
  /// Makes something of a trace and keeps it in a place that is the slot's own. Runs on any thread.
  using Work = std::function<void(size_t slot, const TraceTable& table)>;
  /// Takes it; false ends the run. Runs on the caller's thread; `slot` and `table` are those that
  /// `work` had.
  using Take = std::function<Result<bool>(size_t index, size_t slot, const TraceTable& table)>;

  TraceCrew(const TraceSnapshot& snapshot, const Program& program, QueryContext& context);

  /// Slots are below this.
  size_t slots() const { return slots_; }
  /// Goes through `ids` in order. How many traces are loaded ahead grows from run to run, so that a
  /// query that ends early loads little too much. Returns the first error that was reached.
  Status Run(std::span<const TraceId> ids, const Work& work, const Take& take);

 private:
  const TraceSnapshot& snapshot_;
  const Program& program_;
  QueryContext& context_;
  const size_t slots_;
  size_t ahead_ = 1;
  std::vector<std::unique_ptr<TraceLoader>> loaders_;
};

}  // namespace varve::query
