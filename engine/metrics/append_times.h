#pragma once

#include <cstdint>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::metrics {

/// Remembers how far back in time appends have reached, so that what was computed from samples
/// before an append can be kept as far as the append did not reach. Thread-safe.
class AppendTimes {
 public:
  /// Notes an append whose oldest sample is at `time_ms`.
  void Note(int64_t time_ms);
  /// How many appends were noted.
  uint64_t count() const;
  /// Returns a time not after the oldest sample of all appends but the first `count`; kMaxTime if
  /// there were no more, kMinTime if that is forgotten. Cost: logarithmic.
  int64_t OldestSince(uint64_t count) const;

 private:
  struct Entry {
    uint64_t number;  // of the append
    int64_t time_ms;
  };
  static constexpr size_t kEntriesMax = 8192;

  mutable absl::Mutex mutex_;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t forgotten_ ABSL_GUARDED_BY(mutex_) = 0;  // number of the last append that was dropped
  // Those that no later one undercuts: numbers and times ascend.
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::metrics
