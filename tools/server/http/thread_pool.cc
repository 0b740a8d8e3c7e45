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
  }
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::Submit(Job job, bool urgent) {
  const absl::MutexLock lock(&mutex_);
  if (urgent) {
    jobs_.push_front(std::move(job));
    return true;
  }
  if (jobs_.size() >= queue_max_) return false;
  jobs_.push_back(std::move(job));
  return true;
}

size_t ThreadPool::queued() const {
  const absl::MutexLock lock(&mutex_);
  return jobs_.size();
}

void ThreadPool::Run() {
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mutex_);
      const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return stop_ || !jobs_.empty();
      };
      mutex_.Await(absl::Condition(&ready));
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job();
  }
}

}  // namespace varve::http
