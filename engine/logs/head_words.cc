#include "engine/logs/head_words.h"

#include <algorithm>

namespace varve::logs {

HeadWords::HeadWords() { bytes_ = vocabulary_.memory(); }

uint64_t HeadWords::Add(std::string_view words) {
  absl::MutexLock lock(&mutex_);
  const uint64_t before = vocabulary_.memory();
  vocabulary_.AddAll(words);
  if (vocabulary_.full()) resolved_.clear();
  bytes_.fetch_add(vocabulary_.memory() - before, std::memory_order_relaxed);
  return ++version_;
}

std::shared_ptr<const NeededKeys> HeadWords::Needed(const LogScan& scan, uint64_t version) const {
  absl::MutexLock lock(&mutex_);
  const auto known = std::find_if(resolved_.begin(), resolved_.end(),
                                  [&](const Resolved& one) { return one.scan == scan.id(); });
  if (known != resolved_.end()) {
    if (known->version >= version) return known->needed;
    resolved_.erase(known);
  }
  auto needed = std::make_shared<const NeededKeys>(
      ResolveNeeded(scan, vocabulary_.full() ? nullptr : &vocabulary_.text()));
  constexpr size_t kResolvedMax = 8;
  if (resolved_.size() == kResolvedMax) resolved_.erase(resolved_.begin());
  resolved_.push_back({scan.id(), version_, needed});
  return needed;
}

}  // namespace varve::logs
