// What a query may cost over HTTP: each limit ends it with Loki's status and says which one it was.

#include <string>

#include "tests/loki/loki_app.h"

namespace varve::loki {
namespace {

class LokiLimitsTest : public LokiAppTest {
 protected:
  /// Lines of 300 series, a second apart.
  void PushLines() {
    std::vector<std::string> lines;
    for (int i = 0; i < 300; ++i) lines.push_back(Concat("n=", i, " a line of words"));
    ASSERT_EQ(Push(Body(R"({"app":"a"})", lines)).status, 204);
  }
  http::ClientResponse Range(std::string_view query, std::string_view parameters = "",
                             const std::vector<std::pair<std::string, std::string>>& headers = {}) {
    return Get(Concat("/loki/api/v1/query_range?", Query(query), "&end=", kNowNs, parameters),
               headers);
  }
  void ExpectError(const http::ClientResponse& response, int status, std::string_view text) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_NE(response.body.find(text), std::string::npos) << response.body;
    EXPECT_EQ(response.headers.Get("Content-Type"), "text/plain; charset=utf-8");
    EXPECT_LT(response.body.size(), 1000u);
  }
};

constexpr std::string_view kSeries = "count_over_time({app=\"a\"} | logfmt | keep n [5m])";

TEST_F(LokiLimitsTest, Lines) {
  options_.engine.max_entries_limit_per_query = 100;
  Start();
  PushLines();
  ExpectError(Range("{app=\"a\"}", "&limit=101"), 400,
              "max entries limit per query exceeded, limit > max_entries_limit_per_query (101 > "
              "100)");
  EXPECT_EQ(Range("{app=\"a\"}", "&limit=100").status, 200);
  // Metric queries return no lines.
  EXPECT_EQ(Range("sum(count_over_time({app=\"a\"}[5m]))", "&limit=101").status, 200);
}

TEST_F(LokiLimitsTest, Bytes) {
  options_.engine.max_query_bytes_read = 1000;
  Start();
  PushLines();
  ExpectError(Range("{app=\"a\"} |~ `n=1.0`"), 400, "bytes");
  ExpectError(Range(kSeries), 400, "bytes");
  EXPECT_EQ(Range("{app=\"b\"} |~ `n=1.0`").status, 200);
}

TEST_F(LokiLimitsTest, Series) {
  options_.engine.max_query_series = 200;
  Start();
  PushLines();
  ExpectError(Range(kSeries), 400, "maximum number of series (200) reached for a single query");
  EXPECT_EQ(Range(Concat("topk(10, ", kSeries, ")"), "&step=1h").status, 200);
  // Logs Drilldown gets what fits, and is told so.
  const auto partial =
      Range(kSeries, "&step=1h", {{"X-Query-Tags", "Source=grafana-lokiexplore-app"}});
  EXPECT_EQ(partial.status, 200);
  EXPECT_NE(partial.body.find("\"warnings\":[\"maximum number of series (200) reached"),
            std::string::npos)
      << partial.body.substr(0, 300);
}

TEST_F(LokiLimitsTest, Time) {
  options_.engine.timeout = std::chrono::milliseconds(1);
  Start();
  PushLines();
  std::string work;
  for (int i = 0; i < 50; ++i) work += "{{ repeat 10000 __line__ | upper | trunc 1 }}";
  ExpectError(Range(Concat("{app=\"a\"} | line_format `", work, "`")), 504, "timed out");
  ExpectError(Get(Concat("/loki/api/v1/query?",
                         Query(Concat("sum(count_over_time({app=\"a\"} | "
                                      "label_format a=`",
                                      work, "` [1h]))")),
                         "&time=", kNowNs)),
              504, "timed out");
}

TEST_F(LokiLimitsTest, TimeRange) {
  Start();
  PushLines();
  const std::string too_long = "(query length: 722h0m0s, limit: 721h0m0s)";
  ExpectError(Range("{app=\"a\"}", "&since=722h"), 400, too_long);
  ExpectError(Range("rate({app=\"a\"}[1m])", "&since=722h&step=1h"), 400, too_long);
  EXPECT_EQ(Range("{app=\"a\"}", "&since=721h").status, 200);
  Stop();
  options_.engine.max_query_length = {};
  Start();
  const auto response = Range("{app=\"a\"}", "&since=100000h&limit=1");
  EXPECT_EQ(response.status, 200);
  EXPECT_NE(response.body.find("n=298"), std::string::npos) << response.body;
}

}  // namespace
}  // namespace varve::loki
