#include "engine/logs/head_words.h"

#include <algorithm>

#include "engine/index/value_scan.h"
#include "engine/logs/block_format.h"

namespace varve::logs {

HeadWords::HeadWords() : text_(index::kScanPadding, '\0'), known_(0, Word{&text_}, Word{&text_}) {
  bytes_ = text_.size();
}

uint64_t HeadWords::Add(std::string_view words) {
  absl::MutexLock lock(&mutex_);
  ++version_;
  if (full_) return version_;
  constexpr uint64_t kPlaceBytes = 8;  // in the table, with its room to grow
  const auto memory = [this] {
    mutex_.AssertHeld();
    return text_.size() + known_.size() * kPlaceBytes;
  };
  const uint64_t before = memory();
  text_.resize(text_.size() - index::kScanPadding);
  while (!words.empty()) {
    const size_t bytes = words.find('\n');
    const std::string_view word = words.substr(0, bytes);
    words.remove_prefix(bytes + 1);
    if (known_.contains(word)) continue;
    const auto place = static_cast<uint32_t>(text_.size());
    text_.append(word);
    text_.push_back('\n');
    known_.insert(place);
  }
  text_.append(index::kScanPadding, '\0');
  if (text_.size() > kVocabularyBytesMax) {
    full_ = true;
    known_.clear();
    text_ = std::string();
    resolved_.clear();
    bytes_.fetch_sub(before, std::memory_order_relaxed);
  } else {
    bytes_.fetch_add(memory() - before, std::memory_order_relaxed);
  }
  return version_;
}

std::shared_ptr<const NeededKeys> HeadWords::Needed(const LogScan& scan, uint64_t version) const {
  absl::MutexLock lock(&mutex_);
  const auto known = std::find_if(resolved_.begin(), resolved_.end(),
                                  [&](const Resolved& one) { return one.scan == scan.id(); });
  if (known != resolved_.end()) {
    if (known->version >= version) return known->needed;
    resolved_.erase(known);
  }
  auto needed = std::make_shared<const NeededKeys>(ResolveNeeded(scan, full_ ? nullptr : &text_));
  constexpr size_t kResolvedMax = 8;
  if (resolved_.size() == kResolvedMax) resolved_.erase(resolved_.begin());
  resolved_.push_back({scan.id(), version_, needed});
  return needed;
}

}  // namespace varve::logs
