#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
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

std::optional<FloatHistogram> Exponential(std::span<const HistogramBucket> buckets) {
  FloatHistogram out;
  std::optional<int32_t> schema;
  std::vector<std::pair<int32_t, double>> sides[2];  // negative, positive
  for (const HistogramBucket& bucket : buckets) {
    if (bucket.lower < 0 && bucket.upper > 0) continue;
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

std::optional<FloatHistogram> Custom(std::span<const HistogramBucket> buckets) {
  FloatHistogram out;
  out.schema = kCustomBucketsSchema;
  for (const HistogramBucket& bucket : buckets) {
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

// Whether a histogram has just these buckets.
bool Has(const FloatHistogram& histogram, std::span<const HistogramBucket> buckets) {
  size_t found = 0;
  for (const HistogramBucket& bucket : histogram.Buckets()) {
    if (bucket.count == 0) continue;
    if (found == buckets.size()) return false;
    const HistogramBucket& wanted = buckets[found++];
    if (!Near(bucket.lower, wanted.lower) || !Near(bucket.upper, wanted.upper) ||
        bucket.count != wanted.count || bucket.rule != wanted.rule) {
      return false;
    }
  }
  return found == buckets.size();
}

}  // namespace

Result<FloatHistogram> HistogramOfBuckets(double count, double sum,
                                          std::span<const HistogramBucket> buckets) {
  for (std::optional<FloatHistogram> found : {Exponential(buckets), Custom(buckets)}) {
    if (!found.has_value() || !Has(*found, buckets)) continue;
    found->count = count;
    found->sum = sum;
    return *std::move(found);
  }
  return MakeStatus(StatusCode::kInvalidArgument, "these buckets are of no histogram");
}

}  // namespace varve::query
