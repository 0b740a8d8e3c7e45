#include "tools/ingest/context.h"

#include <limits>

#include "absl/synchronization/mutex.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "tools/ingest/scratch.h"

namespace varve::ingest {

struct IngestContext::Pool {
  static constexpr size_t kFreeMax = 64;
  absl::Mutex mutex;
  std::vector<std::unique_ptr<Scratch>> free ABSL_GUARDED_BY(mutex);
};

SeriesKey MetadataSeen::KeyOf(std::string_view family, uint64_t type, std::string_view help,
                              std::string_view unit) {
  SeriesKey key = Hash128(help);
  key.low = Hash64(family, key.low);
  key.high = Hash64(unit, key.high) + type;
  return key;
}

bool MetadataSeen::Contains(const SeriesKey& key) const {
  absl::ReaderMutexLock lock(&mutex_);
  return keys_.contains(key);
}

void MetadataSeen::Add(const SeriesKey& key) {
  absl::MutexLock lock(&mutex_);
  if (keys_.size() >= kEntriesMax) keys_.clear();
  keys_.insert(key);
}

IngestContext::IngestContext(Database& database, IngestOptions options,
                             std::shared_ptr<Clock> clock)
    : database_(database),
      options_(options),
      clock_(clock ? std::move(clock) : Clock::Real()),
      series_cache_(options.series_cache_entries_max),
      pool_(std::make_unique<Pool>()) {}

IngestContext::~IngestContext() = default;

int64_t IngestContext::NowMs() const { return clock_->NowMs(); }

int64_t IngestContext::NewestTimeMs() const {
  return options_.future_ms_max == 0 ? kMaxTime : NowMs() + options_.future_ms_max;
}

IngestContext::Loan::Loan(IngestContext& context) : context_(context) {
  {
    absl::MutexLock lock(&context.pool_->mutex);
    if (!context.pool_->free.empty()) {
      scratch_ = std::move(context.pool_->free.back());
      context.pool_->free.pop_back();
    }
  }
  if (!scratch_) scratch_ = std::make_unique<Scratch>();
}

IngestContext::Loan::~Loan() {
  if (scratch_->decoded.capacity() > Scratch::kKeptBytesMax) return;
  scratch_->batch.Clear();
  absl::MutexLock lock(&context_.pool_->mutex);
  if (context_.pool_->free.size() < Pool::kFreeMax) {
    context_.pool_->free.push_back(std::move(scratch_));
  }
}

}  // namespace varve::ingest
