#include <cmath>

#include "engine/base/strings.h"
#include "varve/sample.h"

namespace varve {
namespace {

bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}
bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!SameBits(a[i], b[i])) return false;
  }
  return true;
}

Status Invalid(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("histogram: ", what));
}

Status CheckSpans(std::string_view side, const std::vector<BucketSpan>& spans, size_t buckets) {
  uint64_t covered = 0;
  for (size_t i = 0; i < spans.size(); ++i) {
    if (i > 0 && spans[i].offset < 0) {
      return Invalid(Concat(side, " side: span number ", i + 1, " with offset ", spans[i].offset,
                            ": histogram has a span whose offset is negative"));
    }
    covered += spans[i].length;
  }
  if (covered != buckets) {
    return Invalid(Concat(side, " side: spans need ", covered, " buckets, have ", buckets,
                          " buckets: histogram spans specify different number of buckets than "
                          "provided"));
  }
  return absl::OkStatus();
}

/// Adds up delta-coded counts. Errors: a negative bucket.
Status SumDeltas(std::string_view side, const std::vector<int64_t>& deltas, uint64_t* sum) {
  int64_t bucket = 0;
  for (size_t i = 0; i < deltas.size(); ++i) {
    if (__builtin_add_overflow(bucket, deltas[i], &bucket) || bucket < 0) {
      return Invalid(Concat(side, " side: bucket number ", i + 1, " has observation count of ",
                            bucket,
                            ": histogram has a bucket whose observation count is negative"));
    }
    *sum += static_cast<uint64_t>(bucket);
  }
  return absl::OkStatus();
}

Status SumCounts(std::string_view side, const std::vector<double>& counts) {
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] < 0) {
      return Invalid(Concat(side, " side: bucket number ", i + 1,
                            ": histogram has a bucket whose observation count is negative"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool BitEqual(const Histogram& a, const Histogram& b) {
  if (a.reset_hint != b.reset_hint || a.is_float != b.is_float || a.schema != b.schema ||
      !SameBits(a.zero_threshold, b.zero_threshold) || !SameBits(a.sum, b.sum) ||
      a.positive_spans != b.positive_spans || a.negative_spans != b.negative_spans ||
      !SameBits(a.custom_values, b.custom_values)) {
    return false;
  }
  if (a.is_float) {
    return SameBits(a.float_count, b.float_count) &&
           SameBits(a.float_zero_count, b.float_zero_count) &&
           SameBits(a.positive_counts, b.positive_counts) &&
           SameBits(a.negative_counts, b.negative_counts);
  }
  return a.count == b.count && a.zero_count == b.zero_count &&
         a.positive_deltas == b.positive_deltas && a.negative_deltas == b.negative_deltas;
}

Status Validate(const Histogram& h) {
  const bool custom = h.schema == kCustomBucketsSchema;
  if (!custom && (h.schema < kExponentialSchemaMin || h.schema > kExponentialSchemaMax)) {
    return Invalid(Concat("invalid schema ", h.schema));
  }
  if (custom) {
    for (size_t i = 0; i < h.custom_values.size(); ++i) {
      if (std::isnan(h.custom_values[i]) || std::isinf(h.custom_values[i]) ||
          (i > 0 && h.custom_values[i] <= h.custom_values[i - 1])) {
        return Invalid("custom bounds must be finite and ascending");
      }
    }
    const uint64_t zeros = h.is_float ? h.float_zero_count != 0 : h.zero_count != 0;
    if (zeros != 0 || h.zero_threshold != 0) {
      return Invalid("custom buckets: must have zero count of 0 and zero threshold of 0");
    }
    if (!h.negative_spans.empty() || !h.negative_deltas.empty() || !h.negative_counts.empty()) {
      return Invalid("custom buckets: must not have negative buckets");
    }
    uint64_t last = 0;
    int64_t at = 0;
    for (const BucketSpan& span : h.positive_spans) {
      at += span.offset;
      at += span.length;
      if (at < 0) return Invalid("custom buckets: span before the first bound");
      last = static_cast<uint64_t>(at);
    }
    if (last > h.custom_values.size() + 1) {
      return Invalid(Concat("custom buckets: only ", h.custom_values.size(),
                            " custom bounds defined which is insufficient to cover total span "
                            "length of ",
                            last));
    }
  } else if (!h.custom_values.empty()) {
    return Invalid("custom bounds with an exponential schema");
  } else if (std::isnan(h.zero_threshold) || h.zero_threshold < 0) {
    return Invalid("zero threshold must not be negative");
  }
  const size_t positive = h.is_float ? h.positive_counts.size() : h.positive_deltas.size();
  const size_t negative = h.is_float ? h.negative_counts.size() : h.negative_deltas.size();
  if (absl::Status s = CheckSpans("negative", h.negative_spans, negative); !s.ok()) return s;
  if (absl::Status s = CheckSpans("positive", h.positive_spans, positive); !s.ok()) return s;
  if (h.is_float) {
    if (h.float_count < 0) return Invalid("observation count is negative");
    if (h.float_zero_count < 0) return Invalid("zero bucket count is negative");
    if (absl::Status s = SumCounts("negative", h.negative_counts); !s.ok()) return s;
    return SumCounts("positive", h.positive_counts);
  }
  if (h.is_stale()) return absl::OkStatus();
  uint64_t sum = h.zero_count;
  if (absl::Status s = SumDeltas("negative", h.negative_deltas, &sum); !s.ok()) return s;
  if (absl::Status s = SumDeltas("positive", h.positive_deltas, &sum); !s.ok()) return s;
  // NaN observations are counted but fall in no bucket, and they make the sum NaN.
  if (std::isnan(h.sum) ? sum > h.count : sum != h.count) {
    return Invalid(Concat(sum, " observations found in buckets, but the Count field is ", h.count,
                          ": histogram's observation count should equal the number of "
                          "observations found in the buckets"));
  }
  return absl::OkStatus();
}

std::string_view ToString(MetricType type) {
  static constexpr std::string_view kWords[] = {"unknown",        "counter", "gauge", "histogram",
                                                "gaugehistogram", "summary", "info",  "stateset"};
  return kWords[static_cast<size_t>(type)];
}

}  // namespace varve
