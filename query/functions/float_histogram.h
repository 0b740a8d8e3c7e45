#pragma once

#include <cstdint>
#include <vector>

#include "varve/query.h"

/// Arithmetic of native histograms, with Prometheus's rules: schemas and zero buckets are
/// reconciled to the coarser of two, custom bounds to their intersection, and the counter reset
/// hint of a result says what can still be said. (Prometheus, model/histogram.)
namespace varve::query {

/// Walks over the spanned buckets of one side, empty ones included, in index order (so negative
/// buckets come from zero downwards). Bounds: PositiveBucket and NegativeBucket.
struct BucketCount {
  int32_t index = 0;
  double count = 0;
};
std::vector<BucketCount> PositiveBuckets(const FloatHistogram& h);
std::vector<BucketCount> NegativeBuckets(const FloatHistogram& h);

/// Gives the upper bound of bucket `index` of an exponential schema.
double ExponentialBound(int32_t index, int32_t schema);
/// Describe a bucket by index and count, bounds and inclusion as output shows them.
HistogramBucket PositiveBucket(const FloatHistogram& h, BucketCount bucket);
HistogramBucket NegativeBucket(const FloatHistogram& h, BucketCount bucket);
HistogramBucket ZeroBucket(const FloatHistogram& h);

/// What combining two histograms met on the way.
struct CombineNotes {
  bool incompatible = false;             // custom against exponential: nothing was combined
  bool counter_reset_collision = false;  // one said "reset", the other "no reset"
  bool bounds_reconciled = false;        // custom bounds differed
};

/// Add or subtract `other`, in place. With `incompatible` set, `h` is unchanged.
CombineNotes Add(FloatHistogram& h, const FloatHistogram& other);
CombineNotes Subtract(FloatHistogram& h, const FloatHistogram& other);

/// Sums histograms with a compensation for every field, so that long sums lose nothing.
class HistogramSum {
 public:
  explicit HistogramSum(FloatHistogram first);
  CombineNotes Add(const FloatHistogram& other);
  /// Multiply and divide the sum and its compensation.
  void Scale(double factor);
  void Divide(double divisor);
  /// True if a count or the sum is infinite.
  bool overflowed() const;
  /// Gives sum plus compensation.
  FloatHistogram Total() const;
  const FloatHistogram& sum() const { return sum_; }
  bool has_compensation() const { return has_compensation_; }

 private:
  FloatHistogram sum_;
  FloatHistogram c_;  // same layout as sum_
  bool has_compensation_ = false;
};

/// Multiply and divide every count and the sum; the layout stays.
void Scale(FloatHistogram& h, double factor);
void Divide(FloatHistogram& h, double divisor);

/// Lowers the resolution. Precondition: exponential, schema <= h.schema.
void ReduceResolution(FloatHistogram& h, int32_t schema);

/// Tests whether a counter was reset between `previous` and `h`: its own hint decides if it says
/// so, else a count that fell, a layout that cannot have come from the previous one.
bool DetectReset(const FloatHistogram& h, const FloatHistogram& previous);

/// Removes observations above (`upper`) or below `bound`, interpolating inside the bucket that
/// holds it; count and sum follow.
void Trim(FloatHistogram& h, double bound, bool upper);

/// Counts what a histogram weighs in the sample budget: 1 and about one for 16 bytes.
uint64_t SampleWeight(const FloatHistogram& h);

}  // namespace varve::query
