#include "tools/ingest/prometheus_chunk.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::ingest {
namespace {

constexpr size_t kBucketsMax = 1 << 20;

Status Corrupt(std::string_view what) { return MakeStatus(StatusCode::kDataLoss, what); }

/// Reads bits from the most significant end. After the first read past the end ok() is false and
/// every read yields zero.
class BitReader {
 public:
  explicit BitReader(std::string_view bytes)
      : bytes_(reinterpret_cast<const unsigned char*>(bytes.data())), bits_(bytes.size() * 8) {}

  bool ok() const { return ok_; }
  size_t bits_left() const { return bits_ - at_; }

  uint64_t Bits(unsigned count) {
    if (count == 0) return 0;
    if (count > bits_ - at_) {
      ok_ = false;
      at_ = bits_;
      return 0;
    }
    const size_t byte = at_ / 8;
    const auto skip = static_cast<unsigned>(at_ % 8);
    at_ += count;
    if (byte + 9 <= bits_ / 8) [[likely]] {
      uint64_t word;
      std::memcpy(&word, bytes_ + byte, 8);
      word = __builtin_bswap64(word) << skip;
      if (skip != 0) word |= static_cast<uint64_t>(bytes_[byte + 8]) >> (8 - skip);
      return word >> (64 - count);
    }
    uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) {
      const size_t bit = byte * 8 + skip + i;
      value = value << 1 | (bytes_[bit / 8] >> (7 - bit % 8) & 1);
    }
    return value;
  }
  bool Bit() { return Bits(1) != 0; }
  /// Counts ones up to the first zero, at most `ones_max`; the zero is consumed if it comes.
  unsigned Prefix(unsigned ones_max) {
    unsigned ones = 0;
    while (ones < ones_max && Bit()) ++ones;
    return ones;
  }
  uint64_t Uvarint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = Bits(8);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  int64_t Varint() { return UnZigZag(Uvarint()); }
  void Fail() { ok_ = false; }

 private:
  const unsigned char* bytes_;
  size_t bits_;
  size_t at_ = 0;
  bool ok_ = true;
};

/// Reads a number of `bits` bits of Prometheus's lopsided two's complement: only patterns above
/// 2^(bits-1) are negative.
int64_t Lopsided(uint64_t raw, unsigned bits) {
  if (bits < 64 && raw > (uint64_t{1} << (bits - 1))) {
    return static_cast<int64_t>(raw - (uint64_t{1} << bits));
  }
  return static_cast<int64_t>(raw);
}

// Sizes of chunkenc's varbit classes, by the number of leading ones; 0 means the value is 0.
constexpr unsigned kVarbitSizes[] = {0, 3, 6, 9, 12, 18, 25, 56, 64};

int64_t VarbitInt(BitReader* in) {
  const unsigned size = kVarbitSizes[in->Prefix(8)];
  return Lopsided(in->Bits(size), size == 0 ? 64 : size);
}
uint64_t VarbitUint(BitReader* in) { return in->Bits(kVarbitSizes[in->Prefix(8)]); }

/// Follows a value coded by XOR with the one before (Pelkonen et al., "Gorilla", section 4.1.2).
struct XorState {
  uint64_t bits = 0;
  unsigned leading = 0;
  unsigned trailing = 0;

  double value() const { return std::bit_cast<double>(bits); }

  void Reuse(BitReader* in) { bits ^= in->Bits(64 - leading - trailing) << trailing; }
  void NewWindow(BitReader* in) {
    const auto new_leading = static_cast<unsigned>(in->Bits(5));
    auto significant = static_cast<unsigned>(in->Bits(6));
    if (significant == 0) significant = 64;
    if (new_leading + significant > 64) {
      in->Fail();
      return;
    }
    leading = new_leading;
    trailing = 64 - leading - significant;
    Reuse(in);
  }
  void Next(BitReader* in) {
    if (!in->Bit()) return;
    if (in->Bit()) {
      NewWindow(in);
    } else {
      Reuse(in);
    }
  }
};

Status DecodeXor(std::string_view payload, PrometheusChunk* out) {
  if (payload.size() < 2) return Corrupt("XOR chunk without a header");
  const unsigned count =
      static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  BitReader in(payload.substr(2));
  out->times_ms.reserve(count);
  out->values.reserve(count);
  int64_t time = 0;
  uint64_t delta = 0;
  XorState value;
  for (unsigned i = 0; i < count; ++i) {
    if (i == 0) {
      time = in.Varint();
      value.bits = in.Bits(64);
    } else if (i == 1) {
      delta = in.Uvarint();
      time = WrapAdd(time, static_cast<int64_t>(delta));
      value.Next(&in);
    } else {
      static constexpr unsigned kSizes[] = {0, 14, 17, 20, 64};
      const unsigned size = kSizes[in.Prefix(4)];
      delta += static_cast<uint64_t>(Lopsided(in.Bits(size), size == 0 ? 64 : size));
      time = WrapAdd(time, static_cast<int64_t>(delta));
      value.Next(&in);
    }
    if (!in.ok()) return Corrupt(Concat("XOR chunk ends in sample ", i, " of ", count));
    out->times_ms.push_back(time);
    out->values.push_back(value.value());
  }
  return absl::OkStatus();
}

/// XOR2 codes time and value under one prefix and knows stale markers without breaking the chain
/// of XORs (Prometheus, tsdb/chunkenc/xor2.go).
Status DecodeXor2(std::string_view payload, PrometheusChunk* out) {
  if (payload.size() < 3) return Corrupt("XOR2 chunk without a header");
  const unsigned count =
      static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  const auto start_header = static_cast<unsigned char>(payload[2]);
  const bool first_start_known = (start_header & 0x80) != 0;
  const unsigned start_changes_on = start_header & 0x7f;
  BitReader in(payload.substr(3));
  out->times_ms.reserve(count);
  out->values.reserve(count);
  int64_t time = 0;
  uint64_t delta = 0;
  XorState value;  // the last value that was no stale marker
  double current = 0;
  const auto next_value = [&] {
    switch (in.Prefix(3)) {
      case 0:
        current = value.value();
        break;
      case 1:
        value.Reuse(&in);
        current = value.value();
        break;
      case 2:
        value.NewWindow(&in);
        current = value.value();
        break;
      default:
        current = StaleNan();
    }
  };
  for (unsigned i = 0; i < count; ++i) {
    if (i == 0) {
      time = in.Varint();
      const uint64_t bits = in.Bits(64);
      current = std::bit_cast<double>(bits);
      if (!IsStaleNan(current)) value.bits = bits;
      if (first_start_known) in.Varint();
    } else if (i == 1) {
      delta = in.Uvarint();
      time = WrapAdd(time, static_cast<int64_t>(delta));
      next_value();
      if (start_changes_on == 1) VarbitInt(&in);
    } else {
      const unsigned control = in.Prefix(5);
      if (control >= 2 && control <= 4) {
        static constexpr unsigned kSizes[] = {0, 0, 13, 20, 64};
        const unsigned size = kSizes[control];
        uint64_t change = in.Bits(size);
        if (size < 64 && change >= uint64_t{1} << (size - 1)) change -= uint64_t{1} << size;
        delta += change;
      }
      time = WrapAdd(time, static_cast<int64_t>(delta));
      switch (control) {
        case 0:
          current = value.value();
          break;
        case 1:
          if (in.Bit()) {
            value.NewWindow(&in);
          } else {
            value.Reuse(&in);
          }
          current = value.value();
          break;
        case 5:
          current = StaleNan();
          break;
        default:
          next_value();
      }
      if (start_changes_on > 0 && i >= start_changes_on) VarbitInt(&in);
    }
    if (!in.ok()) return Corrupt(Concat("XOR2 chunk ends in sample ", i, " of ", count));
    out->times_ms.push_back(time);
    out->values.push_back(current);
  }
  return absl::OkStatus();
}

double ReadZeroThreshold(BitReader* in) {
  const auto byte = static_cast<int>(in->Bits(8));
  if (byte == 0) return 0;
  if (byte == 255) return std::bit_cast<double>(in->Bits(64));
  return std::ldexp(0.5, byte - 243);
}

bool ReadSpans(BitReader* in, std::vector<BucketSpan>* spans, size_t* buckets) {
  const uint64_t count = VarbitUint(in);
  if (count > in->bits_left() / 2) return false;
  for (uint64_t i = 0; i < count; ++i) {
    BucketSpan span;
    const uint64_t length = VarbitUint(in);
    span.offset = static_cast<int32_t>(VarbitInt(in));
    if (length > kBucketsMax) return false;
    span.length = static_cast<uint32_t>(length);
    *buckets += span.length;
    spans->push_back(span);
  }
  return in->ok() && *buckets <= kBucketsMax;
}

/// The layout that all histograms of a chunk share.
struct HistogramLayout {
  int32_t schema = 0;
  double zero_threshold = 0;
  std::vector<BucketSpan> positive_spans, negative_spans;
  size_t positive = 0, negative = 0;
  std::vector<double> custom_values;

  bool Read(BitReader* in) {
    zero_threshold = ReadZeroThreshold(in);
    schema = static_cast<int32_t>(VarbitInt(in));
    if (!ReadSpans(in, &positive_spans, &positive) || !ReadSpans(in, &negative_spans, &negative)) {
      return false;
    }
    if (schema == kCustomBucketsSchema) {
      const uint64_t count = VarbitUint(in);
      if (count > in->bits_left() / 2) return false;
      for (uint64_t i = 0; i < count; ++i) {
        custom_values.push_back(in->Bit() ? static_cast<double>(VarbitUint(in) - 1) / 1000
                                          : std::bit_cast<double>(in->Bits(64)));
      }
    }
    // A bucket takes at least a bit, so a claim beyond that is not to be believed.
    return in->ok() && positive + negative <= in->bits_left();
  }
};

CounterResetHint HintOf(unsigned char header, unsigned index) {
  switch (header & 0xc0) {
    case 0xc0:
      return CounterResetHint::kGauge;
    case 0x80:
      return index == 0 ? CounterResetHint::kReset : CounterResetHint::kNotReset;
    default:
      return index == 0 ? CounterResetHint::kUnknown : CounterResetHint::kNotReset;
  }
}

Histogram MakeHistogram(const HistogramLayout& layout, CounterResetHint hint, double sum) {
  Histogram h;
  h.sum = sum;
  if (h.is_stale()) return h;
  h.reset_hint = hint;
  h.schema = layout.schema;
  h.zero_threshold = layout.zero_threshold;
  h.positive_spans = layout.positive_spans;
  h.negative_spans = layout.negative_spans;
  h.custom_values = layout.custom_values;
  return h;
}

Status DecodeHistogram(std::string_view payload, PrometheusChunk* out) {
  out->is_histogram = true;
  if (payload.size() < 3) return Corrupt("histogram chunk without a header");
  const unsigned count =
      static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  const auto header = static_cast<unsigned char>(payload[2]);
  BitReader in(payload.substr(3));
  if (count == 0) return absl::OkStatus();
  HistogramLayout layout;
  if (!layout.Read(&in)) return Corrupt("histogram chunk: malformed layout");
  // Every number runs as a second difference; counts wrap as in Go.
  int64_t time = 0, time_delta = 0;
  uint64_t observations = 0, zeros = 0;
  int64_t observations_delta = 0, zeros_delta = 0;
  XorState sum;
  std::vector<int64_t> buckets(layout.positive + layout.negative);
  std::vector<int64_t> deltas(buckets.size());
  for (unsigned i = 0; i < count; ++i) {
    if (i == 0) {
      time = VarbitInt(&in);
      observations = VarbitUint(&in);
      zeros = VarbitUint(&in);
      sum.bits = in.Bits(64);
      for (int64_t& bucket : buckets) bucket = VarbitInt(&in);
    } else {
      time_delta = WrapAdd(time_delta, VarbitInt(&in));
      time = WrapAdd(time, time_delta);
      observations_delta = WrapAdd(observations_delta, VarbitInt(&in));
      observations += static_cast<uint64_t>(observations_delta);
      zeros_delta = WrapAdd(zeros_delta, VarbitInt(&in));
      zeros += static_cast<uint64_t>(zeros_delta);
      sum.Next(&in);
      if (!IsStaleNan(sum.value())) {
        for (size_t b = 0; b < buckets.size(); ++b) {
          deltas[b] = WrapAdd(deltas[b], VarbitInt(&in));
          buckets[b] = WrapAdd(buckets[b], deltas[b]);
        }
      }
    }
    if (!in.ok()) return Corrupt(Concat("histogram chunk ends in sample ", i, " of ", count));
    Histogram h = MakeHistogram(layout, HintOf(header, i), sum.value());
    if (!h.is_stale()) {
      h.count = observations;
      h.zero_count = zeros;
      const auto middle = buckets.begin() + static_cast<ptrdiff_t>(layout.positive);
      h.positive_deltas.assign(buckets.begin(), middle);
      h.negative_deltas.assign(middle, buckets.end());
    }
    out->times_ms.push_back(time);
    out->histograms.push_back(std::move(h));
  }
  return absl::OkStatus();
}

Status DecodeFloatHistogram(std::string_view payload, PrometheusChunk* out) {
  out->is_histogram = true;
  if (payload.size() < 3) return Corrupt("float histogram chunk without a header");
  const unsigned count =
      static_cast<unsigned char>(payload[0]) << 8 | static_cast<unsigned char>(payload[1]);
  const auto header = static_cast<unsigned char>(payload[2]);
  BitReader in(payload.substr(3));
  if (count == 0) return absl::OkStatus();
  HistogramLayout layout;
  if (!layout.Read(&in)) return Corrupt("float histogram chunk: malformed layout");
  int64_t time = 0, time_delta = 0;
  XorState sum, observations, zeros;
  std::vector<XorState> buckets(layout.positive + layout.negative);
  for (unsigned i = 0; i < count; ++i) {
    if (i == 0) {
      time = VarbitInt(&in);
      observations.bits = in.Bits(64);
      zeros.bits = in.Bits(64);
      sum.bits = in.Bits(64);
      for (XorState& bucket : buckets) bucket.bits = in.Bits(64);
    } else {
      time_delta = WrapAdd(time_delta, VarbitInt(&in));
      time = WrapAdd(time, time_delta);
      observations.Next(&in);
      zeros.Next(&in);
      sum.Next(&in);
      if (!IsStaleNan(sum.value())) {
        for (XorState& bucket : buckets) bucket.Next(&in);
      }
    }
    if (!in.ok()) return Corrupt(Concat("float histogram chunk ends in sample ", i, " of ", count));
    Histogram h = MakeHistogram(layout, HintOf(header, i), sum.value());
    h.is_float = true;
    if (!h.is_stale()) {
      h.float_count = observations.value();
      h.float_zero_count = zeros.value();
      for (size_t b = 0; b < buckets.size(); ++b) {
        (b < layout.positive ? h.positive_counts : h.negative_counts).push_back(buckets[b].value());
      }
    }
    out->times_ms.push_back(time);
    out->histograms.push_back(std::move(h));
  }
  return absl::OkStatus();
}

}  // namespace

Status DecodePrometheusChunk(uint8_t encoding, std::string_view payload, PrometheusChunk* out) {
  out->times_ms.clear();
  out->values.clear();
  out->histograms.clear();
  out->is_histogram = false;
  switch (static_cast<PrometheusEncoding>(encoding)) {
    case PrometheusEncoding::kXor:
      return DecodeXor(payload, out);
    case PrometheusEncoding::kXor2:
      return DecodeXor2(payload, out);
    case PrometheusEncoding::kHistogram:
      return DecodeHistogram(payload, out);
    case PrometheusEncoding::kFloatHistogram:
      return DecodeFloatHistogram(payload, out);
  }
  return MakeStatus(StatusCode::kUnimplemented,
                    Concat("chunk encoding ", static_cast<int>(encoding),
                           " is not known; XOR (1), histogram (2), float histogram (3) and XOR2 "
                           "(4) are"));
}

}  // namespace varve::ingest
