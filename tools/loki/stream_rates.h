#pragma once

#include <chrono>
#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace varve::loki {

/// The budgets of per_stream_rate_limit: each stream fills up by `rate` bytes a second to at most
/// `burst`. Memory: one entry for each stream that has not filled up again. Thread-safe.
class StreamRates {
 public:
  StreamRates(uint64_t rate, uint64_t burst) : rate_(rate), burst_(burst) {}

  uint64_t rate() const { return rate_; }
  /// Takes `bytes` from the budget of a stream, named by a hash of its labels; false: over it,
  /// nothing taken. `now` is monotonic.
  bool Take(uint64_t stream, uint64_t bytes, std::chrono::nanoseconds now);

 private:
  struct Budget {
    double bytes;
    std::chrono::nanoseconds at;
  };
  double Filled(const Budget& budget, std::chrono::nanoseconds now) const;

  const uint64_t rate_;
  const uint64_t burst_;
  absl::Mutex mutex_;
  absl::flat_hash_map<uint64_t, Budget> budgets_ ABSL_GUARDED_BY(mutex_);
  size_t sweep_at_ ABSL_GUARDED_BY(mutex_) = 1024;  // budgets
};

}  // namespace varve::loki
