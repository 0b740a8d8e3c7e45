// Loki's query API over real HTTP, a real store and the real engine: shapes, codes, texts.

#include <simdjson.h>

#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "tests/loki/loki_app.h"
#include "tools/loki/delete_log.h"
#include "tools/server/http/websocket_client.h"

namespace varve::loki {
namespace {

class LokiApiTest : public LokiAppTest {
 protected:
  void SetUp() override {
    LokiAppTest::SetUp();
    Start();
  }
  void PushSome() {
    ASSERT_EQ(Push(Body(R"({"app":"a","env":"x"})",
                        {R"({"level":"error","n":1,"o":{"p":"q"}})", "level=info msg=two n=2"}))
                  .status,
              204);
    ASSERT_EQ(Push(Body(R"({"app":"b","env":"y","id":"17"})", {"three <&> \"q\""})).status, 204);
  }
  // Cuts the member "stats", which has times in it.
  static std::string WithoutStats(std::string body) {
    const size_t at = body.find(",\"stats\":");
    if (at != std::string::npos) body = body.substr(0, at) + "}}";
    return body;
  }
  static std::string At(int64_t seconds) {
    return std::to_string(kNowNs + seconds * 1'000'000'000);
  }
};

TEST_F(LokiApiTest, QueriesStreams) {
  PushSome();
  const std::string path = "/loki/api/v1/query_range?" + Query("{app=\"a\"}");
  auto response = Get(path + "&end=" + At(1));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.Get("Content-Type"), "application/json");
  EXPECT_EQ(WithoutStats(response.body),
            Concat(R"({"status":"success","data":{"resultType":"streams","result":[)"
                   R"({"stream":{"app":"a","detected_level":"error","env":"x","service_name":"a"},)"
                   R"("values":[[")",
                   At(-1),
                   R"(","{\"level\":\"error\",\"n\":1,\"o\":{\"p\":\"q\"}}"]]},)"
                   R"({"stream":{"app":"a","detected_level":"info","env":"x","service_name":"a"},)"
                   R"("values":[[")",
                   At(0), R"(","level=info msg=two n=2"]]}]}})"));
  simdjson::dom::parser parser;
  const auto root = parser.parse(response.body);
  for (const char* part : {"summary", "querier", "ingester", "cache", "index"}) {
    EXPECT_TRUE(root["data"]["stats"][part].is_object()) << part;
  }
  response = Get(path + "&limit=1&direction=forward&end=" + At(1),
                 {{"X-Loki-Response-Encoding-Flags", "categorize-labels"}});
  EXPECT_EQ(WithoutStats(response.body),
            Concat(R"({"status":"success","data":{"resultType":"streams","result":[)"
                   R"({"stream":{"app":"a","env":"x","service_name":"a"},"values":[[")",
                   At(-1),
                   R"(","{\"level\":\"error\",\"n\":1,\"o\":{\"p\":\"q\"}}",)"
                   R"({"structuredMetadata":{"detected_level":"error"}}]]}],)"
                   R"("encodingFlags":["categorize-labels"]}})"));
  // POST with a form asks the same.
  const auto posted = Send(http::Method::kPost, "/loki/api/v1/query_range",
                           Concat(Query("{app=\"b\"}"), "&end=", At(1)),
                           {{"Content-Type", "application/x-www-form-urlencoded"}});
  EXPECT_EQ(posted.status, 200);
  EXPECT_NE(posted.body.find(R"(three \u003c\u0026\u003e \"q\")"), std::string::npos)
      << posted.body;
}

TEST_F(LokiApiTest, AnswersGrafanasHealthCheck) {
  const auto response = Get("/loki/api/v1/query?time=4000000000&" + Query("vector(1)+vector(1)"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(WithoutStats(response.body),
            R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},)"
            R"("value":[4000000000,"2"]}]}})");
  EXPECT_EQ(WithoutStats(Get("/loki/api/v1/query?time=4&" + Query("vector(1)+vector(1)")).body),
            R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},)"
            R"("value":[4,"2"]}]}})");
}

TEST_F(LokiApiTest, NamesMistakesInPlainText) {
  const std::pair<std::string, int> cases[] = {
      {"/loki/api/v1/query_range?" + Query("{app="), 400},
      {"/loki/api/v1/query?" + Query("{app=\"a\"}"), 400},
      {"/loki/api/v1/query_range?" + Query("{app=\"a\"}") + "&start=2&end=1", 400},
      {"/loki/api/v1/query_range?" + Query("{app=\"a\"}") + "&limit=-1", 400},
      {"/loki/api/v1/query_range?" + Query("{app=\"a\"}") + "&limit=5001", 400},
      {"/loki/api/v1/query_range?" + Query("{app=\"a\"}") + "&direction=up", 400},
      {"/loki/api/v1/query_range?" + Query("{app=\"a\"}") + "&start=yesterday", 400},
      {"/loki/api/v1/query_range?" + Query("rate({app=\"a\"}[1m])") + "&step=0", 400},
      {"/loki/api/v1/query_range?" + Query("rate({app=\"a\"}[1m])") + "&since=24h&step=1s", 400},
      {"/loki/api/v1/tail?" + Query("{app=\"a\"}"), 400},
      {"/loki/api/v1/index/volume?" + Query("{app=\"a\"}") + "&aggregateBy=x", 400},
      {"/loki/api/v1/rules", 404},
      {"/loki/api/v1/nothing", 404},
  };
  for (const auto& [path, status] : cases) {
    const auto response = Get(path);
    EXPECT_EQ(response.status, status) << path << " " << response.body;
    EXPECT_EQ(response.headers.Get("Content-Type"), "text/plain; charset=utf-8") << path;
    EXPECT_TRUE(response.body.ends_with("\n")) << path;
  }
}

TEST_F(LokiApiTest, ListsLabelsAndSeries) {
  EXPECT_EQ(Get("/loki/api/v1/labels").body, R"({"status":"success"})");
  PushSome();
  EXPECT_EQ(Get("/loki/api/v1/labels").body,
            R"({"status":"success","data":["app","env","id","service_name"]})");
  EXPECT_EQ(Get("/loki/api/v1/label/app/values").body, R"({"status":"success","data":["a","b"]})");
  EXPECT_EQ(Get("/loki/api/v1/label/app/values?" + Query("{env=\"y\"}")).body,
            R"({"status":"success","data":["b"]})");
  EXPECT_EQ(Get("/loki/api/v1/series?match[]=" + http::PercentEncode("{env=\"y\"}")).body,
            R"({"status":"success","data":[{"app":"b","env":"y","id":"17","service_name":"b"}]})");
  EXPECT_EQ(Get("/loki/api/v1/detected_labels").body,
            R"({"detectedLabels":[{"label":"app","cardinality":2},{"label":"env","cardinality":2},)"
            R"({"label":"service_name","cardinality":2}]})");
}

TEST_F(LokiApiTest, CountsVolumes) {
  PushSome();
  const auto stats = Get("/loki/api/v1/index/stats?" + Query("{app=\"a\"}"));
  EXPECT_NE(stats.body.find("\"streams\":1,"), std::string::npos) << stats.body;
  EXPECT_NE(stats.body.find("\"bytes\":59,\"entries\":2}"), std::string::npos) << stats.body;
  const std::string range = "&start=" + At(-10) + "&end=" + At(10);
  EXPECT_EQ(WithoutStats(Get("/loki/api/v1/index/volume?" + Query("{app=~\".+\"}") + range).body),
            R"({"status":"success","data":{"resultType":"vector","result":[)"
            R"({"metric":{"app":"a"},"value":[1795800010,"59"]},)"
            R"({"metric":{"app":"b"},"value":[1795800010,"13"]}]}})");
  EXPECT_EQ(WithoutStats(Get("/loki/api/v1/index/volume?" + Query("{app=~\".+\"}") + range +
                             "&targetLabels=env&aggregateBy=labels")
                             .body),
            R"({"status":"success","data":{"resultType":"vector","result":[)"
            R"({"metric":{"env":""},"value":[1795800010,"72"]}]}})");
  EXPECT_EQ(WithoutStats(Get("/loki/api/v1/index/volume_range?" + Query("{app=\"a\"}") +
                             "&start=" + At(-1) + "&end=" + At(1) + "&step=1s")
                             .body),
            R"({"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":"a"},)"
            R"("values":[[1795799999,"37"],[1795800000,"22"]]}]}})");
  // Half of the entries: what is inside the range counts, to the byte.
  EXPECT_EQ(WithoutStats(Get("/loki/api/v1/index/volume?" + Query("{app=\"a\"}") +
                             "&start=" + At(0) + "&end=" + At(1))
                             .body),
            R"({"status":"success","data":{"resultType":"vector","result":[)"
            R"({"metric":{"app":"a"},"value":[1795800001,"22"]}]}})");
}

TEST_F(LokiApiTest, DetectsFields) {
  PushSome();
  const std::string range = "&end=" + At(1);
  EXPECT_EQ(
      Get("/loki/api/v1/detected_fields?" + Query("{app=\"a\"}") + range).body,
      R"({"fields":[{"label":"detected_level","type":"string","cardinality":2,"parsers":null},)"
      R"({"label":"level","type":"string","cardinality":2,"parsers":["json","logfmt"],)"
      R"("jsonPath":["level"]},)"
      R"({"label":"msg","type":"string","cardinality":1,"parsers":["logfmt"]},)"
      R"({"label":"n","type":"int","cardinality":2,"parsers":["json","logfmt"],)"
      R"("jsonPath":["n"]},)"
      R"({"label":"o_p","type":"string","cardinality":1,"parsers":["json"],)"
      R"("jsonPath":["o","p"]}],"limit":1000})");
  EXPECT_EQ(Get("/loki/api/v1/detected_field/n/values?" + Query("{app=\"a\"}") + range).body,
            R"({"values":["1","2"],"limit":1000})");
}

TEST_F(LokiApiTest, MinesPatterns) {
  std::vector<std::string> lines;
  for (int i = 0; i < 50; ++i) {
    lines.push_back(Concat("level=info user=", i, " path=/api/v1/u", i, " took ", i, "ms"));
  }
  lines.emplace_back("level=error the disk is full");
  ASSERT_EQ(Push(Body(R"({"app":"p"})", lines)).status, 204);
  const auto response =
      Get("/loki/api/v1/patterns?" + Query("{app=\"p\"}") + "&step=10m&end=" + At(1));
  simdjson::dom::parser parser;
  const auto root = parser.parse(response.body);
  std::string_view pattern;
  ASSERT_EQ(root["data"].at(0)["pattern"].get(pattern), simdjson::SUCCESS) << response.body;
  EXPECT_EQ(pattern, "level=info user=<_> path=<_> took <_>");
  uint64_t total = 0;
  for (const auto sample : root["data"].at(0)["samples"].get_array()) {
    total += sample.at(1).get_uint64().value();
  }
  EXPECT_EQ(total, 50u);
  ASSERT_EQ(root["data"].at(1)["pattern"].get(pattern), simdjson::SUCCESS);
  EXPECT_EQ(pattern, "level=error the disk is full");
}

TEST_F(LokiApiTest, FormatsQueries) {
  EXPECT_EQ(Get("/loki/api/v1/format_query?" + Query("{app=\"a\"}|=\"x\"")).status, 200);
  const auto bad = Get("/loki/api/v1/format_query?" + Query("{app="));
  EXPECT_EQ(bad.status, 400);
  EXPECT_TRUE(bad.body.starts_with(R"({"status":"invalid-query","error":"parse error at line 1)"))
      << bad.body;
}

TEST_F(LokiApiTest, Deletes) {
  PushSome();
  const std::string path =
      "/loki/api/v1/delete?" + Query("{app=\"a\"} |= \"two\"") + "&start=0&end=" + At(0);
  auto response = Send(http::Method::kPost, path, "");
  EXPECT_EQ(response.status, 204) << response.body;
  const std::string id(response.headers.Get("X-Delete-Request-ID"));
  EXPECT_FALSE(id.empty());
  EXPECT_EQ(Stored().find("two"), std::string::npos);
  EXPECT_NE(Stored().find("three"), std::string::npos);
  response = Get("/loki/api/v1/delete");
  EXPECT_NE(response.body.find(Concat("\"request_id\":\"", id, "\",\"start_time\":0,\"end_time\":",
                                      "1795800000,\"query\":\"{app=\\\"a\\\"} |= \\\"two\\\"\",",
                                      "\"status\":\"processed\",\"created_at\":1795800000}")),
            std::string::npos)
      << response.body;
  EXPECT_EQ(Send(http::Method::kDelete, "/loki/api/v1/delete?request_id=" + id, "").status, 400);
  EXPECT_EQ(Send(http::Method::kDelete, "/loki/api/v1/delete?request_id=zz", "").status, 404);
  EXPECT_EQ(Send(http::Method::kPut, "/loki/api/v1/delete?start=0", "").status, 400);
  EXPECT_EQ(
      Send(http::Method::kPost, "/loki/api/v1/delete?start=0&" + Query("{app=\"a\"} | json"), "")
          .status,
      400);
}

TEST_F(LokiApiTest, TellsWhatItIs) {
  EXPECT_EQ(Get("/ready").body, "ready\n");
  EXPECT_NE(Get("/loki/api/v1/status/buildinfo").body.find("\"version\":\"3."), std::string::npos);
  EXPECT_NE(Get("/loki/api/v1/drilldown-limits").body.find("\"pattern_ingester_enabled\":true"),
            std::string::npos);
  EXPECT_NE(Get("/config").body.find("max_line_size: 262144"), std::string::npos);
  EXPECT_EQ(Get("/loki/api/v1/rules").body, "no rule groups found\n");
  EXPECT_EQ(Get("/prometheus/api/v1/rules").status, 200);
}

TEST_F(LokiApiTest, TailsOverWebSocket) {
  ASSERT_EQ(Push(Body(R"({"app":"a"})", {"old one", "old two"})).status, 204);
  const std::string path = "/loki/api/v1/tail?limit=1&" + Query("{app=\"a\"} |= \"o\"");
  auto client = http::WebSocketClient::Connect("127.0.0.1", http_->port(), path, {},
                                               std::chrono::seconds(20));
  ASSERT_TRUE(client.ok()) << client.status();
  auto message = client->Next();
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(*message, Concat(R"({"streams":[{"stream":{"app":"a","detected_level":"unknown",)"
                             R"("service_name":"a"},"values":[[")",
                             At(0), R"(","old two"]]}]})"));
  ASSERT_EQ(Push(Body(R"({"app":"b"})", {"other app"})).status, 204);
  ASSERT_EQ(Push(Body(R"({"app":"a"})", {"xxx", "new one"})).status, 204);
  message = client->Next();
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(*message, Concat(R"({"streams":[{"stream":{"app":"a","detected_level":"unknown",)"
                             R"("service_name":"a"},"values":[[")",
                             At(0), R"(","new one"]]}]})"));
  // With categorised labels metadata stands with the entry.
  http::Headers headers;
  headers.Add("X-Loki-Response-Encoding-Flags", "categorize-labels");
  auto second = http::WebSocketClient::Connect("127.0.0.1", http_->port(),
                                               "/loki/api/v1/tail?limit=0&" + Query("{app=\"a\"}"),
                                               headers, std::chrono::seconds(20));
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_EQ(Push(Body(R"({"app":"a"})", {"again o"})).status, 204);
  message = second->Next();
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(*message,
            Concat(R"({"streams":[{"stream":{"app":"a","service_name":"a"},"values":[[")", At(0),
                   R"(","again o",{"structuredMetadata":{"detected_level":"unknown"}}]]}],)"
                   R"("encodingFlags":["categorize-labels"]})"));
  EXPECT_TRUE(client->Close().ok());
  // Stopping ends tails at once instead of waiting for them.
  const auto begin = std::chrono::steady_clock::now();
  Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  while (message.ok()) message = second->Next();
  EXPECT_NE(ToStd(message.status().message()).find("server stops"), std::string::npos)
      << message.status();
}

TEST_F(LokiApiTest, TheListOfDeletionsOutlivesTheServer) {
  const auto remove = [&] {
    return Send(http::Method::kPost,
                "/loki/api/v1/delete?" + Query("{app=\"a\"} |= \"two\"") + "&start=0&end=" + At(0),
                "");
  };
  EXPECT_EQ(Get("/loki/api/v1/delete").body, "[]");
  EXPECT_EQ(remove().headers.Get("X-Delete-Request-ID"), "00000001");
  const std::string list = Get("/loki/api/v1/delete").body;
  EXPECT_NE(list.find("\"created_at\":"), std::string::npos) << list;
  Stop();
  Start();
  EXPECT_EQ(Get("/loki/api/v1/delete").body, list);
  EXPECT_EQ(remove().headers.Get("X-Delete-Request-ID"), "00000002");
  Stop();
  // A damaged list is lost; nothing else is.
  const std::string path = options_.delete_log_path;
  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  ASSERT_GT(bytes.size(), 100u);
  DeleteLog log;
  for (const size_t at : {size_t{0}, size_t{20}, size_t{30}, bytes.size() - 1}) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    std::ofstream(path, std::ios::binary) << damaged;
    EXPECT_EQ(log.Open(path).code(), StatusCode::kDataLoss) << at;
    EXPECT_TRUE(log.items().empty());
  }
  std::ofstream(path, std::ios::binary) << bytes;
  ASSERT_TRUE(log.Open(path).ok());
  EXPECT_EQ(log.items().size(), 2u);
  // Only the newest stay.
  for (int i = 0; i < 1001; ++i) ASSERT_TRUE(log.Add({"", "q", {0, 1}, i}).ok());
  EXPECT_EQ(log.items().size(), 1000u);
  EXPECT_EQ(log.items().back().id, "000003eb");
  Start();
  EXPECT_EQ(Get("/loki/api/v1/delete").status, 200);
}

TEST_F(LokiApiTest, BoundsTails) {
  std::vector<http::WebSocketClient> clients;
  for (int i = 0; i < 10; ++i) {
    auto client = http::WebSocketClient::Connect("127.0.0.1", http_->port(),
                                                 "/loki/api/v1/tail?" + Query("{app=\"a\"}"));
    ASSERT_TRUE(client.ok()) << client.status();
    clients.push_back(*std::move(client));
  }
  const auto client = http::WebSocketClient::Connect("127.0.0.1", http_->port(),
                                                     "/loki/api/v1/tail?" + Query("{app=\"a\"}"));
  EXPECT_NE(ToStd(client.status().message())
                .find("max concurrent tail requests limit exceeded, count > limit (11 > 10)"),
            std::string::npos)
      << client.status();
}

}  // namespace
}  // namespace varve::loki
