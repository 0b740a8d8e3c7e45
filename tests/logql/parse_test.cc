#include "query/lang/logql/parse.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <string>
#include <vector>

#include "query/lang/logql/print.h"
#include "tests/support/shared_data.h"
#include "varve/logql.h"

namespace varve::logql {
namespace {

std::string PrintOf(std::string_view text) {
  const auto expr = Parse(text);
  if (!expr.ok())
    return std::string(expr.status().message().data(), expr.status().message().size());
  return Print(**expr);
}

TEST(LogQLParse, PrintsCanonically) {
  const std::pair<std::string, std::string> kCases[] = {
      {"{app='x'}",
       "parse error at line 1, col 6: syntax error: unexpected character \"'\", expecting STRING"},
      {"{ app = \"x\" , b!~`a\\d`}|=\"y\"or`z`", "{app=\"x\", b!~\"a\\\\d\"} |= \"y\" or \"z\""},
      // Precedence of label filters: `and` over `or`, but nothing over a comma.
      {"{a=\"1\"} | b=\"1\", c=\"2\" or d=\"3\"", "{a=\"1\"} | b=\"1\" and (c=\"2\" or d=\"3\")"},
      {"{a=\"1\"} | b=\"1\" and c=\"2\" or d=\"3\"", "{a=\"1\"} | b=\"1\" and c=\"2\" or d=\"3\""},
      {"{a=\"1\"} | b=\"1\" or c=\"2\", d=\"3\"", "{a=\"1\"} | b=\"1\" or c=\"2\" and d=\"3\""},
      {"{a=\"1\"} | b=\"1\" c>5", "{a=\"1\"} | b=\"1\" and c>5"},
      {"{a=\"1\"} | d>1.5h | s>=10KiB | n==-3", "{a=\"1\"} | d>1.5h | s>=10KiB | n==-3"},
      // Signs belong to literals, and those are computed at once.
      {"-2^2", "4"},
      {"1 == 2", "0"},
      {"7 % 0", "(0 / 0)"},
      {"2 ^ 3 ^ 2", "512"},
      // Words that are names where no parenthesis follows.
      {"{rate=\"a\", ip=\"b\"} | sum=\"c\"", "{rate=\"a\", ip=\"b\"} | sum=\"c\""},
      {"SUM BY (x) (RATE({a=\"b\"}[1h30m] OFFSET 5m))",
       "sum by (x) (rate({a=\"b\"}[1h30m] offset 5m))"},
      {"sum(rate({a=\"b\"}[5m] | json)) by (x)", "sum by (x) (rate({a=\"b\"} | json [5m]))"},
      {"({a=\"b\"} |= \"x\")", "{a=\"b\"} |= \"x\""},
      {"rate(({a=\"b\"} | unwrap bytes(x))[5m])", "rate({a=\"b\"} | unwrap bytes(x) [5m])"},
      {"{a=\"b\"} // comment\n| json /* more */ # end", "{a=\"b\"} | json"},
      {"max_over_time(rate({a=\"b\"}[1m])[1h:5m])", "max_over_time(rate({a=\"b\"}[1m])[1h:5m])"},
      {"a / on (x) group_left (y) b",
       "parse error at line 1, col 1: syntax error: unexpected IDENTIFIER"},
      // What does not parse.
      {"{}",
       "parse error : queries require at least one regexp or equality matcher that does not have "
       "an "
       "empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but "
       "app=~\".+\" will"},
      {"{a=\"b\",}",
       "parse error at line 1, col 8: syntax error: unexpected }, expecting IDENTIFIER"},
      {"{a=\"b\"} | json [5m]", "parse error at line 1, col 16: syntax error: unexpected RANGE"},
      {"({a=\"b\"}) | json", "parse error at line 1, col 11: syntax error: unexpected |"},
      {"rate({a=\"b\"} | json [5m] | y=\"1\")",
       "parse error at line 1, col 26: syntax error: unexpected |"},
      {"{a=\"b\"} | unwrap x", "parse error at line 1, col 9: syntax error: unexpected unwrap"},
      {"rate({a=\"b\"} | unwrap x | json [5m])",
       "parse error at line 1, col 25: syntax error: unexpected |"},
      {"rate({a=\"b\"}[5m", "parse error at line 1, col 13: missing closing ']' in duration"},
      {"{a=\"b\"} | n>0x10",
       "parse error at line 1, col 13: bad number or duration syntax: \"0x10\""},
      {"sum_over_time({a=\"b\"}[5m])",
       "parse error : invalid aggregation sum_over_time without unwrap"},
      {"count_over_time({a=\"b\"} | unwrap x [5m])",
       "parse error : invalid aggregation count_over_time with unwrap"},
      {"topk(0, rate({a=\"b\"}[5m]))",
       "parse error : invalid parameter (must be greater than 0) topk(0"},
      {"", "parse error at line 1, col 1: syntax error: unexpected $end"},
  };
  for (const auto& [text, want] : kCases) EXPECT_EQ(PrintOf(text), want) << text;
}

TEST(LogQLParse, HostileDepthIsRefused) {
  const auto refused = [](const std::string& text) {
    const auto expr = Parse(text);
    EXPECT_FALSE(expr.ok());
    EXPECT_EQ(expr.status().code(), StatusCode::kInvalidArgument);
  };
  refused(std::string(60'000, '('));
  refused("{a=\"b\"} | " + std::string(60'000, '('));
  std::string text = "1";
  for (int i = 0; i < 20'000; ++i) text += "^1";
  refused(text);
  text = "vector(1)";
  for (int i = 0; i < 20'000; ++i) text += "+1";
  refused(text);
  text = "{a=\"b\"} | a=\"1\"";
  for (int i = 0; i < 10'000; ++i) text += " a=\"1\"";
  refused(text);
  refused(std::string(200'000, 'x'));
}

TEST(LogQLParse, RealWorldVerdicts) {
  const auto path = testing::SharedPath("conformance/logql/real_world.ndjson.zst");
  if (!path) {
    std::printf("skipped: no conformance/logql in the shared data\n");
    return;
  }
  const std::string text = testing::ReadFile(*path);
  simdjson::dom::parser parser;
  size_t count = 0;
  for (const std::string_view line : testing::SplitLines(text)) {
    simdjson::dom::element item;
    ASSERT_EQ(parser.parse(line.data(), line.size()).get(item), simdjson::SUCCESS);
    const std::string_view expression = item["expr"];
    const std::string query(expression);
    const bool good = int64_t(item["loki_status"]) == 200;
    ++count;
    // What does not parse and what does not compile are one verdict.
    const auto info = query::InspectLogQuery(query);
    EXPECT_EQ(info.ok(), good) << query << "\n" << info.status();
    const auto expr = Parse(query);
    if (!expr.ok()) continue;
    const std::string printed = Print(**expr);
    EXPECT_EQ(PrintOf(printed), printed);
    EXPECT_EQ(PrintOf(PrettyPrint(**expr)), printed);
  }
  EXPECT_EQ(count, 231u);
}

}  // namespace
}  // namespace varve::logql
