#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace varve {

/// Runs background work. A Database owns one; tests use the inline one, which does nothing until
/// asked and then runs what is due in an order drawn from its seed.
class Scheduler {
 public:
  using Task = std::function<void()>;
  virtual ~Scheduler() = default;
  /// Runs `task` once, soon, on some thread.
  virtual void Submit(Task task) = 0;
  /// Runs `task` every `period`, never twice at the same time, until Stop.
  virtual void Every(std::chrono::milliseconds period, Task task) = 0;
  /// Runs nothing more and waits for what runs now. Idempotent.
  virtual void Stop() = 0;

  /// Makes one with `threads` >= 1 threads.
  static std::unique_ptr<Scheduler> Threads(uint32_t threads);
};

/// Runs tasks on the thread that calls RunSubmitted or RunPeriodic, shuffled by `seed`.
class InlineScheduler final : public Scheduler {
 public:
  explicit InlineScheduler(uint64_t seed);
  ~InlineScheduler() override;
  void Submit(Task task) override;
  void Every(std::chrono::milliseconds period, Task task) override;
  void Stop() override;
  /// Runs what was submitted, including what those tasks submit. Returns how many ran.
  size_t RunSubmitted();
  /// Runs each periodic task once.
  size_t RunPeriodic();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace varve
