#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "varve/histogram_buckets.h"

namespace varve::query {
namespace {

constexpr int kSchemaMin = -4;
constexpr int kSchemaMax = 8;

bool Near(double a, double b) { return a == b || std::fabs(a - b) <= 1e-9 * std::fabs(b); }

// The schema in which a bucket (lower, upper] of positive numbers is one.
std::optional<int32_t> SchemaOf(double lower, double upper) {
  if (!(lower > 0) || !(upper > lower) || !std::isfinite(upper)) return std::nullopt;
  for (int32_t schema = kSchemaMin; schema <= kSchemaMax; ++schema) {
    if (Near(upper / lower, std::exp2(std::exp2(-schema)))) return schema;
  }
  return std::nullopt;
}

// Adds a bucket behind the others of its side; indices must ascend.
bool AddBucket(int32_t index, double count, std::vector<BucketSpan>* spans,
               std::vector<double>* counts, int32_t* next) {
  if (counts->empty() || index > *next) {
    spans->push_back({counts->empty() ? index : index - *next, 0});
  } else if (index < *next) {
    return false;
  }
  ++spans->back().length;
  counts->push_back(count);
  *next = index + 1;
  return true;
}

std::optional<FloatHistogram> Exponential(std::span<const HistogramBucket> buckets,
                                          const HistogramShape& shape) {
  if (shape.schema.has_value() && (*shape.schema < kSchemaMin || *shape.schema > kSchemaMax)) {
    return std::nullopt;
  }
  FloatHistogram out;
  out.zero_threshold = shape.zero_threshold;
  std::optional<int32_t> schema = shape.schema;
  std::vector<std::pair<int32_t, double>> sides[2];  // negative, positive
  for (const HistogramBucket& bucket : buckets) {
    if (shape.schema.has_value() || (bucket.lower < 0 && bucket.upper > 0)) continue;
    const bool negative = bucket.upper < 0;
    const double lower = negative ? -bucket.upper : bucket.lower;
    const double upper = negative ? -bucket.lower : bucket.upper;
    const std::optional<int32_t> own = SchemaOf(lower, upper);
    // The last bucket ends at the largest float or at infinity, and says nothing of the schema.
    if (own.has_value() && upper < std::numeric_limits<double>::max()) {
      if (schema.has_value() && *schema != *own) return std::nullopt;
      schema = own;
    }
  }
  out.schema = schema.value_or(0);
  for (const HistogramBucket& bucket : buckets) {
    if (bucket.lower <= 0 && bucket.upper >= 0) {
      if (bucket.lower != -bucket.upper) return std::nullopt;
      out.zero_threshold = bucket.upper;
      out.zero_count = bucket.count;
      continue;
    }
    const bool negative = bucket.upper < 0;
    const double lower = negative ? -bucket.upper : bucket.lower;
    // The bucket of index i is (2^((i - 1) / 2^schema), 2^(i / 2^schema)].
    const double index = std::log2(lower) * std::exp2(out.schema) + 1;
    if (!(std::fabs(index) < 1e6)) return std::nullopt;
    sides[negative ? 0 : 1].emplace_back(static_cast<int32_t>(std::lround(index)), bucket.count);
  }
  std::reverse(sides[0].begin(), sides[0].end());
  for (const bool negative : {true, false}) {
    int32_t next = 0;
    for (const auto& [index, count] : sides[negative ? 0 : 1]) {
      if (!AddBucket(index, count, negative ? &out.negative_spans : &out.positive_spans,
                     negative ? &out.negative_counts : &out.positive_counts, &next)) {
        return std::nullopt;
      }
    }
  }
  return out;
}

std::optional<FloatHistogram> Custom(std::span<const HistogramBucket> buckets,
                                     const HistogramShape& shape) {
  if (shape.schema.value_or(kCustomBucketsSchema) != kCustomBucketsSchema) return std::nullopt;
  FloatHistogram out;
  out.schema = kCustomBucketsSchema;
  out.custom_values = shape.custom_values;
  for (const HistogramBucket& bucket : buckets) {
    if (!shape.custom_values.empty()) break;
    for (const double bound : {bucket.lower, bucket.upper}) {
      if (std::isfinite(bound) && (out.custom_values.empty() || out.custom_values.back() < bound)) {
        out.custom_values.push_back(bound);
      }
    }
  }
  int32_t next = 0;
  for (const HistogramBucket& bucket : buckets) {
    const auto at =
        std::lower_bound(out.custom_values.begin(), out.custom_values.end(), bucket.upper);
    if (!AddBucket(static_cast<int32_t>(at - out.custom_values.begin()), bucket.count,
                   &out.positive_spans, &out.positive_counts, &next)) {
      return std::nullopt;
    }
  }
  return out;
}

// Whether a histogram has just these buckets; empty ones are not compared.
bool Has(const FloatHistogram& histogram, std::span<const HistogramBucket> buckets,
         bool compare_rules) {
  size_t found = 0;
  const auto skip_empty = [&] {
    while (found < buckets.size() && buckets[found].count == 0) ++found;
  };
  for (const HistogramBucket& bucket : histogram.Buckets()) {
    if (bucket.count == 0) continue;
    skip_empty();
    if (found == buckets.size()) return false;
    const HistogramBucket& wanted = buckets[found++];
    if (!Near(bucket.lower, wanted.lower) || !Near(bucket.upper, wanted.upper) ||
        bucket.count != wanted.count || (compare_rules && bucket.rule != wanted.rule)) {
      return false;
    }
  }
  skip_empty();
  return found == buckets.size();
}

// Counts from this one on are not all whole.
constexpr double kWholeMax = 9'007'199'254'740'992;  // 2^53

bool IsWhole(double count) { return count >= 0 && count < kWholeMax && std::floor(count) == count; }

bool AreWhole(const FloatHistogram& histogram) {
  return IsWhole(histogram.count) && IsWhole(histogram.zero_count) &&
         std::all_of(histogram.positive_counts.begin(), histogram.positive_counts.end(), IsWhole) &&
         std::all_of(histogram.negative_counts.begin(), histogram.negative_counts.end(), IsWhole);
}

std::vector<int64_t> Deltas(const std::vector<double>& counts) {
  std::vector<int64_t> out;
  out.reserve(counts.size());
  int64_t before = 0;
  for (const double count : counts) {
    out.push_back(static_cast<int64_t>(count) - before);
    before = static_cast<int64_t>(count);
  }
  return out;
}

}  // namespace

Result<FloatHistogram> HistogramOfBuckets(double count, double sum,
                                          std::span<const HistogramBucket> buckets,
                                          const HistogramShape& shape) {
  for (std::optional<FloatHistogram> found :
       {Exponential(buckets, shape), Custom(buckets, shape)}) {
    if (!found.has_value() || !Has(*found, buckets, shape.has_rules)) continue;
    found->count = count;
    found->sum = sum;
    found->reset_hint = shape.reset_hint;
    return *std::move(found);
  }
  return MakeStatus(StatusCode::kInvalidArgument,
                    shape.schema.has_value() ? "these buckets are not of a histogram of schema " +
                                                   std::to_string(*shape.schema)
                                             : "these buckets are of no histogram");
}

Histogram ToSample(const FloatHistogram& histogram) {
  Histogram out;
  out.reset_hint = histogram.reset_hint;
  out.schema = histogram.schema;
  out.zero_threshold = histogram.zero_threshold;
  out.sum = histogram.sum;
  out.custom_values = histogram.custom_values;
  if (out.is_stale()) return out;
  out.positive_spans = histogram.positive_spans;
  out.negative_spans = histogram.negative_spans;
  if (AreWhole(histogram)) {
    out.count = static_cast<uint64_t>(histogram.count);
    out.zero_count = static_cast<uint64_t>(histogram.zero_count);
    out.positive_deltas = Deltas(histogram.positive_counts);
    out.negative_deltas = Deltas(histogram.negative_counts);
    return out;
  }
  out.is_float = true;
  out.float_count = histogram.count;
  out.float_zero_count = histogram.zero_count;
  out.positive_counts = histogram.positive_counts;
  out.negative_counts = histogram.negative_counts;
  return out;
}

}  // namespace varve::query
