// The rules of LogQL that surprise, one by one, beside the recorded answers of the conformance
// test: stages and templates on single lines, metric queries over a store in memory.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "varve/database.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kStart = 1'700'000'000 * kSecond;

/// Labels that the stages leave, but for the stream's `app`, and the line if it has changed.
std::string Answer(const std::string& stages, const std::string& line,
                   std::vector<LabelView> stream = {{"app", "x"}},
                   std::vector<LabelView> metadata = {}) {
  auto pipeline = LogPipeline::Make("{app=~\".+\"} " + stages);
  if (!pipeline.ok()) return std::string(ToStd(pipeline.status().message()));
  LogStream out;
  if (!(*pipeline)->Process(stream, kStart + 123'456'789, line, metadata, &out)) return "dropped";
  std::string labels;
  for (const auto& [name, value] : FoldedLabels(out)) {
    if (name == "app" || name == "__error_details__") continue;
    labels += Concat(labels.empty() ? "" : " ", name, "=", value);
  }
  if (out.entries[0].line != line) labels += Concat(" => ", out.entries[0].line);
  return labels;
}
std::string Template(const std::string& text, const std::string& line = "x") {
  const std::string out = Answer("| line_format `" + text + "`", line);
  return out.starts_with(" => ") ? out.substr(4) : out;
}

struct Rule {
  const char* stages;
  const char* line;
  const char* want;
};

TEST(LogQLReference, Parsers) {
  const Rule kRules[] = {
      // Names: white space is cut off, other runes become one underscore each.
      {"| json", R"({" a-b.c ":"1","1st":"2","日本":"3"})", "_1st=2 __=3 a_b_c=1"},
      // The first value of a name stays, within a line and across parsers.
      {"| json | logfmt", R"(a=2 {"a":"1"} b=3)", "__error__=JSONParserErr a=2 b=3"},
      {"| logfmt | regexp `(?P<a>\\w+)$`", "a=1 b", "a=1"},
      {"| json", R"({"a":"","a":"2"})", "a="},
      // Numbers keep their text, null and arrays are left out, but paths give "" and raw JSON.
      {"| json", R"({"n":1e3,"z":-0.10,"x":null,"l":[1]})", "n=1e3 z=-0.10"},
      {"| json x=\"x\", l=\"l\", o=\"o\", m=\"m.n\"", R"({"x":null,"l":[1, 2],"o":{"p":1}})",
       "l=[1, 2] m= o={\"p\":1} x="},
      {"| json x=\"a.b[0][\\\"k\\\"]\", a", R"({"a":{"b":[{"k":"v"}]}})",
       "a={\"b\":[{\"k\":\"v\"}]} x=v"},
      // Named pairs of logfmt: what is missing is empty; --keep-empty means nothing to them.
      {"| logfmt x=\"a\", b", "a=1", "b= x=1"},
      {"| logfmt --keep-empty x=\"a\"", "a= c=", "x="},
      {"| logfmt --strict", "a=1 b=\"", "__error__=LogfmtParserErr a=1"},
      // No match of an expression is no error.
      {"| regexp `(?P<a>\\d+)`", "none", ""},
      // A pattern's first literal stands at the line's start; a later one that is missing leaves
      // the rest to the capture before.
      {"| pattern `b <a>`", "a b c", ""},
      {"| pattern `<a>: <b> (<c>)`", "k: rest of it", "a=k b=rest of it"},
      {"| pattern `x`", "x",
       "parse error at line 1, col 14: invalid pattern parser: at least one capture is required"},
      {"| unpack", R"({"a":"1","n":2,"_entry":"e"})", "a=1 => e"},
      {"| unpack", "no json", "__error__=JSONParserErr"},
  };
  for (const Rule& rule : kRules) {
    const std::string got = Answer(rule.stages, rule.line);
    if (std::string_view(rule.want).starts_with("parse error")) {
      EXPECT_TRUE(got.starts_with("parse error")) << rule.stages << " " << got;
    } else {
      EXPECT_EQ(got, rule.want) << rule.stages << " | " << rule.line;
    }
  }
}

TEST(LogQLReference, LabelFilters) {
  const Rule kRules[] = {
      // Durations in lines are Go's, without days; bytes in lines may be of any case.
      {"| logfmt | d > 1h", "d=1d", "__error__=LabelFilterErr d=1d"},
      {"| logfmt | d > 1d", "d=25h", "d=25h"},
      {"| logfmt | b >= 1KB", "b=1kb", "b=1kb"},
      {"| logfmt | b >= 1KiB", "b=1KB", "dropped"},
      {"| logfmt | b > 1MB", "b=2mIb", "b=2mIb"},
      // A label that is missing drops the line, as text it is empty.
      {"| logfmt | n != 1", "m=1", "dropped"},
      {"| logfmt | n != ip(\"10.0.0.0/8\")", "m=1", "dropped"},
      {"| logfmt | n != \"1\"", "m=1", "m=1"},
      {"| logfmt | n =~ \".*\"", "m=1", "m=1"},
      // Expressions match the whole value, and the dot stops at a newline.
      {"| logfmt | a =~ \"b\"", "a=abc", "dropped"},
      {"| json | a =~ \"b.c\"", R"({"a":"b\nc"})", "dropped"},
      {"| json | a =~ \"(?s)b.c\"", R"({"a":"b\nc"})", "a=b\nc"},
      {"| logfmt | a = ip(\"10.0.0.1-10.0.0.9\")", "a=10.0.0.5", "a=10.0.0.5"},
      {"| logfmt | a = ip(\"10.0.0.0/8\")", "a=11.0.0.5", "dropped"},
      // A comma binds as the grammar shifts.
      {"| logfmt | a=\"1\", b=\"1\" or c=\"1\"", "c=1", "dropped"},
      {"| logfmt | a=\"1\" and b=\"1\" or c=\"1\"", "c=1", "c=1"},
      {"| logfmt | a=\"1\" or b=\"1\", c=\"1\"", "a=1", "a=1"},
      {"| logfmt | (a=\"1\" or b=\"1\") c=\"1\"", "a=1", "dropped"},
      // The first error stays.
      {"| json | n > 1 | m > 1", R"({"n":"x","m":"y")", "__error__=JSONParserErr m=y n=x"},
  };
  for (const Rule& rule : kRules)
    EXPECT_EQ(Answer(rule.stages, rule.line), rule.want) << rule.stages << " | " << rule.line;
}

TEST(LogQLReference, Labels) {
  const std::vector<LabelView> stream{{"a", "s"}, {"app", "x"}};
  const std::vector<LabelView> metadata{{"a", "m"}, {"b", "m"}};
  // The stream's come first, then metadata, then what is parsed; where both of the others collide,
  // the parsed one has the name.
  EXPECT_EQ(Answer("", "l", stream, metadata), "a=s a_extracted=m b=m");
  EXPECT_EQ(Answer("| logfmt", "a=p b=p c=p", stream, metadata),
            "a=s a_extracted=p b=m b_extracted=p c=p");
  // Metadata acts as a label.
  EXPECT_EQ(Answer("| b=\"m\" | line_format `{{.b}}`", "l", stream, metadata),
            "a=s a_extracted=m b=m => m");
  const Rule kRules[] = {
      {"| logfmt | label_format b=a", "a=1", "b=1"},
      {"| logfmt | label_format b=none", "a=1", "a=1"},
      // Templates of one stage see the labels of before.
      {"| logfmt | label_format a=\"{{.b}}\", b=\"{{.a}}\"", "a=1 b=2", "a=2 b=1"},
      {"| logfmt | drop __error__", "a=1", "a=1"},
      {"| json | keep a", "{\"a\":\"1\",", "__error__=JSONParserErr a=1"},
      {"| json | drop __error__, __error_details__", "{\"a\":\"1\",", "a=1"},
      {"| logfmt | keep a=\"2\", b", "a=1 b=1 c=1", "b=1"},
      {"| decolorize", "\x1b[31mred\x1b[0m", " => red"},
      // A failure leaves the line, a key that is missing is empty.
      {"| line_format `{{ .a | duration }}`", "l", "__error__=TemplateFormatErr"},
      {"| line_format `[{{ .none }}]`", "l", " => []"},
  };
  for (const Rule& rule : kRules)
    EXPECT_EQ(Answer(rule.stages, rule.line), rule.want) << rule.stages << " | " << rule.line;
  for (const char* bad : {"| label_format __error__=a", "| label_format a=b, a=c", "| drop"}) {
    EXPECT_TRUE(Answer(bad, "l").starts_with("parse error")) << bad;
  }
}

/// Every function that the reference names, by what it gives.
TEST(LogQLReference, TemplateFunctions) {
  const std::pair<const char*, const char*> kRules[] = {
      {"<{{ __line__ }}>", "<x>"},
      {"{{ unixEpochNanos __timestamp__ }}", "1700000000123456789"},
      {"{{ gt (unixEpoch now) \"1700000000\" }}", "true"},
      {"{{ ToLower \"A\" }}{{ ToUpper \"b\" }}{{ Replace \"aaa\" \"a\" \"b\" 2 }}", "aBbba"},
      {"{{ Trim \"--a--\" \"-\" }} {{ TrimLeft \"--a-\" \"-\" }} {{ TrimRight \"-a--\" \"-\" }}",
       "a a- -a"},
      {"{{ TrimPrefix \"abc\" \"a\" }} {{ TrimSuffix \"abc\" \"c\" }}[{{ TrimSpace \" a \" }}]",
       "bc ab[a]"},
      {"{{ regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"${1}W\" }}", "-W-xxW-"},
      {"{{ regexReplaceAllLiteral \"a(x*)b\" \"-ab-axxb-\" \"${1}\" }}", "-${1}-${1}-"},
      {"{{ count \"a.\" \"abaca\" }}", "2"},
      {"{{ urlencode \"a b/?\" }} {{ urldecode \"a+b%2F\" }} {{ b64enc \"hi\" }} {{ b64dec "
       "\"aGk=\" }}",
       "a+b%2F%3F a b/ aGk= hi"},
      {"{{ range fromJson \"[1,2]\" }}<{{ . }}>{{ end }}", "<1><2>"},
      {"{{ bytes \"2KB\" }} {{ duration \"1m30s\" }} {{ duration_seconds \"500ms\" }}",
       "2000 90 0.5"},
      {"{{ int \"12\" }} {{ int 3.9 }} {{ float64 \"2.50\" }}", "12 3 2.5"},
      {"{{ date \"2006-01-02\" __timestamp__ }}", "2023-11-14"},
      {"{{ toDate \"2006-01-02\" \"2023-11-02\" | unixEpochMillis }}", "1698883200000"},
      {"{{ toDateInZone \"2006-01-02\" \"UTC\" \"2023-11-02\" | unixEpoch }}", "1698883200"},
      {"{{ unixToTime \"19663\" | unixEpoch }} {{ unixToTime \"1700000000\" | unixEpoch }} "
       "{{ unixToTime \"1700000000123\" | unixEpochMillis }} "
       "{{ unixToTime \"1700000000123456\" | unixEpochNanos }} "
       "{{ unixToTime \"1700000000123456789\" | unixEpochNanos }}",
       "1698883200 1700000000 1700000000123 1700000000123456000 1700000000123456789"},
      {"{{ unixToTime \"123\" }}", "__error__=TemplateFormatErr"},
      {"{{ lower \"A\" }}{{ upper \"b\" }} {{ title \"a bc\" }} {{ trunc 2 \"abc\" }} {{ trunc -2 "
       "\"abc\" }}",
       "aB A Bc ab bc"},
      {"{{ substr 1 3 \"abcd\" }} {{ substr -1 2 \"abcd\" }} {{ substr 2 -1 \"abcd\" }}",
       "bc ab cd"},
      {"{{ contains \"b\" \"abc\" }} {{ hasPrefix \"a\" \"abc\" }} {{ hasSuffix \"a\" \"abc\" }}",
       "true true false"},
      {"{{ indent 2 \"a\\nb\" }}|{{ nindent 1 \"a\" }}", "  a\n  b|\n a"},
      {"{{ replace \"a\" \"b\" \"aa\" }} {{ repeat 3 \"x\" }}[{{ trim \" a \" }}]", "bb xxx[a]"},
      {"{{ trimAll \"$\" \"$5$\" }} {{ trimPrefix \"a\" \"ab\" }} {{ trimSuffix \"b\" \"ab\" }}",
       "5 b a"},
      {"[{{ alignLeft 3 \"a\" }}][{{ alignRight 3 \"a\" }}][{{ alignLeft 1 \"ab\" }}][{{ "
       "alignRight 1 \"ab\" }}]",
       "[a  ][  a][a][b]"},
      {"{{ default \"d\" \"\" }} {{ default \"d\" \"v\" }}", "d v"},
      {"{{ add 1 2 3 }} {{ sub 5 2 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod 7 2 }} {{ max 1 3 2 }} "
       "{{ min 3 1 2 }}",
       "6 3 24 3 1 3 1"},
      {"{{ addf 1.5 2 }} {{ subf 5.5 2 1 }} {{ mulf 1.5 2 }} {{ divf 3 2 }} {{ maxf 1.5 2.5 }} {{ "
       "minf 1.5 2.5 }}",
       "3.5 2.5 3 1.5 2.5 1.5"},
      {"{{ ceil 1.2 }} {{ floor 1.8 }} {{ round 1.255 2 }} {{ round 2.5 0 }}", "2 1 1.25 3"},
      {"{{ div 1 0 }}", "__error__=TemplateFormatErr"},
      {"{{ printf \"%s|%5d|%-5s|%05.2f|%x\" \"a\" 7 \"b\" 3.14159 255 }}",
       "a|    7|b    |03.14|ff"},
      {"{{ eq 1 1 }} {{ eq \"a\" \"b\" \"a\" }} {{ ne 1 2 }} {{ lt 1 2 }} {{ le 2 2 }} {{ gt 1 2 "
       "}} {{ ge 2 2 }}",
       "true true true true true false true"},
      {"{{ and 1 0 }} {{ or 0 2 }} {{ not 0 }} {{ len \"abc\" }} {{ index (fromJson \"[5,6]\") 1 "
       "}}",
       "0 2 true 3 6"},
      {"{{ slice \"abcd\" 1 3 }} {{ print \"a\" 1 2 \"b\" }} {{ html \"<&>\" }} {{ js \"'\" }} {{ "
       "urlquery \"a b\" }}",
       "bc a1 2b &lt;&amp;&gt; \\' a+b"},
      {"{{ range $i, $e := fromJson \"[1,2,3]\" }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $e "
       "}}{{ else }}none{{ end }}",
       "13"},
      {"{{ with \"\" }}a{{ else }}b{{ end }}{{ if .app }}c{{ else if 1 }}d{{ end }}", "bc"},
      // A label that is missing is the empty text.
      {"{{ .none | upper }}|{{ len .none }}", "|0"},
  };
  for (const auto& [text, want] : kRules) EXPECT_EQ(Template(text), want) << text;
}

class LogQLReferenceMetrics : public ::testing::Test {
 protected:
  LogQLReferenceMetrics() {
    Options options;
    options.dir = "/db";
    options.background_threads = 0;
    options.file_system = std::make_shared<io::MemoryFileSystem>();
    auto opened = Database::Open(options);
    if (opened.ok()) db_ = *std::move(opened);
  }
  void Append(int second, const std::string& line, const char* pod = "a") {
    LogBatch batch;
    const std::vector<LabelView> labels{{"app", "x"}, {"pod", pod}};
    batch.AddEntry(batch.AddStream(LabelsView(labels)), kStart + second * kSecond,
                   batch.Copy(line));
    ASSERT_TRUE(db_->AppendLogs(batch).ok());
  }
  /// The answer at one time, or the error.
  std::string At(int second, std::string_view query) {
    const auto engine = LogEngine::Make({});
    const auto result = engine->Instant(*db_->TakeLogSnapshot(), query, kStart + second * kSecond);
    if (!result.ok()) return std::string(ToStd(result.status().message()));
    std::string out;
    if (const auto* const scalar = std::get_if<Scalar>(&result->value)) {
      return Concat("scalar ", std::to_string(scalar->value).substr(0, 5));
    }
    for (const VectorSample& sample : std::get<Vector>(result->value)) {
      out += Concat(out.empty() ? "" : "; ", ToString(sample.labels.view()), " ",
                    std::to_string(sample.value).substr(0, 5));
    }
    return out;
  }

  std::unique_ptr<Database> db_;
};

TEST_F(LogQLReferenceMetrics, Windows) {
  for (const int second : {0, 10, 20}) Append(second, "n=1");
  // Windows hold (t - range, t].
  EXPECT_EQ(At(20, "sum(count_over_time({app=\"x\"}[10s]))"), "{} 1.000");
  EXPECT_EQ(At(20, "sum(count_over_time({app=\"x\"}[11s]))"), "{} 2.000");
  EXPECT_EQ(At(20, "sum(count_over_time({app=\"x\"}[10s] offset 5s))"), "{} 1.000");
  EXPECT_EQ(At(10, "sum(count_over_time({app=\"x\"}[10s] offset -10s))"), "{} 1.000");
  // The range may come before the stages.
  EXPECT_EQ(At(20, "sum(count_over_time({app=\"x\"}[11s] | logfmt | n=\"1\"))"), "{} 2.000");
  // Log queries hold [start, end) and are no instant queries.
  const auto engine = LogEngine::Make({});
  LogQueryRange range;
  range.start_ns = kStart;
  range.end_ns = kStart + 20 * kSecond;
  range.limit = 10;
  const auto result = engine->Range(*db_->TakeLogSnapshot(), "{app=\"x\"}", range);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(std::get<Streams>(result->value).at(0).entries.size(), 2u);
  EXPECT_EQ(At(20, "{app=\"x\"}"),
            "log queries are not supported as an instant query type, please change your query to a "
            "range query type");
}

TEST_F(LogQLReferenceMetrics, UnwrapAndErrors) {
  Append(1, "level=a n=1 d=1500ms b=2KB");
  Append(2, "level=a n=3 d=500ms b=1kb");
  Append(3, "level=b n= other=1");
  // Both durations are seconds; what is absent or empty is no sample; the unwrapped label leaves.
  EXPECT_EQ(
      At(5,
         "sum_over_time({app=\"x\"} | logfmt | unwrap duration(d) | level=\"a\" [10s]) by (level)"
         ""),
      "parse error : grouping not allowed for sum_over_time aggregation");
  EXPECT_EQ(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | unwrap duration_seconds(d) [10s]))"),
            "{} 2.000");
  EXPECT_EQ(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | unwrap bytes(b) [10s]))"), "{} 3000.");
  EXPECT_EQ(At(5, "max_over_time({app=\"x\"} | logfmt | keep app, level, n | unwrap n [10s])"),
            "{app=\"x\", level=\"a\"} 3.000");
  EXPECT_EQ(At(5, "max_over_time({app=\"x\"} | logfmt | unwrap n [10s]) by (n)"),
            "{n=\"1\"} 1.000; {n=\"3\"} 3.000");
  // Fewer than two samples make a rate of zero.
  EXPECT_EQ(At(1, "sum(rate_counter({app=\"x\"} | logfmt | unwrap n [10s]))"), "{} 0.000");
  EXPECT_EQ(At(5, "sum(rate({app=\"x\"} | logfmt | unwrap n [10s]))"), "{} 0.400");
  // One bad sample spoils the query, unless it is filtered, dropped, or said to be welcome.
  Append(4, "level=c n=bad");
  EXPECT_TRUE(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | unwrap n [10s]))")
                  .starts_with("pipeline error: 'SampleExtractionErr'"));
  EXPECT_EQ(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | unwrap n | __error__=\"\" [10s]))"),
            "{} 4.000");
  EXPECT_EQ(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | level!=\"c\" | unwrap n [10s]))"),
            "{} 4.000");
  EXPECT_EQ(At(5, "sum(sum_over_time({app=\"x\"} | logfmt | unwrap n | level!=\"c\" [10s]))"),
            "{} 4.000");
  EXPECT_TRUE(At(5, "sum by (level) (count_over_time({app=\"x\"} | json [10s]))")
                  .starts_with("pipeline error: 'JSONParserErr'"));
  EXPECT_EQ(At(5,
               "sum by (level) (count_over_time({app=\"x\"} | json | drop __error__, "
               "__error_details__ [10s]))"),
            "{} 4.000");
  EXPECT_EQ(At(5,
               "sum by (__error__) (count_over_time({app=\"x\"} | json | "
               "__error__=\"JSONParserErr\" [10s]))"),
            "{__error__=\"JSONParserErr\"} 4.000");
}

TEST_F(LogQLReferenceMetrics, Vectors) {
  for (const char* pod : {"a", "b"}) Append(1, "l", pod);
  EXPECT_EQ(At(2, "vector(1)+vector(2)"), "{} 3.000");
  EXPECT_EQ(At(2, "1 / 0"), "scalar nan");
  EXPECT_EQ(At(2, "sum(count_over_time({app=\"x\"}[5s])) / 0"), "{} nan");
  EXPECT_EQ(At(2, "sum(count_over_time({app=\"x\"}[5s])) % 0"), "{} nan");
  EXPECT_EQ(At(2, "-2^2"), "scalar 4.000");
  EXPECT_EQ(At(2, "count_over_time({app=\"x\"}[5s]) > bool 1"),
            "{app=\"x\", pod=\"a\"} 0.000; {app=\"x\", pod=\"b\"} 0.000");
  EXPECT_EQ(At(2, "approx_topk(1, sum by (pod) (count_over_time({app=\"x\"}[5s])))").substr(0, 5),
            "{pod=");
  EXPECT_EQ(At(2, "sort_desc(sum by (pod) (bytes_over_time({app=\"x\", pod=\"a\"}[5s])))"),
            "{pod=\"a\"} 1.000");
  for (const char* bad : {"sum({app=\"x\"})", "-sum(rate({app=\"x\"}[1m]))", "1 and 2",
                          "count_over_time({app=\"x\"} | unwrap n [5s])", "{app=\"x\",}"}) {
    EXPECT_NE(At(2, bad).find("parse error"), std::string::npos) << bad << " " << At(2, bad);
  }
}

}  // namespace
}  // namespace varve::query
