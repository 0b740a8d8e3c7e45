#include "engine/base/reset_hints.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace varve {
namespace {

Histogram Float(double count, std::vector<double> buckets, int32_t offset = 0) {
  Histogram h;
  h.is_float = true;
  h.float_count = count;
  h.positive_spans = {{offset, static_cast<uint32_t>(buckets.size())}};
  h.positive_counts = std::move(buckets);
  return h;
}

Histogram Integer(uint64_t count, std::vector<int64_t> deltas) {
  Histogram h;
  h.count = count;
  h.negative_spans = {{1, static_cast<uint32_t>(deltas.size())}};
  h.negative_deltas = std::move(deltas);
  return h;
}

Histogram With(Histogram h, CounterResetHint hint) {
  h.reset_hint = hint;
  return h;
}

/// Prints hints as letters: unknown, reset, not reset, gauge.
std::string Derive(std::vector<Histogram> histograms) {
  DeriveResetHints(&histograms);
  std::string out;
  for (const Histogram& h : histograms) out += "urng"[static_cast<size_t>(h.reset_hint)];
  return out;
}

TEST(ResetHints, ComeFromComparingNeighbours) {
  using enum CounterResetHint;
  EXPECT_EQ(Derive({}), "");
  EXPECT_EQ(Derive({With(Float(1, {1}), kNotReset)}), "u");
  EXPECT_EQ(Derive({Float(1, {1}), Float(2, {2}), Float(2, {2})}), "unn");
  // The count falls; a bucket falls; a bucket goes.
  EXPECT_EQ(Derive({Float(5, {5}), Float(4, {5}), Float(6, {6})}), "uun");
  EXPECT_EQ(Derive({Float(5, {3, 2}), Float(6, {2, 4})}), "uu");
  EXPECT_EQ(Derive({Float(5, {5}), Float(5, {5}, 1)}), "uu");
  // A new bucket on either side is growth.
  EXPECT_EQ(Derive({Float(5, {5}, 1), Float(9, {1, 6, 2})}), "un");
  // A given reset counts even if nothing fell; a given "not reset" does not hide a fall.
  EXPECT_EQ(Derive({Float(1, {1}), With(Float(2, {2}), kReset), Float(3, {3})}), "uun");
  EXPECT_EQ(Derive({Float(5, {5}), With(Float(4, {4}), kNotReset)}), "uu");
  EXPECT_EQ(Derive({Float(1, {1}), With(Float(9, {9}), kGauge), Float(10, {10}), Float(11, {11})}),
            "ugun");
  // Integers; the second bucket of the second histogram is 1 + 2.
  EXPECT_EQ(Derive({Integer(3, {1, 1}), Integer(4, {1, 2}), Integer(9, {1, 1})}), "unu");
  EXPECT_EQ(Derive({Integer(3, {1, 1}), Float(9, {9})}), "uu");
  // Another layout is no continuation.
  Histogram wide = Float(9, {9});
  wide.zero_threshold = 1;
  Histogram fine = Float(9, {9});
  fine.schema = 3;
  Histogram stale = Float(0, {});
  stale.sum = StaleNan();
  EXPECT_EQ(Derive({Float(1, {1}), wide, fine}), "uuu");
  EXPECT_EQ(Derive({Float(1, {1}), stale, Float(2, {2})}), "unu");
}

}  // namespace
}  // namespace varve
