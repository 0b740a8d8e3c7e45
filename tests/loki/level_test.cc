#include "tools/loki/level.h"

#include <simdjson.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tests/support/shared_data.h"
#include "tools/loki/log_intake.h"

namespace varve::loki {
namespace {

// Asks all kernels, which have to agree. The line lies in an allocation of its own size, so that a
// sanitizer sees any step outside.
std::string_view Detect(std::string_view line) {
  const auto bytes = std::make_unique<char[]>(line.size());
  std::copy(line.begin(), line.end(), bytes.get());
  const std::string_view own(bytes.get(), line.size());
  const std::string_view level = AllLevelKernels().front().detect(own);
  for (const LevelKernel& kernel : AllLevelKernels()) {
    EXPECT_EQ(kernel.detect(own), level) << kernel.name << ": " << line;
  }
  return level;
}

TEST(Level, OfLines) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "unknown"},
      {"nothing to see", "unknown"},
      {"WARN something odd", "warn"},
      {"x [Error] y", "error"},
      {"first info then error", "info"},
      {"panic: runtime error", "error"},
      {"an errored word, terror, errors", "unknown"},
      {"under_error", "unknown"},
      {"\x1b[31mERROR\x1b[0m red", "unknown"},
      {"10:00AM INF started", "info"},
      {"le=+Inf 3", "unknown"},
      {"crit", "unknown"},
      {"critical", "critical"},
      {"FATAL: out of memory", "fatal"},
      {"t=1 dbg x", "debug"},
      // logfmt
      {"level=error msg=\"all is info\"", "error"},
      {"msg=\"fake level=error\" level=debug", "debug"},
      {"msg=\"fake level=error\" x=1", "error"},
      {"ts=1 lvl=WRN a=b", "warn"},
      {"ts=1 level=\"Info\"", "info"},
      {"severity=notice error=none", "error"},
      {"sublevel=error x=1", "error"},
      {"sublevel=3 x=1", "unknown"},
      // JSON
      {R"({"level":"error","msg":"info"})", "error"},
      {R"(  {"msg":"info","Level" : "DEBUG"}  )", "debug"},
      {R"({"log":{"level":"fatal"}})", "fatal"},
      {R"({"x":"warn","a":{"b":{"level":"fatal"}}})", "warn"},
      {R"({"x":"warn","a":[{"level":"fatal"}]})", "warn"},
      {R"({"msg":"\"level\":\"error\"","level":"info"})", "info"},
      {R"({"level":30,"msg":"debug"})", "debug"},
      {R"({"log.level":"critical"})", "critical"},
      {R"({"level":"error")", "error"},
  };
  for (const auto& [line, level] : cases) EXPECT_EQ(Detect(line), level) << line;
}

TEST(Level, SameForEveryAlignmentAndLength) {
  for (const std::string_view word : {"trace", "dbg", "info", "warning", "err", "critical"}) {
    for (size_t before = 0; before < 40; ++before) {
      for (size_t after = 0; after < 40; after += 3) {
        const std::string line = Concat(std::string(before, '.'), word, std::string(after, '-'));
        EXPECT_EQ(Detect(line), NormalizeLevel(word)) << line;
        EXPECT_EQ(Detect(Concat(std::string(before, '.'), "x", word)), kLevelUnknown);
        const std::string json =
            Concat("{\"", std::string(before, 'k'), "\":1,\"level\":\"", word, "\"}");
        EXPECT_EQ(Detect(json), NormalizeLevel(word)) << json;
        const std::string logfmt = Concat(std::string(before, 'k'), "=1 level=", word);
        EXPECT_EQ(Detect(logfmt), NormalizeLevel(word)) << logfmt;
      }
    }
  }
}

TEST(Level, OfHostileLines) {
  std::string deep = "{";
  for (int i = 0; i < 100'000; ++i) deep += "\"a\":{";
  EXPECT_EQ(Detect(Concat(deep, "\"level\":\"info\"}")), kLevelInfo);
  EXPECT_EQ(Detect("{\"level\":\"}"), kLevelUnknown);
  EXPECT_EQ(Detect("{\"level\":\"\\"), kLevelUnknown);
  EXPECT_EQ(Detect("]]]]\"level\"=level="), kLevelUnknown);
  EXPECT_EQ(Detect("{]]}\"level\":\"error\"}"), kLevelError);  // by the word
  EXPECT_EQ(Detect("level="), kLevelUnknown);
  EXPECT_EQ(Detect("level=\""), kLevelUnknown);
}

TEST(Level, OfNumbersAndLabels) {
  EXPECT_EQ(LevelOfSeverityNumber("0"), kLevelUnknown);
  EXPECT_EQ(LevelOfSeverityNumber("1"), kLevelTrace);
  EXPECT_EQ(LevelOfSeverityNumber("9"), kLevelInfo);
  EXPECT_EQ(LevelOfSeverityNumber("17"), kLevelError);
  EXPECT_EQ(LevelOfSeverityNumber("24"), kLevelFatal);
  EXPECT_EQ(LevelOfSeverityNumber("25"), kLevelUnknown);
  EXPECT_EQ(LevelOfSeverityNumber("x"), kLevelInfo);
  const LabelView labels[] = {{"lvl", "WARNING"}, {"severity", "notice"}};
  EXPECT_EQ(LevelOfLabels(labels), "notice");
  EXPECT_EQ(LevelOfLabels(LabelsView(labels).first(1)), "warn");
}

// Lines made of what decides: names, words and what stands around them.
TEST(Level, SameByAllKernels) {
  constexpr std::string_view kPieces[] = {"level",
                                          "LEVEL",
                                          "lvl",
                                          "severity",
                                          "SeverityText",
                                          "log.level",
                                          "text",
                                          "=",
                                          "\"",
                                          "\":\"",
                                          "\", \"",
                                          "{",
                                          "}",
                                          "[",
                                          "]",
                                          ",",
                                          ":",
                                          " ",
                                          "\\",
                                          "\\\"",
                                          "info",
                                          "inf",
                                          "INF",
                                          "Warning",
                                          "error",
                                          "err",
                                          "fatal",
                                          "critical",
                                          "trace",
                                          "dbg",
                                          "debug",
                                          "wrn",
                                          "x",
                                          "_",
                                          "7",
                                          "\xc3\xa9",
                                          "terror",
                                          "informed",
                                          "\t",
                                          "",
                                          "some words between them, as lines have"};
  std::mt19937_64 random(20'261'128);
  std::map<std::string_view, int> seen;
  for (int i = 0; i < 200'000; ++i) {
    const bool json = random() % 2 == 0;
    std::string line = json ? "{\"" : "";
    for (size_t k = random() % 16; k > 0; --k) line += kPieces[random() % std::size(kPieces)];
    if (json) line += "\"}";
    ++seen[Detect(line)];
  }
  EXPECT_EQ(seen.size(), 8u);
}

TEST(Level, RealLinesByAllKernels) {
  size_t lines = 0;
  for (const char* name :
       {"caddy-server-debug.json", "haproxy-http.log", "nats-trace.log", "nginx-access.logfmt",
        "nginx-error.log", "nginx-json-invalid-utf8-long-lines.json", "node-shop-winston.json",
        "node_exporter-debug.logfmt", "postgres-csvlog.csv", "zookeeper-java-debug.log"}) {
    const auto path = testing::SharedPath(Concat("data/logs/", name, ".zst"));
    if (!path.has_value()) GTEST_SKIP() << "skipped: data/logs is not there";
    const std::string text = testing::ReadFile(*path);
    for (const auto line : testing::SplitLines(std::string_view(text).substr(0, 1u << 20))) {
      Detect(line);
      ++lines;
    }
  }
  EXPECT_GT(lines, 20'000u);
}

// Lines that a real Loki has labelled.
TEST(Level, AsRecorded) {
  const auto dataset_path = testing::SharedPath("conformance/logql/dataset.ndjson");
  const auto cases_path = testing::SharedPath("conformance/logql/cases.json.zst");
  if (!dataset_path.has_value() || !cases_path.has_value()) {
    GTEST_SKIP() << "skipped: conformance/logql is not there";
  }
  simdjson::dom::parser parser;
  // Line and metadata by time and stream labels.
  std::multimap<std::string, std::tuple<std::map<std::string, std::string>, std::string, bool>>
      sent;
  const std::string dataset = testing::ReadFile(*dataset_path);
  for (size_t begin = 0; begin < dataset.size();) {
    const size_t end = std::min(dataset.find('\n', begin), dataset.size());
    const auto body = parser.parse(std::string(dataset, begin, end - begin));
    for (const auto stream : body["streams"].get_array()) {
      std::map<std::string, std::string> labels;
      for (const auto& [key, value] : stream["stream"].get_object()) {
        labels[std::string(key)] = std::string(value.get_string().value());
      }
      for (const auto entry : stream["values"].get_array()) {
        const bool level = entry.at(2).error() == simdjson::SUCCESS &&
                           entry.at(2)["level"].error() == simdjson::SUCCESS;
        sent.emplace(std::string(entry.at(0).get_string().value()),
                     std::tuple(labels, std::string(entry.at(1).get_string().value()), level));
      }
    }
    begin = end + 1;
  }
  const std::string cases = testing::ReadFile(*cases_path);
  std::set<std::string> seen;
  const auto root_element = parser.parse(cases);
  for (const auto one : root_element["cases"].get_array()) {
    std::string_view type;
    if (one["expected"]["resultType"].get(type) != simdjson::SUCCESS || type != "streams") continue;
    for (const auto stream : one["expected"]["result"].get_array()) {
      std::string_view level;
      if (stream["stream"]["detected_level"].get(level) != simdjson::SUCCESS) continue;
      for (const auto entry : stream["values"].get_array()) {
        const auto [begin, end] = sent.equal_range(std::string(entry.at(0).get_string().value()));
        for (auto it = begin; it != end; ++it) {
          const auto& [labels, line, own_level] = it->second;
          if (own_level || labels.contains("level")) continue;
          if (line != entry.at(1).get_string().value()) continue;
          if (!seen.insert(line).second) continue;
          EXPECT_EQ(Detect(line), level) << line;
        }
      }
    }
  }
  EXPECT_GT(seen.size(), 500u);
}

}  // namespace
}  // namespace varve::loki
