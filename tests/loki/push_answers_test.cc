// What a push is answered, byte for byte: one row for each thing that a body may get wrong, and
// what is stored of it all the same.

#include <snappy.h>
#include <zlib.h>

#include <string>

#include "tests/loki/loki_app.h"

namespace varve::loki {
namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kProtobuf = "application/x-protobuf";

std::string Snappy(std::string_view text) {
  std::string out;
  snappy::Compress(text.data(), text.size(), &out);
  return out;
}
std::string Varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  out.push_back(static_cast<char>(value));
  return out;
}
std::string Field(int number, std::string_view bytes) {
  return Concat(std::string(1, static_cast<char>(number << 3 | 2)), Varint(bytes.size()), bytes);
}

struct Row {
  std::string what;
  std::string body;
  int status;
  std::string answer;       // without the newline at the end of every error
  std::string stored = "";  // see Stored(), of this body alone
  std::string_view type = kJson;
  std::string encoding = "";
};

class PushAnswersTest : public LokiAppTest {
 protected:
  void SetUp() override {
    LokiAppTest::SetUp();
    options_.limits.discover_log_levels = false;
  }

  /// A body of one stream with the given text for its labels and its values.
  static std::string Json(std::string_view labels, std::string_view values) {
    return Concat("{\"streams\":[{\"stream\":", labels, ",\"values\":[", values, "]}]}");
  }
  static std::string Entry(std::string_view line, int64_t seconds = 0,
                           std::string_view metadata = "") {
    return Concat("[\"", kNowNs + seconds * 1'000'000'000, "\",\"", line, "\"",
                  metadata.empty() ? "" : ",", metadata, "]");
  }
  static std::string Protobuf(std::string_view selector, std::string_view line = "x") {
    const std::string entry = Concat(Field(1, "\x08" + Varint(kNowMs / 1000)), Field(2, line));
    return Snappy(Field(1, Concat(Field(1, selector), Field(2, entry))));
  }

  // Each row gets a store of its own.
  void Check(const std::vector<Row>& rows) {
    for (const Row& row : rows) {
      SCOPED_TRACE(row.what);
      Stop();
      std::filesystem::remove_all(dir_);
      Start();
      std::vector<std::pair<std::string, std::string>> headers;
      if (!row.type.empty()) headers.emplace_back("Content-Type", row.type);
      if (!row.encoding.empty()) headers.emplace_back("Content-Encoding", row.encoding);
      const auto response = Send(http::Method::kPost, "/loki/api/v1/push", row.body, headers);
      EXPECT_EQ(response.status, row.status);
      EXPECT_EQ(response.body, row.answer.empty() ? "" : row.answer + "\n");
      if (row.status == 204) {
        EXPECT_FALSE(response.headers.Has("Content-Type"));
      } else {
        EXPECT_EQ(response.headers.Get("Content-Type"), "text/plain; charset=utf-8");
        EXPECT_EQ(response.headers.Get("X-Content-Type-Options"), "nosniff");
      }
      EXPECT_EQ(Stored(), row.stored);
    }
  }
};

TEST_F(PushAnswersTest, TakesGoodBodies) {
  const std::string stored = "{app=\"a\", service_name=\"a\"} 0 x {}\n";
  const std::string body = Json(R"({"app":"a"})", Entry("x"));
  Check({
      {"JSON", body, 204, "", stored},
      {"JSON with parameters", body, 204, "", stored, "application/json; charset=utf-8"},
      {"protobuf", Protobuf(R"({app="a"})"), 204, "", stored, kProtobuf},
      {"protobuf without a Content-Type", Protobuf(R"({app="a"})"), 204, "", stored, ""},
      {"protobuf by another name", Protobuf(R"({app="a"})"), 204, "", stored, "text/anything"},
      {"protobuf that says snappy", Protobuf(R"({app="a"})"), 204, "", stored, kProtobuf, "snappy"},
      {"raw string, blanks, trailing comma", Protobuf("{ app = `a` , }"), 204, "", stored,
       kProtobuf},
      {"escapes", Protobuf(R"({app="\x61",env="\u00e9\n\""})"), 204, "",
       "{app=\"a\", env=\"é\\n\\\"\", service_name=\"a\"} 0 x {}\n", kProtobuf},
      {"no entries", Json(R"({"app":"a"})", ""), 204, ""},
      {"no labels", Json("{}", Entry("x")), 204, "", "{service_name=\"unknown_service\"} 0 x {}\n"},
      {"empty value of a label", Json(R"({"app":"a","env":""})", Entry("x")), 204, "", stored},
      {"own service_name", Json(R"({"app":"a","service_name":"s"})", Entry("x")), 204, "",
       "{app=\"a\", service_name=\"s\"} 0 x {}\n"},
      {"time without quotes", Json(R"({"app":"a"})", Concat("[", kNowNs, ",\"x\"]")), 204, "",
       stored},
      {"empty line", Json(R"({"app":"a"})", Entry("")), 204, "",
       "{app=\"a\", service_name=\"a\"} 0  {}\n"},
      {"names of metadata are normalised",
       Json(R"({"app":"a"})", Entry("x", 0, R"({"a.b-c":"1","x__y":"2","0n":"3","é":"4"})")), 204,
       "", "{app=\"a\", service_name=\"a\"} 0 x {_=\"4\", a_b_c=\"1\", key_0n=\"3\", x_y=\"2\"}\n"},
      {"unknown members",
       R"({"x":[{}],"streams":[{"stream":{"app":"a"},"y":null,"values":[)" + Entry("x") + "]}]}",
       204, "", stored},
      {"entries before their labels",
       R"({"streams":[{"values":[)" + Entry("x") + R"(],"stream":{"app":"a"}}]})", 204, "", stored},
  });
}

TEST_F(PushAnswersTest, NamesWhatIsWrongWithLabels) {
  const std::string kept = "{app=\"good\", service_name=\"good\"} 0 kept {}\n";
  const auto beside = [](std::string_view labels) {
    return Concat("{\"streams\":[{\"stream\":", labels, ",\"values\":[", Entry("x"),
                  "]},{\"stream\":{\"app\":\"good\"},\"values\":[", Entry("kept"), "]}]}");
  };
  std::string sixteen = "{";
  std::string sixteen_shown = "{";
  for (char c = 'a'; c < 'a' + 16; ++c) {
    sixteen += Concat(sixteen.size() > 1 ? "," : "", "\"", std::string(1, c), "\":\"v\"");
    sixteen_shown += Concat(std::string(1, c), "=\"v\", ");
  }
  const std::string name(1025, 'n');
  const std::string value(2049, 'v');
  const auto wrong = [](std::string_view selector, std::string_view error) {
    return Row{std::string(selector),
               Protobuf(selector),
               400,
               Concat("Error parsing labels '", selector, "' with error: ", error),
               "",
               kProtobuf};
  };
  Check({
      {"a name that is none", beside(R"({"b":"2","a-b":"1"})"), 400,
       "Error parsing labels '{a-b=\"1\", b=\"2\"}' with error: 1:3: parse error: unexpected "
       "character inside braces: '-'",
       kept},
      {"a name with a digit first", beside(R"({"1a":"1"})"), 400,
       "Error parsing labels '{1a=\"1\"}' with error: 1:2: parse error: unexpected character "
       "inside braces: '1'",
       kept},
      {"an empty name", beside(R"({"":"1"})"), 400,
       "Error parsing labels '{=\"1\"}' with error: 1:2: parse error: unexpected \"=\" in label "
       "set, expected identifier or \"}\"",
       kept},
      {"a name that smuggles a label", beside(R"({"a=\"1\",b":"2"})"), 400,
       "Error parsing labels '{a=\"1\",b=\"2\"}' with error: invalid label name", kept},
      {"too many labels", beside(sixteen + "}"), 400,
       Concat("entry for stream '", sixteen_shown,
              "service_name=\"unknown_service\"}' has 16 label names; limit 15"),
       kept},
      {"a name too long", beside(Concat("{\"", name, "\":\"1\"}")), 400,
       Concat("stream '{", name,
              "=\"1\", service_name=\"unknown_service\"}' has label name too "
              "long: '",
              name, "'"),
       kept},
      {"a value too long", beside(Concat("{\"app\":\"", value, "\",\"service_name\":\"s\"}")), 400,
       Concat("stream '{app=\"", value.substr(0, 2042), "...' has label value too long: '",
              value.substr(0, 2048), "...'"),
       kept},
      {"a name twice", beside(R"({"app":"1","app":"2"})"), 400,
       "stream '{app=\"1\", app=\"2\", service_name=\"1\"}' has duplicate label name: 'app'", kept},
      wrong("", "1:1: parse error: unexpected end of input"),
      wrong("app", "1:1: parse error: unexpected identifier \"app\""),
      wrong("{app=\"a\"", "1:9: parse error: unexpected end of input inside braces"),
      wrong("{app", "1:5: parse error: unexpected end of input inside braces"),
      wrong("{app}", "1:5: parse error: unexpected \"}\" in label set, expected \"=\""),
      wrong("{app=}", "1:6: parse error: unexpected \"}\" in label set, expected string"),
      wrong("{app=a}",
            "1:6: parse error: unexpected identifier \"a\" in label set, expected string"),
      wrong("{app=1}", "1:6: parse error: unexpected character inside braces: '1'"),
      wrong("{app=~\"a\"}", "1:5: parse error: unexpected <op:=~> in label set, expected \"=\""),
      wrong("{app!=\"a\"}", "1:5: parse error: unexpected <op:!=> in label set, expected \"=\""),
      wrong("{a=\"1\" b=\"2\"}",
            "1:8: parse error: unexpected identifier \"b\" in label set, expected \",\" or \"}\""),
      wrong("{a=\"1\",,}",
            "1:8: parse error: unexpected \",\" in label set, expected identifier or \"}\""),
      wrong("{a=\"1}", "1:4: parse error: unterminated quoted string"),
      wrong("{a=`1}", "1:4: parse error: unterminated raw string"),
      wrong("{a=\"\\d\"}", "1:4: parse error: invalid escape sequence in a quoted string"),
      wrong("{a=\"1\"} x", "1:9: parse error: unexpected identifier \"x\""),
      wrong("{a=\"1\",\n b.c=\"2\"}", "2:3: parse error: unexpected character inside braces: '.'"),
  });
}

TEST_F(PushAnswersTest, NamesWhatIsWrongWithEntries) {
  options_.limits.max_line_size = 20;
  options_.limits.max_structured_metadata_size = 30;
  options_.limits.max_structured_metadata_entries_count = 2;
  const std::string labels = R"({"app":"a"})";
  const std::string stream = "{app=\"a\", service_name=\"a\"}";
  const std::string kept = stream + " 0 kept {}\n";
  const std::string long_line(21, 'x');
  const auto body = [&](const std::string& entries) {
    return Json(labels, entries + "," + Entry("kept"));
  };
  Check({
      {"too old", body(Entry("x", -7 * 86'400 - 1)), 400,
       "entry for stream '" + stream +
           "' has timestamp too old: 2026-11-20T17:19:59Z, oldest acceptable timestamp is: "
           "2026-11-20T17:20:00Z",
       kept},
      {"just not too old", Json(labels, Entry("x", -7 * 86'400)), 204, "",
       stream + " -604800 x {}\n"},
      {"too new", body(Entry("x", 601)), 400,
       "entry for stream '" + stream + "' has timestamp too new: 2026-11-27T17:30:01Z", kept},
      {"just not too new", Json(labels, Entry("x", 600)), 204, "", stream + " 600 x {}\n"},
      {"line too long", body(Entry(long_line)), 400,
       "Max entry size '20' bytes exceeded for stream '" + stream +
           "' while adding an entry with length '21' bytes",
       kept},
      {"same errors are counted", body(Entry(long_line) + "," + Entry(long_line, 1)), 400,
       "2 errors like: Max entry size '20' bytes exceeded for stream '" + stream +
           "' while adding an entry with length '21' bytes",
       kept},
      {"different errors are listed", body(Entry(long_line) + "," + Entry("x", 601)), 400,
       "Max entry size '20' bytes exceeded for stream '" + stream +
           "' while adding an entry with length '21' bytes; entry for stream '" + stream +
           "' has timestamp too new: 2026-11-27T17:30:01Z",
       kept},
      {"metadata too large", body(Entry("x", 0, R"({"k":"012345678901234567890123456789"})")), 400,
       "stream '" + stream +
           "' has structured metadata too large: '31' bytes, limit: '30' bytes. Please see "
           "`limits_config.max_structured_metadata_size` or contact your Loki administrator to "
           "increase it.",
       kept},
      {"too much metadata", body(Entry("x", 0, R"({"a":"1","b":"2","c":"3"})")), 400,
       "stream '" + stream +
           "' has too many structured metadata labels: '3', limit: '2'. Please see "
           "`limits_config.max_structured_metadata_entries_count` or contact your Loki "
           "administrator to increase it.",
       kept},
  });
  options_.limits.allow_structured_metadata = false;
  Check({{"metadata not allowed", body(Entry("x", 0, R"({"a":"1"})")), 400,
          "stream '" + stream +
              "' includes structured metadata, but this feature is disallowed. Please see "
              "`limits_config.allow_structured_metadata` or contact your Loki administrator to "
              "enable it.",
          kept}});
  options_.limits.max_line_size_truncate = true;
  Check({{"line cut", Json(labels, Entry(long_line)), 204, "",
          stream + " 0 xxxxxxxxxxxxxxxxxxxx {}\n"}});
}

TEST_F(PushAnswersTest, RefusesMalformedBodies) {
  const std::string good = Json(R"({"app":"a"})", Entry("x"));
  const std::string none = "error at least one valid stream is required for ingestion";
  Check({
      {"no streams", R"({"streams":[]})", 422, none},
      {"no member", "{}", 422, none},
      {"null", R"({"streams":null})", 422, none},
      {"no streams in protobuf", Snappy(""), 422, none, "", kProtobuf},
      {"empty", "", 400, "malformed push body: expected an object at byte 0"},
      {"cut", R"({"streams":[{)", 400, "malformed push body: expected a string at byte 13"},
      {"array", "[]", 400, "malformed push body: expected an object at byte 0"},
      {"more after it", good + "x", 400,
       Concat("malformed push body: unexpected text after the body at byte ", good.size())},
      // What came before the fault is not stored either.
      {"bad entry", Json(R"({"app":"a"})", Entry("x") + ",[\"1\"]"), 400,
       "malformed push body: expected \",\" and a line at byte 76"},
      {"time that is none", Json(R"({"app":"a"})", R"(["now","x"])"), 400,
       "malformed push body: expected Unix nanoseconds before this place at byte 50"},
      {"number for a line", Json(R"({"app":"a"})", R"(["1",2])"), 400,
       "malformed push body: expected a string at byte 49"},
      {"number for metadata", Json(R"({"app":"a"})", R"(["1","x",{"a":1}])"), 400,
       "malformed push body: expected a string at byte 58"},
      {"number for a label", Json(R"({"app":1})", Entry("x")), 400,
       "malformed push body: expected a string at byte 29"},
      {"protobuf that is none", Snappy("\x0a\x05"), 400,
       "malformed protobuf at byte 0: PushRequest field 1: length 5 runs past the end, 0 bytes are "
       "left",
       "", kProtobuf},
      {"JSON under another name", good, 400, "snappy: corrupt or truncated block", "", kProtobuf},
      {"empty protobuf", "", 400, "snappy: the declared length is malformed", "", kProtobuf},
      {"gzip that is none", good, 400, "gzip: incorrect header check", "", kJson, "gzip"},
      {"unknown coding", good, 400, "Content-Encoding \"br\" not supported", "", kJson, "br"},
      {"no media type", good, 400, "mime: expected slash in the media type", "", "nonsense"},
  });
}

TEST_F(PushAnswersTest, BoundsRatesAndStreams) {
  const std::string two = Concat("{\"streams\":[{\"stream\":{\"n\":\"1\"},\"values\":[", Entry("x"),
                                 "]},{\"stream\":{\"n\":\"2\"},\"values\":[", Entry("yy"), "]}]}");
  const std::string first = "{n=\"1\", service_name=\"unknown_service\"}";
  const std::string second = "{n=\"2\", service_name=\"unknown_service\"}";
  const std::string too_many =
      "Maximum active stream limit exceeded when trying to create stream " + second +
      ", reduce the number of active streams (reduce labels or reduce label values), or contact "
      "your Loki administrator to see if the limit can be increased, user: 'fake'";
  const Limits defaults = options_.limits;
  options_.limits.max_global_streams_per_user = 1;
  Check({{"streams in one body", two, 429, too_many, first + " 0 x {}\n"}});
  options_.limits = defaults;
  database_options_.limits.head_streams_max = 1;
  Check({{"streams in the head", two, 429, too_many, first + " 0 x {}\n"}});
  database_options_.limits.head_streams_max = 100;

  options_.limits.ingestion_rate_mb = 1;
  options_.limits.ingestion_burst_size_mb = 2.0 / (1 << 20);
  Check({{"rate of all", two, 429,
          "Ingestion rate limit exceeded for user fake (limit: 1048576 bytes/sec) while "
          "attempting to ingest '2' lines totaling '3' bytes, reduce log volume or contact your "
          "Loki administrator to see if the limit can be increased"}});
  options_.limits = defaults;
  options_.limits.per_stream_rate_limit = 3 << 20;
  options_.limits.per_stream_rate_limit_burst = 1;
  Check({{"rate of a stream", two, 429,
          "entry with timestamp 2026-11-27 17:20:00 +0000 UTC ignored, reason: 'Per stream rate "
          "limit exceeded (limit: 3MB/sec) while attempting to ingest for stream '" +
              second +
              "' totaling 2B, consider splitting a stream via additional labels or contact your "
              "Loki administrator to see if the limit can be increased',\nuser 'fake', total "
              "ignored: 1 out of 1 for stream: " +
              second,
          first + " 0 x {}\n"}});
  options_.limits = defaults;
  options_.limits.enforced_labels = {"app", "n"};
  Check({{"labels that must be", two, 400,
          "missing required labels app for user fake for stream " + first +
              "; missing required labels app for user fake for stream " + second}});
  options_.limits = defaults;
  options_.limits.block_ingestion_until_ms = kNowMs + 1000;
  Check({{"blocked", two, 260,
          "ingestion blocked for user fake until '2026-11-27T17:20:01Z' with status code '260'"}});
  options_.limits.block_ingestion_until_ms = kNowMs;
  Check({{"blocked no longer", two, 204, "", first + " 0 x {}\n" + second + " 0 yy {}\n"}});
  options_.limits = defaults;
  options_.limits.max_recv_msg_size = 200;
  Check({{"too large", Json(R"({"app":"a"})", Entry(std::string(200, 'x'))), 413,
          "body exceeds 200 bytes"},
         {"too large when inflated", Protobuf("{app=\"a\"}", std::string(200, 'x')), 413,
          "snappy: declared length of 228 bytes exceeds the limit of 200", "", kProtobuf}});
}

// A body of more streams than are allowed costs no more than its size, and a bounded answer.
TEST_F(PushAnswersTest, BoundsTheAnswerOfManyStreams) {
  options_.limits.max_global_streams_per_user = 10;
  Start();
  std::string body = "{\"streams\":[";
  for (int i = 0; i < 10'000; ++i) {
    body +=
        Concat(i > 0 ? "," : "", "{\"stream\":{\"n\":\"", i, "\"},\"values\":[", Entry("x"), "]}");
  }
  const auto response = Push(body + "]}");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.headers.Get("Retry-After"), "1");
  EXPECT_LT(response.body.size(), 10'000u);
  EXPECT_TRUE(response.body.ends_with("; 9958 other errors\n")) << response.body;
}

}  // namespace
}  // namespace varve::loki
