#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/coding.h"
#include "varve/sample.h"

namespace varve::codec {

/// Appends `histogram` to `out`, written as what differs from `before` (nullptr: from nothing).
/// Everything that BitEqual compares is kept, whether or not it is a valid histogram. Layout:
///   byte     bit 0: schema, bounds and spans are those of `before`; bit 1: float counts;
///            bits 2-3: reset hint; the rest 0. Bit 0 set means that bit 1 is the same, too
///   layout   unless bit 0: zigzag schema; xor zero_threshold; then positive and negative spans,
///            each: count, (zigzag offset, length)...; custom bounds: count, xor...; number of
///            positive and of negative buckets
///   numbers  count, zero_count: zigzag difference | xor; xor sum; then the positive and the
///            negative buckets: zigzag difference | xor, each against the same bucket of `before`
///            (against 0 after a layout of its own; custom bounds against the bound before)
/// where xor is the varint of the byte-swapped XOR of the bits.
void PutHistogram(const Histogram* before, const Histogram& histogram, std::string* out);

/// Reads what PutHistogram wrote. Returns false on bytes that make no sense. Memory is bounded by
/// the bytes read: each element of a vector took at least one, except that up to 4096 spans and
/// bounds are copied from `before`.
[[nodiscard]] bool ReadHistogram(const Histogram* before, ByteReader* in, Histogram* out);

/// A growing chunk of histogram samples for a head: per sample the zigzag change of the interval
/// (the first: the time itself), then PutHistogram against the sample before. Bytes of earlier
/// samples never change. Not thread-safe.
class HistogramChunk {
 public:
  void Append(int64_t time, const Histogram& histogram);
  uint32_t count() const { return count_; }
  std::string_view bytes() const { return bytes_; }
  int64_t last_time() const { return last_time_; }
  const Histogram& last() const { return last_; }
  size_t heap_bytes() const;
  void Clear() { *this = HistogramChunk(); }

 private:
  std::string bytes_;
  Histogram last_;
  int64_t last_time_ = 0;
  int64_t last_delta_ = 0;
  uint32_t count_ = 0;
};

/// Decodes the first `times.size()` samples of a HistogramChunk's bytes; replaces `histograms`.
/// Returns false when the bytes do not hold that many. Safe on any bytes.
[[nodiscard]] bool DecodeHistogramChunk(std::string_view bytes, std::span<int64_t> times,
                                        std::vector<Histogram>* histograms);

/// The most bytes that the histograms of one column take before compression.
inline constexpr size_t kHistogramColumnBytesMax = size_t{1} << 26;

/// Appends a column of histograms, at least one: each PutHistogram against the one before, the
/// whole compressed with Zstd where that is smaller. Returns false, and appends nothing, if they
/// take more than kHistogramColumnBytesMax. Format: engine/docs/format/metrics-block.md.
[[nodiscard]] bool PutHistogramColumn(std::span<const Histogram> histograms, std::string* out);

/// Decodes a column of `count` histograms out of bytes that may be anything; replaces `out`.
[[nodiscard]] bool DecodeHistogramColumn(std::string_view bytes, uint32_t count,
                                         std::vector<Histogram>* out);

}  // namespace varve::codec
