#include "query/exec/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::query {

struct ThreadPool::Loop {
  Loop(uint32_t c, uint32_t g, uint32_t limit,
       absl::FunctionRef<void(uint32_t, uint32_t, uint32_t)> b)
      : count(c), grain(g), workers_max(limit), body(b) {}
  const uint32_t count;
  const uint32_t grain;
  const uint32_t workers_max;
  absl::FunctionRef<void(uint32_t, uint32_t, uint32_t)> body;
  std::atomic<uint64_t> next{0};

  void Work(uint32_t worker) {
    for (;;) {
      const uint64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= count) return;
      body(static_cast<uint32_t>(begin),
           static_cast<uint32_t>(std::min<uint64_t>(count, begin + grain)), worker);
    }
  }
};

struct ThreadPool::State {
  absl::Mutex mutex;
  // Loops that may still want helpers. A loop leaves when its caller has run out of work; helpers
  // inside it are counted, and the caller waits for them.
  struct Entry {
    Loop* loop;
    uint32_t joined = 1;   // worker numbers handed out; 0 is the caller
    uint32_t running = 0;  // helpers inside
  };
  std::deque<Entry> entries ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;
  std::vector<std::thread> helpers;

  Entry* FindWork() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (Entry& entry : entries) {
      if (entry.joined < entry.loop->workers_max &&
          entry.loop->next.load(std::memory_order_relaxed) < entry.loop->count) {
        return &entry;
      }
    }
    return nullptr;
  }
  Entry* Find(const Loop* loop) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    for (Entry& entry : entries) {
      if (entry.loop == loop) return &entry;
    }
    return nullptr;
  }

  bool HasWorkOrStops() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return stop || FindWork() != nullptr;
  }

  void Help() {
    for (;;) {
      mutex.LockWhen(absl::Condition(this, &State::HasWorkOrStops));
      if (stop) {
        mutex.Unlock();
        return;
      }
      // The callers' own threads may have taken the last of the work since the condition held.
      Entry* entry = FindWork();
      if (entry == nullptr) {
        mutex.Unlock();
        continue;
      }
      Loop* loop = entry->loop;
      const uint32_t worker = entry->joined++;
      ++entry->running;
      mutex.Unlock();
      loop->Work(worker);
      mutex.Lock();
      // Entries move when others leave the deque, so this one is looked up again.
      --Find(loop)->running;
      mutex.Unlock();
    }
  }
};

ThreadPool::ThreadPool(uint32_t threads)
    : threads_(std::max(threads, 1u)), state_(std::make_unique<State>()) {
  for (uint32_t i = 1; i < threads_; ++i) {
    state_->helpers.emplace_back([state = state_.get()] { state->Help(); });
  }
}

ThreadPool::~ThreadPool() {
  {
    absl::MutexLock lock(&state_->mutex);
    state_->stop = true;
  }
  for (std::thread& helper : state_->helpers) helper.join();
}

void ThreadPool::For(uint32_t count, uint32_t grain,
                     absl::FunctionRef<void(uint32_t, uint32_t, uint32_t)> body) {
  if (count == 0) return;
  Loop loop(count, std::max(grain, 1u), threads_, body);
  if (threads_ == 1 || count <= loop.grain) {
    loop.Work(0);
    return;
  }
  {
    absl::MutexLock lock(&state_->mutex);
    state_->entries.push_back({&loop});
  }
  loop.Work(0);
  absl::MutexLock lock(&state_->mutex);
  const auto idle = [this, &loop]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(state_->mutex) {
    return state_->Find(&loop)->running == 0;
  };
  state_->mutex.Await(absl::Condition(&idle));
  std::erase_if(state_->entries, [&](const State::Entry& e) { return e.loop == &loop; });
}

}  // namespace varve::query
