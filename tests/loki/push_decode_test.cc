#include "tools/loki/push_decode.h"

#include <charconv>
#include <iterator>
#include <random>
#include <string>
#include <utility>

#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tools/loki/json_text.h"

namespace varve::loki {
namespace {

constexpr int64_t kNow = 1'795'800'000'000'000'000;

struct Decoded {
  Status status;
  std::string entries;
  std::string errors;
  uint64_t streams = 0;
};

template <typename Decode>
Decoded RunDecode(Decode decode) {
  Limits limits = Limits::ForImport();
  limits.discover_service_name = false;
  limits.discover_log_levels = false;
  LogBatch batch;
  LogIntake intake(&limits);
  intake.Reset(kNow, &batch);
  PushCounts counts;
  Decoded out;
  out.status = decode(&intake, &counts);
  for (const LogBatch::Entry& entry : batch.entries()) {
    out.entries += Concat(ToString(batch.labels(batch.streams()[entry.stream])), " ", entry.time_ns,
                          " ", entry.line, " ", ToString(batch.metadata(entry)), "\n");
  }
  out.errors = intake.errors().Text();
  out.streams = counts.streams;
  return out;
}

Decoded Json(std::string body) {
  // An exact allocation, so that a sanitizer sees reads past the end.
  const auto text = std::make_unique<char[]>(body.size());
  std::copy(body.begin(), body.end(), text.get());
  return RunDecode([&](LogIntake* intake, PushCounts* counts) {
    return DecodePushJson(text.get(), body.size(), intake, counts);
  });
}

TEST(PushJson, Decodes) {
  const Decoded got =
      Json(R"( {"x":[{}],"streams":[{"stream":{"b":"2","a":"1"},"values":[["1","one"],)"
           R"(["2","t\two \"q\" \u00e9 \ud83d\ude00 \ud800!",{"k":"v\n"}],[3,"",{}]]},)"
           R"({"values":[["-4","late\/"]],"other":{"deep":[1,2,{"z":null}]},"stream":{"c":"3"}},)"
           R"({"stream":{},"values":null}],"y":true} )");
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.entries,
            "{a=\"1\", b=\"2\"} 1 one {}\n"
            "{a=\"1\", b=\"2\"} 2 t\two \"q\" \u00e9 \U0001F600 \ufffd! {k=\"v\\n\"}\n"
            "{a=\"1\", b=\"2\"} 3  {}\n"
            "{c=\"3\"} -4 late/ {}\n");
  EXPECT_EQ(got.streams, 3u);
  EXPECT_EQ(got.errors, "error at least one label pair is required per stream");
}

// Times of the usual length are read by words of eight digits, all others as any integer.
TEST(PushJson, ReadsTimesLikeAnyInteger) {
  std::vector<std::string> times = {"0",
                                    "-1",
                                    "",
                                    "1700000000000000000",
                                    "0000000000000000001",
                                    "8999999999999999999",
                                    "9000000000000000000",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "-9223372036854775808",
                                    "17000000000000000000",
                                    "170000000000000000"};
  // Each byte at each place, so that every test of a digit is asked.
  for (size_t place = 0; place < 19; ++place) {
    for (int c = 0x20; c < 0x100; ++c) {
      if (c == '"' || c == '\\') continue;
      times.emplace_back("1234567890123456789");
      times.back()[place] = static_cast<char>(c);
    }
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) times.push_back(std::to_string(random() >> random() % 8));
  for (const std::string& time : times) {
    const std::string before = R"({"streams":[{"stream":{"a":"1"},"values":[[ ")" + time + "\"";
    const Decoded got = Json(before + R"( , "l"]]}]})");
    int64_t value = 0;
    const auto [end, error] = std::from_chars(time.data(), time.data() + time.size(), value);
    if (error == std::errc() && end == time.data() + time.size() && !time.empty()) {
      EXPECT_EQ(got.entries, Concat("{a=\"1\"} ", value, " l {}\n")) << time;
    } else {
      EXPECT_EQ(got.status.message(),
                ToAbsl(Concat("malformed push body: expected Unix nanoseconds before this place at "
                              "byte ",
                              before.size())))
          << time;
    }
  }
}

TEST(PushJson, KeepsBytesThatAreNotUtf8) {
  const Decoded got =
      Json("{\"streams\":[{\"stream\":{\"a\":\"1\"},\"values\":[[\"1\",\"\xff\xfe \\n\xc3\"]]}]}");
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.entries, "{a=\"1\"} 1 \xff\xfe \n\xc3 {}\n");
}

// Escapes at every distance from each other and from the ends: texts move down by steps.
TEST(PushJson, UndoesEscapesAtEveryDistance) {
  const std::pair<std::string_view, std::string_view> kEscapes[] = {
      {"\\\"", "\""},
      {"\\\\", "\\"},
      {"\\/", "/"},
      {"\\n", "\n"},
      {"\\t", "\t"},
      {"\\u0041", "A"},
      {"\\u00e9", "\xc3\xa9"},
      {"\\ud83d\\ude00", "\xf0\x9f\x98\x80"}};
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string json = "\"";
    std::string expected;
    const auto pieces = random() % 12;
    for (uint32_t i = 0; i <= pieces; ++i) {
      for (auto plain = random() % (round % 2 == 0 ? 8 : 70); plain > 0; --plain) {
        const auto c = static_cast<char>('a' + random() % 26);
        json += c;
        expected += c;
      }
      if (i == pieces) break;
      const auto& [escape, text] = kEscapes[random() % std::size(kEscapes)];
      json += escape;
      expected += text;
    }
    json += "\"";
    JsonText text(json.data(), json.size());
    std::string_view decoded;
    ASSERT_TRUE(text.String(&decoded)) << text.ErrorText();
    ASSERT_EQ(decoded, expected) << round;
    ASSERT_TRUE(text.AtEnd());
  }
}

TEST(PushJson, DecodesTheOlderForm) {
  const Decoded got = Json(R"({"streams":[{"labels":"{a=\"x\\ny\"}","entries":[)"
                           R"({"ts":"2026-11-20T13:00:00.5+01:00","line":"l"},{"line":"now"}]}]})");
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.entries,
            Concat("{a=\"x\\ny\"} 1795176000500000000 l {}\n{a=\"x\\ny\"} ", kNow, " now {}\n"));
}

TEST(PushJson, NamesThePlaceOfWhatItRefuses) {
  const std::pair<std::string, std::string_view> cases[] = {
      {"", "expected an object at byte 0"},
      {"[]", "expected an object at byte 0"},
      {"{", "expected a string at byte 1"},
      {"{\"streams\":{}}", "expected an array at byte 11"},
      {"{\"streams\":[]} x", "unexpected text after the body at byte 15"},
      {"{\"streams\":[1]}", "expected an object at byte 12"},
      {"{\"streams\":[{\"stream\":{\"a\":1}}]}", "expected a string at byte 27"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"x\",\"l\"]]}]}",
       "expected Unix nanoseconds before this place at byte 39"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"99999999999999999999\",\"l\"]]}]}",
       "expected Unix nanoseconds before this place at byte 58"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\"]]}]}",
       "expected \",\" and a line at byte 39"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",2]]}]}", "expected a string at byte 40"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l\",{\"a\":1}]]}]}",
       "expected a string at byte 49"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l\",{},1]]}]}",
       "expected \"]\" after an entry at byte 46"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l\\q\"]]}]}",
       "invalid escape in a string at byte 42"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l\\u12\"]]}]}",
       "invalid \\u escape at byte 42"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l\n\"]]}]}",
       "control character in a string at byte 42"},
      {"{\"streams\":[{\"stream\":{},\"values\":[[\"1\",\"l", "unterminated string at byte 42"},
      {"{\"a\":nul}", "unknown literal at byte 5"},
      {"{\"a\":01}", "expected \",\" or \"}\" at byte 6"},
      {"{\"a\":1.}", "malformed number at byte 7"},
      {"{\"a\":[1,]}", "expected a value at byte 8"},
      {"{\"a\":{\"b\":1,}}", "expected a member name at byte 12"},
      {"{\"a\":[1}", "expected \",\" or \"]\" at byte 7"},
  };
  for (const auto& [body, error] : cases) {
    const Decoded got = Json(body);
    EXPECT_EQ(ToStd(got.status.message()), Concat("malformed push body: ", error)) << body;
  }
}

TEST(PushJson, BoundsNesting) {
  for (const std::string_view open : {"[", "{\"a\":"}) {
    std::string body = "{\"x\":";
    for (int i = 0; i < 100'000; ++i) body += open;
    EXPECT_TRUE(ToStd(Json(body).status.message())
                    .starts_with("malformed push body: nested more than 512 deep at byte "));
  }
  std::string body = "{\"x\":" + std::string(512, '[') + std::string(512, ']') + "}";
  EXPECT_TRUE(Json(body).status.ok());
}

TEST(PushJson, EveryCutIsAnError) {
  const std::string body =
      R"({"streams":[{"stream":{"a":"1"},"values":[["1","o\u00e9\n",{"k":"v"}]],"z":[{"y":1.5e3}]}]})";
  ASSERT_TRUE(Json(body).status.ok());
  for (size_t size = 0; size < body.size(); ++size) {
    EXPECT_EQ(Json(body.substr(0, size)).status.code(), StatusCode::kInvalidArgument) << size;
  }
}

std::string Field(int number, std::string_view bytes) {
  std::string out(1, static_cast<char>(number << 3 | 2));
  for (size_t size = bytes.size(); true; size >>= 7) {
    if (size < 0x80) {
      out.push_back(static_cast<char>(size));
      break;
    }
    out.push_back(static_cast<char>(0x80 | (size & 0x7f)));
  }
  return out + std::string(bytes);
}

TEST(PushProtobuf, Decodes) {
  const std::string time = std::string("\x08\x05\x10\x07", 4);  // 5 s, 7 ns
  const std::string metadata = Field(1, "k") + Field(2, "v");
  const std::string entry = Field(1, time) + Field(2, "line \xff") + Field(3, metadata);
  const std::string stream = Field(2, entry) + Field(1, "{a=\"1\"}") + std::string("\x18\x01", 2);
  const std::string bad = Field(1, "{oops") + Field(2, entry);
  const std::string body = Field(1, stream) + Field(1, bad) + Field(9, "?");
  const auto decode = [](std::string_view bytes) {
    return RunDecode([&](LogIntake* intake, PushCounts* counts) {
      return DecodePushProtobuf(bytes, intake, counts);
    });
  };
  const Decoded got = decode(body);
  EXPECT_TRUE(got.status.ok()) << got.status;
  EXPECT_EQ(got.entries, "{a=\"1\"} 5000000007 line \xff {k=\"v\"}\n");
  EXPECT_EQ(got.errors,
            "Error parsing labels '{oops' with error: 1:6: parse error: unexpected end of input "
            "inside braces");
  EXPECT_EQ(got.streams, 2u);
  EXPECT_EQ(decode(body.substr(0, body.size() - 1)).status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(
      ToStd(decode("\x0a\x05zz").status.message()),
      "malformed protobuf at byte 0: PushRequest field 1: length 5 runs past the end, 2 bytes "
      "are left");
}

TEST(Times, Rfc3339) {
  const std::pair<std::string_view, int64_t> good[] = {
      {"1970-01-01T00:00:00Z", 0},
      {"1970-01-01T00:00:00.000000001Z", 1},
      {"2026-11-20 13:00:00.25-00:30", 1'795'181'400'250'000'000},
      {"1969-12-31T23:59:59.9Z", -100'000'000},
  };
  for (const auto& [text, time] : good) {
    int64_t got = 0;
    EXPECT_TRUE(ParseRfc3339(text, &got)) << text;
    EXPECT_EQ(got, time) << text;
  }
  for (const std::string_view bad :
       {"", "2026-11-20T13:00:00", "2026-13-20T13:00:00Z", "2026-02-30T13:00:00Z",
        "2026-11-20T24:00:00Z", "2026-11-20T13:00:00.Z", "2026-11-20T13:00:00+1:00",
        "2026-11-20T13:00:00Zx", "9999-11-20T13:00:00Z", "2026-11-20T13:00:00+"}) {
    int64_t got = 0;
    EXPECT_FALSE(ParseRfc3339(bad, &got)) << bad;
  }
}

}  // namespace
}  // namespace varve::loki
