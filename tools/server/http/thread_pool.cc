#include "tools/server/http/thread_pool.h"

#include <pthread.h>

#include "engine/base/macros.h"

namespace varve::http {

ThreadPool::ThreadPool(std::string name, size_t threads, size_t queue_max) : queue_max_(queue_max) {
  VARVE_CHECK(threads >= 1);
  for (size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this] { Run(); });
    pthread_setname_np(threads_.back().native_handle(), name.substr(0, 15).c_str());
  }
}

ThreadPool::~ThreadPool() {
  {
    const absl::MutexLock lock(&mutex_);
    stop_ = true;
    while (!idle_.empty()) WakeLocked();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::Submit(Job job, bool urgent) {
  const absl::MutexLock lock(&mutex_);
  if (urgent) {
    jobs_.push_front(std::move(job));
  } else {
    if (jobs_.size() >= queue_max_) return false;
    jobs_.push_back(std::move(job));
  }
  if (!idle_.empty()) WakeLocked();
  return true;
}

void ThreadPool::WakeLocked() {
  Idle* const idle = idle_.back();
  idle_.pop_back();
  idle->woken = true;
  idle->wake.Signal();
}

size_t ThreadPool::queued() const {
  const absl::MutexLock lock(&mutex_);
  return jobs_.size();
}

void ThreadPool::Run() {
  Idle self;
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
