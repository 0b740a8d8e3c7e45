#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tools/ingest/exposition.h"
#include "tools/server/telemetry/registry.h"

namespace varve::telemetry {
namespace {

std::string Write(Format format) {
  Exposition out(format);
  out.Counter("jobs", "Jobs \\ done\nso far.", 3);
  out.Family("temperature", Kind::kGauge, "Say \"hot\".");
  out.Sample({{"room", "a\"b\\c\nd"}}, -0.5);
  out.Family("build", Kind::kInfo, "Build.");
  out.Sample({{"version", "1"}}, 1);
  DurationHistogram histogram;
  histogram.Observe(0.0001);
  histogram.Observe(0.003);
  histogram.Observe(1000);
  out.Family("wait_seconds", Kind::kHistogram, "Waits.");
  histogram.Write({{"lane", "q"}}, &out);
  WriteProcessMetrics(&out);
  return out.Finish();
}

TEST(TelemetryTest, BothFormatsParse) {
  for (const Format format : {Format::kText, Format::kOpenMetrics}) {
    const std::string body = Write(format);
    const auto parser = ingest::ExpositionParser::Make(format == Format::kText
                                                           ? ingest::ExpositionFormat::kText
                                                           : ingest::ExpositionFormat::kOpenMetrics,
                                                       body, {.strict = true});
    ingest::ExpositionItem item;
    size_t samples = 0;
    while (true) {
      const Result<bool> more = parser->Next(&item);
      ASSERT_TRUE(more.ok()) << more.status() << "\n" << body;
      if (!*more) break;
      if (item.kind == ingest::ExpositionItem::Kind::kSample) ++samples;
    }
    EXPECT_EQ(samples, 3u + 17u + 7u);
  }
}

TEST(TelemetryTest, JsonIsThatOfMetricFamilies) {
  Exposition out(Format::kJson);
  out.Only([](std::string_view name) { return name != "left_out"; });
  out.Counter("jobs", "Say \"hot\".", 3);
  out.Gauge("left_out", "", 1);
  out.Family("temperature", Kind::kGauge, "");
  out.Sample({{"room", "a"}}, -0.5);
  out.Sample({{"room", "b"}}, std::numeric_limits<double>::infinity());
  out.Family("none", Kind::kGauge, "");
  out.Family("wait_seconds", Kind::kHistogram, "Waits.");
  DurationHistogram histogram;
  histogram.Observe(0.0001);
  histogram.Observe(2);
  histogram.Write({{"lane", "q"}}, &out);
  histogram.Write({{"lane", "r"}}, &out);
  const std::string text = out.Finish();
  EXPECT_TRUE(text.starts_with(
      R"([{"name":"jobs_total","help":"Say \"hot\".","type":"COUNTER","metric":)"
      R"([{"label":[],"counter":{"value":3}}]},)"
      R"({"name":"temperature","help":"","type":"GAUGE","metric":)"
      R"([{"label":[{"name":"room","value":"a"}],"gauge":{"value":-0.5}},)"
      R"({"label":[{"name":"room","value":"b"}],"gauge":{"value":"Infinity"}}]},)"
      R"({"name":"none","help":"","type":"GAUGE","metric":[]},)"
      R"({"name":"wait_seconds","help":"Waits.","type":"HISTOGRAM","metric":)"
      R"([{"label":[{"name":"lane","value":"q"}],"histogram":{"sampleCount":"2",)"
      R"("sampleSum":2.0001,"bucket":[{"cumulativeCount":"1","upperBound":0.0001},)"))
      << text;
  EXPECT_TRUE(text.ends_with(R"({"cumulativeCount":"2","upperBound":60.0}]}}]}])")) << text;
  EXPECT_EQ(text.find("left_out"), std::string::npos);
  EXPECT_EQ(Exposition(Format::kJson).Finish(), "[]");
}

TEST(TelemetryTest, TextLines) {
  const std::string text = Write(Format::kText);
  for (const std::string_view line :
       {"# TYPE jobs_total counter\n", "\njobs_total 3\n",
        "# HELP jobs_total Jobs \\\\ done\\nso far.\n", "# HELP temperature Say \"hot\".\n",
        "temperature{room=\"a\\\"b\\\\c\\nd\"} -0.5\n", "# TYPE build_info gauge\n",
        "wait_seconds_bucket{lane=\"q\",le=\"0.0001\"} 1\n",
        "wait_seconds_bucket{lane=\"q\",le=\"1.0\"} 2\n",
        "wait_seconds_bucket{lane=\"q\",le=\"+Inf\"} 3\n", "wait_seconds_count{lane=\"q\"} 3\n",
        "# TYPE process_cpu_seconds_total counter\n", "\nprocess_open_fds "}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
  const std::string open = Write(Format::kOpenMetrics);
  for (const std::string_view line : {"# TYPE jobs counter\n", "\njobs_total 3\n",
                                      "# TYPE build info\n", "\nbuild_info{", "# EOF\n"}) {
    EXPECT_NE(open.find(line), std::string::npos) << line;
  }
}

TEST(TelemetryTest, FormatByAccept) {
  EXPECT_EQ(NegotiateFormat(""), Format::kText);
  EXPECT_EQ(NegotiateFormat("*/*"), Format::kText);
  EXPECT_EQ(NegotiateFormat("text/html"), Format::kText);
  EXPECT_EQ(NegotiateFormat("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"),
            Format::kOpenMetrics);
  EXPECT_EQ(NegotiateFormat("application/openmetrics-text;version=9.0.0,text/plain;q=0.2"),
            Format::kText);
  EXPECT_EQ(NegotiateFormat("application/openmetrics-text;q=0"), Format::kText);
}

TEST(TelemetryTest, CountsFromManyThreads) {
  Family<Counter> family({"a", "b"});
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10'000; ++k) family.With({"x", k % 2 == 0 ? "even" : "odd"}).Add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(family.With({"x", "even"}).value(), 40'000u);
  EXPECT_EQ(family.With({"x", "odd"}).value(), 40'000u);
  int metrics = 0;
  family.ForEach([&](const LabelList& labels, const Counter&) {
    EXPECT_EQ(labels.size(), 2u);
    ++metrics;
  });
  EXPECT_EQ(metrics, 2);
}

}  // namespace
}  // namespace varve::telemetry
