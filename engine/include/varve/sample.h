#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "varve/labels.h"

namespace varve {

/// The bit pattern of a stale marker: the value that says "this series ended here". It is a NaN;
/// compare bits, never values. (Prometheus, model/value.)
inline constexpr uint64_t kStaleNanBits = 0x7ff0000000000002;
inline constexpr uint64_t kNormalNanBits = 0x7ff8000000000001;
inline double StaleNan() { return std::bit_cast<double>(kStaleNanBits); }
inline bool IsStaleNan(double value) { return std::bit_cast<uint64_t>(value) == kStaleNanBits; }

/// The start timestamp of a sample that has none.
inline constexpr int64_t kNoStartTime = 0;
inline constexpr int64_t kMinTime = std::numeric_limits<int64_t>::min();
inline constexpr int64_t kMaxTime = std::numeric_limits<int64_t>::max();

/// Covers `length` neighbouring buckets; `offset` counts the empty buckets since the end of the
/// span before (for the first span: the index of its first bucket).
struct BucketSpan {
  int32_t offset = 0;
  uint32_t length = 0;
  friend bool operator==(const BucketSpan&, const BucketSpan&) = default;
};

/// The schema number of a histogram with custom bucket bounds.
inline constexpr int32_t kCustomBucketsSchema = -53;
inline constexpr int32_t kExponentialSchemaMin = -4;
inline constexpr int32_t kExponentialSchemaMax = 8;

enum class CounterResetHint : uint8_t { kUnknown = 0, kReset = 1, kNotReset = 2, kGauge = 3 };

/// A native histogram sample, as it travels and as it is stored: integer or float counts, sparse
/// exponential buckets or custom bounds. (Prometheus, model/histogram.)
struct Histogram {
  CounterResetHint reset_hint = CounterResetHint::kUnknown;
  bool is_float = false;  // selects which of each pair of count fields holds
  int32_t schema = 0;     // -4..8, or kCustomBucketsSchema
  double zero_threshold = 0;
  double sum = 0;  // a stale marker here makes the sample stale

  uint64_t count = 0;           // !is_float
  uint64_t zero_count = 0;      // !is_float
  double float_count = 0;       // is_float
  double float_zero_count = 0;  // is_float

  std::vector<BucketSpan> positive_spans;
  std::vector<BucketSpan> negative_spans;
  std::vector<int64_t> positive_deltas;  // !is_float: first count, then differences
  std::vector<int64_t> negative_deltas;
  std::vector<double> positive_counts;  // is_float: counts as they are
  std::vector<double> negative_counts;
  std::vector<double> custom_values;  // upper bounds, ascending, +Inf left out; custom schema only

  bool is_stale() const { return IsStaleNan(sum); }
};
/// Compares bit for bit: NaN equals the same NaN, 0 differs from -0.
bool BitEqual(const Histogram& a, const Histogram& b);

/// Checks what every receiver must: span and bucket numbers agree, no negative bucket, counts add
/// up, custom bounds ascend. Errors: kInvalidArgument that says which rule.
Status Validate(const Histogram& histogram);

/// One sampled event behind a sample, with the trace that explains it.
struct Exemplar {
  Labels labels;
  double value = 0;
  int64_t time_ms = 0;
  bool has_time = true;
};

enum class MetricType : uint8_t {
  kUnknown = 0,
  kCounter = 1,
  kGauge = 2,
  kHistogram = 3,
  kGaugeHistogram = 4,
  kSummary = 5,
  kInfo = 6,
  kStateSet = 7,
};
/// Returns Prometheus's lower-case word: "counter", ..., "unknown".
std::string_view ToString(MetricType type);

/// What an exposition says about a metric family.
struct Metadata {
  MetricType type = MetricType::kUnknown;
  std::string help;
  std::string unit;
  friend bool operator==(const Metadata&, const Metadata&) = default;
};

}  // namespace varve
