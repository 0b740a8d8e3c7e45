#include "engine/metrics/fingerprint.h"

#include <bit>
#include <span>

namespace varve::metrics {
namespace {

/// Feeds a hash with numbers.
class Mixer {
 public:
  void Add(uint64_t v) {
    state_ ^= v;
    state_ *= 0x9e3779b97f4a7c15;
    state_ ^= state_ >> 32;
  }
  void Add(double v) { Add(std::bit_cast<uint64_t>(v)); }
  uint64_t state() const { return state_; }

 private:
  uint64_t state_ = 0x243f6a8885a308d3;
};

/// Adds the buckets that hold something, each with its index. `bits(i)` gives those of count i.
template <typename Bits>
void AddBuckets(std::span<const BucketSpan> spans, size_t counts, Bits bits, Mixer* mixer) {
  int64_t index = 0;
  size_t next = 0;
  for (const BucketSpan& span : spans) {
    index += span.offset;
    for (uint32_t i = 0; i < span.length && next < counts; ++i, ++index, ++next) {
      const uint64_t count = bits(next);
      if (count == 0) continue;
      mixer->Add(static_cast<uint64_t>(index));
      mixer->Add(count);
    }
  }
  mixer->Add(uint64_t{0x5bd1e995});  // keeps the sides apart
}
void AddCounts(std::span<const BucketSpan> spans, std::span<const double> counts, Mixer* mixer) {
  AddBuckets(
      spans, counts.size(), [&](size_t i) { return std::bit_cast<uint64_t>(counts[i]); }, mixer);
}
void AddDeltas(std::span<const BucketSpan> spans, std::span<const int64_t> deltas, Mixer* mixer) {
  uint64_t count = 0;
  AddBuckets(
      spans, deltas.size(), [&](size_t i) { return count += static_cast<uint64_t>(deltas[i]); },
      mixer);
}

}  // namespace

uint64_t Fingerprint(const Histogram& h) {
  if (h.is_stale()) return kStaleNanBits;  // also that of a stale float, which may stand for one
  Mixer mixer;
  mixer.Add(uint64_t{h.is_float});
  mixer.Add(static_cast<uint64_t>(h.schema));
  mixer.Add(h.zero_threshold);
  mixer.Add(h.sum);
  mixer.Add(h.count);
  mixer.Add(h.zero_count);
  mixer.Add(h.float_count);
  mixer.Add(h.float_zero_count);
  AddCounts(h.positive_spans, h.positive_counts, &mixer);
  AddDeltas(h.positive_spans, h.positive_deltas, &mixer);
  AddCounts(h.negative_spans, h.negative_counts, &mixer);
  AddDeltas(h.negative_spans, h.negative_deltas, &mixer);
  for (const double bound : h.custom_values) mixer.Add(bound);
  return mixer.state() == kStaleNanBits ? ~mixer.state() : mixer.state();
}

}  // namespace varve::metrics
