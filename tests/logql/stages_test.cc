#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "varve/logql.h"

namespace varve::query {
namespace {

struct Case {
  const char* stages;
  std::string line;
  std::string want;  // labels => line, or "dropped"
};

std::string Answer(const Case& test, std::vector<LabelView> stream = {{"app", "x"}},
                   std::vector<LabelView> metadata = {}) {
  auto pipeline = LogPipeline::Make(std::string("{app=~\".+\"} ") + test.stages);
  if (!pipeline.ok())
    return std::string(pipeline.status().message().data(), pipeline.status().message().size());
  LogStream out;
  if (!(*pipeline)->Process(stream, 1'700'000'000'123'456'789, test.line, metadata, &out))
    return "dropped";
  std::string labels;
  for (const auto& [name, value] : FoldedLabels(out)) {
    if (name != "app") labels += (labels.empty() ? "" : " ") + name + "=" + value;
  }
  return labels + " => " + out.entries[0].line;
}

TEST(LogQLStages, Parsers) {
  const Case kCases[] = {
      // JSON: nested names, first of equal keys, arrays and nulls left out, numbers as they stand.
      {"| json", R"({"a":{"b":1.50,"c":{"d":"x"}},"a_b":"second","l":[1],"n":null,"t":true})",
       R"(a_b=1.50 a_c_d=x t=true => {"a":{"b":1.50,"c":{"d":"x"}},"a_b":"second","l":[1],"n":null,"t":true})"},
      {"| json", R"({"9x":"1"," sp ace ":"2","é":"3","app":"4"})",
       R"(_=3 _9x=1 app_extracted=4 sp_ace=2 => {"9x":"1"," sp ace ":"2","é":"3","app":"4"})"},
      {"| json", R"({"a":"1","b":"cut)",
       "__error__=JSONParserErr __error_details__=Value looks like string, but can't find closing "
       "'\"' symbol a=1 => "
       "{\"a\":\"1\",\"b\":\"cut"},
      {"| json x=\"a.b[1]\", y=\"[\\\"k v\\\"]\", z=\"none\"",
       R"({"a":{"b":[1,{"c":2}]},"k v":"w"})",
       R"(x={"c":2} y=w z= => {"a":{"b":[1,{"c":2}]},"k v":"w"})"},
      {"| json b=\"[\"", "",
       "parse error : stage '| json b=\"[\"' : cannot parse expression [[]: syntax error: "
       "unexpected "
       "$end, expecting STRING or INDEX"},
      // logfmt: lenient by default.
      {"| logfmt", "a=1 bare b= c=\"x y\" =z d\"e f=g",
       "a=1 c=x y f=g => a=1 bare b= c=\"x y\" =z d\"e f=g"},
      {"| logfmt --keep-empty", "a=1 bare b=", "a=1 b= bare= => a=1 bare b="},
      {"| logfmt --strict", "a=1 =z b=2",
       "__error__=LogfmtParserErr __error_details__=logfmt syntax error at pos 5 : unexpected '=' "
       "a=1 => a=1 =z b=2"},
      {"| logfmt x=\"a\", y", "a=1 b=2", "x=1 y= => a=1 b=2"},
      {"| regexp `(?P<m>\\w+) (?P<n>\\d+)?`", "get x", "m=get n= => get x"},
      {"| pattern `<a> - <_> [<b>]`", "1 - 2 [3] 4", "a=1 b=3 => 1 - 2 [3] 4"},
      {"| pattern `<a> - <b>!<c>`", "1 - 2", "a=1 b=2 => 1 - 2"},
      {"| unpack", R"({"a":"1","n":2,"_entry":"the \"line\""})", "a=1 => the \"line\""},
      {"| unpack", R"({"a":"1"})", R"( => {"a":"1"})"},
      {"| decolorize", "\x1b[1;31mred\x1b[0m end", " => red end"},
  };
  for (const Case& test : kCases) EXPECT_EQ(Answer(test), test.want) << test.stages;
}

TEST(LogQLStages, NamesOfStreamAndMetadataComeFirst) {
  const std::vector<LabelView> stream = {{"app", "x"}, {"s", "stream"}};
  const std::vector<LabelView> metadata = {{"m", "meta"}, {"s", "meta"}};
  EXPECT_EQ(Answer({"| logfmt", "s=1 m=2 p=3 p=4", ""}, stream, metadata),
            "m=meta m_extracted=2 p=3 s=stream s_extracted=1 => s=1 m=2 p=3 p=4");
  EXPECT_EQ(Answer({"| m=\"meta\" | s_extracted=\"meta\"", "l", ""}, stream, metadata),
            "m=meta s=stream s_extracted=meta => l");
}

TEST(LogQLStages, Filters) {
  const Case kCases[] = {
      {"|= `a` or `b`", "xb", " => xb"},
      {"!= `a` or `b`", "xb", "dropped"},
      {"|> `<_>b<_>`", "abc", " => abc"},
      {"|> `<_>b<_>`", "bc", "dropped"},
      {"|> `b<_>`", "abc", " => abc"},
      {"|> ``", "", " => "},
      {"|= ip(`10.0.0.0/8`)", "from 10.1.2.3:80", " => from 10.1.2.3:80"},
      {"!= ip(`10.0.0.1-10.0.0.9`)", "10.0.0.10", " => 10.0.0.10"},
      {"|= ip(`2001:db8::/32`)", "[2001:db8::1]:443", " => [2001:db8::1]:443"},
      {"| logfmt | n > 5", "n=x",
       "__error__=LabelFilterErr __error_details__=strconv.ParseFloat: parsing \"x\": invalid "
       "syntax n=x => n=x"},
      {"| logfmt | n > 5", "m=1", "dropped"},
      {"| logfmt | d >= 1.5s and b < 1KB", "d=1500ms b=999", "b=999 d=1500ms => d=1500ms b=999"},
      {"| logfmt | d = 1d", "d=24h", "d=24h => d=24h"},
      {"| logfmt | a=\"1\" or b=\"2\", c=\"3\"", "a=1", "a=1 => a=1"},
      {"| logfmt | missing=\"\"", "a=1", "a=1 => a=1"},
      {"| logfmt | a=~\"1.*\"", "a=12", "a=12 => a=12"},
      {"| logfmt | drop a, b=\"2\"", "a=1 b=2 c=3", "c=3 => a=1 b=2 c=3"},
      {"| logfmt | drop b=\"x\" | keep b", "a=1 b=2 c=3", "b=2 => a=1 b=2 c=3"},
      {"| json | drop __error__, __error_details__", "plain", " => plain"},
  };
  for (const Case& test : kCases)
    EXPECT_EQ(Answer(test), test.want) << test.stages << " | " << test.line;
}

// A parser rejects an entry as soon as a label filter behind it cannot hold any more. Nobody may
// see that: the same filters behind a stage that keeps them from the parser leave the same entries.
TEST(LogQLStages, FiltersInsideParsersChangeNothing) {
  std::mt19937_64 random(11);
  const auto pick = [&](std::initializer_list<const char*> list) {
    return std::string(*(list.begin() + random() % list.size()));
  };
  const auto name = [&] {
    return pick({"level", "status", "dur", "size", "ip", "app", "m", "a_b"});
  };
  const auto value = [&] {
    return pick(
        {"error", "info", "500", "200", "1s", "20ms", "1KB", "5", "10.0.0.1", "", "x y", "-"});
  };
  const auto json = [&] {
    std::string out = "{";
    for (size_t i = random() % 6; i > 0; --i) {
      const std::string text =
          pick({"500", "200", "null", "[1]", "true", "{\"b\":\"1s\",\"b\":2}"});
      if (out.size() > 1) out += random() % 40 == 0 ? ";" : ",";
      out += "\"" + (random() % 8 == 0 ? std::string("a") : name()) + "\":";
      out +=
          random() % 3 == 0 ? text : "\"" + value() + pick({"", "", "", "\\u00e9", "\\x"}) + "\"";
    }
    out += "}";
    if (random() % 12 == 0) out.resize(random() % out.size());
    return out;
  };
  const auto logfmt = [&] {
    std::string out;
    for (size_t i = random() % 6; i > 0; --i) {
      const std::string text = value();
      out +=
          name() + (random() % 12 == 0 ? "" : "=") +
          (text.find(' ') == std::string::npos && random() % 4 != 0 ? text : "\"" + text + "\"") +
          pick({" ", " ", " ", "  ", "\"", " =z "});
    }
    return out;
  };
  const auto leaf = [&] {
    switch (random() % 6) {
      case 0:
        return name() + pick({" > ", " <= ", " == ", " != "}) + pick({"200", "4.5", "500"});
      case 1:
        return name() + pick({" > ", " <= ", " = "}) + pick({"1s", "5ms", "1h"});
      case 2:
        return name() + pick({" > ", " < "}) + pick({"1KB", "3B"});
      case 3:
        return name() + pick({" = ", " != "}) + "ip(\"10.0.0.0/24\")";
      default:
        return pick({"level", "status", "app_extracted", "app", "__error__", "a_b", "m"}) +
               pick({"=", "!=", "=~", "!~"}) + pick({"`error`", "``", "`5.*`", "`JSONParserErr`"});
    }
  };
  const auto filter = [&] {
    std::string out = leaf();
    for (size_t i = random() % 3; i > 0; --i) out += pick({" and ", " or ", ", "}) + leaf();
    return out;
  };
  int dropped = 0;
  int kept = 0;
  for (int round = 0; round < 3000; ++round) {
    const bool is_json = random() % 2 == 0;
    const std::string parser =
        is_json ? pick({"| json", "| json | logfmt"})
                : pick({"| logfmt", "| logfmt --strict", "| logfmt --keep-empty | json",
                        "| pattern `level=<level> <m>=<status> <_>`",
                        "| regexp `level=(?P<level>\\w*) ?(?P<m>\\w+)=(?P<status>\\S+)`",
                        "| logfmt level, status=\"dur\""});
    std::string filters;
    for (size_t i = 1 + random() % 2; i > 0; --i) {
      filters += " | " + filter();
      if (random() % 8 == 0) filters += " | line_format `{{.level}}`";
    }
    for (int i = 0; i < 4; ++i) {
      const std::string line = is_json ? json() : logfmt();
      const std::vector<LabelView> metadata =
          random() % 4 == 0 ? std::vector<LabelView>{{"m", "1s"}, {"status", "500"}}
                            : std::vector<LabelView>();
      const std::string pushed = parser + filters;
      const std::string apart = parser + " | label_format none=none" + filters;
      const std::vector<LabelView> stream{{"app", "x"}};
      const std::string want = Answer({apart.c_str(), line, ""}, stream, metadata);
      ASSERT_EQ(Answer({pushed.c_str(), line, ""}, stream, metadata), want) << pushed << "\n"
                                                                            << line;
      ++(want == "dropped" ? dropped : kept);
    }
  }
  EXPECT_GT(dropped, 2000);
  EXPECT_GT(kept, 2000);
}

TEST(LogQLStages, Formats) {
  const Case kCases[] = {
      {"| logfmt | label_format b=a, c=\"{{.a}}{{.b}}\"", "a=1 b=2", "b=1 c=1 => a=1 b=2"},
      {"| logfmt | label_format n=\"{{.a}}!\", a=\"{{.a}}?\"", "a=1", "a=1? n=1! => a=1"},
      {"| line_format `{{ __line__ | ToUpper }} {{ unixEpochMillis __timestamp__ }}`", "x",
       " => X 1700000000123"},
      {"| line_format ``", "x", " => "},
      {"| line_format `{{ .a.b }}`", "x",
       "__error__=TemplateFormatErr __error_details__=template: line:1:5: executing \"line\" at "
       "<.a.b>: can't evaluate field b in "
       "type string => x"},
      {"| line_format `{{ trunc -2 \"abc\" }}{{ trunc 1 \"abc\" }}{{ substr 1 2 \"abc\" }}{{ "
       "alignRight 4 \"ab\" }}|{{ repeat 3 \"z\" }}`",
       "x", " => bcab  ab|zzz"},
      {"| line_format `{{ add 1 2 3 }} {{ div 7 2 }} {{ mod -7 3 }} {{ round 1.256 2 }} {{ divf 1 "
       "4 }} {{ max 1 9 }}`",
       "x", " => 6 3 -1 1.26 0.25 9"},
      {"| line_format `{{ printf \"%05.1f|%-4d|%4s|%q|%x|%v|%t|%%|%d\" 3.14159 7 \"ab\" \"q\" 255 "
       "1.5 true \"s\" }}`",
       "x", " => 003.1|7   |  ab|\"q\"|ff|1.5|true|%|%!d(string=s)"},
      {"| line_format `{{ range $i, $v := fromJson __line__ }}{{ if gt $i 1 }}{{ break }}{{ end "
       "}}{{ $i }}:{{ $v }} {{ end }}`",
       "[\"a\",2,3]", " => 0:a 1:2 "},
      {"| line_format `{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}{{ with \"w\" }}{{ . "
       "}}{{ end }}`",
       "x", " => 2w"},
      {"| line_format `{{ (fromJson __line__).a.b }} {{ index (fromJson __line__) \"a\" \"b\" }}`",
       R"({"a":{"b":5}})", " => 5 5"},
      {"| line_format `{{ regexReplaceAll \"(o)(k)\" __line__ \"$2${1}\" }} {{ count \"o\" "
       "__line__ }}`",
       "ok foo", " => ko foo 3"},
      {"| line_format `{{ toDate \"2006-01-02T15:04:05Z07:00\" \"2024-05-06T07:08:09+02:00\" | "
       "date \"Jan _2 15:04:05 2006\" }}`",
       "x", " => May  6 05:08:09 2024"},
      {"| line_format `{{ html \"<a>\" }} {{ urlencode \"a b&\" }} {{ urldecode \"a+b\" }} {{ "
       "b64enc \"hi\" }} {{ b64dec \"aGk=\" }} {{ js \"it's\" }}`",
       "x", " => &lt;a&gt; a+b%26 a b aGk= hi it\\'s"},
      {"| line_format `{{- \"a\" -}}   {{- \"b\" }} {{/* no */}}{{ print 1 2 \"c\" }}`", "x",
       " => ab 1 2c"},
      {"| line_format `{{ . }}`", "x", " => map[app:x]"},
      {"| line_format `{{ if`", "x",
       "parse error : stage '| line_format \"{{ if\"' : invalid line template: template: line:1: "
       "unclosed action"},
      {"| line_format `{{ end }}`", "x",
       "parse error : stage '| line_format \"{{ end }}\"' : invalid line template: template: "
       "line:1: unexpected {{end}}"},
      {"| line_format `{{ nope 1 }}`", "x",
       "parse error : stage '| line_format \"{{ nope 1 }}\"' : invalid line template: template: "
       "line:1: function \"nope\" not defined"},
  };
  for (const Case& test : kCases) EXPECT_EQ(Answer(test), test.want) << test.stages;
}

TEST(LogQLStages, HostileInputIsBounded) {
  const auto begin = std::chrono::steady_clock::now();
  // Nested JSON, a million labels, catastrophic patterns, templates that loop or grow.
  std::string nested;
  for (int i = 0; i < 100'000; ++i) nested += "{\"a\":";
  EXPECT_NE(Answer({"| json", nested, ""}), "dropped");
  std::string closed = nested + "1" + std::string(100'000, '}');
  EXPECT_NE(Answer({"| json | __error__=\"JSONParserErr\"", closed, ""}), "dropped");
  std::string wide = "{";
  for (int i = 0; i < 1'000'000; ++i) wide += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":1";
  EXPECT_EQ(Answer({"| json | k999999=\"2\"", wide + "}", ""}), "dropped");
  EXPECT_EQ(Answer({"|~ `(a+)+$`", std::string(100'000, 'a') + "b", ""}), "dropped");
  for (const char* bomb : {"| line_format `{{ repeat 1000000000 \"x\" }}`",
                           "| line_format `{{ indent 2000000000 \"x\" }}`",
                           "| line_format `{{ printf \"%999999999d%999999999d\" 1 1 }}`",
                           "| line_format `{{ range fromJson __line__ }}{{ range fromJson __line__ "
                           "}}{{ range fromJson __line__ }}{{ range fromJson "
                           "__line__ }}x{{ end }}{{ end }}{{ end }}{{ end }}`"}) {
    std::string list = "[0";
    for (int i = 0; i < 1000; ++i) list += ",1";
    EXPECT_NE(Answer({bomb, list + "]", ""}).find("exceeded the limit"), std::string::npos) << bomb;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(60));
}

TEST(LogQLTexts, FieldsAndSelectors) {
  LogFieldDetector detector;
  std::vector<LogField> fields;
  const std::vector<LabelView> stream = {{"app", "x"}};
  EXPECT_EQ(detector.Detect(R"({"a":{"b":1},"app":"y"})", stream, {}, &fields),
            LogFieldParser::kJson);
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].name, "a_b");
  EXPECT_EQ(fields[0].json_path, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(fields[1].name, "app_extracted");
  EXPECT_EQ(detector.Detect("a=1 b", stream, {}, &fields), LogFieldParser::kLogfmt);
  EXPECT_EQ(detector.Detect("plain text", stream, {}, &fields), LogFieldParser::kNone);
  const std::pair<const char*, const char*> kTypes[] = {{"5", "int"},        {"-1.5", "float"},
                                                        {"true", "boolean"}, {"1m5s", "duration"},
                                                        {"5KB", "bytes"},    {"x", "string"}};
  for (const auto& [value, type] : kTypes) EXPECT_EQ(LogFieldType(value), type);

  EXPECT_TRUE(ParseLogSelector("{}", true).ok());
  EXPECT_FALSE(ParseLogSelector("{}").ok());
  const auto labels = ParseStreamLabels("{b=\"1\", a=\"2\", c=\"\"}");
  ASSERT_TRUE(labels.ok());
  EXPECT_EQ(ToString(labels->view()), "{a=\"2\", b=\"1\"}");
  EXPECT_FALSE(ParseStreamLabels("{a=~\"x\"}").ok());

  const auto info = InspectLogQuery("{a=\"b\"} |= \"x\" !~ \"y\" | json |= \"z\"");
  ASSERT_TRUE(info.ok());
  EXPECT_TRUE(info->is_log_query);
  EXPECT_EQ(info->line_filters.size(), 2u);
  EXPECT_FALSE(info->only_line_filters);
  EXPECT_EQ(*FormatLogQuery("sum(rate({a=\"b\"}[5m]))by(x)"), "sum by (x) (rate({a=\"b\"}[5m]))");
}

}  // namespace
}  // namespace varve::query
