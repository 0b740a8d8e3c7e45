// Parses what the world writes: every query of public dashboards and rules that we have, with the
// verdict of Prometheus 2.42 beside it.

#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>

#include "query/lang/promql/parse.h"
#include "query/lang/promql/print.h"
#include "tests/support/shared_data.h"

namespace varve::promql {
namespace {

/// The queries that Prometheus 2.42 refused and that are right today, by what made them so.
struct NewerSyntax {
  std::string_view cause;
  std::string_view query;
};
constexpr NewerSyntax kNewer[] = {
    {"ranges may be numbers of seconds (3.0)",
     "sort_desc(sum by (model, user_email) (increase(claude_code_cost_usage_USD_total{job=~\".*\", "
     "organization_id=~\".*\", user_email=~\".*\", model=~\".*\"}[300:1m])))"},
    {"new function (2.49)", "sort_by_label(up, \"instance\")"},
    {"arithmetic in durations (3.4)", "rate(up[1m * 2])"},
    {"anchored ranges (3.7)", "rate(up[1m] anchored)"},
    {"fill modifiers (3.10)", "rate(up[5m]) + fill(0) rate(down[5m])"},
    {"quoted label names (3.0)",
     "http_server_request_duration_seconds_count{\"service_namespace\"=\"quickpizza\"}"},
};

TEST(Corpus, AcceptsAndRefusesLikePrometheus) {
  const auto path = testing::SharedPath("conformance/promql/real_world.ndjson.zst");
  if (!path) GTEST_SKIP() << "skipped: no shared folder, so no real-world queries";
  const std::string text = testing::ReadFile(*path);
  simdjson::dom::parser json;
  size_t count = 0;
  size_t accepted = 0;
  for (const std::string_view line : testing::SplitLines(text)) {
    const simdjson::dom::element record = json.parse(simdjson::padded_string(line));
    const std::string query{record["exec"].get_string().value()};
    const std::string verdict{record["prometheus_2_42"].get_string().value()};
    ++count;
    const auto expr = Parse(query);
    if (verdict.starts_with("success")) {
      EXPECT_TRUE(expr.ok()) << query << "\n" << expr.status();
    } else {
      const bool newer = std::any_of(std::begin(kNewer), std::end(kNewer),
                                     [&](const NewerSyntax& n) { return n.query == query; });
      EXPECT_EQ(expr.ok(), newer) << query;
    }
    if (!expr.ok()) continue;
    ++accepted;
    const std::string printed = Print(**expr);
    const auto again = Parse(printed);
    ASSERT_TRUE(again.ok()) << query << "\n" << printed << "\n" << again.status();
    EXPECT_TRUE(Equal(**expr, **again)) << query << "\n" << printed;
    EXPECT_EQ(printed, Print(**again));
    const auto pretty = Parse(PrettyPrint(**expr));
    ASSERT_TRUE(pretty.ok()) << PrettyPrint(**expr);
    EXPECT_TRUE(Equal(**expr, **pretty)) << query;
  }
  std::printf("%zu queries, %zu accepted\n", count, accepted);
}

}  // namespace
}  // namespace varve::promql
