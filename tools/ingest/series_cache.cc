#include "tools/ingest/series_cache.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace varve::ingest {
namespace {

constexpr size_t kSlotsMin = 1024;
constexpr size_t kPrefetchAhead = 16;
// Ends every probe, also in a table that racing writers have overfilled; what does not fit within
// it is not remembered.
constexpr size_t kProbesMax = 128;

}  // namespace

/// An open-addressing table that threads read and write without locks. A slot holds the key mixed
/// with the reference: after a torn or lost write the parts do not fit together and the slot is
/// simply nobody's (Hyatt and Mann, "A lock-less transposition-table implementation").
class SeriesCache::Table {
 public:
  explicit Table(size_t slots) : mask_(slots - 1), slots_(slots) {}

  void Prefetch(const SeriesKey& key) const { __builtin_prefetch(&slots_[key.low & mask_]); }

  SeriesRef Find(const SeriesKey& key) const {
    for (size_t probe = 0, i = key.low & mask_; probe < kProbesMax; ++probe, i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      const uint64_t ref = slot.ref.load(std::memory_order_relaxed);
      if (ref == 0) return 0;
      if ((slot.low.load(std::memory_order_relaxed) ^ ref) == key.low &&
          (slot.high.load(std::memory_order_relaxed) ^ ref) == key.high) {
        return ref;
      }
    }
    return 0;
  }

  void Put(const SeriesKey& key, SeriesRef ref) {
    for (size_t probe = 0, i = key.low & mask_; probe < kProbesMax; ++probe, i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      const uint64_t old = slot.ref.load(std::memory_order_relaxed);
      const bool same = old != 0 && (slot.low.load(std::memory_order_relaxed) ^ old) == key.low &&
                        (slot.high.load(std::memory_order_relaxed) ^ old) == key.high;
      if (old != 0 && !same) continue;
      if (!same) used_.fetch_add(1, std::memory_order_relaxed);
      slot.ref.store(ref, std::memory_order_relaxed);
      slot.low.store(key.low ^ ref, std::memory_order_relaxed);
      slot.high.store(key.high ^ ref, std::memory_order_relaxed);
      return;
    }
  }

  size_t slots() const { return slots_.size(); }
  size_t used() const { return used_.load(std::memory_order_relaxed); }
  /// Tells whether `more` entries fit without the probes growing long. Concurrent writers may
  /// overshoot by what they hold at once, which the free third absorbs.
  bool HasRoom(size_t more) const { return (used() + more) * 3 <= slots() * 2; }

  void CopyTo(Table* other) const {
    for (const Slot& slot : slots_) {
      const uint64_t ref = slot.ref.load(std::memory_order_relaxed);
      if (ref == 0) continue;
      other->Put({slot.low.load(std::memory_order_relaxed) ^ ref,
                  slot.high.load(std::memory_order_relaxed) ^ ref},
                 ref);
    }
  }

 private:
  struct Slot {
    std::atomic<uint64_t> ref{0};  // 0: empty
    std::atomic<uint64_t> low{0};
    std::atomic<uint64_t> high{0};
  };
  const size_t mask_;
  std::vector<Slot> slots_;
  std::atomic<size_t> used_{0};
};

SeriesCache::SeriesCache(size_t entries_max)
    : generation_max_(std::max(entries_max / 2, kSlotsMin / 2)),
      current_(std::make_unique<Table>(kSlotsMin)),
      previous_(std::make_unique<Table>(kSlotsMin)) {}

SeriesCache::~SeriesCache() = default;

size_t SeriesCache::Find(std::span<const SeriesKey> keys, std::span<SeriesRef> refs) {
  size_t found = 0;
  size_t promoted = 0;
  {
    absl::ReaderMutexLock lock(&mutex_);
    for (size_t i = 0; i < std::min(keys.size(), kPrefetchAhead); ++i) current_->Prefetch(keys[i]);
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i + kPrefetchAhead < keys.size()) current_->Prefetch(keys[i + kPrefetchAhead]);
      SeriesRef ref = current_->Find(keys[i]);
      if (ref == 0) {
        ref = previous_->Find(keys[i]);
        if (ref != 0) {
          current_->Put(keys[i], ref);
          ++promoted;
        }
      }
      refs[i] = ref;
      found += ref != 0;
    }
  }
  if (promoted > 0) GrowOrTurn(promoted);
  return found;
}

void SeriesCache::Put(std::span<const SeriesKey> keys, std::span<const SeriesRef> refs) {
  constexpr size_t kStride = 256;
  for (size_t begin = 0; begin < keys.size(); begin += kStride) {
    const size_t end = std::min(begin + kStride, keys.size());
    GrowOrTurn(end - begin);
    absl::ReaderMutexLock lock(&mutex_);
    for (size_t i = begin; i < end; ++i) {
      if (refs[i] != 0) current_->Put(keys[i], refs[i]);
    }
  }
}

void SeriesCache::GrowOrTurn(size_t more) {
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (current_->HasRoom(more + kSlotsMin / 8) && current_->used() <= generation_max_) return;
  }
  absl::MutexLock lock(&mutex_);
  if (current_->used() > generation_max_) {
    previous_ = std::move(current_);
    current_ = std::make_unique<Table>(previous_->slots());
  } else if (!current_->HasRoom(more + kSlotsMin / 8)) {
    auto larger = std::make_unique<Table>(
        std::max(current_->slots() * 2, std::bit_ceil((current_->used() + more) * 2)));
    current_->CopyTo(larger.get());
    current_ = std::move(larger);
  }
}

void SeriesCache::Clear() {
  absl::MutexLock lock(&mutex_);
  current_ = std::make_unique<Table>(kSlotsMin);
  previous_ = std::make_unique<Table>(kSlotsMin);
}

size_t SeriesCache::entries() const {
  absl::ReaderMutexLock lock(&mutex_);
  return current_->used() + previous_->used();
}

size_t SeriesCache::bytes() const {
  absl::ReaderMutexLock lock(&mutex_);
  return (current_->slots() + previous_->slots()) * 3 * sizeof(uint64_t);
}

}  // namespace varve::ingest
