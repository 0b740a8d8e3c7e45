#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/strings.h"

namespace varve::lang {

/// Keeps the trees of the queries used last, by text (and whatever else the key holds). Bounded;
/// thread-safe.
template <typename Tree>
class TreeCache {
 public:
  std::shared_ptr<const Tree> Find(const std::string& key) {
    absl::MutexLock lock(&mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->tree;
  }

  void Insert(std::string key, std::shared_ptr<const Tree> tree) {
    absl::MutexLock lock(&mutex_);
    if (by_key_.contains(key)) return;
    bytes_ += key.size();
    entries_.push_front({std::move(key), std::move(tree)});
    by_key_.emplace(entries_.front().key, entries_.begin());
    while (entries_.size() > kEntriesMax || bytes_ > kBytesMax) {
      bytes_ -= entries_.back().key.size();
      by_key_.erase(entries_.back().key);
      entries_.pop_back();
    }
  }

 private:
  // A tree takes some twenty times its text.
  static constexpr size_t kEntriesMax = 1024;
  static constexpr size_t kBytesMax = 1 << 20;
  struct Entry {
    std::string key;
    std::shared_ptr<const Tree> tree;
  };

  absl::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // latest first
  StringViewMap<typename std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace varve::lang
