#pragma once

#include <chrono>
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

/// Runs blocking work on a bounded number of threads, first come, first served, with a bounded
/// queue. A thread is started when there is a job and no thread without one. The thread that was
/// busy last works first: its stack and the memory it gave back are still in the caches.
/// Thread-safe.
class ThreadPool {
 public:
  using Job = std::function<void()>;

  /// Precondition: threads_max >= 1.
  ThreadPool(std::string name, size_t threads_max, size_t queue_max);
  /// Runs what is queued, then joins.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  /// Queues `job`, or returns false if the queue is full. `urgent` jobs go to the front and are
  /// never refused: continuations of what runs already.
  bool Submit(Job job, bool urgent = false);
  size_t queued() const;

  /// Why a wait ended.
  enum class Woken : uint8_t {
    kReadable,  // or at its end, or broken: reading tells
    kTimeout,
    kNeeded,  // the pool has other work for the thread
  };
  /// From a job: waits on its thread until `fd` can be read, the time is up, or a job comes that no
  /// other thread is there for. At most half of the threads wait like this: one more, or any while
  /// jobs are queued, is told kNeeded at once.
  Woken AwaitReadable(int fd, std::chrono::milliseconds time);

 private:
  struct Worker;
  void Run();
  void StartThreadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  /// Finds a thread for a job that has been queued.
  void WakeLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;
  const size_t threads_max_;
  const size_t queue_max_;
  mutable absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<Worker*> idle_ ABSL_GUARDED_BY(mutex_);     // the last to become so at the end
  std::vector<Worker*> waiting_ ABSL_GUARDED_BY(mutex_);  // in AwaitReadable
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::http
