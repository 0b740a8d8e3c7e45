#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "gtest/gtest.h"
#include "tools/loki/log_intake.h"

namespace varve::loki {
namespace {

constexpr int64_t kNow = 1'795'800'000'000'000'000;

class IntakeTest : public ::testing::Test {
 protected:
  void SetUp() override { intake_.Reset(kNow, &batch_); }
  // What the batch holds, one entry a line.
  std::string Text() const {
    std::string out;
    for (const LogBatch::Entry& entry : batch_.entries()) {
      const LogBatch::Stream& stream = batch_.streams()[entry.stream];
      EXPECT_TRUE(IsCanonical(batch_.labels(stream)));
      out += Concat(ToString(batch_.labels(stream)), " ", (entry.time_ns - kNow) / 1'000'000'000,
                    " ", entry.line, " ", ToString(batch_.metadata(entry)), "\n");
    }
    return out;
  }
  bool Begin(std::vector<LabelView> labels) {
    labels_ = std::move(labels);
    return intake_.BeginStream(LabelsView(labels_));
  }
  bool Add(std::string_view line, std::vector<LabelView> metadata = {}, int64_t seconds = 0) {
    return intake_.AddEntry(kNow + seconds * 1'000'000'000, line, LabelsView(metadata));
  }
  std::string Errors() const { return intake_.errors().Text(); }

  Limits limits_;
  LogBatch batch_;
  LogIntake intake_{&limits_};
  std::vector<LabelView> labels_;
};

TEST_F(IntakeTest, AddsServiceNameAndLevel) {
  EXPECT_TRUE(Begin({{"job", "j"}, {"app", "a"}, {"empty", ""}}));
  EXPECT_TRUE(Add("level=error x"));
  EXPECT_TRUE(Begin({{"service_name", "mine"}, {"level", "WARN"}}));
  EXPECT_TRUE(Add("level=error x"));
  EXPECT_TRUE(Begin({{"x", "1"}}));
  EXPECT_TRUE(Add("error", {{"severity_number", "5"}}));
  EXPECT_TRUE(Add("error", {{"severity_text", "notice"}, {"severity_number", "5"}}));
  EXPECT_TRUE(Add("error", {{"detected_level", "mine"}, {"zz", "1"}}));
  EXPECT_TRUE(Begin({}));
  EXPECT_TRUE(Add("hm"));
  EXPECT_EQ(Text(),
            "{app=\"a\", job=\"j\", service_name=\"a\"} 0 level=error x "
            "{detected_level=\"error\"}\n"
            "{level=\"WARN\", service_name=\"mine\"} 0 level=error x {detected_level=\"warn\"}\n"
            "{service_name=\"unknown_service\", x=\"1\"} 0 error {detected_level=\"debug\", "
            "severity_number=\"5\"}\n"
            "{service_name=\"unknown_service\", x=\"1\"} 0 error {detected_level=\"notice\", "
            "severity_number=\"5\", severity_text=\"notice\"}\n"
            "{service_name=\"unknown_service\", x=\"1\"} 0 error {detected_level=\"mine\", "
            "zz=\"1\"}\n"
            "{service_name=\"unknown_service\"} 0 hm {detected_level=\"unknown\"}\n");
  EXPECT_EQ(Errors(), "");
}

TEST_F(IntakeTest, KeepsABatchAsItWasSent) {
  intake_.KeepAsSent();
  EXPECT_TRUE(Begin({{"app", "a"}, {"level", "warn"}}));
  EXPECT_TRUE(Add("level=error x", {{"user", "1"}}));
  EXPECT_EQ(Text(), "{app=\"a\", level=\"warn\"} 0 level=error x {user=\"1\"}\n");
  EXPECT_FALSE(Begin({}));  // there is nothing that would name the stream
  batch_.Clear();
  intake_.Reset(kNow, &batch_);  // holds for one batch
  EXPECT_TRUE(Begin({{"app", "a"}}));
  EXPECT_TRUE(Add("x"));
  EXPECT_EQ(Text(), "{app=\"a\", service_name=\"a\"} 0 x {detected_level=\"unknown\"}\n");
}

TEST_F(IntakeTest, NormalizesNamesOfMetadata) {
  EXPECT_EQ(NormalizeName("a.b--c"), "a_b_c");
  EXPECT_EQ(NormalizeName("1st"), "key_1st");
  EXPECT_EQ(NormalizeName("__x__"), "_x_");
  EXPECT_EQ(NormalizeName("\xc3\xa4x"), "_x");
  for (const std::string_view name : {"a", "_", "a_b", "A9"}) EXPECT_TRUE(IsNormalizedName(name));
  for (const std::string_view name : {"", "9", "a__b", "a.b"}) EXPECT_FALSE(IsNormalizedName(name));
  limits_.discover_log_levels = false;
  EXPECT_TRUE(Begin({{"a", "1"}}));
  EXPECT_TRUE(Add("x", {{"b.c", "1"}, {"a", ""}, {"b_c", "2"}, {"0", "z"}}));
  EXPECT_EQ(Text(),
            "{a=\"1\", service_name=\"unknown_service\"} 0 x {a=\"\", b_c=\"2\", key_0=\"z\"}\n");
}

TEST_F(IntakeTest, KeepsLokisLimits) {
  limits_.max_line_size = 10;
  limits_.max_label_names_per_series = 2;
  limits_.max_label_name_length = 4;
  limits_.max_label_value_length = 3;
  limits_.max_structured_metadata_size = 8;
  limits_.max_structured_metadata_entries_count = 2;
  EXPECT_FALSE(Begin({{"a", "1"}, {"b", "1"}, {"c", "1"}}));
  EXPECT_FALSE(Add("x"));
  EXPECT_FALSE(Begin({{"abcde", "1"}}));
  EXPECT_FALSE(Begin({{"a", "1234"}}));
  EXPECT_FALSE(Begin({{"a", "1"}, {"a", "2"}}));
  EXPECT_FALSE(Begin({{"a-b", "1"}}));
  limits_.max_label_value_length = 0;
  limits_.max_label_name_length = 0;
  EXPECT_TRUE(Begin({{"a", "1"}}));
  EXPECT_FALSE(Add("12345678901"));
  EXPECT_FALSE(Add("12345678901"));
  EXPECT_FALSE(Add("x", {{"abcd", "12345"}}));
  EXPECT_FALSE(Add("x", {{"a", ""}, {"b", ""}, {"c", ""}}));
  EXPECT_FALSE(Add("old", {}, -7 * 86400 - 1));
  EXPECT_FALSE(Add("new", {}, 601));
  EXPECT_TRUE(Add("edge", {}, -7 * 86400));
  EXPECT_TRUE(Add("edge", {}, 600));
  EXPECT_EQ(intake_.entries(), 2u);
  EXPECT_EQ(intake_.discarded(), 7u);
  const std::string stream = "{a=\"1\", service_name=\"unknown_service\"}";
  EXPECT_EQ(
      Errors(),
      Concat(
          "entry for stream '{a=\"1\", b=\"1\", c=\"1\", service_name=\"unknown_service\"}' has "
          "3 label names; limit 2; stream '{abcde=\"1\", service_name=\"unknown_service\"}' has "
          "label name too long: 'abcde'; stream '{a=\"1234\", "
          "service_name=\"unknown_service\"}' has label value too long: '1234'; stream '{a=\"1\","
          " a=\"2\", service_name=\"unknown_service\"}' has duplicate label name: 'a'; Error "
          "parsing labels '{a-b=\"1\"}' with error: 1:3: parse error: unexpected character inside "
          "braces: '-'; 2 errors like: Max entry size '10' bytes exceeded "
          "for stream '",
          stream, "' while adding an entry with length '11' bytes; stream '", stream,
          "' has structured metadata too large: '9' bytes, limit: '8' bytes. Please see "
          "`limits_config.max_structured_metadata_size` or contact your Loki administrator to "
          "increase it.; stream '",
          stream,
          "' has too many structured metadata labels: '3', limit: '2'. Please see "
          "`limits_config.max_structured_metadata_entries_count` or contact your Loki "
          "administrator to increase it.; entry for stream '",
          stream,
          "' has timestamp too old: ", FormatSeconds(kNow - (7 * 86400 + 1) * 1'000'000'000LL),
          ", oldest acceptable timestamp is: ", FormatSeconds(kNow - 7 * 86400 * 1'000'000'000LL),
          "; entry for stream '", stream,
          "' has timestamp too new: ", FormatSeconds(kNow + 601 * 1'000'000'000LL)));
}

TEST_F(IntakeTest, TruncatesWhenAsked) {
  limits_.max_line_size = 4;
  limits_.max_line_size_truncate = true;
  EXPECT_TRUE(Begin({{"a", "1"}}));
  EXPECT_TRUE(Add("123456"));
  EXPECT_EQ(batch_.entries().at(0).line, "1234");
}

TEST_F(IntakeTest, BoundsWhatItSaysOfHostileBodies) {
  std::vector<std::string> names;
  std::vector<LabelView> labels;
  for (int i = 0; i < 100'000; ++i) names.push_back(Concat("l", i));
  for (const std::string& name : names) labels.push_back({name, "v"});
  EXPECT_FALSE(Begin(labels));
  EXPECT_LT(Errors().size(), 4096u);
  EXPECT_NE(Errors().find("has 100000 label names; limit 15"), std::string::npos) << Errors();
  EXPECT_TRUE(Begin({{"a", "1"}}));
  for (int i = 0; i < 10'000; ++i) EXPECT_FALSE(Add("x", {}, 1000 + i));
  EXPECT_LT(Errors().size(), 10'000u);
  EXPECT_NE(Errors().find("; 9969 other errors"), std::string::npos) << Errors();
}

TEST_F(IntakeTest, ParsesSelectors) {
  EXPECT_TRUE(intake_.BeginStream(R"({ b = "x\"\u00e9\n" , a=`raw\n`, })"));
  EXPECT_TRUE(Add("1"));
  EXPECT_EQ(batch_.labels(batch_.streams()[0])[0], (LabelView{"a", "raw\\n"}));
  EXPECT_EQ(batch_.labels(batch_.streams()[0])[1], (LabelView{"b", "x\"\u00e9\n"}));
  for (const std::string_view bad :
       {"", "{", "x", "{a}", "{a=}", "{a=1}", "{a=\"1}", "{a=~\"1\"}", "{a!=\"1\"}", "{a=\"\\q\"}",
        "{a=\"1\" b=\"2\"}", "{a=\"1\"} x", "{1=\"a\"}", "{a=\"\\ud800\"}", "{a=\"\\"}) {
    intake_.Reset(kNow, &batch_);
    EXPECT_FALSE(intake_.BeginStream(bad)) << bad;
    EXPECT_TRUE(Errors().starts_with(Concat("Error parsing labels '", bad, "' with error: 1:")))
        << Errors();
  }
}

}  // namespace
}  // namespace varve::loki
