#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

namespace varve {

/// Tells the time. Wall time may jump; measure durations with the monotonic one.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowMs() const = 0;  // Unix milliseconds
  virtual std::chrono::nanoseconds Monotonic() const = 0;
  static std::shared_ptr<Clock> Real();
};

/// Stands still until told otherwise. Not thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(int64_t now_ms) : now_ms_(now_ms) {}
  int64_t NowMs() const override { return now_ms_; }
  std::chrono::nanoseconds Monotonic() const override { return std::chrono::milliseconds(now_ms_); }
  void Advance(std::chrono::milliseconds by) { now_ms_ += by.count(); }

 private:
  int64_t now_ms_;
};

}  // namespace varve
