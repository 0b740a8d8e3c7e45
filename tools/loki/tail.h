#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "tools/server/http/websocket.h"
#include "varve/log_batch.h"
#include "varve/logql.h"
#include "varve/status.h"

namespace varve::loki {

/// Shows what is being appended to those who watch. Appending threads only copy what a tail's
/// selector takes into its inbox, which is bounded; pipelines run on one thread of the hub's own.
/// What does not fit is dropped and named in the next frame. Thread-safe.
class TailHub {
 public:
  explicit TailHub(uint32_t tails_max) : tails_max_(tails_max) {}
  ~TailHub();
  TailHub(const TailHub&) = delete;
  TailHub& operator=(const TailHub&) = delete;

  struct Request {
    std::string query;
    /// How long an entry is held so that late ones come out in order.
    std::chrono::milliseconds delay{0};
    bool categorize = false;
    std::shared_ptr<http::WebSocketQueue> queue;
  };
  /// A tail that collects and is not shown yet.
  class Tail;

  /// Begins to collect. Errors: kInvalidArgument for a bad query, kResourceExhausted over the
  /// limit.
  Result<std::shared_ptr<Tail>> Add(Request request);
  /// Sends `history` (ascending in time) and then what comes; entries of the history that were also
  /// collected are sent once.
  void Start(const std::shared_ptr<Tail>& tail, const query::Streams& history);
  void Remove(const std::shared_ptr<Tail>& tail);

  /// Hears of an acknowledged batch.
  void Publish(const LogBatch& batch, const LogAppendResult& result);
  size_t size() const { return count_.load(std::memory_order_relaxed); }

 private:
  void Run();
  std::vector<std::shared_ptr<Tail>> Tails() const;

  const uint32_t tails_max_;
  std::atomic<size_t> count_{0};
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<Tail>> tails_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  std::mutex wake_mutex_;
  std::condition_variable wake_;
  bool work_ = false;  // guarded by wake_mutex_, like stop_
  bool stop_ = false;
};

}  // namespace varve::loki
