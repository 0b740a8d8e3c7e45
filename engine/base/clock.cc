#include "engine/base/clock.h"

namespace varve {
namespace {

class RealClock final : public Clock {
 public:
  int64_t NowMs() const override {
    return std::chrono::duration_cast<std::chrono::milliseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  }
  std::chrono::nanoseconds Monotonic() const override {
    return std::chrono::steady_clock::now().time_since_epoch();
  }
};

}  // namespace

std::shared_ptr<Clock> Clock::Real() {
  static const auto kClock = std::make_shared<RealClock>();
  return kClock;
}

}  // namespace varve
