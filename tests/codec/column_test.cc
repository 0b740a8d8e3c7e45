#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/codec/int_stream.h"
#include "engine/codec/time_axis.h"
#include "engine/codec/value_column.h"
#include "tests/codec/random_data.h"

namespace varve::codec {
namespace {

using varve::testing::RandomData;
using varve::testing::SameBits;

std::vector<int64_t> DrawNumbers(RandomData* data, size_t count, uint64_t shape) {
  std::vector<int64_t> out(count);
  int64_t at = static_cast<int64_t>(data->Word() >> data->Below(64));
  const uint32_t bits = static_cast<uint32_t>(data->Below(64));
  for (size_t i = 0; i < count; ++i) {
    int64_t& v = out[i];
    switch (shape) {
      case 0:
        v = at;
        break;
      case 1:
        v = at = WrapAdd(at, 17);
        break;
      case 2:
        v = at = WrapAdd(at, static_cast<int64_t>(data->Word() >> (63 - bits)));
        break;
      case 3:
        v = static_cast<int64_t>(data->Word() >> data->Below(64));
        break;
      case 4:
        v = static_cast<int64_t>(data->Below(7) * data->Below(7)) * 1000 - 3;
        break;
      case 5:
        v = data->OneIn(30) ? static_cast<int64_t>(data->Word())
                            : static_cast<int64_t>(data->Below(3));
        break;
      case 6:
        v = at = WrapAdd(at, data->OneIn(20) ? 5000000 : 40 + static_cast<int64_t>(data->Below(5)));
        break;
      case 7:  // each block has another width
        v = static_cast<int64_t>(data->Word() >> (60 - i / 128 * 7 % 60));
        break;
      default:
        v = static_cast<int64_t>(data->Word());
        break;
    }
  }
  return out;
}

TEST(IntStream, RoundTrips) {
  IntStreamEncoder encoder;
  int coders[4] = {};
  int orders[4] = {};
  for (uint64_t seed = 0; seed < 800; ++seed) {
    RandomData data(seed);
    const auto count = static_cast<uint32_t>(1 + data.Below(seed % 2 == 0 ? 4 : 1500));
    const auto values = DrawNumbers(&data, count, seed % 9);
    std::string bytes(data.Below(4), 'x');
    const size_t start = bytes.size();
    encoder.Encode(values, &bytes);
    const size_t size = bytes.size();
    bytes.append(data.Below(3) * 400, 'y');  // what follows must not matter
    ByteReader in(bytes);
    in.Bytes(start);
    IntStreamReader reader;
    ASSERT_TRUE(reader.Open(&in, bytes, count)) << "seed " << seed;
    ASSERT_EQ(in.position(), size);
    ++coders[static_cast<int>(reader.coder())];
    ++orders[static_cast<int>(reader.order())];
    std::vector<int64_t> got(count);
    ASSERT_TRUE(reader.Decode(0, count, got.data()));
    ASSERT_EQ(got, values) << "seed " << seed;
    const auto begin = static_cast<uint32_t>(data.Below(count));
    const auto end = begin + static_cast<uint32_t>(data.Below(count - begin + 1));
    got.assign(end - begin, 0);
    ASSERT_TRUE(reader.Decode(begin, end, got.data()));
    ASSERT_TRUE(std::equal(got.begin(), got.end(), values.begin() + begin)) << "seed " << seed;
    // Few places and many, so that whole blocks have none.
    std::vector<uint32_t> places;
    const uint64_t one_in = 1 + data.Below(300);
    for (uint32_t i = 0; i < count; ++i) {
      if (data.Below(one_in) == 0) places.push_back(i);
    }
    got.assign(count, 0);
    ASSERT_TRUE(reader.DecodeAt(places, got.data()));
    for (const uint32_t place : places) ASSERT_EQ(got[place], values[place]) << "seed " << seed;
  }
  for (int i = 0; i < 4; ++i) EXPECT_GT(coders[i], 0) << i;
  for (int i = 0; i < 3; ++i) EXPECT_GT(orders[i], 0);
}

TEST(IntStream, RefusesHostileBytes) {
  IntStreamEncoder encoder;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    RandomData data(seed);
    const auto count = static_cast<uint32_t>(1 + data.Below(600));
    std::string whole;
    encoder.Encode(DrawNumbers(&data, count, seed % 9), &whole);
    std::vector<int64_t> out(count);
    const auto attempt = [&](const std::string& bytes) {
      ByteReader in(bytes);
      IntStreamReader reader;
      if (!reader.Open(&in, bytes, count)) return;
      (void)reader.Decode(0, count, out.data());
      (void)reader.DecodeAt(std::vector<uint32_t>{count / 2, count - 1}, out.data());
    };
    for (int i = 0; i < 60; ++i) {
      std::string bytes = whole.substr(0, data.Below(whole.size() + 1));
      for (int k = 0; k < 2 && !bytes.empty(); ++k) {
        bytes[data.Below(std::min<size_t>(bytes.size(), 40))] = static_cast<char>(data.Word());
      }
      attempt(bytes);
    }
    ByteReader in(std::string_view(whole).substr(0, whole.size() - 1));
    IntStreamReader reader;
    EXPECT_FALSE(reader.Open(&in, std::string_view(whole).substr(0, whole.size() - 1), count));
  }
}

void ExpectColumn(const std::vector<double>& values, RandomData* data, const std::string& what,
                  ValueColumnEncoder* encoder) {
  std::string bytes;
  encoder->Encode(values, &bytes);
  const auto count = static_cast<uint32_t>(values.size());
  std::vector<double> got(count);
  ASSERT_TRUE(DecodeValueColumn(bytes, count, 0, got)) << what;
  for (uint32_t i = 0; i < count; ++i) {
    ASSERT_TRUE(SameBits(got[i], values[i])) << what << " at " << i;
  }
  for (int k = 0; k < 6; ++k) {
    const auto begin = static_cast<uint32_t>(data->Below(count));
    const auto size = data->Below(count - begin + 1);
    got.assign(size, 0);
    ASSERT_TRUE(DecodeValueColumn(bytes, count, begin, got)) << what;
    for (uint32_t i = 0; i < size; ++i) {
      ASSERT_TRUE(SameBits(got[i], values[begin + i])) << what << " at " << begin << "+" << i;
    }
  }
}

TEST(ValueColumn, RoundTripsEveryShape) {
  ValueColumnEncoder encoder;
  for (uint64_t seed = 0; seed < 120; ++seed) {
    RandomData data(seed);
    for (int shape = 0; shape < RandomData::kShapes; ++shape) {
      const size_t count = 1 + data.Below(seed % 3 == 0   ? 4
                                          : seed % 3 == 1 ? 200
                                                          : kColumnValuesMax);
      ExpectColumn(data.Values(count, shape), &data,
                   "seed " + std::to_string(seed) + " shape " + std::to_string(shape), &encoder);
    }
  }
}

TEST(ValueColumn, RoundTripsSumsOfDecimals) {
  RandomData data(1);
  ValueColumnEncoder encoder;
  std::vector<double> values(1000);
  double sum = 0.25;
  for (double& v : values) v = sum += static_cast<double>(data.Below(5000000)) / 1e9;
  ExpectColumn(values, &data, "sums", &encoder);
  std::string bytes;
  const ColumnSummary summary = encoder.Encode(values, &bytes);
  EXPECT_TRUE(summary.residual);
  EXPECT_LT(bytes.size(), 3500u);
}

TEST(ValueColumn, IsSmall) {
  ValueColumnEncoder encoder;
  struct Case {
    const char* name;
    size_t bytes_max;
    double (*value)(int);
  };
  const Case cases[] = {
      {"constant", 8, [](int) { return 42.0; }},
      {"affine", 60, [](int i) { return 1e9 + 1500.0 * i; }},
      {"rare changes", 40, [](int i) { return i < 700 ? 3.5 : 4.25; }},
      {"alternating", 160, [](int i) { return i % 2 == 0 ? 1.0 : 0.0; }},
      {"milliseconds", 1350, [](int i) { return (i * 7919 % 1024) / 1000.0; }},
      {"factor", 1350, [](int i) { return (i * 7919 % 1024) * 0.001; }},
      {"pages", 1350, [](int i) { return (i * 7919 % 1024) * 4096.0; }},
      {"last is stale", 12, [](int i) { return i == 999 ? StaleNan() : 1.0; }},
      {"half are stale", 160, [](int i) { return i % 2 == 0 ? StaleNan() : 1.0; }},
  };
  for (const Case& c : cases) {
    std::vector<double> values(1000);
    for (int i = 0; i < 1000; ++i) values[static_cast<size_t>(i)] = c.value(i);
    std::string bytes;
    encoder.Encode(values, &bytes);
    EXPECT_LE(bytes.size(), c.bytes_max) << c.name;
    std::vector<double> got(1000);
    ASSERT_TRUE(DecodeValueColumn(bytes, 1000, 0, got));
    for (size_t i = 0; i < 1000; ++i) ASSERT_TRUE(SameBits(got[i], values[i])) << c.name;
  }
}

TEST(ValueColumn, RefusesHostileBytes) {
  ValueColumnEncoder encoder;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomData data(seed);
    const auto count = static_cast<uint32_t>(1 + data.Below(600));
    std::string whole;
    encoder.Encode(data.Values(count, static_cast<int>(seed) % RandomData::kShapes), &whole);
    std::vector<double> out(count);
    EXPECT_FALSE(
        DecodeValueColumn(std::string_view(whole).substr(0, whole.size() - 1), count, 0, out));
    EXPECT_FALSE(DecodeValueColumn(whole + "x", count, 0, out));
    for (int i = 0; i < 80; ++i) {
      std::string bytes = whole.substr(0, data.Below(whole.size() + 1));
      for (int k = 0; k < 2 && !bytes.empty(); ++k) {
        bytes[data.Below(std::min<size_t>(bytes.size(), 40))] = static_cast<char>(data.Word());
      }
      (void)DecodeValueColumn(bytes, count, 0, out);
    }
  }
}

TEST(TimeAxis, RoundTripsAndRefusesHostileBytes) {
  TimeAxisEncoder encoder;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomData data(seed);
    const auto times = data.Times(1 + data.Below(seed % 2 == 0 ? 3 : 1024),
                                  static_cast<int>(seed % RandomData::kTimeShapes));
    std::string bytes;
    encoder.Encode(times, &bytes);
    std::vector<int64_t> got(times.size());
    ASSERT_TRUE(DecodeTimeAxis(bytes, got)) << "seed " << seed;
    ASSERT_EQ(got, times);
    EXPECT_FALSE(DecodeTimeAxis(bytes + "x", got));
    for (int i = 0; i < 50; ++i) {
      std::string bad = bytes.substr(0, data.Below(bytes.size() + 1));
      if (!bad.empty()) bad[data.Below(bad.size())] = static_cast<char>(data.Word());
      if (!DecodeTimeAxis(bad, got)) continue;
      for (size_t k = 1; k < got.size(); ++k) ASSERT_LT(got[k - 1], got[k]);
    }
  }
}

}  // namespace
}  // namespace varve::codec
