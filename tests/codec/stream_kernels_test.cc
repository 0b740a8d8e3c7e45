#include "engine/codec/stream_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <string>
#include <vector>

#include "tests/codec/random_data.h"

namespace varve::codec {
namespace {

using varve::testing::RandomData;

uint64_t FoldedWidth(uint64_t value) {
  return static_cast<uint64_t>(std::bit_width(ZigZag(static_cast<int64_t>(value))));
}

std::vector<int64_t> Draw(RandomData* data) {
  std::vector<int64_t> out(1 + data->Below(data->OneIn(4) ? 5 : 300));
  const uint64_t shift = data->Below(64);
  for (int64_t& value : out) {
    value = static_cast<int64_t>(data->Word() >> shift);
    if (data->OneIn(8)) value = static_cast<int64_t>(data->Below(3)) - 1;
    if (data->OneIn(20)) value = std::numeric_limits<int64_t>::min();
    if (data->OneIn(20)) value = std::numeric_limits<int64_t>::max();
  }
  return out;
}

void ExpectRange(const StreamRange& range, const std::vector<int64_t>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  EXPECT_EQ(range.low, *low);
  EXPECT_EQ(range.high, *high);
}

// All kernels of this processor against the definitions in unsigned numbers.
TEST(StreamKernels, DoWhatTheySay) {
  for (const StreamKernels& kernels : AllStreamKernels()) {
    for (uint64_t seed = 0; seed < 400; ++seed) {
      SCOPED_TRACE(std::string(kernels.name) + ", seed " + std::to_string(seed));
      RandomData data(seed);
      const std::vector<int64_t> values = Draw(&data);
      const std::vector<uint64_t> v(values.begin(), values.end());
      ExpectRange(kernels.range(values.data(), values.size()), values);

      StreamWidths widths;
      std::vector<int64_t> deltas;
      std::vector<int64_t> deltas2;
      uint64_t delta_before = 0;
      for (size_t i = 0; i < v.size(); ++i) {
        const uint64_t delta = i == 0 ? 0 : v[i] - v[i - 1];
        widths.plain += FoldedWidth(v[i] - v[0]);
        widths.delta += FoldedWidth(delta);
        widths.delta2 += FoldedWidth(delta - delta_before);
        if (i >= 1) deltas.push_back(static_cast<int64_t>(delta));
        if (i >= 2) deltas2.push_back(static_cast<int64_t>(delta - delta_before));
        delta_before = delta;
      }
      const StreamWidths got = kernels.widths(values);
      EXPECT_EQ(got.plain, widths.plain);
      EXPECT_EQ(got.delta, widths.delta);
      EXPECT_EQ(got.delta2, widths.delta2);

      std::vector<int64_t> rest(deltas.size());
      if (!rest.empty()) {
        ExpectRange(kernels.delta(values.data(), values.size(), rest.data()), deltas);
        EXPECT_EQ(rest, deltas);
      }
      rest.assign(deltas2.size(), 0);
      if (!rest.empty()) {
        ExpectRange(kernels.delta2(values.data(), values.size(), rest.data()), deltas2);
        EXPECT_EQ(rest, deltas2);
      }

      for (const int64_t offset : {int64_t{0}, values[0], static_cast<int64_t>(data.Word())}) {
        std::array<uint32_t, 65> expected{};
        for (const uint64_t value : v)
          ++expected[FoldedWidth(value - static_cast<uint64_t>(offset))];
        std::array<uint32_t, 65> counts;
        counts.fill(77);
        kernels.count_widths(values, offset, &counts);
        EXPECT_EQ(counts, expected);
      }
    }
  }
}

}  // namespace
}  // namespace varve::codec
