// The Prometheus API, handler by handler, over a fake store and a fake engine: parameters, shapes,
// status codes and texts.

#include <memory>
#include <string>
#include <string_view>

#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tests/server/fakes.h"
#include "tools/server/api/context.h"
#include "tools/server/api/fuzzy_match.h"
#include "tools/server/http/url.h"

namespace varve::api {
namespace {

struct Answer {
  int status = 0;
  std::string body;
  http::Headers headers;
};

class ApiTest : public ::testing::Test {
 protected:
  ApiTest() {
    context_.engine = &engine_;
    context_.clock = std::make_shared<ManualClock>(1'700'000'000'000);
    context_.start_time_ms = 1'700'000'000'000;
    context_.version = "0.1.0";
    context_.address = "127.0.0.1:9090";
    context_.data_dir = ::testing::TempDir();
    context_.retention_text = "15d";
    context_.flags = {{"http", "127.0.0.1:9090"}};
    context_.scrape_interval = std::chrono::milliseconds(15'000);
    context_.write_metrics = [](telemetry::Exposition* out) { out->Gauge("one", "One.", 1); };
    AddAllRoutes(&context_, &router_);
    WriteBatch batch;
    const auto add = [&](Labels labels, int64_t time_ms, double value) {
      batch.AddSample(batch.AddSeries(labels.view()), time_ms, value);
    };
    add({{"__name__", "up"}, {"job", "a"}, {"instance", "x:1"}}, 1'699'999'990'000, 1);
    add({{"__name__", "up"}, {"job", "b"}}, 1'699'999'995'000, 0.5);
    add({{"__name__", "gone"}, {"job", "b"}}, 1'699'999'000'000, 7);
    add({{"__name__", "stale"}, {"job", "b"}}, 1'699'999'999'000, StaleNan());
    add({{"__name__", "http.requests"}, {"a b", "c\"d"}}, 1'699'999'999'000, 3);
    EXPECT_TRUE(database_.Append(batch, WriteOptions()).ok());
    context_.database = &database_;
    ingest_ =
        std::make_unique<ingest::IngestContext>(database_, ingest::IngestOptions(), context_.clock);
    context_.ingest = ingest_.get();
  }

  Answer Call(http::Method method, std::string_view target, std::string_view form = "",
              std::string_view body = "", http::Headers headers = {}) {
    Result<http::Target> parsed = http::ParseTarget(target, http::UrlLimits());
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    const http::Router::Match match = router_.Find(method, parsed->segments);
    if (match.route == nullptr) return {match.allowed == 0 ? 404 : 405, "", {}};
    http::Request request;
    request.method = method;
    request.segments = parsed->segments;
    request.path_params = match.path_params;
    request.headers = std::move(headers);
    request.body = body;
    EXPECT_TRUE(http::ParseForm(parsed->query, http::UrlLimits(), &request.params).ok());
    EXPECT_TRUE(http::ParseForm(form, http::UrlLimits(), &request.params).ok());
    http::Response response = match.route->handler(request);
    while (response.source != nullptr) {
      const Result<bool> more = response.source->Next(256, &response.body);
      EXPECT_TRUE(more.ok()) << more.status();
      if (!more.ok() || !*more) break;
    }
    return {response.status, std::move(response.body), std::move(response.headers)};
  }
  Answer Get(std::string_view target) { return Call(http::Method::kGet, target); }
  Answer Post(std::string_view target, std::string_view form) {
    return Call(http::Method::kPost, target, form);
  }

  testing::FakeDatabase database_;
  testing::FakeEngine engine_;
  Context context_;
  http::Router router_;
  std::unique_ptr<ingest::IngestContext> ingest_;
};

std::string Bad(std::string_view text) {
  return Concat(R"({"status":"error","errorType":"bad_data","error":")", text, "\"}");
}

TEST_F(ApiTest, InstantShapes) {
  EXPECT_EQ(Get("/api/v1/query?query=scalar&time=1.5").body,
            R"({"status":"success","data":{"resultType":"scalar","result":[1.500,"1e-07"]}})");
  EXPECT_EQ(Get("/api/v1/query?query=string&time=2").body,
            R"({"status":"success","data":{"resultType":"string","result":[2,"a\"b"]}})");
  const Answer vector = Get("/api/v1/query?query=vector");
  EXPECT_EQ(vector.headers.Get("Content-Type"), "application/json");
  EXPECT_EQ(vector.body, R"({"status":"success","data":{"resultType":"vector","result":[)"
                         R"({"metric":{"__name__":"up","job":"a"},"value":[1700000000,"1"]},)"
                         R"({"metric":{"job":"b\u003cc"},"value":[1700000000,"NaN"]}]}})");
  EXPECT_EQ(Get("/api/v1/query?query=histogram&time=1").body,
            R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{"h":"1"},)"
            R"("histogram":[1,{"count":"4","sum":"5.5","buckets":[[3,"-0.001","0.001","1"],)"
            R"([0,"0.5","1","1"],[0,"1","2","2"]]}]}]}})");
  EXPECT_EQ(Post("/api/v1/query", "query=scalar&time=1970-01-01T00:00:03Z").body,
            R"({"status":"success","data":{"resultType":"scalar","result":[3,"1e-07"]}})");
}

TEST_F(ApiTest, RangeShapes) {
  EXPECT_EQ(Get("/api/v1/query_range?query=matrix&start=1&end=10&step=1m").body,
            R"({"status":"success","data":{"resultType":"matrix","result":[)"
            R"({"metric":{"i":"0"},"values":[[1,"0.5"],[2.500,"2"]]},)"
            R"({"metric":{"i":"1"},"values":[[1,"0.5"],[2.500,"2"]]}]}})");
  EXPECT_EQ(engine_.last_range.end_ms, 10'000);
  EXPECT_EQ(engine_.last_range.step_ms, 60'000);
  // 11,000 steps are allowed, 11,001 are not.
  EXPECT_EQ(Get("/api/v1/query_range?query=matrix&start=0&end=11000&step=1").status, 200);
  EXPECT_EQ(Get("/api/v1/query_range?query=matrix&start=0&end=11001&step=1").body,
            Bad("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the "
                "query resolution (?step=XX)"));
  EXPECT_EQ(Get("/api/v1/query_range?query=matrix&start=0&end=3153600000&step=0.001").status, 400);
}

TEST_F(ApiTest, StreamedMatricesAreWhole) {
  const std::string body = Get("/api/v1/query_range?query=big&start=1&end=10&step=1m").body;
  EXPECT_GT(body.size(), 1'000'000u);
  EXPECT_NE(body.find(R"({"metric":{"i":"19999"},"values":[[1,"0.5"],[2.500,"2"]]}]}})"),
            std::string::npos);
}

TEST_F(ApiTest, LimitsNotesAndStatistics) {
  EXPECT_EQ(Get("/api/v1/query?query=vector&limit=1&time=1").body,
            R"({"status":"success","data":{"resultType":"vector","result":[)"
            R"({"metric":{"__name__":"up","job":"a"},"value":[1,"1"]}]},)"
            R"("warnings":["results truncated due to limit"]})");
  const std::string warned = Get("/api/v1/query?query=warn&time=1").body;
  EXPECT_NE(warned.find(R"("w9","2 more warning annotations omitted"],"infos":["an info"]})"),
            std::string::npos)
      << warned;
  EXPECT_EQ(Get("/api/v1/query?query=scalar&time=1").body.find("stats"), std::string::npos);
  const std::string stats = Get("/api/v1/query?query=scalar&time=1&stats=true").body;
  EXPECT_NE(stats.find(R"("samples":{"totalQueryableSamples":5,"peakSamples":0})"),
            std::string::npos)
      << stats;
  EXPECT_FALSE(engine_.last_options.per_step_stats);
  const std::string all = Get("/api/v1/query?query=scalar&time=1&stats=all").body;
  EXPECT_NE(all.find(R"("totalQueryableSamplesPerStep":[[1,5]])"), std::string::npos) << all;
  EXPECT_TRUE(engine_.last_options.per_step_stats);
  EXPECT_TRUE(engine_.last_options.analyze);
}

TEST_F(ApiTest, OptionsReachTheEngine) {
  Get("/api/v1/query?query=scalar&timeout=5s&lookback_delta=1m");
  EXPECT_EQ(engine_.last_options.timeout, std::chrono::milliseconds(5000));
  EXPECT_EQ(engine_.last_options.lookback_delta, std::chrono::milliseconds(60'000));
  Get("/api/v1/query?query=scalar&timeout=1h");
  EXPECT_EQ(engine_.last_options.timeout, engine_.options().timeout);
  Get("/api/v1/query?query=scalar");
  EXPECT_EQ(engine_.last_options.timeout, std::nullopt);
  // No time is too little for any query, not time without an end.
  for (const char* none : {"0", "0s", "-3"}) {
    Get(Concat("/api/v1/query?query=scalar&timeout=", none));
    EXPECT_EQ(engine_.last_options.timeout, std::chrono::milliseconds(-1)) << none;
  }
  EXPECT_EQ(engine_.last_time_ms, 1'700'000'000'000);
}

TEST_F(ApiTest, QueryErrors) {
  const struct {
    std::string_view target;
    int status;
    std::string body;
  } kCases[] = {
      {"/api/v1/query?query=parse", 400,
       Bad(R"(invalid parameter \"query\": 1:3: parse error: unexpected end of input)")},
      {"/api/v1/query?query=scalar&time=x", 400,
       Bad(R"(invalid parameter \"time\": invalid time value for 'time': )"
           R"(cannot parse \"x\" to a valid timestamp)")},
      {"/api/v1/query?query=scalar&timeout=x", 400,
       Bad(R"(invalid parameter \"timeout\": cannot parse \"x\" to a valid duration)")},
      {"/api/v1/query?query=scalar&lookback_delta=x", 400,
       Bad(R"(error parsing lookback delta duration: cannot parse \"x\" to a valid duration)")},
      {"/api/v1/query?query=scalar&limit=-1", 400,
       Bad(R"(invalid parameter \"limit\": limit must be non-negative)")},
      {"/api/v1/query?query=fail", 422,
       R"({"status":"error","errorType":"execution","error":"found duplicate series"})"},
      {"/api/v1/query?query=full", 422,
       R"({"status":"error","errorType":"execution","error":"too many samples"})"},
      {"/api/v1/query?query=late", 503,
       R"({"status":"error","errorType":"timeout","error":"query timed out in query execution"})"},
      {"/api/v1/query?query=other", 500,
       R"({"status":"error","errorType":"internal","error":"no such fake"})"},
      {"/api/v1/query_range?query=matrix&end=1&step=1", 400,
       Bad(R"(invalid parameter \"start\": cannot parse \"\" to a valid timestamp)")},
      {"/api/v1/query_range?query=matrix&start=2&end=1&step=1", 400,
       Bad(R"(invalid parameter \"end\": end timestamp must not be before start time)")},
      {"/api/v1/query_range?query=matrix&start=1&end=2", 400,
       Bad(R"(invalid parameter \"step\": cannot parse \"\" to a valid duration)")},
      {"/api/v1/query_range?query=matrix&start=1&end=2&step=0", 400,
       Bad(R"(invalid parameter \"step\": zero or negative query resolution step widths are not )"
           R"(accepted. Try a positive integer)")},
      {"/api/v1/series", 400, Bad("no match[] parameter provided")},
      {"/api/v1/series?match[]=up&start=2&end=1", 400,
       Bad(R"(invalid parameter \"end\": end timestamp must not be before start time)")},
      {"/api/v1/label/U__a_ff/values?limit=x", 400,
       Bad(R"(invalid parameter \"limit\": cannot parse \"x\" to a number)")},
      {"/api/v1/label/%ff/values", 400, Bad(R"(invalid label name: \"\\xff\")")},
      {"/api/v1/metadata?limit=x", 400, Bad("limit must be a number")},
      {"/api/v1/status/tsdb?limit=0", 400, Bad("limit must be a positive number")},
      {"/api/v1/status/tsdb?limit=10001", 400, Bad("limit must not exceed 10000")},
  };
  for (const auto& [target, status, body] : kCases) {
    const Answer got = Get(target);
    EXPECT_EQ(got.status, status) << target;
    EXPECT_EQ(got.body, body) << target;
  }
  EXPECT_EQ(Get("/api/v1/labels?match[]={").status, 400);
  EXPECT_EQ(Get("/api/v1/labels?match[]={a=~\".*\"}").status, 400);
}

TEST_F(ApiTest, LabelsAndSeries) {
  EXPECT_EQ(Get("/api/v1/labels").body,
            R"({"status":"success","data":["__name__","a b","instance","job"]})");
  EXPECT_EQ(Get("/api/v1/labels?match[]=up").body,
            R"({"status":"success","data":["__name__","instance","job"]})");
  EXPECT_EQ(Post("/api/v1/labels", "match[]=up&match[]=http.requests{}").status, 400);
  EXPECT_EQ(Post("/api/v1/labels", "match[]=gone&match[]={\"http.requests\"}").body,
            R"({"status":"success","data":["__name__","a b","job"]})");
  EXPECT_EQ(Get("/api/v1/labels?limit=2").body,
            R"({"status":"success","data":["__name__","a b"],)"
            R"("warnings":["results truncated due to limit"]})");
  EXPECT_EQ(Get("/api/v1/label/job/values").body, R"({"status":"success","data":["a","b"]})");
  EXPECT_EQ(Get("/api/v1/label/job/values?match[]=gone").body,
            R"({"status":"success","data":["b"]})");
  EXPECT_EQ(Get("/api/v1/label/a%20b/values").body, R"({"status":"success","data":["c\"d"]})");
  EXPECT_EQ(Get("/api/v1/label/U__a_20_b/values").body, R"({"status":"success","data":["c\"d"]})");
  EXPECT_EQ(Get("/api/v1/label/nothing/values").body, R"({"status":"success","data":[]})");
  EXPECT_EQ(Get("/api/v1/series?match[]=up").body,
            R"({"status":"success","data":[{"__name__":"up","instance":"x:1","job":"a"},)"
            R"({"__name__":"up","job":"b"}]})");
  EXPECT_EQ(Get("/api/v1/series?match[]=up&limit=1").body,
            R"({"status":"success","data":[{"__name__":"up","instance":"x:1","job":"a"}],)"
            R"("warnings":["results truncated due to limit"]})");
  EXPECT_EQ(Post("/api/v1/series", "match[]=up{job=\"b\"}&match[]={job=\"b\"}&limit=2").body,
            R"({"status":"success","data":[{"__name__":"gone","job":"b"},)"
            R"({"__name__":"stale","job":"b"}],"warnings":["results truncated due to limit"]})");
}

TEST_F(ApiTest, FormatAndParse) {
  EXPECT_EQ(Get("/api/v1/format_query?query=sum(rate(a[5m]))by(b)").body,
            R"j({"status":"success","data":"sum by (b) (rate(a[5m]))"})j");
  EXPECT_EQ(Get("/api/v1/format_query?query=sum(").status, 400);
  const std::string tree = Get("/api/v1/parse_query?query=up").body;
  EXPECT_NE(tree.find(R"("type":"vectorSelector")"), std::string::npos) << tree;
}

TEST_F(ApiTest, FederateSendsTheNewestInText) {
  const Answer got = Get("/federate?match[]={__name__=~\".%2B\"}&match[]=up");
  EXPECT_EQ(got.headers.Get("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_EQ(got.body,
            "# TYPE \"http.requests\" untyped\n"
            "{\"http.requests\",\"a b\"=\"c\\\"d\",instance=\"\"} 3 1699999999000\n"
            "# TYPE up untyped\n"
            "up{instance=\"x:1\",job=\"a\"} 1 1699999990000\n"
            "up{job=\"b\",instance=\"\"} 0.5 1699999995000\n");
  EXPECT_EQ(Get("/federate?match[]={").status, 400);
  EXPECT_EQ(Get("/federate").body, "");
}

TEST_F(ApiTest, StatusPages) {
  EXPECT_EQ(Get("/api/v1/status/flags").body,
            R"({"status":"success","data":{"http":"127.0.0.1:9090"}})");
  const std::string build = Get("/api/v1/status/buildinfo").body;
  EXPECT_NE(build.find(R"("version":"3.)"), std::string::npos);
  EXPECT_EQ(build.find("features"), std::string::npos);  // Grafana would take us for Mimir
  EXPECT_NE(Get("/api/v1/status/runtimeinfo").body.find(R"("storageRetention":"15d")"),
            std::string::npos);
  EXPECT_NE(Get("/api/v1/status/config").body.find("job_name: varve"), std::string::npos);
  EXPECT_NE(Get("/api/v1/status/tsdb").body.find(R"("headStats":{"numSeries":7,"numLabelPairs":)"),
            std::string::npos);
  EXPECT_EQ(Get("/api/v1/status/walreplay").body,
            R"({"status":"success","data":{"min":0,"max":1,"current":1}})");
  EXPECT_EQ(Get("/api/v1/rules").body, R"({"status":"success","data":{"groups":[]}})");
  EXPECT_EQ(Get("/api/v1/rules?type=alert").status, 200);
  EXPECT_EQ(Get("/api/v1/rules?type=both").status, 400);
  EXPECT_EQ(Get("/api/v1/alerts").body, R"({"status":"success","data":{"alerts":[]}})");
  EXPECT_EQ(Get("/api/v1/alertmanagers").body,
            R"({"status":"success","data":{"activeAlertmanagers":[],"droppedAlertmanagers":[]}})");
  const std::string targets = Get("/api/v1/targets").body;
  EXPECT_NE(targets.find(R"("labels":{"instance":"127.0.0.1:9090","job":"varve"})"),
            std::string::npos);
  EXPECT_NE(Get("/api/v1/targets?state=dropped").body.find(R"("activeTargets":[])"),
            std::string::npos);
  EXPECT_NE(Get("/api/v1/features").body.find(R"("promql":{)"), std::string::npos);
  EXPECT_EQ(Get("/version").status, 200);
  EXPECT_EQ(Get("/metrics").body, "# HELP one One.\n# TYPE one gauge\none 1\n");
}

TEST_F(ApiTest, TargetsAndTheirPool) {
  EXPECT_EQ(Get("/api/v1/scrape_pools").body,
            R"({"status":"success","data":{"scrapePools":["varve"]}})");
  const std::string config = Get("/api/v1/scrape_pools/config?scrapePool=varve").body;
  EXPECT_NE(config.find(R"("data":{"yaml":"job_name: varve\nscrape_interval: 15000ms\n)"),
            std::string::npos)
      << config;
  EXPECT_EQ(Get("/api/v1/scrape_pools/config").body, Bad("no scrapePool parameter provided"));
  const std::string labels = "&labels=%7B%22job%22:%22varve%22%7D";
  EXPECT_EQ(Get("/api/v1/targets/relabel_steps?scrapePool=varve" + labels).body,
            R"({"status":"success","data":{"steps":[]}})");
  EXPECT_EQ(Get("/api/v1/targets/relabel_steps?scrapePool=varve").body,
            Bad("no labels parameter provided"));
  EXPECT_EQ(Get("/api/v1/targets/relabel_steps?scrapePool=x" + labels).status, 400);
  context_.scrape_interval = std::chrono::milliseconds(0);
  EXPECT_EQ(Get("/api/v1/scrape_pools/config?scrapePool=varve").status, 400);
}

TEST_F(ApiTest, ShowsItsOwnMetricsAsJson) {
  EXPECT_EQ(Get("/api/v1/status/self_metrics").body,
            R"({"status":"success","data":[{"name":"one","help":"One.","type":"GAUGE",)"
            R"("metric":[{"label":[],"gauge":{"value":1}}]}]})");
  EXPECT_EQ(Get("/api/v1/status/self_metrics?metric_name_pattern=on").body,
            R"({"status":"success","data":[]})");
  EXPECT_EQ(Get("/api/v1/status/self_metrics?metric_name_pattern=o.*").body,
            Get("/api/v1/status/self_metrics").body);
  EXPECT_EQ(Get("/api/v1/status/self_metrics?metric_name_pattern=(").status, 400);
  EXPECT_EQ(Get("/api/v1/notifications").body, R"({"status":"success","data":[]})");
  EXPECT_EQ(Get("/api/v1/notifications/live").status, 204);
}

TEST_F(ApiTest, DescribesItsRoutes) {
  const Answer answer = Get("/api/v1/openapi.yaml");
  EXPECT_EQ(answer.headers.Get("Content-Type"), "application/yaml; charset=utf-8");
  for (const char* text :
       {"openapi: 3.1.0\n", "  \"/query_range\":\n    get:\n      operationId: get-query-range\n",
        "  \"/label/{name}/values\":\n", "      - in: path\n        name: \"name\"\n",
        "        name: \"match[]\"\n        required: true\n",
        "  \"/admin/tsdb/snapshot\":\n    put:\n"}) {
    EXPECT_NE(answer.body.find(text), std::string::npos) << text << "\n" << answer.body;
  }
  EXPECT_EQ(answer.body.find("/federate"), std::string::npos);
  EXPECT_TRUE(Get("/api/v1/openapi.yaml?openapi_version=3.2").body.starts_with("openapi: 3.2.0\n"));
}

TEST_F(ApiTest, Searches) {
  const auto names = [](const std::string& rest) { return "/api/v1/search/metric_names?" + rest; };
  const Answer all = Get(names(""));
  EXPECT_EQ(all.headers.Get("Content-Type"), "application/x-ndjson; charset=utf-8");
  EXPECT_EQ(all.body,
            "{\"results\":[{\"name\":\"gone\"},{\"name\":\"http.requests\"},{\"name\":\"stale\"},"
            "{\"name\":\"up\"}]}\n{\"status\":\"success\",\"has_more\":false}\n");
  EXPECT_EQ(Get(names("limit=3&batch_size=2&sort_by=alpha&sort_dir=dsc")).body,
            "{\"results\":[{\"name\":\"up\"},{\"name\":\"stale\"}]}\n"
            "{\"results\":[{\"name\":\"http.requests\"}]}\n"
            "{\"status\":\"success\",\"has_more\":true}\n");
  const std::string end = "{\"status\":\"success\",\"has_more\":false}\n";
  EXPECT_EQ(Get(names("search=hrq")).body, "{\"results\":[{\"name\":\"http.requests\"}]}\n" + end);
  EXPECT_EQ(Get(names("search=HTTP")).body, "{\"results\":[]}\n" + end);
  EXPECT_EQ(Get(names("search=HTTP&case_sensitive=false&fuzz_threshold=60")).body,
            "{\"results\":[{\"name\":\"http.requests\"}]}\n" + end);
  EXPECT_EQ(Get(names("search=hrq&fuzz_threshold=90")).body, "{\"results\":[]}\n" + end);
  EXPECT_EQ(Get(names("search=stail&fuzz_alg=jarowinkler&fuzz_threshold=85")).body,
            "{\"results\":[{\"name\":\"stale\"}]}\n" + end);
  EXPECT_EQ(
      Get(names("sort_by=cardinality&sort_dir=dsc&limit=1&match[]=up&match[]={job=%22b%22}")).body,
      "{\"results\":[{\"name\":\"up\",\"cardinality\":2}]}\n"
      "{\"status\":\"success\",\"has_more\":true}\n");
  EXPECT_EQ(Post("/api/v1/search/label_names",
                 "sort_by=frequency&sort_dir=dsc&limit=2&include_cardinality=true")
                .body,
            "{\"results\":[{\"name\":\"__name__\",\"cardinality\":4,\"frequency\":5},"
            "{\"name\":\"job\",\"cardinality\":2,\"frequency\":4}]}\n"
            "{\"status\":\"success\",\"has_more\":true}\n");
  EXPECT_EQ(
      Get("/api/v1/search/label_values?label=job&include_frequency=true").body,
      "{\"results\":[{\"name\":\"a\",\"frequency\":1},{\"name\":\"b\",\"frequency\":3}]}\n" + end);
  for (const char* bad :
       {"metric_names?fuzz_threshold=101", "metric_names?fuzz_alg=x", "metric_names?sort_dir=asc",
        "metric_names?sort_by=frequency", "metric_names?sort_by=alpha&sort_dir=up",
        "metric_names?case_sensitive=maybe", "metric_names?limit=-1", "metric_names?match[]={",
        "label_values"}) {
    EXPECT_EQ(Get(Concat("/api/v1/search/", bad)).status, 400) << bad;
  }
  EXPECT_EQ(Get(names("search=" + std::string(2000, 'x'))).status, 400);
}

TEST(FuzzyMatcherTest, BetterOnesScoreHigher) {
  const FuzzyMatcher matcher("reqtotal", 0, true, FuzzyMatcher::Algorithm::kSubsequence);
  EXPECT_EQ(matcher.Score("reqtotal"), 1);
  EXPECT_EQ(matcher.Score("req_totl"), std::nullopt);
  EXPECT_GT(*matcher.Score("reqtotal_a"), *matcher.Score("a_reqtotal"));
  EXPECT_GT(*matcher.Score("req_total"), *matcher.Score("r_e_q_t_o_t_a_l"));
  EXPECT_GT(*matcher.Score("a_req_x_reqtotal"), *matcher.Score("a_req_x_req_total"));
  EXPECT_NEAR(JaroWinkler("MARTHA", "MARHTA"), 0.9611, 1e-4);
  EXPECT_NEAR(JaroWinkler("DIXON", "DICKSONX"), 0.8133, 1e-4);
  EXPECT_EQ(JaroWinkler("abc", "xyz"), 0);
  EXPECT_EQ(JaroWinkler("", "x"), 0);
}

TEST_F(ApiTest, AdminIsOffUnlessEnabled) {
  EXPECT_EQ(Get("/api/v1/admin/tsdb/delete_series?match[]=up").status, 405);
  const Answer off = Post("/api/v1/admin/tsdb/delete_series?match[]=up", "");
  EXPECT_EQ(off.status, 500);
  EXPECT_EQ(off.body,
            R"({"status":"error","errorType":"unavailable","error":"admin APIs disabled"})");
  context_.enable_admin_api = true;
  EXPECT_EQ(Post("/api/v1/admin/tsdb/delete_series", "").status, 400);
  EXPECT_EQ(Post("/api/v1/admin/tsdb/delete_series?match[]=up", "").status, 204);
  EXPECT_EQ(Get("/api/v1/series?match[]=up").body, R"({"status":"success","data":[]})");
  EXPECT_EQ(Call(http::Method::kPut, "/api/v1/admin/tsdb/clean_tombstones").status, 204);
  EXPECT_EQ(database_.compactions, 1);
  EXPECT_EQ(Post("/api/v1/admin/tsdb/snapshot?skip_head=maybe", "").status, 400);
  const Answer snapshot = Post("/api/v1/admin/tsdb/snapshot?skip_head=false", "");
  EXPECT_EQ(snapshot.status, 200);
  EXPECT_FALSE(database_.backup_options.skip_heads);
  EXPECT_EQ(Post("/api/v1/admin/tsdb/snapshot?skip_head=1", "").status, 200);
  EXPECT_TRUE(database_.backup_options.skip_heads);
  EXPECT_NE(snapshot.body.find(R"("data":{"name":"20231114T221320Z-)"), std::string::npos)
      << snapshot.body;
}

TEST_F(ApiTest, Ingest) {
  const Answer text = Call(http::Method::kPost, "/api/v1/import/prometheus?timestamp=1699999999000",
                           "", "pushed{a=\"b\"} 4\n");
  EXPECT_EQ(text.status, 204) << text.body;
  EXPECT_EQ(Get("/api/v1/series?match[]=pushed").body,
            R"({"status":"success","data":[{"__name__":"pushed","a":"b"}]})");
  EXPECT_EQ(
      Call(http::Method::kPost, "/api/v1/import/prometheus", "", "not an exposition {").status,
      400);
  http::Headers headers;
  headers.Add("Content-Encoding", "br");
  EXPECT_EQ(Call(http::Method::kPost, "/api/v1/import/prometheus", "", "x", headers).status, 415);
  EXPECT_EQ(Call(http::Method::kPost, "/api/v1/write", "", "not snappy").status, 400);
  context_.enable_remote_write = false;
  EXPECT_EQ(Call(http::Method::kPost, "/api/v1/write", "", "").status, 404);
}

TEST_F(ApiTest, RulesParametersAreCheckedThoughThereAreNoRules) {
  const std::string none = R"({"status":"success","data":{"groups":[]}})";
  for (const std::string_view target :
       {"/api/v1/rules", "/api/v1/rules?type=Alert&exclude_alerts=true&group_limit=5",
        "/api/v1/rules?rule_name[]=a&rule_group[]=b&file[]=c&match[]=up"}) {
    EXPECT_EQ(Get(target).body, none) << target;
  }
  for (const auto& [query, error] : std::vector<std::pair<std::string_view, std::string_view>>{
           {"type=x", R"(invalid parameter \"type\": not supported value \"x\")"},
           {"exclude_alerts=x",
            R"(invalid parameter \"exclude_alerts\": error converting exclude_alerts: )"
            R"(strconv.ParseBool: parsing \"x\": invalid syntax)"},
           {"group_limit=x",
            R"(invalid parameter \"group_limit\": group_limit needs to be a valid number: )"
            R"(strconv.ParseInt: parsing \"x\": invalid syntax)"},
           {"group_limit=0",
            R"(invalid parameter \"group_limit\": group_limit needs to be greater than 0)"},
           {"group_next_token=t",
            R"(invalid parameter \"group_next_token\": group_limit needs to be present in order )"
            R"(to paginate over the groups)"},
           {"group_limit=1&group_next_token=t",
            R"(invalid parameter \"group_next_token\": invalid group_next_token 't'. were rule )"
            R"(groups changed?)"}}) {
    const Answer got = Get(Concat("/api/v1/rules?", query));
    EXPECT_EQ(got.status, 400) << query;
    EXPECT_EQ(got.body, Bad(error)) << query;
  }
  EXPECT_EQ(Get("/api/v1/rules?match[]={").status, 400);
}

TEST_F(ApiTest, LifecycleIsOffUnlessEnabled) {
  for (const std::string_view target : {"/-/quit", "/-/reload"}) {
    EXPECT_EQ(Get(target).status, 405);
    const Answer off = Post(target, "");
    EXPECT_EQ(off.status, 403);
    EXPECT_EQ(off.body, "Lifecycle API is not enabled.");
  }
  int asked = 0;
  context_.quit = [&] { ++asked; };
  EXPECT_EQ(Call(http::Method::kPut, "/-/reload").status, 200);
  EXPECT_EQ(asked, 0);
  EXPECT_EQ(Post("/-/quit", "").body, "Requesting termination... Goodbye!");
  EXPECT_EQ(asked, 1);
}

TEST_F(ApiTest, NotReadyUntilTheDatabaseIsOpen) {
  context_.database = nullptr;
  context_.ingest = nullptr;
  for (const std::string_view target :
       {"/-/ready", "/api/v1/query?query=scalar", "/api/v1/labels", "/api/v1/status/tsdb"}) {
    const Answer got = Get(target);
    EXPECT_EQ(got.status, 503) << target;
    EXPECT_EQ(got.headers.Get("Content-Type"), "text/plain; charset=utf-8");
  }
  EXPECT_EQ(Call(http::Method::kPost, "/api/v1/write", "", "").status, 503);
  EXPECT_EQ(Get("/-/healthy").status, 200);
  EXPECT_EQ(Get("/metrics").status, 200);
  EXPECT_EQ(Get("/api/v1/status/walreplay").body,
            R"({"status":"success","data":{"min":0,"max":1,"current":0}})");
}

}  // namespace
}  // namespace varve::api
