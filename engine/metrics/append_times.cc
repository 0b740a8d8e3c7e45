#include "engine/metrics/append_times.h"

#include <algorithm>

#include "varve/sample.h"

namespace varve::metrics {

void AppendTimes::Note(int64_t time_ms) {
  // Whole seconds keep the list short: scrapes of many targets fall into one.
  constexpr int64_t kGrain = 1000;
  const int64_t rest = ((time_ms % kGrain) + kGrain) % kGrain;
  const int64_t rounded = time_ms < kMinTime + kGrain ? kMinTime : time_ms - rest;
  absl::MutexLock lock(&mutex_);
  ++count_;
  while (!entries_.empty() && entries_.back().time_ms >= rounded) entries_.pop_back();
  entries_.push_back({count_, rounded});
  if (entries_.size() > kEntriesMax) {
    forgotten_ = entries_.front().number;
    entries_.pop_front();
  }
}

uint64_t AppendTimes::count() const {
  absl::MutexLock lock(&mutex_);
  return count_;
}

int64_t AppendTimes::OldestSince(uint64_t count) const {
  absl::MutexLock lock(&mutex_);
  if (count >= count_) return kMaxTime;
  if (count < forgotten_) return kMinTime;
  // The appends after `count` up to that of the first entry were undercut by it.
  const auto at = std::upper_bound(entries_.begin(), entries_.end(), count,
                                   [](uint64_t n, const Entry& entry) { return n < entry.number; });
  return at->time_ms;
}

}  // namespace varve::metrics
