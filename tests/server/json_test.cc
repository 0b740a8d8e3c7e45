#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tools/server/json/shortest.h"
#include "tools/server/json/writer.h"

namespace varve::json {
namespace {

std::string Float(double value) {
  std::string out;
  AppendFloat(value, &out);
  return out;
}
std::string Time(int64_t time_ms) {
  std::string out;
  AppendTimeMs(time_ms, &out);
  return out;
}
std::string Quoted(std::string_view text) {
  std::string out;
  AppendString(text, &out);
  return out;
}

TEST(JsonTest, FloatsAsGoPrintsThem) {
  const double inf = std::numeric_limits<double>::infinity();
  const struct {
    double value;
    const char* want;
  } kCases[] = {
      {0, "0"},
      {-0.0, "-0"},
      {1, "1"},
      {-1.5, "-1.5"},
      {0.1, "0.1"},
      {1.0 / 3, "0.3333333333333333"},
      {1e-6, "0.000001"},
      {9.999999e-7, "9.999999e-07"},
      {1e-7, "1e-07"},
      {1e-100, "1e-100"},
      {5e-324, "5e-324"},
      {1e15, "1000000000000000"},
      {1e20, "100000000000000000000"},
      {123456789012345678901.0, "123456789012345680000"},
      {9007199254740993.0, "9007199254740992"},
      {1234567890123456.7, "1234567890123456.8"},
      {-1234567890123456.7, "-1234567890123456.8"},
      {999999999999999868928.0, "999999999999999900000"},
      {1e21, "1e+21"},
      {1.7976931348623157e308, "1.7976931348623157e+308"},
      {inf, "+Inf"},
      {-inf, "-Inf"},
      {std::nan(""), "NaN"},
      {1700000000.123, "1700000000.123"},
      {0.0001, "0.0001"},
      {0.00001, "0.00001"},
      {-21.07, "-21.07"},
      {21.070000000000004, "21.070000000000004"},
      {0.30000000000000004, "0.30000000000000004"},
      {123456789.12345, "123456789.12345"},
      {99999999999.9999, "99999999999.9999"},
      {999999999999.9999, "999999999999.9999"},
      {9999.99995, "9999.99995"},
  };
  for (const auto& [value, want] : kCases) EXPECT_EQ(Float(value), want);
}

TEST(JsonTest, FloatsReadBackToTheSameBits) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200'000; ++i) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    const std::string text = Float(value);
    ASSERT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
  for (int i = 0; i < 200'000; ++i) {
    const double value =
        std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 24));
    const std::string text = Float(value);
    ASSERT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
  }
}

TEST(JsonTest, DecimalsAreTheShortestThatReadBack) {
  // Whole numbers and few decimals take a way of their own: %.17g and fewer digits must agree.
  std::mt19937_64 random(8);
  for (int i = 0; i < 100'000; ++i) {
    static constexpr double kUnits[] = {1, 10, 100, 1e3, 1e4, 1e5, 1e6};
    double value =
        std::ldexp(static_cast<double>(random() >> 11), -static_cast<int>(random() % 53));
    value = std::floor(value) / kUnits[random() % 7];
    if (random() % 8 == 0) value = std::nextafter(value, 0);
    const std::string text = Float(value);
    ASSERT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
    char shortest[64];
    const auto end = std::to_chars(shortest, shortest + 64, value, std::chars_format::fixed).ptr;
    if (value >= 1e-6 && value < 1e15) {
      ASSERT_EQ(text, std::string_view(shortest, end));
    }
  }
}

TEST(JsonTest, ShortestDecimalsAreThoseOfToChars) {
  std::mt19937_64 random(11);
  const auto check = [](double value) {
    char want[64];
    *std::to_chars(want, want + sizeof(want) - 1, value, std::chars_format::scientific).ptr = 0;
    const Decimal decimal = ShortestDecimal(value);
    std::string digits = std::to_string(decimal.digits);
    char exponent[16];
    std::snprintf(exponent, sizeof(exponent), "e%+03d",
                  decimal.exponent + static_cast<int>(digits.size()) - 1);
    if (digits.size() > 1) digits.insert(1, ".");
    ASSERT_EQ(digits + exponent, want);
  };
  for (int i = 0; i < 200'000; ++i) {
    const auto value = std::bit_cast<double>(random() & ~(uint64_t{1} << 63));
    if (std::isfinite(value) && value > 0) check(value);
    check(static_cast<double>(1 + random() % 1'000'000) / static_cast<double>(1 + random() % 1000));
  }
  // Powers of two, where numbers below are twice as dense, powers of ten, and their neighbours.
  const auto around = [&](double value) {
    check(value);
    check(std::nextafter(value, 1e308));
    if (value > std::numeric_limits<double>::denorm_min()) check(std::nextafter(value, 0));
  };
  for (int e = -1074; e < 1024; ++e) around(std::ldexp(1.0, e));
  for (int e = -323; e <= 307; ++e)
    around(std::strtod(("1e" + std::to_string(e)).c_str(), nullptr));
  check(std::numeric_limits<double>::max());
  check(9007199254740993.0);
  check(2e-44);
}

TEST(JsonTest, PointsOfAllKindsAndLengths) {
  std::mt19937_64 random(12);
  const auto value = [&]() -> double {
    switch (random() % 12) {
      case 0:
        return -static_cast<double>(random() % 100'000);
      case 1:
        return random() % 2 == 0 ? -0.0 : std::numeric_limits<double>::quiet_NaN();
      case 2:
        return 99'999'998 + static_cast<double>(random() % 4);
      case 3:
        return static_cast<double>(random() % 1'000'000) / 1e4;
      case 4:
        return std::ldexp(static_cast<double>(random() >> 11),
                          -60 + static_cast<int>(random() % 80));
      case 5:
        return std::bit_cast<double>(random());
      default:
        return std::floor(std::pow(10, static_cast<double>(random() % 9000) / 1000));
    }
  };
  PointsWriter points;
  for (int run = 0; run < 400; ++run) {
    std::vector<int64_t> times(random() % 200);
    std::vector<double> values(times.size());
    for (size_t i = 0; i < times.size(); ++i) {
      times[i] = (run < 200 ? 0 : run) + static_cast<int64_t>(i) * 60'000;
      values[i] = value();
    }
    std::string out;
    points.Append(times, values, &out);
    std::string want;
    for (size_t i = 0; i < times.size(); ++i) {
      want += (i == 0 ? "[" : ",[") + Time(times[i]) + ",\"" + Float(values[i]) + "\"]";
    }
    ASSERT_EQ(out, want);
  }
}

TEST(JsonTest, PointsKeepNoTextThatDoesNotFit) {
  std::mt19937_64 random(9);
  PointsWriter points;
  for (int run = 0; run < 300; ++run) {
    std::vector<int64_t> times;
    std::vector<double> values;
    int64_t time = static_cast<int64_t>(random() % 3) * 500 - 1000;
    for (size_t i = random() % 600; i > 0; --i) {
      time += 500 * static_cast<int64_t>(1 + (random() % 8 == 0 ? random() % 4 : 0));
      times.push_back(time);
      values.push_back(random() % 3 == 0 ? 1.0 / static_cast<double>(random() % 100)
                                         : static_cast<double>(random() % 1000));
    }
    std::string out = "before";
    points.Append(times, values, &out);
    std::string want = "before";
    Writer writer(&want);
    for (size_t i = 0; i < times.size(); ++i) {
      writer.BeginArray().TimeMs(times[i]).FloatString(values[i]).EndArray();
    }
    ASSERT_EQ(out, want);
  }
  std::string out;
  const int64_t extremes[] = {std::numeric_limits<int64_t>::min(), -1,
                              std::numeric_limits<int64_t>::max()};
  const double values[] = {-1.7976931348623157e308, -999999999999999868928.0, 0};
  points.Append(extremes, values, &out);
  EXPECT_EQ(out,
            "[-9223372036854775.808,\"-1.7976931348623157e+308\"],"
            "[-0.001,\"-999999999999999900000\"],[9223372036854775.807,\"0\"]");
}

TEST(JsonTest, TimesAreSecondsWithMilliseconds) {
  EXPECT_EQ(Time(0), "0");
  EXPECT_EQ(Time(1), "0.001");
  EXPECT_EQ(Time(-1), "-0.001");
  EXPECT_EQ(Time(1500), "1.500");
  EXPECT_EQ(Time(12'010), "12.010");
  EXPECT_EQ(Time(1'700'000'000'000), "1700000000");
  EXPECT_EQ(Time(std::numeric_limits<int64_t>::max()), "9223372036854775.807");
  EXPECT_EQ(Time(std::numeric_limits<int64_t>::min()), "-9223372036854775.808");
}

TEST(JsonTest, StringsAreEscaped) {
  EXPECT_EQ(Quoted("plain_{}"), R"("plain_{}")");
  EXPECT_EQ(Quoted("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(Quoted("\n\r\t\x01\x1f\x7f"), R"("\n\r\t\u0001\u001f\u007f")");
  EXPECT_EQ(Quoted("<script>&"), R"("\u003cscript\u003e\u0026")");
  EXPECT_EQ(Quoted("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
            "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
  EXPECT_EQ(Quoted("\xe2\x80\xa8"), R"("\u2028")");
  EXPECT_EQ(Quoted(std::string_view("\0", 1)), R"("\u0000")");
  // Cut, overlong, surrogate, too large, stray tail.
  for (const std::string_view bad : {"\xc3", "\xe2\x82", "\xc0\x80", "\xff", "\x80"}) {
    EXPECT_NE(Quoted(bad).find("\xef\xbf\xbd"), std::string::npos);
  }
  EXPECT_EQ(Quoted("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(Quoted("\xf4\x90\x80\x80x").back(), '"');
}

TEST(JsonTest, WriterPutsCommas) {
  std::string out;
  Writer json(&out);
  json.BeginObject().Field("a", "b").Key("n").Int(-3).Key("l").BeginArray();
  json.Int(1).Uint(2).Bool(true).Null().FloatString(0.5).TimeMs(2500);
  json.BeginObject().EndObject().BeginArray().EndArray().Number(1.5);
  json.EndArray().Key("x").Raw("{}").EndObject();
  EXPECT_EQ(out, R"({"a":"b","n":-3,"l":[1,2,true,null,"0.5",2.500,{},[],1.5],"x":{}})");
}

}  // namespace
}  // namespace varve::json
