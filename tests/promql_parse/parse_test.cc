#include "query/lang/promql/parse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "query/lang/promql/print.h"

namespace varve::promql {
namespace {

std::string MessageOf(const Status& status) { return std::string(status.message()); }

struct PrintCase {
  std::string_view query;
  std::string_view printed;
};

constexpr PrintCase kPrinted[] = {
    // Precedence and signs.
    {"-1^2", "-1 ^ 2"},
    {"2^-1*3", "2 ^ -1 * 3"},
    {"--1", "1"},
    {"- - x", "--x"},
    {"a or b and c unless d == e + f * g ^ h", "a or b and c unless d == e + f * g ^ h"},
    // Offsets take one operand.
    {"x offset 1m + 2", "x offset 1m + 2"},
    {"x offset (1m + 2)", "x offset (1m + 2s)"},
    {"x offset -2^2", "x offset -2s ^ 2"},
    {"x offset -step()", "x offset -step()"},
    {"x[5m] offset 1h @ 3", "x[5m] @ 3.000 offset 1h"},
    {"x @ 3 offset 1h", "x @ 3.000 offset 1h"},
    {"x @ start() offset -1h", "x @ start() offset -1h"},
    {"x[1h:] @ end()", "x[1h:] @ end()"},
    {"x[1h:5m] @ 1.5 offset -1m", "x[1h:5m] @ 1.500 offset -1m"},
    {"x @ 1h", "x @ 3600.000"},
    {"sum(x) by (y) [5m:]", "sum by (y) (x)[5m:]"},
    {"x[5m] anchored", "x[5m] anchored"},
    {"x[5m] smoothed offset 1m", "x[5m] smoothed offset 1m"},
    {"x smoothed @ 5", "x @ 5.000 smoothed"},
    // Keywords as names.
    {"sum", "sum"},
    {"sum(sum) by (sum)", "sum by (sum) (sum)"},
    {"and or unless unless or", "and or unless unless or"},
    {"offset offset 5m", "offset offset 5m"},
    {"start + end", "start + end"},
    {"start() + STEP()", "start() + step()"},
    {"fill + fill(0) fill", "fill + fill (0) fill"},
    {"anchored[5m] anchored", "anchored[5m] anchored"},
    {R"({by="a",sum="b",on="c",inf="d"})", R"({by="a",inf="d",on="c",sum="b"})"},
    {R"(sum by (by, on, bool, "a.b", group_left,) (x))",
     R"(sum by (by, on, bool, "a.b", group_left) (x))"},
    {"SUM BY (y) (x) AND x", "sum by (y) (x) and x"},
    {"up:rate", "up:rate"},
    // Vector matching.
    {"a * on(x) group_left (b) c", "a * on (x) group_left (b) c"},
    {"a * on(x) group_left b", "a * on (x) group_left () b"},
    {"a == bool ignoring(x) b", "a == bool ignoring (x) b"},
    {"a + fill_left(1) fill_right(-Inf) b", "a + fill_left (1) fill_right (-Inf) b"},
    {"a >/ 5 </ 3", "a >/ 5 </ 3"},
    // Names that are not plain.
    {R"({"my.metric","a.b"="x"})", R"({"a.b"="x",__name__="my.metric"})"},
    {R"({"my.metric"}[5m])", R"({__name__="my.metric"}[5m])"},
    {R"(x{a="b",})", R"(x{a="b"})"},
    // Literals.
    {"0755", "493"},
    {"08", "8"},
    {"0x_1F", "31"},
    {"1_000.5", "1000.5"},
    {".5", "0.5"},
    {"5.", "5"},
    {"12.34e-6", "0.00001234"},
    {"inF + nan", "+Inf + NaN"},
    {"1h30m + 5", "1h30m + 5"},
    {"x[300]", "x[5m]"},
    {"x[1.001]", "x[1s1ms]"},
    {"x[1h+5m * (2 - step())]", "x[1h + 5m * (2s - step())]"},
    {"x[min_of(1, range()):max_of(2,3)]", "x[min_of(1s, range()):max_of(2s, 3s)]"},
    {R"('a\'b')", R"("a'b")"},
    {"`a\n\\n`", R"("a\n\\n")"},
    {R"("a\x41\101\u0041\U0001F600")", "\"aAAA\U0001F600\""},
    {R"("\xff")", R"("\xff")"},
    {"x # comment\n + 1 # another", "x + 1"},
    // Functions.
    {"info(x, {a=\"\"})", "info(x, {a=\"\"})"},
    {"sum by () (y)", "sum(y)"},
    {"sum without () (y)", "sum without () (y)"},
};

TEST(Parse, PrintsWhatItRead) {
  for (const auto& [query, printed] : kPrinted) {
    const auto expr = Parse(query);
    ASSERT_TRUE(expr.ok()) << query << ": " << expr.status();
    EXPECT_EQ(Print(**expr), printed) << query;
    const auto again = Parse(printed);
    ASSERT_TRUE(again.ok()) << printed << ": " << again.status();
    EXPECT_TRUE(Equal(**expr, **again)) << query;
    EXPECT_TRUE(Equal(**expr, *Clone(**expr))) << query;
  }
}

struct ErrorCase {
  std::string_view query;
  std::string_view message;
};

constexpr ErrorCase kErrors[] = {
    {"", "unknown position: parse error: no expression found in input"},
    {"# only", "1:1: parse error: no expression found in input"},
    {"x +", "1:4: parse error: unexpected end of input, expected an expression"},
    {"x + * y", "1:5: parse error: unexpected <op:*>, expected an expression"},
    {"a\nb", "2:1: parse error: unexpected identifier \"b\", expected an operator or end of input"},
    {"bool", "1:1: parse error: unexpected <bool>, expected an expression"},
    {"(x", "1:3: parse error: unclosed left parenthesis"},
    {"x)", "1:2: parse error: unexpected right parenthesis ')'"},
    {"x]", "1:2: parse error: unexpected right bracket ']'"},
    {"x}", "1:2: parse error: unexpected right brace '}'"},
    {"x ! y", "1:3: parse error: unexpected character: '!'"},
    {"x = y", "1:3: parse error: unexpected \"=\", expected an operator or end of input"},
    {"x =~ y", "1:3: parse error: unexpected character after '=': '~'"},
    {"\"abc", "1:1: parse error: unterminated quoted string"},
    {"\"abc\n\"", "1:1: parse error: unterminated quoted string"},
    {"`abc", "1:1: parse error: unterminated raw string"},
    {R"("a\q")", R"(1:1: parse error: error unquoting string "\"a\\q\"": invalid syntax)"},
    {"1__0", "1:1: parse error: bad number or duration syntax: \"1__0\""},
    {"5m30h", "1:1: parse error: not a valid duration string: \"5m30h\""},
    {"1e999",
     "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of "
     "range"},
    // Selectors.
    {"{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"},
    {R"({x=~".*"})",
     "1:1: parse error: vector selector must contain at least one non-empty matcher"},
    {R"({x=~"a|"})",
     "1:1: parse error: vector selector must contain at least one non-empty matcher"},
    {R"(x{__name__="y"})", R"(1:1: parse error: metric name must not be set twice: "x" or "y")"},
    {"x{", "1:3: parse error: unexpected end of input inside braces"},
    {R"(x{a="b" c)",
     "1:9: parse error: unexpected identifier \"c\" in label matching, expected \",\" or \"}\""},
    {"x{a=b}", "1:5: parse error: unexpected identifier \"b\" in label matching, expected string"},
    {"x{a}",
     "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator"},
    {"x{a:b=\"c\"}", "1:4: parse error: unexpected character inside braces: ':'"},
    {R"(x{a=~"("})", "1:3: parse error: error parsing regexp: missing closing ): `(`"},
    // Ranges and modifiers.
    {"x[]",
     "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, "
     "step(), or range()"},
    {"x[5m 1m]",
     "1:6: parse error: unexpected duration \"1m\" in subquery or range, expected \":\" or \"]\""},
    {"x[5m", "1:5: parse error: unclosed left bracket"},
    {"x[0]", "1:3: parse error: duration must be greater than 0"},
    {"x[1/0]", "1:4: parse error: division by zero"},
    {"x[400y]", "1:3: parse error: duration out of range"},
    {"x[1e30]", "1:3: parse error: duration out of range"},
    {"sum(x)[5m]", "1:7: parse error: ranges only allowed for vector selectors"},
    {"x offset 5m[5m]", "1:12: parse error: no offset modifiers allowed before range"},
    {"x @ 5[5m]", "1:6: parse error: no @ modifiers allowed before range"},
    {"x offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"},
    {"x @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"},
    {"x @ foo", "1:5: parse error: unexpected identifier \"foo\" in @, expected timestamp"},
    {"x @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"},
    {"1 offset 5m",
     "1:1: parse error: offset modifier must be preceded by an instant vector selector or range "
     "vector selector or a subquery"},
    {"x[5m] smoothed anchored",
     "1:1: parse error: anchored and smoothed modifiers cannot be used together"},
    {"x[5m:] anchored", "1:1: parse error: anchored modifier is not supported for subqueries"},
    {"x[5m][5m:]",
     "1:1: parse error: subquery is only allowed on instant vector, got matrix instead"},
    // Types and arguments.
    {"rate(x)",
     "1:6: parse error: expected type range vector in call to function \"rate\", got instant "
     "vector"},
    {"rate()", "1:1: parse error: expected 1 argument(s) in call to \"rate\", got 0"},
    {"round(x,1,2)",
     "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"},
    {"label_join(x, \"a\")",
     "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2"},
    {"foo(x)", "1:1: parse error: unknown function with name \"foo\""},
    {"rate(x[5m],)", "1:11: parse error: trailing commas not allowed in function call args"},
    {"sum(1)",
     "1:5: parse error: expected type instant vector in aggregation expression, got scalar"},
    {"topk(x)",
     "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, "
     "got 1"},
    {"topk(x, y)",
     "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"},
    {"sum()", "1:1: parse error: no arguments for aggregate expression provided"},
    {"sum x", "1:5: parse error: unexpected identifier \"x\" in aggregation"},
    {"sum by x (y)",
     "1:8: parse error: unexpected identifier \"x\" in grouping opts, expected \"(\""},
    {"sum by (inf) (x)",
     "1:9: parse error: unexpected number \"inf\" in grouping opts, expected label"},
    {"-x[5m]",
     "1:1: parse error: unary expression only allowed on expressions of type scalar or instant "
     "vector, got \"range vector\""},
    {"info(x, y)", "1:9: parse error: expected label selectors only, got vector selector instead"},
    // Binary operators.
    {"a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"},
    {"1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"},
    {"a and on(x) group_left b", "1:1: parse error: no grouping allowed for \"and\" operation"},
    {"a and fill(0) b",
     "1:1: parse error: filling in missing series not allowed for set operators"},
    {"a and 1", "1:1: parse error: set operator \"and\" not allowed in binary scalar expression"},
    {"a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"},
    {"a * on(x) group_left(x) b",
     "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once"},
    {"\"a\" + 1",
     "1:1: parse error: binary expression must contain only scalar and instant vector types"},
    // A parenthesis after group_left never opens an expression.
    {"a * on(x) group_left (b + c)",
     "1:25: parse error: unexpected <op:+> in grouping opts, expected \",\" or \")\""},
};

TEST(Parse, RefusesInPrometheusWords) {
  for (const auto& [query, message] : kErrors) {
    const auto expr = Parse(query);
    ASSERT_FALSE(expr.ok()) << query << " parsed as " << Print(**expr);
    EXPECT_EQ(expr.status().code(), StatusCode::kInvalidArgument) << query;
    EXPECT_EQ(MessageOf(expr.status()), message) << query;
    EXPECT_TRUE(TextPlaceOf(expr.status()).has_value()) << query;
  }
}

TEST(Parse, ExperimentalSyntaxCanBeOff) {
  ParseOptions options;
  options.experimental_functions = false;
  options.experimental_durations = false;
  options.extended_range_selectors = false;
  options.binop_fill_modifiers = false;
  const ErrorCase cases[] = {
      {"mad_over_time(x[5m])", "1:1: parse error: function \"mad_over_time\" is not enabled"},
      {"limitk(1, x)",
       "1:1: parse error: limitk() is experimental and must be enabled with "
       "--enable-feature=promql-experimental-functions"},
      {"x[5m+1m]", "1:3: parse error: experimental duration expression is not enabled"},
      {"x[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"},
      {"a + fill(0) b", "1:5: parse error: binop fill modifiers are experimental and not enabled"},
  };
  for (const auto& [query, message] : cases) {
    const auto expr = Parse(query, options);
    ASSERT_FALSE(expr.ok()) << query;
    EXPECT_EQ(MessageOf(expr.status()), message);
    EXPECT_TRUE(Parse(query).ok()) << query;
  }
  EXPECT_TRUE(Parse("x[5m] offset -1m", options).ok());
}

std::string Repeat(std::string_view text, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += text;
  return out;
}

TEST(Parse, BoundsDepthBeforeAnythingRecurses) {
  ParseOptions options;
  options.query_bytes_max = 10 << 20;
  constexpr size_t kMany = 100'000;
  const std::string hostile[] = {
      Repeat("(", kMany) + "x" + Repeat(")", kMany),
      Repeat("abs(", kMany) + "x" + Repeat(")", kMany),
      Repeat("sum by (a) (", kMany) + "x" + Repeat(")", kMany),
      Repeat("-", kMany) + "x",
      Repeat("- + ", kMany) + "x",
      Repeat("x ^ ", kMany) + "x",
      Repeat("x ^ on(a) - ", kMany) + "x",
      Repeat("x ^ on(a) group_left (b) - ", kMany) + "x",
      Repeat("x ^ fill(0) - ", kMany) + "x",
      Repeat("x + ", kMany) + "x",
      Repeat("x or ", kMany) + "x",
      Repeat("and and ", kMany) + "x",
      Repeat("(x + ", kMany) + "x" + Repeat(")", kMany),
      "x" + Repeat("[1m:]", kMany),
      "x[" + Repeat("(", kMany) + "1m" + Repeat(")", kMany) + "]",
      "x[" + Repeat("-", kMany) + "1m]",
      "x[" + Repeat("2 ^ ", kMany) + "1m]",
      "x[" + Repeat("1m + ", kMany) + "1m]",
      "x offset " + Repeat("(", kMany) + "1m" + Repeat(")", kMany),
      "x offset " + Repeat("-", kMany) + "1m",
      Repeat("(", kMany),
      Repeat("[", kMany),
      Repeat("{", kMany),
      Repeat(")", kMany),
  };
  for (const std::string& query : hostile) {
    const auto expr = Parse(query, options);
    ASSERT_FALSE(expr.ok()) << query.substr(0, 20);
    EXPECT_EQ(expr.status().code(), StatusCode::kInvalidArgument) << query.substr(0, 20);
    EXPECT_LT(expr.status().message().size(), 200u);
  }
  // Up to the bounds all is well.
  EXPECT_TRUE(Parse(Repeat("(", kNestingMax - 1) + "x" + Repeat(")", kNestingMax - 1)).ok());
  EXPECT_TRUE(Parse(Repeat("x + ", kTreeDepthMax - 1) + "x").ok());
  EXPECT_TRUE(Parse("sum(" + Repeat("x,", 5000) + "x)").status().message().size() < 200);
}

TEST(Parse, BoundsLength) {
  const auto expr = Parse("x{a=~\"" + Repeat("a|", 1 << 19) + "\"}");
  ASSERT_FALSE(expr.ok());
  EXPECT_EQ(MessageOf(expr.status()),
            "1:1: parse error: query is 1048584 bytes long, more than the limit of 65536");
  // A regular expression that fits but compiles to too much.
  const auto huge = Parse("x{a=~\"((a{100}){100}){100}\"}");
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.status().code(), StatusCode::kInvalidArgument);
}

TEST(Parse, RendersErrorsWithCaret) {
  const std::string_view query = "sum(\n\trate(x)\n)";
  const auto expr = Parse(query);
  ASSERT_FALSE(expr.ok());
  EXPECT_EQ(
      RenderError(query, expr.status()),
      "2:7: parse error: expected type range vector in call to function \"rate\", got instant "
      "vector\n\trate(x)\n\t     ^");
  const std::string wide = "{a=\"\u00e9\u00e9\"} + ";
  EXPECT_EQ(RenderError(wide, Parse(wide).status()),
            "1:14: parse error: unexpected end of input, expected an expression\n" + wide +
                "\n           ^");
  const std::string lone = Repeat("x + ", 100) + "* 5";
  const std::string shown = RenderError(lone, Parse(lone).status());
  EXPECT_LT(shown.size(), 400u);
  EXPECT_EQ(RenderError("x", MakeStatus(StatusCode::kInternal, "no place")), "no place");
}

TEST(Parse, KeepsSpans) {
  const std::string_view query = "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m)) / 2";
  const auto expr = Parse(query);
  ASSERT_TRUE(expr.ok());
  const auto text = [&](const Expr& e) {
    return query.substr(e.span.begin, e.span.end - e.span.begin);
  };
  const auto& binary = *As<BinaryExpr>(**expr);
  EXPECT_EQ(text(binary), query);
  const auto& sum = *As<AggregateExpr>(*binary.left);
  EXPECT_EQ(text(sum), "sum by (a) (rate(x{b=\"c\"}[5m] offset 1m))");
  const auto& rate = *As<Call>(*sum.expr);
  EXPECT_EQ(text(rate), "rate(x{b=\"c\"}[5m] offset 1m)");
  const auto& matrix = *As<MatrixSelector>(*rate.args[0]);
  EXPECT_EQ(text(matrix), "x{b=\"c\"}[5m] offset 1m");
  EXPECT_EQ(text(*matrix.selector), "x{b=\"c\"}");
  EXPECT_EQ(PositionOf(query, rate.span), "1:13");
}

TEST(Parse, ReadsSelectors) {
  const auto matchers = ParseSelector(R"(up{job=~"a|b", x!="y"})");
  ASSERT_TRUE(matchers.ok());
  ASSERT_EQ(matchers->size(), 3u);
  EXPECT_EQ((*matchers)[0], (Matcher{MatchType::kRegex, "job", "a|b"}));
  EXPECT_EQ((*matchers)[2], (Matcher{MatchType::kEqual, "__name__", "up"}));
  EXPECT_FALSE(ParseSelector("up + 1").ok());
  EXPECT_FALSE(ParseSelector("{}").ok());
  EXPECT_FALSE(ParseSelector("rate(x[5m])").ok());
}

TEST(Parse, CacheGivesTheSameTreeToManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 3000; ++i) {
        const std::string query = Concat("x", (i * 7 + t) % 1500, " + 1");
        const auto tree = ParseCached(query);
        ASSERT_TRUE(tree.ok());
        EXPECT_EQ(Print(**tree), query);
        EXPECT_FALSE(ParseCached("x +").ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto first = ParseCached("cached_name");
  EXPECT_EQ(*first, *ParseCached("cached_name"));
  ParseOptions strict;
  strict.extended_range_selectors = false;
  EXPECT_TRUE(ParseCached("x[5m] anchored").ok());
  EXPECT_FALSE(ParseCached("x[5m] anchored", strict).ok());
}

TEST(Print, SplitsLongQueriesLikePrometheus) {
  const auto expr = Parse(
      "sum by (job, instance) (rate(http_requests_total{job=\"api\", code=~\"5..\"}[5m] offset "
      "1h)) / on (job) "
      "group_left (instance) (sum by (job) (rate(http_requests_total{job=\"api\"}[5m]))) > 0.5");
  ASSERT_TRUE(expr.ok());
  EXPECT_EQ(PrettyPrint(**expr),
            "    sum by (job, instance) (rate(http_requests_total{code=~\"5..\",job=\"api\"}[5m] "
            "offset 1h))\n"
            "  / on (job) group_left (instance)\n"
            "    (sum by (job) (rate(http_requests_total{job=\"api\"}[5m])))\n"
            ">\n"
            "  0.5");
  const auto short_expr = Parse("sum ( rate ( x [5m] ) )  by(job)");
  ASSERT_TRUE(short_expr.ok());
  EXPECT_EQ(PrettyPrint(**short_expr), "sum by (job) (rate(x[5m]))");
}

TEST(Print, ShowsTheTreeAsJson) {
  const auto expr = Parse("topk(3, rate(x{a!~\"b\"}[5m] offset -1m @ end())) + on (a) \"y\"");
  EXPECT_FALSE(expr.ok());
  const PrintCase cases[] = {
      {"1 + 2.5",
       R"({"bool":false,"lhs":{"type":"numberLiteral","val":"1"},"matching":null,"op":"+",)"
       R"("rhs":{"type":"numberLiteral","val":"2.5"},"type":"binaryExpr"})"},
      {"topk(3, -x{a!~\"b\"} offset -1m @ end())",
       R"({"expr":{"expr":{"anchored":false,"matchers":[{"name":"a","type":"!~","value":"b"},)"
       R"({"name":"__name__","type":"=","value":"x"}],"name":"x","offset":-60000,"smoothed":false,)"
       R"("startOrEnd":"end","timestamp":null,"type":"vectorSelector"},"op":"-","type":"unaryExpr"},)"
       R"("grouping":[],"op":"topk","param":{"type":"numberLiteral","val":"3"},"type":"aggregation",)"
       R"("without":false})"},
      {"rate(x[5m])",
       R"({"args":[{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"x"}],)"
       R"("name":"x","offset":0,"range":300000,"smoothed":false,"startOrEnd":null,"timestamp":null,)"
       R"("type":"matrixSelector"}],"func":{"argTypes":["matrix"],"name":"rate",)"
       R"("returnType":"vector","variadic":0},"type":"call"})"},
      {"(\"a\\\"\\n\\xff\")",
       R"({"expr":{"type":"stringLiteral","val":"a\"\u000a\ufffd"},"type":"parenExpr"})"},
      {"x[5m:] @ 1.5",
       R"({"expr":{"anchored":false,"matchers":[{"name":"__name__","type":"=","value":"x"}],)"
       R"("name":"x","offset":0,"smoothed":false,"startOrEnd":null,"timestamp":null,)"
       R"("type":"vectorSelector"},"offset":0,"range":300000,"startOrEnd":null,"step":0,)"
       R"("timestamp":1500,"type":"subquery"})"},
  };
  for (const auto& [query, json] : cases) {
    const auto tree = Parse(query);
    ASSERT_TRUE(tree.ok()) << query;
    EXPECT_EQ(ToJson(**tree), json) << query;
  }
}

TEST(Literals, ReadNumbers) {
  const std::pair<std::string_view, double> cases[] = {
      {"1", 1},
      {"0", 0},
      {"00", 0},
      {"010", 8},
      {"09", 9},
      {"0xff", 255},
      {"1e3", 1000},
      {".5", 0.5},
      {"5.", 5},
      {"0.1e-3", 1e-4},
      {"1_0", 10},
      {"inf", INFINITY},
      {"INF", INFINITY},
      {"9223372036854775807", 0x1p63},
      {"9223372036854775808", 0x1p63},
      {"1e-400", 0},
      {"4.9e-324", 4.9e-324},
  };
  for (const auto& [text, value] : cases) {
    const auto parsed = ParseNumber(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, value) << text;
  }
  EXPECT_TRUE(std::isnan(*ParseNumber("nan")));
  for (const std::string_view bad : {"", "x", "1x", "0xg", "0xfffffffffffffffff", "1e400", "--1"}) {
    EXPECT_FALSE(ParseNumber(bad).ok()) << bad;
  }
}

TEST(Literals, ReadAndPrintDurations) {
  const std::pair<std::string_view, int64_t> cases[] = {
      {"0", 0},
      {"0s", 0},
      {"5ms", 5},
      {"1m30s", 90'000},
      {"1h", 3'600'000},
      {"1y2w3d4h5m6s7ms", 33'019'506'007},
      {"292y", 9'208'512'000'000},
  };
  for (const auto& [text, ms] : cases) {
    const auto parsed = ParseDurationMs(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, ms) << text;
    EXPECT_EQ(*ParseDurationMs(FormatDurationMs(ms)), ms) << text;
  }
  const std::pair<std::string_view, std::string_view> errors[] = {
      {"", "empty duration string"},
      {"1", "not a valid duration string: \"1\""},
      {"1s1m", "not a valid duration string: \"1s1m\""},
      {"1m1m", "not a valid duration string: \"1m1m\""},
      {"1.5h", "not a valid duration string: \"1.5h\""},
      {"-1m", "not a valid duration string: \"-1m\""},
      {"300y", "duration out of range"},
      {"99999999999999999999999s", "duration out of range"},
  };
  for (const auto& [text, message] : errors) {
    EXPECT_EQ(MessageOf(ParseDurationMs(text).status()), message);
  }
  const std::pair<int64_t, std::string_view> printed[] = {
      {0, "0s"},
      {90 * 86'400'000LL, "90d"},
      {7 * 86'400'000LL, "1w"},
      {61'001, "1m1s1ms"},
      {-90'000, "-1m30s"},
      {365 * 86'400'000LL, "1y"},
      {INT64_MIN, "-106751991167d7h12m55s808ms"},
  };
  for (const auto& [ms, text] : printed) EXPECT_EQ(FormatDurationMs(ms), text);
}

TEST(Literals, PrintFloatsWithoutExponent) {
  const std::pair<double, std::string_view> cases[] = {
      {0, "0"},
      {-0.0, "-0"},
      {1.5, "1.5"},
      {1e21, "1000000000000000000000"},
      {1e-7, "0.0000001"},
      {INFINITY, "+Inf"},
      {-INFINITY, "-Inf"},
      {NAN, "NaN"},
  };
  for (const auto& [value, text] : cases) EXPECT_EQ(FormatFloat(value), text);
  for (const double value : {1.7976931348623157e308, 4.9e-324, -2.2250738585072014e-308}) {
    EXPECT_EQ(std::strtod(FormatFloat(value).c_str(), nullptr), value);
  }
}

TEST(Durations, AreComputedInMilliseconds) {
  struct Case {
    std::string_view text;
    int64_t ms;
  };
  const DurationScope scope{5'000, 10'000};
  const Case cases[] = {
      {"5m", 300'000},
      {"1.001", 1'001},
      {"0.0019", 1},
      {"1h30m % 1h", 1'800'000},
      {"24m+((1.5*2m)+2m)", 1'740'000},
      {"-5m+35m", 1'800'000},
      {"step()+1ms", 5'001},
      {"range() ^ 2", 100'000},
      {"min_of(step(), 1s)", 1'000},
      {"max_of(step(), 1s) / 2", 2'500},
      {"(2 ^ 3) ^ 2", 64'000},
      {"2 ^ 3 ^ 2", 512'000},
  };
  for (const auto& [text, ms] : cases) {
    const std::string query = Concat("x[", text, "]");
    const auto expr = Parse(query);
    ASSERT_TRUE(expr.ok()) << query << expr.status();
    const auto value = EvalDuration(*As<MatrixSelector>(**expr)->range, scope, query, true);
    ASSERT_TRUE(value.ok()) << query;
    EXPECT_EQ(*value, ms) << query;
  }
  const ErrorCase errors[] = {
      {"step() - 1h", "1:3: duration must be greater than 0"},
      {"1 / (step() - 5)", "1:3: division by zero"},
      {"1 % (step() - 5)", "1:3: modulo by zero"},
      {"(-1) ^ 0.5", "1:3: duration must be greater than 0"},
      {"10 ^ 100", "1:3: duration is out of range"},
  };
  for (const auto& [text, message] : errors) {
    const std::string query = Concat("x[", text, "]");
    const auto expr = Parse(query);
    ASSERT_TRUE(expr.ok()) << query << expr.status();
    const auto value = EvalDuration(*As<MatrixSelector>(**expr)->range, scope, query, true);
    EXPECT_EQ(MessageOf(value.status()), message) << query;
  }
}

}  // namespace
}  // namespace varve::promql
