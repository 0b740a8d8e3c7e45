#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::http {

/// Runs blocking work on a fixed number of threads, first come, first served, with a bounded
/// queue. The thread that was busy last works first: its stack and the memory it gave back are
/// still in the caches. Thread-safe.
class ThreadPool {
 public:
  using Job = std::function<void()>;

  /// Precondition: threads >= 1.
  ThreadPool(std::string name, size_t threads, size_t queue_max);
  /// Runs what is queued, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Queues `job`, or returns false if the queue is full. `urgent` jobs go to the front and are
  /// never refused: continuations of what runs already.
  bool Submit(Job job, bool urgent = false);
  size_t queued() const;

 private:
  struct Idle {
    absl::CondVar wake;
    bool woken = false;  // guarded by mutex_
  };
  void Run();
  void WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t queue_max_;
  mutable absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<Idle*> idle_ ABSL_GUARDED_BY(mutex_);  // the last to become so at the end
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace varve::http
