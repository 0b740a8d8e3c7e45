#include "engine/codec/histogram_codec.h"

#include <bit>
#include <limits>

namespace varve::codec {
namespace {

constexpr uint8_t kSameLayout = 1;
constexpr uint8_t kFloat = 2;
constexpr uint32_t kHintShift = 2;
// A sample that shares its layout costs a few bytes and decodes to a copy of all spans and bounds.
// Larger layouts are written out each time, so that few bytes cannot ask for much memory.
constexpr size_t kSharedLayoutMax = 4096;

size_t LayoutElements(const Histogram& h) {
  return h.positive_spans.size() + h.negative_spans.size() + h.custom_values.size();
}

uint64_t BitsOf(double value) { return std::bit_cast<uint64_t>(value); }

void PutXor(std::string* out, double value, double before) {
  PutVarint(out, __builtin_bswap64(BitsOf(value) ^ BitsOf(before)));
}
bool ReadXor(ByteReader* in, double before, double* out) {
  uint64_t swapped;
  if (!in->Varint(&swapped)) return false;
  *out = std::bit_cast<double>(__builtin_bswap64(swapped) ^ BitsOf(before));
  return true;
}
void PutDifference(std::string* out, uint64_t value, uint64_t before) {
  PutZigZag(out, static_cast<int64_t>(value - before));
}
bool ReadDifference(ByteReader* in, uint64_t before, uint64_t* out) {
  int64_t difference;
  if (!in->Signed(&difference)) return false;
  *out = before + static_cast<uint64_t>(difference);
  return true;
}

bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (BitsOf(a[i]) != BitsOf(b[i])) return false;
  }
  return true;
}
bool SameLayout(const Histogram& a, const Histogram& b) {
  return LayoutElements(a) <= kSharedLayoutMax && a.is_float == b.is_float &&
         a.schema == b.schema && BitsOf(a.zero_threshold) == BitsOf(b.zero_threshold) &&
         a.positive_spans == b.positive_spans && a.negative_spans == b.negative_spans &&
         SameBits(a.custom_values, b.custom_values) &&
         (a.is_float ? a.positive_counts.size() == b.positive_counts.size() &&
                           a.negative_counts.size() == b.negative_counts.size()
                     : a.positive_deltas.size() == b.positive_deltas.size() &&
                           a.negative_deltas.size() == b.negative_deltas.size());
}

void PutSpans(std::string* out, const std::vector<BucketSpan>& spans) {
  PutVarint(out, spans.size());
  for (const BucketSpan& span : spans) {
    PutZigZag(out, span.offset);
    PutVarint(out, span.length);
  }
}
bool ReadSpans(ByteReader* in, std::vector<BucketSpan>* out) {
  uint64_t count;
  if (!in->Bounded(&count, in->remaining() / 2)) return false;
  out->resize(count);
  for (BucketSpan& span : *out) {
    int64_t offset;
    if (!in->Signed(&offset) || offset < std::numeric_limits<int32_t>::min() ||
        offset > std::numeric_limits<int32_t>::max() ||
        !in->Bounded(&span.length, std::numeric_limits<uint32_t>::max())) {
      return false;
    }
    span.offset = static_cast<int32_t>(offset);
  }
  return true;
}

bool ReadLayout(ByteReader* in, Histogram* out, size_t* positive, size_t* negative) {
  int64_t schema;
  if (!in->Signed(&schema) || schema < std::numeric_limits<int32_t>::min() ||
      schema > std::numeric_limits<int32_t>::max()) {
    return false;
  }
  out->schema = static_cast<int32_t>(schema);
  uint64_t bounds;
  if (!ReadXor(in, 0, &out->zero_threshold) || !ReadSpans(in, &out->positive_spans) ||
      !ReadSpans(in, &out->negative_spans) || !in->Bounded(&bounds, in->remaining())) {
    return false;
  }
  out->custom_values.resize(bounds);
  double bound = 0;
  for (double& value : out->custom_values) {
    if (!ReadXor(in, bound, &value)) return false;
    bound = value;
  }
  return in->Bounded(positive, in->remaining()) && in->Bounded(negative, in->remaining());
}

/// Writes one side's buckets; `before` is empty or has as many.
void PutBuckets(std::string* out, const std::vector<int64_t>& buckets,
                const std::vector<int64_t>* before) {
  for (size_t i = 0; i < buckets.size(); ++i) {
    PutDifference(out, static_cast<uint64_t>(buckets[i]),
                  before == nullptr ? 0 : static_cast<uint64_t>((*before)[i]));
  }
}
void PutBuckets(std::string* out, const std::vector<double>& buckets,
                const std::vector<double>* before) {
  for (size_t i = 0; i < buckets.size(); ++i) {
    PutXor(out, buckets[i], before == nullptr ? 0 : (*before)[i]);
  }
}
bool ReadBuckets(ByteReader* in, size_t count, const std::vector<int64_t>* before,
                 std::vector<int64_t>* out) {
  if (count > in->remaining()) return false;
  out->resize(count);
  for (size_t i = 0; i < count; ++i) {
    uint64_t value;
    if (!ReadDifference(in, before == nullptr ? 0 : static_cast<uint64_t>((*before)[i]), &value)) {
      return false;
    }
    (*out)[i] = static_cast<int64_t>(value);
  }
  return true;
}
bool ReadBuckets(ByteReader* in, size_t count, const std::vector<double>* before,
                 std::vector<double>* out) {
  if (count > in->remaining()) return false;
  out->resize(count);
  for (size_t i = 0; i < count; ++i) {
    if (!ReadXor(in, before == nullptr ? 0 : (*before)[i], &(*out)[i])) return false;
  }
  return true;
}

}  // namespace

void PutHistogram(const Histogram* before, const Histogram& h, std::string* out) {
  const bool same = before != nullptr && SameLayout(*before, h);
  if (!same) before = nullptr;
  static const Histogram kNothing;
  const Histogram& base = same ? *before : kNothing;
  out->push_back(static_cast<char>((same ? kSameLayout : 0) | (h.is_float ? kFloat : 0) |
                                   static_cast<uint8_t>(h.reset_hint) << kHintShift));
  if (!same) {
    PutZigZag(out, h.schema);
    PutXor(out, h.zero_threshold, 0);
    PutSpans(out, h.positive_spans);
    PutSpans(out, h.negative_spans);
    PutVarint(out, h.custom_values.size());
    double bound = 0;
    for (const double value : h.custom_values) {
      PutXor(out, value, bound);
      bound = value;
    }
    PutVarint(out, h.is_float ? h.positive_counts.size() : h.positive_deltas.size());
    PutVarint(out, h.is_float ? h.negative_counts.size() : h.negative_deltas.size());
  }
  if (h.is_float) {
    PutXor(out, h.float_count, base.float_count);
    PutXor(out, h.float_zero_count, base.float_zero_count);
  } else {
    PutDifference(out, h.count, base.count);
    PutDifference(out, h.zero_count, base.zero_count);
  }
  PutXor(out, h.sum, base.sum);
  if (h.is_float) {
    PutBuckets(out, h.positive_counts, same ? &base.positive_counts : nullptr);
    PutBuckets(out, h.negative_counts, same ? &base.negative_counts : nullptr);
  } else {
    PutBuckets(out, h.positive_deltas, same ? &base.positive_deltas : nullptr);
    PutBuckets(out, h.negative_deltas, same ? &base.negative_deltas : nullptr);
  }
}

bool ReadHistogram(const Histogram* before, ByteReader* in, Histogram* out) {
  uint8_t head;
  if (!in->Byte(&head) || head >> (kHintShift + 2) != 0) return false;
  const bool same = (head & kSameLayout) != 0;
  Histogram h;
  h.is_float = (head & kFloat) != 0;
  h.reset_hint = static_cast<CounterResetHint>(head >> kHintShift);
  static const Histogram kNothing;
  const Histogram* base = &kNothing;
  size_t positive = 0;
  size_t negative = 0;
  if (same) {
    if (before == nullptr || before->is_float != h.is_float) return false;
    base = before;
    h.schema = before->schema;
    h.zero_threshold = before->zero_threshold;
    positive = h.is_float ? before->positive_counts.size() : before->positive_deltas.size();
    negative = h.is_float ? before->negative_counts.size() : before->negative_deltas.size();
    if (LayoutElements(*before) > kSharedLayoutMax || positive + negative > in->remaining()) {
      return false;
    }
    h.positive_spans = before->positive_spans;
    h.negative_spans = before->negative_spans;
    h.custom_values = before->custom_values;
  } else if (!ReadLayout(in, &h, &positive, &negative)) {
    return false;
  }
  if (h.is_float) {
    if (!ReadXor(in, base->float_count, &h.float_count) ||
        !ReadXor(in, base->float_zero_count, &h.float_zero_count)) {
      return false;
    }
  } else if (!ReadDifference(in, base->count, &h.count) ||
             !ReadDifference(in, base->zero_count, &h.zero_count)) {
    return false;
  }
  if (!ReadXor(in, base->sum, &h.sum)) return false;
  const bool read = h.is_float
                        ? ReadBuckets(in, positive, same ? &base->positive_counts : nullptr,
                                      &h.positive_counts) &&
                              ReadBuckets(in, negative, same ? &base->negative_counts : nullptr,
                                          &h.negative_counts)
                        : ReadBuckets(in, positive, same ? &base->positive_deltas : nullptr,
                                      &h.positive_deltas) &&
                              ReadBuckets(in, negative, same ? &base->negative_deltas : nullptr,
                                          &h.negative_deltas);
  if (!read) return false;
  *out = std::move(h);
  return true;
}

void HistogramChunk::Append(int64_t time, const Histogram& histogram) {
  const int64_t delta = count_ == 0 ? 0 : WrapSub(time, last_time_);
  PutZigZag(&bytes_, count_ == 0 ? time : WrapSub(delta, last_delta_));
  PutHistogram(count_ == 0 ? nullptr : &last_, histogram, &bytes_);
  last_ = histogram;
  last_time_ = time;
  last_delta_ = delta;
  ++count_;
}

size_t HistogramChunk::heap_bytes() const {
  return bytes_.capacity() +
         (last_.positive_spans.capacity() + last_.negative_spans.capacity()) * sizeof(BucketSpan) +
         (last_.positive_deltas.capacity() + last_.negative_deltas.capacity() +
          last_.positive_counts.capacity() + last_.negative_counts.capacity() +
          last_.custom_values.capacity()) *
             8;
}

bool DecodeHistogramChunk(std::string_view bytes, std::span<int64_t> times,
                          std::vector<Histogram>* histograms) {
  histograms->clear();
  // No sample is shorter than its time, its head byte, two counts and the sum.
  if (times.size() > bytes.size() / 5) return times.empty();
  histograms->reserve(times.size());
  ByteReader in(bytes);
  int64_t time = 0;
  int64_t delta = 0;
  for (size_t i = 0; i < times.size(); ++i) {
    int64_t change;
    if (!in.Signed(&change)) return false;
    if (i == 0) {
      time = change;
    } else {
      delta = WrapAdd(delta, change);
      time = WrapAdd(time, delta);
    }
    times[i] = time;
    Histogram h;
    if (!ReadHistogram(i == 0 ? nullptr : &histograms->back(), &in, &h)) return false;
    histograms->push_back(std::move(h));
  }
  return true;
}

}  // namespace varve::codec
