#include "tools/server/http/url.h"

#include <string>

#include "gtest/gtest.h"

namespace varve::http {
namespace {

TEST(UrlTest, PercentDecodingHappensOnce) {
  EXPECT_EQ(PercentDecode("a%20b%2Fc", false).value(), "a b/c");
  EXPECT_EQ(PercentDecode("%2520", false).value(), "%20");
  EXPECT_EQ(PercentDecode("a+b", false).value(), "a+b");
  EXPECT_EQ(PercentDecode("a+b", true).value(), "a b");
  EXPECT_EQ(PercentDecode("%00%ff", false).value(), std::string("\0\xff", 2));
  for (const std::string_view bad : {"%", "%2", "%zz", "a%", "%-1"}) {
    EXPECT_EQ(PercentDecode(bad, true).status().code(), StatusCode::kInvalidArgument) << bad;
  }
}

TEST(UrlTest, EncodeThenDecodeGivesTheSameBytes) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  EXPECT_EQ(PercentDecode(PercentEncode(all), true).value(), all);
}

TEST(UrlTest, Forms) {
  Params params;
  ASSERT_TRUE(ParseForm("query=up%7Ba%3D%22b%22%7D&&match[]=a&match%5B%5D=b&empty=&bare&x=a=b",
                        UrlLimits(), &params)
                  .ok());
  EXPECT_EQ(params.Get("query"), "up{a=\"b\"}");
  EXPECT_EQ(params.All("match[]"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_TRUE(params.Has("empty"));
  EXPECT_TRUE(params.Has("bare"));
  EXPECT_EQ(params.Get("x"), "a=b");
  EXPECT_FALSE(params.Has("y"));

  EXPECT_EQ(ParseForm("a=%", UrlLimits(), &params).code(), StatusCode::kInvalidArgument);
  std::string many;
  for (int i = 0; i < 20'000; ++i) many += "m=1&";
  Params flood;
  EXPECT_EQ(ParseForm(many, UrlLimits(), &flood).code(), StatusCode::kResourceExhausted);
  EXPECT_LE(flood.size(), 10'000u);
}

TEST(UrlTest, Targets) {
  const auto segments = [](std::string_view target) {
    return ParseTarget(target, UrlLimits()).value().segments;
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(segments("/"), List{""});
  EXPECT_EQ(segments("/a/b?c=d"), (List{"a", "b"}));
  EXPECT_EQ(segments("/a%2Fb/c/"), (List{"a/b", "c", ""}));
  EXPECT_EQ(segments("http://h:1/x"), List{"x"});
  EXPECT_EQ(segments("http://h"), List{""});
  EXPECT_EQ(segments("*"), List{"*"});
  EXPECT_EQ(ParseTarget("HTTP://h:1?q=1", UrlLimits()).value().query, "q=1");
  for (const std::string_view bad :
       {"", "a", "?q", "http://", "/a/../b", "/a/%2e%2E/b", "/./", "/%zz", "x:/a"}) {
    EXPECT_FALSE(ParseTarget(bad, UrlLimits()).ok()) << bad;
  }
  // Decoding twice would turn this into a dot segment.
  EXPECT_EQ(segments("/%252e%252e/x"), (List{"%2e%2e", "x"}));
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "/a";
  EXPECT_EQ(ParseTarget(deep, UrlLimits()).status().code(), StatusCode::kResourceExhausted);
}

TEST(UrlTest, Hosts) {
  EXPECT_EQ(ParseHost("localhost:9090").value().host, "localhost");
  EXPECT_EQ(ParseHost("localhost:9090").value().port, "9090");
  EXPECT_EQ(ParseHost("[::1]:80").value().host, "::1");
  for (const std::string_view bad :
       {"", ":80", "[::1", "[::1]x", "a b", "a:b", "a:123456", "[x]"}) {
    EXPECT_FALSE(ParseHost(bad).ok()) << bad;
  }
  for (const char* host :
       {"localhost", "LOCALHOST", "x.localhost", "127.0.0.1", "127.9.9.9", "::1"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host :
       {"evil.example", "notlocalhost", "localhost.evil.example", "10.0.0.1", "::2"}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
  EXPECT_TRUE(IsIpLiteral("10.1.2.3"));
  EXPECT_FALSE(IsIpLiteral("10.1.2.3.example"));
}

}  // namespace
}  // namespace varve::http
