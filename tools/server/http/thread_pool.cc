#include "tools/server/http/thread_pool.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "engine/base/macros.h"

namespace varve::http {

// A thread of a pool, for as long as it runs.
struct ThreadPool::Worker {
  ~Worker() {
    if (needed_fd >= 0) close(needed_fd);
  }
  absl::CondVar wake;
  bool woken = false;  // guarded by mutex_
  int needed_fd = -1;  // an eventfd, once the thread has waited for another descriptor

  static thread_local Worker* current;
};
thread_local ThreadPool::Worker* ThreadPool::Worker::current = nullptr;

ThreadPool::ThreadPool(std::string name, size_t threads_max, size_t queue_max)
    : name_(name.substr(0, 15)), threads_max_(threads_max), queue_max_(queue_max) {
  VARVE_CHECK(threads_max >= 1);
  // Without this one no job would ever run, so its failure is the caller's to know.
  const absl::MutexLock lock(&mutex_);
  StartThreadLocked();
}

ThreadPool::~ThreadPool() {
  std::vector<std::thread> threads;
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
    for (Worker* const worker : idle_) {
      worker->woken = true;
      worker->wake.Signal();
    }
    idle_.clear();
    threads = std::move(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void ThreadPool::StartThreadLocked() {
  threads_.emplace_back([this] { Run(); });
  pthread_setname_np(threads_.back().native_handle(), name_.c_str());
}

bool ThreadPool::Submit(Job job, bool urgent) {
  const absl::MutexLock lock(&mutex_);
  if (urgent) {
    jobs_.push_front(std::move(job));
  } else {
    if (jobs_.size() >= queue_max_) return false;
    jobs_.push_back(std::move(job));
  }
  WakeLocked();
  return true;
}

void ThreadPool::WakeLocked() {
  if (!idle_.empty()) {
    Worker* const worker = idle_.back();
    idle_.pop_back();
    worker->woken = true;
    worker->wake.Signal();
    return;
  }
  if (threads_.size() < threads_max_ && !stop_) {
    try {
      StartThreadLocked();
      return;
    } catch (const std::system_error&) {
      // The system has no more threads to give: those that run get to the job in time.
    }
  }
  if (waiting_.empty()) return;
  Worker* const worker = waiting_.back();
  waiting_.pop_back();
  const uint64_t one = 1;
  VARVE_CHECK(write(worker->needed_fd, &one, sizeof(one)) == sizeof(one));
}

size_t ThreadPool::queued() const {
  const absl::MutexLock lock(&mutex_);
  return jobs_.size();
}

ThreadPool::Woken ThreadPool::AwaitReadable(int fd, std::chrono::milliseconds time) {
  Worker* const self = Worker::current;
  VARVE_CHECK(self != nullptr);
  if (self->needed_fd < 0) self->needed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  {
    const absl::MutexLock lock(&mutex_);
    if (stop_ || !jobs_.empty() || waiting_.size() >= threads_max_ / 2 || self->needed_fd < 0) {
      return Woken::kNeeded;
    }
    waiting_.push_back(self);
  }
  pollfd polled[2] = {{fd, POLLIN, 0}, {self->needed_fd, POLLIN, 0}};
  const int ready = poll(polled, 2, static_cast<int>(time.count()));
  bool needed = false;
  {
    const absl::MutexLock lock(&mutex_);
    // Whoever needs a waiting thread takes it out of the list.
    const auto at = std::find(waiting_.begin(), waiting_.end(), self);
    needed = at == waiting_.end();
    if (!needed) waiting_.erase(at);
  }
  if (needed) {
    uint64_t count = 0;
    VARVE_CHECK(read(self->needed_fd, &count, sizeof(count)) == sizeof(count));
    return Woken::kNeeded;
  }
  return ready > 0 ? Woken::kReadable : Woken::kTimeout;
}

void ThreadPool::Run() {
  Worker self;
  Worker::current = &self;
  while (true) {
    Job job;
    {
      const absl::MutexLock lock(&mutex_);
      while (jobs_.empty()) {
        if (stop_) return;
        self.woken = false;
        idle_.push_back(&self);
        while (!self.woken) self.wake.Wait(&mutex_);
      }
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace varve::http
