// Pushes over real HTTP into a real store: what is stored, and every answer byte for byte.

#include <snappy.h>
#include <zlib.h>

#include <string>

#include "tests/loki/loki_app.h"

namespace varve::loki {
namespace {

std::string Deflated(std::string_view text, int window_bits) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Snappy(std::string_view text) {
  std::string out;
  snappy::Compress(text.data(), text.size(), &out);
  return out;
}

std::string Field(int number, std::string_view bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  size_t size = bytes.size();
  for (; size >= 0x80; size >>= 7) out.push_back(static_cast<char>(0x80 | (size & 0x7f)));
  out.push_back(static_cast<char>(size));
  return out + std::string(bytes);
}
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  out.push_back(static_cast<char>(value));
  return out;
}

class PushApiTest : public LokiAppTest {
 protected:
  static std::string ProtoBody(std::string_view line) {
    const std::string time = "\x08" + Varint(kNowMs / 1000);
    const std::string entry =
        Field(1, time) + Field(2, line) + Field(3, Field(1, "k") + Field(2, "v"));
    return Field(1, Field(1, "{app=\"p\"}") + Field(2, entry));
  }
};

TEST_F(PushApiTest, StoresEveryEncoding) {
  Start();
  const std::string json = Body(R"({"app":"j"})", {"one", "two"});
  const auto send = [&](std::string body,
                        std::vector<std::pair<std::string, std::string>> headers) {
    const auto response = Send(http::Method::kPost, "/loki/api/v1/push", std::move(body), headers);
    EXPECT_EQ(response.body, "");
    EXPECT_FALSE(response.headers.Has("Content-Length"));
    return response.status;
  };
  const auto renamed = [&](std::string_view app) {
    std::string out = json;
    out.replace(out.find("\"j\""), 3, Concat("\"", app, "\""));
    return out;
  };
  EXPECT_EQ(send(json, {{"Content-Type", "application/json; charset=utf-8"}}), 204);
  EXPECT_EQ(send(Deflated(renamed("g"), 15 + 16),
                 {{"Content-Type", "application/json"}, {"Content-Encoding", "gzip"}}),
            204);
  EXPECT_EQ(send(Deflated(renamed("d"), 15),
                 {{"Content-Type", "application/json"}, {"Content-Encoding", "deflate"}}),
            204);
  EXPECT_EQ(send(Deflated(renamed("r"), -15),
                 {{"Content-Type", "application/json"}, {"Content-Encoding", "deflate"}}),
            204);
  EXPECT_EQ(send(Snappy(ProtoBody("proto \xff")), {{"Content-Type", "application/x-protobuf"}}),
            204);
  EXPECT_EQ(send(Snappy(ProtoBody("named")), {{"Content-Type", "application/x-protobuf"},
                                              {"Content-Encoding", "snappy"},
                                              {"X-Scope-OrgID", "tenant"}}),
            204);
  EXPECT_EQ(Stored(),
            "{app=\"d\", service_name=\"d\"} -1 one {detected_level=\"unknown\"}\n"
            "{app=\"d\", service_name=\"d\"} 0 two {detected_level=\"unknown\"}\n"
            "{app=\"g\", service_name=\"g\"} -1 one {detected_level=\"unknown\"}\n"
            "{app=\"g\", service_name=\"g\"} 0 two {detected_level=\"unknown\"}\n"
            "{app=\"j\", service_name=\"j\"} -1 one {detected_level=\"unknown\"}\n"
            "{app=\"j\", service_name=\"j\"} 0 two {detected_level=\"unknown\"}\n"
            "{app=\"p\", service_name=\"p\"} 0 proto \xff {detected_level=\"unknown\", k=\"v\"}\n"
            "{app=\"p\", service_name=\"p\"} 0 named {detected_level=\"unknown\", k=\"v\"}\n"
            "{app=\"r\", service_name=\"r\"} -1 one {detected_level=\"unknown\"}\n"
            "{app=\"r\", service_name=\"r\"} 0 two {detected_level=\"unknown\"}\n");
}

TEST_F(PushApiTest, SurvivesPathologicalBodies) {
  options_.limits.max_recv_msg_size = 8u << 20;
  Start();
  EXPECT_EQ(Push(Body(R"({"app":"a"})", {"before"})).status, 204);
  // A body that inflates 1000:1.
  const std::string bomb = Deflated(std::string(64u << 20, ' '), 15 + 16);
  ASSERT_LT(bomb.size(), 128u << 10);
  auto response = Send(http::Method::kPost, "/loki/api/v1/push", bomb,
                       {{"Content-Type", "application/json"}, {"Content-Encoding", "gzip"}});
  EXPECT_EQ(response.status, 413);
  EXPECT_NE(response.body.find("8388608"), std::string::npos) << response.body;
  // A snappy header that promises 4 GB.
  response = Send(http::Method::kPost, "/loki/api/v1/push", "\xff\xff\xff\xff\x0f",
                  {{"Content-Type", "application/x-protobuf"}});
  EXPECT_EQ(response.status, 413);
  // A line longer than any body may be.
  response = Push(Body(R"({"app":"a"})", {std::string(9u << 20, 'x')}));
  EXPECT_EQ(response.status, 413);
  // A long line within the body limit.
  response = Push(Body(R"({"app":"a"})", {std::string(7u << 20, 'x')}));
  EXPECT_EQ(response.status, 400);
  EXPECT_LT(response.body.size(), 1000u);
  // 10^5 labels.
  std::string labels = "{";
  for (int i = 0; i < 100'000; ++i) labels += Concat(i > 0 ? "," : "", "\"l", i, "\":\"v\"");
  response = Push(Body(labels + "}", {"x"}));
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("has 100000 label names; limit 15"), std::string::npos);
  EXPECT_LT(response.body.size(), 10'000u);
  // Nesting 10^5 deep.
  response = Push(Concat("{\"x\":", std::string(100'000, '['), std::string(100'000, ']'), "}"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.body, "malformed push body: nested more than 512 deep at byte 517\n");
  // 10^6 pairs of metadata.
  std::string metadata;
  for (int i = 0; i < 300'000; ++i) metadata += Concat(i > 0 ? "," : "", "\"m", i, "\":\"v\"");
  response = Push(Concat("{\"streams\":[{\"stream\":{\"app\":\"a\"},\"values\":[[\"", kNowNs,
                         "\",\"x\",{", metadata, "}]]}]}"));
  EXPECT_EQ(response.status, 400);
  EXPECT_LT(response.body.size(), 1000u);
  EXPECT_EQ(Push(Body(R"({"app":"a"})", {"after"})).status, 204);
  EXPECT_EQ(Stored(),
            "{app=\"a\", service_name=\"a\"} 0 before {detected_level=\"unknown\"}\n"
            "{app=\"a\", service_name=\"a\"} 0 after {detected_level=\"unknown\"}\n");
}

TEST_F(PushApiTest, TakesElasticsearchBulk) {
  Start();
  const auto info = Get("/elasticsearch/");
  EXPECT_EQ(info.status, 200);
  EXPECT_EQ(info.headers.Get("X-Elastic-Product"), "Elasticsearch");
  EXPECT_NE(info.body.find("\"number\":\"8."), std::string::npos);
  EXPECT_EQ(Get("/elasticsearch/_license").status, 200);
  EXPECT_EQ(Send(http::Method::kPut, "/elasticsearch/_ilm/policy/filebeat", "{}").status, 200);
  const auto bulk = [&](std::string path, std::string body) {
    return Send(http::Method::kPost, std::move(path), std::move(body),
                {{"Content-Type", "application/x-ndjson"}});
  };
  const std::string body =
      "{\"create\":{\"_index\":\"logs\",\"_id\":\"7\"}}\n"
      "{\"@timestamp\":\"2026-11-27T17:19:59Z\",\"message\":\"level=error "
      "\\u00e9\",\"n\":{\"a\":1}}\n"
      "\n"
      "{\"index\":{}}\r\n"
      "{\"time\":1795800000000,\"k8s\":{\"pod\":\"p1\"},\"message\":\"m\"}\r\n"
      "{\"index\":{\"_index\":\"logs\"}}\n"
      "{\"broken\":}\n"
      "{\"delete\":{\"_index\":\"logs\",\"_id\":\"7\"}}\n";
  auto response = bulk("/elasticsearch/default/_bulk?_stream_fields=k8s.pod", body);
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_EQ(response.body,
            "{\"took\":0,\"errors\":true,\"items\":[{\"create\":{\"_index\":\"logs\",\"_id\":\"7\","
            "\"status\":201}},{\"index\":{\"_index\":\"default\",\"status\":201}},{\"index\":{"
            "\"_index\":\"logs\",\"status\":400,\"error\":{\"type\":\"illegal_argument_exception\","
            "\"reason\":\"malformed document: expected a value at byte 10\"}}},{\"delete\":{"
            "\"_index\":\"logs\",\"_id\":\"7\",\"status\":400,\"error\":{\"type\":"
            "\"illegal_argument_exception\",\"reason\":\"log entries are not deleted one by one\"}}"
            "}]}");
  response = bulk("/_bulk?_msg_field=message",
                  "{\"create\":{\"_index\":\"m\"}}\n"
                  "{\"message\":\"the line\",\"host.name\":\"h\",\"n\":{\"a\":1.5,\"b\":[1,2]}}\n");
  EXPECT_EQ(response.status, 200) << response.body;
  EXPECT_NE(response.body.find("\"errors\":false"), std::string::npos);
  EXPECT_EQ(bulk("/_bulk", "").status, 400);
  response = bulk("/_bulk", "{\"create\":{}}\n");
  EXPECT_EQ(response.status, 400);
  EXPECT_NE(response.body.find("line 1: an action without its document"), std::string::npos);
  EXPECT_EQ(bulk("/_bulk", "{\"shout\":{}}\n{}\n").status, 400);
  EXPECT_EQ(
      Stored(),
      "{index=\"default\", k8s_pod=\"p1\", service_name=\"unknown_service\"} 0 "
      "{\"time\":1795800000000,\"k8s\":{\"pod\":\"p1\"},\"message\":\"m\"} "
      "{detected_level=\"unknown\"}\n"
      "{index=\"logs\", service_name=\"unknown_service\"} -1 "
      "{\"@timestamp\":\"2026-11-27T17:19:59Z\",\"message\":\"level=error "
      "\\u00e9\",\"n\":{\"a\":1}}"
      " {detected_level=\"error\"}\n"
      "{index=\"m\", service_name=\"unknown_service\"} 0 the line {detected_level=\"unknown\", "
      "host_name=\"h\", n_a=\"1.5\", n_b=\"[1,2]\"}\n");
}

// Clients that know a host and a port only; under the prefix it is all the same.
TEST_F(PushApiTest, TakesElasticsearchAtTheRoot) {
  Start();
  for (const std::string prefix : {"", "/elasticsearch"}) {
    const auto info = Get(prefix + "/");
    EXPECT_EQ(info.status, 200);
    EXPECT_EQ(info.headers.Get("X-Elastic-Product"), "Elasticsearch");
    EXPECT_EQ(info.headers.Get("Content-Type"), "application/json");
    EXPECT_NE(info.body.find("\"number\":\"8."), std::string::npos);
    EXPECT_NE(info.body.find("\"tagline\":\"You Know, for Search\""), std::string::npos);
    EXPECT_EQ(Send(http::Method::kHead, prefix + "/", "").status, 200);
    for (const char* path : {"/_license", "/_xpack", "/_cluster/health", "/_nodes/http",
                             "/_template/logstash", "/_index_template/ecs-logstash"}) {
      EXPECT_EQ(Get(prefix + path).status, 200) << path;
    }
    for (const char* path : {"/_template/a", "/_index_template/a", "/_ilm/policy/a", "/logs"}) {
      EXPECT_EQ(Send(http::Method::kPut, prefix + path, "{}").status, 200) << path;
    }
    const auto send = [&](http::Method method, std::string_view path, std::string body) {
      return Send(method, Concat(prefix, path), std::move(body),
                  {{"Content-Type", "application/json"}});
    };
    using http::Method;
    auto response = send(Method::kPost, "/one/_doc", "{\"message\":\"a\"}\r\n");
    EXPECT_EQ(response.status, 201) << response.body;
    EXPECT_EQ(response.headers.Get("X-Elastic-Product"), "Elasticsearch");
    EXPECT_NE(response.body.find("{\"_index\":\"one\",\"_id\":\""), std::string::npos);
    for (const auto& [method, path] : {std::pair(Method::kPost, "/one/_doc/7"),
                                       {Method::kPut, "/one/_doc/7"},
                                       {Method::kPost, "/one/_create/7"},
                                       {Method::kPut, "/one/_create/7"}}) {
      response = send(method, Concat(path, "?_msg_field=m&_stream_fields=s"),
                      Concat("{\"m\":\"", prefix, ToString(method), path, "\",\"s\":\"x\"}"));
      EXPECT_EQ(response.status, 201) << response.body;
      EXPECT_EQ(response.body,
                "{\"_index\":\"one\",\"_id\":\"7\",\"_version\":1,\"result\":\"created\","
                "\"_shards\":{\"total\":1,\"successful\":1,\"failed\":0},\"_seq_no\":0,"
                "\"_primary_term\":1}");
    }
    response = send(Method::kPost, "/one/_doc", "{\"message\":}");
    EXPECT_EQ(response.status, 400);
    EXPECT_EQ(response.body,
              "{\"error\":{\"type\":\"document_parsing_exception\",\"reason\":"
              "\"malformed document: expected a value at byte 11\"},\"status\":400}");
    EXPECT_EQ(send(Method::kPost, "/one/_doc", "").status, 400);
    EXPECT_EQ(send(Method::kPost, "/one/_doc", "[1]").status, 400);
    EXPECT_EQ(send(Method::kPut, "/one/_doc", "{}").status, 405);
  }
  const std::string now = Stored();
  for (const char* method : {"POST", "PUT"}) {
    for (const char* prefix : {"", "/elasticsearch"}) {
      for (const char* path : {"/one/_doc/7", "/one/_create/7"}) {
        EXPECT_NE(now.find(Concat(" ", prefix, method, path, " ")), std::string::npos) << now;
      }
    }
  }
  EXPECT_NE(now.find("{index=\"one\", s=\"x\", service_name="), std::string::npos) << now;
  EXPECT_NE(now.find(" {\"message\":\"a\"} "), std::string::npos) << now;
  // A browser is not told that it met Elasticsearch, and the name of an index makes no path known.
  EXPECT_EQ(Send(http::Method::kGet, "/", "", {{"Accept", "text/html,*/*;q=0.8"}}).status, 404);
  EXPECT_EQ(Get("/logs").status, 404);
  EXPECT_EQ(Send(http::Method::kPost, "/logs", "{}").status, 404);
}

}  // namespace
}  // namespace varve::loki
