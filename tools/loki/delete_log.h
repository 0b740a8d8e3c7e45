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

  struct Contents {
    uint64_t count = 0;  // of all that ever were
    std::deque<Item> items;
  };

  /// Give the bytes of the file and take them apart (engine/docs/format/loki-deletions.md).
  /// Errors: kDataLoss, naming `file`, for bytes that are none.
  static std::string Encode(const Contents& contents);
  static Result<Contents> Decode(std::string_view bytes, std::string_view file);

  /// Reads the list that `path` holds, and keeps it there from now on. Errors: of reading;
  /// kDataLoss for a file that is none. The list is empty then, and the file will be replaced.
  Status Open(const std::string& path) ABSL_LOCKS_EXCLUDED(mutex_);
  /// Adds a deletion, gives its id; durable on return. Errors: of writing; the list has it.
  Result<std::string> Add(Item item) ABSL_LOCKS_EXCLUDED(mutex_);

  std::deque<Item> items() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool Has(std::string_view id) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  static constexpr size_t kItemsMax = 1000;
  mutable absl::Mutex mutex_;
  std::string path_ ABSL_GUARDED_BY(mutex_);
  Contents contents_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::loki
