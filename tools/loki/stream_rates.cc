#include "tools/loki/stream_rates.h"

#include <algorithm>

namespace varve::loki {

double StreamRates::Filled(const Budget& budget, std::chrono::nanoseconds now) const {
  const double seconds = std::chrono::duration<double>(now - budget.at).count();
  return std::min(static_cast<double>(burst_),
                  budget.bytes + std::max(seconds, 0.0) * static_cast<double>(rate_));
}

bool StreamRates::Take(uint64_t stream, uint64_t bytes, std::chrono::nanoseconds now) {
  const absl::MutexLock lock(&mutex_);
  const auto [found, added] = budgets_.try_emplace(stream, static_cast<double>(burst_), now);
  Budget& budget = found->second;
  budget = {Filled(budget, now), now};
  const bool taken = static_cast<double>(bytes) <= budget.bytes;
  if (taken) budget.bytes -= static_cast<double>(bytes);
  if (added && budgets_.size() >= sweep_at_) {
    // A full budget says no more than none.
    absl::erase_if(budgets_, [&](const auto& entry) {
      return Filled(entry.second, now) >= static_cast<double>(burst_);
    });
    sweep_at_ = std::max<size_t>(1024, 2 * budgets_.size());
  }
  return taken;
}

}  // namespace varve::loki
