#include "engine/codec/histogram_codec.h"

#include <zstd.h>

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
double ReadXor(ByteReader* in, double before) {
  return std::bit_cast<double>(__builtin_bswap64(in->Varint()) ^ BitsOf(before));
}
void PutDifference(std::string* out, uint64_t value, uint64_t before) {
  PutSigned(out, static_cast<int64_t>(value - before));
}
uint64_t ReadDifference(ByteReader* in, uint64_t before) {
  return before + static_cast<uint64_t>(in->Signed());
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
    PutSigned(out, span.offset);
    PutVarint(out, span.length);
  }
}
void ReadSpans(ByteReader* in, std::vector<BucketSpan>* out) {
  out->resize(in->Count(2));
  for (BucketSpan& span : *out) {
    const int64_t offset = in->Signed();
    const uint64_t length = in->Varint();
    span.offset = static_cast<int32_t>(offset);
    span.length = static_cast<uint32_t>(length);
    if (span.offset != offset || span.length != length) in->Fail();
  }
}

void ReadLayout(ByteReader* in, Histogram* out, size_t* positive, size_t* negative) {
  const int64_t schema = in->Signed();
  out->schema = static_cast<int32_t>(schema);
  if (out->schema != schema) in->Fail();
  out->zero_threshold = ReadXor(in, 0);
  ReadSpans(in, &out->positive_spans);
  ReadSpans(in, &out->negative_spans);
  out->custom_values.resize(in->Count());
  double bound = 0;
  for (double& value : out->custom_values) bound = value = ReadXor(in, bound);
  *positive = in->Count();
  *negative = in->Count();
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
/// Reads one side's buckets; `before` likewise.
void ReadBuckets(ByteReader* in, size_t count, const std::vector<int64_t>* before,
                 std::vector<int64_t>* out) {
  if (count > in->left()) return in->Fail();
  out->resize(count);
  for (size_t i = 0; i < count; ++i) {
    const uint64_t base = before == nullptr ? 0 : static_cast<uint64_t>((*before)[i]);
    (*out)[i] = static_cast<int64_t>(ReadDifference(in, base));
  }
}
void ReadBuckets(ByteReader* in, size_t count, const std::vector<double>* before,
                 std::vector<double>* out) {
  if (count > in->left()) return in->Fail();
  out->resize(count);
  for (size_t i = 0; i < count; ++i) {
    (*out)[i] = ReadXor(in, before == nullptr ? 0 : (*before)[i]);
  }
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
    PutSigned(out, h.schema);
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
  const auto head = in->Fixed<uint8_t>();
  if (!in->ok() || head >> (kHintShift + 2) != 0) return false;
  const bool same = (head & kSameLayout) != 0;
  Histogram h;
  h.is_float = (head & kFloat) != 0;
  h.reset_hint = static_cast<CounterResetHint>(head >> kHintShift);
  static const Histogram kNothing;
  const Histogram& base = same && before != nullptr ? *before : kNothing;
  size_t positive = 0;
  size_t negative = 0;
  if (same) {
    if (before == nullptr || base.is_float != h.is_float ||
        LayoutElements(base) > kSharedLayoutMax) {
      return false;
    }
    h.schema = base.schema;
    h.zero_threshold = base.zero_threshold;
    h.positive_spans = base.positive_spans;
    h.negative_spans = base.negative_spans;
    h.custom_values = base.custom_values;
    positive = h.is_float ? base.positive_counts.size() : base.positive_deltas.size();
    negative = h.is_float ? base.negative_counts.size() : base.negative_deltas.size();
  } else {
    ReadLayout(in, &h, &positive, &negative);
  }
  if (h.is_float) {
    h.float_count = ReadXor(in, base.float_count);
    h.float_zero_count = ReadXor(in, base.float_zero_count);
  } else {
    h.count = ReadDifference(in, base.count);
    h.zero_count = ReadDifference(in, base.zero_count);
  }
  h.sum = ReadXor(in, base.sum);
  if (h.is_float) {
    ReadBuckets(in, positive, same ? &base.positive_counts : nullptr, &h.positive_counts);
    ReadBuckets(in, negative, same ? &base.negative_counts : nullptr, &h.negative_counts);
  } else {
    ReadBuckets(in, positive, same ? &base.positive_deltas : nullptr, &h.positive_deltas);
    ReadBuckets(in, negative, same ? &base.negative_deltas : nullptr, &h.negative_deltas);
  }
  if (!in->ok()) return false;
  *out = std::move(h);
  return true;
}

void HistogramChunk::Append(int64_t time, const Histogram& histogram) {
  const int64_t delta = count_ == 0 ? 0 : WrapSub(time, last_time_);
  PutSigned(&bytes_, count_ == 0 ? time : WrapSub(delta, last_delta_));
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
    const int64_t change = in.Signed();
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

namespace {

enum class ColumnPacking : uint8_t { kRaw = 0, kZstd = 1 };
constexpr int kZstdLevel = 3;

bool DecodeRawColumn(std::string_view bytes, uint32_t count, std::vector<Histogram>* out) {
  // No histogram is shorter than its head byte, two counts and the sum.
  if (count > bytes.size() / 4) return false;
  out->reserve(count);
  ByteReader in(bytes);
  for (uint32_t i = 0; i < count; ++i) {
    Histogram h;
    if (!ReadHistogram(i == 0 ? nullptr : &out->back(), &in, &h)) return false;
    out->push_back(std::move(h));
  }
  return in.left() == 0;
}

}  // namespace

bool PutHistogramColumn(std::span<const Histogram> histograms, std::string* out) {
  std::string raw;
  for (size_t i = 0; i < histograms.size(); ++i) {
    PutHistogram(i == 0 ? nullptr : &histograms[i - 1], histograms[i], &raw);
    if (raw.size() > kHistogramColumnBytesMax) return false;
  }
  std::string packed(ZSTD_compressBound(raw.size()), '\0');
  const size_t size =
      ZSTD_compress(packed.data(), packed.size(), raw.data(), raw.size(), kZstdLevel);
  if (ZSTD_isError(size) == 0 && size + 8 < raw.size()) {
    out->push_back(static_cast<char>(ColumnPacking::kZstd));
    PutVarint(out, raw.size());
    out->append(packed.data(), size);
  } else {
    out->push_back(static_cast<char>(ColumnPacking::kRaw));
    out->append(raw);
  }
  return true;
}

bool DecodeHistogramColumn(std::string_view bytes, uint32_t count, std::vector<Histogram>* out) {
  out->clear();
  ByteReader in(bytes);
  switch (static_cast<ColumnPacking>(in.Fixed<uint8_t>())) {
    case ColumnPacking::kRaw:
      return in.ok() && DecodeRawColumn(in.Bytes(in.left()), count, out);
    case ColumnPacking::kZstd: {
      const uint64_t size = in.Varint();
      const std::string_view packed = in.Bytes(in.left());
      // The frame's own word is checked before anything is allocated.
      if (!in.ok() || size > kHistogramColumnBytesMax ||
          ZSTD_getFrameContentSize(packed.data(), packed.size()) != size) {
        return false;
      }
      std::string raw(size, '\0');
      const size_t got = ZSTD_decompress(raw.data(), raw.size(), packed.data(), packed.size());
      return ZSTD_isError(got) == 0 && got == size && DecodeRawColumn(raw, count, out);
    }
  }
  return false;
}

}  // namespace varve::codec
