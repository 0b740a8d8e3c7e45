#include <algorithm>
#include <limits>

#include "tools/otlp/metrics.h"

namespace varve::otlp {
namespace {

constexpr size_t kBucketsMax = 1024;

// Where a bucket lands after `steps` halvings of the resolution: floor(index / 2^steps), since
// OTLP's buckets are (base^index, base^(index+1)].
int32_t Downscaled(int64_t index, uint32_t steps) {
  return static_cast<int32_t>(index >> std::min(steps, 63u));
}

void DownscaleBuckets(uint32_t steps, ExponentialBuckets* buckets) {
  if (steps == 0) return;
  if (buckets->counts.empty()) {
    buckets->offset = 0;
    return;
  }
  const int64_t first = buckets->offset;
  const int32_t offset = Downscaled(first, steps);
  size_t size = 0;
  for (size_t i = 0; i < buckets->counts.size(); ++i) {
    const auto at =
        static_cast<size_t>(Downscaled(first + static_cast<int64_t>(i), steps) - offset);
    const uint64_t count = buckets->counts[i];
    if (at >= size) {
      buckets->counts[at] = count;  // never ahead of i
      size = at + 1;
    } else {
      buckets->counts[at] += count;
    }
  }
  buckets->offset = offset;
  buckets->counts.resize(size);
}

int64_t EndOf(const ExponentialBuckets& buckets) {
  return static_cast<int64_t>(buckets.offset) + static_cast<int64_t>(buckets.counts.size());
}

// How many halvings bring the union of both within the bound.
uint32_t StepsToFit(const ExponentialBuckets& a, const ExponentialBuckets& b) {
  if (a.counts.empty() || b.counts.empty()) return 0;
  int64_t first = std::min(a.offset, b.offset);
  int64_t last = std::max(EndOf(a), EndOf(b)) - 1;
  uint32_t steps = 0;
  while (last - first + 1 > static_cast<int64_t>(kBucketsMax)) {
    first >>= 1;
    last >>= 1;
    ++steps;
  }
  return steps;
}

void AddBuckets(const ExponentialBuckets& from, ExponentialBuckets* to) {
  if (from.counts.empty()) return;
  if (to->counts.empty()) {
    *to = from;
    return;
  }
  const int32_t first = std::min(from.offset, to->offset);
  const int64_t end = std::max(EndOf(from), EndOf(*to));
  to->counts.insert(to->counts.begin(), static_cast<size_t>(to->offset - first), 0);
  to->counts.resize(static_cast<size_t>(end - first), 0);
  to->offset = first;
  for (size_t i = 0; i < from.counts.size(); ++i) {
    to->counts[static_cast<size_t>(from.offset - first) + i] += from.counts[i];
  }
}

}  // namespace

void ExponentialPoint::Downscale(uint32_t steps) {
  scale -= static_cast<int32_t>(steps);
  DownscaleBuckets(steps, &positive);
  DownscaleBuckets(steps, &negative);
}

void ExponentialPoint::Add(const ExponentialPoint& other) {
  ExponentialPoint added = other;
  if (added.scale > scale) added.Downscale(static_cast<uint32_t>(added.scale - scale));
  if (scale > added.scale) Downscale(static_cast<uint32_t>(scale - added.scale));
  const uint32_t steps =
      std::max(StepsToFit(positive, added.positive), StepsToFit(negative, added.negative));
  if (steps > 0) {
    Downscale(steps);
    added.Downscale(steps);
  }
  AddBuckets(added.positive, &positive);
  AddBuckets(added.negative, &negative);
  count += added.count;
  zero_count += added.zero_count;
  zero_threshold = std::max(zero_threshold, added.zero_threshold);
  sum += added.sum;
}

DeltaStreams::Stream DeltaStreams::Stream::Clone() const {
  Stream copy;
  copy.start_ms = start_ms;
  copy.last_ms = last_ms;
  copy.value = value;
  copy.count = count;
  copy.bounds = bounds;
  copy.counts = counts;
  if (exponential != nullptr) copy.exponential = std::make_unique<ExponentialPoint>(*exponential);
  return copy;
}

DeltaStreams::Stream* DeltaStreams::Transaction::Change(const SeriesKey& key, int64_t time_ms) {
  if (!lock_.owns_lock()) lock_ = std::unique_lock<std::mutex>(streams_.mutex_);
  std::unique_ptr<Stream>& changed = changed_[key];
  if (changed != nullptr) return changed.get();
  const auto found = streams_.streams_.find(key);
  if (found != streams_.streams_.end()) {
    changed = std::make_unique<Stream>(found->second.Clone());
    return changed.get();
  }
  const auto full = [&] {
    return streams_.streams_.size() + changed_.size() > streams_.streams_max_;
  };
  if (full()) streams_.Forget(time_ms);
  if (full()) {
    changed_.erase(key);
    return nullptr;
  }
  changed = std::make_unique<Stream>();
  return changed.get();
}

void DeltaStreams::Transaction::Commit() {
  for (auto& [key, stream] : changed_) streams_.streams_[key] = std::move(*stream);
  changed_.clear();
  if (lock_.owns_lock()) lock_.unlock();
}

size_t DeltaStreams::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return streams_.size();
}

void DeltaStreams::Forget(int64_t now_ms) {
  for (auto at = streams_.begin(); at != streams_.end();) {
    if (at->second.last_ms < now_ms - kRestMs) {
      streams_.erase(at++);
    } else {
      ++at;
    }
  }
}

}  // namespace varve::otlp
