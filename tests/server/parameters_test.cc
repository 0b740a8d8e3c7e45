#include "tools/server/api/parameters.h"

#include <string>

#include "gtest/gtest.h"

namespace varve::api {
namespace {

using std::chrono::milliseconds;

TEST(ParametersTest, Times) {
  const struct {
    std::string_view text;
    int64_t want;
  } kCases[] = {
      {"0", 0},
      {"1.5", 1500},
      {"1700000000.123", 1'700'000'000'123},
      {"1435781430.781", 1'435'781'430'781},
      {"-1.5", -1500},
      {"+2", 2000},
      {"1e3", 1'000'000},
      {"123.1239", 123'124},
      {"2015-07-01T20:10:30.781Z", 1'435'781'430'781},
      {"2015-07-01T20:10:30Z", 1'435'781'430'000},
      {"2015-07-01T22:10:30.78+02:00", 1'435'781'430'780},
      {"1969-12-31T23:59:59.999Z", -1},
      {"2000-02-29T00:00:00Z", 951'782'400'000},
      {"9999-12-31T23:59:59Z", 253'402'300'799'000},
      {"1e300", kMaxTime},
      {"-Inf", kMinTime},
      {"-292273086-05-16T16:47:06Z", kMinTime},
      {"292277025-08-18T07:12:54.999999999Z", kMaxTime},
  };
  for (const auto& [text, want] : kCases) {
    const Result<int64_t> got = ParseTime(text);
    ASSERT_TRUE(got.ok()) << text;
    EXPECT_EQ(*got, want) << text;
  }
  for (const std::string_view bad :
       {"", "x", "1x", "NaN", "+-1", "2015-07-01", "2015-13-01T00:00:00Z", "2015-02-29T00:00:00Z",
        "2015-07-01T24:00:00Z", "2015-07-01T20:10:30", "2015-07-01T20:10:30.Z",
        "2015-07-01T20:10:30ZZ", "2015-07-01T20:10:30+2:00", "30-07-01T20:10:30Z", " 1", "1 "}) {
    EXPECT_EQ(ParseTime(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseTime("foo").status().message(), "cannot parse \"foo\" to a valid timestamp");
}

TEST(ParametersTest, Durations) {
  EXPECT_EQ(ParseDuration("15").value(), milliseconds(15'000));
  EXPECT_EQ(ParseDuration("0.25").value(), milliseconds(250));
  EXPECT_EQ(ParseDuration("0.0001").value(), milliseconds(1));
  EXPECT_EQ(ParseDuration("1h30m").value(), milliseconds(5'400'000));
  EXPECT_EQ(ParseDuration("-5").value(), milliseconds(-5000));
  EXPECT_EQ(ParseDuration("0").value(), milliseconds(0));
  for (const std::string_view bad : {"", "x", "1e300", "NaN", "Inf", "1m1h", "5 m", "1h-"}) {
    EXPECT_EQ(ParseDuration(bad).status().code(), StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ParseDuration("1e300").status().message(),
            "cannot parse \"1e300\" to a valid duration. It overflows int64");
}

TEST(ParametersTest, EscapedNames) {
  const struct {
    std::string_view text;
    std::string_view want;
  } kCases[] = {
      {"plain", "plain"},
      {"U__a_2e_b", "a.b"},
      {"U__a__b", "a_b"},
      {"U___e9_", "\xc3\xa9"},
      {"U___1f600_", "\xf0\x9f\x98\x80"},
      {"U__", ""},
      {"U__a_", "U__a_"},                  // unfinished
      {"U__a_zz_", "U__a_zz_"},            // not hex
      {"U__a_1234567_", "U__a_1234567_"},  // too long
      {"U__a_d800_", "U__a_d800_"},        // a surrogate
      {"U__a_110000_", "U__a_110000_"},
  };
  for (const auto& [text, want] : kCases) EXPECT_EQ(UnescapeName(text), want) << text;
}

TEST(ParametersTest, LimitsAndRanges) {
  http::Params params;
  params.Add("limit", "5");
  EXPECT_EQ(LimitParameter(params).value(), 5u);
  EXPECT_EQ(LimitParameter(http::Params()).value(), 0u);
  for (const std::string bad : {"-1", "x", "5x", "99999999999999999999"}) {
    http::Params wrong;
    wrong.Add("limit", bad);
    EXPECT_FALSE(LimitParameter(wrong).ok()) << bad;
  }
  http::Params range;
  range.Add("start", "10");
  range.Add("end", "5");
  EXPECT_EQ(RangeParameters(range).status().message(),
            "invalid parameter \"end\": end timestamp must not be before start time");
  EXPECT_EQ(RangeParameters(http::Params()).value(), TimeRange());
}

TEST(ParametersTest, FormatsTimes) {
  EXPECT_EQ(FormatTime(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(FormatTime(-1), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(FormatTime(1'435'781'430'781), "2015-07-01T20:10:30.781Z");
  EXPECT_EQ(FormatTime(kMaxTime), "9999-12-31T23:59:59.999Z");
}

}  // namespace
}  // namespace varve::api
