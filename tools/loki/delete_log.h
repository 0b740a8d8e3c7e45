#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::loki {

/// The deletions that clients asked for, the newest thousand. They take effect at once and the
/// store keeps them itself, so the list is only a record for GET /loki/api/v1/delete; with a file
/// it outlives the process. Thread-safe.
class DeleteLog {
 public:
  struct Item {
    std::string id;
    std::string query;
    NsRange range;
    int64_t created_ns = 0;
  };

  /// Reads the list that `path` holds, and keeps it there from now on. Errors: of reading;
  /// kDataLoss for a file that is none. The list is empty then, and the file will be replaced.
  Status Open(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Adds a deletion, gives its id; durable on return. Errors: of writing; the list has it.
  Result<std::string> Add(Item item) ABSL_LOCKS_EXCLUDED(mutex_);

  std::deque<Item> items() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool Has(std::string_view id) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Status Save() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Status Load(std::string_view bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  static constexpr size_t kItemsMax = 1000;
  mutable absl::Mutex mutex_;
  std::string path_ ABSL_GUARDED_BY(mutex_);
  std::deque<Item> items_ ABSL_GUARDED_BY(mutex_);
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;  // of all that ever were
};

}  // namespace varve::loki
