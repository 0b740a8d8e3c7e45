#include "tools/ingest/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/strings.h"
#include "tests/ingest/shared_data.h"

namespace varve::ingest {
namespace {

/// Prints an exposition's items one a line, or the error.
std::string Parse(ExpositionFormat format, std::string_view body, ExpositionOptions options = {}) {
  const auto parser = ExpositionParser::Make(format, body, options);
  std::string out;
  ExpositionItem item;
  for (;;) {
    const Result<bool> more = parser->Next(&item);
    if (!more.ok()) {
      return out + "error " + std::string(more.status().message()) + "\n";
    }
    if (!*more) return out;
    switch (item.kind) {
      case ExpositionItem::Kind::kType:
        out += Concat("type ", item.family, " ", ToString(item.type), "\n");
        break;
      case ExpositionItem::Kind::kHelp:
        out += Concat("help ", item.family, " ", GoQuote(item.text), "\n");
        break;
      case ExpositionItem::Kind::kUnit:
        out += Concat("unit ", item.family, " ", item.text, "\n");
        break;
      default: {
        out += Concat(ToString(item.labels), item.histogram != nullptr ? " histogram" : "");
        if (item.histogram == nullptr) out += Concat(" ", FormatOpenMetricsFloat(item.value));
        if (item.time_ms) out += Concat(" @", *item.time_ms);
        if (item.start_ms != 0) out += Concat(" since ", item.start_ms);
        for (const Exemplar& exemplar : item.exemplars) {
          out +=
              Concat(" # ", ToString(exemplar.labels), " ", FormatOpenMetricsFloat(exemplar.value));
          if (exemplar.has_time) out += Concat(" @", exemplar.time_ms);
        }
        out += "\n";
      }
    }
  }
}

/// Tells whether what Parse printed ends in an error.
bool Failed(std::string_view out) {
  if (out.empty()) return false;
  const size_t newline = out.substr(0, out.size() - 1).rfind('\n');
  return out.substr(newline == std::string_view::npos ? 0 : newline + 1).starts_with("error ");
}

TEST(OpenMetricsFloat, PrintsAsGoDoes) {
  const std::pair<double, std::string> cases[] = {
      {0, "0.0"},
      {1, "1.0"},
      {-1, "-1.0"},
      {0.005, "0.005"},
      {1e6, "1e+06"},
      {100000, "100000.0"},
      {1234567, "1.234567e+06"},
      {1e-5, "1e-05"},
      {0.0001, "0.0001"},
      {2.5, "2.5"},
      {1e100, "1e+100"},
      {-0.25, "-0.25"},
      {123456, "123456.0"},
      {1e22, "1e+22"},
      {std::numeric_limits<double>::infinity(), "+Inf"},
      {-std::numeric_limits<double>::infinity(), "-Inf"},
  };
  for (const auto& [value, text] : cases) EXPECT_EQ(FormatOpenMetricsFloat(value), text);
}

TEST(Text, Table) {
  struct Case {
    std::string_view body, expected;
  };
  const Case cases[] = {
      {"", ""},
      {"a 1", "a 1.0\n"},
      {"a 1\n", "a 1.0\n"},
      {"a 1\r\n", "a 1.0\n"},
      {"\n\n  a\t1 \t1234 \n", "a 1.0 @1234\n"},
      {"a -1 -5\n", "a -1.0 @-5\n"},
      {"a{} 1\n", "a 1.0\n"},
      {"a{b=\"c\"} 1\n", "a{b=\"c\"} 1.0\n"},
      {"a { b = \"c\" , d = \"e\" , } 1\n", "a{b=\"c\", d=\"e\"} 1.0\n"},
      {"a{d=\"e\" b=\"c\"} 1\n", "a{b=\"c\", d=\"e\"} 1.0\n"},
      {"a{b=\"\"} 1\n", "a 1.0\n"},
      {"a{b=\"x\\\\y\\n\\\"z\\\"\"} 1\n", "a{b=\"x\\\\y\\n\\\"z\\\"\"} 1.0\n"},
      {"a NaN\na +Inf\na -Inf\na inf\n", "a NaN\na +Inf\na -Inf\na +Inf\n"},
      {"{\"my.metric\",\"x.y\"=\"1\"} 2\n", "{\"my.metric\", \"x.y\"=\"1\"} 2.0\n"},
      {"{q=\"0.9\",\"http.status\",a=\"b\"} 8\n", "{\"http.status\", a=\"b\", q=\"0.9\"} 8.0\n"},
      {"# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 3\nother{le=\"1\"} 2\n",
       "type h histogram\nh_bucket{le=\"1.0\"} 3.0\nh_bucket{le=\"+Inf\"} 3.0\n"
       "other{le=\"1\"} 2.0\n"},
      {"# TYPE s summary\ns{quantile=\"1\"} 3\n", "type s summary\ns{quantile=\"1.0\"} 3.0\n"},
      {"# HELP a b\\\\c\\nd\n# TYPE a untyped\n#comment\n# HELPER x\n",
       "help a \"b\\\\c\\nd\"\ntype a unknown\n"},
      {"# HELP a\n", "help a \"\"\n"},
      // Faults, with their places.
      {"a 1\na{b=\"c\" 2\n", "a 1.0\nerror line 2, column 9: expected a label name\n"},
      {"a\n", "error line 1, column 2: invalid value\n"},
      {"a 0x1p3\n", "error line 1, column 3: invalid value\n"},
      {"a 1_000\n", "error line 1, column 3: invalid value\n"},
      {"a 1e999\n", "error line 1, column 3: invalid value\n"},
      {"a 1 2 3\n", "error line 1, column 7: expected the end of the line\n"},
      {"a 1 2.5\n", "error line 1, column 5: invalid timestamp\n"},
      {"a{b=\"c\",b=\"d\"} 1\n", "error line 1, column 1: duplicated label \"b\"\n"},
      {"a{b=\"c} 1\n", "error line 1, column 5: unterminated quoted text\n"},
      {"a{b=\"\xff\"} 1\n", "error line 1, column 6: \"\\xff\" is not UTF-8\n"},
      {"{b=\"c\"} 1\n", "error line 1, column 1: the sample has no metric name\n"},
      {"0a 1\n", "error line 1, column 1: expected a metric name\n"},
      {"a.b 1\n", "error line 1, column 2: unexpected character in metric name\n"},
      {"# TYPE a nothing\n", "error line 1, column 10: invalid metric type \"nothing\"\n"},
      {"{\"a\",\"b\"} 1\n", "error line 1, column 6: metric name already set\n"},
      {"a{__name__=\"b\"} 1\n", "error line 1, column 1: label __name__ next to a metric name\n"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Parse(ExpositionFormat::kText, c.body), c.expected) << GoQuote(c.body);
  }
}

TEST(OpenMetrics, Table) {
  struct Case {
    std::string_view body, expected;
  };
  const Case cases[] = {
      {"# EOF\n", ""},
      {"# EOF", ""},
      {"a 1\n# EOF\n", "a 1.0\n"},
      {"# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds x\\\"y\n"
       "a_seconds_total{b=\"c\"} 1 1.5 # {trace=\"d\"} 0.5 2.25\n# EOF\n",
       "type a_seconds counter\nunit a_seconds seconds\nhelp a_seconds \"x\\\"y\"\n"
       "a_seconds_total{b=\"c\"} 1.0 @1500 # {trace=\"d\"} 0.5 @2250\n"},
      {"a 1", "a 1.0\nerror line 2, column 1: data does not end with # EOF\n"},
      {"a 1\n# EOF\nb 1\n", "a 1.0\nerror line 3, column 1: unexpected data after # EOF\n"},
      {"a  1\n# EOF\n", "error line 1, column 3: invalid value\n"},
      {"a 1 \n# EOF\n", "error line 1, column 5: invalid timestamp\n"},
      {"a 1 NaN\n# EOF\n", "error line 1, column 5: invalid timestamp\n"},
      {"# UNIT a seconds\n# EOF\n",
       "error line 1, column 10: unit \"seconds\" not a suffix of metric \"a\"\n"},
      {"# TYPE a untyped\n# EOF\n", "error line 1, column 10: invalid metric type \"untyped\"\n"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Parse(ExpositionFormat::kOpenMetrics, c.body), c.expected) << GoQuote(c.body);
  }
}

TEST(ContentType, Table) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "text"},
      {"text/plain; version=0.0.4; charset=utf-8", "text"},
      {"text/plain;version=1.0.0;escaping=allow-utf-8", "text"},
      {"application/openmetrics-text; version=1.0.0; charset=utf-8", "openmetrics"},
      {"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
       "encoding=delimited",
       "protobuf"},
      {"application/vnd.google.protobuf", "error"},
      {"application/json", "error"},
  };
  for (const auto& [text, expected] : cases) {
    const auto format = ParseExpositionContentType(text);
    EXPECT_EQ(format.ok() ? ToString(*format) : "error", expected) << text;
  }
}

TEST(OpenMetrics, ConformanceCases) {
  const auto shared = SharedData("OpenMetrics conformance cases");
  if (!shared) return;
  size_t cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(*shared / "conformance" / "openmetrics")) {
    if (!entry.is_directory()) continue;
    const std::string json = ReadFile(entry.path() / "test.json");
    const std::string body = ReadFile(entry.path() / "metrics");
    const bool should_parse = json.find("\"shouldParse\": true") != std::string::npos;
    const std::string out = Parse(ExpositionFormat::kOpenMetrics, body, {.strict = true});
    EXPECT_EQ(!Failed(out), should_parse) << entry.path().filename() << "\n" << body << "\n" << out;
    ++cases;
  }
  EXPECT_EQ(cases, 211u);
}

TEST(Scrapes, EveryRecordedBodyParses) {
  const auto shared = SharedData("recorded scrapes");
  if (!shared) return;
  size_t bodies = 0;
  size_t samples = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(*shared / "data" / "metrics" / "scrapes")) {
    ReadZstdLines(entry.path(), [&](std::string_view line) {
      // {"t": ..., "target": "...", "content_type": "...", "body": "..."}; only \n \" \\ \t \uXXXX
      // occur in the texts.
      const auto field = [&](std::string_view name) {
        std::string out;
        size_t at = line.find(std::string("\"") + std::string(name) + "\":");
        if (at == std::string_view::npos) return out;
        at = line.find('"', at + name.size() + 3);
        for (++at; at < line.size() && line[at] != '"'; ++at) {
          if (line[at] != '\\') {
            out.push_back(line[at]);
            continue;
          }
          const char c = line[++at];
          if (c == 'n') {
            out.push_back('\n');
          } else if (c == 't') {
            out.push_back('\t');
          } else if (c == 'r') {
            out.push_back('\r');
          } else if (c == 'u') {
            const unsigned code =
                static_cast<unsigned>(std::stoul(std::string(line.substr(at + 1, 4)), nullptr, 16));
            at += 4;
            if (code < 0x80) {
              out.push_back(static_cast<char>(code));
            } else if (code < 0x800) {
              out.push_back(static_cast<char>(0xc0 | code >> 6));
              out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
            } else {
              out.push_back(static_cast<char>(0xe0 | code >> 12));
              out.push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
              out.push_back(static_cast<char>(0x80 | (code & 0x3f)));
            }
          } else {
            out.push_back(c);
          }
        }
        return out;
      };
      const std::string body = field("body");
      const auto format = ParseExpositionContentType(field("content_type"));
      ASSERT_TRUE(format.ok()) << format.status();
      const auto parser = ExpositionParser::Make(*format, body);
      ExpositionItem item;
      for (;;) {
        const Result<bool> more = parser->Next(&item);
        ASSERT_TRUE(more.ok()) << entry.path() << ": " << more.status();
        if (!*more) break;
        samples += item.kind == ExpositionItem::Kind::kSample;
      }
      ++bodies;
    });
  }
  std::printf("%zu bodies, %zu samples\n", bodies, samples);
  EXPECT_GT(bodies, 10000u);
}

TEST(Edge, ProtobufTwinsOfTextBodies) {
  const auto shared = SharedData("protobuf expositions");
  if (!shared) return;
  for (const auto& entry :
       std::filesystem::directory_iterator(*shared / "data" / "edge" / "protobuf-exposition")) {
    if (entry.path().extension() != ".pb") continue;
    const std::string body = ReadFile(entry.path());
    const std::string out = Parse(ExpositionFormat::kProtobuf, body);
    EXPECT_FALSE(Failed(out)) << entry.path() << out.substr(0, 2000);
    std::filesystem::path text = entry.path();
    text.replace_extension(".txt");
    const std::string other = Parse(ExpositionFormat::kText, ReadFile(text));
    EXPECT_FALSE(Failed(other)) << text;
    // The twins were taken moments apart: series agree but for the few that came or went.
    const auto names = [](const std::string& printed) {
      std::set<std::string> out_names;
      size_t at = 0;
      while (at < printed.size()) {
        const size_t newline = printed.find('\n', at);
        const std::string line = printed.substr(at, newline - at);
        at = newline + 1;
        if (line.starts_with("type ") || line.starts_with("help ")) continue;
        out_names.insert(line.substr(
            0, line.find('}') == std::string::npos ? line.find(' ') : line.rfind('}') + 1));
      }
      return out_names;
    };
    const auto a = names(out);
    const auto b = names(other);
    size_t both = 0;
    for (const std::string& name : a) both += b.contains(name);
    EXPECT_GT(both * 100, a.size() * 90) << entry.path();
  }
}

TEST(Edge, NativeHistograms) {
  const auto shared = SharedData("native histograms");
  if (!shared) return;
  size_t histograms = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(*shared / "data" / "edge" / "native-histograms")) {
    if (entry.path().extension() != ".pb") continue;
    for (const bool classic_too : {false, true}) {
      const std::string out =
          Parse(ExpositionFormat::kProtobuf, ReadFile(entry.path()), {.classic_too = classic_too});
      EXPECT_FALSE(Failed(out)) << entry.path() << out;
      for (size_t at = 0; (at = out.find(" histogram\n", at)) != std::string::npos; ++at) {
        ++histograms;
      }
    }
  }
  EXPECT_GT(histograms, 10u);
}

TEST(Edge, TextInputs) {
  const auto shared = SharedData("text parser inputs");
  if (!shared) return;
  const auto folder = *shared / "data" / "edge" / "utf8-and-textparse-inputs";
  size_t whole = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    std::string body = ReadFile(entry.path());
    const bool open_metrics = name.starts_with("openmetrics") || name.starts_with("nhcb");
    // The extraction cut "# EOF" off most bodies; fragments of tests are a series without a value.
    if (open_metrics && body.find("# EOF") == std::string::npos) body += "\n# EOF\n";
    while (body.find("\n\n# EOF") != std::string::npos) body.erase(body.find("\n\n# EOF"), 1);
    const std::string out =
        Parse(open_metrics ? ExpositionFormat::kOpenMetrics : ExpositionFormat::kText, body);
    if (name.find("maybe-invalid") != std::string::npos) continue;
    if (name.ends_with("_039.txt") || name.ends_with("_032.txt")) continue;  // label text only
    if (body.find('\n') == std::string::npos || body.ends_with("}\n# EOF\n")) continue;
    if (name == "openmetricsparse_056.txt") continue;
    ++whole;
    EXPECT_FALSE(Failed(out)) << name << "\n" << out;
  }
  EXPECT_GT(whole, 20u);
}

TEST(Edge, BigScrapes) {
  const auto shared = SharedData("big scrapes");
  if (!shared) return;
  for (const auto& entry :
       std::filesystem::directory_iterator(*shared / "data" / "edge" / "big-cardinality")) {
    std::string body;
    ReadZstd(entry.path(), [&](std::string_view piece) { body += piece; });
    const std::string out = Parse(ExpositionFormat::kText, body);
    EXPECT_FALSE(Failed(out)) << entry.path();
  }
}

TEST(Edge, ExpositionsOfExporters) {
  const auto shared = SharedData("expositions of exporters");
  if (!shared) return;
  const auto folder = *shared / "data" / "metrics" / "exposition";
  size_t parsed = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().string();
    const std::string body = ReadFile(entry.path());
    const auto has = [&](std::string_view part) { return path.find(part) != std::string::npos; };
    if (has("tsdb/testdata") || has("json2") || path.ends_with(".gz") || has("dump-")) continue;
    ExpositionFormat format = ExpositionFormat::kText;
    if (path.ends_with(".om.txt")) format = ExpositionFormat::kOpenMetrics;
    if (has("/protobuf")) format = ExpositionFormat::kProtobuf;
    const std::string out = Parse(format, body);
    if (has("_error_") || has("corpus") || has("non_matching")) continue;  // must not crash
    EXPECT_FALSE(Failed(out)) << path << "\n"
                              << out.substr(out.size() > 300 ? out.size() - 300 : 0);
    ++parsed;
  }
  EXPECT_GT(parsed, 30u);
}

TEST(Hostile, EveryPrefixAndBitFlipEndsInAnAnswer) {
  const std::string bodies[] = {
      "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\",x=\"\\\\y\\\"\"} 3 12\n"
      "{\"q.r\",s=\"t\"} NaN\n",
      "# TYPE a counter\n# UNIT a \na_total{b=\"c\"} 1 1.5 # {d=\"e\"} 0.5 2\n# EOF\n"};
  for (const std::string& body : bodies) {
    for (const ExpositionFormat format :
         {ExpositionFormat::kText, ExpositionFormat::kOpenMetrics, ExpositionFormat::kProtobuf}) {
      for (size_t size = 0; size <= body.size(); ++size) {
        const std::string prefix = body.substr(0, size);
        const std::unique_ptr<char[]> exact(new char[size]);  // so that a sanitizer sees overruns
        std::copy(prefix.begin(), prefix.end(), exact.get());
        Parse(format, {exact.get(), size}, {.strict = true});
        Parse(format, {exact.get(), size});
      }
      for (size_t bit = 0; bit < body.size() * 8; ++bit) {
        std::string flipped = body;
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
        Parse(format, flipped, {.strict = true});
      }
    }
  }
}

}  // namespace
}  // namespace varve::ingest
