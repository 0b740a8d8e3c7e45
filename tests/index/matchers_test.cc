#include "engine/index/matchers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/index/regex_plan.h"
#include "tests/index/model.h"

namespace varve::index {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

CompiledMatcher Make(MatchType type, std::string value) {
  auto made = CompiledMatcher::Make({type, "label", std::move(value)});
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}
CompiledMatcher Regex(std::string pattern) { return Make(MatchType::kRegex, std::move(pattern)); }

TEST(CompiledMatcher, FollowsPrometheus) {
  struct Case {
    MatchType type;
    const char* value;
    const char* text;
    bool matches;
  };
  const std::vector<Case> cases = {
      {MatchType::kEqual, "a", "a", true},
      {MatchType::kEqual, "", "", true},
      {MatchType::kEqual, "a", "", false},
      {MatchType::kNotEqual, "a", "", true},
      {MatchType::kNotEqual, "", "", false},
      {MatchType::kRegex, "a", "ab", false},
      {MatchType::kRegex, "a|b", "b", true},
      {MatchType::kRegex, "a|b", "ab", false},
      {MatchType::kRegex, "a.b", "a\nb", true},
      {MatchType::kRegex, ".*", "", true},
      {MatchType::kRegex, ".*", "\n", true},
      {MatchType::kRegex, ".+", "", false},
      {MatchType::kRegex, ".+", "\xff", true},
      {MatchType::kRegex, "", "", true},
      {MatchType::kRegex, "", "a", false},
      {MatchType::kNotRegex, "", "a", true},
      {MatchType::kNotRegex, "a.*", "abc", false},
      {MatchType::kRegex, "^a$", "a", true},
      {MatchType::kRegex, "(?i)aB", "Ab", true},
      {MatchType::kRegex, "(?i:a)b", "Ab", true},
      {MatchType::kRegex, "(?i:a)b", "AB", false},
      {MatchType::kRegex, "(?-s:a.b)", "a\nb", false},
      {MatchType::kRegex, "5..", "503", true},
      {MatchType::kRegex, "5..", "50", false},
      {MatchType::kRegex, "a.c",
       "a\xc3\xa9"
       "c",
       true},
      {MatchType::kRegex, "a..c",
       "a\xc3\xa9"
       "c",
       false},
      {MatchType::kRegex, "a.c",
       "a\xff"
       "c",
       true},
      {MatchType::kRegex, "a[^b]c",
       "a\xff"
       "c",
       true},
      {MatchType::kRegex,
       "a\xef\xbf\xbd"
       "c",
       "a\xff"
       "c",
       true},
      {MatchType::kRegex, "(?<name>a+)", "aa", true},
      {MatchType::kRegex, "(?P<name>a+)", "aa", true},
      {MatchType::kRegex, "[(?<x]+", "?<(", true},
      {MatchType::kRegex, "\\Q(?<a\\E", "(?<a", true},
      {MatchType::kRegex, "foo.*|.*bar|x", "foobar", true},
      {MatchType::kRegex, "foo.*|.*bar|x", "fobar", true},
      {MatchType::kRegex, "foo.*|.*bar|x", "fox", false},
      {MatchType::kRegex, "a.*a", "a", false},
      {MatchType::kRegex, "a.+a", "aa", false},
      {MatchType::kRegex, "a.+b.*b", "axbb", true},
      {MatchType::kRegex, "a.+b.+b", "axbb", false},
      {MatchType::kRegex, "(a|b)(c|d)", "bd", true},
      {MatchType::kRegex, "(a|b)?c", "c", true},
  };
  for (const Case& c : cases) {
    const Matcher matcher{c.type, "label", c.value};
    SCOPED_TRACE(ToString(matcher) + " on " + GoQuote(c.text));
    const auto made = CompiledMatcher::Make(matcher);
    ASSERT_TRUE(made.ok()) << made.status();
    EXPECT_EQ(made->Matches(c.text), c.matches);
    EXPECT_EQ(made->MatchesEmpty(), made->Matches(""));
  }
}

TEST(CompiledMatcher, RefusesWithTheMatcherInTheMessage) {
  struct Case {
    std::string pattern;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"(", "label=~\"(\""},
      {"a)(b", "label=~\"a)(b\""},
      {"[a", "missing ]"},
      {"*a", "label=~\"*a\""},
      {"a**", "label=~\"a**\""},
      {"\\C", "\\C"},
      {"\xff", "UTF-8"},
      {"a{1001}", "label"},
      {"((a{100}){100}){100}", "label"},
      {std::string(kPatternBytesMax + 1, 'a'), "bytes, more than"},
  };
  for (const Case& c : cases) {
    const auto made = CompiledMatcher::Make({MatchType::kRegex, "label", c.pattern});
    ASSERT_FALSE(made.ok()) << c.pattern.substr(0, 50);
    EXPECT_EQ(made.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(c.message));
    EXPECT_LT(made.status().message().size(), 1000);
  }
}

TEST(CompiledMatcher, KeptOnesAnswerForTheirOwnPatternOnly) {
  // Several rounds over more patterns than are kept, in the four ways to mean them.
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      const std::string number = std::to_string(i);
      const std::string pattern = "x[0-9]{2}_" + number + "[.]";
      const CompiledMatcher is = Regex(pattern);
      const CompiledMatcher is_not = Make(MatchType::kNotRegex, pattern);
      EXPECT_EQ(is.matcher().value, pattern);
      EXPECT_TRUE(is.Accepts("x42_" + number + "."));
      EXPECT_FALSE(is.Accepts("x42_" + number + "0."));
      EXPECT_EQ(is_not.matcher().type, MatchType::kNotRegex);
      EXPECT_TRUE(is_not.matcher() != is.matcher());
    }
    // Too large for what is kept, and refused: each time alike.
    EXPECT_TRUE(Regex("(x[a-z]{1,500}y){1,2}").Accepts("xay"));
    EXPECT_FALSE(CompiledMatcher::Make({MatchType::kRegex, "label", "a(b"}).ok());
    EXPECT_FALSE(CompiledMatcher::Make({MatchType::kRegex, "label", "(a{1,1000}){1000}"}).ok());
  }
}

TEST(RegexPlan, FindsWhatNeedsNoAutomaton) {
  EXPECT_THAT(*Regex("a|b|foo").literals(), ElementsAre("a", "b", "foo"));
  EXPECT_THAT(*Regex("(?:10\\.0\\.0\\.[12]:90)|x").literals(),
              ElementsAre("10.0.0.1:90", "10.0.0.2:90", "x"));
  EXPECT_THAT(*Regex("^(a|)$").literals(), ElementsAre("", "a"));
  EXPECT_THAT(*Regex("(a|b){2}").literals(), ElementsAre("aa", "ab", "ba", "bb"));
  EXPECT_EQ(Regex("a.*").literals(), nullptr);
  EXPECT_EQ(Regex("(?i)a|b").literals(), nullptr);
  EXPECT_THAT(Regex("foo.*|bar[0-9]+|foobar.").prefixes(),
              ElementsAre("bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "bar6", "bar7", "bar8",
                          "bar9", "foo"));
  EXPECT_THAT(Regex(".*a|b").prefixes(), IsEmpty());
  EXPECT_EQ(Regex(".*error.*").needle(), "error");
  EXPECT_TRUE(Regex(".*error.*").needle_suffices());
  EXPECT_FALSE(Regex(".*error.+").needle_suffices());
  EXPECT_FALSE(Regex(".*error[0-9]*.*").needle_suffices());
  EXPECT_EQ(Regex(".*a.*error\\d+x.*").needle(), "error");
  EXPECT_EQ(Regex(".*(foo|bar)-suffix[ab].*").needle(), "-suffix");
  EXPECT_EQ(Regex("(?i).*error.*").needle(), "");
  EXPECT_TRUE(Regex(".*").accepts_all());
  EXPECT_TRUE(Regex("(.*)").accepts_all());
  EXPECT_TRUE(Regex("a|.*").accepts_all());
  EXPECT_TRUE(Regex(".+|").accepts_all());
  EXPECT_TRUE(Regex(".+").accepts_all_but_empty());
  EXPECT_FALSE(Regex("..+").accepts_all_but_empty());
  EXPECT_FALSE(Regex("(?i).*").accepts_all());

  // As long as dashboards make them.
  std::string many;
  for (int i = 0; i < 12000; ++i) many += Concat(i == 0 ? "" : "|", "host-", i, "\\.example");
  EXPECT_EQ(Regex(many).literals()->size(), 12000);
  EXPECT_TRUE(Regex(many).Matches("host-11999.example"));
  const std::string pairs = "(" + many.substr(0, 30000) + "x).*";
  EXPECT_TRUE(Regex(pairs).Matches("host-7.example and more"));
  EXPECT_FALSE(Regex(pairs).Matches("host.example and more"));
}

TEST(RegexPlan, NeverContradictsRe2) {
  size_t exact = 0;
  size_t literal = 0;
  size_t compared = 0;
  for (uint64_t seed = 1; seed <= 3000; ++seed) {
    Draw draw(seed);
    const Matcher matcher{MatchType::kRegex, "label", draw.Pattern()};
    SCOPED_TRACE(Concat("seed ", seed, " ", ToString(matcher)));
    const PlainMatcher plain(matcher);
    const auto made = CompiledMatcher::Make(matcher);
    ASSERT_EQ(made.ok(), plain.ok()) << made.status();
    if (!plain.ok()) continue;
    const RegexPlan plan = RegexPlan::Analyse(matcher.value);
    exact += plan.exact() ? 1 : 0;
    literal += made->literals() ? 1 : 0;
    std::vector<std::string> texts = {""};
    for (int i = 0; i < 25; ++i) texts.push_back(draw.Value());
    // Texts that should match are rare among random ones.
    if (made->literals()) {
      for (const std::string& text : *made->literals()) {
        if (texts.size() < 60) texts.push_back(text);
      }
    }
    for (const std::string& prefix : made->prefixes()) texts.push_back(prefix + draw.Value());
    texts.push_back(draw.Value() + std::string(made->needle()) + draw.Value());
    for (const std::string& text : texts) {
      ++compared;
      const bool wanted = plain.Matches(text);
      ASSERT_EQ(made->Matches(text), wanted) << GoQuote(text);
      switch (plan.Test(text)) {
        case RegexPlan::Verdict::kNo:
          ASSERT_FALSE(wanted) << GoQuote(text);
          break;
        case RegexPlan::Verdict::kYes:
          ASSERT_TRUE(wanted) << GoQuote(text);
          break;
        case RegexPlan::Verdict::kMaybe:
          break;
      }
      ASSERT_TRUE(wanted || !made->accepts_all()) << GoQuote(text);
      ASSERT_TRUE(wanted == !text.empty() || !made->accepts_all_but_empty()) << GoQuote(text);
      if (!wanted) {
        if (made->needle_suffices()) {
          ASSERT_EQ(text.find(made->needle()), std::string::npos) << GoQuote(text);
        }
        continue;
      }
      ASSERT_NE(text.find(made->needle()), std::string::npos) << GoQuote(text);
      const auto prefixes = made->prefixes();
      ASSERT_TRUE(prefixes.empty() ||
                  std::any_of(prefixes.begin(), prefixes.end(),
                              [&](const std::string& p) { return text.starts_with(p); }))
          << GoQuote(text);
    }
  }
  // The analysis must not be right only because it gives up.
  EXPECT_GT(exact, 500);
  EXPECT_GT(literal, 150);
  EXPECT_GT(compared, 50000);
}

}  // namespace
}  // namespace varve::index
