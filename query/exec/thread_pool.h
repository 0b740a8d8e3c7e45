#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace varve::query {

/// Runs loops on a few threads. Any number of loops may run at once; each one's caller works too,
/// so a busy pool slows a loop down but never blocks it.
class ThreadPool {
 public:
  /// Makes a pool in which a loop uses at most `threads` >= 1, the caller's included.
  explicit ThreadPool(uint32_t threads);
  ~ThreadPool();

  uint32_t threads() const { return threads_; }

  /// Calls `body(begin, end, worker)` over [0, count) in runs of at most `grain`, and returns when
  /// all are done. `worker` < threads() is unique among the calls that run at one time.
  void For(uint32_t count, uint32_t grain,
           absl::FunctionRef<void(uint32_t begin, uint32_t end, uint32_t worker)> body);

 private:
  struct Loop;
  struct State;
  uint32_t threads_;
  std::unique_ptr<State> state_;
};

}  // namespace varve::query
