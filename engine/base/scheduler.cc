#include "engine/base/scheduler.h"

#include <algorithm>
#include <deque>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace varve {
namespace {

class ThreadScheduler final : public Scheduler {
 public:
  explicit ThreadScheduler(uint32_t threads) {
    for (uint32_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~ThreadScheduler() override { Stop(); }

  void Submit(Task task) override {
    absl::MutexLock lock(&mutex_);
    if (!stopping_) queue_.push_back(std::move(task));
  }
  void Every(std::chrono::milliseconds period, Task task) override {
    absl::MutexLock lock(&mutex_);
    const absl::Duration interval = absl::FromChrono(period);
    periodic_.push_back({absl::Now() + interval, interval, std::move(task), false});
  }
  void Stop() override {
    std::vector<std::thread> threads;
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      queue_.clear();
      threads.swap(threads_);
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  struct Periodic {
    absl::Time due;
    absl::Duration interval;
    Task task;
    bool running;
  };

  bool Ready() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); }

  void Work() {
    absl::MutexLock lock(&mutex_);
    while (!stopping_) {
      if (!queue_.empty()) {
        Task task = std::move(queue_.front());
        queue_.pop_front();
        mutex_.Unlock();
        task();
        task = nullptr;
        mutex_.Lock();
        continue;
      }
      absl::Time wake = absl::Now() + absl::Seconds(1);
      size_t next = periodic_.size();
      for (size_t i = 0; i < periodic_.size(); ++i) {
        if (!periodic_[i].running && periodic_[i].due <= wake) {
          wake = periodic_[i].due;
          next = i;
        }
      }
      if (next < periodic_.size() && wake <= absl::Now()) {
        periodic_[next].running = true;
        const Task task = periodic_[next].task;
        mutex_.Unlock();
        task();
        mutex_.Lock();
        periodic_[next].running = false;
        periodic_[next].due = absl::Now() + periodic_[next].interval;
        continue;
      }
      mutex_.AwaitWithDeadline(absl::Condition(this, &ThreadScheduler::Ready), wake);
    }
  }

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  std::deque<Periodic> periodic_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<Scheduler> Scheduler::Threads(uint32_t threads) {
  return std::make_unique<ThreadScheduler>(threads);
}

struct InlineScheduler::State {
  absl::Mutex mutex;
  std::mt19937_64 random ABSL_GUARDED_BY(mutex);
  std::vector<Task> submitted ABSL_GUARDED_BY(mutex);
  std::vector<Task> periodic ABSL_GUARDED_BY(mutex);
  bool stopped ABSL_GUARDED_BY(mutex) = false;
};

InlineScheduler::InlineScheduler(uint64_t seed) : state_(std::make_unique<State>()) {
  absl::MutexLock lock(&state_->mutex);
  state_->random.seed(seed);
}
InlineScheduler::~InlineScheduler() = default;

void InlineScheduler::Submit(Task task) {
  absl::MutexLock lock(&state_->mutex);
  if (!state_->stopped) state_->submitted.push_back(std::move(task));
}
void InlineScheduler::Every(std::chrono::milliseconds, Task task) {
  absl::MutexLock lock(&state_->mutex);
  state_->periodic.push_back(std::move(task));
}
void InlineScheduler::Stop() {
  absl::MutexLock lock(&state_->mutex);
  state_->stopped = true;
  state_->submitted.clear();
  state_->periodic.clear();
}
size_t InlineScheduler::RunSubmitted() {
  size_t ran = 0;
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&state_->mutex);
      if (state_->submitted.empty()) return ran;
      std::swap(state_->submitted[state_->random() % state_->submitted.size()],
                state_->submitted.back());
      task = std::move(state_->submitted.back());
      state_->submitted.pop_back();
    }
    task();
    ++ran;
  }
}
size_t InlineScheduler::RunPeriodic() {
  std::vector<Task> tasks;
  {
    absl::MutexLock lock(&state_->mutex);
    tasks = state_->periodic;
    std::shuffle(tasks.begin(), tasks.end(), state_->random);
  }
  for (const Task& task : tasks) task();
  return tasks.size();
}

}  // namespace varve
